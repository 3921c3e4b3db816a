"""Places of the records that a sentence of docs/findings.yaml may name, and the numbers that stand there.

A place is ``CLAIM | CONTRAST | MEASURE``, a row of verdicts.csv on all tasks together. A task behind it makes it the
row of this task, and ``tuned`` the one at tuned learning rates. ``SIZE texts | STRATEGY | MEASURE`` is a row of
analysis/comparisons.csv, which compares a strategy with plain fine-tuning and has no verdict; a task may follow here,
too. The name of a further study before a place makes it one of its record:
``reference-sst2 | C01 | random vs none | loss_gap``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from maskbench.analysis.compare import ALL_TASKS
from maskbench.analysis.findings import whole
from maskbench.config.science import LEVEL
from maskbench.errors import InputError
from maskbench.report import text
from maskbench.report.blocks import size_words
from maskbench.report.claims import records
from maskbench.report.reference import Half, contrast, effect, named, seeds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maskbench.report.findings.record import Record

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
EXPECTED = "CLAIM | CONTRAST | MEASURE or SIZE texts | STRATEGY | MEASURE"

_SIZE = re.compile(r"(\d+|full) texts")


class MisfitError(InputError):
    """What people wrote does not fit the record: the lines name the place in docs/findings.yaml."""


@dataclass(frozen=True)
class Book:
    """The record of a study, and those of the studies beside it, by name; None for one that has not been run."""

    own: Record
    others: Mapping[str, Record | None] = field(default_factory=dict)

    def find(self, words: str, place: str) -> tuple[Record, list[str]]:
        """Return the record that a place is in, and the parts of the place.

        Raises
        ------
        MisfitError
            If it is in a study that has no record.
        """
        parts = [part.strip() for part in words.split("|")]
        if parts[0] not in self.others:
            return self.own, parts
        other = self.others[parts[0]]
        if other is None:
            raise MisfitError(f"{place}: {words}: {parts[0]} has no record yet")
        return other, parts[1:]


def address(record: Record, words: str, place: str) -> tuple[Half, dict[str, Any]]:
    """Return the row of verdicts.csv at a place, and the half of the record that it is in.

    Raises
    ------
    MisfitError
        If the record has no such row.
    """
    parts = [part.strip() for part in words.split("|")]
    tuned = parts[-1] == "tuned"
    half = record.reference.tuned if tuned else record.reference.shared
    parts = parts[:-1] if tuned else parts
    if len(parts) not in (3, 4):
        raise MisfitError(f"{place}: expected {EXPECTED}, a task or `tuned` behind it, got {words!r}")
    row = half.row(*parts) if half else None
    if half is None or row is None:
        raise MisfitError(f"{place}: {words}: the record has no such row")
    return half, row


def compared(record: Record, size: str, strategy: str, measure: str, task: str | None = None) -> dict[str, Any] | None:
    """Return how a strategy differs from plain fine-tuning on clean text of one task, with a number of training texts.

    Without a task, the mean over all tasks; None if the record has no such row.
    """
    table = record.compared_alone
    own = table[(table["train_size"] == size) & (table["strategy"] == strategy) & (table["measure"] == measure)]
    there = own[own["task"] == (task or ALL_TASKS)]
    if task is None and not len(there) and own["task"].nunique() == 1:
        there = own
    return records(there)[0] if len(there) == 1 else None


def tasks_of(record: Record, size: str, strategy: str) -> list[str]:
    """Return the tasks on which a strategy ran with a number of training texts, each alone and on clean text."""
    table = record.compared_alone
    own = table[(table["train_size"] == size) & (table["strategy"] == strategy) & (table["task"] != ALL_TASKS)]
    return list(own["task"].unique())


def numbers_at(book: Book, words: str, place: str) -> dict[str, str]:
    """Return what placeholders may say of a place.

    Raises
    ------
    MisfitError
        If there is no such row.
    """
    record, parts = book.find(words, place)
    if not (size := _SIZE.fullmatch(parts[0])):
        return values(*address(record, " | ".join(parts), place))
    if len(parts) not in (3, 4):
        raise MisfitError(f"{place}: expected {EXPECTED}, a task or `tuned` behind it, got {words!r}")
    row = compared(record, size[1], *parts[1:])
    if row is None:
        raise MisfitError(f"{place}: {words}: the record has no such row")
    tasks = 1 if len(parts) == 4 else len(tasks_of(record, size[1], parts[1]))
    return {
        "effect": difference(row),
        "size": text.amount(row["estimate"], row["unit"]),
        "seeds": text.count(int(row["n_seeds"]), "seed"),
        "runs": text.count(2 * int(row["n_seeds"]) * tasks, "run"),
        "texts": size_words([size[1]], "text"),
    }


def difference(row: dict[str, Any]) -> str:
    """Write a row of comparisons.csv with its interval."""
    return text.difference(row["estimate"], row["ci_low"], row["ci_high"], row["unit"])


def remaining(record: Record) -> tuple[int, int]:
    """Return how many supported or contradicted rows remain below `LEVEL` over all claims together, and of how many."""
    table = record.reference.shared.evidence.verdicts
    own = table[whole(table["scope"]) & table["verdict"].isin(("supported", "contradicted"))]
    return int((own["q"] < LEVEL).sum()), len(own)


def values(half: Half, row: dict[str, Any]) -> dict[str, str]:
    """Return what placeholders may say of a row of verdicts.csv; what the record does not have is left out."""
    behind, unit = half.behind(row), row["unit"]
    found = {"contrast": contrast(row), "measure": named(row["measure"]), "verdict": row["verdict"]}
    if row["n_seeds"] == row["n_seeds"]:
        found["seeds"] = seeds(row)
    if behind.runs:
        found |= {"runs": text.count(behind.runs, "run"), "tasks": text.listed(behind.tasks)}
        found["models"] = text.listed(behind.models)
    if effect(row):
        found |= {"effect": effect(row), "size": text.amount(row["estimate"], unit)}
    if row["delta"] == row["delta"]:
        found["margin"] = text.amount(row["delta"], unit)
    if row["mde"] == row["mde"]:
        found["least"] = text.amount(row["mde"], unit)
    return found


def filled(said: str, known: dict[str, str], place: str, book: Book | None = None) -> str:
    """Return a sentence with its placeholders filled.

    Parameters
    ----------
    said
        The sentence: ``{effect}`` is that of the row that it is about; with a place and a colon before it that of
        another row, if a book is given: ``{C06 | random vs static | score: effect}``.
    known
        What is known of the row.
    place
        Where the sentence stands, for messages.
    book
        The records that places are looked up in.

    Raises
    ------
    MisfitError
        If the record lacks what a placeholder asks for.
    """

    def fill(found: re.Match[str]) -> str:
        where, colon, name = found[1].rpartition(":")
        own = numbers_at(book, where, place) if colon and book is not None else known
        if name.strip() not in own:
            there = ", ".join(sorted(own))
            raise MisfitError(f"{place}: {found[0]}: the record has no such number; there are {there or 'none'}")
        return own[name.strip()]

    return PLACEHOLDER.sub(fill, said)


def check_verdicts(verdicts: dict[str, str], book: Book, place: str) -> None:
    """Check that a text was written for the verdicts of the records.

    Raises
    ------
    MisfitError
        If one of them is another.
    """
    for words, verdict in verdicts.items():
        record, parts = book.find(words, f"{place}.verdicts")
        found = address(record, " | ".join(parts), f"{place}.verdicts")[1]["verdict"]
        if found != verdict:
            raise MisfitError(
                f"{place}.verdicts: {words}: written for {verdict}, but the record says {found}; read it again and "
                "change it"
            )
