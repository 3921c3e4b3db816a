"""The paired bootstrap: over seeds, and over seeds × test examples."""

from __future__ import annotations

import hashlib

import numpy as np
from scipy import stats

from maskbench.analysis.metrics import Array, score_of

_CELLS = 4_000_000
"""Most numbers of a matrix of example counts that are held in memory at once (32 MB)."""


def generator(seed: int, *key: str) -> np.random.Generator:
    """Return the generator of one draw, which depends on the seed and on what is drawn for, and on nothing else.

    So an interval stays the same when other strategies join the study.
    """
    digest = hashlib.sha256("\0".join(key).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])


def resampled_scores(hit: Array, weight: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Score all runs of a block on resampled test examples, the same ones for every run.

    Parameters
    ----------
    hit, weight
        Shape (runs, examples).
    resamples
        Number of resamples.
    rng
        Generator of the draws.

    Returns
    -------
    Array
        Shape (resamples, runs): sum of hits over sum of weights, as fractions.
    """
    examples = hit.shape[1]
    chance = np.full(examples, 1.0 / examples)
    step = max(1, _CELLS // examples)
    parts = []
    for start in range(0, resamples, step):
        # How often each example is drawn says all about a resample, and turns scoring into a matrix product.
        counts = rng.multinomial(examples, chance, size=min(step, resamples - start)).astype(float)
        parts.append(score_of(counts @ hit.T, counts @ weight.T))
    return np.concatenate(parts)


def interval_over_seeds_and_examples(
    differences: Array, confidence: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Resample the seeds of differences that are already resampled over examples.

    Parameters
    ----------
    differences
        Shape (resamples, seeds): the paired difference of each seed on each resample of the examples.
    confidence
        Coverage, such as 0.95.
    rng
        Generator of the draws.

    Returns
    -------
    tuple of float
        Percentile interval of the mean difference.
    """
    resamples, seeds = differences.shape
    counts = rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=resamples)
    means = (counts * differences).sum(axis=1) / seeds
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def interval_over_seeds(
    differences: Array, confidence: float, resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the percentile interval of a mean of paired differences, one for each of at least two seeds."""
    result = stats.bootstrap(
        (differences,), np.mean, n_resamples=resamples, confidence_level=confidence, method="percentile", rng=rng
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
