"""The statistics of verdicts: one number for each seed in, estimate, interval, test, verdict and power out.

All functions take arrays with leading axes, so that one call does one contrast or, in simulations, thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskbench.analysis.metrics import Array
    from maskbench.config.claims import Test

ALPHA = 0.05
POWER = 0.8
FLIPS = 100_000
"""Sign flips are all done up to this many, and drawn at random beyond it."""
_HELD = 20_000_000
"""Numbers that the permutation test holds in memory at once (160 MB)."""
_QUANTILES = (np.arange(200) + 0.5) / 200
MOST_SEEDS = 10_000


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

    @property
    def error(self) -> Array:
        """Standard error."""
        error: Array = np.sqrt(self.seeds + self.examples)
        return error

    @property
    def df(self) -> Array:
        """Degrees of freedom (Satterthwaite 1946): of the seeds, of the examples, or between them."""
        return degrees(self.seeds, self.examples, self.n, self.n_examples)

    def interval(self, confidence: float) -> tuple[Array, Array]:
        """Return the t interval of the mean; NaN with one seed."""
        half = stats.t.ppf((1 + confidence) / 2, self.df) * self.error
        return self.estimate - half, self.estimate + half


def degrees(seeds: Array, examples: Array, n: int, n_examples: int) -> Array:
    """Return Satterthwaite's degrees of freedom of a sum of two estimated variances."""
    total = np.asarray(seeds + examples, dtype=float)
    parts = seeds**2 / max(n - 1, 1) + (examples**2 / (n_examples - 1) if n_examples > 1 else 0.0)
    df: Array = np.divide(total**2, parts, out=np.full_like(total, max(n - 1, 1)), where=parts > 0)
    return df


def spread(differences: Array, resampled: Array | None = None, n_examples: int = 0) -> Spread:
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
    """
    n = differences.shape[-1]
    estimate = differences.mean(axis=-1)
    if n == 1:
        nothing = np.full_like(estimate, np.nan)
        return Spread(estimate, nothing, nothing, n, n_examples)
    seeds = differences.var(axis=-1, ddof=1) / n
    if resampled is None:
        return Spread(estimate, seeds, np.zeros_like(estimate), n, 0)
    both = resampled.mean(axis=-1).var(axis=0, ddof=1) + resampled.var(axis=-1, ddof=1).mean(axis=0) / n
    # V − V_seeds: below 0 only by chance
    examples = np.maximum(2 * (seeds + resampled.mean(axis=-1).var(axis=0, ddof=1)) - both - seeds, 0.0)
    return Spread(estimate, seeds, examples, n, n_examples)


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


def holm(p: Sequence[float]) -> Array:
    """Return p-values adjusted for their number (Holm 1979); NaN, where nothing was tested, does not count."""
    values = np.array(p, dtype=float)
    tested = np.isfinite(values)
    if tested.any():
        values[tested] = multipletests(values[tested], method="holm")[1]
    return values


def decide(
    p: Array, interval: tuple[Array, Array], inner: tuple[Array, Array], estimate: Array, delta: float, test: Test
) -> Array:
    """Return verdicts, in the order of docs/claims.md: the first that holds.

    Parameters
    ----------
    p
        Adjusted p-values.
    interval, inner
        The 95 % interval, and the 90 % one that two one-sided tests rest on (Schuirmann 1987).
    estimate, delta
        In one unit.
    test
        superior, non-inferior (the null is −δ, and `p` is of it) or either.
    """
    (low, high), found = interval, p < ALPHA
    if test == "non-inferior":
        yes, no = found & (low > -delta), found & (high < -delta)
    elif test == "either":
        yes, no = found & ((low > 0) | (high < 0)) & (np.abs(estimate) >= delta), np.zeros_like(found)
    else:
        yes, no = found & (low > 0) & (estimate >= delta), found & (high < 0)
    inside = (inner[0] > -delta) & (inner[1] < delta)
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


def power(effect: float, seeds: float, examples: float, n: int, n_examples: int, alpha: float, delta: float) -> float:
    """Return the probability that a true effect is found: significant, interval above 0, estimate at least δ.

    The estimate is normal around the effect; the variance over seeds that the rule uses is itself estimated (χ² with
    n − 1 degrees of freedom), and is averaged over. The sign-flip test is taken as a t test at the largest level that
    it can have.

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
    level = _attainable(alpha, n)
    if n < 2 or level <= 0:
        return 0.0
    drawn = seeds * stats.chi2.ppf(_QUANTILES, n - 1) / (n - 1)
    total = drawn + examples
    df = degrees(drawn, np.full_like(drawn, examples), n, n_examples)
    test = stats.t.ppf(1 - level / 2, n - 1) * np.sqrt(drawn)
    needed = np.maximum(np.maximum(test, stats.t.ppf(1 - ALPHA / 2, df) * np.sqrt(total)), delta)
    error = np.sqrt(seeds + examples)
    return float(stats.norm.cdf((effect - needed) / error).mean()) if error > 0 else float(effect > delta)


def detectable(spread: Spread, tests: int, delta: float) -> float:
    """Return the smallest effect that is found with 80 % power; NaN if this many seeds can find none."""
    alpha = ALPHA / tests
    seeds, examples, n = float(spread.seeds), float(spread.examples), spread.n
    if n < 2 or _attainable(alpha, n) <= 0:
        return np.nan
    low, high = 0.0, max(delta, float(spread.error))
    while power(high, seeds, examples, n, spread.n_examples, alpha, delta) < POWER:
        low, high = high, 2 * high or 1.0
    for _ in range(20):
        middle = (low + high) / 2
        enough = power(middle, seeds, examples, n, spread.n_examples, alpha, delta) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


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

    if not found(MOST_SEEDS):
        return None
    low, high = 1, 2
    while not found(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high
