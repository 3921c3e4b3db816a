"""Forward passes of a masked batch, for the task loss and for objectives alike."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn import Embedding

from maskbench.errors import InputError
from maskbench.models.anatomy import base_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.nn import Module

    from maskbench.masks.batch import Batch

    TokenLayout = Literal["plain", "transposed", "shifted"]
    """How the tokens of a batch lie in what a module looks up: (B, T), (T, B), or (B, T) one place later."""


@contextmanager
def mixing(model: Module, batch: Batch) -> Iterator[None]:
    """In the block, blend token embeddings with that of [MASK] by the weights in `batch.mix`, with gradients to them.

    A weight of 1 has the effect of [MASK] in place of the token; `require_mixing` checks it before the first update.

    Raises
    ------
    InputError
        At the end, if the model looked up no token.
    """
    if batch.mix is None:
        yield
        return
    config: Any = model.config
    mixed = _Mixed(batch.mix, batch.mask_id, "transposed" if config.model_type == "xlnet" else "plain")
    with ExitStack() as stack:
        for _, table in tables_of(model):
            stack.callback(table.register_forward_hook(mixed.mix).remove)
        if config.is_encoder_decoder and (decoder := getattr(base_of(model), "decoder", None)) is not None:
            stack.callback(decoder.register_forward_pre_hook(mixed.enter).remove)
            stack.callback(decoder.register_forward_hook(mixed.leave).remove)
        yield
    if not mixed.asked:
        raise InputError(f"{type(model).__name__} looks up none of its tokens in its table of embeddings")


def tables_of(model: Module) -> Iterator[tuple[str, Module]]:
    """Yield the modules that look tokens up, with their names: T5 and BART have the same table in several."""
    table = model.get_input_embeddings()  # type: ignore[operator]
    for name, part in model.named_modules():
        if part is table or (isinstance(part, Embedding) and part.weight is table.weight):
            yield name, part


class _Mixed:
    """Forward hooks that blend looked-up embeddings with that of [MASK].

    Parameters
    ----------
    weights
        (B, T) weights of [MASK].
    mask_id
        Its token id.
    layout
        How the tokens of a batch lie in what an encoder looks up.
    """

    def __init__(self, weights: Tensor, mask_id: int, layout: TokenLayout) -> None:
        self.weights, self.mask_id, self.layout, self.around = weights, mask_id, layout, layout
        self.asked = False
        """Whether any token was looked up."""

    def enter(self, *_: Any) -> None:
        """Note that a decoder has begun: it reads the text shifted by one place, behind a start token."""
        self.layout = "shifted"

    def leave(self, *_: Any) -> None:
        """Note that the decoder is done."""
        self.layout = self.around

    def mix(self, table: Module, _: Any, tokens: Tensor) -> Tensor:
        """Return the embeddings (..., H) that the model goes on with."""
        self.asked = True
        weight = self.weights
        if self.layout == "transposed":  # XLNet computes with (T, B)
            weight = weight.T
        elif self.layout == "shifted":
            weight = torch.nn.functional.pad(weight[:, :-1], (1, 0))
        missing = tokens.shape[1] - weight.shape[1]
        if missing > 0:  # Longformer and BigBird pad texts on the right to whole windows
            weight = torch.nn.functional.pad(weight, (0, missing))
        if tokens.shape[:2] != weight.shape:
            raise InputError(
                f"weights of [MASK] for {tuple(self.weights.shape)} tokens do not fit the "
                f"{tuple(tokens.shape[:2])} tokens that the model looks up"
            )
        # the module's own forward, in which Gemma scales embeddings; called directly, so that no hook runs again
        mask = table.forward(torch.full((1,), self.mask_id, device=tokens.device))
        # lerp is exact at 0 and 1
        return torch.lerp(tokens, mask.expand_as(tokens), weight[..., None])


@torch.no_grad()
def require_mixing(model: Module, batch: Batch) -> None:
    """Make sure that embeddings can be blended with that of [MASK]: weights of 1 must equal [MASK] in place of tokens.

    Parameters
    ----------
    batch
        A clean batch of texts that the model is trained on; every second maskable token is hit for the test.

    Raises
    ------
    InputError
        If mixing does something else, or does not reach the model.
    """
    place = torch.arange(batch.input_ids.shape[1], device=batch.input_ids.device)
    row = torch.arange(len(batch.input_ids), device=batch.input_ids.device)
    fed = batch.corrupted((place + row[:, None]) % 2 == 0, batch.mask_id)
    assert fed.hit is not None
    name = type(model).__name__
    with still(model):
        wanted = model(**fed.inputs()).logits
        try:
            with mixing(model, replace(batch, mix=fed.hit.to(wanted.dtype))):
                found = model(**batch.inputs()).logits
        except InputError as error:
            raise InputError(f"embeddings cannot be mixed with that of [MASK]: {name}: {error}") from None
    if not torch.allclose(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max())):
        apart = float((found - wanted).abs().max())
        raise InputError(
            f"embeddings cannot be mixed with that of [MASK]: {name} computes something else than with [MASK] in "
            f"place of the tokens (logits differ by up to {apart:.2g})"
        )


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
    """Return a context in which other modules compute in the precision in which the Trainer runs the model."""
    # accelerate wraps the forward pass only for mixed precision, and then keeps the original under this name
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
