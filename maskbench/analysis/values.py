"""The numbers of a study, found by measure, and the scales on which they are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench.analysis.metrics import BLOCK, SPLIT_VALUES, kinds_of, learned_nothing, regime_kind, runs_of
from maskbench.config.conditions import Condition
from maskbench.config.contrast import RATIOS, Arm, unit_of
from maskbench.config.measures import Home, measure
from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

SPLIT_ORDER = ("test", "run", *(split for split in SPLIT_VALUES if split not in ("test", "run")))
"""Where a measure is looked for, in this order."""


@dataclass(frozen=True)
class Scale:
    """How values of a measure become numbers whose differences are averaged, and back."""

    name: str
    directed: bool = True
    """Whether above is better, whichever way the measure goes."""

    @property
    def unit(self) -> str:
        """Unit in which differences are reported."""
        return unit_of(self.name)

    @property
    def ratio(self) -> bool:
        """Whether it is a log scale."""
        return measure(self.name).unit in RATIOS

    @property
    def factor(self) -> float:
        """What a value is multiplied with: 100 turns fractions into points, −1 makes more of it better."""
        entry = measure(self.name)
        sign = -1.0 if self.directed and entry.better == "lower" else 1.0
        return sign * (100.0 if entry.unit == "fraction" else 1.0)

    def of(self, values: pd.Series[float]) -> pd.Series[float]:
        """Return values on the scale on which differences are taken."""
        if self.ratio:
            if measure(self.name).unit == "ratio":
                values = values.where(values != 0)  # weights that did not move: `gather` says so
            if (values <= 0).any():
                raise InputError(f"{self.name}: expected values above 0 to take ratios, got {values.min()}")
            values = values.map(math.log)
        return self.factor * values

    def show(self, difference: float) -> float:
        """Return a difference in its unit."""
        return 100.0 * float(np.expm1(difference)) if self.ratio else float(difference)

    def hide(self, shown: float) -> float:
        """Return a difference that is given in its unit, on the scale."""
        return float(np.log1p(shown / 100.0)) if self.ratio else shown


class Values:
    """The numbers of a study, found by measure.

    Parameters
    ----------
    metrics
        As `read_metrics` gives it.
    train_size
        The only train size of contrasts that are not over train sizes, as metrics.csv has it; None: all.
    """

    def __init__(self, metrics: pd.DataFrame, train_size: str | None = None) -> None:
        self.train_size = train_size
        self.runs = runs_of(metrics).set_index("run", drop=False)
        self.runs["kind"] = self.runs["regime"].map({name: regime_kind(name) for name in self.runs["regime"].unique()})
        completed = metrics[(metrics["status"] == "completed") | (metrics["measure"] == "failed")]
        self._rows = {
            str(name): frame
            for name, frame in completed[["run", "split", "measure", "value"]].groupby(
                "measure", sort=False, observed=True
            )
        }
        self.kinds = kinds_of(metrics)
        """The kind of each task, in the order of the file; empty text if it is not known."""
        self._found: dict[str, pd.Series[float]] = {}

    @cached_property
    def collapsed(self) -> set[str]:
        """Completed runs that learned nothing."""
        score = self.of("score")
        return set(score.index[learned_nothing(score, self.of("majority_score").reindex(score.index))])

    @cached_property
    def failed(self) -> set[str]:
        """Runs that did not complete, or learned nothing: those whose measure `failed` is 1 (`derived.failed`)."""
        return {*self.runs.index[self.runs["status"] != "completed"], *self.collapsed}

    def where(self, name: str) -> pd.Series[float]:
        """Return a number by run that is equal for runs which may be compared on a measure, as far as they tell it.

        It is the kind of device, of times and memory the kind of machine.
        """
        return self.of("machine" if measure(name).of_machine else "device")

    def censored(self, name: str) -> pd.Series[float]:
        """Return a number for each run that has no value at the matched score.

        It is −1 where the evaluations are too few to show when the score was reached, 1 where it never was.
        """
        found = self.of("matched_censored")
        return found[found != 0] if measure(name).at_matched_score else found.iloc[:0]

    def of(self, name: str) -> pd.Series[float]:
        """Return a measure by run, as it is compared: what rests on pairs of seeds becomes one number for each seed."""
        found = self.recorded(name)
        if measure(name).of != "pairs":
            return found
        spread = self.spread_out(name, {str(run): np.float64(value) for run, value in found.items()})
        return pd.Series({run: float(value) for run, value in spread.items()}, dtype="float64")

    def spread_out(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        """Return values by run; of a measure of pairs of seeds, each run's share in the mean over all pairs.

        The mean over the pairs of n seeds is a U-statistic: a run's mean over its n − 1 pairs varies about half as much
        as what the run adds to the whole, since a pair's other seed counts in it, too. The jackknife's pseudo-value,
        U + 2 (n − 1)/(n − 2) · (value − U), has the right variance (Arvesen 1969, Jackknifing U-statistics, Annals of
        Mathematical Statistics). A cell of fewer than three seeds has none.
        """
        if measure(name).of != "pairs":
            return values
        cells = self.runs.loc[list(values)].groupby([*BLOCK, "strategy"], sort=False)["run"]
        found: dict[str, Any] = {}
        for _, cell in cells:
            if (n := len(cell)) > 2:
                mean = sum(values[run] for run in cell) / n
                found |= {run: mean + 2 * (n - 1) / (n - 2) * (values[run] - mean) for run in cell}
        return found

    def recorded(self, name: str) -> pd.Series[float]:
        """Return a measure by run; where it has parts and no number for all of them, it is their mean."""
        if name not in self._found:
            whole = self._exactly(name)
            parts = [self._exactly(part) for part in self._rows if part.startswith(f"{name}:")]
            if parts:
                # the mean over the parts that the run's record has; an empty one makes it empty
                rows = pd.concat(parts)
                mean = rows.groupby(level=0, sort=False).mean().drop(rows.index[rows.isna()].unique())
                whole = whole.dropna().combine_first(mean)
            self._found[name] = whole.dropna()
        return self._found[name]

    def _exactly(self, name: str) -> pd.Series[float]:
        """Return a measure by run, of the first split that has it; empty values stay."""
        rows = self._rows.get(name)
        if rows is None:
            return pd.Series(dtype="float64")
        split = next(split for split in SPLIT_ORDER if (rows["split"] == split).any())
        return rows[rows["split"] == split].set_index("run")["value"]

    def select(self, arm: Arm, home: Home, tasks: Iterable[str]) -> pd.DataFrame:
        """Return the runs of an arm; what it leaves open is decided by where the measure is at home."""
        kind, condition = place(arm, home)
        runs = self.runs
        names = [name for name in runs["strategy"].unique() if fnmatchcase(name, arm.strategy)]
        wanted = runs["strategy"].isin(names) & (runs["kind"] == kind) & runs["task"].isin(list(tasks))
        if arm.model is not None:
            wanted &= runs["recipe"] == arm.model
        conditions = [name for name in runs["condition"].unique() if fits(name, condition)]
        return runs[wanted & runs["condition"].isin(conditions)]


def at_home(home: Home) -> tuple[str, str]:
    """Return the kind of regime and the condition of the runs that a measure is about."""
    return ("single", home) if home in ("cue", "noise") else (home, "clean")


def place(arm: Arm, home: Home) -> tuple[str, str]:
    """Return the kind of regime and the condition of an arm's runs."""
    regime, condition = at_home(home) if arm.condition in (None, "clean") else ("single", arm.condition)
    return arm.regime or regime, arm.condition or condition


def fits(name: str, wanted: str) -> bool:
    """Tell whether the condition of a run is one of the wanted: a kind, or one with its rate."""
    if wanted in ("clean", "cue", "noise"):
        return name.partition("-")[0] == wanted
    return name == Condition.model_validate(wanted).name
