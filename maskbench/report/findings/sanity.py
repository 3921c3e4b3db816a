"""The record beside published numbers: scores of plain fine-tuning, and effects of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.report import text
from maskbench.report.claims import sentence
from maskbench.report.findings.places import address, numbers_at
from maskbench.report.reference import beside, verdict_word

if TYPE_CHECKING:
    from maskbench.report.findings.places import Book
    from maskbench.report.findings.record import Plain
    from maskbench.report.findings.source import Source

NONE_KNOWN = "None is known to us for a model of this size."
"""What stands beside a score without a published one."""


def scores(source: Source, book: Book) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: each task, model and train size, with what was published for a like one.

    Of further studies, those for which something was published.
    """
    rows = [_score(source, None, one) for one in book.own.plain]
    for study, other in book.others.items():
        known = {(item.task, item.model) for item in source.scores if item.study == study}
        rows += [_score(source, study, one) for one in (other.plain if other else []) if (one.task, one.model) in known]
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


def _score(source: Source, study: str | None, one: Plain) -> list[str]:
    """Return the cells of a row."""
    own = [item for item in source.scores if (item.study, item.task, item.model) == (study, one.task, one.model)]
    published = "; ".join(f"{item.number} ({item.of}; {item.source})" for item in own) or text.DASH
    differs = " ".join(dict.fromkeys(item.differs for item in own)) or NONE_KNOWN
    return [*one.cells, published, differs]


def effects(source: Source, book: Book) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: each published effect with the rows of the records that are nearest to it."""
    rows = []
    for index, item in enumerate(source.effects):
        found = "; ".join(_found(book, words, f"effects[{index}].rows") for words in item.rows)
        rows.append([item.what, f"{item.number} ({item.source})", found, item.differs])
    return ["what", "published", "here", "why they may differ"], rows


def _found(book: Book, words: str, place: str) -> str:
    """Say what stands at a place: verdict and number, or a difference from plain fine-tuning, which has no verdict."""
    record, parts = book.find(words, place)
    if parts[0].endswith(" texts"):
        known = numbers_at(book, words, place)
        on = f" on {parts[3]}" if len(parts) == 4 else ""
        return f"{parts[2]}{on}: {known['effect']}, {parts[1]} vs none, {known['seeds']}, {known['runs']}"
    _, row = address(record, " | ".join(parts), place)
    if row["verdict"] == "not tested":
        return f"not tested: {sentence(row)}"
    return f"{verdict_word(row)}: {beside(record.reference, row)}"
