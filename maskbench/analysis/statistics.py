"""The statistics of verdicts: one number for each seed in, estimate, interval, test and verdict out.

All functions take arrays with leading axes, so that one call does one contrast or, in simulations, thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from maskbench.config.science import (
    CONFIDENCE,
    EQUIVALENCE_CONFIDENCE,
    LEVEL,
    MOST_REACH,
    OUTLYING,
    SEEDS_FOR_SKEWNESS,
    SKEWNESS_FACTORS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskbench.analysis.few import Few
    from maskbench.analysis.metrics import Array
    from maskbench.config.contrast import Test

FLIPS = 100_000
"""Sign flips are all done up to this many, and drawn at random beyond it."""
_HELD = 20_000_000
"""Numbers that the permutation test holds in memory at once (160 MB)."""


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and what its variance is made of; fields are scalars or arrays of one shape."""

    estimate: Array
    """Mean of the differences over the seeds."""
    seeds: Array
    """Variance of the mean from the seeds: S²/n, which holds the interaction of seeds and examples."""
    examples: Array
    """Variance of the mean from what test examples do to all seeds alike; 0 if outcomes are not at hand."""
    n: int
    """Number of seeds that have a difference."""
    n_examples: int
    """Number of test examples; 0 if they are not resampled."""
    few: Few | None = None
    """Texts that differ by themselves, of a measure that is a share of texts; None: of others."""
    skewness: Array | float = 0.0
    """Of the seeds' differences; 0 where they are too few to tell."""
    covered: int | None = None
    """How many seeds have the outcomes of their texts, where others lack them; None: all have them, or none."""
    fine_tuning: Array | float = 0.0
    """Of two pretraining recipes, where a seed is one of pretraining: variance of the mean from what fine-tuning seeds
    do to all pretraining seeds alike."""
    n_fine_tuning: int = 0
    """Number of fine-tuning seeds; 0 where a seed is one of fine-tuning itself."""

    @property
    def error(self) -> Array:
        """Standard error of the mean, in the shape of the mean."""
        error: Array = np.sqrt(self.seeds + self.examples + self.fine_tuning)
        return error

    @property
    def df(self) -> Array:
        """Degrees of freedom (Satterthwaite 1946): of the seeds, of the examples, or between them."""
        return degrees(self.seeds, self.examples, self.n, self.n_examples)

    def interval(self, confidence: float | Array) -> tuple[Array, Array]:
        """Return both ends of the interval of the mean, each in the shape of the mean; NaN of one seed.

        The t interval, as far to either side as skewed differences (`stretched`) and few texts (`Few.reach`) need it.
        Between pretraining recipes the part of the fine-tuning seeds has a quantile of its own: they are so few that
        one number of degrees of freedom for all parts would be too large whenever their part looks small by chance.

        Parameters
        ----------
        confidence
            A number, or one for each of the means.
        """
        quantile = stats.t.ppf((1 + np.asarray(confidence)) / 2, self.df)
        sides = stretched(self.skewness, self.n, confidence) if np.any(self.skewness) else (1.0, 1.0)
        down, up = (quantile * np.sqrt(self.seeds * side**2 + self.examples) for side in sides)
        if np.any(self.fine_tuning):
            other = stats.t.ppf((1 + np.asarray(confidence)) / 2, self.n_fine_tuning - 1) ** 2 * self.fine_tuning
            down, up = np.sqrt(down**2 + other), np.sqrt(up**2 + other)
        if self.few is not None:
            least = self.few.reach(confidence)
            down, up = np.maximum(down, least[0]), np.maximum(up, least[1])
        return self.estimate - down, self.estimate + up

    def inner(self) -> tuple[Array, Array]:
        """Return the 90 % interval that equivalence rests on: of shares of texts, at least as wide as the exact one.

        That a difference is small is a statement about what was not seen: no approximation is good enough for it. Both
        ends have the shape of the mean.
        """
        low, high = self.interval(EQUIVALENCE_CONFIDENCE)
        if self.few is None:
            return low, high
        down, up = self.few.exactly(EQUIVALENCE_CONFIDENCE)
        return np.minimum(low, self.estimate - down), np.maximum(high, self.estimate + up)

    def p(self, null: float = 0.0) -> Array:
        """Return two-sided p-values in the shape of the mean: 1 − the confidence at which the interval ends at null."""
        distance = np.abs(self.estimate - null)
        error = np.sqrt(self.seeds + self.examples)
        with np.errstate(divide="ignore", invalid="ignore"):
            student = 2 * stats.t.sf(np.where(distance > 0, distance / error, 0.0), self.df)
        if self.n < 2 or (self.few is None and not np.any(self.skewness) and not np.any(self.fine_tuning)):
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

    Where differences have the skewness γ, the quantiles ±q of the t statistic lie lower by γ (2q² + 1) / (6 √n), up to
    terms of higher order (Hall 1992, On the removal of skewness by transformation, Journal of the Royal Statistical
    Society B). For γ stands a multiple of the skewness of the sample. To the side of the tail the interval reaches that
    much further, but not beyond `MOST_REACH`; to the other side it reaches as far as the t interval.

    Parameters
    ----------
    skewness
        Σ (d − d̄)³ n / ((n − 1)(n − 2) S³), of any shape; what is returned has the same shape.
    n
        Number of seeds.
    confidence
        Of the interval.
    """
    factor = SKEWNESS_FACTORS[max(least for least in SKEWNESS_FACTORS if least <= n)]
    quantile = np.maximum(stats.t.ppf((1 + np.asarray(confidence)) / 2, n - 1), 1e-9)
    further = factor * np.asarray(skewness, dtype=float) * (2 * quantile**2 + 1) / (6 * quantile * np.sqrt(n))
    return np.clip(1 - further, 1.0, MOST_REACH), np.clip(1 + further, 1.0, MOST_REACH)


def skewness_of(differences: Array) -> Array:
    """Return the skewness (...,) of differences (..., seeds); 0 where the seeds are too few or do not vary."""
    n = differences.shape[-1]
    if n < SEEDS_FOR_SKEWNESS:
        return np.zeros(differences.shape[:-1])
    centred = differences - differences.mean(axis=-1, keepdims=True)
    sd = differences.std(axis=-1, ddof=1)
    third = (centred**3).sum(axis=-1) * n / ((n - 1) * (n - 2))
    # what differs by rounding alone has no shape
    varies = sd > 1e-9 * np.abs(differences).max(axis=-1)
    found: Array = np.divide(third, sd**3, out=np.zeros_like(third), where=varies)
    return found


def degrees(seeds: Array, examples: Array, n: int, n_examples: int) -> Array:
    """Return Satterthwaite's degrees of freedom of a sum of two estimated variances, in their shape."""
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
    return float(np.quantile(np.abs(skewness_of(drawn)), CONFIDENCE))


def typical_interval(differences: Array, confidence: float) -> tuple[float, float]:
    """Return the interval of the means that flipped signs do not reject.

    The differences (seeds,) may have any symmetric distribution, whatever its tails.

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
    """Return the probability that a seed is better under the first arm, and both ends of Wilson's (1927) interval.

    Parameters
    ----------
    differences
        Shape (seeds,); one of 0 counts half.
    confidence
        Coverage of the interval.
    """
    share, n = float((np.sign(differences) / 2 + 0.5).mean()), len(differences)
    z2 = stats.norm.ppf((1 + confidence) / 2) ** 2
    middle, half = (share + z2 / (2 * n)) / (1 + z2 / n), np.sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n)
    return share, float(middle - half / (1 + z2 / n)), float(middle + half / (1 + z2 / n))


def outlying(differences: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return (seeds,) bool: which differences (seeds,) lie far from their median.

    Far is more than `OUTLYING` median absolute deviations, which are scaled to the SD of normal differences.

    References
    ----------
    Hampel (1974), The influence curve and its role in robust estimation, Journal of the American Statistical
    Association.
    """
    distance = np.abs(differences - np.median(differences))
    scale = 1.4826 * np.median(distance)
    far: np.ndarray[Any, np.dtype[np.bool_]] = distance > max(OUTLYING * scale, 1e-9 * np.abs(differences).max())
    return far if scale > 0 else np.zeros_like(far)


def unseen(n: int) -> float:
    """Return the rate up to which something may happen, with 95 % confidence, that happened in none of n runs."""
    return float(1 - LEVEL ** (1 / n))


def holm(p: Sequence[float]) -> Array:
    """Return p-values (n,) adjusted for their number (Holm 1979); NaN, where nothing was tested, does not count."""
    values = np.array(p, dtype=float)
    tested = np.isfinite(values)
    if tested.any():
        values[tested] = multipletests(values[tested], method="holm")[1]
    return values


def false_discoveries(p: Sequence[float]) -> Array:
    """Return p-values (n,) adjusted for the share of false discoveries among all rejections; NaN does not count.

    By Benjamini & Yekutieli's method (2001), The control of the false discovery rate in multiple testing under
    dependency, Annals of Statistics: it holds however the tests depend on each other, and claims share runs.
    """
    values = np.array(p, dtype=float)
    tested = np.isfinite(values)
    if tested.any():
        values[tested] = multipletests(values[tested], method="fdr_by")[1]
    return values


def wide(interval: tuple[Array, Array], delta: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return, in the shape of the ends, which intervals have a width: where nothing varied, nothing is shown."""
    wide: np.ndarray[Any, np.dtype[np.bool_]] = interval[1] - interval[0] > 1e-9 * delta
    return wide


def decide(
    p: Array, interval: tuple[Array, Array], inner: tuple[Array, Array], estimate: Array, delta: float, test: Test
) -> Array:
    """Return verdicts, in the order of docs/claims.md: the first that holds.

    Parameters
    ----------
    p
        Adjusted p-values, of the shape of the means; so are the verdicts.
    interval, inner
        Both ends of the 95 % interval, and of the 90 % one (`Spread.inner`) that two one-sided tests rest on
        (Schuirmann 1987); one of no width shows neither equivalence nor that an arm is not inferior.
    estimate, delta
        In one unit.
    test
        superior, non-inferior (the null is −δ, and `p` is of it) or either.
    """
    (low, high), found = interval, p < LEVEL
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
