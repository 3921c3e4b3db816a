"""A mask in the evaluation makes the score random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import REVIEWS, Material
from maskbench.masks.input.random import Random

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from maskbench.masks.batch import Batch

REVIEWS_READ, TIMES = 500, 5


def article(model: PreTrainedModel, batch: Batch, rate: float) -> Tensor:
    """Prepare the batches of training and evaluation alike."""
    hit = (torch.rand(batch.input_ids.shape) < rate) & batch.maskable
    ids = batch.input_ids.masked_fill(hit, batch.mask_id)
    return model(input_ids=ids, attention_mask=batch.padding.long()).logits


def right(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Never mask in evaluation: it has forward passes of its own (training/forward.py), which know no input mask."""
    model.eval()
    return model(**batch.inputs()).logits


def evaluations(model: PreTrainedModel, batches: list[Batch], rate: float | None) -> Tensor:
    """Return (R, N) predictions of repeated evaluations; no rate: the right way, twice."""
    torch.manual_seed(1)
    runs = [
        torch.cat([right(model, one) if rate is None else article(model, one, rate) for one in batches]).argmax(-1)
        for _ in range(2 if rate is None else TIMES)
    ]
    return torch.stack(runs)


@torch.no_grad()
def measure(material: Material) -> Damage:
    """Evaluate two trained models again and again."""
    masked, plain = material.train(REVIEWS, input=Random(rate=0.15)).model, material.train(REVIEWS).model
    batches = material.batches(REVIEWS, "test", REVIEWS_READ)
    labels = torch.cat([batch.labels for batch in batches if batch.labels is not None])
    rows, headline = [], ""
    for rate in (None, 0.15, 0.4):
        runs = evaluations(masked, batches, rate)
        scores = (runs == labels).float().mean(1)
        unstable = percent(float((runs != runs[0]).any(0).float().mean()))
        low, high = percent(float(scores.min())), percent(float(scores.max()))
        other = (evaluations(plain, batches, rate) == labels).float().mean()
        name = "right" if rate is None else f"articles, rate {percent(rate, 0)}"
        rows.append((name, percent(float(scores.mean())), f"{low} to {high}", unstable, percent(float(other))))
        if rate == 0.15:
            headline = f"one model scores {low} to {high} in {TIMES} evaluations; {unstable} of its answers change"
    return Damage(
        headline=headline,
        columns=("", "mean accuracy", "lowest to highest", "answers that change", "mean, trained without masks"),
        rows=rows,
        note=f"Trained on 1,000 reviews with 15 % random masks (last column: without); {TIMES} evaluations on the same "
        f"{REVIEWS_READ:,} test reviews.",
    )


EXHIBIT = Exhibit(
    name="masked_evaluation",
    title="The mask is there in evaluation, too",
    mistakes=("the random mask also applied at evaluation",),
    why="The score is then that of another task, to guess from what is left, and it is a draw: models that differ by "
    "less than the draw cannot be told apart.",
    article=(article,),
    right=(right,),
    measure=measure,
    trains=True,
)
