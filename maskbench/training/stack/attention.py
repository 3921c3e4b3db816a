"""Attention masks of several cells in one pass."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from maskbench.masks.visibility import implementation, overridden

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel


@contextmanager
def recorded(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """In the block, note the first mask that the model makes for its attention: what it shows by itself.

    A mask is always made. Else transformers would ask whether a batch has padding at all, and wait for the card. Where
    single cells hide more, `maskbench.masks.visibility.showing` takes it out of what is made here.
    """
    name = implementation(model)
    found: list[Tensor] = []
    original = ALL_MASK_ATTENTION_FUNCTIONS[name]

    def mask(**keys: Any) -> Tensor:
        own: Tensor = original(**keys | {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})
        if not found:
            found.append(own)
        return own

    with overridden(ALL_MASK_ATTENTION_FUNCTIONS, name, mask):
        yield found


def together(visible: Sequence[Tensor | None], examples: int, width: int) -> Tensor | None:
    """Return (K, B or 1, 1, T, T) bool: which keys each query may see in each cell; None if no cell hides anything.

    Parameters
    ----------
    visible
        Of each cell, (B, 1, T, T) or (1, 1, T, T) bool; None: all.
    examples, width
        B and T.
    """
    shown = [item for item in visible if item is not None]
    if not shown:
        return None
    rows = max(len(item) for item in shown)
    assert rows in (1, examples)
    everything = torch.ones((), dtype=torch.bool, device=shown[0].device)
    parts = [everything if item is None else item for item in visible]
    return torch.stack([part.expand(rows, 1, width, width) for part in parts])
