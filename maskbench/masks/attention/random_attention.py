"""Attention mask that hides pairs of tokens that are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from maskbench.config.block import Rate
from maskbench.masks.base import AttentionMask
from maskbench.masks.batch import Batch
from maskbench.masks.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws


class RandomAttention(Scheduled, AttentionMask):
    """Every pair of a query and another key is hidden with probability `rate`, drawn anew in every pass.

    References
    ----------
    Lin et al. (2019), DropAttention, arXiv:1907.11065.
    """

    kind: Literal["random-attention"] = "random-attention"
    stackable: ClassVar[bool] = True
    rate: Rate = 0.15
    """Probability that a pair is hidden."""

    def attend(self, batch: Batch, rng: Draws) -> Tensor | None:
        """Return (B, 1, T, T) bool, drawn for each pair of a query and a key in this pass."""
        rate = self.rate_at(batch)
        if rate == 0:
            return None
        places = batch.positions
        return (rng.uniform(batch, places[:, :, None], places[:, None, :]) >= rate)[:, None]
