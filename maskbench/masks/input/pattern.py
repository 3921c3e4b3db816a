"""Masks that follow a pattern of places: runs of words, given places, all but the beginning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from maskbench.config.block import Count, Rate, Share
from maskbench.masks.base import Batch, InputMask

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws

_START, _LENGTH = 1, 2  # channels of draws; 0 is the budget's


class Span(InputMask):
    """Runs of whole words are hit, their lengths geometric, until the budget of each text is spent.

    Every word of a text can start a span; their order is random, and the last span is cut where the budget ends.

    References
    ----------
    Joshi et al. (2020), SpanBERT, section 3.1 (there one draw decides for all tokens of a span whether they become
    [MASK], random or stay; here `replacement: bert` draws for each token).
    """

    kind: Literal["span"] = "span"
    rate: Rate = 0.15
    """Share of tokens that are hit."""
    p: Share = 0.2
    """Parameter of the geometric distribution of lengths, in words; smaller is longer."""
    longest: Annotated[int, Field(ge=1, le=1000)] = 10
    """Longest span in words; the distribution is cut there and renormalised (0.2 and 10: 3.8 words on average)."""

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Order words by the first span that covers them, and spend the budget of `random`."""
        import torch

        from maskbench.masks.budget import budget, first
        from maskbench.masks.words import per_subword

        place = torch.arange(batch.words.shape[1], device=batch.words.device)[None]
        rank, length = rng.uniform(batch, place, channel=_START), self._lengths(batch, rng, place)
        time = rank
        for shift in range(1, min(self.longest, place.shape[1])):
            reaching = torch.where(length > shift, rank, torch.inf)[:, :-shift]
            time = torch.minimum(time, torch.nn.functional.pad(reaching, (shift, 0), value=torch.inf))
        return first(batch, per_subword(time, batch.words), budget(batch, rng, self.rate))

    def _lengths(self, batch: Batch, rng: Draws, place: Tensor) -> Tensor:
        """Return the length of the span that starts at each word, by the inverse of its distribution function."""
        stay = 1 - self.p
        drawn = rng.uniform(batch, place, channel=_LENGTH) * (1 - stay**self.longest)
        return ((-drawn).log1p() / math.log(stay)).floor() + 1


class FixedPositions(InputMask):
    """Tokens at given places of each text are hit, or every k-th one.

    References
    ----------
    A control of this project: the same places in every pass and every text.
    """

    kind: Literal["fixed-positions"] = "fixed-positions"
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
        """Count the tokens of each text from both ends."""
        import torch

        place = batch.maskable.cumsum(1) - 1
        if self.every is not None:
            return (place >= self.offset) & ((place - self.offset) % self.every == 0)
        wanted = torch.tensor(self.positions, device=place.device)
        from_end = place - batch.maskable.sum(1, keepdim=True)
        return torch.isin(place, wanted) | torch.isin(from_end, wanted)


class Tail(InputMask):
    """Everything after the first words of each text is hit.

    References
    ----------
    A strategy that the articles under test name: mask all after the first word.
    """

    kind: Literal["tail"] = "tail"
    keep: Annotated[int, Field(ge=0)] = 1
    """Number of words at the start of a text that stay."""

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Count words, not tokens."""
        from maskbench.masks.words import ordinals

        return ordinals(batch.words) >= self.keep
