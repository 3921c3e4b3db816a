"""From run tables to seed-paired differences: what a contrast compares, block by block and seed by seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench.analysis.findings import POOLED
from maskbench.analysis.metrics import BLOCK, Array
from maskbench.analysis.sizes import OVER_SIZES, over_sizes, unlike
from maskbench.analysis.values import Scale, Values, fits, place
from maskbench.config.measures import measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from maskbench.config.claims import Arm, Contrast

Indices = np.ndarray[Any, np.dtype[np.int64]]


def _weighted(contrast: Contrast, name: str, strategies: Iterable[str]) -> list[tuple[Arm, float]]:
    """Return the arms of a contrast with their weights; of a trend, the arms whose strategies a study has."""
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

    Every kind of contrast is a weighted sum over the runs of a seed in a block: +1 and −1 for a pair, the weights of a
    least-squares slope for a trend, those of `sizes.weights_of` over train sizes. A trend is reported as the fitted
    difference between the lowest and the highest dose.

    Returns
    -------
    DataFrame
        Columns of `Values.runs`, `weight`, `value` (NaN for none), `censored` (as `Values.censored`, else 0), `machine`
        (its kind, NaN if unknown), `block`, `still` (a drift of 0, of which there is no ratio) and `apart`: whether its
        pair is not compared since its machines differ.
    """
    home, kind = measure(name).home, contrast.kind or "paired"
    curve = kind in OVER_SIZES
    arms = _weighted(contrast, name, values.runs["strategy"].unique())
    places = {place(arm, home) for arm, _ in arms}
    alike = ["task", "model", *([] if curve else ["train_size"])]
    alike += ["regime"] if len({regime for regime, _ in places}) == 1 else []
    alike += ["condition"] if len({condition for _, condition in places}) == 1 else []
    parts = []
    for index, (arm, weight) in enumerate(arms):
        runs = values.select(arm, home, tasks)
        if curve:
            runs = runs[runs["train_size"] != "full"]  # of how many texts it is, is not known here
        block = reduce(lambda one, other: one + "\0" + other, (runs[column] for column in alike))
        parts.append(runs.assign(weight=weight, arm=index, block=block))
    found = pd.concat(parts)
    if curve:
        found["weight"] *= over_sizes(found, kind)
    found["value"] = Scale(name).of(values.of(name)).reindex(found.index)
    found["still"] = (values.of(name).reindex(found.index) == 0) & (measure(name).unit == "ratio")
    found["machine"] = values.of("machine").reindex(found.index)
    found["censored"] = values.censored(name).reindex(found.index).fillna(0.0)
    if not curve:
        # several runs of an arm that differ in what the other one does not have (two cue rates against clean): the mean
        found["weight"] /= found.groupby(["block", "arm", "seed"])["weight"].transform("size")
    kinds = found.groupby(["block", "seed"])["machine"].transform("nunique")
    found["apart"] = (kinds > 1) & measure(name).of_machine
    found["value"] = found["value"].mask(found["apart"])
    return found[found.groupby("block")["arm"].transform("nunique") == len(arms)]


@dataclass(frozen=True)
class Evidence:
    """The differences of one contrast on one measure."""

    contrast: Contrast
    measure: str
    terms: pd.DataFrame
    """The runs behind them, as `terms` gives them."""
    tasks: list[str]
    """Name of the task that each block belongs to."""
    seeds: list[int]
    """All seeds that an arm was run with."""
    differences: Array
    """Shape (blocks, seeds), on the measure's scale, above 0 where the first arm is better; NaN: a run is missing."""

    @property
    def scale(self) -> Scale:
        """The scale on which the measure's differences are computed."""
        return Scale(self.measure)

    @cached_property
    def places(self) -> tuple[Indices, Indices]:
        """Block and seed of each term, as indices: twice (terms,)."""
        blocks = {block: index for index, block in enumerate(self.terms["block"].unique())}
        seeds = {seed: index for index, seed in enumerate(self.seeds)}
        found = ([blocks[block] for block in self.terms["block"]], [seeds[seed] for seed in self.terms["seed"]])
        return np.array(found[0], dtype=np.int64), np.array(found[1], dtype=np.int64)

    def scopes(self) -> Iterator[tuple[str, Array]]:
        """Yield each scope with the weights (blocks,): pooled first, then tasks; of an interaction, tasks alone."""
        names = list(dict.fromkeys(self.tasks))
        of_task = {name: np.array([task == name for task in self.tasks], dtype=float) for name in names}
        mean = {name: weight / weight.sum() for name, weight in of_task.items()}
        if self.contrast.kind == "interaction":
            # of two tasks, each is the other's mirror image
            for name in names if len(names) > 2 else names[: len(names) - 1]:
                others = [mean[other] for other in names if other != name]
                yield f"{name} vs others", mean[name] - np.mean(others, axis=0)
            return
        yield POOLED, np.mean(list(mean.values()), axis=0)
        if len(names) > 1:
            yield from mean.items()

    def complete(self, weights: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return (seeds,) bool: which have a difference in every block whose weight (blocks,) is not 0."""
        found: np.ndarray[Any, np.dtype[np.bool_]] = np.isfinite(self.differences[weights != 0]).all(axis=0)
        return found

    def mean(self, weights: Array) -> Array:
        """Return one number for each complete seed (`complete`): the sum of its differences by weights (blocks,)."""
        used = weights != 0
        found: Array = weights[used] @ self.differences[used][:, self.complete(weights)]
        return found

    def renewed(self, values: pd.Series[float]) -> Evidence:
        """Return the evidence with other values on the scale, one for each term."""
        table = self.terms.assign(value=values)
        found = replace(self, terms=table)
        return replace(found, differences=_differences(found, table["value"].to_numpy()))

    def pairs(self) -> pd.DataFrame:
        """Return one row for each difference that there is: block, seed, run ids, the difference in its unit."""
        first = self.terms.drop_duplicates(["block", "seed"])
        ids = {
            side: self.terms[rows].groupby(["block", "seed"], sort=False)["run"].agg(" ".join)
            for side, rows in (("of", self.terms["weight"] > 0), ("against", self.terms["weight"] < 0))
        }
        key = pd.MultiIndex.from_frame(first[["block", "seed"]])
        table = first[[*BLOCK, "seed"]].reset_index(drop=True)
        if self.contrast.kind in OVER_SIZES:
            sizes = self.terms.groupby("block")["train_size"].agg(lambda own: " ".join(sorted(set(own), key=int)))
            table["train_size"] = sizes.reindex(first["block"]).to_numpy()
        table = table.assign(**{side: found.reindex(key).fillna("").to_numpy() for side, found in ids.items()})
        block, seed = self.places
        place = pd.DataFrame({"block": block, "seed": seed}).drop_duplicates()
        scale = self.differences[place["block"], place["seed"]]
        table["difference"] = 100.0 * np.expm1(scale) if self.scale.ratio else scale
        return table[np.isfinite(scale)]


def gather(values: Values, contrast: Contrast, name: str, tasks: Sequence[str]) -> Evidence | str:
    """Return the differences of a contrast on a measure, or a sentence that says what the study lacks for it."""
    if sentence := lacking(values.runs, contrast, name, tasks):
        return sentence
    if values.of(name).empty and values.censored(name).empty:
        return f"No run has a number of {name}."
    found = terms(values, contrast, name, tasks)
    found = found[found["block"].isin(_measured(found))]
    if (still := found[found["still"]])["strategy"].size:
        return f"{still['strategy'].iloc[0]} does not move the weights at all, and a drift of 0 has no ratio."
    if found.empty:
        return f"No block of the study has both arms and a number of {name}."
    if contrast.kind == "interaction" and found["task"].nunique() < 2:
        return f"An interaction takes two tasks with a number of {name}."
    seeds = sorted(int(seed) for seed in found["seed"].unique())
    tasks_of = found.drop_duplicates("block")["task"].tolist()
    if contrast.kind in OVER_SIZES and (sentence := unlike(found)):
        return sentence
    return Evidence(contrast, name, found, tasks_of, seeds, np.empty(0)).renewed(found["value"])


def _differences(evidence: Evidence, values: Array) -> Array:
    """Return the weighted sums of values, shape (blocks, seeds); NaN where a run of a block is missing."""
    block, seed = evidence.places
    shape = (len(evidence.tasks), len(evidence.seeds))
    total, count = np.zeros(shape), np.zeros(shape, dtype=int)
    np.add.at(total, (block, seed), evidence.terms["weight"].to_numpy() * values)
    np.add.at(count, (block, seed), 1)
    return np.where(count == count.max(axis=1, keepdims=True), total, np.nan)


def _measured(found: pd.DataFrame) -> list[str]:
    """Return the blocks in which both arms were measured, censored values included, or have nothing but failed runs."""
    known = found["value"].notna() | (found["censored"] != 0) | found["apart"] | found["still"]
    arms = found.assign(known=known, done=found["status"] == "completed").groupby(["block", "arm"])
    told = arms["known"].any() | ~arms["done"].any()
    return [
        str(block)
        for block in (told.groupby(level=0).all() & arms["known"].any().groupby(level=0).any())[lambda ok: ok].index
    ]


def halves(values: Values, contrast: Contrast, name: str, tasks: Sequence[str]) -> Evidence | str:
    """Return one strategy against itself: its first seed against the second, the third against the fourth, ..."""
    assert contrast.of is not None
    found = gather(values, contrast.model_copy(update={"against": None}), name, tasks)
    if isinstance(found, str):
        return found
    even = found.seeds[: len(found.seeds) // 2 * 2]
    if not even:
        return "It takes two seeds."
    table = found.terms[found.terms["seed"].isin(even)]
    second = table["seed"].isin(even[1::2])
    partner = dict(zip(even[1::2], even[::2], strict=True))
    table = table.assign(
        weight=table["weight"].where(~second, -table["weight"]),
        seed=table["seed"].map(lambda seed: partner.get(seed, seed)),
    )
    evidence = Evidence(contrast, name, table, found.tasks, even[::2], np.empty(0))
    return with_values(evidence, table["value"])


def with_values(evidence: Evidence, values: pd.Series[float]) -> Evidence:
    """Return the evidence with other values on the scale, by run."""
    return evidence.renewed(values.reindex(evidence.terms.index))


def on_resamples(evidence: Evidence, resampled: dict[str, Array]) -> Array | None:
    """Return the differences on resamples of the test examples, shape (resamples, blocks, seeds); None without them.

    NaN where a run that has a value lacks what its texts add to it. None, too, where all runs of a block lack it.

    Parameters
    ----------
    evidence
        The differences.
    resampled
        For each run its value on every resample, on the scale.
    """
    usable = evidence.terms["value"].notna().to_numpy()
    runs, block_of = evidence.terms["run"].to_numpy(), evidence.places[0]
    told = usable & evidence.terms["run"].isin(list(resampled)).to_numpy()
    if not told.any() or set(block_of[usable]) != set(block_of[told]):
        return None
    draws = len(next(iter(resampled.values())))
    result = np.zeros((draws, len(evidence.tasks), len(evidence.seeds)))
    weights = evidence.terms["weight"].to_numpy()
    for run, weight, use, block, seed in zip(runs, weights, usable, *evidence.places, strict=True):
        if use:
            result[:, block, seed] += weight * resampled.get(run, np.float64(np.nan))
    return result


def lacking(runs: pd.DataFrame, contrast: Contrast, name: str, tasks: Sequence[str]) -> str | None:
    """Say in one sentence what a study lacks for a contrast on a measure; None if it has the runs.

    Parameters
    ----------
    runs
        Runs that there are, or will be, as `Values.runs`.
    contrast, name, tasks
        The contrast, the measure, and the study's tasks that it is about.
    """
    home = measure(name).home
    if not tasks:
        return "The study has none of the tasks of this claim."
    arms = contrast.arms
    known = set(runs["strategy"].unique())
    unknown = list(
        dict.fromkeys(arm.strategy for arm in arms if not any(fnmatchcase(one, arm.strategy) for one in known))
    )
    if contrast.doses is not None and len({contrast.doses[name] for name in known & set(contrast.doses)}) < 3:
        return f"The study has fewer than three of the doses {', '.join(contrast.doses)}."
    if contrast.doses is None and unknown:
        return f"The study has no strategy {' and no '.join(unknown)}."
    for arm in arms:
        kind, condition = place(arm, home)
        if kind not in set(runs["kind"].unique()):
            words = {"after-*": "regime sequential", "with-*": "regime joint"}.get(kind, f"regime {kind}")
            return f"The study has no {words}."
        if not any(fits(found, condition) for found in runs["condition"].unique()):
            return f"The study has no condition {condition}."
    if contrast.kind in OVER_SIZES and len(set(runs["train_size"].unique()) - {"full"}) < 2:
        return "A learning curve takes two train sizes with a number."
    if contrast.kind == "interaction" and len(tasks) < 2:
        return "An interaction takes two tasks."
    return None
