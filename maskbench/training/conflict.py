"""Gradient conflict: the cosine between the gradients of two tasks while they are trained together."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchjd.autojac import jac
from transformers import TrainerCallback

from maskbench.channels import Purpose
from maskbench.config.science import CONFLICT_EXAMPLES
from maskbench.kinds.head import count
from maskbench.masks.passes import still
from maskbench.models.anatomy import base_of, embeddings_of, layers_of
from maskbench.records.run import Cosine, number
from maskbench.training.collate import BESIDE_TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset
    from torch import Tensor
    from torch.nn import Module, Parameter
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments

    from maskbench.kinds.head import Head
    from maskbench.records.run import Metric
    from maskbench.training.collate import Collator

WHOLE = "all"
"""Name of the group of all shared parameters."""
_CHUNK = 16  # examples of each task at a time, so that this needs less memory than an update


def groups(model: Module) -> dict[str, list[Parameter]]:
    """Return the encoder's parameters that are not frozen: all, those of the embeddings, and those of each layer.

    Fresh parameters (a pooler that the pretrained model lacks) belong to the head. A group without parameters is left
    out.
    """
    parts = {
        WHOLE: base_of(model).parameters(),
        "embeddings": embeddings_of(model),
        **{f"layer-{place}": layer.parameters() for place, layer in enumerate(layers_of(model))},
    }
    moving = {
        name: [weight for weight in part if weight.requires_grad and not getattr(weight, "fresh", False)]
        for name, part in parts.items()
    }
    return {name: part for name, part in moving.items() if part}


def gramians(
    models: Sequence[PreTrainedModel],
    heads: Sequence[Head],
    batches: Sequence[Sequence[dict[str, Tensor]]],
    weights: Sequence[Parameter],
) -> list[Tensor]:
    """Return, for each parameter, the (2, 2) products of the two tasks' gradients on it (float64).

    The models are in eval mode; the gradients that the parameters hold stay as they are.

    Parameters
    ----------
    models, heads
        The models and heads of the two tasks, on one encoder.
    batches
        For each task the chunks of one batch, equally many; the loss is the mean cross-entropy over the batch.
    weights
        Parameters of the encoder.
    """
    counts = [sum(count(chunk["labels"]) for chunk in task) for task in batches]
    total: list[Tensor] = []
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(still(model))
        for chunks in zip(*batches, strict=True):
            losses = []
            for model, head, chunk, items in zip(models, heads, chunks, counts, strict=True):
                inputs = {name: value for name, value in chunk.items() if name != "labels"}
                losses.append(head.loss(model(**inputs), chunk["labels"], items))
            # one row after the other: vmap does not support the gradients of learned masks
            jacobians = list(jac(losses, list(weights), parallel_chunk_size=1))
            if total:
                torch._foreach_add_(total, jacobians)
            total = total or jacobians
    rows = [jacobian.flatten(1) for jacobian in total]
    return [(matrix @ matrix.T).double() for matrix in rows]


def cosines(
    models: Sequence[PreTrainedModel], heads: Sequence[Head], batches: Sequence[Sequence[dict[str, Tensor]]]
) -> dict[str, float | None]:
    """Return the cosine of the two tasks' gradients for each group; None where a gradient is 0 or not finite."""
    found: dict[str, float | None] = {}
    parts = groups(models[0])
    if not parts:
        return found
    products = dict(zip(map(id, parts[WHOLE]), gramians(models, heads, batches, parts[WHOLE]), strict=True))
    for name, part in parts.items():
        (one, both), (_, other) = torch.stack([products[id(weight)] for weight in part]).sum(0).tolist()
        cosine = both / (one * other) ** 0.5 if one > 0 and other > 0 else float("nan")
        found[name] = cosine if np.isfinite(cosine) else None
    return found


def fixed_batches(tasks: Sequence[Dataset], seed: int, collate: Collator) -> list[list[dict[str, Tensor]]]:
    """Return a seeded batch of each task's training examples, in chunks of what the model takes, with labels."""
    chunks = min(CONFLICT_EXAMPLES // _CHUNK, *map(len, tasks))
    batches = []
    for dataset in tasks:
        order = np.random.default_rng([seed, Purpose.CONFLICT]).permutation(len(dataset))[:CONFLICT_EXAMPLES]
        collated = [collate([dataset[int(row)] for row in rows]) for rows in np.array_split(order, chunks)]
        batches.append([{name: batch[name] for name in batch if name not in BESIDE_TEXT} for batch in collated])
    return batches


def points(updates: int, wanted: int) -> list[int]:
    """Return the updates before which gradients are compared: evenly spread, with the first and the last."""
    return sorted({round(place) for place in np.linspace(0, updates - 1, min(wanted, updates))})


class Conflict(TrainerCallback):
    """Compares the gradients of two tasks before some updates.

    As the first of the callbacks it runs before the clock starts, so its time is not part of an update's.

    Parameters
    ----------
    models, heads
        The models and heads of the two tasks, on one encoder.
    batches
        The batch of each task in chunks (`fixed_batches`).
    wanted
        Number of updates before which gradients are compared.
    """

    def __init__(
        self,
        models: Sequence[PreTrainedModel],
        heads: Sequence[Head],
        batches: Sequence[Sequence[dict[str, Tensor]]],
        wanted: int,
    ) -> None:
        self.models, self.heads, self.batches, self.wanted = models, heads, batches, wanted
        self.found: list[Cosine] = []
        self._points: list[int] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Choose the updates, and bring the batches to the device."""
        self._points = points(state.max_steps, self.wanted)
        self.batches = [
            [{name: value.to(args.device) for name, value in chunk.items()} for chunk in task] for task in self.batches
        ]

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Compare the gradients, if this is one of the chosen updates."""
        if state.global_step in self._points:
            found = cosines(self.models, self.heads, self.batches)
            self.found += [Cosine(step=state.global_step, layer=name, cosine=value) for name, value in found.items()]


def metrics(found: Sequence[Cosine]) -> list[Metric]:
    """Return the mean cosine and the share of negative cosines, for all shared parameters and for each layer.

    Only updates at which there is a cosine count; without any the value is None.
    """
    rows = []
    for layer in dict.fromkeys([WHOLE, *(point.layer for point in found)]):
        values = [point.cosine for point in found if point.layer == layer and point.cosine is not None]
        part = "" if layer == WHOLE else f":{layer}"
        rows.append(number("run", f"gradient_cosine{part}", float(np.mean(values)) if values else None))
        rows.append(number("run", f"gradient_conflict{part}", float(np.less(values, 0).mean()) if values else None))
    return rows
