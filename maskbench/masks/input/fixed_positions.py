"""Input mask that hits the same places in every text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from maskbench.config.block import Count
from maskbench.masks.base import InputMask
from maskbench.masks.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws


class FixedPositions(InputMask):
    """Tokens at given places of each text are hit, or every k-th one.

    References
    ----------
    A control of this project: the same places in every pass and every text.
    """

    kind: Literal["fixed-positions"] = "fixed-positions"
    stackable: ClassVar[bool] = True
    positions: Annotated[list[int], Field(min_length=1)] | None = None
    """Places among the tokens of a text that may be hit, from 0; negative ones count from the end."""
    every: Count | None = None
    """Hit every k-th of them instead."""
    offset: Annotated[int, Field(ge=0)] = 0
    """With `every`: place of the first one that is hit."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.positions is None) == (self.every is None):
            raise ValueError("fixed-positions: expected either positions or every")
        if self.offset and self.every is None:
            raise ValueError("fixed-positions: offset goes with every, not with positions")
        return self

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: the tokens at the given places, counted from both ends of each text."""
        import torch

        place = batch.maskable.cumsum(1) - 1
        if self.every is not None:
            return (place >= self.offset) & ((place - self.offset) % self.every == 0)
        from_end = place - batch.maskable.sum(1, keepdim=True)
        found = torch.zeros_like(batch.padding)
        for wanted in self.positions or ():  # as plain numbers, since a tensor of them would be copied to a card
            found |= (place if wanted >= 0 else from_end) == wanted
        return found
