"""One cell of the experiment: everything that a training job needs to know, and its name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from maskbench.config.block import Block
from maskbench.config.models import Model
from maskbench.config.tasks import Task
from maskbench.config.training import Training
from maskbench.experiment.experiment import Experiment, Regime, TrainSize
from maskbench.masks import Strategy


class Cell(Block):
    """One run: a task, a model, a strategy, a regime, a train size and a seed, with resolved hyperparameters."""

    task: Task
    model: Model
    strategy: Strategy
    regime: Regime
    train_size: TrainSize
    seed: int
    training: Training
    """Hyperparameters after the overrides of model, task and strategy."""

    @property
    def run(self) -> str:
        """Readable and unique id; its parts cannot contain the dot that joins them."""
        return run_id(
            self.task.name, self.model.name, self.strategy.name, self.regime, self.train_size, self.seed
        )


def run_id(task: str, model: str, strategy: str, regime: str, train_size: int | str, seed: int) -> str:
    """Return the id of a run, such as ``conll2003.minilm-l6.random.single.n2000.s1``."""
    size = train_size if train_size == "full" else f"n{train_size}"
    return f"{task}.{model}.{strategy}.{regime}.{size}.s{seed}"


def _resolve(training: Training, model: Model, task: Task, strategy: Strategy) -> Training:
    """Apply what the model, then the task, then the strategy sets for itself."""
    resolved = task.training.apply(model.training.apply(training))
    if strategy.learning_rate is None:
        return resolved
    return resolved.model_copy(update={"learning_rate": strategy.learning_rate})


def cells(experiment: Experiment) -> Iterator[Cell]:
    """Yield all cells of an experiment, in the order of its lists."""
    for task, model, strategy in product(experiment.tasks, experiment.models, experiment.strategies):
        training = _resolve(experiment.training, model, task, strategy)
        for regime, size, seed in product(experiment.regimes, experiment.train_sizes, experiment.seeds):
            yield Cell.model_construct(
                task=task,
                model=model,
                strategy=strategy,
                regime=regime,
                train_size=size,
                seed=seed,
                training=training,
            )
