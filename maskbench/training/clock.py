"""How long updates take, and whether their losses are finite: both without waiting for a card in every update."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

if TYPE_CHECKING:
    from torch import Tensor


class DivergedError(RuntimeError):
    """The loss has become infinite or NaN."""


class Clock(TrainerCallback):
    """Measures updates: forward, backward and optimiser, without evaluation and checkpoints.

    Parameters
    ----------
    on_card
        The card keeps the time by events of its own; otherwise the host does.
    """

    def __init__(self, on_card: bool = False) -> None:
        self.on_card = on_card
        self._durations: list[float] = []
        self._began: Any = None
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @property
    def durations(self) -> list[float]:
        """Seconds of each update so far; on a card this waits until the last one is done."""
        if self._events:
            self._events[-1][1].synchronize()
            self._durations += [began.elapsed_time(ended) / 1000 for began, ended in self._events]
            self._events.clear()
        return self._durations

    @durations.setter
    def durations(self, seconds: list[float]) -> None:
        self._events.clear()
        self._durations = seconds

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock before an update."""
        self._began = now(self.on_card)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop the clock after an update, and keep its duration."""
        ended = now(self.on_card)
        if self.on_card:
            self._events.append((self._began, ended))
        else:
            self._durations.append(ended - self._began)


def now(on_card: bool) -> Any:
    """Return the time in seconds, or an event that the card passes when it has done all before it."""
    if not on_card:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


EVERY = 50
"""On a card, the number of losses that are looked at together: each look waits for the card."""


class Losses:
    """Looks whether losses are finite.

    Parameters
    ----------
    every
        Number of losses that are looked at together.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._seen: list[tuple[int, Tensor]] = []

    def add(self, update: int, loss: Tensor) -> None:
        """Take the loss of a micro-batch, a scalar; `update` counts from 1.

        Raises
        ------
        DivergedError
            If it is time to look, and a loss is not finite.
        """
        self._seen.append((update, loss))
        if len(self._seen) >= self.every:
            self.look()

    def look(self) -> None:
        """Look at all losses since the last look.

        Raises
        ------
        DivergedError
            If one of them is not finite.
        """
        if not self._seen:
            return
        losses = torch.stack([loss for _, loss in self._seen]).tolist()
        updates = [update for update, _ in self._seen]
        self._seen.clear()
        for update, loss in zip(updates, losses, strict=True):
            if not math.isfinite(loss):
                raise DivergedError(f"loss is {loss} at update {update}")
