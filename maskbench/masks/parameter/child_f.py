"""Child-Tuning-F: a parameter mask that draws the weights that move in every update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from maskbench.config.block import Rate
from maskbench.masks.shared.gradient import GradientMask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class ChildF(GradientMask):
    """In every update each pretrained weight moves with probability `share`, drawn anew, by a gradient over `share`.

    The others keep every bit in that update: under AdamW a gradient of 0 alone would not do, since momentum and weight
    decay go on. Probabilities are multiples of 1/256, between 1/256 and 255/256: the nearest to `share` is drawn with,
    and what gradients are divided by (0.3: 77/256, which is 0.3008).

    The authors' code (AliceMind, ChildTuning) differs: it sets gradients to 0 and no more, so that momentum and decay
    still move the other weights, and it draws for the head's weights, too.

    References
    ----------
    After Xu et al. (2021), Raise a Child in Large Language Model, section 2.2 (Child-Tuning-F).
    """

    kind: Literal["child-f"] = "child-f"
    stackable: ClassVar[bool] = True
    share: Annotated[Rate, Field(ge=1 / 256)] = 0.3
    """Share of the pretrained weights that move in an update, at least 1/256; 1: plain fine-tuning, bit by bit."""
    _chance: Any = None

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Allocate the buffers that the draws of every update are written to."""
        from maskbench.masks.shared.chance import Chance
        from maskbench.models.anatomy import pretrained_of

        if self.share < 1:
            shapes = {name: weight.shape for name, weight in pretrained_of(setting.model)}
            self._chance = Chance(shapes, self.share, setting.model.device)

    def moving(self, step: int, rng: Draws) -> Mapping[str, Tensor]:
        """Return by name float 0 or 1 in the parameter's shape, drawn from seed, step, names and shapes alone."""
        return {} if self._chance is None else self._chance.draw(rng, step)

    def gate(self, gradients: Mapping[str, Tensor], step: int, rng: Draws) -> Mapping[str, Tensor] | None:
        """Zero the gradients of the other weights and divide what is left by the share that is drawn."""
        import torch

        moving = self.moving(step, rng)
        scale = 1 / self._chance.probability if moving else 1
        for name in moving.keys() & gradients.keys():
            gradient = gradients[name]
            # one pass does both: the time goes into reading the model's gradients from memory, not into computing
            torch.addcmul(gradient.new_zeros(()), gradient, moving[name], value=scale, out=gradient)
        return moving or None
