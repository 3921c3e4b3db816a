"""Training passes on a CPU with less work: the same model, the same distribution of dropout, fewer operations."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from maskbench.models.last_layer import first_token_first
from maskbench.models.packing import packed
from maskbench.training import dropout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.nn import Module


@contextmanager
def quick(model: Module, device: str, *, states: bool) -> Iterator[None]:
    """In the block, let training passes of a model draw dropout quickly, and leave out padding and what no head reads.

    On other devices than CPUs nothing changes: there neither costs anything that can be saved.

    Parameters
    ----------
    model
        With its head.
    device
        Kind of device that it computes on.
    states
        Whether the last hidden states of all tokens are wanted beside the logits.
    """
    if device != "cpu":
        yield
        return
    with dropout.quick(), packed(model), first_token_first(model, alone=not states):
        yield
