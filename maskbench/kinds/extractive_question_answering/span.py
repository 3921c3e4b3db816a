"""The label of a window: one whole number at the token where the answer starts, in arrays and tensors alike.

A loss is given logits of padded windows and their labels, nothing else. So the label says all that it has to know: how
many tokens the window has, at which of them the answer starts, and how many more it goes on. One number for each window
also makes the number of labels that of windows, by which losses are averaged.
"""

from __future__ import annotations

from typing import Any

_BITS = 20
_MOST = (1 << _BITS) - 1


def packed(length: int, start: int, end: int) -> int:
    """Return the label of a window.

    Parameters
    ----------
    length
        How many tokens the window has, without padding.
    start, end
        First and last token of the answer, counted from 0; where the window does not hold it both are the token that
        stands for none (data/pairs.py).
    """
    assert 0 <= start <= end < length <= _MOST
    return (length << 2 * _BITS) | (start << _BITS) | (end - start)


def unpacked(label: Any) -> tuple[Any, Any, Any]:
    """Return length, start and end of a label: a number, or an array or a tensor of labels in the same shape."""
    start = (label >> _BITS) & _MOST
    return label >> 2 * _BITS, start, start + (label & _MOST)
