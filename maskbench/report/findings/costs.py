"""What each mask changes and costs beside plain fine-tuning, in one table: differences, and no verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskbench.analysis.compare import ALL_TASKS
from maskbench.config.conditions import CLEAN
from maskbench.report import text
from maskbench.report.claims import records

if TYPE_CHECKING:
    import pandas as pd

    from maskbench.report.findings.record import Record

SHOWN = {"score": "score", "loss_gap": "generalisation gap", "step_time": "time per update"}
"""The measures of the table, with what stands above them."""


def costs(record: Record) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: what each mask did to score, gap and time, the best score first; twins are left out."""
    table = record.comparisons
    own = (table["regime"] == "single") & (table["condition"] == CLEAN.name)
    own &= (table["train_size"] == record.design.size) & table["strategy"].isin(record.design.masks)
    table = table[own & table["measure"].isin(SHOWN)]
    found = []
    for (name, model), part in table.groupby(["strategy", "model"], sort=False):
        rows = _rows(part)
        if set(rows) == set(SHOWN) and int(rows["score"]["n_seeds"]):
            tasks = [task for task in part["task"].unique() if task != ALL_TASKS]
            found.append((-rows["score"]["estimate"], _cells(str(name), str(model), rows, tasks)))
    header = ["mask", *SHOWN.values(), "seeds", "runs", "on"]
    return header, [cells for _, cells in sorted(found, key=lambda one: one[0])]


def _rows(part: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the rows of a strategy by measure: over all of its tasks, or of the one that it has."""
    pooled = part[part["task"] == ALL_TASKS]
    return {row["measure"]: row for row in records(pooled if len(pooled) else part)}


def _cells(name: str, model: str, rows: dict[str, dict[str, Any]], tasks: list[str]) -> list[str]:
    """Return the cells of a row; both arms have a run for each seed and task."""
    seeds = int(rows["score"]["n_seeds"])
    of_all = [rows[measure] for measure in SHOWN]
    effects = [text.difference(row["estimate"], row["ci_low"], row["ci_high"], row["unit"]) for row in of_all]
    return [name, *effects, str(seeds), text.plain(2 * seeds * len(tasks), 0), f"{', '.join(tasks)}; {model}"]
