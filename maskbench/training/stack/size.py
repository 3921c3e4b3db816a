"""How many cells of a stack a card has room for, and are worth it: measured by trial passes before the first update."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from transformers import AutoTokenizer

from maskbench.io import environment
from maskbench.masks import Strategy
from maskbench.masks.batch import Batch
from maskbench.training.resident import Resident
from maskbench.training.run import Run
from maskbench.training.stack.passes import Pass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from maskbench.experiment.cell import Cell
    from maskbench.slots.device import Device
    from maskbench.training.collate import Collator
    from maskbench.training.state import Inputs
    from maskbench.training.trainer import MaskedTrainer

AT_MOST = 32
"""Cells in a stack of size `auto`; on an H100, 64 small models in one pass were no faster per model than 32."""
ROOM = 0.85
"""Share of the free memory that a stack may take; the rest is for evaluations and what the allocator wastes."""
GAIN = 0.95
"""A cell must take at most this share of its time in the smaller stack, or the larger one does not pay."""
_BESIDE = 3
"""What a training holds beside weights and gradients, in sizes of the weights: two moments, and the best weights."""


@dataclass(frozen=True)
class Trial:
    """What a pass of a stack took."""

    seconds: float
    """Time of a forward and a backward pass."""
    memory: int
    """Most memory of a training with such passes, in bytes."""


def largest(count: int, room: float, tried: Callable[[int], Trial | None]) -> int:
    """Return how many cells go into a stack.

    Stacks of 1, 2, 4, ... cells are tried. A size is tried only if the memory that the ones before took says that it
    fits, and counts only if a cell takes less time in it than in the one before.

    Parameters
    ----------
    count
        Cells that could be in it.
    room
        Memory that it may take, in bytes.
    tried
        Makes a trial pass of a stack of a size; None: out of memory.
    """
    size, last, limit = 1, tried(1), min(count, AT_MOST)
    each = 0.0 if last is None else float(last.memory)
    while last is not None and size < limit:
        fits = size + int(max(0.0, room - last.memory) // each)
        more = min(2 * size, limit, fits)
        found = tried(more) if more > size else None
        if found is None or found.seconds / more > GAIN * last.seconds / size:
            return size
        each = max(1.0, (found.memory - last.memory) / (more - size))
        size, last = more, found
    return size


def size_for(cells: Sequence[tuple[Cell, Inputs]], device: Device) -> int:
    """Return how many of some cells, which may share a stack, go into one on this card.

    Parameters
    ----------
    cells
        The cells, and where their inputs are.
    device
        The card.
    """
    cell, inputs = cells[0]
    run = Run(cell.model_copy(update={"strategy": Strategy(name="none")}), inputs, device)
    trainer = run.prepare(AutoTokenizer.from_pretrained(inputs.model, local_files_only=True))
    return measured(run, trainer, len(cells), hiding=any(one.strategy.attention is not None for one, _ in cells))


def room() -> float:
    """Return the memory that a stack may take on the card, in bytes: jobs that share a card share it evenly."""
    free, total = torch.cuda.mem_get_info()
    return ROOM * min(free, total / int(os.environ.get(environment.SLOTS_PER_GPU, "1")))


def measured(run: Run, trainer: MaskedTrainer, count: int, *, hiding: bool) -> int:
    """Return how many cells go into a stack on this card: trial passes over the longest texts tell.

    Parameters
    ----------
    run, trainer
        Of one of them, ready to train; nothing of it is changed.
    count
        Cells that could be in it.
    hiding
        Whether any of them has an attention mask.
    """
    model = cast("PreTrainedModel", trainer.model)
    passes = Pass(model, run.head, mixed=run.device.precision == "bf16")
    clean = _longest(run, trainer)

    def tried(size: int) -> Trial | None:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        try:
            seconds = _passed(model, passes, clean, size, hiding=hiding)
        except torch.OutOfMemoryError:
            return None
        return Trial(seconds, torch.cuda.max_memory_allocated() - before)

    size = largest(count, room(), tried)
    gc.collect()
    torch.cuda.empty_cache()
    return size


def _longest(run: Run, trainer: MaskedTrainer) -> Batch:
    """Return a micro-batch of the longest training texts."""
    texts = Resident(run.train, cast("Collator", trainer.data_collator), cast("PreTrainedModel", trainer.model).device)
    rows = np.argsort(-np.asarray(run.train["length"]))[: run.cell.training.batch_size // run.micro_batches].tolist()
    batch = texts.batch(rows)
    return Batch(
        input_ids=batch["input_ids"],
        padding=batch["attention_mask"].bool(),
        words=batch["words"],
        examples=batch["examples"],
        epoch=0,
        mask_id=trainer.mask_id,
        labels=batch["labels"],
        token_types=batch.get("token_type_ids"),
    )


def _passed(model: PreTrainedModel, passes: Pass, clean: Batch, size: int, *, hiding: bool) -> float:
    """Make two passes of a stack of copies of a model; returns the seconds of the second, the first one warms up."""
    named = {name: weight.detach() for name, weight in model.named_parameters()}
    weights = {name: _copies(weight, size).requires_grad_() for name, weight in named.items()}
    beside = [torch.zeros_like(weight) for weight in weights.values() for _ in range(_BESIDE)]
    ids = _copies(clean.input_ids, size)
    rows, width = clean.input_ids.shape
    visible = torch.ones(size, rows, 1, width, width, dtype=torch.bool, device=ids.device) if hiding else None
    seconds = 0.0
    for _ in range(2):
        _wait(ids)
        began = time.perf_counter()
        passes.losses(weights, clean, ids, visible)[0].sum().backward()
        _wait(ids)
        seconds = time.perf_counter() - began
    del beside
    return seconds


def _copies(tensor: Tensor, size: int) -> Tensor:
    """Return (size, ...) copies of a tensor."""
    return tensor.expand(size, *tensor.shape).clone()


def _wait(tensor: Tensor) -> None:
    """Wait until the device of a tensor has done its work."""
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
