"""Input masks that are made of another one, whose places they look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, get_args

from pydantic import model_validator

from maskbench.masks.base import InputMask, Need
from maskbench.masks.slots import InnerInput

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class OfAnother(InputMask):
    """An input mask with another one inside, which it fits, feeds with losses, and keeps the state of."""

    of: InnerInput
    """The other mask, whose places are looked at."""

    @model_validator(mode="before")
    @classmethod
    def _replaces_as_the_other(cls, value: Any) -> Any:
        """Take over the replacement, unless one is given."""
        if not isinstance(value, dict) or "replacement" in value:
            return value
        of = value.get("of")
        replacement = of.get("replacement") if isinstance(of, dict) else getattr(of, "replacement", None)
        shared = get_args(InputMask.model_fields["replacement"].annotation)
        return value | {"replacement": replacement} if replacement in shared else value

    @model_validator(mode="after")
    def _other_says_where(self) -> Self:
        if type(self.of).where is InputMask.where:
            raise ValueError(f"{self.kind}: expected a mask that says where it hits, got {self.of.kind}")
        return self

    def stacks(self) -> bool:
        """Tell whether the other mask can be in a stack."""
        return self.of.stacks()

    def needs(self) -> frozenset[Need]:
        """Return what the other mask needs."""
        return self.of.needs()

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Fit the other mask, too."""
        super().fit(setting, rng)
        self.of.fit(setting, rng)

    def observe(self, loss: Tensor) -> None:
        """Pass the task loss on to the other mask."""
        self.of.observe(loss)

    def modules(self) -> Mapping[str, Module]:
        """Return the other mask's modules."""
        return self.of.modules()

    def state(self) -> dict[str, Any]:
        """Return the other mask's state."""
        return self.of.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Give the other mask the state that `state` returned."""
        self.of.restore(state)
