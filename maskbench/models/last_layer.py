"""The last layer of a BERT under a classifier, which reads the first token alone: the others need not be computed."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from transformers import BertForSequenceClassification
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import eager_attention_forward

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.nn import Module


@contextmanager
def first_token_first(model: Module, *, alone: bool) -> Iterator[None]:
    """In the block, let the last layer compute what the classifier reads by itself, before all other tokens.

    Keys and values are those of all tokens; queries, and all that follows them, are of the first token. This leaves out
    five sixths of the layer's work. The result is the model's own up to rounding. Nothing changes in eval mode, nor for
    models of other classes than BertForSequenceClassification.

    Parameters
    ----------
    model
        With its head, in training.
    alone
        Whether the other tokens are left out, so that the last hidden states have one token: (B, 1, H). If not, they
        are computed afterwards, with draws of dropout that do not shift those that come later: what the classifier
        reads has the same bits either way.
    """
    if not (isinstance(model, BertForSequenceClassification) and model.training and not model.config.is_decoder):
        yield
        return
    layer: Any = model.bert.encoder.layer[-1]
    layer.forward = partial(_forward, layer, alone)
    try:
        yield
    finally:
        del layer.forward


def _forward(layer: Any, alone: bool, states: Tensor, mask: Tensor | None = None, *more: Any, **keys: Any) -> Tensor:
    """Return (B, T, H) what the layer makes of its input (B, T, H), or (B, 1, H) for the first token alone."""
    if not layer.training:  # a mask looks at the whole text in between
        result: Tensor = type(layer).forward(layer, states, mask, *more, **keys)
        return result
    own = layer.attention.self
    key, value = (_heads(own, project(states)) for project in (own.key, own.value))
    first = _rows(layer, states, mask, key, value, slice(0, 1))
    if alone or states.shape[1] == 1:
        return first
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,))) ^ 1)  # not what is drawn next for other numbers
        others = _rows(layer, states, mask, key, value, slice(1, None))
    return torch.cat([first, others], 1)


def _rows(layer: Any, states: Tensor, mask: Tensor | None, key: Tensor, value: Tensor, rows: slice) -> Tensor:
    """Return (B, R, H) what the layer makes of some tokens, with the keys and values (B, A, T, H / A) of all."""
    own, here = layer.attention.self, states[:, rows]
    if mask is not None and mask.shape[-2] > 1:
        mask = mask[..., rows, :]
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(own.config._attn_implementation, eager_attention_forward)
    dropout = own.dropout.p if own.training else 0.0
    seen, _ = attend(own, _heads(own, own.query(here)), key, value, mask, dropout=dropout, scaling=own.scaling)
    attended = layer.attention.output(seen.reshape(*here.shape[:-1], -1), here)
    result: Tensor = layer.feed_forward_chunk(attended)
    return result


def _heads(own: Any, states: Tensor) -> Tensor:
    """Return (B, A, R, H / A) for A heads from (B, R, H)."""
    return states.view(*states.shape[:-1], -1, own.attention_head_size).transpose(1, 2)
