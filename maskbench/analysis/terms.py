"""Which runs a contrast compares on a measure, each with its weight, and which of them count."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maskbench.analysis import between_models
from maskbench.analysis.sizes import OVER_SIZES, over_sizes
from maskbench.analysis.values import Scale, place
from maskbench.config.measures import measure, source_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maskbench.analysis.values import Values
    from maskbench.config.contrast import Arm, Contrast


def _weighted(contrast: Contrast, name: str, strategies: Iterable[str]) -> list[tuple[Arm, float]]:
    """Return the arms of a contrast with their weights; of a trend, the arms whose strategies a study has."""
    if contrast.weights is not None:
        return [(arm, contrast.weights[arm.strategy]) for arm in contrast.arms]
    if contrast.doses is None:
        # one arm alone is compared with 0: above is more of the measure, better or not
        weights = [1.0, -1.0] if len(contrast.arms) == 2 else [float(np.sign(Scale(name).factor))]
        return list(zip(contrast.arms, weights, strict=True))
    arms = [arm for arm in contrast.arms if arm.strategy in set(strategies)]
    dose = np.array([contrast.doses[arm.strategy] for arm in arms])
    centred = dose - dose.mean()
    slope = centred / (centred**2).sum()
    return list(zip(arms, -(dose.max() - dose.min()) * slope, strict=True))


def terms(values: Values, contrast: Contrast, name: str, tasks: Sequence[str]) -> pd.DataFrame:
    """Return the runs that a contrast compares on a measure, each with the weight that its value has.

    Every kind of contrast is a weighted sum over the runs of a seed in a block: +1 and −1 for a pair, its own weights
    for a combination, those of a least-squares slope for a trend, of `sizes.weights_of` over train sizes. A trend is
    reported as the fitted difference between the lowest and the highest dose.

    Returns
    -------
    DataFrame
        Columns of `Values.runs`, `weight`, `value` (NaN for none), `censored` (as `Values.censored`, else 0), `machine`
        (its kind, NaN if unknown), `block`, `alike` (the block without the pretraining seed of its model), `still` (a
        drift of 0, of which there is no ratio), `apart` (whether its pair is not compared since its machines differ),
        `mixed` (whether its pair ran on different kinds of device) and `untimed` (whether a run of its pair was
        trained in a stack and the pair has no times or memory to compare).
        Between models `seed` is that of pretraining, and `fine_tuning` that of the run.
    """
    home, kind = measure(name).home, contrast.kind or "paired"
    curve, models = kind in OVER_SIZES, kind == "models"
    pair = ["block", "seed", *(["fine_tuning"] if models else [])]
    arms = _weighted(contrast, name, values.runs["strategy"].unique())
    places = {place(arm, home) for arm, _ in arms}
    alike = ["task", *([] if models else ["model"]), *([] if curve else ["train_size"])]
    alike += ["regime"] if len({regime for regime, _ in places}) == 1 else []
    alike += ["condition"] if len({condition for _, condition in places}) == 1 else []
    parts = []
    for index, (arm, weight) in enumerate(arms):
        runs = values.select(arm, home, tasks)
        if curve:
            runs = runs[runs["train_size"] != "full"]  # of how many texts it is, is not known here
        elif values.train_size is not None:
            runs = runs[runs["train_size"] == values.train_size]
        recipes = ["recipe" if column == "model" else column for column in alike]
        block, group = (
            reduce(lambda one, other: one + "\0" + other, (runs[column] for column in columns))
            for columns in (alike, recipes)
        )
        parts.append(runs.assign(weight=weight, arm=index, block=block, alike=group))
    found = between_models.by_pretraining_seed(pd.concat(parts)) if models else pd.concat(parts)
    if curve:
        found["weight"] *= over_sizes(found, kind)
    else:
        # several runs of an arm that differ in what the other one does not have (two cue rates against clean): the mean
        found["weight"] /= found.groupby([*pair, "arm"])["weight"].transform("size")
    found = _with_values(found, values, name, pair)
    return _run_at_all(found, pair, len(arms))


def _run_at_all(found: pd.DataFrame, pair: list[str], arms: int) -> pd.DataFrame:
    """Return the runs of pairs none of whose runs is still to be made: in a study that grows, a pair counts as a whole.

    A run that did not complete was made, and is among them. Columns `pair` name the block and what its pairs differ in.
    A pair has runs of all arms, also where no seed of a block has run with all of them yet.
    """
    found = found[found.groupby(pair)["arm"].transform("nunique") == arms]
    made = found.groupby(pair)["run"].transform("size")
    return found[made == made.groupby(found["block"]).transform("max")]


def _with_values(found: pd.DataFrame, values: Values, name: str, pair: list[str]) -> pd.DataFrame:
    """Return runs with their values of a measure; `pair` are the columns that two runs share which are compared."""
    name = source_of(name)
    found["value"] = Scale(name).of(values.of(name)).reindex(found.index)
    found["still"] = (values.of(name).reindex(found.index) == 0) & (measure(name).unit == "ratio")
    found["machine"] = values.of("machine").reindex(found.index)
    found["censored"] = values.censored(name).reindex(found.index).fillna(0.0)
    kinds = found.groupby(pair)["machine"].transform("nunique")
    found["apart"] = (kinds > 1) & measure(name).of_machine
    found["value"] = found["value"].mask(found["apart"])
    devices = values.of("device").reindex(found.index)
    found["mixed"] = found.assign(device=devices).groupby(pair)["device"].transform("nunique") > 1
    columns = [found[column] for column in pair]
    stacked = values.of("stack").reindex(found.index).notna().groupby(columns).transform("any")
    lacks = found["value"].isna().groupby(columns).transform("any")  # two kinds of machine, too
    found["untimed"] = measure(name).of_machine & stacked & lacks
    return found


def comparable(found: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of pairs that ran on one kind of device and, of times and memory, that stacks leave to compare.

    The other pairs were never to be compared, and are not missing. The columns `mixed` and `untimed` count those of a
    block that are left out, a pair that is both under the first.

    Parameters
    ----------
    found
        Runs, as `terms` gives them.
    """
    pair = ["block", "seed", *(["fine_tuning"] if "fine_tuning" in found else [])]
    for name in ("mixed", "untimed"):
        left_out = found[found[name]].drop_duplicates(pair)["block"].value_counts()
        found = found[~found[name]].assign(**{name: found["block"].map(left_out).fillna(0).astype(int)})
    return found
