"""Read a file of claims, or say in one line for each mistake what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from maskbench.config.claims import Claims
from maskbench.config.sources import expanded
from maskbench.errors import InputError
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.load import explain, read_yaml
from maskbench.io.code import ROOT
from maskbench.io.files import sha256_file


def claims_file(experiment: Experiment) -> Path:
    """Return the file of claims that an experiment names; by default the one that comes with maskbench."""
    if experiment.claims is not None:
        return expanded(experiment.claims)
    top = ROOT / "claims.yaml"
    return top if top.is_file() else ROOT / "maskbench/config/claims.yaml"  # the same file, in an installed package


def read_claims(path: str | Path) -> Claims:
    """Read and validate a file of claims.

    Raises
    ------
    InputError
        With one line for each mistake: file, key, what was expected, what was found.
    """
    content = read_yaml(Path(path))
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping with margins, claims and gates")
    try:
        return Claims.model_validate(content)
    except ValidationError as error:
        raise InputError(*(f"{path}: {line}" for line in explain(error, content))) from None


def claims_hash(path: str | Path) -> str:
    """Return the hash of a file of claims by which verdicts know it: the first 16 digits of its SHA-256."""
    return sha256_file(path)[:16]
