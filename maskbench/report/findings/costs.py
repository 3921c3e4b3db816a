"""What each mask changes and costs beside plain fine-tuning, in tables: differences, and no verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskbench.analysis.compare import ALL_TASKS
from maskbench.report import text
from maskbench.report.blocks import size_number, size_text
from maskbench.report.claims import records
from maskbench.report.findings.places import difference

if TYPE_CHECKING:
    import pandas as pd

    from maskbench.report.findings.record import Record

SHOWN = {"score": "score", "loss_gap": "generalisation gap", "step_time": "time per update"}
"""The measures of the table, with what stands above them."""

ALONE = "score on each task"
"""The heading of the column with the scores of single tasks."""


def costs(record: Record) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: what each mask did to score, gap and time, the best score first; twins are left out."""
    found = []
    for (name, model, _), part in _blocks(record, record.design.size):
        rows = _rows(part)
        if set(rows) == set(SHOWN) and int(rows["score"]["n_seeds"]):
            found.append((-rows["score"]["estimate"], [str(name), *_cells(part, rows), _on(part, str(model))]))
    header = ["mask", SHOWN["score"], ALONE, *list(SHOWN.values())[1:], "seeds", "runs", "on"]
    return header, [cells for _, cells in sorted(found, key=lambda one: one[0])]


def by_size(record: Record) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: the same of the masks that ran with several numbers of training texts, by this number."""
    found: dict[tuple[str, str], list[tuple[float, list[str]]]] = {}
    for (name, model, size), part in _blocks(record):
        rows = _rows(part)
        if "score" in rows and int(rows["score"]["n_seeds"]):
            cells = [str(name), size_text(size), *_cells(part, rows), _on(part, str(model))]
            found.setdefault((str(name), str(model)), []).append((size_number(size), cells))
    header = ["mask", "training texts", SHOWN["score"], ALONE, *list(SHOWN.values())[1:], "seeds", "runs", "on"]
    several = [own for own in found.values() if len(own) > 1]
    return header, [cells for own in several for _, cells in sorted(own, key=lambda one: one[0])]


def _blocks(record: Record, size: str | None = None) -> Any:
    """Return the comparisons of every mask on clean text of one task, by mask, model and number of training texts."""
    table = record.compared_alone
    own = table["strategy"].isin(record.design.masks) & table["measure"].isin(SHOWN)
    own &= (table["train_size"] == size) if size else True
    return table[own].groupby(["strategy", "model", "train_size"], sort=False)


def _rows(part: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the rows of a strategy by measure: over all of its tasks, or of the one that it has."""
    pooled = part[part["task"] == ALL_TASKS]
    return {row["measure"]: row for row in records(pooled if len(pooled) else part)}


def _tasks(part: pd.DataFrame) -> list[str]:
    return [str(task) for task in part["task"].unique() if task != ALL_TASKS]


def _cells(part: pd.DataFrame, rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return the numbers of a row; both arms have a run for each seed and task."""
    seeds, tasks = int(rows["score"]["n_seeds"]), _tasks(part)
    alone = records(part[(part["measure"] == "score") & (part["task"] != ALL_TASKS)])
    by_task = ", ".join(f"{row['task']} {difference(row)}" for row in alone) if len(alone) > 1 else text.DASH
    score, *others = [difference(rows[measure]) if measure in rows else text.DASH for measure in SHOWN]
    return [score, by_task, *others, str(seeds), text.plain(2 * seeds * len(tasks), 0)]


def _on(part: pd.DataFrame, model: str) -> str:
    return f"{', '.join(_tasks(part))}; {model}"
