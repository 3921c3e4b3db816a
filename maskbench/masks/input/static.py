"""Input mask that hits tokens, or words, that are drawn once and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from maskbench.config.block import Count, Rate
from maskbench.masks.base import InputMask
from maskbench.masks.batch import Batch
from maskbench.masks.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws


class Static(Scheduled, InputMask):
    """Every token is hit with probability `rate`, drawn in the first pass and kept, and so is what replaces it.

    References
    ----------
    Devlin et al. (2019), BERT, section 3.1; Liu et al. (2019), RoBERTa, section 4.1 (static masking, there with ten
    masks of each text: here `duplicates: 10`).
    """

    kind: Literal["static"] = "static"
    stackable: ClassVar[bool] = True
    rate: Rate = 0.15
    """Probability that a token is hit."""
    whole_words: bool = False
    """Draw once for each word, so that its subwords are hit together."""
    duplicates: Count = 1
    """Number of masks that each example has, seen in turn (BERT's preprocessing made 10)."""

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: what `random` hits in one of the first `duplicates` passes."""
        places = [batch.words] if self.whole_words else []
        return rng.uniform(batch, *places, time=self.time(batch)) < self.rate_at(batch)

    def time(self, batch: Batch) -> int:
        """Return the pass, one of the first `duplicates`, whose draws decide the places and what stands there."""
        return batch.epoch % self.duplicates
