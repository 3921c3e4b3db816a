"""Objective that asks for like hidden states of a text and its masked copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from maskbench.config.block import NonNegative
from maskbench.masks.batch import Batch
from maskbench.masks.shared.copies import MaskedCopy

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Consistency(MaskedCopy):
    """Adds λ · MSE between the hidden states of the clean text (no gradient to them) and of the masked one.

    The last hidden states H and H′ of two passes with the same dropout; a mean over real tokens, special ones
    included, and hidden units. With `mask` null, H′ is of the task's own pass, and H of an extra one without gradient;
    with a mask of its own, H is of the task's pass, and H′ of an extra one that is trained.

    References
    ----------
    After Liang et al. (2021), R-Drop, section 2.1 (there two passes over the same text that differ in dropout, and a
    symmetric divergence of their predictions, with gradients to both); Chen & He (2021), Exploring simple Siamese
    representation learning, sections 4.1 and 5 (why H is held still).
    """

    kind: Literal["consistency"] = "consistency"
    weight: NonNegative = 1.0
    """λ, the weight of the distance beside the task loss."""

    def penalty(self, model: Module, clean: Batch, masked: Batch) -> Tensor:
        """Return λ times the mean squared distance of the two passes' hidden states, a scalar."""
        import torch

        from maskbench.masks import passes

        assert masked.hidden is not None
        if self.mask is not None:
            still = masked.hidden.detach()
            moving = passes.forward(model, self._copy(clean), hidden=True).hidden_states[-1]
        else:
            moving = masked.hidden
            with torch.no_grad():
                still = passes.forward(model, clean, hidden=True).hidden_states[-1]
        squares = (moving.float() - still.float()).square().mean(-1)
        return self.weight * torch.where(clean.padding, squares, 0.0).sum() / clean.padding.sum()
