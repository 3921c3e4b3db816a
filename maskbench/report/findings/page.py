"""docs/findings.md, composed from the record of the reference study and what people wrote in docs/findings.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.config.science import CONFIDENCE
from maskbench.config.tuning import is_tuned, untuned
from maskbench.report import text
from maskbench.report.blocks import size_words
from maskbench.report.findings.answer import answer
from maskbench.report.findings.claims import ELSEWHERE, of_claim, table, undecided, untested
from maskbench.report.findings.costs import by_size, costs
from maskbench.report.findings.further import further
from maskbench.report.findings.places import filled
from maskbench.report.findings.sanity import effects, scores
from maskbench.report.findings.source import check_claims, surprise
from maskbench.report.reference import named
from maskbench.report.tuning import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maskbench.report.findings.places import Book
    from maskbench.report.findings.record import Record
    from maskbench.report.findings.source import Source

HEAD = """# What the reference study found

<!-- Written by `make findings` from results/reference and docs/findings.yaml: change these, not this page. -->
"""

HALVES = "halves"
"""The control that compares plain fine-tuning with itself."""

NOTHING = f"""{HEAD}
The reference study has no record yet, so there is no answer. [claims.md](claims.md) says what is claimed and how claims
become verdicts; this page is written by `make findings` once `results/reference/verdicts.csv` is there.
"""
"""The page as long as there is no record."""


def page(source: Source, book: Book, image: str) -> str:
    """Return the page.

    Parameters
    ----------
    source
        What people wrote.
    book
        The record of the reference study, and those of the further studies in the order of `source`.
    image
        Where the figure of the answer is, seen from the page.

    Raises
    ------
    InputError
        If a sentence does not fit the record.
    """
    record = book.own
    check_claims(source, record)
    others = list(book.others.values())
    parts = [
        HEAD.rstrip(),
        *_answer(source, book, image, others),
        *_costs(record),
        "## Claim by claim",
        _reading(source, record, others),
        _words(),
        *_claims(source, record, others),
        *further(source, record, others),
        *_open(source, record, others),
        *_surprises(source, book),
        *_limits(source, book),
        *_sanity(source, book),
    ]
    return "\n\n".join(parts) + "\n"


def _answer(source: Source, book: Book, image: str, others: Sequence[Record | None]) -> Iterator[str]:
    yield "## Should I mask?"
    yield from answer(source, book, others)
    yield f"![Reasons to mask: effects in multiples of the margin, with verdicts]({image})"
    yield "## What it rests on"
    yield from _rests(book.own)


def _rests(record: Record) -> Iterator[str]:
    """Yield how many cells have run, where and when, and what the controls came to."""
    manifest, evidence = record.manifest, record.reference.shared.evidence
    planned = text.plain(record.planned, 0)
    done = f"{text.plain(record.done, 0)} of {planned} planned cells have run"
    growing = ": everything here is about these cells alone, and what has not run is not tested"
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
    yield (
        f"Machines: {text.listed(machines)}. Which machine made which cell stands in "
        "results/reference/manifest.json.gz."
    )
    yield _training(record)
    counts = evidence.gates["outcome"].value_counts()
    gates = [
        f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "undecided", "not run") if outcome in counts
    ]
    wanting = evidence.gates[evidence.gates["outcome"] != "passed"].drop_duplicates("gate")
    about = []
    for row in wanting.to_dict("records"):
        place = f" on {named(row['measure'])}" if row["measure"] else ""
        about.append(f"{row['gate']}{place}: {row['outcome']}")
    lacking = f" ({'; '.join(about)})" if about else ""
    yield (
        f"Controls, by contrast, measure and task: {', '.join(gates)}{lacking}. A decided verdict whose controls were "
        f"not all passed is called unguarded; an undecided one needs no control.{_halves(record)} "
        f"Claims and margins were written down before the first run ({evidence.file}, hash `{evidence.digest[:16]}`). "
        + (evidence.changed or "They have not changed since the runs were made.")
        + " [reference.md](reference.md#what-was-fixed-when) says what was fixed when."
    )
    if evidence.errors:
        yield f"{evidence.errors} Properties, and rows without a p-value, do not count here."


def _halves(record: Record) -> str:
    """Say how far plain fine-tuning is from itself under other seeds, which is what chance alone does."""
    gates, units = record.reference.shared.evidence.gates, record.comparisons.groupby("measure")["unit"].first()
    own = gates[(gates["gate"] == HALVES) & gates["estimate"].notna() & gates["measure"].isin(units.index)]
    found = [
        f"{text.difference(row['estimate'], row['ci_low'], row['ci_high'], units[row['measure']])} on "
        f"{named(row['measure'])} ({row['n_seeds']:g} pairs of seeds, {text.chance(row['p'])})"
        for row in own.to_dict("records")
    ]
    if not found:
        return ""
    said = "Plain fine-tuning under half of its seeds differs from that under the other half by"
    return f" {said} {' and by '.join(found)}."


def _training(record: Record) -> str:
    """Say how the runs were trained, and what the mask is that most claims are about."""
    said, drawn = record.design.training, record.design.random
    texts = size_words([record.design.size], "text")
    words = (
        f"Unless a claim is about something else, a run learns from {texts}, in {said['epochs']:g} passes and "
        f"batches of {said['batch_size']}, at a learning rate of {said['learning_rate']:g} or that of its model or "
        "strategy. Masks act in training alone; all is measured without them."
    )
    if drawn:
        words += (
            f" `random` hides {100 * drawn['rate']:g} % of the tokens of each text, others at every pass (its "
            f"`replacement` is `{drawn['replacement']}`)."
        )
    return words


def _costs(record: Record) -> Iterator[str]:
    header, rows = costs(record)
    if not rows:
        return
    yield "## What each mask changes, and what it costs"
    yield (
        "Every mask beside plain fine-tuning, on clean text of one task, at the shared learning rate, over all tasks "
        "that it ran on; the best score first. Rows that ran on other tasks are not comparable. Differences are mask "
        "minus plain fine-tuning, so a minus is bad for the score, and good for the time and the gap; but a smaller "
        f"gap is no merit of a mask that lost score. In brackets stands the {100 * CONFIDENCE:g} % interval of each "
        "number alone: this table describes, and verdicts are given below. Times were taken while other runs used the "
        "same machine. `results/reference/tables/cost.md` has times and memory as they are, and "
        "[masks.md](masks.md) says what each mask does and how to ask for it."
    )
    yield table(header, rows)
    header, rows = by_size(record)
    if rows:
        yield "The same with more and fewer training texts, of the masks that ran with them:"
        yield table(header, rows)


def _reading(source: Source, record: Record, others: Sequence[Record | None]) -> str:
    names, tuned = _run_tuned(record), ""
    elsewhere = [item.study for item, own in zip(source.further, others, strict=True) if own and item.rates == "tuned"]
    if record.reference.tuned:
        tuned = f" {text.listed(names)} were run again at the learning rate that was tuned for each." if names else ""
        tuned += (
            f" {MARK.strip()} marks rows whose two sides were tuned to different rates, which are then part of the "
            "difference."
        )
        tuned += f" {ELSEWHERE.strip()} marks rows of {text.listed(elsewhere)} (below)." if elsewhere else ""
    return (
        "Each claim begins with the verdict on its first contrast and measure that was tested; the table has all of "
        "them, over all tasks together. Effects are signed so that + is as the claim says, and where a claim says only "
        f"that things differ, either sign supports it. In brackets stands the {100 * CONFIDENCE:g} % interval. A per "
        "cent of times and counts says how much more the second side of a contrast has than the first. Seeds and runs "
        f"are those that the number rests on; analysis/pairs.csv.gz of the record names every run.{tuned} A row may be "
        "inconclusive although its interval leaves out 0: intervals are of one row alone, and a verdict counts all "
        "rows of its claim, asks for the margin, and is refused where runs are missing or learned nothing."
    )


def _run_tuned(record: Record) -> list[str]:
    """Return the strategies that ran at tuned learning rates, as code."""
    return [f"`{untuned(name)}`" for name in record.numbers["strategy"].unique() if is_tuned(name)]


def _words() -> str:
    """Explain the words that the claims use."""
    return (
        "δ is the margin, the smallest difference that matters; for one task alone it is larger than for several. The "
        "*twin* of a mask has the same rate, the same computation, steps of the same size, or the same places with "
        "other words in them, and lacks what the claim is about. [claims.md](claims.md) says how verdicts are made, "
        "[masks.md](masks.md) what each mask and twin is, and [measures.md](measures.md) what each measure is, such as "
        "one at matched score."
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


def _surprises(source: Source, book: Book) -> Iterator[str]:
    if not source.surprises:
        return
    yield "## What surprised, and the check that it was no error"
    for index, note in enumerate(source.surprises):
        title, words, check = surprise(note, book, f"surprises[{index}]")
        yield f"**{title}** {words} Checked: {check}"


def _limits(source: Source, book: Book) -> Iterator[str]:
    yield "## Limits"
    record = book.own
    lines = [filled(said, {}, f"limits[{index}]", book) for index, said in enumerate(source.limits)]
    if record.done < record.planned:
        lines.append(f"{text.count(record.planned - record.done, 'planned cell')} have not run yet.")
    yield "\n".join(f"- {line}" for line in lines)


def _sanity(source: Source, book: Book) -> Iterator[str]:
    yield "## Beside published numbers"
    yield (
        "Plain fine-tuning of each task and model, beside what was published for models of the size. Scores are in per "
        "cent (accuracy; of names, entity F1), as mean ± standard deviation over seeds."
    )
    yield table(*scores(source, book))
    yield "Published effects of masks, beside those found here:"
    yield table(*effects(source, book))
