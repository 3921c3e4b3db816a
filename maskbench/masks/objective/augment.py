"""Objective that trains on masked copies beside the texts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from maskbench.config.block import Positive
from maskbench.masks.batch import Batch
from maskbench.masks.input.random import Random
from maskbench.masks.shared.copies import MaskedCopy
from maskbench.masks.slots import InnerInput

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class Augment(MaskedCopy):
    """The batch has each text twice, as it is and masked: the loss is the mean of both.

    The compute twin makes the same number of passes without masks: each text twice as it is, the second pass with
    dropout of its own, since two passes with the same dropout would be one. So it separates masks from a second, noisy
    look at each text. (The twin at rate 0 has the same dropout in both passes, and equals plain fine-tuning.)

    References
    ----------
    Wei & Zou (2019), EDA (copies beside the originals, there with words changed in other ways); Longpre, Wang & DuBois
    (2020), How effective is task-agnostic data augmentation for pretrained transformers? (whether they help).
    """

    kind: Literal["augment"] = "augment"
    mask: InnerInput | None = Random()
    """What the copy masks; null: the strategy's own input mask made it, and the extra pass is on the text as it is."""
    weight: Positive = 1.0
    """Weight of the extra pass's loss, relative to that of the task's pass."""
    dropout: Literal["same", "own"] = "same"
    """Dropout of the extra pass: the same as that of the task's pass, or drawn for itself."""
    _loss: Any = None

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Keep the task's loss, and fit the inner mask."""
        super().fit(setting, rng)
        self._loss = setting.loss

    def penalty(self, model: Module, clean: Batch, masked: Batch) -> Tensor:
        """Return the weighted task loss of the extra pass, as its share of the update."""
        from maskbench.channels import Purpose
        from maskbench.masks import passes
        from maskbench.masks.draws import fold_number

        copy = clean if self.mask is None else self._copy(clean)
        if self.dropout == "own":
            copy = replace(copy, noise=fold_number(clean.noise, Purpose.COPY) % 2**63)
        loss: Tensor = self._loss(passes.forward(model, copy), clean.labels, clean.items)
        return self.weight * loss

    def compute_twin(self) -> Self:
        """Return the same number of passes without masks."""
        return self.model_copy(update={"mask": Random(rate=0.0), "dropout": "own"})

    def combine(self, task: Tensor, penalty: Tensor, parts: int) -> Tensor:
        """Return the weighted mean of the task loss and the extra pass's loss, a scalar."""
        return (task + penalty) / (1 + self.weight)
