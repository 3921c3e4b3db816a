"""Which measures of interference are shown, on which runs, and how they differ from the baseline on one scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maskbench.analysis import values
from maskbench.analysis.metrics import regime_kind
from maskbench.config.measures import MEASURES, shown_in

if TYPE_CHECKING:
    from maskbench.report.blocks import Block
    from maskbench.report.study import Study


def drawn(study: Study) -> list[str]:
    """Return the measures of the profile that the study has."""
    return [name for name in shown_in("profile") if homes(study, name)]


def homes(study: Study, name: str) -> list[Block]:
    """Return the blocks that a measure is about, and that have it."""
    return [block for block in study.blocks if at_home(study, block, name)]


def at_home(study: Study, block: Block, name: str) -> bool:
    """Tell whether a block's runs are trained in the way that a measure is about, and have it.

    Forgetting is about training after another task, cue reliance about a planted cue, drift about a task alone.
    """
    kind, condition = values.at_home(MEASURES[name].home)
    there = regime_kind(block.regime) == kind and values.fits(block.condition, condition)
    return there and any(len(study.measured(block, strategy, name)) for strategy in study.strategies)


def improvement(study: Study, block: Block, strategy: str, name: str) -> pd.Series[float]:
    """Return, by seed, the paired difference to the baseline, signed so that above 0 is less interference."""
    sign = 1.0 if MEASURES[name].better == "higher" else -1.0
    return sign * study.paired(block, strategy, study.baseline, name)


def noise(study: Study, block: Block, name: str) -> float:
    """Return the SD of a measure between seeds, pooled over the strategies of a block; NaN if there is none.

    Each strategy's variance counts by its degrees of freedom, so that two seeds of many strategies say something.
    """
    arms = [study.measured(block, strategy, name).to_numpy() for strategy in study.strategies_of(block)]
    squares, freedom = (
        sum(len(arm) * arm.var() for arm in arms if len(arm) > 1),
        sum(len(arm) - 1 for arm in arms if len(arm)),
    )
    return math.sqrt(squares / freedom) if squares > 0 and freedom > 0 else math.nan


def standardised(study: Study, blocks: list[Block], strategy: str, name: str) -> pd.Series[float]:
    """Return, by seed, the improvement in SDs between seeds: of each task its mean over blocks, then over the tasks.

    Only seeds that are paired in all blocks count, as in the verdicts.
    """
    parts: dict[str, list[pd.Series[float]]] = {}
    for block in blocks:
        found, size = improvement(study, block, strategy, name), noise(study, block, name)
        if len(found) and not math.isnan(size):
            parts.setdefault(block.task, []).append(found / size)
    tasks = [pd.DataFrame(dict(enumerate(items))).dropna().mean(axis=1) for items in parts.values()]
    return pd.DataFrame(dict(enumerate(tasks))).dropna().mean(axis=1) if tasks else pd.Series(dtype=np.float64)
