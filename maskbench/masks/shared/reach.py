"""Finds the weights that masks on linear modules do not reach, so that a run's record can name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import Embedding, Linear
from transformers.pytorch_utils import Conv1D

from maskbench.models.anatomy import layers_of

if TYPE_CHECKING:
    from torch.nn import Module


def unreached(model: Module, first: int = 0) -> list[str]:
    """Return the names of the linear maps in the layers from `first` upward that are no linear modules, in order.

    These are bare parameters of at least as many entries as a map of the hidden states has: q, k, v, o and r of XLNet.
    """
    size = int(model.config.hidden_size) ** 2  # type: ignore[arg-type,union-attr]
    names: dict[str, None] = {}
    for layer in list(layers_of(model))[first:]:
        for part in layer.modules():
            if not isinstance(part, (Linear, Conv1D, Embedding)):
                own = part.named_parameters(recurse=False)
                names |= dict.fromkeys(name for name, weight in own if weight.dim() > 1 and weight.numel() >= size)
    return list(names)


def note_on(kind: str, model: Module, first: int = 0) -> list[str]:
    """Return the notes on such maps for the record of a run: none, or one sentence."""
    names = unreached(model, first)
    if not names:
        return []
    return [f"{kind}: {', '.join(names)} of each layer are bare parameters, not linear modules: it does not reach them"]
