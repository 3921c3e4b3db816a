"""Attention mask that hides from each token what comes after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from maskbench.masks.base import AttentionMask
from maskbench.masks.batch import Batch
from maskbench.masks.shared.distance import distance

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws


class Causal(AttentionMask):
    """Every token sees itself and what is before it.

    A classifier that reads the first token (BERT's [CLS]) then sees that token alone.

    References
    ----------
    Vaswani et al. (2017), Attention is all you need, section 3.2.3.
    """

    kind: Literal["causal"] = "causal"
    stackable: ClassVar[bool] = True

    def attend(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (1, 1, T, T) bool: True on and below the diagonal, where the key does not come after the query."""
        return (distance(batch) >= 0)[None, None]
