"""Read what the statistics found: verdicts, the pairs of runs behind them, gates, sensitivity and the claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maskbench.analysis.findings import read_gates, read_pairs, read_sensitivity, read_verdicts
from maskbench.errors import InputError
from maskbench.io.files import read_json, sha256_file
from maskbench.io.gzipped import present

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import pandas as pd

FILES = ("verdicts.csv", "analysis/pairs.csv", "analysis/gates.csv", "analysis/sensitivity.csv", "analysis/claims.json")
"""What is read, in the folder of the study."""


@dataclass(frozen=True)
class VerdictFiles:
    """What the statistics of a study found; the columns of the tables are those of the files."""

    claims: list[dict[str, Any]]
    """The claims, in the order of their file; each has at least `id` and `claim`."""
    file: str
    """Where the claims are written."""
    digest: str
    """Hash of that file's content."""
    changed: str | None
    """A sentence, if the claims changed after runs were made."""
    errors: str | None
    """How many verdicts may be wrong by chance, over all claims together."""
    verdicts: pd.DataFrame
    """With the column `kind` besides: that of the contrast (paired, trend, curve, ...); empty if it is not known."""
    pairs: pd.DataFrame
    gates: pd.DataFrame
    sensitivity: pd.DataFrame


def _claims(path: Path) -> dict[str, Any]:
    """Read analysis/claims.json as far as the report needs it."""
    content = read_json(path)
    try:
        claims = [dict(claim) for claim in content["claims"]]
        good = all(isinstance(claim[key], str) for claim in claims for key in ("id", "claim"))
        good = good and isinstance(content["file"], str) and isinstance(content["hash"], str)
        good = good and isinstance(content["changed"], str | None)
        good = good and all(
            isinstance(contrast, dict) for claim in claims for contrast in [*claim.get("contrasts", [])]
        )
        good = good and isinstance(content.get("errors", {}).get("sentence"), str | None)
    except (AttributeError, KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise InputError(f"{path}: expected file, hash, changed and claims with id and claim; make the verdicts again")
    return {**content, "claims": claims}


def _kinds(claims: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """Return the kind of each contrast, by claim and name; a contrast has its claim's if it names none."""
    return {
        (claim["id"], str(contrast.get("name"))): str(contrast.get("kind") or claim.get("kind") or "")
        for claim in claims
        for contrast in claim.get("contrasts", [])
    }


def read_evidence(results: Path, runs: Collection[str] | None) -> VerdictFiles:
    """Read the five files and check that they belong together and to the runs of the study.

    Parameters
    ----------
    results
        Folder of the study.
    runs
        Ids of all runs in metrics.csv; None: they are not at hand, and not compared.

    Raises
    ------
    InputError
        Naming the file and what is wrong.
    """
    found, analysis = _claims(results / FILES[-1]), results / "analysis"
    verdicts, pairs = read_verdicts(results / FILES[0]), read_pairs(present(results / FILES[1]))
    gates, sensitivity = read_gates(results / FILES[2]), read_sensitivity(results / FILES[3])
    again = "make the verdicts again"
    if other := set(verdicts["claims_hash"]) - {found["hash"]}:
        raise InputError(f"{results / FILES[0]}: claims_hash: expected {found['hash']}, got {min(other)}; {again}")
    copy = results / "claims.yaml"
    if copy.exists() and not copy.is_file():
        raise InputError(f"{copy}: expected the file of the claims, found a folder")
    if copy.exists() and (digest := sha256_file(copy)[: len(found["hash"])]) != found["hash"]:
        raise InputError(f"{copy}: expected the claims of the verdicts, {found['hash']}, got {digest}; {again}")
    known = {claim["id"] for claim in found["claims"]}
    if silent := known - set(verdicts["claim"]):
        raise InputError(f"{results / FILES[0]}: no row for claim {min(silent)} of {analysis / 'claims.json'}; {again}")
    for name, table in zip(FILES, (verdicts, pairs, gates, sensitivity), strict=False):
        if "claim" in table and (strange := set(table["claim"]) - known):
            raise InputError(f"{results / name}: claim: {min(strange)} is not in {analysis / 'claims.json'}; {again}")
    ids = {run for column in ("of", "against") for text in pairs[column].unique() for run in text.split()}
    if missing := ids - (ids if runs is None else set(runs)):
        raise InputError(f"{results / FILES[1]}: run {min(missing)} is not in {results / 'metrics.csv'}; {again}")
    kinds = _kinds(found["claims"])
    keys = zip(verdicts["claim"], verdicts["contrast"], strict=True)
    verdicts = verdicts.assign(kind=[kinds.get(key, "") for key in keys])
    return VerdictFiles(
        found["claims"],
        found["file"],
        found["hash"],
        found["changed"],
        found.get("errors", {}).get("sentence"),
        verdicts,
        pairs,
        gates,
        sensitivity,
    )
