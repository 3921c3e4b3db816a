"""A consistency loss on its own is minimised by saying nothing."""

# ruff: noqa: ARG002 (what a hook is given and leaves aside)

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import REVIEWS, Material
from maskbench.masks.base import Mask, Objective
from maskbench.masks.draws import Draws
from maskbench.masks.input.random import Random
from maskbench.masks.objective.consistency import Consistency
from maskbench.masks.passes import forward

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

    from maskbench.masks.batch import Batch


class Alone(Objective):
    """The consistency is all of the loss, and both passes give way to it."""

    def penalty(self, model: Module, clean: Batch, masked: Batch) -> Tensor:
        """Compare the two passes' hidden states."""
        states = forward(model, clean, hidden=True).hidden_states[-1]
        return (states - masked.hidden).pow(2).mean()

    def combine(self, task: Tensor, penalty: Tensor, parts: int) -> Tensor:
        """Forget the task."""
        return penalty / parts


def right() -> dict[str, Mask]:
    """Add it to the task's loss, with the clean pass as target, without gradient (masks/objective/consistency.py)."""
    return {"input": Random(rate=0.15), "objective": Consistency(weight=1.0)}


@torch.no_grad()
def states_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return (B, T, H) last hidden states of a model with or without a head."""
    return model(**batch.inputs(), output_hidden_states=True).hidden_states[-1]


def variance(model: PreTrainedModel, batch: Batch) -> float:
    """Return the variance of the hidden states over all real tokens, mean over dimensions."""
    return float(states_of(model, batch)[batch.padding].var(0).mean())


def measure(material: Material) -> Damage:
    """Train with each and look at what is left of the hidden states."""
    batch, mask = material.batch(REVIEWS, "test", 200), Random(rate=0.15)
    masked = replace(mask.corrupt(batch, Draws(1)), hit=None)
    ways = {
        "articles": material.train(REVIEWS, input=mask, objective=Alone(kind="alone")),
        "right": material.train(REVIEWS, **right()),
        "plain fine-tuning": material.train(REVIEWS),
    }
    start = variance(material.encoder(), batch)
    rows = [("pretrained model", "1.00", "–", "–")]
    for name, trained in ways.items():
        spread = variance(trained.model, batch) / start
        gap = (states_of(trained.model, batch) - states_of(trained.model, masked))[batch.padding].pow(2).mean()
        rows.append((name, f"{spread:.2f}", f"{float(gap):.4f}", percent(trained.accuracy)))
    majority = max(batch.labels.float().mean(), 1 - batch.labels.float().mean()) if batch.labels is not None else 0
    return Damage(
        headline=f"{percent(1 - float(rows[1][1]), 0)} of the hidden states' variance is gone; accuracy {rows[1][3]}",
        columns=("", "variance of hidden states", "consistency loss", "test accuracy"),
        rows=rows,
        note="MiniLM on 1,000 reviews, two passes, random masks of 15 %; variance over all real tokens of 200 test "
        f"reviews, relative to the pretrained model. Chance is {percent(float(majority), 0)}.",
    )


EXHIBIT = Exhibit(
    name="consistency_alone",
    title="The consistency loss takes the task's place",
    mistakes=("the consistency loss *replacing* the task loss, without a stop-gradient (a constant H minimises it)",),
    why="Two hidden states are most alike where all are the same; no label says that they should not be, and without a "
    "stop-gradient the clean pass gives way as well. The low loss looks like success.",
    article=(Alone,),
    right=(right,),
    measure=measure,
    trains=True,
)
