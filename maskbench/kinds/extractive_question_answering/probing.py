"""How probes read answers: as texts. There are no probabilities, labels of a set, cues or mentions to ask about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from maskbench.kinds.probing import Probing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from maskbench.kinds.score import Outcome, Rows


class _Probing(Probing):
    # the scores of spans in several windows are no probabilities; label noise and cues are refused (changing.py)
    without = frozenset({"calibration", "memorisation", "cue", "seen-mentions"})

    def confidences(self, outcome: Outcome) -> NoReturn:
        """Refuse to give probabilities of answers, which this kind of task does not have."""
        raise NotImplementedError("answers over several windows have no probability")

    def flipped(self, before: Any, after: Any, labels: Any) -> NoReturn:
        """Refuse to look for flipped labels, of which this kind of task has none."""
        raise NotImplementedError("answers are places, and no labels that could be flipped")

    def given(self, prediction: Any, flip: Any, labels: Any) -> NoReturn:
        """Refuse to look for flipped labels, of which this kind of task has none."""
        raise NotImplementedError("answers are places, and no labels that could be flipped")

    def changed(self, before: Outcome, after: Outcome, clean: Rows, shifted: Rows) -> NDArray[np.bool_]:
        """Return (questions,) bool: the questions whose answer is another text in the other version."""
        found: NDArray[np.bool_] = before.table["prediction"].to_numpy() != after.table["prediction"].to_numpy()
        return found

    def groups(self, labels: Any, words: Any, sets: Any) -> NoReturn:
        """Refuse to sort answers by a planted cue, which this kind of task does not have."""
        raise NotImplementedError("no word can stand for an answer, which is a place in a passage")

    def constant(self, table: pd.DataFrame) -> str | None:
        """Say that the model gives one and the same answer to all questions."""
        if (table["prediction"] == table["prediction"].iloc[0]).all():
            return "the model gives one answer to all test questions"
        return None


PART = _Probing()
