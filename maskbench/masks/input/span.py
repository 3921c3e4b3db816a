"""Input mask that hits runs of words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from maskbench.channels import Channel
from maskbench.config.block import Rate, Share
from maskbench.masks.base import InputMask
from maskbench.masks.batch import Batch
from maskbench.masks.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws


class Span(Scheduled, InputMask):
    """Runs of whole words are hit, their lengths geometric, until the budget of each text is spent.

    Every word of a text can start a span; their order is random, and the last span is cut where the budget ends.

    References
    ----------
    Joshi et al. (2020), SpanBERT, section 3.1 (there one draw decides for all tokens of a span whether they become
    [MASK], random or stay; here `replacement: bert` draws for each token).
    """

    kind: Literal["span"] = "span"
    stackable: ClassVar[bool] = True
    rate: Rate = 0.15
    """Share of tokens that are hit."""
    p: Share = 0.2
    """Parameter of the geometric distribution of lengths, in words; smaller is longer."""
    longest: Annotated[int, Field(ge=1, le=1000)] = 10
    """Longest span in words; the distribution is cut there and renormalised (0.2 and 10: 3.8 words on average)."""

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: as many tokens as `random` hits, of words in the order of the first span over them."""
        import torch

        from maskbench.masks.shared.budget import budget, first
        from maskbench.masks.shared.words import per_subword

        place = torch.arange(batch.words.shape[1], device=batch.words.device)[None]
        rank, length = rng.uniform(batch, place, channel=Channel.PLACE), self._lengths(batch, rng, place)
        time = rank
        for shift in range(1, min(self.longest, place.shape[1])):
            reaching = torch.where(length > shift, rank, torch.inf)[:, :-shift]
            time = torch.minimum(time, torch.nn.functional.pad(reaching, (shift, 0), value=torch.inf))
        return first(batch, per_subword(time, batch.words), budget(batch, rng, self.rate_at(batch)))

    def _lengths(self, batch: Batch, rng: Draws, place: Tensor) -> Tensor:
        """Return (B, T) the length in words of the span that starts at each word, by inverting the distribution."""
        stay = 1 - self.p
        drawn = rng.uniform(batch, place, channel=Channel.LENGTH) * (1 - stay**self.longest)
        return ((-drawn).log1p() / math.log(stay)).floor() + 1
