"""The tuning of a study: a study of its own, whose strategies are those of the study at every rate of the grid."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from maskbench.config.conditions import CLEAN
from maskbench.config.probes import Probes
from maskbench.config.tuning import Reserve, Tune
from maskbench.errors import InputError
from maskbench.experiment.cell import cells
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.layout import RunId
from maskbench.experiment.limits import of_tuning
from maskbench.masks import Strategy


class Tried(NamedTuple):
    """The runs of one task, model and strategy at one rate of the grid."""

    task: str
    model: str
    strategy: str
    learning_rate: float
    runs: tuple[str, ...]
    """Their ids, in the order of the seeds."""


def _of(experiment: Experiment) -> Tune:
    if experiment.tune is None:
        raise InputError("tune: expected a grid of learning rates and seeds, found none")
    return experiment.tune


def reserve(experiment: Experiment) -> Reserve | None:
    """Return how many texts of each task are set apart for tuning; None if nothing is tuned."""
    tune = experiment.tune
    return None if tune is None else Reserve(train_size=tune.train_size, validation_size=tune.validation_size)


def tuning(experiment: Experiment) -> Experiment:
    """Return the tuning of an experiment as an experiment: what it trains, on the texts that are set apart for it.

    Raises
    ------
    InputError
        If the experiment tunes nothing.
    """
    tune = _of(experiment)
    strategies = [
        _at(strategy, name, rate)
        for strategy in _tuned_in(experiment)
        for name, rate in zip(experiment.names_in_tuning(strategy), tune.learning_rates, strict=False)
    ]
    names = {strategy.name: experiment.names_in_tuning(strategy) for strategy in _tuned_in(experiment)}
    models = [
        model.model_copy(update={"strategies": [name for own in model.strategies for name in names.get(own, [])]})
        if model.strategies is not None
        else model
        for model in experiment.models
    ]
    return experiment.model_copy(
        update={
            "tune": None,
            # all texts that are set apart to choose by, whatever the study reads of its own validation split
            "tasks": [task.model_copy(update={"max_validation": None}) for task in experiment.tasks],
            "models": models,
            "strategies": strategies,
            "baseline": strategies[0].name,
            "regimes": ["single"],
            "pairs": None,
            "conditions": [CLEAN],
            "train_sizes": ["full"],
            "seeds": tune.seeds,
            "limits": of_tuning(experiment),
            "probes": Probes(measure=[]),
            "keep_models": False,
        }
    )


def _tuned_in(experiment: Experiment) -> list[Strategy]:
    """Return the strategies that are trained at every rate of the grid: all but those with a multiple of another's."""
    return [strategy for strategy in experiment.strategies if strategy.name not in _of(experiment).multiples]


def _at(strategy: Strategy, name: str, rate: float) -> Strategy:
    """Return a strategy at a rate, under a name of its own."""
    training = strategy.training.model_copy(update={"learning_rate": rate})
    return strategy.model_copy(update={"name": name, "training": training})


def tried(experiment: Experiment) -> Iterator[Tried]:
    """Yield all runs of an experiment's tuning: by task, model and strategy, from the lowest rate to the highest."""
    tune, planned = _of(experiment), {cell.run for cell in cells(tuning(experiment))}
    for task, model, strategy in product(experiment.tasks, experiment.models, _tuned_in(experiment)):
        if not model.takes(strategy.name):
            continue
        for name, rate in zip(experiment.names_in_tuning(strategy), tune.learning_rates, strict=False):
            ids = [RunId(task.name, model.name, name, "single", CLEAN.name, "full", seed) for seed in tune.seeds]
            if str(ids[0]) in planned:
                yield Tried(task.name, model.name, strategy.name, rate, tuple(map(str, ids)))
