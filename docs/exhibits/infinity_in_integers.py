"""Minus infinity does not fit into an integer mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import REVIEWS, Material, attention_on

if TYPE_CHECKING:
    from torch import Tensor


def article(attention_mask: Tensor, hidden: Tensor) -> Tensor:
    """Write into the mask of the tokenizer, which is int64."""
    attention_mask[hidden] = float("-inf")
    return attention_mask


def cast(attention_mask: Tensor, hidden: Tensor) -> Tensor:
    """Do the same with a cast, which makes the error go away."""
    return torch.where(hidden, float("-inf"), attention_mask.float()).long()


def right(attention_mask: Tensor, hidden: Tensor) -> Tensor:
    """Write 0: a model takes 0 and 1, and makes its additive mask of them itself."""
    return attention_mask.masked_fill(hidden, 0)


def refusal() -> str:
    """Return what torch says to the article's line."""
    try:
        article(torch.ones(1, 4, dtype=torch.int64), torch.tensor([[False, False, True, True]]))
    except RuntimeError as error:
        return str(error)
    return ""


def measure(material: Material) -> Damage:
    """Hide 15 % of the words from a model and see how much attention they still get."""
    batch, model = material.batch(REVIEWS, "test", 50), material.encoder()
    mask = batch.padding.long()
    chance = torch.rand(batch.input_ids.shape, generator=torch.Generator().manual_seed(1))
    hidden = batch.maskable & (chance < 0.15)

    def mass(attention_mask: Tensor) -> float:
        inputs = {"input_ids": batch.input_ids, "attention_mask": attention_mask}
        return attention_on(model, hidden, batch.padding, **inputs)

    shown, written, zero = mass(mask), mass(cast(mask, hidden)), mass(right(mask, hidden))
    number = int(cast(mask, hidden).min())
    return Damage(
        headline=f"an error; cast to int64, the hidden words keep {percent(written / shown, 0)} of their attention",
        columns=("", "value in the mask", "attention on hidden words"),
        rows=[
            ("no mask", "1", percent(shown, 2)),
            ("articles", f"`{refusal()}`", "–"),
            ("articles, with a cast", f"{number:,}", percent(written, 2)),
            ("right", "0", percent(zero, 2)),
        ],
        note="Pretrained MiniLM, 50 reviews, 15 % of the words hidden; mean over layers, heads and real tokens.",
    )


EXHIBIT = Exhibit(
    name="infinity_in_integers",
    title="−∞ in an int64 attention mask",
    mistakes=("−∞ written into an int64 attention mask",),
    why="Integers have no infinity, and a model reads its two-dimensional mask as *zero or not*: the most negative "
    "number there is means *visible*.",
    article=(article, cast),
    right=(right,),
    measure=measure,
)
