"""The layers of a BERT without padding: what is computed for each token by itself is computed for real tokens alone."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import BertModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import eager_attention_forward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor
    from torch.nn import Module


NARROWEST = 256
"""Hidden size below which leaving padding out saves less than it costs (docs/measured.md): with 128 an update took 1.2
to 1.5 times as long, with 384 it takes 0.91 to 0.97."""


class _Moved(torch.autograd.Function):
    """Between the states of all tokens and those of the real ones; autograd's own way back takes twice as long."""

    generate_vmap_rule = True

    @staticmethod
    def forward(states: Tensor, places: Tensor, back: Tensor, padding: bool) -> Tensor:
        """Return (N, H) the states of the real tokens; with `padding`, (B T, H) those of all from them."""
        if padding:
            return torch.cat([states, states.new_zeros(1, states.shape[-1])]).index_select(0, back)
        return states.index_select(0, places)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        """Keep the places for the way back."""
        _, places, back, ctx.padding = inputs
        ctx.save_for_backward(places, back)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        """Return the gradient of the states: it goes the other way."""
        places, back = ctx.saved_tensors
        return _moved(gradients[0], places, back, not ctx.padding), None, None, None


def _moved(states: Tensor, places: Tensor, back: Tensor, padding: bool) -> Tensor:
    """Return what `_Moved` makes of states."""
    moved: Tensor = _Moved.apply(states, places, back, padding)  # type: ignore[no-untyped-call]
    return moved


class Packing:
    """Takes the real tokens out of a padded batch, and puts them back.

    Parameters
    ----------
    real
        (B, T) bool, which tokens are real.
    """

    def __init__(self, real: Tensor) -> None:
        self.real = real
        places = real.flatten().nonzero()[:, 0]
        self._full = len(places) == real.numel()
        """Whether all tokens are real."""
        back = torch.full_like(real, len(places), dtype=torch.int64).flatten()
        back[places] = torch.arange(len(places), device=real.device)
        self._places = places, back
        """(N,) places of the real tokens among all; (B T,) of each token its place among the real ones, or N."""

    def pack(self, states: Tensor) -> Tensor:
        """Return (N, H) the states of the real tokens of (B, T, H)."""
        flat = states.flatten(0, 1)
        return flat if self._full else _moved(flat, *self._places, False)

    def pad(self, packed: Tensor) -> Tensor:
        """Return (B, T, H) with the states (N, H) of the real tokens, and 0 at padding."""
        every = packed if self._full else _moved(packed, *self._places, True)
        padded: Tensor = every.unflatten(0, self.real.shape)
        return padded

    def rows(self, rows: slice) -> Packing:
        """Return the packing of some places of all texts."""
        return Packing(self.real[:, rows])


@contextmanager
def packed(model: Module) -> Iterator[None]:
    """In the block, let the layers of a model compute nothing for padding but attention, while it is trained.

    Linear layers, activations, layer norms and dropout take the real tokens of a batch as one (N, H) matrix. The
    result is the model's own up to rounding and, since fewer numbers are drawn, to the draws of dropout; at padding the
    states are 0. Nothing changes in eval mode, nor for other models than encoders of the class BertModel, nor for those
    that are too narrow to gain by it (`NARROWEST`).

    Parameters
    ----------
    model
        With or without a head.
    """
    base: Any = getattr(model, "base_model", None)
    ours = isinstance(base, BertModel) and model.training and not base.config.is_decoder
    if not ours or base.config.hidden_size < NARROWEST:
        yield
        return
    with ExitStack() as stack:
        # what the base does not know it hands on to its layers
        stack.callback(base.register_forward_pre_hook(_with_packing, with_kwargs=True).remove)
        for layer in base.encoder.layer:
            stack.enter_context(computing(layer, _forward))
        yield


@contextmanager
def computing(layer: Any, forward: Callable[..., Tensor]) -> Iterator[None]:
    """In the block, let a layer in training compute by `forward`, which is given the layer first."""

    def either(*given: Any, packing: Packing | None = None, **keys: Any) -> Tensor:
        if not layer.training:  # a mask looks at the whole text in between
            result: Tensor = type(layer).forward(layer, *given, **keys)
            return result
        return forward(layer, *given, packing=packing, **keys)

    before = vars(layer).get("forward")
    layer.forward = either
    try:
        yield
    finally:
        del layer.forward
        if before is not None:
            layer.forward = before


def _with_packing(base: Any, given: tuple[Any, ...], keys: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Add the packing of the batch to what the base is called with, if it is trained."""
    mask = keys.get("attention_mask")
    if not base.training or mask is None:
        return given, keys
    return given, keys | {"packing": Packing(mask.bool())}


def packing_of(states: Tensor, packing: Packing | None) -> Packing:
    """Return a packing, or if there is none that of a batch without padding, whose states are (B, T, H)."""
    return packing or Packing(torch.ones(states.shape[:2], dtype=torch.bool, device=states.device))


def _forward(
    layer: Any, states: Tensor, mask: Tensor | None = None, *_: Any, packing: Packing | None = None, **__: Any
) -> Tensor:
    """Return (B, T, H) what a layer makes of its input (B, T, H)."""
    packing = packing_of(states, packing)
    here = packing.pack(states)
    own = layer.attention.self
    key, value = (heads(own, packing.pad(project(here))) for project in (own.key, own.value))
    return packing.pad(attended(layer, here, packing, mask, key, value))


def attended(layer: Any, here: Tensor, packing: Packing, mask: Tensor | None, key: Tensor, value: Tensor) -> Tensor:
    """Return what a layer makes of some tokens.

    Parameters
    ----------
    here
        (N, H) their states.
    packing
        Where they stand.
    mask
        (B, 1, R or 1, T) what is added to the scores.
    key, value
        (B, A, T, H / A) of all tokens.
    """
    own = layer.attention.self
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(own.config._attn_implementation, eager_attention_forward)
    query = heads(own, packing.pad(own.query(here)))
    dropout = own.dropout.p if own.training else 0.0
    seen, _ = attend(own, query, key, value, mask, dropout=dropout, scaling=own.scaling)
    result: Tensor = layer.feed_forward_chunk(layer.attention.output(packing.pack(seen.flatten(2)), here))
    return result


def heads(own: Any, states: Tensor) -> Tensor:
    """Return (B, A, R, H / A) for A heads from (B, R, H)."""
    return states.view(*states.shape[:-1], -1, own.attention_head_size).transpose(1, 2)
