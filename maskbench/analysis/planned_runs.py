"""The runs that an experiment will make, as contrasts look at them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from maskbench.analysis.metrics import PRETRAINED, regime_kind
from maskbench.analysis.values import fits, place
from maskbench.config.measures import measure
from maskbench.config.tuning import is_tuned, untuned
from maskbench.experiment.cell import cells

if TYPE_CHECKING:
    from maskbench.analysis.rates import Rate
    from maskbench.config.contrast import Contrast
    from maskbench.experiment.experiment import Experiment


def planned_runs(experiment: Experiment, rate: Rate = "shared") -> pd.DataFrame:
    """Return the runs that an experiment will make at one of the rates, with the columns that contrasts look at.

    Strategies have the names that they have in the claims.
    """
    models = {model.name: (model.recipe, model.pretraining_seed) for model in experiment.models}
    rows = [
        (
            cell.run,
            cell.task,
            cell.model,
            untuned(cell.strategy.name),
            cell.regime_name,
            cell.condition.name,
            str(cell.train_size),
            cell.seed,
            *models[cell.model],
        )
        for cell in cells(experiment)
        if is_tuned(cell.strategy.name) == (rate == "tuned")
    ]
    columns = ["run", "task", "model", "strategy", "regime", "condition", "train_size", "seed", *PRETRAINED]
    table = pd.DataFrame(rows, columns=columns).astype({"pretraining_seed": "Int64"})
    return table.assign(kind=table["regime"].map({name: regime_kind(name) for name in table["regime"].unique()}))


def common_seeds(runs: pd.DataFrame, contrast: Contrast, name: str) -> int:
    """Return with how many seeds all arms of a contrast will be run, on the tasks that have all of them.

    Parameters
    ----------
    runs
        As `planned_runs` returns them.
    contrast, name
        The contrast, of any kind but models, and the measure.
    """
    found = []
    for arm in contrast.arms:
        kind, condition = place(arm, measure(name).home)
        named = runs["strategy"].map(partial(fnmatchcase, pat=arm.strategy))
        placed = (runs["kind"] == kind) & runs["condition"].map(partial(fits, wanted=condition))
        if (named & placed).any():  # of a trend, a study may lack some doses
            found.append(runs[named & placed])
    tasks = set.intersection(*(set(own["task"]) for own in found))
    return len(set.intersection(*(set(own.loc[own["task"].isin(tasks), "seed"]) for own in found)))
