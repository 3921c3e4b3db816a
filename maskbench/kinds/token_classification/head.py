"""A head at each token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import AutoModelForTokenClassification

from maskbench.kinds.brier import brier
from maskbench.kinds.encoding import IGNORED
from maskbench.kinds.head import Head, losses

if TYPE_CHECKING:
    from torch import Tensor


class _Head(Head):
    auto = AutoModelForTokenClassification

    def reduce(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Return, all (B, T): classes, losses in nats and Brier scores (both 0 without a label), and probabilities."""
        found = losses(logits, labels)
        probabilities = logits.softmax(-1)
        labelled = labels != IGNORED
        right = probabilities.gather(-1, labels.where(labelled, 0)[..., None])[..., 0]
        briers = brier(probabilities.square().sum(-1), right).where(labelled, 0.0)
        confidences, classes = probabilities.max(-1)
        return classes, found, briers, confidences


PART = _Head()
