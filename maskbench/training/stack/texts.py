"""Which examples each update of a stack sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from maskbench.training.resident import Resident
    from maskbench.training.trainer import PairedOrder


class Order:
    """Which examples each update sees, as the Trainer's sampler gives them.

    Parameters
    ----------
    sampler
        The sampler of the Trainer.
    texts
        Where the examples lie.
    size, parts
        Examples of an update, and micro-batches that it is split into.
    """

    def __init__(self, sampler: PairedOrder, texts: Resident, size: int, parts: int) -> None:
        self._sampler, self._texts, self._size, self._micro = sampler, texts, size, size // parts
        self._epoch, self._rows, self._placed = -1, [0], torch.zeros(0)
        self.per_epoch = -(-len(texts) // size)
        """Number of updates in a pass over the examples."""

    def epoch(self, update: int) -> int:
        """Return the pass that an update (counted from 0) belongs to."""
        return update // self.per_epoch

    def epochs(self, updates: int) -> float:
        """Return how many passes are over after some updates (at least one), as the Trainer counts them."""
        whole = (updates - 1) // self.per_epoch
        parts = self._size // self._micro
        total = -(-len(self._texts) // self._micro)
        return whole + min((updates - whole * self.per_epoch) * parts, total) / total

    def batches(self, update: int) -> Iterator[dict[str, Tensor]]:
        """Yield the micro-batches of an update, counted from 0."""
        if self._epoch != self.epoch(update):
            self._epoch = self.epoch(update)
            self._sampler.set_epoch(self._epoch)
            self._rows = list(self._sampler)
            self._placed = self._texts.placed(self._rows)
        first = update % self.per_epoch * self._size
        for start in range(first, min(first + self._size, len(self._rows)), self._micro):
            rows = slice(start, min(start + self._micro, first + self._size))
            yield self._texts.gather(self._placed[rows], self._texts.width(self._rows[rows]))
