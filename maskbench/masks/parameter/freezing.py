"""Parameter masks that leave whole blocks of the model as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from maskbench.errors import InputError
from maskbench.masks.base import ParameterMask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.nn import Module, Parameter


class Freeze(ParameterMask):
    """The bottom `layers` layers, and the embeddings if asked, keep their pretrained weights.

    References
    ----------
    Lee, Tang & Lin (2019), What would Elsa do?, section 3.
    """

    kind: Literal["freeze"] = "freeze"
    layers: Annotated[int, Field(ge=0)] = 3
    """Number of frozen layers, counted from the input."""
    embeddings: bool = True
    """Freeze the embeddings, too."""

    def select(self, model: Module) -> Iterable[Parameter]:
        """Return the parameters of the frozen blocks.

        Raises
        ------
        InputError
            If the model has fewer layers than are to be frozen.
        """
        from maskbench.masks.anatomy import embeddings_of, layers_of

        blocks = layers_of(model)
        if self.layers > len(blocks):
            raise InputError(f"freeze: layers is {self.layers}, but the model has {len(blocks)}")
        if self.embeddings:
            yield from embeddings_of(model)
        for block in blocks[: self.layers]:
            yield from block.parameters()
