"""How often sequences were seen, and how often under a mask that they had been seen under before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from maskbench import splitmix

if TYPE_CHECKING:
    from maskbench.masks.batch import Batch


class Repeats:
    """Counts masks of sequences: a mask is the places that were hit and the tokens that stood there instead.

    Parameters
    ----------
    sequences
        Number of sequences.
    passes
        Most times that each is seen.
    device
        Of the batches.
    """

    def __init__(self, sequences: int, passes: int, device: torch.device) -> None:
        self.masks = torch.zeros(sequences, passes, dtype=torch.int64, device=device)
        """(N, P) a hash of the mask in each pass; 0: not seen."""

    def add(self, masked: Batch) -> None:
        """Note the masks of a batch."""
        assert masked.hit is not None
        place = torch.arange(masked.input_ids.shape[1], device=masked.input_ids.device)
        token = splitmix.mixed((masked.input_ids + 1) * splitmix.GOLDEN + place)
        self.masks[masked.examples, masked.epoch] = torch.where(masked.hit, token, 0).sum(1) | 1

    def counts(self) -> tuple[int, int]:
        """Return how many sequences were shown, each time counted, and how many of them under a mask seen before."""
        shown = int((self.masks != 0).sum())
        ordered = self.masks.sort(1).values
        new = torch.ones_like(ordered, dtype=torch.bool)
        new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        return shown, shown - int((new & (ordered != 0)).sum())
