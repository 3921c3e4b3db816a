"""Input mask that hits all but the beginning of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from maskbench.masks.base import InputMask
from maskbench.masks.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws


class Tail(InputMask):
    """Everything after the first words of each text is hit.

    References
    ----------
    A strategy that the articles under test name: mask all after the first word.
    """

    kind: Literal["tail"] = "tail"
    stackable: ClassVar[bool] = True
    keep: Annotated[int, Field(ge=0)] = 1
    """Number of words at the start of a text that stay."""

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: the tokens of all words after the first `keep` words of their text."""
        from maskbench.masks.shared.words import ordinals

        return ordinals(batch.words) >= self.keep
