"""SplitMix64: the function from a counter to 64 random bits that all draws by address rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Words = TypeVar("Words", Tensor, NDArray[np.int64])
    """int64 numbers that wrap modulo 2**64: a tensor, or a NumPy array (a NumPy scalar would warn)."""

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB


def shifted(words: Words, bits: int) -> Words:
    """Shift right without sign extension (the shift of int64 is arithmetic)."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def mixed(words: Words) -> Words:
    """Return 64 random bits for each int64 counter: the finaliser; SplitMix64 counts in steps of `GOLDEN`.

    References
    ----------
    Steele, Lea & Flood (2014), Fast splittable pseudorandom number generators, OOPSLA, figure 16 (mix64variant13).
    """
    words = (words ^ shifted(words, 30)) * _FIRST
    words = (words ^ shifted(words, 27)) * _SECOND
    return words ^ shifted(words, 31)


def wrapped(number: int) -> int:
    """Return a whole number modulo 2**64, as a signed 64-bit integer."""
    return (number + 2**63) % 2**64 - 2**63


def mixed_number(number: int) -> int:
    """Return what `mixed` gives for one counter, as a Python integer: nothing is sent to a device for it."""
    number %= 2**64
    number = (number ^ (number >> 30)) * _FIRST % 2**64
    number = (number ^ (number >> 27)) * _SECOND % 2**64
    return wrapped(number ^ (number >> 31))
