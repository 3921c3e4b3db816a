"""Read along.csv: what was measured along the training of each run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.analysis.metrics import ALONG_COLUMNS, CheckedTable, filled, number_or_empty

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def _whole(text: str) -> int:
    """Accept a whole number of at least 0."""
    if not text.isdecimal():
        raise ValueError
    return int(text)


def read_along(path: Path) -> pd.DataFrame:
    """Read along.csv: `run`, `step` (updates done), `measure` and `value` (NaN where there is none).

    Raises
    ------
    InputError
        Naming the file, the line and the column.
    """
    table = CheckedTable(path, ALONG_COLUMNS)
    table.parse("run", filled, "text", "str")
    table.parse("step", _whole, "a whole number of at least 0", "int64")
    table.parse("measure", filled, "text", "str")
    table.parse("value", number_or_empty, "a finite number or nothing", "float64")
    return table.frame[list(ALONG_COLUMNS)]
