"""Resamples of test examples that all runs share, and the generators of everything that is drawn."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from maskbench.kinds.score import ratio

if TYPE_CHECKING:
    from maskbench.analysis.metrics import Array

_CELLS = 4_000_000
"""Most numbers of a matrix of example counts that are held in memory at once (32 MB)."""


def generator(seed: int, *key: str) -> np.random.Generator:
    """Return the generator of one draw, which depends on the seed and on what is drawn for, and on nothing else.

    So an interval stays the same when other strategies join the study.
    """
    digest = hashlib.sha256("\0".join(key).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])


def resampled_sums(contributions: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Sum what examples contribute, for all runs of a block on resampled examples, the same ones for every run.

    Parameters
    ----------
    contributions
        Shape (k, runs, examples): what each example adds to each of k sums; documents in the place of examples where
        texts come in documents.
    resamples
        Number of resamples.
    rng
        Generator of the draws.

    Returns
    -------
    Array
        Shape (k, resamples, runs).
    """
    examples = contributions.shape[2]
    chance = np.full(examples, 1.0 / examples)
    step = max(1, _CELLS // examples)
    found: list[list[Array]] = [[] for _ in contributions]
    for start in range(0, resamples, step):
        # A resample is given by how often each example is drawn, so its sums are a matrix product.
        counts = rng.multinomial(examples, chance, size=min(step, resamples - start)).astype(float)
        for sums, one in zip(found, contributions, strict=True):
            sums.append(counts @ one.T)
    return np.stack([np.concatenate(sums) for sums in found])


def resampled_scores(hit: Array, weight: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Score all runs of a block on resampled test examples: sum of hits over sum of weights, as `resampled_sums`.

    Parameters
    ----------
    hit, weight
        Shape (runs, examples).

    Returns
    -------
    Array
        Shape (resamples, runs), fractions.
    """
    return ratio(*resampled_sums(np.stack([hit, weight]), resamples, rng))
