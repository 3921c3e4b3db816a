"""A mask rate that follows the running loss and yet keeps its mean over the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_HALF = 0.5  # a debt may reach this share of what can still be settled, so that it always can be


class Pace:
    """The rate r of each micro-batch.

    With the fast and the slow running mean F and S of the task loss, ρ the mean rate, and w = swing · min(ρ, 1 − ρ)::

        r = ρ + clip(room · w · tanh(gain · (S − F) / S) + debt / horizon, −w, w)

    A loss below its reference (F < S) makes the rate rise. `debt` is the number of tokens that should have been hit so
    far (ρ · seen) less those that were; the horizon, in tokens, is what is left of the training, at most a share of
    all of it. `room` goes from 1 to 0 as a debt that the loss would raise nears half of what the rest of the training
    could settle. So at the end all is settled and the mean rate is ρ; a training that stops early leaves a debt.

    Parameters
    ----------
    rate
        ρ.
    swing
        Largest deviation, relative to the room that the rate has.
    gain
        How strongly the rate answers to the loss.
    fast, slow
        Weights of the past in the running means.
    horizon
        Share of the training over which a debt is settled.
    device
        Device of the losses; no value is copied back from it, so nothing waits for a GPU.
    """

    def __init__(
        self,
        rate: float,
        swing: float,
        gain: float,
        fast: float,
        slow: float,
        horizon: float,
        device: torch.device,
    ) -> None:
        self._rate, self._gain, self._horizon = rate, gain, horizon
        self._width = swing * min(rate, 1 - rate)
        self._past = torch.tensor([fast, slow], device=device)
        self._means = torch.full((2,), torch.nan, device=device)
        self._spent = torch.zeros(2, dtype=torch.int64, device=device)

    def rate(self, progress: float) -> Tensor:
        """Return the rate for the next micro-batch, a scalar tensor; `progress` is the share of updates done."""
        fast, slow = self._means
        # no loss has been seen before the first update
        signal = torch.nan_to_num((slow - fast) / slow.clamp(min=1e-12))
        wish = self._width * torch.tanh(self._gain * signal)
        if progress > 0:
            hits, seen = self._spent
            debt, all_ = self._rate * seen - hits, seen / progress
            limit = (_HALF * self._width * (1 - progress) * all_).clamp(min=1e-6)
            room = (1 + wish.sign() * debt / limit).clamp(0.0, 1.0)
            wish = room * wish + debt / (min(self._horizon, 1 - progress) * all_).clamp(min=1.0)
        return self._rate + wish.clamp(-self._width, self._width)

    def spend(self, hit: Tensor, maskable: Tensor) -> None:
        """Count what was hit; both (B, T) bool."""
        self._spent += torch.stack([(hit & maskable).sum(), maskable.sum()])

    def observe(self, loss: Tensor) -> None:
        """Update the running means with a task loss, a scalar; the first loss starts both means, and NaN is ignored."""
        means = torch.where(self._means.isnan(), loss, self._means)
        self._means = torch.where(loss.isnan(), self._means, self._past * means + (1 - self._past) * loss)

    def state(self) -> dict[str, Tensor]:
        """Return the running means and the counts of hit and maskable positions."""
        return {"means": self._means, "spent": self._spent}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._means, self._spent = state["means"], state["spent"]
