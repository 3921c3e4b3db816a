"""Parameter mask that leaves some layers at their pretrained weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from maskbench.errors import InputError
from maskbench.masks.base import ParameterMask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.nn import Module, Parameter

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class Freeze(ParameterMask):
    """The bottom `layers` layers, and the embeddings if asked, keep their pretrained weights.

    `which: random` freezes as many layers at random places: the control that tells the place from the number.

    References
    ----------
    Lee, Tang & Lin (2019), What would Elsa do? Freezing layers during transformer fine-tuning.
    """

    kind: Literal["freeze"] = "freeze"
    layers: Annotated[int, Field(ge=0)] = 3
    """Number of layers that are frozen, from the input upward."""
    embeddings: bool = True
    """Whether the embeddings are frozen, too."""
    which: Literal["bottom", "top", "random"] = "bottom"
    """Layers next to the input, next to the head, or drawn once by the run's seed."""
    _order: Any = None
    """Layers in the order in which `random` takes them."""

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Draw the order of the layers, so that smaller random subsets are nested."""
        import torch

        from maskbench.models.anatomy import layers_of

        count = len(layers_of(setting.model))
        self._order = torch.randperm(count, generator=rng.generator(0)).tolist()

    def select(self, model: Module) -> Iterable[Parameter]:
        """Return the parameters of the frozen blocks.

        Raises
        ------
        InputError
            If the model has fewer layers than are to be frozen.
        """
        from maskbench.models.anatomy import embeddings_of, layers_of

        blocks = list(layers_of(model))
        if self.layers > len(blocks):
            raise InputError(f"freeze: layers is {self.layers}, but the model has {len(blocks)}")
        if self.which == "top":
            blocks.reverse()
        elif self.which == "random":
            blocks = [blocks[index] for index in self._order]
        if self.embeddings:
            yield from embeddings_of(model)
        for block in blocks[: self.layers]:
            yield from block.parameters()
