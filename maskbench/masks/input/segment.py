"""Input mask that lets another one work on one of the two texts of a row: on the question, or on the passage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from maskbench.masks.base import Need
from maskbench.masks.batch import Batch
from maskbench.masks.shared.within import OfAnother
from maskbench.masks.slots import InnerInput

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws


class Segment(OfAnother):
    """Another mask hits the words of one of a row's two texts alone; its rate is a share of that text.

    What they become is `replacement`: by default that of the other mask, or [MASK] if the other mask replaces tokens in
    a way of its own. Labels stay where they are. So with `second` the words of an answer may be hit as any others, and
    the model has to say all the same where the answer stands; with `first` none of them is.

    References
    ----------
    A strategy that the articles under test name (masking words of the question); they give no source.
    """

    kind: Literal["segment"] = "segment"
    of: InnerInput
    """The mask that works on the text."""
    segment: Literal["first", "second"] = "first"
    """Which text is masked: the first (the question), or the second (the passage)."""

    def needs(self) -> frozenset[Need]:
        """Return what the other mask needs, and rows of two texts."""
        return super().needs() | {"two texts"}

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: where the other mask hits if no other words than those of the text are there."""
        import torch

        second = torch.zeros_like(batch.maskable) if batch.segments is None else batch.segments == 1
        own = second if self.segment == "second" else ~second
        return own & self.of.where(replace(batch, words=torch.where(own, batch.words, -1)), rng)

    def time(self, batch: Batch) -> int:
        """Return the pass whose draws the other mask uses."""
        return self.of.time(batch)
