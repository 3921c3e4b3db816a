"""A head on a summary of the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import AutoModelForSequenceClassification

from maskbench.kinds.head import Head, losses

if TYPE_CHECKING:
    from torch import Tensor


class _Head(Head):
    auto = AutoModelForSequenceClassification

    def reduce(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Return (B, C) log-probabilities and (B,) losses in nats."""
        found = losses(logits, labels)
        return logits.log_softmax(-1), found


PART = _Head()
