"""Entity F1: a sentence contributes twice its right entities as hits, and its predicted and true ones as weight."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench.kinds.encoding import IGNORED
from maskbench.kinds.score import Outcome, Score, counted
from maskbench.kinds.token_classification.iob2 import agreement, as_iob2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class _Score(Score):
    measure = "entity_f1"
    nothing = "no entity is there, and none was found"

    def outcome(
        self,
        names: Sequence[str],
        columns: Mapping[str, Any],
        reduced: Sequence[NDArray[Any]],
        labels: NDArray[Any],
    ) -> Outcome:
        """Return the outcome of a tagger; the `confidence` of each word is kept besides."""
        places = [
            np.asarray(words)[np.asarray(marks) != IGNORED]
            for words, marks in zip(columns["words"], columns["labels"], strict=True)
        ]
        classes, losses, briers, confidences = reduced
        examples = np.asarray(columns["example"])
        return tag(examples, labels, classes, losses, briers, confidences, columns["tags"], places, names)

    def padded(self, parts: Sequence[Sequence[NDArray[Any]]], labels: Sequence[Any]) -> Any:
        """Pad the parts of all sentences to the longest one, and stack them."""
        return [_padded(part, 0) for part in parts], _padded(labels, IGNORED)

    def measures(self, outcome: Outcome) -> dict[str, float]:
        """Return precision, recall and F1 of entities, averaged and by type, and the accuracy of tags."""
        names = outcome.labels
        return dict(
            _metric().compute(
                predictions=[[names[tag] for tag in tags] for tags in outcome.table["prediction"]],
                references=[[names[tag] for tag in tags] for tags in outcome.table["label"]],
                types=sorted({label[2:] for label in names if label != "O"}),
            )
        )

    def confusion(self, outcome: Outcome) -> dict[str, int]:
        """Return how many words of a type were given a type, whether they begin a mention or not; O is none."""
        names = [label.partition("-")[2] or label for label in outcome.labels]  # B-PER and I-PER are PER
        sides = [np.concatenate([*outcome.table[side].to_numpy()]).tolist() for side in ("label", "prediction")]
        return counted(names, *sides)

    def majority(self, train: Mapping[str, Any], test: Mapping[str, Any]) -> float:
        """Return 0, the F1 of finding nothing."""
        return 0.0


@cache
def _metric() -> Any:
    """Return the metric module (imported here: `evaluate` takes seconds, and probes and the analysis need none)."""
    from maskbench.kinds.token_classification.metric import Entities

    return Entities(keep_in_memory=True)


def _padded(values: Sequence[Any], fill: float) -> NDArray[Any]:
    """Return rows of different lengths as one array."""
    array = np.full((len(values), max(len(row) for row in values)), fill, dtype=np.asarray(values[0]).dtype)
    for index, row in enumerate(values):
        array[index, : len(row)] = row
    return array


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


PART = _Score()
