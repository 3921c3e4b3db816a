"""Smaller studies of the same claims, whose records stand beside that of the reference study."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from maskbench.config.science import CONFIDENCE
from maskbench.report import text
from maskbench.report.claims import VERDICT_SYMBOLS
from maskbench.report.findings.claims import of_seeds, table, tested, with_symbol
from maskbench.report.findings.places import Book, check_verdicts, filled
from maskbench.report.findings.record import Record, recorded
from maskbench.report.reference import contrast, effect, named, verdict_word, with_runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from maskbench.report.findings.source import Further, Source


def read_further(source: Source, results: Path) -> dict[str, Record | None]:
    """Return the records of the further studies by name, in their order; None for one that has not been run yet.

    Parameters
    ----------
    source
        What people wrote.
    results
        Folder with the records, by the names of the studies.
    """
    found = {}
    for item in source.further:
        folder = results / item.study
        record = Record.read(folder) if recorded(folder) else None
        found[item.study] = record.at_tuned_rates() if record and item.rates == "tuned" else record
    return found


def with_tuned(source: Source, record: Record, others: Mapping[str, Record | None]) -> Record:
    """Return the record of the reference study, with what further studies found at tuned rates and it has not run."""
    for item in source.further:
        if item.rates == "tuned" and (own := others[item.study]) is not None:
            record = replace(record, reference=record.reference.with_tuned(own.reference.shared, item.study))
    return record


def elsewhere(source: Source, record: Record, others: Sequence[Record | None], row: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each further study that tested what a row of the reference study is about."""
    claim = record.reference.claims[row["claim"]]
    for item, own in zip(source.further, others, strict=True):
        found = own and own.reference.twin(claim, row)
        if own and found and found["verdict"] != "not tested":
            yield f"{item.title}: {with_symbol(found)}, {with_runs(own.reference.shared, found)}."


def further(source: Source, record: Record, others: Sequence[Record | None]) -> Iterator[str]:
    """Yield a section for each further study: what it asks, what it rests on, and its verdicts beside the reference's.

    Parameters
    ----------
    source, record
        What people wrote, and the record of the reference study.
    others
        Those of the further studies, in their order; None for one that has not been run yet.
    """
    for index, (item, own) in enumerate(zip(source.further, others, strict=True)):
        yield f"## {item.title}"
        yield filled(item.text, {}, f"further[{index}].text", Book(record))
        if own is None:
            yield "It has not been run yet."
        else:
            if item.found:
                check_verdicts(item.verdicts, Book(own), f"further[{index}]")
                yield filled(item.found, {}, f"further[{index}].found", Book(own))
            yield from _of_study(item, record, own)


def _of_study(item: Further, record: Record, own: Record) -> Iterator[str]:
    """Yield what a further study rests on, and the table of its verdicts."""
    part = text.count(own.done, "run") + (f" of {text.plain(own.planned, 0)} planned" if own.done < own.planned else "")
    failed = f"{text.count(own.failed, 'run')} did not complete" if own.failed else "all of them completed"
    yield (
        f"{part}, {failed}: {text.listed(own.tasks)}; {text.listed(own.models)}; up to "
        f"{text.count(own.seeds, 'seed')} a contrast. In brackets stands the {100 * CONFIDENCE:g} % interval; "
        f"results/{item.study} has the runs behind each number. The last column is the reference study's own verdict"
        f"{' at the shared learning rate' if item.rates == 'tuned' else ''}."
    )
    yield "Plain fine-tuning, with scores in per cent as mean ± standard deviation over runs:"
    header = ["task", "model", "train size", "score", "runs", "always the majority class"]
    yield table(header, [one.cells for one in own.plain])
    yield table(*_rows(record, own))


def _rows(record: Record, own: Record) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: what a further study tested, beside the same contrast and measure of the reference."""
    half, rows = own.reference.shared, []
    for claim in own.claims:
        for row in tested(half, claim["id"]):
            found = record.reference.twin(claim, row)
            beside = text.DASH
            if found and found["verdict"] != "not tested":
                beside = f"{VERDICT_SYMBOLS[found['verdict']]} {verdict_word(found)}, {effect(found)}".rstrip(", ")
            about = [claim["id"], contrast(row), named(row["measure"]), with_symbol(row), effect(row) or text.DASH]
            runs = half.behind(row).runs
            rows.append([*about, of_seeds(row), text.plain(runs, 0) if runs else text.DASH, beside])
    header = ["claim", "contrast", "measure", "verdict", "effect", "seeds", "runs", "reference study"]
    return header, rows
