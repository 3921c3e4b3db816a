"""Input mask that hits words of similar meaning together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from maskbench.channels import Channel
from maskbench.config.block import Rate
from maskbench.masks.base import InputMask
from maskbench.masks.batch import Batch
from maskbench.masks.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting

# length of the longest vector: products of sums of four such vectors are whole numbers that float32 holds exactly
_LONGEST = 1000.0


class Semantic(Scheduled, InputMask):
    """A random word of each text is hit together with those nearest in meaning, until the budget is spent.

    Nearness is the cosine between the pretrained model's input embeddings, averaged over a word's subwords.

    References
    ----------
    A strategy that the articles under test name; they give no source.
    """

    kind: Literal["semantic"] = "semantic"
    stackable: ClassVar[bool] = True
    rate: Rate = 0.15
    """Share of tokens that are hit."""
    neighbours: Annotated[int, Field(ge=1, le=100)] = 2
    """Number of words that are hit with each random one."""
    _table: Any = None

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Copy the embeddings at θ₀ as whole numbers, so that sums do not depend on a device's order of adding."""
        super().fit(setting, rng)
        table: Tensor = setting.model.get_input_embeddings().weight.detach().float()  # type: ignore[operator]
        self._table = (table * (_LONGEST / table.norm(dim=1).max())).round()

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: as many tokens as `random` hits, of words in the order of the first group they are in."""
        import torch

        from maskbench.masks.shared.budget import budget, first
        from maskbench.masks.shared.words import ordinals, per_subword

        place = torch.arange(batch.words.shape[1], device=batch.words.device)[None]
        real = place <= ordinals(batch.words).amax(1, keepdim=True)
        drawn = torch.where(real, rng.uniform(batch, place, channel=Channel.PLACE), torch.inf)
        rank = drawn.argsort(1).argsort(1).float()
        near = self._similarity(batch, real)
        time = rank
        for step in range(1, min(self.neighbours, place.shape[1]) + 1):
            value, neighbour = near.max(2)  # the first one, if several are equally near
            # within a group the anchor comes first, then its neighbours by nearness
            turn = torch.where(real & (value > -torch.inf), rank + step / (self.neighbours + 1), torch.inf)
            time = time.scatter_reduce(1, neighbour, turn, "amin")
            near = near.scatter(2, neighbour[..., None], -torch.inf)
        return first(batch, per_subword(time, batch.words), budget(batch, rng, self.rate_at(batch)))

    def _similarity(self, batch: Batch, real: Tensor) -> Tensor:
        """Return (B, T, T) in word space: similarity of two words; -inf to itself and to what is no word."""
        import torch

        from maskbench.masks.shared.words import ordinals

        rows, width = batch.words.shape
        slot = torch.arange(rows, device=batch.words.device)[:, None] * width + ordinals(batch.words)
        slot = torch.where(batch.maskable, slot, rows * width).flatten()
        tokens = self._table[batch.input_ids.flatten()]
        summed = tokens.new_zeros(rows * width + 1, tokens.shape[1]).index_add_(0, slot, tokens)
        words: Tensor = summed[:-1].view(rows, width, -1)
        with torch.autocast(words.device.type, enabled=False):
            near: Tensor = words @ words.transpose(1, 2)
        # not divided by the anchor's own length: it is the same for all neighbours, so it does not change their order
        near /= near.diagonal(dim1=1, dim2=2).clamp(min=1)[:, None, :].sqrt()
        itself = torch.eye(near.shape[1], dtype=torch.bool, device=near.device)
        return near.masked_fill(itself | ~real[:, None, :], -torch.inf)
