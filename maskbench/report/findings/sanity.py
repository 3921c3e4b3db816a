"""The record beside published numbers: scores of plain fine-tuning, and effects of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.report import text
from maskbench.report.claims import sentence
from maskbench.report.findings.source import address
from maskbench.report.reference import beside, verdict_word

if TYPE_CHECKING:
    from maskbench.report.findings.record import Record
    from maskbench.report.findings.source import Source


def scores(source: Source, record: Record) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: each task, model and train size, with what was published for a like one."""
    rows = []
    for one in record.plain:
        own = [item for item in source.scores if (item.task, item.model) == (one.task, one.model)]
        published = "; ".join(f"{item.number} ({item.of}; {item.source})" for item in own) or text.DASH
        differs = " ".join(dict.fromkeys(item.differs for item in own)) or text.DASH
        rows.append([*one.cells, published, differs])
    header = [
        "task",
        "model",
        "train size",
        "score",
        "seeds and runs",
        "majority class",
        "published",
        "why they may differ",
    ]
    return header, rows


def effects(source: Source, record: Record) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: each published effect with the row of the record that is nearest to it."""
    rows = []
    for index, item in enumerate(source.effects):
        _, row = address(record, item.row, f"effects[{index}].row")
        if row["verdict"] == "not tested":
            found = f"not tested: {sentence(row)}"
        else:
            found = f"{verdict_word(row)}: {beside(record.reference, row)}"
        rows.append([item.what, f"{item.number} ({item.source})", found, item.differs])
    return ["what", "published", "here", "why they may differ"], rows
