"""The files of the statistics: their columns and words, for those who write them, and how they are read, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from maskbench.analysis.metrics import CheckedTable, filled, known_measure, number_or_empty, one_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

AT_A_PRICE: Literal["invalid: at the price of the score"] = "invalid: at the price of the score"
"""Less interference of an arm whose score is not known to be as good as the other's."""

Verdict = Literal[
    "supported",
    "contradicted",
    "equivalent",
    "inconclusive",
    "invalid",
    "invalid: at the price of the score",
    "holds",
    "false",
    "not tested",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""All verdicts, in the order in which they are counted and sorted."""

ControlResult = Literal["passed", "failed", "undecided", "not run"]
CONTROL_RESULTS: tuple[ControlResult, ...] = get_args(ControlResult)
"""Possible outcomes of a gate."""

METHODS = ("mixed model", "IQM", "sign flips", "probability of improvement", "ROPE", "failed runs imputed")
"""Other ways to look at the same differences."""

POOLED = "pooled"
"""In the column `scope`: all tasks together, each counting the same."""

OTHERS = " vs others"
"""Ends the scope of an interaction: one task against the mean of the others, which is about all tasks, too."""

VERDICT_COLUMNS = (
    *("claim", "contrast", "measure", "scope", "estimate", "ci_low", "ci_high", "interval", "p", "p_holm", "q"),
    *("n_seeds", "mde", "delta", "verdict", "unguarded", "note", "unit", "claims_hash"),
)
"""Columns of verdicts.csv; one row for each contrast, measure and scope."""

BOTH, PARTLY, SEEDS = "seeds × texts", "seeds × texts of some seeds", "seeds"
"""In the column `interval`: what interval and p are about, unseen seeds and unseen texts, or unseen seeds alone. Where
outcomes.parquet lacks the outcomes of some runs, the variance of the texts is that of the seeds whose runs have them.
"""

OF_MODELS = {name: name.replace("seeds", "pretraining × fine-tuning seeds", 1) for name in (BOTH, PARTLY, SEEDS)}
"""The same, between pretraining recipes: about unseen seeds of both kinds."""

INTERVALS = (BOTH, PARTLY, SEEDS, *OF_MODELS.values())
"""All that the column `interval` may say."""

PAIR_COLUMNS = (
    *("claim", "contrast", "measure", "task", "model", "regime", "condition", "train_size", "seed"),
    *("of", "against", "difference", "unit"),
)
"""Columns of pairs.csv; one row for each difference that a verdict rests on."""

GATE_COLUMNS = (
    *("gate", "sentence", "contrast", "measure", "scope", "estimate", "ci_low", "ci_high", "p", "n_seeds"),
    *("outcome", "note"),
)
"""Columns of gates.csv, in their order."""

COMPONENT_COLUMNS = (
    *("claim", "contrast", "measure", "scope", "unit", "n_pretraining", "n_fine_tuning"),
    *("pretraining_sd", "fine_tuning_sd", "rest_sd", "texts_se", "se"),
)
"""Columns of components.csv: what a difference between two pretraining recipes varies by, as standard deviations.

Of one pretraining seed, of one fine-tuning seed in what it does to all pretraining seeds alike, and of a single run
besides; then the standard errors of the mean from the test texts, and from all together. Empty: it is not known.
"""

SENSITIVITY_COLUMNS = (
    *("claim", "contrast", "measure", "scope", "method", "estimate", "ci_low", "ci_high", "agrees", "note"),
)
"""Columns of sensitivity.csv, in their order."""


def whole(scopes: pd.Series[str]) -> pd.Series[bool]:
    """Tell which scopes are about all tasks: the pooled one, and of an interaction each task against the others."""
    return (scopes == POOLED) | scopes.str.endswith(OTHERS)


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


def _names(table: CheckedTable, columns: Sequence[str]) -> None:
    """Parse columns of text, and measures; what is not named is parsed by the caller."""
    for column in columns:
        if column == "measure":
            table.parse("measure", known_measure, "a measure of docs/measures.md", "str")
        elif column in ("note", "unit", "unguarded"):
            table.parse(column, str, "text", "str")
        else:
            table.parse(column, filled, "text", "str")


def _numbers(table: CheckedTable, *columns: str) -> None:
    for column in columns:
        table.parse(column, number_or_empty, "a finite number or nothing", "float64")


def _probabilities(table: CheckedTable, *columns: str) -> None:
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
    table = CheckedTable(path, VERDICT_COLUMNS)
    _names(table, ("claim", "contrast", "measure", "scope", "unguarded", "note", "unit", "claims_hash"))
    _numbers(table, "estimate", "ci_low", "ci_high", "mde", "delta")
    _probabilities(table, "p", "p_holm", "q")
    table.parse("interval", one_of((*INTERVALS, "")), f"{', '.join(INTERVALS)} or nothing", "str")
    table.parse("n_seeds", _whole_or_empty, "a whole number or nothing", "float64")
    table.parse("verdict", one_of(VERDICTS), f"one of {', '.join(VERDICTS)}", "str")
    frame = table.frame[list(VERDICT_COLUMNS)]
    key = ["claim", "contrast", "measure", "scope"]
    if (again := frame.duplicated(key)).any():
        row = int(again.to_numpy().argmax())
        raise table.refuse(row, "scope", "each claim, contrast, measure and scope once")
    bare = frame["estimate"].isna() & frame["verdict"].isin(
        ("supported", "contradicted", "equivalent", "holds", "false")
    )
    if bare.any():
        raise table.refuse(int(bare.to_numpy().argmax()), "estimate", "a number beside such a verdict")
    return frame


def read_pairs(path: Path) -> pd.DataFrame:
    """Read analysis/pairs.csv: the runs behind each number of verdicts.csv."""
    table = CheckedTable(path, PAIR_COLUMNS)
    _names(table, ("claim", "contrast", "measure", "task", "model", "regime", "condition", "train_size"))
    _names(table, ("of", "against", "unit"))
    table.parse("seed", int, "a whole number", "int64")
    _numbers(table, "difference")
    return table.frame[list(PAIR_COLUMNS)]


def read_gates(path: Path) -> pd.DataFrame:
    """Read analysis/gates.csv: what each control of each measure came to."""
    table = CheckedTable(path, GATE_COLUMNS)
    _names(table, ("gate", "sentence", "note"))
    for column in ("contrast", "scope"):
        table.parse(column, str, "text", "str")
    table.parse("measure", _optional_measure, "a measure of docs/measures.md or nothing", "str")
    _numbers(table, "estimate", "ci_low", "ci_high")
    _probabilities(table, "p")
    table.parse("n_seeds", _whole_or_empty, "a whole number or nothing", "float64")
    table.parse("outcome", one_of(CONTROL_RESULTS), f"one of {', '.join(CONTROL_RESULTS)}", "str")
    return table.frame[list(GATE_COLUMNS)]


def read_sensitivity(path: Path) -> pd.DataFrame:
    """Read analysis/sensitivity.csv: the same differences, looked at in other ways."""
    table = CheckedTable(path, SENSITIVITY_COLUMNS)
    _names(table, ("claim", "contrast", "measure", "scope", "note"))
    table.parse("method", one_of(METHODS), f"one of {', '.join(METHODS)}", "str")
    _numbers(table, "estimate", "ci_low", "ci_high")
    table.parse("agrees", one_of(("yes", "no", "")), "yes, no or nothing", "str")
    return table.frame[list(SENSITIVITY_COLUMNS)]
