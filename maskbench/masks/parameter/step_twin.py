"""The control of a parameter mask: steps as long as its own, without its choice of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from maskbench.masks.base import ParameterMask
from maskbench.masks.shared.gradient import GradientMask
from maskbench.masks.slots import InnerParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.nn import Module

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting

_ACTIVE = ("gate", "updated", "finish", "regularisation")


def _only_selects(mask: ParameterMask) -> bool:
    """Tell whether a mask freezes parameters and does nothing else."""
    return all(getattr(type(mask), hook) is getattr(ParameterMask, hook) for hook in _ACTIVE)


class StepTwin(ParameterMask):
    """All parameters move, by steps that are as long as what another mask would let through of them.

    The optimiser's step Δ over all parameters (the head's included) becomes r Δ with r = ‖M ⊙ Δ‖ / ‖Δ‖, where M is 1
    for what `of` would let move in this update, the head included, and 0 for what it freezes or masks. So every update
    is as long as the part of it that the mask would have let through; gradients stay as they are (not divided by
    `share` as in child-f). It is no copy of another run's steps: child-f's own are somewhat shorter where gradients
    agree from update to update, since AdamW sees most of them as 0. Where `of` would let all move, this is plain
    fine-tuning, bit by bit.

    References
    ----------
    A control of this project; docs/masks.md.
    """

    kind: Literal["step-twin"] = "step-twin"
    stackable: ClassVar[bool] = True
    of: InnerParameter
    """The mask whose steps are matched: one that freezes parameters or masks gradients."""
    _steps: Any = None

    @field_validator("of")
    @classmethod
    def _of_has_a_step(cls, of: ParameterMask) -> ParameterMask:
        if not (isinstance(of, GradientMask) or _only_selects(of)):
            raise ValueError(f"expected of to be a mask that freezes parameters or masks gradients, got {of.kind}")
        return of

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Fit the inner mask, and note what it would freeze."""
        from maskbench.masks.shared.steps import Steps

        self.of.fit(setting, rng)
        self._steps = Steps(setting.model, self.of.select(setting.model))

    def gate(self, gradients: Mapping[str, Tensor], step: int, rng: Draws) -> Mapping[str, Tensor] | None:
        """Keep the weights as they are before the update, and which of them the inner mask would let move."""
        self._steps.before(self.of.moving(step, rng) if isinstance(self.of, GradientMask) else {})
        return None

    def updated(self, model: Module, step: int) -> None:
        """Shorten the optimiser's step, in place, to the length of the part that the inner mask would let through."""
        self._steps.after()
