"""Diagonal of the empirical Fisher information, and the weights that have most of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from maskbench.masks.passes import still
from maskbench.models.anatomy import layers_of, pretrained_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting

_IGNORED = -100


def sample(count: int, wanted: int | None, rng: Draws) -> set[int]:
    """Return which of `count` examples to measure on: `wanted` at most, drawn by the seed; None: all."""
    order = torch.randperm(count, generator=rng.generator(0))
    return set(order[:wanted].tolist())


def information(setting: Setting, chosen: set[int], *, layers: bool = False) -> dict[str, Tensor]:
    """Return the mean squared gradient of single examples' log-likelihoods, by name of the pretrained parameters.

    The model is in eval mode, and examples are taken one by one, since the square of a mean gradient is not the mean of
    squares. Weights, their gradients and the global random state are not changed.

    Parameters
    ----------
    setting
        The setting of the run; its model is at θ₀.
    chosen
        Places of the examples in the training split.
    layers
        Measure only the parameters in the stack of layers, and not all pretrained ones.

    Returns
    -------
    dict
        By name, a float tensor in the shape of the parameter.
    """
    model = setting.model
    named = dict(pretrained_of(model))
    if layers:
        inside = {id(weight) for layer in layers_of(model) for weight in layer.parameters()}
        named = {name: weight for name, weight in named.items() if id(weight) in inside}
    names, weights = list(named), list(named.values())
    sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    with still(model), _sparse_embeddings(model):
        for inputs in setting.batches(1, sorted(chosen)):
            labels = inputs.pop("labels")
            # the loss is a mean over labels, the log-likelihood of a text is a sum
            loss = setting.loss(model(**inputs), labels) * (labels != _IGNORED).sum()
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            for total, gradient in zip(sums, gradients, strict=True):
                if gradient is not None and gradient.is_sparse:
                    rows = gradient.coalesce()
                    total.index_add_(0, rows.indices()[0], rows.values().square())
                elif gradient is not None:
                    total.addcmul_(gradient, gradient)
    torch._foreach_div_(sums, max(len(chosen), 1))
    return dict(zip(names, sums, strict=True))


@contextmanager
def _sparse_embeddings(model: PreTrainedModel) -> Iterator[None]:
    """In the block, give token embeddings a sparse gradient, of the text's own tokens alone: the table is large."""
    table: Any = model.get_input_embeddings()
    before, table.sparse = table.sparse, True
    try:
        yield
    finally:
        table.sparse = before


def mean(tasks: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of several tasks' information on the same parameters, in their shapes."""
    total, *others = tasks
    for other in others:
        torch._foreach_add_(list(total.values()), [other[name] for name in total])
    torch._foreach_div_(list(total.values()), len(tasks))
    return total


def by_layer(model: PreTrainedModel, information: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the information of each layer of a model by itself; all of it is of layers."""
    layer_of = {id(weight): place for place, layer in enumerate(layers_of(model)) for weight in layer.parameters()}
    found: dict[int, dict[str, Tensor]] = {}
    for name, weight in pretrained_of(model):
        if name in information:
            found.setdefault(layer_of[id(weight)], {})[name] = information[name]
    return list(found.values())


def largest(information: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return, in the same shapes, float 1 at the given share of all entries together, the largest, and 0 elsewhere.

    The number of ones is exact: of entries that equal the smallest chosen one, the first by name and place are taken.
    """
    names = sorted(information)
    flat = torch.cat([information[name].flatten() for name in names])
    count = max(1, round(share * len(flat)))
    threshold = flat.kthvalue(len(flat) - count + 1).values
    chosen, tied = flat > threshold, flat == threshold
    chosen |= tied & (tied.cumsum(0) <= count - chosen.sum())
    parts = chosen.float().split([information[name].numel() for name in names])
    # clones, since views would keep the whole block in memory, and products with unaligned views are slower
    return {name: part.view(information[name].shape).clone() for name, part in zip(names, parts, strict=True)}
