"""Read what the statistics found: verdicts, the pairs of runs behind them, gates, sensitivity and the claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maskbench.analysis.findings import (
    GATE_COLUMNS,
    METHODS,
    OUTCOMES,
    PAIR_COLUMNS,
    SENSITIVITY_COLUMNS,
    VERDICT_COLUMNS,
    VERDICTS,
)
from maskbench.analysis.metrics import Table, filled, known_measure, number_or_empty, one_of
from maskbench.errors import InputError
from maskbench.io.files import read_json

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import pandas as pd

FILES = ("verdicts.csv", "analysis/pairs.csv", "analysis/gates.csv", "analysis/sensitivity.csv", "analysis/claims.json")
"""What is read, in the folder of the study."""


@dataclass(frozen=True)
class Evidence:
    """What the statistics of a study found; the columns of the tables are those of the files."""

    claims: list[dict[str, Any]]
    """The claims, in the order of their file; each has at least `id` and `claim`."""
    file: str
    """Where the claims are written."""
    digest: str
    """Hash of that file's content."""
    changed: str | None
    """A sentence, if the claims changed after runs were made."""
    verdicts: pd.DataFrame
    """With the column `kind` besides: that of the contrast (paired, trend, curve, ...); empty if it is not known."""
    pairs: pd.DataFrame
    gates: pd.DataFrame
    sensitivity: pd.DataFrame


def _whole_or_empty(text: str) -> float:
    """Accept a whole number of at least 0, or nothing, which becomes NaN."""
    if text and not text.isdecimal():
        raise ValueError
    return float(text) if text else float("nan")


def _probability(text: str) -> float:
    """Accept a number from 0 to 1, or nothing."""
    value = number_or_empty(text)
    if not (value != value or 0.0 <= value <= 1.0):
        raise ValueError
    return value


def _names(table: Table, columns: Sequence[str]) -> None:
    """Parse columns of text, and measures; what is not named is parsed by the caller."""
    for column in columns:
        if column == "measure":
            table.parse("measure", known_measure, "a measure of maskbench/config/measures.py", "str")
        elif column in ("note", "unit"):
            table.parse(column, str, "text", "str")
        else:
            table.parse(column, filled, "text", "str")


def _numbers(table: Table, *columns: str) -> None:
    for column in columns:
        table.parse(column, number_or_empty, "a finite number or nothing", "float64")


def _probabilities(table: Table, *columns: str) -> None:
    for column in columns:
        table.parse(column, _probability, "a number from 0 to 1 or nothing", "float64")


def _optional_measure(text: str) -> str:
    """Accept a measure, or nothing: a gate that was not run may have none."""
    return known_measure(text) if text else text


def read_verdicts(path: Path) -> pd.DataFrame:
    """Read verdicts.csv; empty numbers become NaN.

    Raises
    ------
    InputError
        Naming the file and, where there is one, the line and the column.
    """
    table = Table(path, VERDICT_COLUMNS)
    _names(table, ("claim", "contrast", "measure", "scope", "note", "unit", "claims_hash"))
    _numbers(table, "estimate", "ci_low", "ci_high", "mde", "delta")
    _probabilities(table, "p", "p_holm")
    table.parse("n_seeds", _whole_or_empty, "a whole number or nothing", "float64")
    table.parse("verdict", one_of(VERDICTS), f"one of {', '.join(VERDICTS)}", "str")
    frame = table.frame[list(VERDICT_COLUMNS)]
    key = ["claim", "contrast", "measure", "scope"]
    if (again := frame.duplicated(key)).any():
        row = int(again.to_numpy().argmax())
        raise table.refuse(row, "scope", "each claim, contrast, measure and scope once")
    bare = frame["estimate"].isna() & frame["verdict"].isin(("supported", "contradicted", "equivalent"))
    if bare.any():
        raise table.refuse(int(bare.to_numpy().argmax()), "estimate", "a number beside such a verdict")
    return frame


def read_pairs(path: Path) -> pd.DataFrame:
    """Read analysis/pairs.csv: the runs behind each number of verdicts.csv."""
    table = Table(path, PAIR_COLUMNS)
    _names(table, ("claim", "contrast", "measure", "task", "model", "regime", "condition", "train_size"))
    _names(table, ("of", "against", "unit"))
    table.parse("seed", int, "a whole number", "int64")
    _numbers(table, "difference")
    return table.frame[list(PAIR_COLUMNS)]


def read_gates(path: Path) -> pd.DataFrame:
    """Read analysis/gates.csv: the controls."""
    table = Table(path, GATE_COLUMNS)
    _names(table, ("gate", "sentence", "note"))
    for column in ("contrast", "scope"):
        table.parse(column, str, "text", "str")
    table.parse("measure", _optional_measure, "a measure of maskbench/config/measures.py or nothing", "str")
    _numbers(table, "estimate", "ci_low", "ci_high")
    _probabilities(table, "p")
    table.parse("n_seeds", _whole_or_empty, "a whole number or nothing", "float64")
    table.parse("outcome", one_of(OUTCOMES), f"one of {', '.join(OUTCOMES)}", "str")
    return table.frame[list(GATE_COLUMNS)]


def read_sensitivity(path: Path) -> pd.DataFrame:
    """Read analysis/sensitivity.csv: the same differences, looked at in other ways."""
    table = Table(path, SENSITIVITY_COLUMNS)
    _names(table, ("claim", "contrast", "measure", "scope", "note"))
    table.parse("method", one_of(METHODS), f"one of {', '.join(METHODS)}", "str")
    _numbers(table, "estimate", "ci_low", "ci_high")
    table.parse("agrees", one_of(("yes", "no", "")), "yes, no or nothing", "str")
    return table.frame[list(SENSITIVITY_COLUMNS)]


def _claims(path: Path) -> dict[str, Any]:
    """Read analysis/claims.json as far as the report needs it."""
    content = read_json(path)
    try:
        claims = [dict(claim) for claim in content["claims"]]
        good = all(isinstance(claim[key], str) for claim in claims for key in ("id", "claim"))
        good = good and isinstance(content["file"], str) and isinstance(content["hash"], str)
        good = good and isinstance(content["changed"], str | None)
    except (KeyError, TypeError, ValueError):
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


def read_evidence(results: Path, runs: Collection[str]) -> Evidence:
    """Read the five files and check that they belong together and to the runs of the study.

    Parameters
    ----------
    results
        Folder of the study.
    runs
        Ids of all runs in metrics.csv.

    Raises
    ------
    InputError
        Naming the file and what is wrong.
    """
    found, analysis = _claims(results / FILES[-1]), results / "analysis"
    verdicts, pairs = read_verdicts(results / FILES[0]), read_pairs(results / FILES[1])
    gates, sensitivity = read_gates(results / FILES[2]), read_sensitivity(results / FILES[3])
    again = "make the verdicts again"
    if other := set(verdicts["claims_hash"]) - {found["hash"]}:
        raise InputError(f"{results / FILES[0]}: claims_hash: expected {found['hash']}, got {min(other)}; {again}")
    known = {claim["id"] for claim in found["claims"]}
    if silent := known - set(verdicts["claim"]):
        raise InputError(f"{results / FILES[0]}: no row for claim {min(silent)} of {analysis / 'claims.json'}; {again}")
    for name, table in zip(FILES, (verdicts, pairs, gates, sensitivity), strict=False):
        if "claim" in table and (strange := set(table["claim"]) - known):
            raise InputError(f"{results / name}: claim: {min(strange)} is not in {analysis / 'claims.json'}; {again}")
    ids = {run for column in ("of", "against") for text in pairs[column].unique() for run in text.split()}
    if missing := ids - set(runs):
        raise InputError(f"{results / FILES[1]}: run {min(missing)} is not in {results / 'metrics.csv'}; {again}")
    kinds = _kinds(found["claims"])
    keys = zip(verdicts["claim"], verdicts["contrast"], strict=True)
    verdicts = verdicts.assign(kind=[kinds.get(key, "") for key in keys])
    return Evidence(
        found["claims"], found["file"], found["hash"], found["changed"], verdicts, pairs, gates, sensitivity
    )
