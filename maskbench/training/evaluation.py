"""Scores of a trained model on a split: on unmasked input, in eval mode, example by example."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maskbench.config.tasks import SCORE, Kind
from maskbench.data.encode import IGNORED
from maskbench.training.metrics.classification import Classification
from maskbench.training.metrics.entities import Entities
from maskbench.training.tagging import agreement, as_iob2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@cache
def _metric(kind: Kind) -> Any:
    """Return the evaluate module for a kind of task."""
    return {"sequence-classification": Classification, "token-classification": Entities}[kind](keep_in_memory=True)


def reduce_logits(logits: Tensor | tuple[Tensor, ...], labels: Tensor) -> tuple[Tensor, Tensor]:
    """Reduce logits to what is scored, so that an evaluation keeps little in memory.

    Parameters
    ----------
    logits
        (B, C) or (B, T, C).
    labels
        (B,) or (B, T), -100 where there is none.

    Returns
    -------
    tuple
        Predictions, (B, C) log-probabilities or (B, T) classes, and the loss of each label in nats, 0 where none.
    """
    scores = (logits[0] if isinstance(logits, tuple) else logits).float()
    losses = torch.nn.functional.cross_entropy(scores.movedim(-1, 1), labels, ignore_index=IGNORED, reduction="none")
    return (scores.log_softmax(-1) if labels.dim() == 1 else scores.argmax(-1)), losses


@dataclass(frozen=True)
class Outcome:
    """What a model did with each example of a split.

    `table` has one row for each example with the columns of predictions.parquet: `example`, `hit`, `weight`, `nll`,
    `units`, `label`, `prediction` (and `probabilities` for classification).
    """

    kind: Kind
    labels: tuple[str, ...]
    table: pd.DataFrame

    @property
    def score(self) -> float:
        """The task's own score: sum of hits over sum of weights; 0 if nothing was there to be found."""
        weight = self.table["weight"].sum()
        return float(self.table["hit"].sum() / weight) if weight else 0.0

    @property
    def loss(self) -> float:
        """Mean cross-entropy over labelled texts or words, in nats."""
        return float(self.table["nll"].sum() / self.table["units"].sum())

    def measures(self) -> dict[str, float]:
        """Return every measure of the split by its name in the registry."""
        scores = {"loss": self.loss, **self._metrics()}
        scores["score"] = scores[SCORE[self.kind]]
        return scores

    def _metrics(self) -> dict[str, float]:
        """Compute the metric module of the kind of task."""
        predicted, gold = self.table["prediction"], self.table["label"]
        metric = _metric(self.kind)
        if self.kind == "sequence-classification":
            return dict(metric.compute(predictions=predicted, references=gold, labels=list(self.labels)))
        types = sorted({label[2:] for label in self.labels if label != "O"})
        names = np.array(self.labels)
        return dict(
            metric.compute(
                predictions=[list(names[tags]) for tags in predicted],
                references=[list(names[tags]) for tags in gold],
                types=types,
            )
        )


def classify(
    examples: NDArray[np.int64],
    labels: NDArray[np.int64],
    log_probabilities: NDArray[np.float32],
    losses: NDArray[np.float32],
    names: Sequence[str],
) -> Outcome:
    """Return the outcome of a text classifier; log-probabilities are (N, C), the rest (N,)."""
    predicted = log_probabilities.argmax(-1)
    table = pd.DataFrame(
        {
            "example": examples,
            "hit": (predicted == labels).astype(np.float64),
            "weight": 1.0,
            "nll": losses.astype(np.float64),
            "units": 1,
            "label": labels,
            "prediction": predicted,
            "probabilities": list(np.exp(log_probabilities)),
        }
    )
    return Outcome("sequence-classification", tuple(names), table)


def tag(
    examples: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: NDArray[np.int64],
    losses: NDArray[np.float32],
    gold: Sequence[Sequence[int]],
    places: Sequence[NDArray[np.int64]],
    names: Sequence[str],
) -> Outcome:
    """Return the outcome of a tagger.

    Parameters
    ----------
    examples
        (N,) indices.
    labels, classes, losses
        (N, T) per subword: label (-100: none), predicted class, loss in nats.
    gold
        Tags of all words of each example, also of those cut off; a word without a prediction counts as O.
    places
        For each example, the word of each labelled subword, in order.
    names
        Names of the tags.
    """
    tags = np.array(names)
    rows = []
    for row, (wanted, place) in enumerate(zip(gold, places, strict=True)):
        found = np.zeros(len(wanted), dtype=np.int64)  # class 0 is O
        seen = np.flatnonzero(labels[row] != IGNORED)
        found[place] = classes[row, seen]
        hits, predicted, real = agreement(as_iob2(list(tags[found])), list(tags[list(wanted)]))
        rows.append(
            (2.0 * hits, float(predicted + real), float(losses[row, seen].sum()), len(seen), list(wanted), found)
        )
    columns = ["hit", "weight", "nll", "units", "label", "prediction"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "example", examples)
    return Outcome("token-classification", tuple(names), table)


def majority_score(kind: Kind, train_labels: Sequence[int], test_labels: Sequence[int]) -> float:
    """Return the test score of the most frequent training label (tagging: of finding nothing, 0)."""
    if kind == "token-classification":
        return 0.0
    most = np.bincount(np.asarray(train_labels)).argmax()
    return float((np.asarray(test_labels) == most).mean())
