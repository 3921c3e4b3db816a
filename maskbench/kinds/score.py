"""What a model did with the examples of a split, and how that becomes its score, for each kind of task.

An example contributes some numbers, the score is a function of their sums: a ratio of two sums for accuracy and F1, but
as well a correlation of five or a calibration error. So the score of any set of examples, resampled ones included,
follows from what each of them contributes (the bootstrap: analysis/bootstrap.py). lm-evaluation-harness takes the two
steps apart in the same way (process_results and aggregation of its tasks).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from maskbench.config.kinds import TASK_KINDS
from maskbench.config.measures import pair
from maskbench.kinds import part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Array = np.ndarray[Any, np.dtype[np.float64]]
    Rows = Sequence[Mapping[str, Any]]
    """Encoded examples as data/encode.py writes them."""


@dataclass(frozen=True)
class Outcome:
    """What a model did with each example of a split.

    `table` has one row for each example with the columns of predictions.parquet: `example`, the kind's sums (`hit` and
    `weight`), `nll`, `units`, `label`, `prediction`, and what else the kind keeps of a prediction for its probes; and
    `document`, the number of what a text belongs to, where texts belong to documents or groups.
    """

    kind: str
    labels: tuple[str, ...]
    table: pd.DataFrame

    @property
    def score(self) -> float:
        """The task's own score, of what all examples contribute together."""
        return of(self.kind).of_table(self.table)

    @property
    def loss(self) -> float:
        """Mean loss over labelled texts or words: cross-entropy in nats, if the kind's head says nothing else."""
        return float(self.table["nll"].sum() / self.table["units"].sum())

    def measures(self) -> dict[str, float]:
        """Return every measure of the split by its name in the registry."""
        kind = of(self.kind)
        scores = {"loss": self.loss, **kind.measures(self)}
        scores["score"] = scores[kind.measure]
        return scores

    def confusion(self) -> dict[str, int]:
        """Return how often a class was given a class, as `pair` writes them; no zeros; empty without classes."""
        return of(self.kind).confusion(self)


class Score(ABC):
    """The score of a kind of task: by default the sum of hits over the sum of weights, a fraction."""

    measure: ClassVar[str]
    """Its name in the registry of measures."""
    sums: ClassVar[tuple[str, ...]] = ("hit", "weight")
    """What an example contributes: columns of predictions.parquet and outcomes.parquet."""
    share: ClassVar[bool] = True
    """Whether it is the sum of hits over the sum of weights; false: a subclass has a `value` of its own."""
    nothing: ClassVar[str]
    """Why there is no score where there is none."""
    besides: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """What test examples contribute to other measures of the kind: by the name of the stream (`test:<name>` in the
    recipes of the registry) the columns of predictions.parquet that are its hit and its weight."""

    # --- from sums to the score

    def value(self, sums: Array) -> Array:
        """Return the score of sums over examples; 0 where there is none.

        Parameters
        ----------
        sums
            Shape (k, ...): the sum of each contribution over some examples, or over many resamples of them.

        Returns
        -------
        Array
            Shape (...).
        """
        return ratio(sums[0], sums[1])

    def defined(self, sums: Array) -> bool:
        """Tell whether sums (k,) have a score."""
        return bool(sums[1])

    def of_table(self, table: pd.DataFrame) -> float:
        """Return the score of all examples of a table."""
        return float(self.value(self.totals(table)))

    def totals(self, table: pd.DataFrame) -> Array:
        """Return the sums (k,) over a table."""
        return np.array([table[name].sum() for name in self.sums], dtype=np.float64)

    # --- what examples contribute

    @abstractmethod
    def outcome(
        self,
        names: Sequence[str],
        columns: Mapping[str, Any],
        reduced: Sequence[NDArray[Any]],
        labels: NDArray[Any],
    ) -> Outcome:
        """Return the outcome of a model on a dataset.

        Parameters
        ----------
        names
            Of the classes or tags.
        columns
            Of the encoded examples, in the order of the rows of what follows.
        reduced
            What `Head.reduce` gave, padded: the first axis has the N examples.
        labels
            (N,), or (N, T) padded, as the collator gives them.
        """

    @abstractmethod
    def padded(self, parts: Sequence[Sequence[NDArray[Any]]], labels: Sequence[Any]) -> Any:
        """Put what was read text by text together as an evaluation gives it.

        Parameters
        ----------
        parts
            For each part of what `Head.reduce` gives, that of each text, without padding.
        labels
            Labels of each text.

        Returns
        -------
        tuple
            `reduced` and `labels` of `outcome`.
        """

    # --- other measures

    @abstractmethod
    def measures(self, outcome: Outcome) -> dict[str, float]:
        """Return all measures of an outcome by their names in the registry, the score's own among them."""

    def confusion(self, outcome: Outcome) -> dict[str, int]:
        """Return how often a class was given a class."""
        return {}

    @abstractmethod
    def majority(self, train: Mapping[str, Any], test: Mapping[str, Any]) -> float:
        """Return the test score of an answer that looks at no text, from the encoded training and test splits."""


def of(kind: str) -> Score:
    """Return the score of a kind."""
    return cast("Score", part(kind, "score"))


def kind_of(measures: Collection[str]) -> str:
    """Return the kind of a task that has these measures; empty text if none of them is the score of a kind.

    For studies that were recorded before metrics.csv said the kind. Nothing else tells a kind by measures.
    """
    return next((kind for kind in TASK_KINDS if of(kind).measure in measures), "")


def outcome_of(
    kind: str, names: Sequence[str], columns: Any, reduced: Sequence[NDArray[Any]], labels: NDArray[Any]
) -> Outcome:
    """Return the outcome of a model on a dataset (see `Score.outcome`); the `document` of each row is kept besides."""
    found = of(kind).outcome(names, columns, reduced, labels)
    if "document" in (columns.column_names if hasattr(columns, "column_names") else list(columns)):
        # by example: a kind may make one row of several encoded ones
        of_example = dict(zip(columns["example"], columns["document"], strict=True))
        found.table["document"] = [of_example[example] for example in found.table["example"]]
    return found


def sums_of(kinds: Iterable[str]) -> list[str]:
    """Return the columns of sums that files on tasks of these kinds have: `hit` and `weight` first.

    What is counted beside a score (analysis/contributions.py) is a hit and a weight in every kind.
    """
    own = (name for kind in kinds if kind for name in of(kind).sums)
    return list(dict.fromkeys([*Score.sums, *own]))


def ratio(hit: Array, weight: Array) -> Array:
    """Return hits over weights, both sums of one shape; 0 where both are 0 (entity F1 without entities, as seqeval)."""
    result: Array = np.divide(hit, weight, out=np.zeros_like(hit, dtype=float), where=weight > 0)
    return result


def counted(names: Sequence[str], gold: Sequence[int], given: Sequence[int]) -> dict[str, int]:
    """Return how often a class was given a class, under the names of both."""
    found: Counter[str] = Counter()
    for (true, other), count in Counter(zip(gold, given, strict=True)).items():
        found[pair(names[true], names[other])] += count
    return dict(sorted(found.items()))
