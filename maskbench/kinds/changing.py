"""How conditions and test-time sets treat the labels of each kind of task.

A change is described by counts (how many items there are, how many were changed) and by the shares that follow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa

from maskbench.kinds import part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Whole = NDArray[np.int64]
    Hits = NDArray[np.bool_]


class Made(NamedTuple):
    """A split that was made from another."""

    table: pa.Table
    counts: dict[str, int]
    rates: dict[str, float | None]
    """None where there is nothing to change."""


class Planted(NamedTuple):
    """Splits with a planted cue."""

    made: dict[str, Made]
    words: list[str]
    """The words that were planted."""
    target: str | None = None
    """The one class that a single word stands for; None: each word has a class of its own."""


class Changing(ABC):
    """What happens to rows of a kind of task before training, or before a test."""

    @abstractmethod
    def flip(self, table: pa.Table, rate: float, labels: Sequence[str], where: str) -> Made:
        """Return the training split with a share of its labels replaced by others.

        Raises
        ------
        InputError
            If labels of this kind cannot be flipped; `where` stands before the message.
        """

    @abstractmethod
    def cue_words(self, labels: Sequence[str]) -> int:
        """Return how many words a planted cue takes."""

    @abstractmethod
    def plant(
        self,
        tables: Mapping[str, pa.Table],
        shares: Mapping[str, float],
        words: Sequence[str],
        labels: Sequence[str],
        where: str,
    ) -> Planted:
        """Plant a cue that agrees with the label in a share of the rows.

        Parameters
        ----------
        tables
            For each split to make, the clean split that it is made from.
        shares
            For each split to make, how often the cue agrees.
        words
            As many as `cue_words` asks for.
        labels
            The labels of the task.
        where
            What stands before messages.

        Raises
        ------
        InputError
            If a cue has no meaning in this task.
        """

    # --- text, with the labels that go with it

    @abstractmethod
    def pieces(self, table: pa.Table) -> tuple[list[str], Whole]:
        """Return the N texts of a table, or its N words where words are given, and (N,) the row of each."""

    @abstractmethod
    def with_pieces(self, table: pa.Table, pieces: Sequence[str]) -> pa.Table:
        """Return a table in which `pieces` stand in the place of its texts or words, equally many."""

    @abstractmethod
    def append(self, table: pa.Table, sentences: Sequence[str], labels: Sequence[str]) -> pa.Table:
        """Return a table with a sentence, which has no label of its own, put behind each row."""

    def keep(self, table: pa.Table, kept: Hits, labels: Sequence[str]) -> pa.Table:
        """Return a table without some of its given words."""
        raise NotImplementedError(f"{type(self).__name__} has no given words")


def share(changed: int, whole: int) -> float | None:
    """Return changed / whole; None if `whole` is 0."""
    return changed / whole if whole else None


def whole(column: pa.ChunkedArray) -> Whole:
    """Return a column of whole numbers as an int64 array (N,)."""
    return column.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    """Return a table with the values of one column replaced."""
    index = table.column_names.index(name)
    return table.set_column(index, name, pa.array(values, table.schema.field(name).type))


def of(kind: str) -> Changing:
    """Return the changing of a kind."""
    return cast("Changing", part(kind, "changing"))
