"""The statistics of verdicts: one number for each seed in, estimate, interval, test, verdict and power out.

All functions take arrays with leading axes, so that one call does one contrast or, in simulations, thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maskbench.analysis.metrics import Array
    from maskbench.config.claims import Test

ALPHA = 0.05
POWER = 0.8
FLIPS = 100_000
"""Sign flips are all done up to this many, and drawn at random beyond it."""
_HELD = 20_000_000
"""Numbers that the permutation test holds in memory at once (160 MB)."""
_STUDIES = 8192
"""Studies that power is computed from."""
_FEW = 10
"""Below this many texts that differ, their number does not vary as the normal distribution does."""
_EXACT = 10
"""Up to this many seeds the power of the sign flips is that of the exact test; beyond, that of a t test."""
_DRAWN = 40
"""Up to this many seeds power is computed from differences; beyond, from their mean and variance, without skewness."""
SKEWED = 1.5
"""What the skewness of a sample is multiplied with: small samples of skewed differences look less skewed than they are.
Chosen by simulation (tests/unit/test_right_numbers.py): with it, intervals of normal, exponential and lognormal
differences of ten seeds cover in 97, 96 and 94 %, without the adjustment in 95, 90 and 84 %."""
LEAST_SHAPE = 6
"""Fewer seeds tell nothing about skewness; and no verdict rests on them."""
MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Few:
    """How many texts speak for either arm by themselves, by block: where they are few, no normal bound holds.

    A text speaks for an arm if it moves the mean over seeds by at least half of what a text can. Their numbers are
    binomial, also where they are 0: of E texts, all alike, up to 3/E of all texts may still differ (the rule of three;
    Hanley & Lippman-Hand 1983, If nothing goes wrong, is everything all right?, JAMA).
    """

    ahead: Array
    """Texts that speak for the first arm, shape (..., blocks)."""
    behind: Array
    """Texts that speak against it."""
    texts: Array
    """Number of texts, shape (blocks,)."""
    unit: Array
    """What one text moves the estimate by, shape (blocks,)."""

    def reach(self, confidence: float | Array) -> tuple[Array, Array]:
        """Return how far below and above the estimate an interval reaches at the least, shape (...).

        The rule of three: with this confidence no kind of text occurs more than −log(1 − confidence) times among E that
        is not among them; over blocks, by the squares. Where fewer than ten texts speak for an arm, Jeffreys' limits of
        both shares besides (Brown, Cai & DasGupta 2001, Interval estimation for a binomial proportion, Statistical
        Science), put together as in `exactly`.
        """
        confidence = np.asarray(confidence, dtype=float)
        unseen = -np.log1p(-confidence) * np.sqrt((self.unit**2).sum())
        few = (self.ahead + self.behind).sum(axis=-1) < _FEW
        down, up = self._sides((1 - confidence)[..., None] / 2, 0.5)
        return np.maximum(unseen, np.where(few, down, 0.0)), np.maximum(unseen, np.where(few, up, 0.0))

    def exactly(self, confidence: float) -> tuple[Array, Array]:
        """Return how far below and above the estimate the truth may lie by Clopper & Pearson's (1934) exact limits.

        Those of both shares are put together for their difference, and over blocks, by the squares of the distances
        (Zou & Donner 2008, Construction of confidence limits about effect measures, Statistics in Medicine).
        """
        return self._sides(np.array((1 - confidence) / 2), 0.0)

    def _sides(self, tail: Array, prior: float) -> tuple[Array, Array]:
        (low, high), (below, above) = (self._limits(count, tail, prior) for count in (self.ahead, self.behind))
        down = (self.ahead - low) ** 2 + (above - self.behind) ** 2
        up = (high - self.ahead) ** 2 + (self.behind - below) ** 2
        return np.sqrt((self.unit**2 * down).sum(axis=-1)), np.sqrt((self.unit**2 * up).sum(axis=-1))

    def _limits(self, count: Array, tail: Array, prior: float) -> tuple[Array, Array]:
        """Return limits of an expected number of texts: Jeffreys' with a prior of 1/2, the exact ones with 0."""
        more = 1.0 if prior == 0 else prior
        low = stats.beta.ppf(tail, np.maximum(count, 1 - prior) + prior, self.texts - count + more)
        high = stats.beta.ppf(1 - tail, count + more, np.maximum(self.texts - count, 1 - prior) + prior)
        return (
            self.texts * np.where(count > 0, low, 0.0),
            self.texts * np.where(count < self.texts, high, 1.0),
        )


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and what its variance is made of; fields are scalars or arrays of one shape."""

    estimate: Array
    """Mean over seeds."""
    seeds: Array
    """Variance of the mean from the seeds: S²/n, which holds the interaction of seeds and examples."""
    examples: Array
    """Variance of the mean from what test examples do to all seeds alike; 0 if outcomes are not at hand."""
    n: int
    """Number of seeds."""
    n_examples: int
    """Number of test examples; 0 if they are not resampled."""
    few: Few | None = None
    """Texts that differ by themselves, of a measure that is a share of texts; None: of others."""
    skewness: Array | float = 0.0
    """Of the seeds' differences; 0 where they are too few to tell."""
    covered: int | None = None
    """How many seeds have the outcomes of their texts, where others lack them; None: all have them, or none."""

    @property
    def error(self) -> Array:
        """Standard error."""
        error: Array = np.sqrt(self.seeds + self.examples)
        return error

    @property
    def df(self) -> Array:
        """Degrees of freedom (Satterthwaite 1946): of the seeds, of the examples, or between them."""
        return degrees(self.seeds, self.examples, self.n, self.n_examples)

    def interval(self, confidence: float | Array) -> tuple[Array, Array]:
        """Return the interval of the mean; NaN of one seed.

        The t interval, as far to either side as skewed differences (`stretched`) and few texts (`Few.reach`) need it.

        Parameters
        ----------
        confidence
            A number, or one for each of the means.
        """
        quantile = stats.t.ppf((1 + np.asarray(confidence)) / 2, self.df)
        sides = stretched(self.skewness, self.n, confidence) if np.any(self.skewness) else (1.0, 1.0)
        down, up = (quantile * np.sqrt(self.seeds * side**2 + self.examples) for side in sides)
        if self.few is not None:
            least = self.few.reach(confidence)
            down, up = np.maximum(down, least[0]), np.maximum(up, least[1])
        return self.estimate - down, self.estimate + up

    def inner(self) -> tuple[Array, Array]:
        """Return the 90 % interval that equivalence rests on: of shares of texts, at least as wide as the exact one.

        That a difference is small is a statement about what was not seen: no approximation is good enough for it.
        """
        low, high = self.interval(0.90)
        if self.few is None:
            return low, high
        down, up = self.few.exactly(0.90)
        return np.minimum(low, self.estimate - down), np.maximum(high, self.estimate + up)

    def p(self, null: float = 0.0) -> Array:
        """Return the two-sided p-value of a mean: 1 − the confidence at which the interval ends at the null."""
        distance = np.abs(self.estimate - null)
        with np.errstate(divide="ignore", invalid="ignore"):
            student = 2 * stats.t.sf(np.where(distance > 0, distance / self.error, 0.0), self.df)
        if self.n < 2 or (self.few is None and not np.any(self.skewness)):
            return np.asarray(student)
        low, high = np.log(np.clip(student, 1e-14, 1.0)), np.zeros(np.shape(self.estimate))
        for _ in range(30):  # the interval is no narrower than Student's: halve the range of log p
            middle = (low + high) / 2
            ends = self.interval(-np.expm1(middle))
            outside = (ends[0] > null) | (ends[1] < null)
            low, high = np.where(outside, low, middle), np.where(outside, middle, high)
        return np.exp(high)


def stretched(skewness: Array | float, n: int, confidence: float | Array) -> tuple[Array, Array]:
    """Return how many times as far as the t interval an interval reaches down and up if differences are skewed.

    By the ends that Hall's transformation of the t statistic has (1992, On the removal of skewness by transformation,
    Journal of the Royal Statistical Society B, 54), with 1.5 times the skewness of the sample; never less than 1.

    Parameters
    ----------
    skewness
        Σ (d − d̄)³ n / ((n − 1)(n − 2) S³).
    n
        Number of seeds.
    confidence
        Of the interval.
    """
    skew = SKEWED * np.asarray(skewness, dtype=float)
    skew = np.where(np.abs(skew) < 1e-6, 1e-6, skew)
    quantile = np.maximum(stats.t.ppf((1 + np.asarray(confidence)) / 2, n - 1), 1e-9)

    def end(at: Array) -> Array:
        ends: Array = 3 * np.sqrt(n) * (np.cbrt(1 + skew * (at / np.sqrt(n) - skew / (6 * n))) - 1) / skew
        return ends

    with np.errstate(divide="ignore", invalid="ignore"):
        down, up = end(quantile) / quantile, -end(-quantile) / quantile
    return np.fmax(down, 1.0), np.fmax(up, 1.0)


def skewness_of(differences: Array) -> Array:
    """Return the skewness of differences over the last axis; 0 where they are too few or do not vary."""
    n = differences.shape[-1]
    if n < LEAST_SHAPE:
        return np.zeros(differences.shape[:-1])
    centred = differences - differences.mean(axis=-1, keepdims=True)
    sd = differences.std(axis=-1, ddof=1)
    third = (centred**3).sum(axis=-1) * n / ((n - 1) * (n - 2))
    # what differs by rounding alone has no shape
    varies = sd > 1e-9 * np.abs(differences).max(axis=-1)
    found: Array = np.divide(third, sd**3, out=np.zeros_like(third), where=varies)
    return found


def degrees(seeds: Array, examples: Array, n: int, n_examples: int) -> Array:
    """Return Satterthwaite's degrees of freedom of a sum of two estimated variances."""
    total = np.asarray(seeds + examples, dtype=float)
    parts = seeds**2 / max(n - 1, 1) + (examples**2 / (n_examples - 1) if n_examples > 1 else 0.0)
    df: Array = np.divide(total**2, parts, out=np.full_like(total, max(n - 1, 1)), where=parts > 0)
    return df


def spread(differences: Array, resampled: Array | None = None, n_examples: int = 0, few: Few | None = None) -> Spread:
    """Estimate a mean of paired differences and its variance over seeds × test examples.

    With the variances a of n seeds, b of E examples and e of their interaction, that of the mean is
    a/n + b/E + e/(nE). Resampling seeds gives a/n + e/(nE), resampling examples b/E + e/(nE), resampling both
    a/n + b/E + 3e/(nE) (Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics):
    2 (V_seeds + V_examples) − V_both is what is wanted. The seeds need no drawing: the variance of a resampled mean is
    S²/n, with the factor n/(n − 1) that a bootstrap of few seeds lacks, and V_both = V_examples + E[S²]/n by the law
    of total variance, over resamples of the examples.

    Parameters
    ----------
    differences
        Shape (..., seeds).
    resampled
        The same on resamples of the test examples, shape (resamples, ..., seeds); None: seeds alone.
    n_examples
        Number of test examples.
    few
        Of a share of texts: how many speak for either arm.
    """
    n = differences.shape[-1]
    estimate = differences.mean(axis=-1)
    if n == 1:
        nothing = np.full_like(estimate, np.nan)
        return Spread(estimate, nothing, nothing, n, n_examples, few)
    seeds, skewness = differences.var(axis=-1, ddof=1) / n, skewness_of(differences)
    if resampled is None:
        return Spread(estimate, seeds, np.zeros_like(estimate), n, 0, None, skewness)
    both = resampled.mean(axis=-1).var(axis=0, ddof=1) + resampled.var(axis=-1, ddof=1).mean(axis=0) / n
    # V − V_seeds: below 0 only by chance
    examples = np.maximum(2 * (seeds + resampled.mean(axis=-1).var(axis=0, ddof=1)) - both - seeds, 0.0)
    return Spread(estimate, seeds, examples, n, n_examples, few, skewness)


def sign_flip(differences: Array, rng: np.random.Generator, flips: int = FLIPS) -> Array:
    """Return two-sided p-values of a mean of 0, by flipping the signs of whole seeds.

    Exact where 2^n is at most `flips`; else from that many random flips, the observed one counted (Phipson & Smyth
    2010, Permutation P-values should never be zero).

    Parameters
    ----------
    differences
        Shape (..., seeds).
    """
    n = differences.shape[-1]
    if n == 1:
        return np.ones(differences.shape[:-1])
    batch = max(1, _HELD // differences.size)
    result = stats.permutation_test(
        (differences,),
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=flips,
        batch=batch,
        axis=-1,
        rng=rng,
    )
    p: Array = np.minimum(result.pvalue, 1.0)
    return p


@cache
def usual_skewness(n: int) -> float:
    """Return the skewness that normal differences of n seeds exceed one time in twenty, either way."""
    drawn = np.random.default_rng(n).normal(size=(20_000, n))
    return float(np.quantile(np.abs(skewness_of(drawn)), 0.95))


def typical_interval(differences: Array, confidence: float) -> tuple[float, float]:
    """Return the interval of the means that flipped signs do not reject, of symmetric differences with any tails.

    Its ends are among the means of all subsets of the differences, beyond 16 seeds of random ones (Hartigan 1969,
    Using subsample values as typical values, JASA).
    """
    n = len(differences)
    if n <= 16:
        members = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1
    else:
        members = np.random.default_rng(n).integers(0, 2, size=(2**16 - 1, n))
        members[members.sum(axis=1) == 0] = 1
    means = np.sort(members @ differences / members.sum(axis=1))
    rank = int((1 - confidence) / 2 * (len(means) + 1))
    return (float(means[rank - 1]), float(means[-rank])) if rank else (-np.inf, np.inf)


def improvement(differences: Array, confidence: float) -> tuple[float, float, float]:
    """Return the probability that a seed is better under the first arm, ties halved, with Wilson's (1927) interval."""
    share, n = float((np.sign(differences) / 2 + 0.5).mean()), len(differences)
    z2 = stats.norm.ppf((1 + confidence) / 2) ** 2
    middle, half = (share + z2 / (2 * n)) / (1 + z2 / n), np.sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n)
    return share, float(middle - half / (1 + z2 / n)), float(middle + half / (1 + z2 / n))


def outlying(differences: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which differences lie more than 5 scaled median absolute deviations from the median (Hampel 1974)."""
    distance = np.abs(differences - np.median(differences))
    scale = 1.4826 * np.median(distance)
    far: np.ndarray[Any, np.dtype[np.bool_]] = distance > max(5 * scale, 1e-9 * np.abs(differences).max())
    return far if scale > 0 else np.zeros_like(far)


def unseen(n: int) -> float:
    """Return the rate up to which something may happen, with 95 % confidence, that happened in none of n runs."""
    return float(1 - 0.05 ** (1 / n))


def holm(p: Sequence[float]) -> Array:
    """Return p-values adjusted for their number (Holm 1979); NaN, where nothing was tested, does not count."""
    values = np.array(p, dtype=float)
    tested = np.isfinite(values)
    if tested.any():
        values[tested] = multipletests(values[tested], method="holm")[1]
    return values


def false_discoveries(p: Sequence[float]) -> Array:
    """Return p-values adjusted for the share of false discoveries among all rejections; NaN does not count.

    By Benjamini & Yekutieli's method (2001), The control of the false discovery rate in multiple testing under
    dependency, Annals of Statistics: it holds however the tests depend on each other, and claims share runs.
    """
    values = np.array(p, dtype=float)
    tested = np.isfinite(values)
    if tested.any():
        values[tested] = multipletests(values[tested], method="fdr_by")[1]
    return values


def wide(interval: tuple[Array, Array], delta: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell whether an interval has a width: that nothing varied is no evidence that nothing can."""
    wide: np.ndarray[Any, np.dtype[np.bool_]] = interval[1] - interval[0] > 1e-9 * delta
    return wide


def decide(
    p: Array, interval: tuple[Array, Array], inner: tuple[Array, Array], estimate: Array, delta: float, test: Test
) -> Array:
    """Return verdicts, in the order of docs/claims.md: the first that holds.

    Parameters
    ----------
    p
        Adjusted p-values.
    interval, inner
        The 95 % interval, and the 90 % one (`Spread.inner`) that two one-sided tests rest on (Schuirmann 1987); one of
        no width shows neither equivalence nor that an arm is not inferior.
    estimate, delta
        In one unit.
    test
        superior, non-inferior (the null is −δ, and `p` is of it) or either.
    """
    (low, high), found = interval, p < ALPHA
    if test == "non-inferior":
        yes, no = found & (low > -delta) & wide(inner, delta), found & (high < -delta)
    elif test == "either":
        yes, no = found & ((low > 0) | (high < 0)) & (np.abs(estimate) >= delta), np.zeros_like(found)
    else:
        yes, no = found & (low > 0) & (estimate >= delta), found & (high < 0)
    inside = (inner[0] > -delta) & (inner[1] < delta) & wide(inner, delta)
    return np.select([yes, no, inside], ["supported", "contradicted", "equivalent"], "inconclusive")


def smallest_p(n: int) -> float:
    """Return the smallest p that a sign-flip test of n seeds can give."""
    return max(2.0 ** (1 - n), 2.0 / (FLIPS + 1))


def least_seeds(level: float) -> int:
    """Return the fewest seeds with which a sign-flip test can reject at a level."""
    return next(n for n in range(2, 40) if smallest_p(n) <= level)


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
def _least_typical(n: int, rank: int) -> Array:
    """Return, for each of `_studies`, the mean that an exact sign-flip test just fails to reject.

    The means of all subsets of the differences are the ends of the test's intervals (Hartigan 1969, Using subsample
    values as typical values, JASA).
    """
    members = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1
    means = _studies(n)[2] @ (members / members.sum(axis=1, keepdims=True)).T
    least: Array = np.partition(means, rank - 1, axis=1)[:, rank - 1]
    return least


def _needed(
    seeds: float, examples: float, n: int, n_examples: int, alpha: float, delta: float, reach: float = 0.0
) -> Array | None:
    """Return, for each of many studies, the true effect from which on it is found; None if none can be."""
    level = _attainable(alpha, n)
    if n < 2 or level <= 0:
        return None
    mean, variance, single, last = _studies(n)
    sd = np.sqrt(seeds * n)
    drawn = variance * seeds
    off = sd * mean + np.sqrt(examples) * last  # the estimate less the effect
    df = degrees(drawn, np.full_like(drawn, examples), n, n_examples)
    down = stretched(skewness_of(single), n, 1 - alpha)[0] if LEAST_SHAPE <= n <= _DRAWN else 1.0
    half = np.maximum(stats.t.ppf(1 - alpha / 2, df) * np.sqrt(drawn * down**2 + examples), reach)
    if n <= _EXACT:
        flips = -(sd * _least_typical(n, round(level * 2 ** (n - 1))) + np.sqrt(examples) * last)
    else:
        flips = stats.t.ppf(1 - level / 2, n - 1) * np.sqrt(drawn) - off
    needed: Array = np.maximum(np.maximum(half, delta) - off, flips)
    return needed


def power(effect: float, seeds: float, examples: float, n: int, n_examples: int, alpha: float, delta: float) -> float:
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
    """
    needed = _needed(seeds, examples, n, n_examples, alpha, delta)
    return 0.0 if needed is None else float((needed < effect).mean())


def equivalence(seeds: float, examples: float, n: int, n_examples: int, delta: float) -> float:
    """Return the probability that two arms that are equal are called so: that the 90 % interval is inside ±δ.

    Over the studies that `power` looks at; parameters as there.
    """
    if smallest_p(n) > ALPHA or seeds + examples <= 0:
        return 0.0  # so few, or so much alike, that it shows nothing
    mean, variance, single, last = _studies(n)
    drawn, off = variance * seeds, np.sqrt(seeds * n) * mean + np.sqrt(examples) * last
    quantile = stats.t.ppf(0.95, degrees(drawn, np.full_like(drawn, examples), n, n_examples))
    sides = stretched(skewness_of(single), n, 0.90) if LEAST_SHAPE <= n <= _DRAWN else (1.0, 1.0)
    down, up = (quantile * np.sqrt(drawn * side**2 + examples) for side in sides)
    return float(((off - down > -delta) & (off + up < delta)).mean())


def detectable(spread: Spread, tests: int, delta: float) -> float:
    """Return the smallest effect that is found with 80 % power; NaN if this many seeds can find none."""
    alpha = ALPHA / tests
    reach = 0.0 if spread.few is None else float(spread.few.reach(1 - alpha)[0])
    needed = _needed(float(spread.seeds), float(spread.examples), spread.n, spread.n_examples, alpha, delta, reach)
    return np.nan if needed is None else float(max(np.quantile(needed, POWER), 0.0))


def seeds_needed(
    effect: float, variance: float, examples: float, n_examples: int, tests: int, delta: float = 0.0
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
    n_examples, tests, delta
        As in `power`; `tests` is the size of the family.
    """

    def found(n: int) -> bool:
        return power(effect, variance / n, examples, n, n_examples, ALPHA / tests, delta) >= POWER

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
