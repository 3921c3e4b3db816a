"""What a probe says instead of a number."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskbench.training.forward import Passed


class UnmeasuredError(Exception):
    """A number cannot be measured; the message says why. It is recorded as None, with this as its note."""


def require_finite(passed: Passed) -> Passed:
    """Return a pass over texts, of which all numbers are finite.

    Raises
    ------
    UnmeasuredError
        If one is not.
    """
    for what, finite in zip(("logits", "hidden states"), passed.finite.T, strict=True):
        if not finite.all():
            raise UnmeasuredError(f"the model's {what} are not finite")
    return passed
