"""Parameter mask that lets biases alone move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from maskbench.errors import InputError
from maskbench.masks.base import ParameterMask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.nn import Module, Parameter


class BiasOnly(ParameterMask):
    """Only bias terms (those of layer norms included) and the task's head move: BitFit.

    References
    ----------
    Ben Zaken, Goldberg & Ravfogel (2022), BitFit.
    """

    kind: Literal["bias-only"] = "bias-only"

    def select(self, model: Module) -> Iterable[Parameter]:
        """Return the pretrained parameters that are no bias.

        Raises
        ------
        InputError
            If the pretrained model has none (ModernBERT), which would be `head-only`.
        """
        from maskbench.models.anatomy import pretrained_of

        pretrained = list(pretrained_of(model))
        frozen = [parameter for name, parameter in pretrained if not name.endswith("bias")]
        if len(frozen) == len(pretrained):
            raise InputError(f"bias-only: {type(model).__name__} has no bias terms; head-only would be the same")
        return frozen
