"""Input masks: tokens of the training text are replaced before the model sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from maskbench.config.block import Rate
from maskbench.masks.base import Batch, InputMask

if TYPE_CHECKING:
    from maskbench.masks.draws import Draws


class Random(InputMask):
    """Every token is replaced by [MASK] with probability `rate`, drawn anew in every pass.

    References
    ----------
    Liu et al. (2019), RoBERTa, section 4.1 (dynamic masking).
    """

    kind: Literal["random"] = "random"
    rate: Rate = 0.15
    """Probability that a token is masked."""

    def corrupt(self, batch: Batch, rng: Draws) -> Batch:
        """Mask each token independently."""
        return batch.corrupted(rng.uniform(batch) < self.rate, batch.mask_id)


class Static(InputMask):
    """Every token is replaced by [MASK] with probability `rate`, drawn once and kept for all passes.

    References
    ----------
    Devlin et al. (2019), BERT, section 3.1; Liu et al. (2019), RoBERTa, section 4.1 (static masking).
    """

    kind: Literal["static"] = "static"
    rate: Rate = 0.15
    """Probability that a token is masked."""

    def corrupt(self, batch: Batch, rng: Draws) -> Batch:
        """Mask the same tokens of an example in every pass."""
        return batch.corrupted(rng.uniform(batch, fixed=True) < self.rate, batch.mask_id)
