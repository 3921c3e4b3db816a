"""How much each token matters to the model in training, and draws that prefer what matters.

All passes are in eval mode: they draw nothing from torch's generator and leave no gradient behind.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from maskbench.masks.passes import mixing, still

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from maskbench.masks.batch import Batch

_FLOOR = 1e-6  # least weight, relative to the text's mean: tokens without weight can still be drawn, last and at random
_HALF = 2.0**-25  # half the step between uniform draws: it stands in for a draw of exactly 0


@contextmanager
def _eager(configs: Sequence[Any]) -> Iterator[None]:
    """In the block, let the modules with these configurations compute attention in the eager way.

    Only that way returns attention weights. Modules look their configuration up in every pass, so that it is enough to
    change that: transformers' own function for it takes milliseconds.
    """
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation = "eager"
    try:
        yield
    finally:
        for config, implementation in zip(configs, before, strict=True):
            config._attn_implementation = implementation


def configs_of(model: PreTrainedModel) -> list[Any]:
    """Return the configurations that a model's modules look up: some families copy theirs for their parts."""
    found = [part.config for part in model.modules() if hasattr(part, "config")]
    return list({id(config): config for config in found if hasattr(config, "_attn_implementation")}.values())


@torch.no_grad()
def attention_received(model: PreTrainedModel, batch: Batch, configs: Sequence[Any] | None = None) -> Tensor:
    """Return (B, T) the attention that each token receives from the real tokens of its text.

    A mean over queries, heads and layers; the tokens of a text sum to 1.

    Parameters
    ----------
    configs
        What `configs_of` returned for the model; None: it is asked again.
    """
    with still(model), _eager(configs_of(model) if configs is None else configs):
        layers = model(**batch.inputs(), output_attentions=True).attentions
    weights = torch.stack([layer.float().mean(1) for layer in layers]).mean(0)
    return (weights * batch.padding[:, :, None]).sum(1) / batch.padding.sum(1, keepdim=True)


@torch.no_grad()
def word_losses(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return (B, T) the tagging loss of the word that each token belongs to, in nats; 0 where no label is."""
    assert batch.labels is not None, "labels are there while training"
    with still(model):
        logits = model(**batch.inputs()).logits
    losses = torch.nn.functional.cross_entropy(logits.float().movedim(-1, 1), batch.labels, reduction="none")
    # only a word's first subword has the label: each subword takes the last label before it, if of the same word
    places = torch.arange(batch.words.shape[1], device=batch.words.device)
    labelled = torch.where(batch.labels >= 0, places, 0).cummax(1).values
    same = batch.words.gather(1, labelled) == batch.words
    return torch.where(same & batch.maskable, losses.gather(1, labelled), 0.0)


def saliency(model: PreTrainedModel, batch: Batch, loss: Callable[..., Tensor]) -> Tensor:
    """Return (B, T) by how much the loss would change if a token became [MASK], to first order.

    That is |∂L/∂e · (e[MASK] − e)| at the token's embedding e (the estimate of Ebrahimi et al. 2018, HotFlip);
    each text's values are relative to each other.
    """
    mix = torch.zeros(batch.input_ids.shape, device=batch.input_ids.device, requires_grad=True)
    with still(model), torch.enable_grad(), mixing(model, replace(batch, mix=mix)):
        total = loss(model(**batch.inputs()), batch.labels)
        return torch.autograd.grad(total, mix)[0].abs()


def preferring(batch: Batch, weights: Tensor, sharpness: float, uniform: Tensor) -> Tensor:
    """Return (B, T) an order, smallest first: a draw without replacement, by weights to the power of `sharpness`.

    The keys of Efraimidis & Spirakis (2006, algorithm A), as the logarithms of their logarithms.

    Parameters
    ----------
    weights
        (B, T), at least 0; only their ratios within a text count.
    uniform
        (B, T) numbers in [0, 1).
    """
    weights = torch.where(batch.maskable, weights, 0.0)
    mean = weights.sum(1, keepdim=True) / batch.maskable.sum(1, keepdim=True).clamp(min=1)
    relative = (weights / mean.clamp(min=torch.finfo(weights.dtype).tiny)).clamp(min=_FLOOR)
    waiting = -torch.log(uniform.clamp(min=_HALF))  # exponential: the time until a token is drawn at rate 1
    return waiting.log() - sharpness * relative.log()
