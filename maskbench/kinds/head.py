"""The head that a model has for each kind of task: what loads it, its loss, and what is kept of its logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from maskbench.kinds import part
from maskbench.kinds.encoding import IGNORED

if TYPE_CHECKING:
    from torch import Tensor


class Head(ABC):
    """A head, and its loss: the cross-entropy, if a kind says nothing else."""

    auto: ClassVar[Any]
    """The class of transformers that loads a model with its head."""

    def loss(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Return the loss over all labels of an update; the task's own, without what a strategy adds.

        Parameters
        ----------
        outputs
            Of the model.
        labels
            Of the micro-batch: (B,), or (B, T) with -100 where there is none.
        num_items_in_batch
            Number of labels in all micro-batches of the update; None: in this one. Without any label (sentences of
            which max_length left none) the loss is 0, and so is its gradient.
        """
        return mean_cross_entropy(outputs, labels, num_items_in_batch)

    @abstractmethod
    def reduce(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Reduce logits to what is scored, so that an evaluation keeps little in memory.

        Parameters
        ----------
        logits
            (B, C) or (B, T, C), float32.
        labels
            (B,) or (B, T), -100 where there is none.

        Returns
        -------
        tuple
            Tensors whose first axes are those of the labels, as `Score.outcome` takes them.
        """

    def reduced(self, logits: Tensor | tuple[Tensor, ...], labels: Tensor) -> tuple[Tensor, ...]:
        """Reduce what a model gives, as `reduce` does; if it gives more than logits, they are the first."""
        return self.reduce((logits[0] if isinstance(logits, tuple) else logits).float(), labels)


def of(kind: str) -> Head:
    """Return the head of a kind."""
    return cast("Head", part(kind, "head"))


def count(labels: Tensor) -> Tensor:
    """Return a scalar: how many labels there are, without the places that have -100."""
    return (labels != IGNORED).sum()


def losses(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each label in nats, in the shape of the labels; 0 where there is no label.

    Parameters
    ----------
    scores
        (B, C) or (B, T, C) logits.
    labels
        (B,) or (B, T) indices of the classes, -100 where there is none.
    """
    found: Tensor = torch.nn.functional.cross_entropy(
        scores.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return found.view_as(labels)


def mean_cross_entropy(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Return the cross-entropy over all labels of an update, in nats.

    Models of transformers differ in whether they use `num_items_in_batch`: BertForSequenceClassification does not,
    which would multiply its gradient by the number of micro-batches.

    Parameters
    ----------
    outputs
        Outputs of the model; their logits are (B, C) or (B, T, C).
    labels
        (B,) or (B, T), -100 where there is none.
    num_items_in_batch
        Number of labels in all micro-batches of the update; None: in this one. Without any label (sentences of which
        max_length left none) the loss is 0, and so is its gradient.
    """
    # one row for each label: the loss over a (B, C, T) tensor has no deterministic implementation on a card
    logits = outputs["logits"].float().flatten(0, -2)
    total = torch.nn.functional.cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="sum")
    items = (labels != IGNORED).sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
    return total / items.clamp(min=1)
