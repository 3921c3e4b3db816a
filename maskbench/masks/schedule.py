"""How the rate of an input mask goes over a training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from maskbench.config.block import ConfigBlock, Rate

if TYPE_CHECKING:
    from maskbench.masks.base import InputMask


class Schedule(ConfigBlock):
    """How the rate of an input mask goes over a training: it begins with the mask's own rate.

    References
    ----------
    Ankner et al. (2023), Dynamic masking rate schedules for MLM pretraining (linear decay).
    """

    kind: Literal["constant", "linear", "cyclic"] = "constant"
    """constant: the mask's own rate throughout; linear: from it to `to` at the last update; cyclic: a cosine that
    begins each pass over the text at the mask's own rate and reaches `to` in the middle of the pass."""
    to: Rate = 0.0
    """The rate at the last update (linear), or in the middle of each pass (cyclic)."""

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    def rate(self, start: float, progress: float, passes: float) -> float:
        """Return the rate at a moment of the training.

        Parameters
        ----------
        start
            The mask's own rate.
        progress
            Share of the training's updates that are done, from 0 to 1.
        passes
            How many passes over the text the whole training makes.
        """
        if self.kind == "linear":
            return start + (self.to - start) * progress
        if self.kind == "cyclic":
            return self.to + (start - self.to) * (1 + math.cos(2 * math.pi * progress * passes)) / 2
        return start

    def under(self, mask: InputMask, progress: float, passes: float) -> InputMask:
        """Return the mask as it is at a moment of the training; see `rate`.

        The draws of a mask do not depend on its rate, so a lower rate hits a subset of what a higher one hits.
        """
        if self.kind == "constant":
            return mask
        return mask.model_copy(update={"rate": self.rate(mask.rate, progress, passes)})  # type: ignore[attr-defined]
