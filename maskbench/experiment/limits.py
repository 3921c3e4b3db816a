"""What the limits of an experiment leave of the full product, and whether that still makes sense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING, Any

from maskbench.config.conditions import CLEAN
from maskbench.config.limits import Limit, Selection
from maskbench.config.tuning import is_tuned, tuned, untuned
from maskbench.experiment.cell import cells
from maskbench.experiment.layout import RunId

if TYPE_CHECKING:
    from maskbench.experiment.cell import Cell
    from maskbench.experiment.experiment import Experiment


def of_tuning(experiment: Experiment) -> list[Limit]:
    """Return the limits of an experiment's tuning: a strategy is tuned for the tasks and models that it is run with."""
    found: dict[tuple[str, str], set[str]] = {}
    recipes = {model.name: model.recipe for model in experiment.models}
    for cell in cells(experiment):
        if is_tuned(cell.strategy.name):
            found.setdefault((cell.task, recipes[cell.model]), set()).add(untuned(cell.strategy.name))
    multiples = experiment.tune.multiples if experiment.tune else {}
    own = [strategy for strategy in experiment.strategies if strategy.name not in multiples]
    wanted = {strategy.name: experiment.names_in_tuning(strategy)[:-1] for strategy in own}
    every = {name for names in wanted.values() for name in names}
    limits = []
    for task, recipe in product((task.name for task in experiment.tasks), dict.fromkeys(recipes.values())):
        names = [name for strategy in found.get((task, recipe), ()) for name in wanted.get(strategy, ())]
        if set(names) != every:
            only = Selection(strategies=sorted(names) or ["no-strategy"])
            limits.append(Limit(of=Selection(tasks=[task], models=[recipe]), only=only))
    return limits


def problems(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each limit that names what the experiment has not, then for each cell left without another."""
    size, sizes = experiment.analysis.train_size, experiment.train_sizes
    if size is not None and size not in sizes:
        yield f"analysis.train_size: expected one of the train sizes {', '.join(map(str, sizes))}, got {size}"
    if not experiment.limits:
        return
    unknown = [line for index, limit in enumerate(experiment.limits) for line in _unknown(experiment, index, limit)]
    yield from unknown
    if not unknown:
        left = list(cells(experiment))
        yield from _nowhere(experiment, left)
        yield from _alone(experiment, left)


def _unknown(experiment: Experiment, index: int, limit: Limit) -> Iterator[str]:
    """Yield a line for each value of a limit that the experiment has not."""
    known: dict[str, list[object]] = {
        "tasks": [task.name for task in experiment.tasks],
        "models": list(dict.fromkeys(model.recipe for model in experiment.models)),
        "regimes": list(experiment.regimes),
        "conditions": list(experiment.conditions),
        "train_sizes": list(experiment.train_sizes),
        "seeds": list(experiment.seeds),
    }
    arms = [strategy.name for strategy in experiment.arms]
    for side, selection in (("of", limit.of), ("only", limit.only)):
        for key, here in known.items():
            for value in getattr(selection, key) or ():
                if value not in here:
                    listed = ", ".join(map(str, here))
                    yield f"limits[{index}].{side}.{key}: expected some of {listed}, got {value}"
        for pattern in selection.strategies or ():
            if not any(fnmatchcase(name, pattern) for name in arms):
                yield f"limits[{index}].{side}.strategies: expected a strategy of the experiment, got {pattern}"


def _nowhere(experiment: Experiment, left: list[Cell]) -> Iterator[str]:
    """Yield a line for each name of an axis (task, model, strategy, ...) that is asked for and left without a cell."""
    if not left:
        yield "limits: expected that some cell is run, and they leave none"
        return
    recipes = {model.name: model.recipe for model in experiment.models}
    asked: dict[str, tuple[Iterable[object], set[Any]]] = {
        "task": ([task.name for task in experiment.tasks], {cell.task for cell in left}),
        "model": (dict.fromkeys(recipes.values()), {recipes[cell.model] for cell in left}),
        "strategy": (
            [arm.name for arm in experiment.arms if any(one.takes(untuned(arm.name)) for one in experiment.models)],
            {cell.strategy.name for cell in left},
        ),
        "regime": (experiment.regimes, {cell.regime for cell in left}),
        "condition": (experiment.conditions, {cell.condition for cell in left}),
        "train size": (experiment.train_sizes, {cell.train_size for cell in left}),
        "seed": (experiment.seeds, {cell.seed for cell in left}),
    }
    for what, (names, here) in asked.items():
        for name in names:
            if name not in here:
                yield f"limits: {what} {name} is asked for, and they leave no cell of it; take it out, or let it run"


def _alone(experiment: Experiment, cells_left: list[Cell]) -> Iterator[str]:
    """Yield a line for each kind of cell that is left without one that it needs or is compared with."""
    left = {cell.run: cell for cell in cells_left}
    told, arms = set(), {strategy.name for strategy in experiment.arms}
    for cell in left.values():
        run = RunId.parse(cell.run)
        baseline = tuned(experiment.baseline) if is_tuned(run.strategy) else experiment.baseline
        # a baseline that is not tuned at all is the choice of `tune.strategies`
        needs = {"the baseline": replace(run, strategy=baseline)} if baseline in arms else {}
        if cell.regime == "sequential":
            needs["its first task"] = replace(run, task=str(cell.other), regime="single")
        elif cell.regime == "joint":
            needs["its other task"] = replace(run, task=str(cell.other), regime=f"with-{cell.task}")
        if cell.condition.kind == "label-noise":
            needs["the same with clean labels"] = replace(run, condition=CLEAN.name)
        for what, needed in needs.items():
            if str(needed) not in left and (what, run.strategy) not in told:
                told.add((what, run.strategy))
                yield f"limits: {run} is run without {what}, {needed}; leave both out or neither"
