"""Attention mask that hides tokens that are far away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from maskbench.masks.base import AttentionMask
from maskbench.masks.batch import Batch
from maskbench.masks.shared.distance import distance

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws


class Window(AttentionMask):
    """Every token sees the tokens at most `width` away; special tokens see all and are seen by all.

    References
    ----------
    Beltagy, Peters & Cohan (2020), Longformer, section 3.1 (sliding window, and global attention, there with
    projections of its own; here with those that the model has).
    """

    kind: Literal["window"] = "window"
    stackable: ClassVar[bool] = True
    width: Annotated[int, Field(ge=0)] = 8
    """Largest distance in tokens to either side (half of Longformer's w)."""
    special: bool = True
    """Special tokens see all and are seen by all; false: the window holds for them, too."""

    def attend(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (1 or B, 1, T, T) bool: True near the diagonal, and in special tokens' rows and columns."""
        near = (distance(batch).abs() <= self.width)[None, None]
        if not self.special:
            return near
        everywhere = batch.padding & ~batch.maskable
        return near | everywhere[:, None, :, None] | everywhere[:, None, None, :]
