"""Scores of a trained model on a split: on unmasked input, in eval mode, example by example."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maskbench.config.measures import pair
from maskbench.config.tasks import SCORE, Kind
from maskbench.data.encode import IGNORED
from maskbench.training.tagging import agreement, as_iob2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset
    from numpy.typing import NDArray

T = TypeVar("T", Tensor, "NDArray[np.float64]")


@cache
def _metric(kind: Kind) -> Any:
    """Return the evaluate module for a kind of task (imported here: `evaluate` takes seconds, probes need none)."""
    from maskbench.training.metrics.classification import Classification
    from maskbench.training.metrics.entities import Entities

    return {"sequence-classification": Classification, "token-classification": Entities}[kind](keep_in_memory=True)


def reduce_logits(logits: Tensor | tuple[Tensor, ...], labels: Tensor) -> tuple[Tensor, ...]:
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
        Classification: (B, C) log-probabilities and (B,) losses in nats. Tagging, all (B, T): classes, losses in nats
        and Brier scores (both 0 where there is no label), and the probabilities of the classes.
    """
    scores = (logits[0] if isinstance(logits, tuple) else logits).float()
    losses = torch.nn.functional.cross_entropy(scores.movedim(-1, 1), labels, ignore_index=IGNORED, reduction="none")
    if labels.dim() == 1:
        return scores.log_softmax(-1), losses
    probabilities = scores.softmax(-1)
    labelled = labels != IGNORED
    right = probabilities.gather(-1, labels.where(labelled, 0)[..., None])[..., 0]
    briers = brier(probabilities.square().sum(-1), right).where(labelled, 0.0)
    confidences, classes = probabilities.max(-1)
    return classes, losses, briers, confidences


def brier(squares: T, right: T) -> T:
    """Return the Brier score Σ_k (p_k − 1[k=y])², from 0 to 2, of Σ_k p_k² and p_y (Brier 1950)."""
    return squares - 2 * right + 1


@dataclass(frozen=True)
class Outcome:
    """What a model did with each example of a split.

    `table` has one row for each example with the columns of predictions.parquet: `example`, `hit`, `weight`, `nll`,
    `units`, `label`, `prediction`, `brier` (mean over the labelled units of the example) and `probabilities`
    (classification) or `confidence` (tagging: the predicted tag's probability for each word, NaN for words that were
    cut off); `document` besides, where the file says where documents begin.
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

    def confusion(self) -> dict[str, int]:
        """Return how many texts (tagging: words) of a class were given a class, as `pair` writes them; no zeros."""
        names, sides = list(self.labels), [self.table[side].to_numpy() for side in ("label", "prediction")]
        if self.kind == "token-classification":
            names = [label.partition("-")[2] or label for label in self.labels]  # B-PER and I-PER are PER
            sides = [np.concatenate([*side]) for side in sides]
        found: Counter[str] = Counter()
        for (true, given), count in Counter(zip(*(side.tolist() for side in sides), strict=True)).items():
            found[pair(names[true], names[given])] += count
        return dict(sorted(found.items()))

    def _metrics(self) -> dict[str, float]:
        """Compute the metric module of the kind of task."""
        predicted, gold = self.table["prediction"], self.table["label"]
        metric = _metric(self.kind)
        if self.kind == "sequence-classification":
            return dict(metric.compute(predictions=predicted, references=gold, labels=list(self.labels)))
        types = sorted({label[2:] for label in self.labels if label != "O"})
        return dict(
            metric.compute(
                predictions=[[self.labels[tag] for tag in tags] for tags in predicted],
                references=[[self.labels[tag] for tag in tags] for tags in gold],
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


def tag(
    examples: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: NDArray[np.int64],
    losses: NDArray[np.float32],
    briers: NDArray[np.float32],
    confidences: NDArray[np.float32],
    gold: Sequence[Sequence[int]],
    places: Sequence[NDArray[np.int64]],
    names: Sequence[str],
) -> Outcome:
    """Return the outcome of a tagger.

    Parameters
    ----------
    examples
        (N,) indices.
    labels, classes, losses, briers, confidences
        (N, T) per subword: label (-100: none), predicted class, loss in nats, Brier score, probability of the class.
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
        sure = np.full(len(wanted), np.nan)
        sure[place] = confidences[row, seen]
        hits, predicted, real = agreement(as_iob2(list(tags[found])), list(tags[list(wanted)]))
        score, loss = (2.0 * hits, float(predicted + real)), float(losses[row, seen].sum())
        off = float(briers[row, seen].mean()) if len(seen) else math.nan
        rows.append((*score, loss, len(seen), list(wanted), found, off, sure))
    columns = ["hit", "weight", "nll", "units", "label", "prediction", "brier", "confidence"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "example", examples)
    return Outcome("token-classification", tuple(names), table)


def outcome_of(
    kind: Kind, names: Sequence[str], dataset: Dataset, reduced: Sequence[NDArray[Any]], labels: NDArray[np.int64]
) -> Outcome:
    """Return the outcome of a model on a dataset.

    Parameters
    ----------
    kind
        Of the task.
    names
        Of the classes or tags.
    dataset
        Encoded examples (data/encode.py), in the order of the rows of what follows.
    reduced
        What `reduce_logits` gave, padded.
    labels
        (N,) or (N, T).
    """
    examples = np.asarray(dataset["example"])
    if kind == "sequence-classification":
        log_probabilities, losses = reduced
        return classify(examples, labels, log_probabilities, losses, names)
    places = [
        np.asarray(words)[np.asarray(marks) != IGNORED]
        for words, marks in zip(dataset["words"], dataset["labels"], strict=True)
    ]
    classes, losses, briers, confidences = reduced
    found = tag(examples, labels, classes, losses, briers, confidences, dataset["tags"], places, names)
    columns = dataset.column_names if hasattr(dataset, "column_names") else list(dataset)
    if "document" in columns:
        found.table["document"] = np.asarray(dataset["document"])
    return found


def majority_score(kind: Kind, train_labels: Sequence[int], test_labels: Sequence[int]) -> float:
    """Return the test score of the most frequent training label (tagging: of finding nothing, 0)."""
    if kind == "token-classification":
        return 0.0
    most = np.bincount(np.asarray(train_labels)).argmax()
    return float((np.asarray(test_labels) == most).mean())
