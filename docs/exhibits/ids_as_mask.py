"""Token ids are no attention mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import REVIEWS, Material, attention_on

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from maskbench.masks.batch import Batch


def article(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Hand over the (masked) token ids twice."""
    return model(input_ids=batch.input_ids, attention_mask=batch.input_ids).last_hidden_state


def right(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Hand over the padding mask, which is kept from the collator on (masks/base.py)."""
    return model(**batch.inputs()).last_hidden_state


def additive(mask: Tensor) -> Tensor:
    """Make a mask additive as models long did: right for 0 and 1 alone."""
    return (1.0 - mask) * torch.finfo(torch.float32).min


def not_finite(ids: Tensor) -> float:
    """Return the share of attention rows that are NaN when ids go through the additive formula."""
    bias = additive(ids.float())
    weights = (torch.zeros(ids.shape[1], ids.shape[1]) + bias[:, None, :]).softmax(-1)
    return float(weights.isnan().any(-1).float().mean())


@torch.no_grad()
def measure(material: Material) -> Damage:
    """Pad with id 0, as BERT does, and with id 1, as RoBERTa does."""
    dataset, model = material.shuffled(REVIEWS, "test"), material.encoder()
    reviews = [dataset[row] for row in range(50)]
    rows, leaks = [], []
    for pad_id, like in ((0, "BERT"), (1, "RoBERTa")):
        batch = material.batch_of(reviews, width=64, pad_id=pad_id)
        ids = {"input_ids": batch.input_ids, "attention_mask": batch.input_ids}
        leaks.append(attention_on(model, ~batch.padding, batch.padding, **ids))
        moved = (article(model, batch) - right(model, batch))[batch.padding].norm(dim=-1)
        change = float((moved / right(model, batch)[batch.padding].norm(dim=-1)).mean())
        rows.append((f"articles, [PAD] is {pad_id} as in {like}", percent(leaks[-1]), percent(change)))
    kept = attention_on(model, ~batch.padding, batch.padding, **batch.inputs())
    lost = not_finite(batch.input_ids)
    rows += [("articles, older models' formula", f"NaN in {percent(lost)} of the rows", "–")]
    rows += [("right", percent(kept), percent(0.0))]
    return Damage(
        headline=f"nothing where [PAD] happens to be 0, {rows[1][1]} of the attention on padding where it is 1",
        columns=("", "attention on padding", "change of the hidden states"),
        rows=rows,
        note="Pretrained MiniLM, 50 reviews padded to 64; the change is the mean of ‖H′ − H‖ / ‖H‖ over real tokens. "
        "[MASK] is not 0 either, so masked words stay visible in every case. The older "
        "formula, `(1 − mask) × most negative number`, is +∞ for an id above 2.",
    )


EXHIBIT = Exhibit(
    name="ids_as_mask",
    title="Token ids as the attention mask",
    mistakes=("token ids used as the attention mask",),
    why="A mask says *zero or not*; which token is hidden then hangs on which one the vocabulary happens to number 0.",
    article=(article,),
    right=(right,),
    measure=measure,
)
