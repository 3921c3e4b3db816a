"""The rows of one split, with where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from maskbench.config.tasks import Split
    from maskbench.kinds.files import Place


def key(text: str) -> str:
    """Return what makes two texts the same: their words, whatever the case and the white space between them."""
    return " ".join(text.split()).casefold()


@dataclass(frozen=True)
class Rows:
    """The rows of one split, or of a training file that is still to be cut."""

    inputs: list[Any]
    """Texts, tuples of them (of a pair), or lists of tokens."""
    targets: list[Any]
    """Indices of labels, or lists of them, or what else a kind predicts."""
    lines: list[int]
    """Line of the file that each row starts on."""
    place: Place
    """The file that messages name."""
    documents: list[int | None] | None = None
    """Document of each row, where the file says where they begin."""
    groups: list[tuple[str, ...]] | None = None
    """Groups of each row, where the task has some: none if they are not known, several if it joins them."""

    @cached_property
    def texts(self) -> list[str]:
        """Each row as one text."""
        return [item if isinstance(item, str) else " ".join(item) for item in self.inputs]

    @cached_property
    def keys(self) -> list[str]:
        """What makes two rows the same text (`key`)."""
        return list(map(key, self.texts))

    def at(self, row: int) -> str:
        """Name the file and line of a row."""
        return self.place.at(self.lines[row])

    def take(self, positions: Iterable[int]) -> Rows:
        """Return the rows at some positions."""
        positions = list(positions)
        inputs, targets, lines = ([values[i] for i in positions] for values in (self.inputs, self.targets, self.lines))
        documents = None if self.documents is None else [self.documents[i] for i in positions]
        groups = None if self.groups is None else [self.groups[i] for i in positions]
        return Rows(inputs, targets, lines, self.place, documents, groups)


def shared(rows: Mapping[Split, Rows], splits: Iterable[Split], later: Split) -> dict[str, int]:
    """Count the rows of some splits whose text also stands in a later one."""
    held = set(rows[later].keys)
    return {split: sum(key in held for key in rows[split].keys) for split in splits}
