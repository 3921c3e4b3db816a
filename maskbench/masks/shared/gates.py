"""Gates that are trained with the task: they decide which tokens become [MASK], and gradients reach them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import Module, Parameter

from maskbench.masks.shared import budget

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.batch import Batch

_LOW, _HIGH = -0.1, 1.1  # γ and ζ of Louizos et al. (2018)
_STEPS = 40  # of bisection: the bracket shrinks by 2**40, beyond float32
_CERTAIN = 40.0  # log-odds that no draw overturns
_HALF = 2.0**-25  # half the step between uniform draws: it stands in for a draw of exactly 0


def logistic(uniform: Tensor) -> Tensor:
    """Return standard logistic noise from uniform draws in [0, 1), in their shape."""
    return torch.logit(uniform.clamp(min=_HALF))


class Gate(Module):
    """Two layers on a token's embedding; the last layer starts at 0, so that all tokens get the same value at first.

    Parameters
    ----------
    inputs
        Size of the token embeddings.
    width
        Size of the hidden layer.
    generator
        What the weights are drawn from, on the CPU.
    """

    def __init__(self, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = Parameter(torch.randn(width, inputs, generator=generator) / math.sqrt(inputs))
        self.bias = Parameter(torch.zeros(width))
        self.outer = Parameter(torch.zeros(1, width))

    def forward(self, embeddings: Tensor, maskable: Tensor) -> Tensor:
        """Return (B, T) log-odds, whose mean over the maskable tokens of a text is 0.

        Only differences within a text matter, since the budget decides how many tokens are hit.

        Parameters
        ----------
        embeddings
            (B, T, E); no gradient goes to them.
        maskable
            (B, T) bool.
        """
        scale = embeddings.detach()
        scale = scale / scale.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)  # like nn.RMSNorm
        hidden = torch.nn.functional.gelu(torch.nn.functional.linear(scale, self.inner, self.bias))
        odds = torch.nn.functional.linear(hidden, self.outer)[..., 0]
        mean = torch.where(maskable, odds, 0.0).sum(1, keepdim=True) / maskable.sum(1, keepdim=True).clamp(min=1)
        return odds - mean


def straight_through(batch: Batch, odds: Tensor, noise: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """Return (B, T) weights of [MASK]: 1 for the tokens with the highest noisy log-odds, 0 for the others.

    Their gradient is that of a sigmoid around the threshold between the two (Bengio, Léonard & Courville 2013).

    Parameters
    ----------
    odds
        (B, T) log-odds.
    noise
        (B, T) logistic noise.
    counts
        (B,) how many tokens of each text.
    """
    noisy = odds + noise
    hard = budget.first(batch, -noisy.detach(), counts)
    ranked = torch.where(batch.maskable, noisy.detach(), -torch.inf).sort(dim=1, descending=True).values
    last = ranked.gather(1, (counts[:, None] - 1).clamp(min=0))
    following = ranked.gather(1, counts[:, None].clamp(max=ranked.shape[1] - 1))
    threshold = (last + torch.where(following.isfinite(), following, last)) / 2
    soft = torch.sigmoid((noisy - torch.nan_to_num(threshold, neginf=0.0)) / temperature)
    return torch.where(batch.maskable, hard + (soft - soft.detach()), 0.0)


def shift(odds: Tensor, maskable: Tensor, rate: float) -> Tensor:
    """Return (B, 1) what is added to the log-odds of a text so that the mean of their probabilities is `rate`."""
    wanted = math.log(rate / (1 - rate)) if 0 < rate < 1 else _CERTAIN * (2 * rate - 1)
    odds, share = odds.detach(), maskable.sum(1, keepdim=True).clamp(min=1)
    if rate in (0, 1):
        reach = odds.abs().max(dim=1, keepdim=True).values
        return wanted + math.copysign(1.0, wanted) * reach
    # the two ends of the bracket: as if all tokens had the largest, or the smallest, log-odds
    low = wanted - torch.where(maskable, odds, -torch.inf).max(dim=1, keepdim=True).values
    high = wanted - torch.where(maskable, odds, torch.inf).min(dim=1, keepdim=True).values
    low, high = torch.nan_to_num(low, posinf=0.0), torch.nan_to_num(high, neginf=0.0)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        mean = torch.where(maskable, torch.sigmoid(odds + middle), 0.0).sum(1, keepdim=True) / share
        low, high = torch.where(mean < rate, middle, low), torch.where(mean < rate, high, middle)
    return (low + high) / 2


def hard_concrete(batch: Batch, odds: Tensor, noise: Tensor, rate: float, temperature: float) -> Tensor:
    """Return (B, T) weights of [MASK] in [0, 1], many of them exactly 0 or 1.

    Stretched binary concrete variables (Louizos, Welling & Kingma 2018), with log-odds that are shifted so
    that the expected share of a text's tokens with a weight of a half or more is `rate`: log α is the log-odds of that.

    Parameters
    ----------
    odds
        (B, T) log-odds.
    noise
        (B, T) logistic noise.
    rate
        Expected share of the maskable tokens of a text.
    temperature
        Softness of the values: the smaller, the more of them are 0 or 1.
    """
    open_ = torch.sigmoid((noise + odds + shift(odds, batch.maskable, rate)) / temperature)
    weight = (open_ * (_HIGH - _LOW) + _LOW).clamp(0.0, 1.0)
    return torch.where(batch.maskable, weight, 0.0)
