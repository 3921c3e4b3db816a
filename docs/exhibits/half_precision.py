"""A billion does not fit into sixteen bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from docs.exhibits.exhibit import Damage, Exhibit, percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from docs.exhibits.material import Material


def filled(scores: Tensor, visible: Tensor) -> Tensor:
    """Fill in a number."""
    return scores.masked_fill(~visible, -1e9)


def added(scores: Tensor, visible: Tensor) -> Tensor:
    """Add (1 − mask) times that number, made to a tensor of the scores' type."""
    return scores + (1 - visible.to(scores.dtype)) * torch.tensor(-1e9, dtype=scores.dtype)


def added_twice(scores: Tensor, visible: Tensor) -> Tensor:
    """Add two masks of the most negative number (padding, and one's own), which meet on the same key."""
    one = (1 - visible.to(scores.dtype)) * torch.finfo(scores.dtype).min
    return scores + (one + one)


def right(scores: Tensor, visible: Tensor) -> Tensor:
    """Put masks together as booleans, then take the most negative number that the type has (masks/visibility.py)."""
    return torch.where(visible, scores, torch.finfo(scores.dtype).min)


def outcome(way: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> tuple[str, float]:
    """Return what stands at hidden keys, and the share of attention rows that are NaN.

    One row of eight has all its keys hidden, as the queries of a padded text have.
    """
    scores = torch.randn(8, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    visible = torch.arange(16) < torch.arange(0, 16, 2)[:, None]
    try:
        masked = way(scores, visible)
    except RuntimeError as error:
        return f"`{error}`", float("nan")
    broken = masked.softmax(-1).isnan().any(-1).float().mean()
    return f"{float(masked[0, 0]):.4g}", float(broken)


def measure(material: Material) -> Damage:  # noqa: ARG001 (no model is needed)
    """Write the masks in three types."""
    ways = {
        "articles: filled with −1e9": filled,
        "articles: −1e9 added": added,
        "articles: two masks added": added_twice,
        "right": right,
    }
    rows = []
    for name, way in ways.items():
        cells = []
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            value, broken = outcome(way, dtype)
            cells.append(value if broken != broken else f"{value}; {percent(broken)}")
        rows.append((name, *cells))
    broken = outcome(added, torch.float16)[1]
    return Damage(
        headline=f"an error, or −∞ and with it NaN in {percent(broken, 0)} of the rows",
        columns=("", "fp16", "bf16", "fp32"),
        rows=rows,
        note="Number at a hidden key; share of attention rows that are NaN after the softmax. One row of the eight has "
        "all its keys hidden, as a query of padding does.",
    )


EXHIBIT = Exhibit(
    name="half_precision",
    title="−1e9 in fp16",
    mistakes=("−1e9 in fp16 (overflows)",),
    why="The largest number of fp16 is 65,504. Beyond it is −∞, and 0 · ∞ and ∞ − ∞ are NaN, so that even what is "
    "visible is lost.",
    article=(filled, added, added_twice),
    right=(right,),
    measure=measure,
)
