"""Measures computed from several runs: of the same cell under other seeds, of the baseline, of the task alone.

A number that cannot be computed is None: a partner is missing or failed, or was not measured. A number that has no
meaning for a run (forgetting without an earlier task) is left out.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maskbench.analysis.metrics import BLOCK, learned_nothing, regime_kind
from maskbench.config.analysis import Analysis
from maskbench.config.conditions import CLEAN
from maskbench.config.measures import measure
from maskbench.config.science import WIDEST_STEP
from maskbench.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


class Point(NamedTuple):
    """What was measured after some updates."""

    step: int
    value: float


@dataclass(frozen=True)
class RunSummary:
    """What other runs are measured against."""

    run: str
    task: str
    model: str
    strategy: str
    regime: str
    condition: str
    train_size: str
    seed: int
    completed: bool
    score: float | None = None
    """On the test split, a fraction."""
    majority_score: float | None = None
    step_time: float | None = None
    peak_memory: float | None = None
    machine: str | None = None
    """Device, its name, the number of threads and of cells in its stack; None if they were not recorded."""
    stack: int = 0
    """How many cells were trained in one stack; 0 if it was trained alone."""
    device: str | None = None
    """Kind of device, a processor or the card's name, and the precision; None if they were not recorded."""
    history: Sequence[Point] = ()
    """Validation score at each evaluation, in the order of the updates."""
    trajectory: dict[str, Sequence[Point]] = field(default_factory=dict)
    """What each measure that has a value at matched score was at each evaluation; one never measured is missing."""
    attributions: dict[int, Sequence[float]] = field(default_factory=dict)
    """By test example, how much each of its words adds to the answer; empty if that was not measured."""

    @property
    def block(self) -> tuple[str, ...]:
        """The run's block: only strategy and seed differ in it."""
        return tuple(getattr(self, name) for name in BLOCK)

    @property
    def failed(self) -> bool | None:
        """Whether the run did not complete, or learned nothing (`learned_nothing`); None if that is not known."""
        if not self.completed:
            return True
        if self.score is None or self.majority_score is None:
            return None
        return bool(learned_nothing(self.score, self.majority_score))


class Value(NamedTuple):
    """A derived number of one run."""

    run: str
    measure: str
    value: float | None


Predictions = Callable[[str], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
"""From a run id to its test examples, sorted, and a code of each prediction: equal codes are equal answers."""

Keep = Callable[[str, np.ndarray[Any, Any], np.ndarray[Any, Any]], None]
"""Takes a run id, its test examples, and for each the share of other seeds that answer otherwise."""

MATCHED: float = Analysis.model_fields["matched_score"].default
"""Share of the way from the majority class's score to the baseline's best at which all are compared, by default."""


def _groups(runs: Sequence[RunSummary], key: Callable[[RunSummary], Any]) -> dict[Any, list[RunSummary]]:
    groups: dict[Any, list[RunSummary]] = defaultdict(list)
    for run in runs:
        groups[key(run)].append(run)
    return groups


def _cells(runs: Sequence[RunSummary]) -> Iterator[list[RunSummary]]:
    """Yield the completed runs of each cell, which differ in the seed alone."""
    yield from _groups([run for run in runs if run.completed], lambda run: (*run.block, run.strategy)).values()


def negative_transfer(runs: Sequence[RunSummary]) -> Iterator[Value]:
    """Yield, for each joint run, what the score lost by the other task: 100 · (score alone − score together), points.

    Alone is the run of the regime `single` on clean data with the same task, model, strategy, train size and seed, on
    the same kind of device.

    References
    ----------
    Wang et al. (2019), Characterizing and Avoiding Negative Transfer, CVPR (there as a difference of risks).
    """

    def partner(run: RunSummary) -> tuple[Any, ...]:
        return (run.task, run.model, run.strategy, run.train_size, run.seed, run.device)

    alone = {
        partner(run): run.score
        for run in runs
        if run.completed and run.regime == "single" and run.condition == CLEAN.name
    }
    for run in runs:
        if run.completed and regime_kind(run.regime) == "with-*":
            score = alone.get(partner(run))
            lost = None if score is None or run.score is None else 100.0 * (score - run.score)
            yield Value(run.run, "negative_transfer", lost)


def score_sd(runs: Sequence[RunSummary]) -> Iterator[Value]:
    """Yield the SD (n − 1) of the score over the completed seeds of a cell, in points, at each of its completed runs.

    None with one completed seed.

    References
    ----------
    Dodge et al. (2020), Fine-Tuning Pretrained Language Models: Weight Initializations, Data Orders, and Early
    Stopping; Mosbach et al. (2021), On the Stability of Fine-tuning BERT, ICLR.
    """
    for cell in _cells(runs):
        scores = [100.0 * run.score for run in cell if run.score is not None]
        spread = statistics.stdev(scores) if len(scores) > 1 else None
        yield from (Value(run.run, "score_sd", spread) for run in cell)


def failed(runs: Sequence[RunSummary]) -> Iterator[Value]:
    """Yield 1 for a run that did not complete or whose score is hardly above that of the majority class, else 0.

    Hardly above is at most 5 % of the way to a score of 1 (`learned_nothing`).

    None for a completed run that does not tell the score of the majority class.

    References
    ----------
    Mosbach et al. (2021), On the Stability of Fine-tuning BERT, ICLR (failed runs).
    """
    for run in runs:
        yield Value(run.run, "failed", None if run.failed is None else float(run.failed))


def disagreement(
    runs: Sequence[RunSummary], predictions: Predictions, folder: Path, keep: Keep | None = None
) -> Iterator[Value]:
    """Yield how often a run and the other completed seeds of its cell answer differently, the mean over those seeds.

    An answer is the class of a text, or all the tags of a sentence; the share is of the test examples. None with one
    completed seed. `keep` is given what each example contributes.

    Raises
    ------
    InputError
        If two seeds of a cell were not tested on the same examples.

    References
    ----------
    Milani Fard et al. (2016), Launch and Iterate: Reducing Prediction Churn, NeurIPS (churn of two models).
    """
    for cell in _cells(runs):
        if len(cell) == 1:
            yield Value(cell[0].run, "disagreement", None)
            continue
        found = [predictions(run.run) for run in cell]
        for run, (examples, _) in zip(cell, found, strict=True):
            if not np.array_equal(examples, found[0][0]):
                raise InputError(
                    f"{folder / run.run / 'predictions.parquet'}: expected the test examples of {cell[0].run}; "
                    "delete both runs and train them again"
                )
        codes = np.stack([code for _, code in found])
        for index, run in enumerate(cell):
            shares = (np.delete(codes, index, axis=0) != codes[index]).mean(axis=0)
            if keep is not None:
                keep(run.run, found[0][0], shares)
            yield Value(run.run, "disagreement", float(shares.mean()))


def overheads(runs: Sequence[RunSummary], baseline: str) -> Iterator[Value]:
    """Yield time per update and peak memory over those of the baseline's run of the same block and seed, as ratios.

    1 for the baseline itself; None where the two ran on machines of two kinds.

    References
    ----------
    This project.
    """
    base = {(run.block, run.seed): run for run in runs if run.completed and run.strategy == baseline}
    for run in runs:
        if run.completed:
            other = base.get((run.block, run.seed))
            other = other if other and other.machine == run.machine else None
            yield Value(run.run, "step_overhead", _ratio(run.step_time, other.step_time if other else None))
            yield Value(run.run, "memory_overhead", _ratio(run.peak_memory, other.peak_memory if other else None))


def machines(runs: Sequence[RunSummary]) -> Iterator[Value]:
    """Yield numbers for the kind of machine, and of device, of each run that tells it: equal numbers, equal kinds.

    Of cells of stacks also how many cells these had.
    """
    yield from (Value(run.run, "stack", float(run.stack)) for run in runs if run.stack)
    for name in ("machine", "device"):
        kinds: dict[str, int] = {}
        for run in runs:
            if (kind := getattr(run, name)) is not None:
                yield Value(run.run, name, float(kinds.setdefault(kind, len(kinds) + 1)))


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _crossing(history: Sequence[Point], level: float) -> int | None:
    """Return the index of the first evaluation at which a score is there; None if it never is."""
    return next((index for index, point in enumerate(history) if point.value >= level), None)


def first_reached(history: Sequence[Point], level: float) -> float | None:
    """Return the number of updates after which a score is first reached, linear between two evaluations.

    None if it never was, or was there at the first evaluation already: nothing is known of the time before.
    """
    index = _crossing(history, level)
    if not index:
        return None
    before, point = history[index - 1], history[index]
    return before.step + (level - before.value) / (point.value - before.value) * (point.step - before.step)


def side_of(history: Sequence[Point], level: float) -> int:
    """Say whether the evaluations show when a score was reached: 0 yes, 1 it never was, −1 they are too few.

    There are too few if the first evaluation already has the score, or if the number of updates grows by more than the
    factor `WIDEST_STEP` between the two evaluations around it.
    """
    index = _crossing(history, level)
    if index is None:
        return 1
    return -1 if index == 0 or history[index].step > WIDEST_STEP * history[index - 1].step else 0


def value_at(points: Sequence[Point], step: float) -> float | None:
    """Return a measure after `step` updates, linear between two evaluations; None outside of what was measured."""
    if not points or not points[0].step <= step <= points[-1].step:
        return None
    return float(np.interp(step, [point.step for point in points], [point.value for point in points]))


def matched_level(run: RunSummary, share: float = MATCHED) -> float | None:
    """Return the score at which strategies are compared with a run of the baseline; None if it learned nothing.

    It lies a share of the way from the majority class's score to the run's best validation score. Nearer to the best
    one the curve is flat: there, a point more or less at its end decides how long it took, and not how fast it was.
    """
    if run.failed is not False or run.majority_score is None or not run.history:
        return None
    best = max(point.value for point in run.history)
    return run.majority_score + share * (best - run.majority_score) if best > run.majority_score else None


def at_matched_score(runs: Sequence[RunSummary], baseline: str, share: float = MATCHED) -> Iterator[Value]:
    """Yield what learning as much as the baseline cost: updates, and interference when a common score is reached.

    Within a block and seed, the matched score is that of `matched_level` for the baseline's run on the same kind of
    device, so that no other strategy of the study, however weak, can move it. Along its own history (linear between
    evaluations) each strategy first reaches it after `steps_to_score` updates, and what was measured along the training
    is read off there, linear again.

    What was not seen is not known: with too few evaluations to see when the score was reached, and where it never was,
    `matched_censored` is −1 or 1 (`side_of`) and the numbers are None. Where the baseline failed there is no matched
    score, and all are None. Runs that did not complete, and those without a validation score, have no row here.

    References
    ----------
    This project; after Biderman et al. (2024), LoRA Learns Less and Forgets Less, TMLR, who plot forgetting against
    what was learned.
    """
    for group in _groups(runs, lambda run: (run.block, run.seed)).values():
        levels = {run.device: matched_level(run, share) for run in group if run.strategy == baseline}
        for run in (run for run in group if run.completed and run.history):
            level = levels.get(run.device)
            side = None if level is None else side_of(run.history, level)
            step = first_reached(run.history, level) if level is not None and side == 0 else None
            yield Value(run.run, "matched_score", level)
            yield Value(run.run, "matched_censored", None if side is None else float(side))
            yield Value(run.run, "steps_to_score", step)
            for name, points in run.trajectory.items():
                matched = measure(name).matched
                assert matched is not None
                yield Value(run.run, matched, None if step is None else value_at(points, step))


def derive(
    runs: Sequence[RunSummary],
    baseline: str,
    predictions: Predictions,
    folder: Path,
    keep: Keep | None = None,
    *,
    share: float = MATCHED,
) -> Iterator[Value]:
    """Yield all derived measures of a study.

    Parameters
    ----------
    runs
        All runs, failed ones too.
    baseline
        The strategy that costs are compared with, and whose score the others are matched with.
    predictions
        Reads the predictions of a completed run.
    folder
        Where they are, ``<run>/predictions.parquet``: for messages.
    keep
        Takes what test examples contribute to the disagreement.
    share
        Where the matched score lies (`matched_level`).
    """
    return chain(
        failed(runs),
        score_sd(runs),
        disagreement(runs, predictions, folder, keep),
        negative_transfer(runs),
        overheads(runs, baseline),
        machines(runs),
        at_matched_score(runs, baseline, share),
    )
