"""Contrasts between pretraining recipes: the unit is the pretraining seed, of which several runs are fine-tuned.

A model of a recipe is one draw of its pretraining. So a difference between two recipes is paired by pretraining seed,
and its value is the mean over fine-tuning seeds; runs of one model say how much fine-tuning varies, and nothing of how
much pretraining does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench.analysis.components import components

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.analysis.contrasts import Evidence
    from maskbench.analysis.rows import Row
    from maskbench.config.claims import Contrast

Seeds = set[int]


def _seeds(runs: pd.DataFrame) -> Seeds:
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
    known = [seeds for arm in arms if (seeds := _seeds(arm))]
    common = sorted(set.intersection(*known)) if known else []
    parts = []
    for arm in arms:
        if _seeds(arm):
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
    seeds = [found for name in names if (found := _seeds(own[name]))]
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
    known = [seeds for arm in contrast.arms if (seeds := _seeds(runs[runs["recipe"] == arm.model]))]
    return len(set.intersection(*known)) if known else 0


def of_recipes(row: Row) -> Iterator[str]:
    """Say of which pretraining seeds the models of a contrast are, where they have any."""
    evidence = row.evidence
    if evidence.fine_tuning:
        yield from _of_pairs(evidence, row)
        return
    seeds = evidence.terms.groupby("recipe")["model"].nunique()
    if several := [f"{name} ({count})" for name, count in seeds.items() if count > 1]:
        yield (
            f"Models that differ in their pretraining seed alone count as one: {', '.join(several)}. Seeds are those "
            "of fine-tuning: that other pretraining seeds would give another number is not in the interval."
        )


def component_rows(rows: list[Row]) -> Iterator[dict[str, Any]]:
    """Yield the rows of components.csv: what the differences between two recipes vary by, scope by scope."""
    for row in rows:
        evidence, spread = row.evidence, row.spread
        if spread is None or not evidence.fine_tuning:
            continue
        found = components(evidence.table(row.weights))
        parts = {"pretraining_sd": found.pretraining, "fine_tuning_sd": found.fine_tuning, "rest_sd": found.rest}
        parts["texts_se"] = float(spread.examples) if spread.n_examples else np.nan
        parts["se"] = float(spread.error) ** 2 if spread.n > 1 else np.nan
        yield {
            "claim": row.claim.id,
            "contrast": evidence.contrast.name,
            "measure": evidence.measure,
            "scope": row.scope,
            "unit": evidence.scale.unit,
            "n_pretraining": found.n,
            "n_fine_tuning": found.n_fine_tuning,
            **{name: evidence.scale.show(float(np.sqrt(variance))) for name, variance in parts.items()},
        }


def _of_pairs(evidence: Evidence, row: Row) -> Iterator[str]:
    """Say how pretraining seeds are paired, and what of them is left out."""
    spread = row.spread
    if spread is None:
        return
    of_seed = evidence.complete(row.weights).reshape(len(evidence.seeds), -1).sum(axis=1)
    of_seed = of_seed[of_seed > 0]
    low, high = int(of_seed.min()), int(of_seed.max())
    times = f"{low} to {high} fine-tuning seeds" if low < high else f"{low} fine-tuning seed{'s' * (low > 1)}"
    yield f"A seed is one of pretraining, its value the mean over {times}."
    if spread.n_fine_tuning < 2:
        yield "That other fine-tuning seeds would give another number is not in the interval."
    for side, arm in enumerate(evidence.contrast.arms):
        own = evidence.terms[evidence.terms["arm"] == side]
        if not _seeds(own):
            yield f"{arm.model} was not pretrained here: the verdict is about this one checkpoint."
