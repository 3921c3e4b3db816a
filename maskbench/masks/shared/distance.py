"""Distances between the tokens of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.masks.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor


def distance(batch: Batch) -> Tensor:
    """Return (T, T) by how many places each query (row) comes after each key (column), whichever side is padded."""
    import torch

    place = torch.arange(batch.input_ids.shape[1], device=batch.input_ids.device)
    return place[:, None] - place
