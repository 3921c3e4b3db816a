"""Parameter masks that learn which pretrained weights to use, not how to change them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from maskbench.config.block import Positive, Rate
from maskbench.errors import InputError
from maskbench.masks.base import ParameterMask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor
    from torch.nn import Module, Parameter

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class LearnedWeights(ParameterMask):
    """The pretrained weights stay; a learned binary mask takes some out of the upper layers' linear maps.

    A weight is used while its score is above 0, and gradients reach the score as if it were the mask
    (straight-through). The scores are learned by the run's optimiser together with the head. They start evenly spread
    over `spread`, `initial_sparsity` of them below 0. Weight decay draws scores toward 0 and so never turns a mask
    over by itself. XLNet keeps the maps of its attention as bare parameters, not in linear modules: there only the
    feed-forward maps are masked. `apply: false` does nothing at all: there is no work that would leave the model as it
    is.

    `chosen: top` keeps the number of weights that are used in each map, and learns which they are; `chosen: random`
    keeps those of the beginning, which are drawn by the seed, and learns the head alone (its control: random weights of
    exactly the same density). The record says how many are used in the end.

    Zhao et al. mask the pooler and the classifier, too; here the pooler is left as it is, and the head is trained in
    the usual way.

    References
    ----------
    After Zhao et al. (2020), Masking as an Efficient Alternative to Finetuning for Pretrained Language Models; Mallya,
    Davis & Lazebnik (2018), Piggyback; Ramanujan et al. (2020), What's hidden in a randomly weighted neural network?
    (the highest scores, in a fixed number).
    """

    kind: Literal["learned-weights"] = "learned-weights"
    from_layer: Annotated[int, Field(ge=0)] = 2
    """First layer whose weights are masked, counted from 0 at the input."""
    chosen: Literal["score", "top", "random"] = "score"
    """Which weights are used: those with a score above 0, so that their number is learned, too (as published); in each
    map as many as in the beginning, those with the highest scores; or those of the beginning throughout."""
    initial_sparsity: Rate = 0.05
    """Share of these weights that are masked in the beginning; a few per cent are enough to start from."""
    spread: Positive = 0.01
    """Width of the scores in the beginning: against the learning rate, it says how easily a mask turns over."""
    _rng: Any = None
    _notes: Any = ()
    _tops: Any = None
    """The masks that keep their number of ones, looked for once."""

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Keep the draws that the scores start from."""
        self._rng = rng

    def select(self, model: Module) -> Iterable[Parameter]:
        """Mask the weights of the upper layers; returns all pretrained parameters.

        Raises
        ------
        InputError
            If the model has no layer from `from_layer` upward, or no linear modules there.
        """
        from maskbench.masks.shared import binary, reach
        from maskbench.models.anatomy import layers_of, linears_of, pretrained_of

        count = len(layers_of(model))
        if self.from_layer >= count:
            raise InputError(
                f"learned-weights: from_layer is {self.from_layer}, but the model has layers 0 to {count - 1}"
            )
        self._notes = reach.note_on(self.kind, model, self.from_layer)
        frozen = [parameter for _, parameter in pretrained_of(model)]
        linears = list(linears_of(model, self.from_layer))
        if not linears:
            raise InputError(f"learned-weights: {type(model).__name__} has no linear modules in its layers")
        for place, (_, module) in enumerate(linears):
            generator = self._rng.generator(place)
            binary.mask(module, self.initial_sparsity, self.spread, generator, self.chosen)
        return frozen

    def updated(self, model: Module, step: int) -> None:
        """After an update, choose the weights with the highest scores anew."""
        from maskbench.masks.shared import binary

        if self.chosen == "top":
            self._tops = binary.tops(model) if self._tops is None else self._tops
            for one in self._tops:
                one.choose()

    def notes(self) -> list[str]:
        """Say which maps are not masked."""
        return list(self._notes)

    def ending(self, model: Module) -> list[str]:
        """Say how many of the masked maps' weights are used."""
        from maskbench.masks.shared import binary

        used, total = binary.density(model)
        return [f"{self.kind}: {100 * used / total:.2f} % of the {total} weights of masked maps are used"]

    def finish(self, model: Module) -> None:
        """Write the masked weights into the model, zeros where they are masked."""
        from maskbench.masks.shared import binary

        binary.bake(model)

    def ordinary(self, model: Module) -> dict[str, Tensor]:
        """Return the state dict with the masked weights."""
        from maskbench.masks.shared import binary

        return binary.baked(model)
