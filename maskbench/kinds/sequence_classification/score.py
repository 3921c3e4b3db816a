"""Accuracy: a text contributes a hit if its class is right, and a weight of 1."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench.kinds.brier import brier
from maskbench.kinds.score import Outcome, Score, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class _Score(Score):
    measure = "accuracy"
    nothing = "there is no text"

    def outcome(
        self,
        names: Sequence[str],
        columns: Mapping[str, Any],
        reduced: Sequence[NDArray[Any]],
        labels: NDArray[Any],
    ) -> Outcome:
        """Return the outcome of a classifier; `probabilities` are kept besides."""
        log_probabilities, losses = reduced
        return classify(np.asarray(columns["example"]), labels, log_probabilities, losses, names)

    def padded(self, parts: Sequence[Sequence[NDArray[Any]]], labels: Sequence[Any]) -> Any:
        """Stack the parts of all texts; they need no padding, since a text has one label."""
        return [np.stack(part) for part in parts], np.array(labels)

    def measures(self, outcome: Outcome) -> dict[str, float]:
        """Return accuracy, MCC, and precision, recall and F1 in all averages."""
        predicted, gold = outcome.table["prediction"], outcome.table["label"]
        return dict(_metric().compute(predictions=predicted, references=gold, labels=list(outcome.labels)))

    def confusion(self, outcome: Outcome) -> dict[str, int]:
        """Return how many texts of a class were given a class."""
        sides = [outcome.table[side].to_numpy().tolist() for side in ("label", "prediction")]
        return counted(outcome.labels, *sides)

    def majority(self, train: Mapping[str, Any], test: Mapping[str, Any]) -> float:
        """Return the accuracy of always saying the most frequent training label."""
        most = np.bincount(np.asarray(train["labels"])).argmax()
        return float((np.asarray(test["labels"]) == most).mean())


@cache
def _metric() -> Any:
    """Return the metric module (imported here: `evaluate` takes seconds, and probes and the analysis need none)."""
    from maskbench.kinds.sequence_classification.metric import Classification

    return Classification(keep_in_memory=True)


def classify(
    examples: NDArray[np.int64],
    labels: NDArray[np.int64],
    log_probabilities: NDArray[np.float32],
    losses: NDArray[np.float32],
    names: Sequence[str],
) -> Outcome:
    """Return the outcome of a text classifier; log-probabilities are (N, C), the rest (N,)."""
    predicted = log_probabilities.argmax(-1)
    probabilities = np.exp(log_probabilities.astype(np.float64))
    table = pd.DataFrame(
        {
            "example": examples,
            "hit": (predicted == labels).astype(np.float64),
            "weight": 1.0,
            "nll": losses.astype(np.float64),
            "units": 1,
            "label": labels,
            "prediction": predicted,
            "brier": brier(np.square(probabilities).sum(-1), probabilities[np.arange(len(labels)), labels]),
            "probabilities": list(np.exp(log_probabilities)),
        }
    )
    return Outcome("sequence-classification", tuple(names), table)


PART = _Score()
