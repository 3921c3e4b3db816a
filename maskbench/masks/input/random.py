"""Input mask that hits tokens, or words, that are drawn anew in every pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from maskbench.config.block import Rate
from maskbench.masks.base import InputMask
from maskbench.masks.batch import Batch
from maskbench.masks.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws


class Random(Scheduled, InputMask):
    """Every token is hit with probability `rate`, drawn anew in every pass.

    References
    ----------
    Devlin et al. (2019), BERT, section 3.1 (in pretraining; of the hit tokens 80 % become [MASK] there, which is
    `replacement: bert` here); drawn anew: Liu et al. (2019), RoBERTa, section 4.1 (dynamic masking).
    """

    kind: Literal["random"] = "random"
    stackable: ClassVar[bool] = True
    rate: Rate = 0.15
    """Probability that a token is hit."""
    whole_words: bool = False
    """Draw once for each word, so that its subwords are hit together."""

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool, drawn for each token or each word."""
        return rng.uniform(batch, *([batch.words] if self.whole_words else [])) < self.rate_at(batch)
