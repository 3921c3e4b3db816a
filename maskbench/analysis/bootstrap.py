"""Resamples of test examples that all runs share, and the generators of everything that is drawn."""

from __future__ import annotations

import hashlib

import numpy as np

from maskbench.analysis.metrics import Array, score_of

_CELLS = 4_000_000
"""Most numbers of a matrix of example counts that are held in memory at once (32 MB)."""


def generator(seed: int, *key: str) -> np.random.Generator:
    """Return the generator of one draw, which depends on the seed and on what is drawn for, and on nothing else.

    So an interval stays the same when other strategies join the study.
    """
    digest = hashlib.sha256("\0".join(key).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])


def resampled_sums(hit: Array, weight: Array, resamples: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Sum what examples contribute, for all runs of a block on resampled examples, the same ones for every run.

    Parameters
    ----------
    hit, weight
        Shape (runs, examples); documents in the place of examples where texts come in documents.
    resamples
        Number of resamples.
    rng
        Generator of the draws.

    Returns
    -------
    tuple
        Sums of hits and of weights, both of shape (resamples, runs).
    """
    examples = hit.shape[1]
    chance = np.full(examples, 1.0 / examples)
    step = max(1, _CELLS // examples)
    hits, weights = [], []
    for start in range(0, resamples, step):
        # How often each example is drawn says all about a resample, and turns summing into a matrix product.
        counts = rng.multinomial(examples, chance, size=min(step, resamples - start)).astype(float)
        hits.append(counts @ hit.T)
        weights.append(counts @ weight.T)
    return np.concatenate(hits), np.concatenate(weights)


def resampled_scores(hit: Array, weight: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Score all runs of a block on resampled test examples: sum of hits over sum of weights, as `resampled_sums`.

    Returns
    -------
    Array
        Shape (resamples, runs), fractions.
    """
    return score_of(*resampled_sums(hit, weight, resamples, rng))
