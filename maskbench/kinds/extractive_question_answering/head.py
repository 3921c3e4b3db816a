"""Two outputs at each token: whether the answer starts there, and whether it ends there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForTokenClassification

from maskbench.kinds.encoding import IGNORED
from maskbench.kinds.extractive_question_answering.span import unpacked
from maskbench.kinds.head import Head, count

if TYPE_CHECKING:
    from torch import Tensor


class _Head(Head):
    # the linear map of transformers' heads for question answering, with dropout before it: so all that is known of
    # models with a head at each token holds, and logits are in one tensor
    auto = AutoModelForTokenClassification

    def loss(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Return the loss over all windows of an update, in nats: the mean cross-entropy of start and end.

        Both are probabilities over the tokens of a window, of the question and special ones, too, without padding.

        References
        ----------
        Devlin et al. (2019), BERT (the sum of both; here half of it, as in transformers).
        """
        logits = outputs["logits"].float()
        place = (labels != IGNORED).long().argmax(1, keepdim=True)
        length, start, end = unpacked(labels.gather(1, place))
        first = place - start  # of the window, 0 unless padding is on the left
        column = torch.arange(labels.shape[1], device=labels.device)
        padding = (column < first) | (column >= first + length)
        scores = logits.masked_fill(padding[..., None], -torch.inf)
        sides = [
            cross_entropy(scores[..., side], (first + target)[:, 0], reduction="sum")
            for side, target in enumerate((start, end))
        ]
        items = count(labels) if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        return torch.stack(sides).mean() / items.clamp(min=1)

    def reduce(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Return (B, T) logits of the start and (B, T) logits of the end: spans are searched over all windows."""
        return logits[..., 0], logits[..., 1]


PART = _Head()
