"""One cell of the experiment: everything that a training job needs to know, and its name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import product

from maskbench.config.block import ConfigBlock, Count, Name
from maskbench.config.conditions import CLEAN, Condition
from maskbench.config.kinds import TaskKind
from maskbench.config.limits import Place, Regime, TrainSize
from maskbench.config.tasks import Task
from maskbench.config.training import Training
from maskbench.config.tuning import is_tuned, untuned
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.layout import RunId
from maskbench.experiment.model import Model
from maskbench.masks import Strategy
from maskbench.records.choices import Choices


class Cell(ConfigBlock):
    """One run: a task, model, strategy, regime, condition, train size and seed, with resolved hyperparameters.

    Where text and model come from is not part of it: their content hashes are compared instead.
    """

    task: Name
    kind: TaskKind
    model: Name
    strategy: Strategy
    regime: Regime
    other: Name | None = None
    """sequential: the task that the model was trained on before; joint: the task that it is trained on beside."""
    condition: Condition = CLEAN
    train_size: TrainSize
    seed: int
    training: Training
    """Hyperparameters after the overrides of model, task and strategy."""
    max_validation: Count | None
    max_test: Count | None

    @property
    def regime_name(self) -> str:
        """The regime with its other task: ``single``, ``after-conll2003``, ``with-conll2003``."""
        return {"single": "single", "sequential": f"after-{self.other}", "joint": f"with-{self.other}"}[self.regime]

    @property
    def run(self) -> str:
        """Readable and unique id, such as ``conll2003.minilm-l6.random.single.clean.n2000.s1``.

        Its parts cannot contain the dot that joins them.
        """
        size = self.train_size if self.train_size == "full" else f"n{self.train_size}"
        name, regime = self.strategy.name, self.regime_name
        return str(RunId(self.task, self.model, name, regime, self.condition.name, size, self.seed))


def resolve(training: Training, model: Model, task: Task, strategy: Strategy | None) -> Training:
    """Return the hyperparameters of a cell: those of the experiment, with what its parts set for themselves.

    The model's come first, then the task's, then the strategy's; what comes later wins. None stands for a model that is
    not trained, so that there is no strategy. How cells are stacked is left out: it is no part of a cell.
    """
    training = Training.model_validate_json(training.model_dump_json(exclude={"stack"}))
    parts = [part.training for part in (model, task, strategy) if part is not None]
    return reduce(lambda resolved, own: own.apply(resolved), parts, training)


def _settings(experiment: Experiment, task: str) -> Iterator[tuple[Regime, str | None, Condition]]:
    """Yield regime, other task and condition of a task's cells; other regimes than `single` have clean data."""
    others = [one if task == other else other for one, other in experiment.task_pairs if task in (one, other)]
    for regime in experiment.regimes:
        if regime == "single":
            yield from (("single", None, condition) for condition in experiment.conditions)
        else:
            yield from ((regime, other, CLEAN) for other in others)


def cells(experiment: Experiment, choices: Choices | None = None) -> Iterator[Cell]:
    """Yield the cells of an experiment that its limits leave, in the order of its lists, those at tuned rates last.

    Parameters
    ----------
    choices
        The tuned learning rates; None: they are not known yet, and these cells have those of their strategies.
    """
    for task, model, strategy in product(experiment.tasks, experiment.models, experiment.arms):
        if not model.takes(untuned(strategy.name)):
            continue
        training = resolve(experiment.training, model, task, strategy)
        if choices is not None and is_tuned(strategy.name):
            choice = choices.of(task.name, model.name, untuned(strategy.name))
            if choice is not None and choice.learning_rate is not None:
                training = training.model_copy(update={"learning_rate": choice.learning_rate})
        settings = list(_settings(experiment, task.name))
        names = (strategy.name, untuned(strategy.name))
        for (regime, other, condition), size, seed in product(settings, experiment.train_sizes, experiment.seeds):
            if experiment.limits:
                place = Place(task.name, model.recipe, strategy.name, regime, condition, size, seed)
                if any(limit.of.has(place, names) and not limit.only.has(place, names) for limit in experiment.limits):
                    continue
            yield Cell.model_construct(  # every part was validated with the experiment
                task=task.name,
                kind=task.kind,
                model=model.name,
                strategy=strategy,
                regime=regime,
                other=other,
                condition=condition,
                train_size=size,
                seed=seed,
                training=training,
                max_validation=task.max_validation,
                max_test=task.max_test,
            )
