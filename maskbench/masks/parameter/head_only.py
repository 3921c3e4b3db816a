"""Parameter mask that leaves the whole pretrained model as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from maskbench.masks.base import ParameterMask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.nn import Module, Parameter


class HeadOnly(ParameterMask):
    """Only the task's head moves: the whole pretrained model, BERT's pooler included, stays as it is.

    A pooler that the pretrained model lacks is fresh, so it belongs to the head.

    References
    ----------
    Alain & Bengio (2017), Understanding intermediate layers using linear classifier probes.
    """

    kind: Literal["head-only"] = "head-only"

    def select(self, model: Module) -> Iterable[Parameter]:
        """Return all pretrained parameters of the model, so that they are frozen."""
        from maskbench.models.anatomy import pretrained_of

        return [parameter for _, parameter in pretrained_of(model)]
