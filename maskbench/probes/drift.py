"""How far a model has moved from θ₀: in what it computes, and in its weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from maskbench.models.anatomy import base_of, embeddings_of, layers_of
from maskbench.probes.errors import UnmeasuredError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.nn import Module


def debiased_cka(one: Tensor, other: Tensor) -> float:
    """Return the linear centred kernel alignment of two representations of the same P tokens, without its bias.

    It is 1 for representations that a rotation and a scale turn into each other, and on average 0 for independent
    ones, however few the tokens (the usual estimator is far above 0 there); so it may be a little below 0.

    Parameters
    ----------
    one, other
        (P, H) and (P, G) representations, P at least 4.

    Raises
    ------
    UnmeasuredError
        If a representation does not vary.

    References
    ----------
    Kornblith et al. (2019), Similarity of neural network representations revisited, section 3, with the unbiased
    estimator of HSIC of Song et al. (2012), Feature selection via dependence maximization (as in Nguyen, Raghu &
    Kornblith 2021, Do wide and deep networks learn the same things?).
    """
    # centring changes nothing but the rounding: HSIC's unbiased estimator is the same for any origin
    one, other = (features.double() - features.double().mean(0) for features in (one, other))
    cross, first, second = hsic(one, other), hsic(one, one), hsic(other, other)
    if not (math.isfinite(cross) and first > 0 and second > 0):
        raise UnmeasuredError("a layer's representation does not vary over the probed tokens, or is not finite")
    return cross / math.sqrt(first * second)


def hsic(one: Tensor, other: Tensor) -> float:
    """Return the unbiased estimate of the Hilbert-Schmidt independence criterion under linear kernels.

    It is that of Song et al. (2012), of the Gram matrices K = X Xᵀ and L = Y Yᵀ without their diagonals. Here it is
    computed from the features alone, since P tokens are more than H features: tr(K L) = ‖Xᵀ Y‖².

    Parameters
    ----------
    one, other
        (P, H) and (P, G) features of the same P things, P at least 4, in double precision.
    """
    count = len(one)
    diagonals = [features.square().sum(1) for features in (one, other)]
    sums = [features @ features.sum(0) - own for features, own in zip((one, other), diagonals, strict=True)]
    trace = (one.T @ other).square().sum() - diagonals[0] @ diagonals[1]
    whole = sums[0].sum() * sums[1].sum() / ((count - 1) * (count - 2))
    return float((trace + whole - 2 / (count - 2) * (sums[0] @ sums[1])) / (count * (count - 3)))


def layer_names(count: int) -> list[str]:
    """Return the names of the hidden states that a model of `count` - 1 layers gives."""
    return ["embeddings", *(f"layer-{index}" for index in range(count - 1))]


def blocks(model: Module) -> dict[str, list[str]]:
    """Return the names of the parameters of each block, as the encoder itself names them; `` is all of them.

    A pooler and a last norm are in no block but count in all.
    """
    base = base_of(model)
    names = {id(parameter): name for name, parameter in base.named_parameters()}
    parts = {"embeddings": [names[id(parameter)] for parameter in embeddings_of(model)]}
    for index, layer in enumerate(layers_of(model)):
        parts[f"layer-{index}"] = [names[id(parameter)] for parameter in layer.parameters()]
    return {"": list(names.values()), **parts}


def parameter_drift(
    trained: Mapping[str, Tensor], start: Mapping[str, Tensor], parts: Mapping[str, list[str]]
) -> Iterator[tuple[str, float, float]]:
    """Yield each block with ‖θ − θ₀‖ / ‖θ₀‖ and the share of its weights that are not the same bit by bit.

    Parameters
    ----------
    trained, start
        Weights by name. What only one of them has is left out (a fresh pooler); of a table of embeddings that has
        grown by a new token, the rows that both have are compared.
    parts
        Names of the weights of each block.
    """
    sums = {}
    for name in parts[""]:
        if name in start and name in trained:
            old = start[name]
            new = trained[name][: len(old)] if old.dim() else trained[name]
            moved, norm = (float(torch.linalg.vector_norm(values, dtype=torch.float64)) for values in (new - old, old))
            sums[name] = (moved**2, norm**2, int((new != old).sum()), old.numel())
    for part, names in parts.items():
        rows = [sums[name] for name in names if name in sums]
        moved, norm, changed, size = (sum(column) for column in zip(*rows, strict=True)) if rows else (0, 0, 0, 0)
        if size and norm:
            yield part, math.sqrt(moved / norm), changed / size


def moved_drift(trained: Mapping[str, Tensor], start: Mapping[str, Tensor], names: list[str]) -> float:
    """Return ‖θ − θ₀‖ / ‖θ₀‖ over those weights alone that are not the same bit by bit; 0 if all are.

    Masks of parameters keep every bit of the weights that they hold, so that what is left out is what could not move,
    and embeddings of tokens that no training text has, if there is no weight decay.

    Parameters
    ----------
    trained, start, names
        As in `parameter_drift`.
    """
    sums = [0.0, 0.0]
    for name in names:
        if name in start and name in trained:
            old = start[name]
            new = trained[name][: len(old)] if old.dim() else trained[name]
            changed = new != old
            for index, values in enumerate((new - old, old)):
                sums[index] += float(torch.linalg.vector_norm(values * changed, dtype=torch.float64)) ** 2
    return math.sqrt(sums[0] / sums[1]) if sums[1] else 0.0


def weights_of(model: Module) -> dict[str, Tensor]:
    """Return the encoder's weights by the names that it gives them itself."""
    return {name: parameter.detach() for name, parameter in base_of(model).named_parameters()}


def mean(values: list[float]) -> float:
    """Return the mean of at least one number.

    Raises
    ------
    UnmeasuredError
        If there is none.
    """
    if not values:
        raise UnmeasuredError("there is nothing to take the mean of")
    return math.fsum(values) / len(values)
