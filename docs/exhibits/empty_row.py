"""A query that may see nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from docs.exhibits.exhibit import Damage, Exhibit, percent

if TYPE_CHECKING:
    from docs.exhibits.material import Material


def article_finite(scores: Tensor, visible: Tensor) -> Tensor:
    """Let a large number stand for minus infinity."""
    return scores.masked_fill(~visible, -1e9).softmax(-1)


def article_infinite(scores: Tensor, visible: Tensor) -> Tensor:
    """Take minus infinity itself."""
    return scores.masked_fill(~visible, float("-inf")).softmax(-1)


def right(scores: Tensor, visible: Tensor) -> Tensor:
    """Let a query always see itself (masks/visibility.py adds the diagonal to every mask)."""
    visible = visible | torch.eye(visible.shape[-1], dtype=torch.bool)
    return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1)


Way = Callable[[Tensor, Tensor], Tensor]


def one_empty_row(way: Way, length: int = 16) -> Tensor:
    """Return (T, T) attention weights where query 3 may see nothing and all others everything."""
    scores = torch.randn(length, length, generator=torch.Generator().manual_seed(1))
    visible = torch.ones(length, length, dtype=torch.bool)
    visible[3] = False
    return way(scores, visible)


def two_layers(way: Way, length: int = 16) -> tuple[float, float]:
    """Return the shares of outputs and of weights' gradients that are NaN after two layers of attention."""
    generator = torch.Generator().manual_seed(1)
    states, visible = torch.randn(length, 8, generator=generator), torch.ones(length, length, dtype=torch.bool)
    visible[3] = False
    weights = [torch.randn(8, 8, generator=generator, requires_grad=True) for _ in range(2)]
    for weight in weights:
        states = way(states @ weight @ states.T / 8**0.5, visible) @ states
    states[4:].pow(2).mean().backward()  # the loss does not even look at query 3
    gradients = torch.stack([weight.grad for weight in weights if weight.grad is not None])
    return float(states.isnan().any(-1).float().mean()), float(gradients.isnan().float().mean())


def measure(material: Material) -> Damage:  # noqa: ARG001 (no model is needed)
    """Hide everything from one query of sixteen."""
    ways = {"articles, −1e9": article_finite, "articles, −∞": article_infinite, "right": right}
    rows = []
    for name, way in ways.items():
        row = one_empty_row(way)[3]
        hidden = "NaN" if bool(row.isnan().any()) else percent(float(row.sum() - row[3]))
        each = "NaN" if hidden == "NaN" else f"{float(row.min()):.4f} to {float(row.max()):.4f}"
        outputs, gradients = two_layers(way)
        rows.append((name, hidden, each, percent(outputs, 0), percent(gradients, 0)))
    return Damage(
        headline=f"uniform over what is hidden, or NaN: one empty row in 16 makes {rows[1][3]} of the outputs and "
        f"{rows[1][4]} of the gradients NaN",
        columns=("", "attention on hidden keys", "weight of one key", "outputs NaN after 2 layers", "gradients NaN"),
        rows=rows,
        note="One query of 16 with every key hidden; N(0, 1) scores; the loss leaves the empty query out.",
    )


EXHIBIT = Exhibit(
    name="empty_row",
    title="A row with nothing to see",
    mistakes=("a fully masked row (uniform, or NaN)",),
    why="A softmax gives away 100 % whatever the scores are: of equal ones to all alike, of none (all −∞) as 0 / 0. In "
    "the next layer every query reads the NaN, for 0 · NaN is NaN.",
    article=(article_finite, article_infinite),
    right=(right,),
    measure=measure,
)
