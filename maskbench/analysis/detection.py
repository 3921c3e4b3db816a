"""Power: what effects, and what equalities, a test of so many seeds finds, and how many seeds find them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from maskbench.analysis.statistics import Spread, degrees, skewness_of, smallest_p, stretched
from maskbench.channels import Fixed
from maskbench.config.science import EQUIVALENCE_CONFIDENCE, LEVEL, POWER, SEEDS_FOR_SKEWNESS

if TYPE_CHECKING:
    from collections.abc import Callable

    from maskbench.analysis.metrics import Array

_STUDIES = 8192
"""Studies that power is computed from."""
_EXACT = 10
"""Up to this many seeds the power of the sign flips is that of the exact test; beyond, that of a t test."""
_DRAWN = 40
"""Up to this many seeds power is computed from differences; beyond, from their mean and variance, without skewness."""
MOST_SEEDS = 10_000


class FineTuning(NamedTuple):
    """What fine-tuning seeds add to a mean over pretraining seeds, which more of these do not lower."""

    variance: float = 0.0
    """Of the mean; 0 where a seed is one of fine-tuning itself."""
    seeds: int = 0
    """How many of them tell it."""


NOT_SHARED = FineTuning()
"""Contrasts of strategies: a seed is one of fine-tuning."""


def _attainable(alpha: float, n: int) -> float:
    """Return the largest level up to `alpha` that a test of n seeds can have."""
    step = smallest_p(n)
    return float(np.floor(alpha / step + 1e-9) * step)


@cache
def _studies(n: int) -> tuple[Array, Array, Array, Array]:
    """Return many studies of n standard normal differences: their mean, variance and the differences, and a last draw.

    The last one is for the test examples. From a low-discrepancy sequence, so that a few thousand are enough; the
    differences are empty above `_DRAWN` seeds, where mean and variance are drawn by themselves.
    """
    dimensions = n + 1 if n <= _DRAWN else 3
    points = stats.qmc.Sobol(dimensions, rng=np.random.default_rng(n)).random(_STUDIES)
    points = np.clip(points, 1e-12, 1 - 1e-12)
    if n > _DRAWN:
        normal = stats.norm.ppf(points[:, [0, 2]])
        return normal[:, 0] / np.sqrt(n), stats.chi2.ppf(points[:, 1], n - 1) / (n - 1), np.empty(0), normal[:, 1]
    drawn = stats.norm.ppf(points)
    return drawn[:, :n].mean(axis=1), drawn[:, :n].var(axis=1, ddof=1), drawn[:, :n], drawn[:, n]


@cache
def _skewness(n: int) -> Array:
    """Return the skewness of each of `_studies`; a search for a number of seeds asks for it again and again."""
    return skewness_of(_studies(n)[2])


@cache
def _least_typical(n: int, rank: int) -> Array:
    """Return, for each of `_studies`, the mean that an exact sign-flip test just fails to reject.

    The means of all subsets of the differences are the ends of the test's intervals (Hartigan 1969, Using subsample
    values as typical values, JASA).
    """
    members = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1
    means = _studies(n)[2] @ (members / members.sum(axis=1, keepdims=True)).T
    least: Array = np.partition(means, rank - 1, axis=1)[:, rank - 1]
    return least


@cache
def _fine_tuned(seeds: int) -> tuple[Array, Array]:
    """Return, for each of `_studies`, what standard normal fine-tuning seeds add to the mean, and their variance."""
    points = np.clip(
        stats.qmc.Sobol(2, rng=np.random.default_rng([seeds, Fixed.FINE_TUNING])).random(_STUDIES), 1e-12, 1 - 1e-12
    )
    df = max(seeds - 1, 1)
    return stats.norm.ppf(points[:, 0]), stats.chi2.ppf(points[:, 1], df) / df


def _needed(
    seeds: float,
    examples: float,
    n: int,
    n_examples: int,
    alpha: float,
    delta: float,
    reach: float = 0.0,
    fine_tuning: FineTuning = NOT_SHARED,
) -> Array | None:
    """Return, for each of many studies, the true effect from which on it is found; None if none can be."""
    level = _attainable(alpha, n)
    if n < 2 or level <= 0:
        return None
    mean, variance, _, last = _studies(n)
    sd = np.sqrt(seeds * n)
    drawn = variance * seeds
    shared = np.sqrt(examples) * last
    if fine_tuning.variance:
        added, varied = _fine_tuned(fine_tuning.seeds)
        shared = shared + np.sqrt(fine_tuning.variance) * added
    off = sd * mean + shared  # the estimate less the effect
    df = degrees(drawn, np.full_like(drawn, examples), n, n_examples)
    down = stretched(_skewness(n), n, 1 - alpha)[0] if SEEDS_FOR_SKEWNESS <= n <= _DRAWN else 1.0
    half = stats.t.ppf(1 - alpha / 2, df) * np.sqrt(drawn * down**2 + examples)
    if fine_tuning.variance:
        wide = stats.t.ppf(1 - alpha / 2, fine_tuning.seeds - 1) ** 2 * fine_tuning.variance * varied
        half = np.sqrt(half**2 + wide)
    half = np.maximum(half, reach)
    if n <= _EXACT:
        flips = -(sd * _least_typical(n, round(level * 2 ** (n - 1))) + shared)
    else:
        flips = stats.t.ppf(1 - level / 2, n - 1) * np.sqrt(drawn) - off
    needed: Array = np.maximum(np.maximum(half, delta) - off, flips)
    return needed


def power(
    effect: float,
    seeds: float,
    examples: float,
    n: int,
    n_examples: int,
    alpha: float,
    delta: float,
    fine_tuning: FineTuning = NOT_SHARED,
) -> float:
    """Return the probability that a true effect is found: both p-values and the interval, estimate at least δ.

    Over studies whose differences are normal around the effect: their mean, and the variance that the rule estimates
    from them, vary. Up to ten seeds the sign-flip test is the exact one; beyond, it is taken as a t test at the
    largest level that it can have.

    Parameters
    ----------
    effect
        True difference, above 0.
    seeds, examples
        The two parts of the variance of the mean.
    n, n_examples
        Number of seeds and test examples.
    alpha
        Level of the test: 5 % over the number of tests in the family, the worst case of Holm's method.
    delta
        Least estimate; 0: significance alone.
    fine_tuning
        Between pretraining recipes, what their fine-tuning seeds add.
    """
    needed = _needed(seeds, examples, n, n_examples, alpha, delta, fine_tuning=fine_tuning)
    return 0.0 if needed is None else float((needed < effect).mean())


def equivalence(
    seeds: float, examples: float, n: int, n_examples: int, delta: float, fine_tuning: FineTuning = NOT_SHARED
) -> float:
    """Return the probability that two arms that are equal are called so: that the 90 % interval is inside ±δ.

    Over the studies that `power` looks at; parameters as there.
    """
    if smallest_p(n) > LEVEL or seeds + examples + fine_tuning.variance <= 0:
        return 0.0  # so few, or so much alike, that it shows nothing
    mean, variance, _, last = _studies(n)
    drawn, off = variance * seeds, np.sqrt(seeds * n) * mean + np.sqrt(examples) * last
    quantile = stats.t.ppf(1 - LEVEL, degrees(drawn, np.full_like(drawn, examples), n, n_examples))
    sides = stretched(_skewness(n), n, EQUIVALENCE_CONFIDENCE) if SEEDS_FOR_SKEWNESS <= n <= _DRAWN else (1.0, 1.0)
    down, up = (quantile * np.sqrt(drawn * side**2 + examples) for side in sides)
    if fine_tuning.variance:
        added, varied = _fine_tuned(fine_tuning.seeds)
        off = off + np.sqrt(fine_tuning.variance) * added
        other = stats.t.ppf(1 - LEVEL, fine_tuning.seeds - 1) ** 2 * fine_tuning.variance * varied
        down, up = np.sqrt(down**2 + other), np.sqrt(up**2 + other)
    return float(((off - down > -delta) & (off + up < delta)).mean())


def detectable(spread: Spread, tests: int, delta: float) -> float:
    """Return the smallest effect that is found with 80 % power; NaN if this many seeds can find none."""
    alpha = LEVEL / tests
    reach = 0.0 if spread.few is None else float(spread.few.reach(1 - alpha)[0])
    added = FineTuning(float(spread.fine_tuning), spread.n_fine_tuning)
    needed = _needed(
        float(spread.seeds), float(spread.examples), spread.n, spread.n_examples, alpha, delta, reach, added
    )
    return np.nan if needed is None else float(max(np.quantile(needed, POWER), 0.0))


def seeds_needed(
    effect: float,
    variance: float,
    examples: float,
    n_examples: int,
    tests: int,
    delta: float = 0.0,
    fine_tuning: FineTuning = NOT_SHARED,
) -> int | None:
    """Return how many seeds find an effect with 80 % power; None if no number up to 10,000 does.

    Parameters
    ----------
    effect
        True difference, above 0.
    variance
        Variance of a single seed's difference, S².
    examples
        Variance from the test examples, which more seeds do not lower.
    n_examples, tests, delta, fine_tuning
        As in `power`; `tests` is the size of the family.
    """

    def found(n: int) -> bool:
        return power(effect, variance / n, examples, n, n_examples, LEVEL / tests, delta, fine_tuning) >= POWER

    return fewest_seeds(found)


def fewest_seeds(enough: Callable[[int], bool]) -> int | None:
    """Return the least number of seeds from which on something holds; None if it does not at `MOST_SEEDS`."""
    if not enough(MOST_SEEDS):
        return None
    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
