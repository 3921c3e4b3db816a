"""Equal budgets: how many tokens of each text are hit, and which come first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.batch import Batch
    from maskbench.masks.draws import Draws


def budget(batch: Batch, rng: Draws, rate: float | Tensor) -> Tensor:
    """Return (B,) how many tokens of each text `random` hits at this rate, seed and pass.

    A mask that hits so many tokens is rate-matched to `random` text by text, not only on average. It must draw its
    places from another channel than 0, since those of channel 0 decide the budget.

    Parameters
    ----------
    rate
        One rate, or one for each text (B,).
    """
    limit = rate.view(-1, 1) if isinstance(rate, torch.Tensor) else rate
    return ((rng.uniform(batch) < limit) & batch.maskable).sum(1)


def first(batch: Batch, order: Tensor, counts: Tensor) -> Tensor:
    """Return (B, T) bool: the tokens of each text that come first.

    Parameters
    ----------
    order
        (B, T) numbers, the smallest first; equal ones in the order of the text.
    counts
        (B,) how many; all maskable ones of a text at most.
    """
    finite = order.float().clamp(max=torch.finfo(torch.float32).max)
    ranked = torch.where(batch.maskable, finite, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
    return (ranked < counts[:, None]) & batch.maskable
