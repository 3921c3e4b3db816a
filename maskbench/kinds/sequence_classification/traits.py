"""What text classification has: written text, and one label for all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.kinds.traits import Traits

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Traits(Traits):
    words_given = False
    per_token = False
    mentions = False
    classes_called = "labels"

    def classes(self, labels: Sequence[str]) -> list[int]:
        """Return for each label the index of its class: every label is a class of its own."""
        return list(range(len(labels)))


PART = _Traits()
