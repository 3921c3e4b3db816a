import math
from dataclasses import dataclass

import pyarrow as pa

from maskbench.kinds.reading import Content, Reading
from maskbench.kinds.rows import Rows
from maskbench.kinds.values import written


@dataclass(frozen=True, slots=True)
class Rated:
    line: int
    text: str
    value: float


class _Reading(Reading):
    noun = "text"
    class_noun = "label"
    stratified = False
    cut_words = "by a plain permutation"

    def row(self, file, line, text, label, lines=None):
        try:
            value = float(label)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise file.place.error(line, f"label: expected a number, got {label!r}")
        return Rated(line, written(text, line, file.place), value)

    def content(self, task, tables):
        rows = {
            split: Rows(
                [row.text for row in table.rows],
                [row.value for row in table.rows],
                [row.line for row in table.rows],
                table.place,
            )
            for split, table in tables.items()
        }
        return Content(["value"], rows)

    def classes(self, labels):
        return []

    def classes_of(self, target):
        return ()

    def table(self, rows):
        return pa.table(
            {
                "example": pa.array(range(len(rows.inputs)), pa.int64()),
                "text": pa.array(rows.inputs, pa.string()),
                "label": pa.array(rows.targets, pa.float64()),
            }
        )

    def counts(self, table, labels):
        return {}


PART = _Reading()
