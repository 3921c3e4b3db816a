"""Parameter masks that choose weights one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from maskbench.config.block import Rate
from maskbench.masks.base import ParameterMask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from maskbench.masks.draws import Draws


class GradientMask(ParameterMask):
    """A share of the pretrained weights moves; the head always does."""

    share: Annotated[Rate, Field(gt=0.0)] = 0.3
    """Share of the pretrained weights that move; 1: plain fine-tuning, bit by bit."""

    def moving(self, step: int, rng: Draws) -> Mapping[str, Tensor]:
        """Return by name, in the parameter's shape, float 1 where a weight moves in update `step`, else 0.

        The tensors are good until the next call; parameters that are not named move freely.
        """
        raise NotImplementedError
