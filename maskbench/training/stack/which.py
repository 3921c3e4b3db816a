"""Which cells may be trained in one stack, and how many of them at once."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from maskbench.io.files import read_json
from maskbench.models.families import STACKED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from maskbench.experiment.cell import Cell

OWN = frozenset(
    {
        *("learning_rate", "scheduler", "warmup", "weight_decay", "max_grad_norm"),
        *("selection", "early_stopping", "eval_batch_size"),
    }
)
"""Hyperparameters in which the cells of a stack may differ; all others say which batches, passes and precision."""


def can_stack(cell: Cell, model: Path) -> bool:
    """Tell whether a cell can be trained in a stack.

    That takes masks that all say so (`maskbench.masks.base.Mask.stacks`), one task, a family of models that was tried
    (`maskbench.models.families.STACKED`), no activation checkpointing, no graphs of torch.compile (their dropout is
    another), and no tracker that expects one run at a time.

    Parameters
    ----------
    model
        Folder of the pretrained model.
    """
    return (
        cell.regime != "joint"
        and not cell.training.gradient_checkpointing
        and not cell.training.report_to
        and cell.training.compile == "off"
        and all(mask.stacks() for _, mask in cell.strategy.masks())
        and read_json(model / "config.json").get("model_type") in STACKED
    )


def alike(cells: Sequence[Cell]) -> list[list[int]]:
    """Return the places of cells that may share a stack, group by group, each in the given order.

    Parameters
    ----------
    cells
        Cells that differ in strategy alone, and can all be in a stack.
    """
    groups: dict[str, list[int]] = {}
    for place, cell in enumerate(cells):
        groups.setdefault(cell.training.model_dump_json(exclude=set(OWN)), []).append(place)
    return list(groups.values())


def dealt(places: Sequence[int], size: int) -> list[list[int]]:
    """Deal cells out to stacks of at most `size`, as few and as even as can be, each in the given order."""
    count = -(-len(places) // size)
    few, more = divmod(len(places), count)
    ends = [0]
    for number in range(count):
        ends.append(ends[-1] + few + (number < more))
    return [list(places[first:after]) for first, after in pairwise(ends)]
