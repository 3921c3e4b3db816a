"""Child-Tuning-D: a parameter mask that lets the weights move that matter most for the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from maskbench.config.block import Count, Rate
from maskbench.masks.shared.gradient import GradientMask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class ChildD(GradientMask):
    """The `share` of the layers' weights with the largest Fisher information for the task move, the others never.

    One budget for all layers together. Embeddings, pooler and head always move, as in the authors' code, which masks
    the weights of layers alone. `over: each-layer` spends `share` in each layer apart, so that no layer is left out or
    moves as a whole; embeddings, pooler and head are free there, too. `over: all` spends the budget on all pretrained
    weights, as their text can be read: then nearly all of the embeddings are held and much more than `share` of the
    layers moves, since words that the texts do not have carry no information.

    The information is measured once, at the pretrained weights with the fresh head: the mean over training examples
    of the squared gradient of one example's log-likelihood (of all its tags), without dropout and in full precision. In
    joint training it is the mean of both tasks' information.

    The authors' code (AliceMind, ChildTuning) differs: it squares the gradient of a batch's mean loss, clipped tensor
    by tensor, with dropout; and it sets gradients to 0 and no more, so that decay still moves the other weights. Here
    what is held keeps every bit.

    References
    ----------
    After Xu et al. (2021), Raise a Child in Large Language Model, section 2.3 (Child-Tuning-D).
    """

    kind: Literal["child-d"] = "child-d"
    stackable: ClassVar[bool] = True
    fixed: ClassVar[bool] = True
    share: Annotated[Rate, Field(gt=0.0)] = 0.3
    """Share of the weights under the budget (`over`) that move; 1: plain fine-tuning, bit by bit."""
    over: Literal["layers", "each-layer", "all"] = "layers"
    """What the budget is over: the weights of all layers together, all others move (as in the authors' code); those of
    each layer; or all pretrained weights."""
    examples: Count | None = 256
    """Training examples (of each task) that the information is measured on, drawn by the seed; null: all, as theirs."""
    _moving: Any = None

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Measure the information and choose the weights."""
        from maskbench.masks.shared import fisher

        self._moving = {}
        if self.share < 1:
            information = [
                fisher.information(part, fisher.sample(len(part.train), self.examples, rng), layers=self.over != "all")
                for part in setting.parts or (setting,)
            ]
            found = fisher.mean(information)
            model = (setting.parts or (setting,))[0].model
            for group in fisher.by_layer(model, found) if self.over == "each-layer" else [found]:
                self._moving |= fisher.largest(group, self.share)

    def moving(self, step: int, rng: Draws) -> Mapping[str, Tensor]:
        """Return float tensors by name, 1 at the chosen weights and 0 at the others; the same in every update."""
        return self._moving  # type: ignore[no-any-return]

    def gate(self, gradients: Mapping[str, Tensor], step: int, rng: Draws) -> Mapping[str, Tensor] | None:
        """Return the chosen weights; gradients stay as they are, since AdamW moves each weight by its own gradient."""
        return self._moving or None

    def held(self) -> int:
        """Return how many weights were not chosen."""
        return sum(moving.numel() - int(moving.sum()) for moving in self._moving.values())
