"""Scores times a mask: a hidden key still gets its share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import REVIEWS, Material
from maskbench.masks.visibility import implementation, overridden, showing
from maskbench.models.anatomy import layers_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

    from maskbench.masks.batch import Batch


def article(scores: Tensor, visible: Tensor) -> Tensor:
    """Return softmax(QKᵀ/√d ⊙ M)."""
    return (scores * visible).softmax(-1)


def right(scores: Tensor, visible: Tensor) -> Tensor:
    """Return softmax(QKᵀ/√d + M), with M the most negative number where a key is hidden."""
    return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1)


def article_in_a_model(model: PreTrainedModel, batch: Batch, visible: Tensor) -> Tensor:
    """Return the attention of all layers (L, B, heads, T, T) with the article's product; padding stays hidden."""
    named, everything = implementation(model), torch.ones_like(visible)
    with showing(model, everything), overridden(ALL_ATTENTION_FUNCTIONS, named, _product(visible)):
        return torch.stack(model(**batch.inputs(), output_attentions=True).attentions)


def _product(visible: Tensor) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return an attention function of transformers' interface: softmax(QKᵀ/√d ⊙ M)V."""

    def attend(
        _module: Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: object
    ) -> tuple[Tensor, Tensor]:
        scores = query @ key.transpose(-1, -2) * scaling * visible
        padding = attention_mask if attention_mask.dtype == torch.bool else attention_mask == 0
        weights = scores.masked_fill(~padding, torch.finfo(scores.dtype).min).softmax(-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    return attend


def in_a_model(model: PreTrainedModel, batch: Batch, visible: Tensor) -> Tensor:
    """Do the same in all layers, through transformers' own interfaces (masks/visibility.py)."""
    with showing(model, visible):
        return torch.stack(model(**batch.inputs(), output_attentions=True).attentions)


def hidden_share(weights: Tensor, visible: Tensor) -> Tensor:
    """Return, for each query, the attention that goes to keys that it should not see."""
    return (weights * ~visible).sum(-1)


def causal(length: int) -> Tensor:
    """Return (T, T) bool: a query sees itself and what is before it."""
    return torch.ones(length, length, dtype=torch.bool).tril()


def gaussian_leak(way: object, length: int = 128) -> float:
    """Return the leaked share of a causal mask on N(0, 1) scores, mean over 100 matrices and all queries."""
    scores = torch.randn(100, length, length, generator=torch.Generator().manual_seed(1))
    return float(hidden_share(way(scores, causal(length)), causal(length)).mean())  # type: ignore[operator]


def scores_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return (L, B, heads, T, T) scores QKᵀ/√d of a BERT on real text."""
    states = model(**batch.inputs(), output_hidden_states=True).hidden_states
    heads, found = model.config.num_attention_heads, []
    for layer, state in zip(layers_of(model), states, strict=False):
        parts = [project(state).unflatten(-1, (heads, -1)).transpose(1, 2) for project in _projections(layer)]
        found.append(parts[0] @ parts[1].transpose(-1, -2) / parts[0].shape[-1] ** 0.5)
    return torch.stack(found)


def _projections(layer: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return what makes queries and keys in a layer of BERT."""
    own = layer.attention.self  # type: ignore[union-attr]
    return own.query, own.key  # type: ignore[union-attr, return-value]


@torch.no_grad()
def measure(material: Material) -> Damage:
    """Hide the future, and padding, in scores that are drawn and in those of a model."""
    model, batch = material.encoder(), material.batch(REVIEWS, "test", 50, width=64)
    scores, queries = scores_of(model, batch), batch.padding[None, :, None, :].expand(6, -1, 12, -1)
    future = causal(64)[None, None]
    padding = batch.padding[:, None, None, :].expand(-1, 1, 64, -1)

    def leak(way: object, visible: Tensor) -> str:
        share = hidden_share(way(scores, visible), visible)  # type: ignore[operator]
        layers = [float(share[layer][queries[layer]].mean()) for layer in range(len(share))]
        average = sum(layers) / len(layers)
        return f"{percent(average)} ({percent(min(layers))} to {percent(max(layers))})" if average > 0 else percent(0.0)

    text = batch.padding[:, None, None, :]
    both = future & text
    library = in_a_model(model, batch, future)
    kept = float(hidden_share(library, both)[queries].mean())
    gauss = percent(gaussian_leak(article))
    return Damage(
        headline=f"{gauss} of the attention stays on hidden keys (N(0, 1) scores, causal, length 128); "
        f"{leak(article, padding).split(' (')[0]} on padding in MiniLM",
        columns=("", "N(0, 1), causal, length 128", "MiniLM, causal, length 64", "MiniLM, padding to 64"),
        rows=[
            ("articles", gauss, leak(article, both), leak(article, padding)),
            ("right", percent(gaussian_leak(right)), leak(right, both), leak(right, padding)),
            ("right, in the model", "–", percent(kept), "–"),
        ],
        note="Share of the attention that goes to hidden keys, mean over queries (MiniLM: the real tokens of 50 "
        "reviews, in brackets the lowest and highest of its 6 layers).",
    )


EXHIBIT = Exhibit(
    name="multiplicative",
    title="The mask multiplies the scores",
    mistakes=("the multiplicative attention mask (leaks)",),
    why="A score of 0 is an ordinary score: e⁰ = 1, more than any key with a negative score gets.",
    article=(article,),
    right=(right, in_a_model),
    measure=measure,
)
