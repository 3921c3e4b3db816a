"""The last layer of a BERT under a classifier, which reads the first token alone: the others need not be computed."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from transformers import BertForSequenceClassification

from maskbench.models.packing import attended, computing, heads, packing_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.nn import Module

    from maskbench.models.packing import Packing


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
    with computing(model.bert.encoder.layer[-1], partial(_forward, alone)):
        yield


def _forward(
    alone: bool,
    layer: Any,
    states: Tensor,
    mask: Tensor | None = None,
    *_: Any,
    packing: Packing | None = None,
    **__: Any,
) -> Tensor:
    """Return (B, T, H) what the layer makes of its input (B, T, H), or (B, 1, H) for the first token alone."""
    packing = packing_of(states, packing)
    own, all_here = layer.attention.self, packing.pack(states)
    key, value = (heads(own, packing.pad(project(all_here))) for project in (own.key, own.value))
    first = _rows(layer, states, packing, mask, key, value, slice(0, 1))
    if alone or states.shape[1] == 1:
        return first
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,))) ^ 1)  # not what is drawn next for other numbers
        others = _rows(layer, states, packing, mask, key, value, slice(1, None))
    return torch.cat([first, others], 1)


def _rows(
    layer: Any, states: Tensor, packing: Packing, mask: Tensor | None, key: Tensor, value: Tensor, rows: slice
) -> Tensor:
    """Return (B, R, H) what the layer makes of some tokens, with the keys and values (B, A, T, H / A) of all."""
    if mask is not None and mask.shape[-2] > 1:
        mask = mask[..., rows, :]
    own = packing.rows(rows)
    return own.pad(attended(layer, own.pack(states[:, rows]), own, mask, key, value))
