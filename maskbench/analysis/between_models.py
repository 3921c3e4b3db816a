"""Contrasts between pretraining recipes: the unit is the pretraining seed, of which several runs are fine-tuned.

A model of a recipe is one draw of its pretraining. So a difference between two recipes is paired by pretraining seed,
and its value is the mean over fine-tuning seeds; runs of one model say how much fine-tuning varies, and nothing of how
much pretraining does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from maskbench.config.contrast import Contrast


def pretraining_seeds(runs: pd.DataFrame) -> set[int]:
    """Return the pretraining seeds of some runs; none if their model was not pretrained here."""
    return {int(seed) for seed in runs["pretraining_seed"].dropna()}


def by_pretraining_seed(found: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of two recipes with their pretraining seed as `seed`, and that of their run as `fine_tuning`.

    Pretraining seeds that one recipe alone has are left out. A model that was not pretrained here is one checkpoint: it
    is the partner of every pretraining seed of the other recipe, and what its runs vary by is in what fine-tuning seeds
    do to all pretraining seeds alike.

    Parameters
    ----------
    found
        Runs with the columns of `Values.runs` and `arm`.
    """
    arms = [arm for _, arm in found.assign(fine_tuning=found["seed"]).groupby("arm")]
    known = [seeds for arm in arms if (seeds := pretraining_seeds(arm))]
    common = sorted(set.intersection(*known)) if known else []
    parts = []
    for arm in arms:
        if pretraining_seeds(arm):
            own = arm[arm["pretraining_seed"].isin(common)]
            parts.append(own.assign(seed=own["pretraining_seed"].astype("int64")))
        else:
            parts += [arm.assign(seed=seed) for seed in common]
    return pd.concat(parts) if parts else found


def lacking(runs: pd.DataFrame, contrast: Contrast) -> str | None:
    """Say in one sentence which models a study lacks for a contrast between two; None if it has them.

    Parameters
    ----------
    runs
        Runs that there are, or will be, as `Values.runs`.
    contrast
        Of the kind models.
    """
    names = [str(arm.model) for arm in contrast.arms]
    own = {name: runs[runs["recipe"] == name] for name in names}
    if unknown := [name for name in names if own[name].empty]:
        return f"The study has no model {' and no '.join(unknown)}."
    seeds = [found for name in names if (found := pretraining_seeds(own[name]))]
    if not seeds:
        return (
            f"Neither {names[0]} nor {names[1]} was pretrained here with seeds: each is one checkpoint, and two "
            "checkpoints say nothing about how they were made."
        )
    if not set.intersection(*seeds):
        return f"{names[0]} and {names[1]} have no pretraining seed in common."
    return None


def planned_seeds(runs: pd.DataFrame, contrast: Contrast) -> int:
    """Return how many pretraining seeds a contrast between two models has in runs that will be made."""
    known = [seeds for arm in contrast.arms if (seeds := pretraining_seeds(runs[runs["recipe"] == arm.model]))]
    return len(set.intersection(*known)) if known else 0
