"""Which learning rate each strategy gets: the best of the same grid, by texts and seeds that nothing else uses."""

from __future__ import annotations

from itertools import groupby, product
from typing import TYPE_CHECKING

from maskbench.analysis.run_records import number_of
from maskbench.errors import InputError
from maskbench.experiment import tuning
from maskbench.records.choices import Choice, Choices, Tried
from maskbench.records.run import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maskbench.experiment.experiment import Experiment
    from maskbench.experiment.layout import Layout

RULE = (
    "Of the learning rates at which the fewest cells failed, the one with the highest mean validation score; of rates "
    "that are exactly as good, the lowest."
)
"""How a rate is chosen."""


def choose(experiment: Experiment, layout: Layout) -> Choices:
    """Return the learning rates that the tuning of an experiment comes to.

    Parameters
    ----------
    experiment
        With its block `tune`.
    layout
        Of the tuning.

    Raises
    ------
    InputError
        If a record is missing or not valid, or the experiment tunes nothing.
    """
    if experiment.tune is None:
        raise InputError("tune: expected a grid of learning rates and seeds, found none")
    tune, found = experiment.tune, []
    for (task, model, strategy), runs in groupby(tuning.tried(experiment), key=lambda item: item[:3]):
        rates = [_tried(item.learning_rate, [Record.read(layout.record(run)) for run in item.runs]) for item in runs]
        found.append(_choice(task, model, strategy, rates))
    found += list(_multiples(experiment, found))
    return Choices(
        schema=1,
        rule=RULE,
        learning_rates=tune.learning_rates,
        seeds=tune.seeds,
        train_size=tune.train_size,
        validation_size=tune.validation_size,
        choices=found,
    )


def _multiples(experiment: Experiment, found: Sequence[Choice]) -> Iterator[Choice]:
    """Yield what strategies get whose rate is a multiple of one that was chosen."""
    multiples = experiment.tune.multiples if experiment.tune else {}
    takes = {model.name: model.takes for model in experiment.models}
    for (name, multiple), base in product(multiples.items(), found):
        if base.strategy == multiple.of and takes[base.model](name):
            rate = None if base.learning_rate is None else multiple.times * base.learning_rate
            about = {"task": base.task, "model": base.model, "strategy": name, "multiple": str(multiple)}
            yield Choice(**about, learning_rate=rate, edge=None, ties=[], tried=[])


def _tried(rate: float, records: Sequence[Record]) -> Tried:
    """Return what came of a rate; a completed cell without a validation score counts as a failed one."""
    scores = [number_of(item, "validation", "score") for item in records if item.status == "completed"]
    known = [score for score in scores if score is not None]
    mean = sum(known) / len(known) if known else None
    return Tried(learning_rate=rate, scores=known, failed=len(records) - len(known), mean=mean)


def _choice(task: str, model: str, strategy: str, tried: Sequence[Tried]) -> Choice:
    """Choose one of the rates, which go from the lowest to the highest."""
    able = [item for item in tried if item.mean is not None]
    fewest = min((item.failed for item in able), default=0)
    able = [item for item in able if item.failed == fewest]
    best = max((item.mean for item in able if item.mean is not None), default=None)
    equal = [item.learning_rate for item in able if item.mean == best]
    rate = min(equal, default=None)
    ends = {tried[0].learning_rate: "lowest", tried[-1].learning_rate: "highest"}
    return Choice(
        task=task,
        model=model,
        strategy=strategy,
        learning_rate=rate,
        edge=None if rate is None else ends.get(rate),
        ties=[item for item in equal if item != rate],
        tried=list(tried),
    )
