"""The Brier score of a prediction, of tensors on a card and of arrays alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

T = TypeVar("T", "Tensor", "NDArray[np.float64]")


def brier(squares: T, right: T) -> T:
    """Return the Brier score Σ_k (p_k − 1[k=y])², from 0 to 2, of Σ_k p_k² and p_y (Brier 1950)."""
    return squares - 2 * right + 1
