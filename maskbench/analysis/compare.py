"""Seed-paired comparison of every strategy with the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench.analysis import statistics
from maskbench.analysis.findings import BOTH, SEEDS
from maskbench.analysis.metrics import (
    BLOCK,
    Array,
    CheckedTable,
    filled,
    number_or_empty,
    one_of,
    read_metrics,
    regime_kind,
    write_csv,
)
from maskbench.analysis.outcomes import Outcomes
from maskbench.analysis.rates import FOLDER, at_rate
from maskbench.analysis.values import Scale, Values
from maskbench.config.measures import shown_in
from maskbench.errors import InputError
from maskbench.io.files import atomic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

COMPARISON_COLUMNS = (
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

ALL_TASKS = "(all tasks)"
"""In the column `task`: every task counts the same, and only seeds that are paired in all of them count. The column
`regime` has the kind then, since the other task differs: ``after-*``, ``with-*``."""

ONE_SEED, NO_PAIRS = "none (one seed)", "none (no pairs)"
SOME_LACK = "seeds (some runs lack outcomes)"
INTERVALS = (BOTH, SEEDS, SOME_LACK, ONE_SEED, NO_PAIRS)
"""What the variance behind an interval is over; why there is none."""


@dataclass(frozen=True)
class Settings:
    """How the bootstrap is done."""

    baseline: str
    resamples: int
    confidence: float
    seed: int


class Pairs:
    """The runs of one strategy and of the baseline in one block, paired by seed.

    Seeds that one of them alone was to be run with are left out; a run that failed is there all the same.
    """

    def __init__(self, strategy: pd.DataFrame, baseline: pd.DataFrame) -> None:
        strategy, baseline = (
            one[one["seed"].isin(other["seed"])] for one, other in ((strategy, baseline), (baseline, strategy))
        )
        self.strategy: dict[int, str] = dict(zip(strategy["seed"], strategy["run"], strict=True))
        self.baseline: dict[int, str] = dict(zip(baseline["seed"], baseline["run"], strict=True))
        self.failed_strategy = int((strategy["status"] != "completed").sum())
        self.failed_baseline = int((baseline["status"] != "completed").sum())

    @property
    def seeds(self) -> set[int]:
        """Seeds that both were run with."""
        return set(self.strategy)

    def complete(self, known: Collection[str], places: dict[str, float]) -> list[int]:
        """Return the seeds of which both runs are among those with a value, and on one kind of machine, sorted.

        `places` has the kind of machine or device of each run (`Values.where`); runs that are not in it are taken to be
        on the same kind.
        """
        pairs = {seed: (self.strategy[seed], self.baseline[seed]) for seed in self.seeds}
        return sorted(
            seed
            for seed, pair in pairs.items()
            if all(run in known for run in pair) and len({places.get(run, math.nan) for run in pair}) == 1
        )

    def difference(self, values: dict[str, Any], seeds: Sequence[int]) -> Array:
        """Return (..., seeds) strategy minus baseline, of values (...) by run id."""
        return np.stack([values[self.strategy[seed]] - values[self.baseline[seed]] for seed in seeds], axis=-1)

    def terms(self, seeds: Sequence[int]) -> list[tuple[str, float]]:
        """Return the runs behind the mean difference over seeds, each with its weight."""
        share = 1.0 / len(seeds)
        return [
            (runs[seed], sign * share) for runs, sign in ((self.strategy, 1.0), (self.baseline, -1.0)) for seed in seeds
        ]


def _estimate(
    pairs: list[Pairs],
    name: str,
    values: dict[str, float],
    resampled: dict[str, Array],
    outcomes: Outcomes | None,
    places: dict[str, float],
    settings: Settings,
) -> dict[str, Any]:
    """Compare on one measure; several `pairs` (one for each task) are pooled over the seeds that all of them have."""
    over = BOTH if resampled.keys() >= values.keys() else SOME_LACK if resampled else SEEDS
    if over != BOTH:
        resampled = {}  # if one run lacks its outcomes, all intervals of the measure are over seeds alone
    scale, known = Scale(name, directed=False), values.keys()
    complete = [pair.complete(known, places) for pair in pairs]
    seeds = sorted(set.intersection(*map(set, complete)))
    row = {
        "measure": name,
        "unit": scale.unit,
        "n_seeds": len(seeds),
        "estimate": math.nan,
        "ci_low": math.nan,
        "ci_high": math.nan,
        "interval": NO_PAIRS,
        "n_failed_strategy": sum(pair.failed_strategy for pair in pairs),
        "n_failed_baseline": sum(pair.failed_baseline for pair in pairs),
        "missing_pairs": sum(len(pair.seeds) for pair in pairs) - sum(map(len, complete)),
        "confidence": settings.confidence,
        "resamples": settings.resamples,
    }
    if not seeds:
        return row
    differences = np.mean([pair.difference(values, seeds) for pair in pairs], axis=0)
    drawn = np.mean([pair.difference(resampled, seeds) for pair in pairs], axis=0) if resampled else None
    examples = outcomes.examples[name] if outcomes and resampled else 0
    few = None
    if outcomes and resampled:
        few = outcomes.few(name, [(1.0 / len(pairs), pair.terms(seeds)) for pair in pairs])
    spread = statistics.spread(differences, drawn, examples, few)
    row |= {"estimate": scale.show(float(spread.estimate)), "interval": ONE_SEED}
    if len(seeds) == 1:
        return row
    low, high = (scale.show(float(end)) for end in spread.interval(settings.confidence))
    return row | {"ci_low": low, "ci_high": high, "interval": over}


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
            yield {"task": ALL_TASKS, **dict(zip((*BLOCK[1:], "strategy"), key, strict=True))}, pairs


def compare(metrics: pd.DataFrame, outcomes: Path | None, settings: Settings) -> pd.DataFrame:
    """Compare every strategy with the baseline, by block, and pooled over the tasks of one kind of regime.

    Values of the same seed are subtracted, and the differences averaged; times are compared as ratios, on the log
    scale. Runs on different kinds of device are not compared, and times only on one kind of machine. The intervals are
    those of the verdicts (`statistics.spread`): over seeds × texts; without outcomes, and for times, over seeds alone,
    and the column `interval` says so. A run without the outcomes of a measure takes the texts out of all intervals of
    the measure, which the column says, too.

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
        The columns `COMPARISON_COLUMNS`; empty if there is only the baseline.

    Raises
    ------
    InputError
        If the baseline has no run, or the outcomes do not belong to the metrics.
    """
    values = Values(metrics)
    runs = values.runs
    if settings.baseline not in set(runs["strategy"]):
        known = ", ".join(runs["strategy"].unique())
        raise InputError(f"baseline: expected one of the strategies of the metrics, {known}, got {settings.baseline}")
    scales = {name: Scale(name, directed=False).of(values.of(name)) for name in shown_in("comparisons")}
    recorded = {name: {str(run): value for run, value in found.items()} for name, found in scales.items()}
    read = Outcomes(outcomes, settings.resamples, settings.seed, values.kinds) if outcomes else None
    resampled = {
        name: read.resampled(name, runs.loc[found.index], found, runs) if read else {} for name, found in scales.items()
    }
    places = {name: {str(run): kind for run, kind in values.where(name).items()} for name in scales}
    cells = list(_paired(runs, settings.baseline))
    rows = []
    for cell, pairs in [*cells, *_pooled(cells)]:
        for name in scales:
            estimate = _estimate(pairs, name, recorded[name], resampled[name], read, places[name], settings)
            rows.append({**cell, "baseline": settings.baseline, **estimate})
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))


def write_comparisons(comparisons: pd.DataFrame, path: str | Path) -> None:
    """Write the table to comparisons.csv; the file is either complete or absent."""
    with atomic(path) as temporary:
        write_csv(comparisons, temporary)


def read_comparisons(path: str | Path) -> pd.DataFrame:
    """Read comparisons.csv.

    Raises
    ------
    InputError
        Naming the file and, where there is one, the line and the column.
    """
    table = CheckedTable(path, COMPARISON_COLUMNS)
    for column in (*BLOCK, "strategy", "baseline", "unit"):
        table.parse(column, filled, "text", "str")
    compared = shown_in("comparisons")
    table.parse("measure", one_of(compared), f"one of {', '.join(compared)}", "str")
    table.parse("interval", one_of(INTERVALS), f"one of {', '.join(INTERVALS)}", "str")
    for column in ("n_seeds", "n_failed_strategy", "n_failed_baseline", "missing_pairs", "resamples"):
        table.parse(column, int, "a whole number", "int64")
    for column in ("estimate", "ci_low", "ci_high", "confidence"):
        table.parse(column, number_or_empty, "a finite number or nothing", "float64")
    frame = table.frame[list(COMPARISON_COLUMNS)]
    cell = [*BLOCK, "strategy"]
    if (again := frame.duplicated([*cell, "measure"])).any():
        raise table.refuse(int(again.to_numpy().argmax()), "measure", "each measure of a block and strategy once")
    if (few := frame.groupby(cell, sort=False)["measure"].transform("count") < len(compared)).any():
        raise table.refuse(int(few.to_numpy().argmax()), "strategy", f"a row for each of {', '.join(compared)}")
    return frame


def compare_files(
    metrics: Path, outcomes: Path | None, output: Path, settings: Settings, *, tuned: bool = False
) -> None:
    """Read metrics.csv and, if given, outcomes.parquet; write comparisons.csv.

    Runs at tuned learning rates are compared with the baseline at its own, in a file of the folder `tuning`; `tuned`
    writes that file also where there are no such runs yet.
    """
    numbers = read_metrics(metrics)
    write_comparisons(compare(at_rate(numbers, "shared"), outcomes, settings), output)
    again, path = at_rate(numbers, "tuned"), metrics.parent / FOLDER / "analysis" / output.name
    if len(again):
        write_comparisons(compare(again, outcomes, settings), path)
    elif tuned:
        write_comparisons(pd.DataFrame(columns=list(COMPARISON_COLUMNS)), path)
