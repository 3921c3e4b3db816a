"""The answer to whether one should mask, in Markdown: counts of verdicts, then what random masks do to each thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.config.science import CONFIDENCE, EQUIVALENCE_CONFIDENCE, LEVEL
from maskbench.report import text
from maskbench.report.claims import VERDICT_SYMBOLS, refusal, sentence
from maskbench.report.findings.claims import on_tasks
from maskbench.report.findings.further import elsewhere
from maskbench.report.findings.places import Book, address, compared, numbers_at, remaining
from maskbench.report.findings.source import in_short
from maskbench.report.reasons import Side, sides
from maskbench.report.reference import beside, verdict_word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from maskbench.report.findings.record import Record
    from maskbench.report.findings.source import Source

REREAD = ", so any one of them may be chance"
"""What is said of them where not all remain."""

_NAMED = {
    "supported": "supported",
    "contradicted": "contradicted",
    "equivalent": "no difference that matters",
}
"""How the decided reasons are introduced."""


def both(record: Record) -> list[Side]:
    """Return what the record says of each kind of masks."""
    return sides(record.reference.shared, record.reference.tuned)


def short(side: Side) -> str:
    """Return what is said of a kind of masks in a sentence: ``Random masks: no reason found so far (...).``."""
    return f"{side.masks}: {side.answer}."


def listed(side: Side) -> str:
    """Name the reasons for a kind of masks by what was found of them."""
    parts = []
    for verdict, words in _NAMED.items():
        if own := [one.words for one in side.decided if one.verdict == verdict]:
            parts.append(f"{words}: {', '.join(own)}")
    parts += [f"undecided: {', '.join(side.open)}"] if side.open else []
    parts += [f"not tested: {', '.join(side.untested)}"] if side.untested else []
    return f"{'; '.join(parts)}." if parts else ""


def extent(record: Record) -> str:
    """Say in a sentence what the answer rests on, and how much more was planned."""
    part = f"{text.count(record.done, 'run')}"
    if record.done < record.planned:
        part += f" of {text.plain(record.planned, 0)} planned"
    seeds = text.count(record.seeds, "seed")
    return f"{part}: {text.listed(record.tasks)}; {text.listed(record.models)}; up to {seeds} a contrast"


def bullets(source: Source, record: Record, others: Sequence[Record | None]) -> Iterator[str]:
    """Yield what random masks do to each thing that one may care for, with verdict and numbers."""
    for index, item in enumerate(source.answer):
        half, row = address(record, item.row, f"answer[{index}].row")
        head = f"- **{item.title}**: {VERDICT_SYMBOLS[row['verdict']]} {verdict_word(row)}."
        if row["verdict"] == "not tested":
            yield f"{head} {sentence(row)}"
        else:
            why = refusal(row) if row["estimate"] == row["estimate"] else ""  # without a number the sentence has it
            refused = f" It was refused: {why}" if why else ""
            yield f"{head} {sentence(row)}{refused} ({beside(record.reference, row)})"
            if alone := on_tasks(half, row):
                yield f"  - On single tasks: {', '.join(alone)}."
            if sizes := list(_at_other_sizes(record, row)):
                yield f"  - With more or fewer training texts, without a verdict: {'; '.join(sizes)}."
        yield from (f"  - {said}" for said in elsewhere(source, record, others, row))


def _at_other_sizes(record: Record, row: dict[str, Any]) -> Iterator[str]:
    """Yield how a mask's score differs from plain fine-tuning where it ran with other numbers of training texts."""
    name = row["contrast"].removesuffix(f" vs {record.design.baseline}")
    if row["measure"] != "score" or name not in record.design.masks:
        return
    sizes = [size for size in record.comparisons["train_size"].unique() if size not in ("full", record.design.size)]
    for size in sorted(sizes, key=int):
        if compared(record, size, name, "score"):
            found = numbers_at(Book(record), f"{size} texts | {name} | score", "answer")
            yield f"{found['texts']} {found['effect']} ({found['seeds']}, {found['runs']})"


def _all_claims_together(record: Record) -> str:
    """Say how many of the rows that are supported or contradicted remain if all claims are corrected for together."""
    left, of = remaining(record)
    return (
        "Each verdict is corrected for the tests of its own claim. If one corrects for those of all claims together, "
        f"so that at most {100 * LEVEL:g} % of what is found is false (q below {LEVEL:g}), {left} of {of} "
        f"supported or contradicted rows remain{'' if left == of else REREAD}."
    )


def answer(source: Source, book: Book, others: Sequence[Record | None]) -> Iterator[str]:
    """Yield the paragraphs of the answer; `others` are the records of the further studies."""
    record = book.own
    if said := in_short(source, book):
        yield said
        yield "Counted over the claims of the reference study:"
    for side in both(record):
        yield f"**{short(side)}** {text.sentence_case(listed(side))}"
    tuned = ", or the same row at tuned learning rates," if record.reference.tuned else ""
    yield (
        "A reason counts as supported, contradicted or of no difference that matters by the verdict on the first "
        "contrast and measure of its claim that was tested. Brackets name what stands against a verdict: other rows of "
        f"the same claim{tuned} with another verdict, or controls that were not passed. What is undecided is not "
        "refuted: the intervals say how large a difference could still be. That a difference does not matter is judged "
        f"by the {100 * EQUIVALENCE_CONFIDENCE:g} % interval, so the {100 * CONFIDENCE:g} % interval, which is shown, "
        "may reach a little beyond the margin."
    )
    if len(record.reference.shared.evidence.verdicts):
        yield _all_claims_together(record)
    yield (
        "What random masks of the usual rate do, compared with plain fine-tuning. A plus is in favour of masks; of the "
        "time per update it says that masks take longer."
    )
    yield "\n".join(bullets(source, record, others))
