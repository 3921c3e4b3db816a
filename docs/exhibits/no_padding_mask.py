"""Without its padding mask a model reads padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import REVIEWS, Material, attention_on

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from maskbench.masks.batch import Batch

REVIEWS_READ = 500


def article(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Only the ids are handed over."""
    return model(input_ids=batch.input_ids).logits


def right(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Ids and padding mask (masks/base.py)."""
    return model(**batch.inputs()).logits


@torch.no_grad()
def measure(material: Material) -> Damage:
    """Give the same reviews more and more padding."""
    model = material.train(REVIEWS).model
    dataset = material.shuffled(REVIEWS, "test")
    lone = torch.cat([right(model, material.batch_of([dataset[row]])) for row in range(REVIEWS_READ)])
    rows, worst = [], ("", "")
    for name, way in (("articles", article), ("right", right)):
        for width in (64, 128):
            batches = material.batches(REVIEWS, "test", REVIEWS_READ, width=width)
            logits = torch.cat([way(model, batch) for batch in batches])
            labels = torch.cat([batch.labels for batch in batches if batch.labels is not None])
            mask = {} if way is article else {"attention_mask": batches[0].padding.long()}
            inputs = {"input_ids": batches[0].input_ids, **mask}
            mass = attention_on(model, ~batches[0].padding, batches[0].padding, **inputs)
            changed = float((logits.argmax(-1) != lone.argmax(-1)).float().mean())
            accuracy = float((logits.argmax(-1) == labels).float().mean())
            largest = float((logits - lone).abs().max())
            cells = (percent(mass), f"{largest:.2g}", percent(changed), percent(accuracy))
            rows.append((f"{name}, padded to {width}", *cells))
            if way is article:
                worst = (percent(changed), percent(mass))
    return Damage(
        headline=f"padded to 128, {worst[1]} of the attention on padding and {worst[0]} of the predictions changed",
        columns=("", "attention on padding", "largest change of a logit", "predictions changed", "accuracy"),
        rows=rows,
        note=f"A classifier trained the right way, {REVIEWS_READ:,} test reviews (attention: 50 of them); changes are "
        "against each review on its own.",
    )


EXHIBIT = Exhibit(
    name="no_padding_mask",
    title="The padding mask dropped",
    mistakes=("the padding mask dropped",),
    why="Padding is then text like any other, and a prediction depends on how long the other texts of its batch are.",
    article=(article,),
    right=(right,),
    measure=measure,
    trains=True,
)
