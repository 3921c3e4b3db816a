"""What a study asks of its tasks that tasks of their kind do not have, told before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.experiment.cell import cells
from maskbench.kinds import traits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.experiment.experiment import Experiment


def lacking(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each condition and mask that cannot be had on one of the tasks that it is run on."""
    for index, condition in enumerate(experiment.conditions):
        for task in experiment.tasks if condition.kind != "clean" else ():
            if not task.form.labels:
                yield (
                    f"conditions[{index}] ({condition}): needs labels of a set, and the {task.kind} task {task.name} "
                    "has none; leave one of them out"
                )
    # most studies have no such mask, and making all cells of a large one takes a moment
    asking = any(mask.needs() for strategy in experiment.strategies for _, mask in strategy.masks())
    there = {(cell.task, cell.strategy.name) for cell in cells(experiment)} if asking else set()
    for index, strategy in enumerate(experiment.strategies):
        for family, mask in strategy.masks():
            place, needs = f"strategies[{index}] ({strategy.name}).{family}: {mask.kind} needs", mask.needs()
            for task in experiment.tasks:
                if (task.name, strategy.name) not in there:
                    continue
                if "gold mentions" in needs and not traits.of(task.kind).mentions:
                    yield f"{place} gold mentions, but the task {task.name} has none; expected a tagging task"
                if "labels of a set" in needs and not task.form.labels:
                    yield (
                        f"{place} labels of a set, and the {task.kind} task {task.name} has none; expected statistic: "
                        "tf-idf"
                    )
                if "two texts" in needs and len(task.form.texts) < 2:
                    yield f"{place} rows of two texts, and the {task.kind} task {task.name} has one; leave one out"
