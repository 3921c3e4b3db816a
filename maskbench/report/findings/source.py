"""What people wrote of the findings: typed, filled with numbers of the record, and refused where it says more.

docs/findings.yaml has sentences that take judgement. None of them has a number of its own: numbers are placeholders,
which are filled from the record. Each sentence says for which verdict it is written, and is refused beside another one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from maskbench.analysis.findings import VERDICTS
from maskbench.config.block import ConfigBlock, Name
from maskbench.errors import InputError
from maskbench.experiment.load import explain, read_yaml
from maskbench.experiment.recorded import NAME
from maskbench.report import text
from maskbench.report.blocks import size_words
from maskbench.report.claims import PROPERTIES, found_in_words
from maskbench.report.findings.places import PLACEHOLDER, MisfitError, check_verdicts, filled, remaining, values
from maskbench.report.reasons import DECIDED
from maskbench.report.reference import contrast, named, verdict_word, with_runs

if TYPE_CHECKING:
    from pathlib import Path

    from maskbench.report.findings.places import Book
    from maskbench.report.findings.record import Record
    from maskbench.report.reference import Half

_FREE = re.compile(r"\bC\d\d\b|`[^`]*`|\b(?:19|20)\d\d\b")
"""What may have digits in a sentence: ids of claims, code, years of citations."""

_SPELT = "half|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|hundred"
_NUMBER = re.compile(rf"\d|\b(?:{_SPELT})\b(?= (?:\w+ )?(?:points?|nats?|per ?cent|percentage)\b)", re.IGNORECASE)
"""A digit, or a number in words before a unit of an effect."""


Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""A text that says something."""


class Shown(ConfigBlock):
    """A row of the answer: what random masks do to one thing."""

    title: Words
    """What the row is about, in a few words."""
    row: str
    """The place of the row of verdicts.csv."""


class Short(ConfigBlock):
    """The answer in a few sentences, with which README.md and the page begin."""

    verdicts: dict[str, str]
    """The verdict of each row that it speaks of, by place; it is refused if one is another."""
    text: Words
    """The answer in one sentence."""
    points: list[Words] = []
    """What stands below it, in a few sentences each. ``{texts}`` are the training texts of the runs that claims
    compare, ``{models}`` the models, and ``{remain}`` how many rows remain supported or contradicted if one corrects
    for all claims together, ``{STUDY | remain}`` those of a further study."""


class Note(ConfigBlock):
    """Something that surprised, and the check that it is no error."""

    title: Words
    """What surprised, in a few words."""
    verdicts: dict[str, str]
    """The verdict of each row that it speaks of, by place; it is refused if one is another."""
    text: Words
    """What was found, and why it surprises."""
    check: Words
    """What was looked at to see that it is no error."""


class Further(ConfigBlock):
    """A smaller study of the same claims, whose record stands beside that of the reference study."""

    study: Name
    """Its name: results/STUDY has its record."""
    title: Words
    """The heading of its section."""
    rates: Literal["shared", "tuned"] = "shared"
    """At which learning rates it is shown; what it found at tuned ones stands in the reference study's own rows, too,
    where that has run nothing."""
    text: Words
    """What it is about, and what it can add."""
    found: Words | None = None
    """What came out; its placeholders are filled from the record of this study."""
    verdicts: dict[str, str] = {}
    """The verdict of each row of this study that `found` speaks of, by place; it is refused if one is another."""


class Published(ConfigBlock):
    """A published score of plain fine-tuning, to stand beside one of the record."""

    study: Name | None = None
    """The further study whose record it stands beside; None: the reference study."""
    task: str
    """The task of the record that it stands beside."""
    model: str
    """The model of the record that it stands beside."""
    number: str
    """The score as it was published."""
    of: str
    """What it is a score of: data, split, model."""
    source: str
    """Where it was published, in few words."""
    differs: str
    """Why the two may differ."""


class PublishedEffect(ConfigBlock):
    """A published effect, to stand beside a row of the record."""

    what: str
    """What is compared, in a few words."""
    rows: Annotated[list[str], Field(min_length=1)]
    """The places of what stands beside it, as `places` knows them."""
    number: str
    """The effect as it was published."""
    source: str
    """Where it was published, in few words."""
    differs: str
    """Why the two may differ."""


class Source(ConfigBlock):
    """All that stands in docs/findings.yaml."""

    short: Short | None = None
    """The answer in a few sentences; without it, how many reasons were found."""
    answer: Annotated[list[Shown], Field(min_length=1)]
    """The rows of the answer, in their order."""
    practice: dict[str, dict[str, Words]]
    """By claim and verdict: what it means for somebody who fine-tunes a model."""
    otherwise: dict[str, Words]
    """By verdict, for claims that have no sentence of their own for it."""
    partly: Words
    """For a claim whose first row is undecided, and others are not; ``{others}`` are these, with their effects."""
    elsewhere: Words
    """For a claim whose first contrast and measure was not tested, so that its sentence is not about what was."""
    further: list[Further] = []
    """Smaller studies of the same claims."""
    surprises: list[Note]
    """What surprised, each with its check."""
    limits: list[Words]
    """What the study cannot say, a sentence each."""
    scores: list[Published]
    """Published scores of plain fine-tuning."""
    effects: list[PublishedEffect]
    """Published effects beside rows of the record."""

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read and check the file.

        Raises
        ------
        InputError
            With one line for each mistake.
        """
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise InputError(f"{path}: expected a mapping with {', '.join(cls.model_fields)}")
        try:
            found = cls.model_validate(content)
        except ValidationError as error:
            raise InputError(*(f"{path}: {line}" for line in explain(error, content))) from None
        wrong = [f"{path}: {line}" for line in found._mistakes()]
        if wrong:
            raise InputError(*wrong)
        return found

    def _mistakes(self) -> list[str]:
        """Return a line for each sentence with a number of its own, and for each verdict that there is not."""
        sentences = {
            f"practice.{claim}.{verdict}": said for claim, own in self.practice.items() for verdict, said in own.items()
        }
        sentences |= {f"otherwise.{verdict}": said for verdict, said in self.otherwise.items()}
        sentences |= {"elsewhere": self.elsewhere, "partly": self.partly}
        if self.short:
            sentences |= {"short.text": self.short.text}
            sentences |= {f"short.points[{index}]": said for index, said in enumerate(self.short.points)}
        titles = {f"answer[{index}].title": shown.title for index, shown in enumerate(self.answer)}
        titles |= {f"further[{index}].title": item.title for index, item in enumerate(self.further)}
        sentences |= titles
        for index, note in enumerate(self.surprises):
            parts = {"title": note.title, "text": note.text, "check": note.check}
            sentences |= {f"surprises[{index}].{key}": said for key, said in parts.items()}
        for index, item in enumerate(self.further):
            sentences[f"further[{index}].text"] = item.text
            sentences |= {f"further[{index}].found": item.found} if item.found else {}
        sentences |= {f"limits[{index}]": said for index, said in enumerate(self.limits)}
        lines = [f"{place}: {line}" for place, said in sentences.items() if (line := own_number(said))]
        named_ = [(f"practice.{claim}", verdict) for claim, own in self.practice.items() for verdict in own]
        named_ += [("otherwise", verdict) for verdict in self.otherwise]
        for index, item in enumerate(self.further):
            if bool(item.found) != bool(item.verdicts):
                lines.append(f"further[{index}]: expected found and verdicts, both or neither")
            named_ += [(f"further[{index}].verdicts", verdict) for verdict in item.verdicts.values()]
        for index, note in enumerate(self.surprises):
            named_ += [(f"surprises[{index}].verdicts", verdict) for verdict in note.verdicts.values()]
            if not note.verdicts:
                lines.append(f"surprises[{index}].verdicts: expected the verdict of at least one row")
        if self.short:
            named_ += [("short.verdicts", verdict) for verdict in self.short.verdicts.values()]
        lines += [f"{at}: expected words without placeholders" for at, said in titles.items() if "{" in said]
        lines += [f"{at}: expected a text without line breaks" for at, said in sentences.items() if "\n" in said]
        studies = [item.study for item in self.further]
        lines += [f"further: expected each study once, got {name} again" for name in _again(studies)]
        known = ", ".join(VERDICTS)
        return lines + [
            f"{at}: expected one of {known}, got {given!r}" for at, given in named_ if given not in VERDICTS
        ]


def _again(names: list[str]) -> list[str]:
    """Return the names that are there more than once; that of the reference study counts as there already."""
    return sorted({name for name in names if names.count(name) > 1 or name == NAME})


def own_number(said: str) -> str | None:
    """Say which number a sentence has of its own; None if it has none."""
    left = _FREE.sub("", PLACEHOLDER.sub("", said))
    found = _NUMBER.search(left)
    if found is None:
        return None
    own = left[found.start() :].split()[0]
    return f"expected a placeholder such as {{effect}} in the place of {own!r}: numbers come from the record"


def check_claims(source: Source, record: Record) -> None:
    """Check that every claim with sentences is one of the record.

    Raises
    ------
    MisfitError
        Naming the first that is none.
    """
    if unknown := sorted(set(source.practice) - set(record.reference.claims)):
        raise MisfitError(f"practice.{unknown[0]}: expected one of {', '.join(record.reference.claims)}")


def practice(source: Source, record: Record, claim: str) -> str:
    """Return what the verdict on a claim means in practice.

    Raises
    ------
    MisfitError
        If nobody wrote a sentence for this verdict, or the record lacks a number that it asks for.
    """
    half = record.reference.shared
    row = half.head(claim)
    verdict = str(row["verdict"])
    own = source.practice.get(claim, {})
    place = f"practice.{claim}.{verdict}" if verdict in own else f"otherwise.{verdict}"
    said = own.get(verdict) or source.otherwise.get(verdict)
    if said is None:
        raise MisfitError(f"practice.{claim}: no sentence for the verdict {verdict}, which the record has; write one")
    numbers = values(half, row)
    if verdict in own and not about(record.reference.claims[claim], row, said):
        said, place = source.elsewhere, "elsewhere"
    elif verdict == "inconclusive" and verdict not in own and (rows := decided(half, claim)):
        said, place, numbers = source.partly, "partly", numbers | {"others": "; ".join(rows)}
    return filled(said, numbers, place)


def decided(half: Half, claim: str) -> list[str]:
    """Return the rows of a claim that are decided, in words."""
    return [decision(half, row) for row in half.pooled(claim) if row["verdict"] in DECIDED]


def decision(half: Half, row: dict[str, Any]) -> str:
    """Say of a row what its verdict is, on what numbers, and what was found."""
    word = verdict_word(row)
    verdict = word if word == "holds" else f"is {word}"
    return f"{contrast(row)} on {named(row['measure'])} {verdict} ({with_runs(half, row)}{_found(row)})"


def _found(row: dict[str, Any]) -> str:
    """Say what was found of two arms, behind their numbers; nothing of other contrasts, which have no two arms."""
    said = "" if row["verdict"] in PROPERTIES else found_in_words(row)
    return f": {said}" if said.startswith("with ") else ""


def about(claim: dict[str, Any], row: dict[str, Any], said: str) -> bool:
    """Tell whether a sentence that was written for a claim is about a row.

    It is about the claim's first contrast and measure, unless it names contrast or measure by a placeholder.
    """
    contrasts = claim.get("contrasts") or [{}]
    first = contrasts[0].get("name", row["contrast"])
    measures = contrasts[0].get("measures") or claim.get("measures") or [row["measure"]]
    right = first == row["contrast"] or "{contrast}" in said
    return right and (measures[0] == row["measure"] or "{measure}" in said)


def surprise(note: Note, book: Book, place: str) -> tuple[str, str, str]:
    """Return title, text and check of a note.

    Raises
    ------
    MisfitError
        If a verdict is another than the one that the note was written for, or a number is missing.
    """
    check_verdicts(note.verdicts, book, place)
    title, words, check = (filled(getattr(note, key), {}, f"{place}.{key}", book) for key in ("title", "text", "check"))
    return title, words, check


def in_short(source: Source, book: Book) -> str | None:
    """Return the answer in a few sentences; None if nobody wrote them.

    Raises
    ------
    MisfitError
        If a verdict is another than the one that they were written for, or a number is missing.
    """
    if source.short is None:
        return None
    check_verdicts(source.short.verdicts, book, "short")
    known = {"texts": size_words([book.own.design.size], "text"), "models": text.listed(book.own.models)}
    records = {"remain": book.own} | {f"{name} | remain": other for name, other in book.others.items() if other}
    for name, record in records.items():
        left, of = remaining(record)
        known[name] = f"{left} of {text.count(of, 'row')}"
    said = [filled(source.short.text, known, "short.text", book)]
    points = [filled(one, known, f"short.points[{at}]", book) for at, one in enumerate(source.short.points)]
    return "\n\n".join([*said, *(["\n".join(f"- {point}" for point in points)] if points else [])])
