"""Seed-paired comparison of every strategy with the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from maskbench.analysis.bootstrap import (
    generator,
    interval_over_seeds,
    interval_over_seeds_and_examples,
    resampled_scores,
)
from maskbench.analysis.metrics import (
    BLOCK,
    Array,
    Table,
    filled,
    number_or_empty,
    one_of,
    read_metrics,
    read_outcomes,
    regime_kind,
    runs_of,
    values_of,
)
from maskbench.errors import InputError
from maskbench.io.files import atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

COLUMNS = (
    *BLOCK,
    "strategy",
    "baseline",
    "measure",
    "unit",
    "n_seeds",
    "estimate",
    "ci_low",
    "ci_high",
    "interval",
    "n_failed_strategy",
    "n_failed_baseline",
    "missing_pairs",
    "confidence",
    "resamples",
)
"""Columns of comparisons.csv. An estimate is strategy minus baseline, the mean over seeds."""

POOLED = "(all tasks)"
"""In the column `task`: every task counts the same, and only seeds that are paired in all of them count. The column
`regime` has the kind then, since the other task differs: ``after-*``, ``with-*``."""

BOTH, SEEDS, ONE_SEED, NO_PAIRS = "seeds × examples", "seeds", "none (one seed)", "none (no pairs)"
INTERVALS = (BOTH, SEEDS, ONE_SEED, NO_PAIRS)
"""What an interval was resampled over; why there is none."""


class Contrast(NamedTuple):
    """One compared measure."""

    split: str
    measure: str
    unit: str
    scale: Callable[[Any], Any]
    """From the recorded value to one whose differences are averaged."""
    show: Callable[[float], float]
    """From such a difference to the unit of the comparison."""


CONTRASTS = (
    Contrast("test", "score", "points", lambda value: 100.0 * value, float),
    Contrast("test", "loss_gap", "nats", lambda value: value, float),
    Contrast("test", "score_gap", "points", lambda value: value, float),
    Contrast("run", "step_time", "per cent", np.log, lambda ratio: 100.0 * math.expm1(ratio)),
)
"""Scores and gaps as differences; times as log ratios, so that twice and half are equally far from none."""


@dataclass(frozen=True)
class Settings:
    """How the bootstrap is done."""

    baseline: str
    resamples: int
    confidence: float
    seed: int


class Pairs:
    """The runs of one strategy and of the baseline in one block, paired by seed."""

    def __init__(self, strategy: pd.DataFrame, baseline: pd.DataFrame) -> None:
        self.strategy: dict[int, str] = dict(zip(strategy["seed"], strategy["run"], strict=True))
        self.baseline: dict[int, str] = dict(zip(baseline["seed"], baseline["run"], strict=True))
        self.failed_strategy = int((strategy["status"] != "completed").sum())
        self.failed_baseline = int((baseline["status"] != "completed").sum())

    @property
    def seeds(self) -> set[int]:
        """Seeds that either arm was run with."""
        return {*self.strategy, *self.baseline}

    def complete(self, known: set[str]) -> list[int]:
        """Return the seeds of which both runs are among those with a value, sorted."""
        both = self.strategy.keys() & self.baseline.keys()
        return sorted(seed for seed in both if self.strategy[seed] in known and self.baseline[seed] in known)

    def difference(self, values: dict[str, Any], seeds: Sequence[int]) -> Array:
        """Return strategy minus baseline, with the seeds on the last axis."""
        return np.stack([values[self.strategy[seed]] - values[self.baseline[seed]] for seed in seeds], axis=-1)


def _resample_scores(metrics: pd.DataFrame, outcomes: Path, settings: Settings) -> dict[str, Array]:
    """Return, for each completed run, its score on every resample of its block's test examples, in points."""
    scores = values_of(metrics, "test", "score")
    runs = runs_of(metrics)
    found: dict[str, Array] = {}
    for key, block in runs[runs["status"] == "completed"].groupby(BLOCK, sort=False):
        names = list(block["run"])
        hit, weight = read_outcomes(outcomes, names, scores)
        # The task and the number of examples decide the draw, so blocks of one task share it.
        rng = generator(settings.seed, "examples", str(key[0]))
        resampled = 100.0 * resampled_scores(hit, weight, settings.resamples, rng)
        found.update(zip(names, resampled.T, strict=True))
    return found


def _estimate(
    pairs: list[Pairs],
    contrast: Contrast,
    values: dict[str, Any],
    resampled: dict[str, Array] | None,
    settings: Settings,
) -> dict[str, Any]:
    """Compare on one measure; several `pairs` (one for each task) are pooled over the seeds that all of them have."""
    known = set(values)
    complete = [pair.complete(known) for pair in pairs]
    seeds = sorted(set.intersection(*map(set, complete)))
    every = set.union(*(pair.seeds for pair in pairs))
    row = {
        "measure": contrast.measure,
        "unit": contrast.unit,
        "n_seeds": len(seeds),
        "estimate": math.nan,
        "ci_low": math.nan,
        "ci_high": math.nan,
        "interval": NO_PAIRS,
        "n_failed_strategy": sum(pair.failed_strategy for pair in pairs),
        "n_failed_baseline": sum(pair.failed_baseline for pair in pairs),
        "missing_pairs": len(every) * len(pairs) - sum(map(len, complete)),
        "confidence": settings.confidence,
        "resamples": settings.resamples,
    }
    if not seeds:
        return row
    differences = np.mean([pair.difference(values, seeds) for pair in pairs], axis=0)
    row |= {"estimate": contrast.show(differences.mean()), "interval": ONE_SEED}
    if len(seeds) == 1:
        return row
    rng = generator(settings.seed, "seeds", contrast.measure)
    if contrast.measure == "score" and resampled is not None:
        on_resamples = np.mean([pair.difference(resampled, seeds) for pair in pairs], axis=0)
        low, high = interval_over_seeds_and_examples(on_resamples, settings.confidence, rng)
        kind = BOTH
    else:
        low, high = interval_over_seeds(differences, settings.confidence, settings.resamples, rng)
        kind = SEEDS
    return row | {"ci_low": contrast.show(low), "ci_high": contrast.show(high), "interval": kind}


def _paired(runs: pd.DataFrame, baseline: str) -> Iterator[tuple[dict[str, str], list[Pairs]]]:
    """Yield the cells to compare: each strategy in each block, then pooled over the tasks if there are several."""
    for key, block in runs.groupby(BLOCK, sort=False):
        arms = dict(tuple(block.groupby("strategy", sort=False)))
        for strategy, arm in arms.items():
            if strategy != baseline:
                cell = dict(zip([*BLOCK, "strategy"], map(str, (*key, strategy)), strict=True))
                yield cell, [Pairs(arm, arms.get(baseline, block.iloc[:0]))]


def _pooled(cells: list[tuple[dict[str, str], list[Pairs]]]) -> Iterator[tuple[dict[str, str], list[Pairs]]]:
    """Yield each strategy's pairs of all tasks with one kind of regime and one condition, where it has several."""
    groups: dict[tuple[str, ...], list[Pairs]] = {}
    for cell, pairs in cells:
        alike = {**cell, "regime": regime_kind(cell["regime"])}
        groups.setdefault(tuple(alike[name] for name in (*BLOCK[1:], "strategy")), []).extend(pairs)
    for key, pairs in groups.items():
        if len(pairs) > 1:
            yield {"task": POOLED, **dict(zip((*BLOCK[1:], "strategy"), key, strict=True))}, pairs


def compare(metrics: pd.DataFrame, outcomes: Path | None, settings: Settings) -> pd.DataFrame:
    """Compare every strategy with the baseline, by block, and pooled over the tasks of one kind of regime.

    Scores of the same seed are subtracted, and the differences averaged. The interval of the score is a percentile
    interval of a bootstrap over seeds × test examples, in which both arms share the drawn seeds and examples; without
    outcomes, and for the other measures, it is over seeds alone, and the column `interval` says so.

    Parameters
    ----------
    metrics
        As `read_metrics` gives it.
    outcomes
        outcomes.parquet, or None.
    settings
        Baseline, resamples, coverage and seed.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`; empty if there is only the baseline.

    Raises
    ------
    InputError
        If the baseline has no run, or the outcomes do not belong to the metrics.
    """
    runs = runs_of(metrics)
    if settings.baseline not in set(runs["strategy"]):
        known = ", ".join(runs["strategy"].unique())
        raise InputError(f"baseline: expected one of the strategies of the metrics, {known}, got {settings.baseline}")
    resampled = None if outcomes is None else _resample_scores(metrics, outcomes, settings)
    cells = list(_paired(runs, settings.baseline))
    rows = []
    recorded = {item: contrast_values(metrics, item) for item in CONTRASTS}
    for cell, pairs in [*cells, *_pooled(cells)]:
        for contrast in CONTRASTS:
            estimate = _estimate(pairs, contrast, recorded[contrast], resampled, settings)
            rows.append({**cell, "baseline": settings.baseline, **estimate})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def contrast_values(metrics: pd.DataFrame, contrast: Contrast) -> dict[str, float]:
    """Return a measure by run id, on the scale on which differences are taken."""
    values = values_of(metrics, contrast.split, contrast.measure)
    if contrast.scale is np.log and (values <= 0).any():
        raise InputError(f"run {values.index[values <= 0][0]}: expected {contrast.measure} above 0 to take its ratio")
    return dict(contrast.scale(values))


def write_comparisons(comparisons: pd.DataFrame, path: str | Path) -> None:
    """Write comparisons.csv atomically."""
    with atomic(path) as temporary:
        comparisons.to_csv(temporary, index=False, lineterminator="\n")


def read_comparisons(path: str | Path) -> pd.DataFrame:
    """Read comparisons.csv.

    Raises
    ------
    InputError
        Naming the file and, where there is one, the line and the column.
    """
    table = Table(path, COLUMNS)
    for column in (*BLOCK, "strategy", "baseline", "unit"):
        table.parse(column, filled, "text", "str")
    names = [contrast.measure for contrast in CONTRASTS]
    table.parse("measure", one_of(names), f"one of {', '.join(names)}", "str")
    table.parse("interval", one_of(INTERVALS), f"one of {', '.join(INTERVALS)}", "str")
    for column in ("n_seeds", "n_failed_strategy", "n_failed_baseline", "missing_pairs", "resamples"):
        table.parse(column, int, "a whole number", "int64")
    for column in ("estimate", "ci_low", "ci_high", "confidence"):
        table.parse(column, number_or_empty, "a finite number or nothing", "float64")
    frame = table.frame[list(COLUMNS)]
    cell = [*BLOCK, "strategy"]
    if (again := frame.duplicated([*cell, "measure"])).any():
        raise table.refuse(int(again.to_numpy().argmax()), "measure", "each measure of a block and strategy once")
    if (few := frame.groupby(cell, sort=False)["measure"].transform("count") < len(names)).any():
        raise table.refuse(int(few.to_numpy().argmax()), "strategy", f"a row for each of {', '.join(names)}")
    return frame


def compare_files(metrics: Path, outcomes: Path | None, output: Path, settings: Settings) -> None:
    """Read metrics.csv and, if given, outcomes.parquet; write comparisons.csv."""
    write_comparisons(compare(read_metrics(metrics), outcomes, settings), output)
