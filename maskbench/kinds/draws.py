"""Draws that make variants of a task: seeded by what they are for, never by a strategy or by the seed of a run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from maskbench import splitmix
from maskbench.channels import Fixed, Shift

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Whole = NDArray[np.int64]


def generator(*purpose: str) -> np.random.Generator:
    """Return a generator for one purpose, such as a condition and a split."""
    digest = hashlib.sha256("\0".join([str(int(Fixed.VARIANTS)), *purpose]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


def other(values: Whole, classes: int, rng: np.random.Generator) -> Whole:
    """Return (N,) for each value (N,) another of the classes 0 ... classes - 1, drawn uniformly."""
    return (values + rng.integers(1, classes, len(values))) % classes


def flip(values: Whole, classes: int, rate: float, rng: np.random.Generator) -> Whole:
    """Return the values (n,) with exactly round(rate · n) of them replaced by another class; nested over rates."""
    hit = rng.permutation(len(values))[: round(rate * len(values))]
    flipped = values.copy()
    flipped[hit] = other(values, classes, rng)[hit]
    return flipped


def stratified(labels: Whole, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return (N,) bool: exactly `count` rows, of each label in its proportion (± one row); nested over counts."""
    order = rng.permutation(len(labels))
    grouped = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    rank = np.arange(len(labels)) - (np.cumsum(sizes) - sizes)[labels[grouped]]
    turn = np.argsort((rank + 0.5) / sizes[labels[grouped]], kind="stable")
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[grouped[turn[:count]]] = True
    return chosen


def keys(purpose: str, rows: Iterable[tuple[int, str]]) -> NDArray[np.uint64]:
    """Return (N,) a 64-bit key for each row (example, text), which depends on the purpose and the row alone."""
    digests = (
        hashlib.blake2b(f"{purpose}\0{example}\0{text}".encode(), digest_size=8).digest() for example, text in rows
    )
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def uniform(keys: NDArray[np.uint64], places: Whole, channel: Shift) -> NDArray[np.float64]:
    """Return (N,) uniform numbers in [0, 1), each a function of key (N,), place (N,) and channel alone."""
    counters: Whole = keys.view(np.int64) + (places * 4 + channel + 1) * splitmix.GOLDEN
    drawn: NDArray[np.float64] = splitmix.shifted(splitmix.mixed(counters), 11).astype(np.float64)
    return drawn * 2.0**-53
