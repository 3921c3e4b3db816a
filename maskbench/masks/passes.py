"""Forward passes of a masked batch, for the task loss and for objectives alike."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.nn import Module

    from maskbench.masks.base import Batch


@contextmanager
def mixing(model: Module, batch: Batch) -> Iterator[None]:
    """Let the token embeddings go over to that of [MASK] by the weights in `batch.mix`, with gradients to them."""
    if batch.mix is None:
        yield
        return
    table = model.get_input_embeddings()  # type: ignore[operator]
    weight = batch.mix[..., None]

    def mix(module: Module, _: Any, tokens: Tensor) -> Tensor:
        # lerp is exact at 0 and 1
        return torch.lerp(tokens, module.weight[batch.mask_id].expand_as(tokens), weight)  # type: ignore[index]

    handle = table.register_forward_hook(mix)
    try:
        yield
    finally:
        handle.remove()


def forward(model: Module, batch: Batch, *, hidden: bool = False) -> Any:
    """Run the model once more on a batch, with the same dropout as the pass of the task loss.

    Parameters
    ----------
    hidden
        Return the hidden states of all layers, too.
    """
    torch.manual_seed(batch.noise)
    with mixing(model, batch):
        return model(**batch.inputs(), output_hidden_states=hidden)


def precision(model: Module) -> torch.autocast:
    """Return a context in which other modules compute as the Trainer lets the model compute: in bf16 where it does."""
    # accelerate keeps the forward that it wrapped, and wraps it only for mixed precision
    mixed = hasattr(model, "_original_forward")
    device = next(model.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=mixed)


@contextmanager
def still(model: Module) -> Iterator[None]:
    """Put the model into eval mode for a while: no dropout, so nothing is drawn from torch's generator."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
