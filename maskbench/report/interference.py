"""Which measures of interference are shown, on which runs, and how they differ from the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from maskbench.analysis.metrics import regime_kind
from maskbench.config.conditions import CLEAN
from maskbench.config.measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable

    from maskbench.report.study import Block, Study

MAIN = (
    "loss_gap",
    "score_gap",
    "ece",
    "noise_memorisation",
    "score_sd",
    "failed",
    "disagreement",
    "distractor_drop",
    "perturbation_drop",
    "masking_drop",
    "cue_reliance",
    "negative_transfer",
    "gradient_cosine",
    "forgetting",
    "matched_forgetting",
    "representation_drift",
    "matched_representation_drift",
    "parameter_drift",
    "matched_parameter_drift",
    "mlm_forgetting",
    "probing_drop",
    "step_overhead",
    "memory_overhead",
    "steps_to_score",
)
"""One measure for each member of the families of interference, and of cost; one with parts stands for their mean."""

OF_A_CELL = ("score_sd", "failed")
"""Measures that say something of all seeds of a cell together: they have no SD over seeds, and no paired difference."""

_HOMES = {
    "forgetting": "after-*",
    "matched_forgetting": "after-*",
    "negative_transfer": "with-*",
    "gradient_cosine": "with-*",
    "cue_reliance": "cue-",
    "noise_memorisation": "noise-",
}

MOST_SERIES = 4
"""Most series that are told apart in one panel."""


def drawn(study: Study) -> list[str]:
    """Return the measures of interference, cost left out, whose paired differences can be drawn."""
    names = [name for name in MAIN if MEASURES[name].family != "cost" and name not in OF_A_CELL]
    return [name for name in names if any(at_home(study, block, name) for block in study.blocks)]


def at_home(study: Study, block: Block, name: str) -> bool:
    """Tell whether a block's runs are trained in the way that a measure is about, and have it.

    Forgetting is about training after another task, cue reliance about a planted cue, drift about a task alone.
    """
    home = _HOMES.get(name, "single")
    if home in ("cue-", "noise-"):
        fits = block.condition.startswith(home)
    else:
        fits = regime_kind(block.regime) == home and block.condition == CLEAN.name
    return fits and any(len(study.measured(block, strategy, name)) for strategy in study.strategies)


def improvement(study: Study, block: Block, strategy: str, name: str) -> pd.Series[float]:
    """Return, by seed, the paired difference to the baseline, signed so that above 0 is less interference."""
    sign = 1.0 if MEASURES[name].better == "higher" else -1.0
    both = (study.measured(block, arm, name) for arm in (strategy, study.baseline))
    difference: pd.Series[float] = sign * next(both).sub(next(both)).dropna()
    return difference


def _mean(parts: list[pd.Series[float]]) -> pd.Series[float]:
    """Return the mean of several series, over the seeds that all of them have."""
    return pd.DataFrame(dict(enumerate(parts))).dropna().mean(axis=1)


def series(study: Study, name: str) -> dict[str, dict[str, pd.Series[float]]]:
    """Return what a panel shows: for each series and strategy the improvement by seed.

    A series is a task with model and train size where these are few enough to be told apart, else a task, else all
    together; blocks of one series (other rates, other second tasks) are averaged.
    """
    blocks = [block for block in study.blocks if at_home(study, block, name)]
    labels: tuple[Callable[[Block], str], ...] = (study.subject, lambda block: block.task, lambda _: "all tasks")
    # the labels are of all measures, so that a colour means the same in every panel
    label = next(label for label in labels if len({label(block) for block in study.blocks}) <= MOST_SERIES)
    groups: dict[str, list[Block]] = {}
    for block in blocks:
        groups.setdefault(label(block), []).append(block)
    return {
        key: {
            strategy: _mean([improvement(study, block, strategy, name) for block in members])
            for strategy in study.others
        }
        for key, members in groups.items()
    }
