"""What question answering has: two written texts, and one span of the second for both of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.kinds.traits import Traits

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Traits(Traits):
    words_given = False
    per_token = True
    words_labelled = False  # the head answers at each token, where an answer starts and where it ends
    mentions = False
    classes_called = "labels of a set"

    def classes(self, labels: Sequence[str]) -> list[int]:
        """Return -1 for each of the two outputs: an answer is a place, and no words speak for it."""
        return [-1] * len(labels)


PART = _Traits()
