"""What tasks of a kind have, in plain Python: no library is imported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, cast

from maskbench.config.kinds import TASK_KINDS
from maskbench.kinds import part

if TYPE_CHECKING:
    from collections.abc import Sequence


class Traits(ABC):
    """What tasks of a kind have."""

    words_given: ClassVar[bool]
    """Whether a row is a list of words, in the column `tokens`, or written text, in the column `text`."""
    per_token: ClassVar[bool]
    """Whether the head answers at each token, and labels stand at tokens; else there is one answer for a text."""
    mentions: ClassVar[bool]
    """Whether labels mark mentions of entities in the text."""
    classes_called: ClassVar[str]
    """What messages call that which words are compared by."""

    @property
    def words_labelled(self) -> bool:
        """Whether each word has a label and a loss of its own; a head at each token may answer for a whole text."""
        return self.per_token

    @abstractmethod
    def classes(self, labels: Sequence[str]) -> list[int]:
        """Return for each label the number of the class that its words speak for; -1 for none."""

    def types(self, labels: Sequence[str]) -> tuple[list[int], list[bool]]:
        """Return for each label the number of its entity type, 0 for none, and whether it begins a mention.

        Only where there are `mentions`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no mentions")


def of(kind: str) -> Traits:
    """Return the traits of a kind."""
    return cast("Traits", part(kind, "traits"))


def with_mentions() -> list[str]:
    """Return the kinds whose labels mark mentions."""
    return [kind for kind in TASK_KINDS if of(kind).mentions]


def pooled() -> list[str]:
    """Return the kinds whose head gives one answer for a text."""
    return [kind for kind in TASK_KINDS if not of(kind).per_token]
