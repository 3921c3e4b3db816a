"""From run tables to seed-paired differences: what a contrast compares, block by block and seed by seed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench.analysis import between_models
from maskbench.analysis.findings import OTHERS, POOLED
from maskbench.analysis.labels import Curves
from maskbench.analysis.labels import lacking as lacking_sizes
from maskbench.analysis.metrics import BLOCK, Array
from maskbench.analysis.sizes import OVER_SIZES, unlike
from maskbench.analysis.terms import comparable, terms
from maskbench.analysis.values import Scale, Values, fits, place
from maskbench.config.measures import measure, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maskbench.config.contrast import Contrast

Indices = np.ndarray[Any, np.dtype[np.int64]]


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
    """All seeds that an arm was run with; between models those of pretraining that both have."""
    differences: Array
    """Shape (blocks, pairs), on the measure's scale, above 0 where the first arm is better; NaN: a run is missing. A
    seed has one pair of runs in a block; between models it has one for each seed of fine-tuning, next to each other."""
    fine_tuning: list[int] = field(default_factory=list)
    """Between models, all seeds that they were fine-tuned with; else none."""

    @property
    def scale(self) -> Scale:
        """The scale on which the measure's differences are computed."""
        return Scale(self.measure)

    @property
    def source(self) -> str:
        """The measure of runs that the differences are computed from."""
        return source_of(self.measure)

    @cached_property
    def curves(self) -> Curves | None:
        """The learning curves of the kind labels, which are read off and not summed; None of all other kinds."""
        return Curves(self.terms, self.contrast, self.seeds) if self.contrast.kind == "labels" else None

    @property
    def unit(self) -> str:
        """What the differences are a sample of, for notes."""
        return "pretraining seeds" if self.fine_tuning else "seeds"

    @cached_property
    def seed_of(self) -> Indices:
        """For each pair of runs (pairs,) its seed, as an index."""
        return np.repeat(np.arange(len(self.seeds)), max(len(self.fine_tuning), 1))

    @cached_property
    def places(self) -> tuple[Indices, Indices]:
        """Block and pair of each term, as indices: twice (terms,)."""
        blocks = {block: index for index, block in enumerate(self.terms["block"].unique())}
        seeds = {seed: index for index, seed in enumerate(self.seeds)}
        place = np.array([seeds[seed] for seed in self.terms["seed"]], dtype=np.int64)
        if self.fine_tuning:
            again = {seed: index for index, seed in enumerate(self.fine_tuning)}
            place = place * len(again) + np.array([again[seed] for seed in self.terms["fine_tuning"]], dtype=np.int64)
        return np.array([blocks[block] for block in self.terms["block"]], dtype=np.int64), place

    def scopes(self) -> Iterator[tuple[str, Array]]:
        """Yield each scope with the weights (blocks,): pooled first, then tasks; of an interaction, tasks alone."""
        names = list(dict.fromkeys(self.tasks))
        share = self._shares_of_recipes
        of_task = {name: share * np.array([task == name for task in self.tasks], dtype=float) for name in names}
        mean = {name: weight / weight.sum() for name, weight in of_task.items()}
        if self.contrast.kind == "interaction":
            # of two tasks, each is the other's mirror image
            for name in names if len(names) > 2 else names[: len(names) - 1]:
                others = [mean[other] for other in names if other != name]
                yield f"{name}{OTHERS}", mean[name] - np.mean(others, axis=0)
            return
        yield POOLED, np.mean(list(mean.values()), axis=0)
        if len(names) > 1:
            yield from mean.items()

    @property
    def _shares_of_recipes(self) -> Array:
        """(blocks,): one over the number of blocks whose models are of one recipe, which count as one model."""
        groups = self.terms.drop_duplicates("block")["alike"]
        share: Array = 1.0 / groups.groupby(groups).transform("size").to_numpy(dtype=float)
        return share

    @cached_property
    def planned(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(blocks, pairs) bool: whether the study has all runs of a pair, failed ones too.

        What a study has no run of was never to be run: one arm may have more seeds than the other, or one model more
        than another (`limits`). That is no lost pair; a run that failed is one.
        """
        block, pair = self.places
        count = np.zeros((len(self.tasks), len(self.seed_of)), dtype=int)
        np.add.at(count, (block, pair), 1)
        found: np.ndarray[Any, np.dtype[np.bool_]] = count == count.max(axis=1, keepdims=True)
        return found

    def in_all(self, weights: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return (pairs,) bool: which were to be run in every block whose weight (blocks,) is not 0."""
        found: np.ndarray[Any, np.dtype[np.bool_]] = self.planned[weights != 0].all(axis=0)
        return found

    def complete(self, weights: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return (pairs,) bool: which have a difference in every block whose weight (blocks,) is not 0."""
        found: np.ndarray[Any, np.dtype[np.bool_]] = np.isfinite(self.differences[weights != 0]).all(axis=0)
        return found

    def mean(self, weights: Array) -> Array:
        """Return one number for each seed with a complete pair: the sum of its differences by weights (blocks,)."""
        used, complete = weights != 0, self.complete(weights)
        found: Array = weights[used] @ self.differences[used][:, complete]
        return self.by_seed(found, complete)

    def by_seed(self, values: Array, pairs: np.ndarray[Any, np.dtype[np.bool_]]) -> Array:
        """Return values (..., k) of k pairs, those among `pairs` (pairs,), as means over each seed that has one."""
        if not self.fine_tuning:
            return values
        _, place, count = np.unique(self.seed_of[pairs], return_inverse=True, return_counts=True)
        means: Array = values @ (np.eye(len(count)) / count)[place]
        return means

    def table(self, weights: Array) -> Array:
        """Return, between models, the sums of differences by weights (blocks,): (seeds, seeds of fine-tuning)."""
        used = weights != 0
        found: Array = (weights[used] @ self.differences[used]).reshape(len(self.seeds), len(self.fine_tuning))
        return found

    def renewed(self, values: pd.Series[float]) -> Evidence:
        """Return the evidence with other values on the scale, one for each term."""
        table = self.terms.assign(value=values)
        found = replace(self, terms=table)
        return replace(found, differences=_differences(found, table["value"].to_numpy()))

    def pairs(self) -> pd.DataFrame:
        """Return one row for each difference that there is: block, seed, run ids, the difference in its unit."""
        columns = ["block", "seed", *(["fine_tuning"] if self.fine_tuning else [])]
        first = self.terms.drop_duplicates(columns)
        ids = {
            side: self.terms[rows].groupby(columns, sort=False)["run"].agg(" ".join)
            for side, rows in (("of", self.terms["weight"] > 0), ("against", self.terms["weight"] < 0))
        }
        key = pd.MultiIndex.from_frame(first[columns])
        table = first[[*BLOCK, "seed"]].reset_index(drop=True)
        if self.fine_tuning:
            table["seed"] = first["fine_tuning"].to_numpy()
        if self.contrast.kind in OVER_SIZES:
            sizes = self.terms.groupby("block")["train_size"].agg(lambda own: " ".join(sorted(set(own), key=int)))
            table["train_size"] = sizes.reindex(first["block"]).to_numpy()
        table = table.assign(**{side: found.reindex(key).fillna("").to_numpy() for side, found in ids.items()})
        block, pair = self.places
        place = pd.DataFrame({"block": block, "pair": pair}).drop_duplicates()
        scale = self.differences[place["block"], place["pair"]]
        table["difference"] = 100.0 * np.expm1(scale) if self.scale.ratio else scale
        return table[np.isfinite(scale)]


def gather(values: Values, contrast: Contrast, name: str, tasks: Sequence[str]) -> Evidence | str:
    """Return the differences of a contrast on a measure, or a sentence that says what the study lacks for it."""
    if sentence := lacking(values.runs, contrast, name, tasks):
        return sentence
    if values.of(source_of(name)).empty and values.censored(name).empty:
        return f"No run has a number of {name}."
    found = terms(values, contrast, name, tasks)
    if len(found) and found["mixed"].all():
        return "The two runs of every pair were made on different kinds of device, which are not compared."
    found = comparable(found)
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
    if contrast.kind == "labels":
        if sentence := _lacking_sizes(found, contrast):
            return sentence
        found = found.assign(censored=Curves(found, contrast, seeds).censored(found["value"].to_numpy()))
    again = sorted({int(seed) for seed in found["fine_tuning"]}) if "fine_tuning" in found else []
    return Evidence(contrast, name, found, tasks_of, seeds, np.empty(0), again).renewed(found["value"])


def _differences(evidence: Evidence, values: Array) -> Array:
    """Return the weighted sums of values, or what curves say, (blocks, pairs); NaN where a run is missing."""
    if evidence.curves is not None:
        return evidence.curves.differences(values)
    block, pair = evidence.places
    total = np.zeros((len(evidence.tasks), len(evidence.seed_of)))
    np.add.at(total, (block, pair), evidence.terms["weight"].to_numpy() * values)
    return np.where(evidence.planned, total, np.nan)


def _measured(found: pd.DataFrame) -> list[str]:
    """Return the blocks in which both arms were measured, censored values included, or have nothing but failed runs."""
    known = found["value"].notna() | (found["censored"] != 0) | found["apart"] | found["still"]
    arms = found.assign(known=known, done=found["status"] == "completed").groupby(["block", "arm"])
    told = arms["known"].any() | ~arms["done"].any()
    return [
        str(block)
        for block in (told.groupby(level=0).all() & arms["known"].any().groupby(level=0).any())[lambda ok: ok].index
    ]


def _lacking_sizes(found: pd.DataFrame, contrast: Contrast) -> str | None:
    """Say which train sizes a block lacks for the labels that a fixed score takes; None if none does."""
    sizes = (sorted({int(size) for size in own}) for _, own in found.groupby("block", sort=False)["train_size"])
    return next((sentence for own in sizes if (sentence := lacking_sizes(own, contrast))), None)


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
    """Return the differences on resamples of the test examples, shape (resamples, blocks, pairs); None without them.

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
    if evidence.curves is not None:
        nothing = np.full(draws, np.nan)
        drawn = [resampled.get(run, nothing) if use else nothing for run, use in zip(runs, usable, strict=True)]
        return evidence.curves.drawn(np.stack(drawn, axis=-1))
    result = np.zeros((draws, len(evidence.tasks), len(evidence.seed_of)))
    weights = evidence.terms["weight"].to_numpy()
    for run, weight, use, block, pair in zip(runs, weights, usable, *evidence.places, strict=True):
        if use:
            result[:, block, pair] += weight * resampled.get(run, np.float64(np.nan))
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
    if contrast.kind == "models" and (sentence := between_models.lacking(runs, contrast)):
        return sentence
    if contrast.kind in OVER_SIZES and len(set(runs["train_size"].unique()) - {"full"}) < 2:
        return "A learning curve takes two train sizes with a number."
    if contrast.kind == "labels":
        return lacking_sizes(sorted(int(size) for size in set(runs["train_size"].unique()) - {"full"}), contrast)
    if contrast.kind == "interaction" and len(tasks) < 2:
        return "An interaction takes two tasks."
    return None
