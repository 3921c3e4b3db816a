"""The claims one by one, in Markdown: verdicts with their numbers, what they mean, what it takes to decide the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from maskbench.analysis.findings import whole
from maskbench.analysis.rates import DIFFER
from maskbench.report import text
from maskbench.report.claims import PROPERTIES, VERDICT_SYMBOLS, records, refusal, sentence
from maskbench.report.findings.source import decision, practice
from maskbench.report.formats import markdown_cell
from maskbench.report.reasons import DECIDED, remarks
from maskbench.report.reference import contrast, effect, named, seeds, verdict_word, with_runs
from maskbench.report.tuning import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maskbench.report.findings.record import Record
    from maskbench.report.findings.source import Source
    from maskbench.report.reference import Behind, Half

_NEEDED = re.compile(r"(\d+ [a-z ]*seeds (find|show|tell|can never)|One [a-z ]*seed says|To .* takes more) ")
"""How a sentence of a note begins that says what a decision takes."""

ELSEWHERE = " ‡"
"""Behind a number at tuned rates that a further study found."""

SHOWN_MODELS = 3
"""Most models that a cell of a table names; of more, the first and their number."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; everything in its cells is escaped."""
    lines = [header, ["---"] * len(header), *([markdown_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_symbol(row: dict[str, Any]) -> str:
    """Return a verdict with its sign before it."""
    return f"{VERDICT_SYMBOLS[row['verdict']]} {verdict_word(row)}"


def of_seeds(row: dict[str, Any]) -> str:
    """Return a cell with the number of seeds, and of what they are if it is not fine-tuning."""
    return seeds(row) if row["kind"] == "models" else seeds(row).split(" ")[0]


def tested(half: Half, claim: str) -> list[dict[str, Any]]:
    """Return the rows of a claim that were tested, on all tasks together."""
    return [row for row in half.pooled(claim) if row["verdict"] != "not tested"]


def of_claim(source: Source, record: Record, others: Sequence[Record | None], claim: dict[str, Any]) -> Iterator[str]:
    """Yield the paragraphs about a claim that was tested; `others` are the records of the further studies."""
    half, name = record.reference.shared, claim["id"]
    head = half.head(name)
    yield f"### {name} · {claim['claim']}"
    against = remarks(half, record.reference.tuned, name)
    doubts = f" ({'; '.join(against)})" if against else ""
    yield f"**{VERDICT_SYMBOLS[head['verdict']]} {head['verdict']}**{doubts}. {sentence(head)}"
    yield f"In practice: {practice(source, record, name)}"
    yield table(*_table(record, name))
    if claim.get("expectation", text.DASH) != text.DASH:
        yield f"Expected before: {claim['expectation']}"
    if alone := list(_alone(half, name)):
        yield f"On single tasks: {'; '.join(alone)}."
    yield from _decided_elsewhere(source, record, others, claim)
    if left := [row for row in half.pooled(name) if row["verdict"] == "not tested"]:
        reasons: dict[str, list[str]] = {}
        for row in left:
            reasons.setdefault(row["note"].rstrip("."), []).append(f"{row['contrast']} on {named(row['measure'])}")
        yield f"Not tested: {'; '.join(f'{text.listed(rows)} ({why})' for why, rows in reasons.items())}."


def _table(record: Record, claim: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the numbers of a claim."""
    half, rows = record.reference.shared, []
    for row in tested(half, claim):
        behind, tuned = half.behind(row), record.reference.at_tuned(row)
        cells = [contrast(row), named(row["measure"]), with_symbol(row), effect(row) or text.DASH]
        if record.reference.tuned:
            mark = MARK if tuned and DIFFER in tuned["note"] else ""
            mark += ELSEWHERE if tuned and isinstance(tuned.get("study"), str) else ""
            said = [with_symbol(tuned), effect(tuned), seeds(tuned)] if tuned else [text.DASH]
            cells.append(", ".join(filter(None, said)) + mark)
        runs = text.plain(behind.runs, 0) if behind.runs else _measured(row)
        rows.append([*cells, of_seeds(row), runs, _on(row, behind)])
    rate = ["at tuned rates"] if record.reference.tuned else []
    return ["contrast", "measure", "verdict", "effect, 95 % interval", *rate, "seeds", "runs", "on"], rows


def _measured(row: dict[str, Any]) -> str:
    """Return how many runs a property was measured in, as its note says it."""
    found = re.search(r"of (\d+) runs", row["note"])
    return found[1] if found else text.DASH


def _on(row: dict[str, Any], behind: Behind) -> str:
    """Return tasks and models that a row is about."""
    if not behind.tasks:
        return "each task alone, on clean text" if row["verdict"] in PROPERTIES else text.DASH
    models = behind.models
    if len(models) > SHOWN_MODELS:
        models = [*models[: SHOWN_MODELS - 1], f"{len(models) - SHOWN_MODELS + 1} more"]
    return f"{', '.join(behind.tasks)}; {', '.join(models)}"


def rows_on_tasks(half: Half, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of single tasks where there are several; none unless they or the row itself are decided.

    All of them: what is decided over all tasks together need not be decided on each, or on any.
    """
    own = half.rows(row["claim"])
    own = own[~whole(own["scope"]) & (own["contrast"] == row["contrast"]) & (own["measure"] == row["measure"])]
    alone = [one for one in records(own) if one["verdict"] != "not tested"]
    told = any(one["verdict"] in DECIDED for one in [*alone, row])
    return alone if told and len(alone) > 1 else []


def on_tasks(half: Half, row: dict[str, Any]) -> list[str]:
    """Say what was found on single tasks, as `rows_on_tasks` has it."""
    return [f"{one['scope']} {verdict_word(one)} ({with_runs(half, one)})" for one in rows_on_tasks(half, row)]


def _alone(half: Half, claim: str) -> Iterator[str]:
    """Yield what was found on single tasks, of rows of which anything is decided."""
    for row in half.pooled(claim):
        if found := on_tasks(half, row):
            yield f"{row['contrast']} on {named(row['measure'])}: {', '.join(found)}"


def _decided_elsewhere(
    source: Source, record: Record, others: Sequence[Record | None], claim: dict[str, Any]
) -> Iterator[str]:
    """Yield what the further studies decided of a claim, all of them in one sentence, if they decided anything.

    Rows count whose contrast and margin are those that the reference study has for the claim.
    """
    found = []
    for item, own in zip(source.further, others, strict=True):
        half = own.reference.shared if own and own.reference.same(claim) else None
        rows = [row for row in half.pooled(claim["id"]) if row["verdict"] in (*DECIDED, *PROPERTIES)] if half else []
        said = [decision(half, row) for row in rows if half and record.reference.twin(claim, row)]
        found += [f"{item.title}: {'; '.join(said)}"] if said else []
    if found:
        yield f"Decided in other studies: {'. '.join(found)}."


def undecided(record: Record) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of what was tested and not decided, with what a decision takes."""
    half, rows = record.reference.shared, []
    for claim in record.claims:
        for row in tested(half, claim["id"]):
            if row["verdict"] not in (*DECIDED, *PROPERTIES):
                least = "" if row["mde"] != row["mde"] else text.amount(row["mde"], row["unit"])
                runs = text.plain(half.behind(row).runs, 0)
                found = [effect(row) or text.DASH, seeds(row), runs, least or text.DASH, needed(row)]
                rows.append([claim["id"], contrast(row), named(row["measure"]), with_symbol(row), *found])
    least = "least effect found"
    return ["claim", "contrast", "measure", "verdict", "effect", "seeds", "runs", least, "what it takes"], rows


def needed(row: dict[str, Any]) -> str:
    """Return what a note says of what it takes to decide, or why it was refused, which more seeds do not change."""
    if why := refusal(row):
        return f"It was refused, whatever the number of seeds: {why}"
    sentences = re.split(r"(?<=\.)\s+", row["note"])
    return " ".join(filter(_NEEDED.match, sentences)) or sentences[0] or text.DASH


def untested(source: Source, record: Record, others: Sequence[Record | None]) -> Iterator[str]:
    """Yield a line for each claim of which the reference study tested nothing; some of them another study did."""
    half = record.reference.shared
    for claim in record.claims:
        if half.head(claim["id"])["verdict"] == "not tested":
            note = half.head(claim["id"])["note"] or "The study does not have what it needs."
            told = [
                item.title
                for item, own in zip(source.further, others, strict=True)
                if own and own.reference.same(claim) and tested(own.reference.shared, claim["id"])
            ]
            parts = [f"- {claim['id']} · {claim['claim']} {text.sentence_case(note)}"]
            parts += [f"Tested in another study: {text.listed(told)}."] if told else []
            yield " ".join([*parts, *_decided_elsewhere(source, record, others, claim)])
