"""How the probes of interference read the predictions of each kind of task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, cast

from maskbench.kinds import part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from maskbench.kinds.score import Outcome, Rows

    Flip = tuple[list[int], int]
    """The words of what was flipped, and its flipped label or the tag that begins it now; of a whole text no words."""
    Groups = dict[str, list[tuple[int, bool]]]
    """For each group the examples, and whether each was right; one stands there once for each thing in it."""


class Probing(ABC):
    """What probes ask about predictions."""

    without: ClassVar[frozenset[str]] = frozenset()
    """Probes that have nothing to measure in tasks of this kind; no run is asked for them."""
    attributed: ClassVar[bool] = False
    """Whether a text has one answer, which attributions can be of: then there are `answers` and `probabilities`."""
    target: ClassVar[str] = "labels"
    """Column of an encoded row that has everything the row is trained on, cut off or not."""

    @abstractmethod
    def confidences(self, outcome: Outcome) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
        """Return, all (N,): the probability of each prediction, whether it was right, and its example."""

    @abstractmethod
    def flipped(self, before: Any, after: Any, labels: Sequence[str]) -> list[Flip]:
        """Return what label noise changed in a row whose targets differ."""

    @abstractmethod
    def given(self, prediction: Any, flip: Flip, labels: Sequence[str]) -> bool:
        """Tell whether a prediction is the flipped label."""

    @abstractmethod
    def changed(self, before: Outcome, after: Outcome, clean: Rows, shifted: Rows) -> NDArray[np.bool_]:
        """Return (texts,) bool: whether the prediction changed from one version of a text to another.

        Parameters
        ----------
        before, after
            Outcomes of the texts as they are, and of their other version, in one order.
        clean
            Encoded texts as they are, in any order.
        shifted
            Their other version, in the order of the outcomes.
        """

    @abstractmethod
    def groups(
        self, labels: Sequence[str], words: Sequence[str], sets: Iterable[tuple[pd.DataFrame, pd.DataFrame]]
    ) -> Groups:
        """Sort what was right and wrong under a planted cue by what the label and the cue are.

        Parameters
        ----------
        labels
            Names of the classes or tags.
        words
            The cue words.
        sets
            For each test set with the cue, its prepared rows by example, and the table of the outcome.
        """

    @abstractmethod
    def constant(self, table: pd.DataFrame) -> str | None:
        """Say that all predictions of a table are alike; None if they are not."""

    def answers(self, outcome: Outcome) -> NDArray[np.int64]:
        """Return (N,) the predicted class of each text; only where there are attributions (`attributed`)."""
        raise NotImplementedError(f"{type(self).__name__} has no single answer")

    def probabilities(self, outcome: Outcome) -> NDArray[np.float64]:
        """Return (N, C) the probability of each class, text by text; only where there are attributions."""
        raise NotImplementedError(f"{type(self).__name__} has no single answer")

    def mentions(self, tags: NDArray[np.int64], labels: Sequence[str]) -> list[tuple[str, int, int]]:
        """Return type, first and last word of each mention in one row's labels; only where labels mark mentions."""
        raise NotImplementedError(f"{type(self).__name__} has no mentions")


def of(kind: str) -> Probing:
    """Return the probing of a kind."""
    return cast("Probing", part(kind, "probing"))
