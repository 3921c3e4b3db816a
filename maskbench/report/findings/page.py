"""docs/findings.md, composed from the record of the reference study and what people wrote in docs/findings.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.config.science import CONFIDENCE
from maskbench.config.tuning import is_tuned, untuned
from maskbench.report import text
from maskbench.report.findings.answer import answer
from maskbench.report.findings.claims import of_claim, table, undecided, untested
from maskbench.report.findings.further import further, read_further
from maskbench.report.findings.sanity import effects, scores
from maskbench.report.findings.source import check_claims, filled, surprise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from maskbench.report.findings.record import Record
    from maskbench.report.findings.source import Source

HEAD = """# What the reference study found

<!-- Written by `make findings` from results/reference and docs/findings.yaml: change these, not this page. -->
"""

NOTHING = f"""{HEAD}
The reference study has no record yet, so there is no answer. [claims.md](claims.md) says what is claimed and how claims
become verdicts; this page is written by `make findings` once `results/reference/verdicts.csv` is there.
"""
"""The page as long as there is no record."""


def page(source: Source, record: Record, image: str, results: Path) -> str:
    """Return the page.

    Parameters
    ----------
    source
        What people wrote.
    record
        The record of the reference study.
    image
        Where the figure of the answer is, seen from the page.
    results
        Folder with the records of further studies, by their names.

    Raises
    ------
    InputError
        If a sentence does not fit the record.
    """
    check_claims(source, record)
    others = read_further(source, results)
    parts = [
        HEAD.rstrip(),
        *_answer(source, record, image, others),
        "## Claim by claim",
        _reading(record),
        *_claims(source, record, others),
        *further(source, record, others),
        *_open(source, record, others),
        *_surprises(source, record),
        *_limits(source, record),
        *_sanity(source, record),
    ]
    return "\n\n".join(parts) + "\n"


def _answer(source: Source, record: Record, image: str, others: Sequence[Record | None]) -> Iterator[str]:
    yield "## Should I mask?"
    yield from answer(source, record, others)
    yield f"![Reasons to mask: effects in multiples of the margin, with verdicts]({image})"
    yield "## What it rests on"
    yield from _rests(record)


def _rests(record: Record) -> Iterator[str]:
    """Yield how many cells have run, where and when, and what the controls came to."""
    manifest, evidence = record.manifest, record.reference.shared.evidence
    planned = text.plain(record.planned, 0)
    done = f"{text.plain(record.done, 0)} of {planned} planned cells have run"
    growing = ". The record grows: everything here is about these cells alone, and what has not run is not tested"
    failed = (
        f"Of them, {text.count(record.failed, 'cell')} did not complete" if record.failed else "All of them completed"
    )
    yield (
        f"{done if record.done < record.planned else f'All {planned} cells have run'}"
        f"{growing if record.done < record.planned else ''}. {failed}. Tasks: "
        f"{text.listed(record.tasks)}. Models: {text.listed(record.models)}. Seeds: at most {record.seeds} "
        f"in a contrast. First run {manifest['first_start']}, last run {manifest['last_start']}; "
        f"{text.duration(manifest['wall_s'] + manifest['probe_s'])} of training and probing in all."
    )
    machines = sorted({f"{one['device_name']} ({one['device']}, {one['precision']})" for one in manifest["records"]})
    yield f"Machines: {text.listed(machines)}. Which machine made which cell stands in results/reference/manifest.json."
    counts = evidence.gates["outcome"].value_counts()
    gates = [
        f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "undecided", "not run") if outcome in counts
    ]
    yield (
        f"Controls, by contrast, measure and task: {', '.join(gates)}. A verdict whose controls were not all passed is "
        f"called unguarded. Claims and margins were written down before: {evidence.file}, hash "
        f"`{evidence.digest[:16]}`. " + (evidence.changed or "They have not changed since the runs were made.")
    )
    if evidence.errors:
        yield evidence.errors


def _reading(record: Record) -> str:
    names = [untuned(name) for name in record.numbers["strategy"].unique() if is_tuned(name)]
    tuned = (
        f" {text.listed([f'`{name}`' for name in names])} were run again at the learning rate that was tuned for each."
        if record.reference.tuned and names
        else ""
    )
    return (
        "Each claim begins with the verdict on its first contrast and measure that was tested; the table has all of "
        "them, over all tasks together. Effects are signed so that + is as the claim says; in brackets stands the "
        f"{100 * CONFIDENCE:g} % interval. Seeds and runs are those that the number rests on; analysis/pairs.csv of "
        f"the record names every run."
        f"{tuned} A row may be inconclusive although its interval leaves out 0: intervals are of one row alone, and a "
        "verdict counts all rows of its claim, asks for the margin, and is refused where runs are missing or learned "
        "nothing. [claims.md](claims.md) says how verdicts are made."
    )


def _claims(source: Source, record: Record, others: Sequence[Record | None]) -> Iterator[str]:
    for claim in record.claims:
        if record.reference.shared.head(claim["id"])["verdict"] != "not tested":
            yield from of_claim(source, record, others, claim)


def _open(source: Source, record: Record, others: Sequence[Record | None]) -> Iterator[str]:
    yield "## What could not be decided, and what it would take"
    header, rows = undecided(record)
    if rows:
        yield (
            "The least effect found is the smallest true effect that these seeds would call supported in four of five "
            "studies; a smaller one would mostly stay undecided."
        )
        yield table(header, rows)
    else:
        yield "All that was tested is decided."
    if lines := list(untested(source, record, others)):
        yield "Not tested at all:"
        yield "\n".join(lines)


def _surprises(source: Source, record: Record) -> Iterator[str]:
    if not source.surprises:
        return
    yield "## What surprised, and the check that it was no error"
    for index, note in enumerate(source.surprises):
        title, words, check = surprise(note, record, f"surprises[{index}]")
        yield f"**{title}** {words} Checked: {check}"


def _limits(source: Source, record: Record) -> Iterator[str]:
    yield "## Limits"
    lines = [filled(said, {}, f"limits[{index}]", record) for index, said in enumerate(source.limits)]
    if record.done < record.planned:
        lines.append(f"{text.count(record.planned - record.done, 'planned cell')} have not run yet.")
    yield "\n".join(f"- {line}" for line in lines)


def _sanity(source: Source, record: Record) -> Iterator[str]:
    yield "## Beside published numbers"
    yield (
        "Plain fine-tuning of each task and model, beside what was published for models of the size. Scores are in per "
        "cent (accuracy; of names, entity F1), as mean ± standard deviation over seeds."
    )
    yield table(*scores(source, record))
    yield "Published effects of masks, beside those found here:"
    yield table(*effects(source, record))
