"""The attention mask of the articles' formula, which leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from maskbench.masks.base import AttentionMask, Form, Need
from maskbench.masks.batch import Batch
from maskbench.masks.slots import InnerAttention

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.nn import Module

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class Multiplicative(AttentionMask):
    """Scores of hidden pairs become 0 before the softmax, as in softmax(QKᵀ/√d ⊙ M)V: an exhibit, which leaks.

    A score of 0 is no small one: what it hides keeps exp(0) of the mass. Padding is left out properly.

    References
    ----------
    The introductory article's formula; the right one adds -inf: Vaswani et al. (2017), Attention is all you need,
    section 3.2.3.
    """

    form: ClassVar[Form] = "multiplicative"
    kind: Literal["multiplicative"] = "multiplicative"
    of: InnerAttention
    """The attention mask that gives M."""

    @model_validator(mode="after")
    def _inner_is_plain(self) -> Self:
        if self.of.at != "train" or not self.of.apply or self.of.form != "additive":
            raise ValueError("of: expected an additive mask without at and apply, which belong to the outer one")
        return self

    def attend(self, batch: Batch, rng: Draws) -> Tensor | None:
        """Return M."""
        return self.of.attend(batch, rng)

    def needs(self) -> frozenset[Need]:
        """Return what the inner mask needs."""
        return self.of.needs()

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Fit the inner mask."""
        self.of.fit(setting, rng)

    def modules(self) -> Mapping[str, Module]:
        """Return the inner mask's modules."""
        return self.of.modules()

    def state(self) -> dict[str, Any]:
        """Return the inner mask's state."""
        return self.of.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the inner mask."""
        self.of.restore(state)
