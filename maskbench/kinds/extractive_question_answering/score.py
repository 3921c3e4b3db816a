"""Answer F1: a question contributes the F1 of its answer's words as a hit, and a weight of 1.

F1 and not exact match is the score: both are means over questions, and F1 tells answers that are nearly right from
wrong ones, so that the same questions tell smaller differences apart. Exact match stands beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from maskbench.config.science import ANSWER_TOKENS
from maskbench.kinds.encoding import IGNORED
from maskbench.kinds.extractive_question_answering import squad
from maskbench.kinds.extractive_question_answering.span import unpacked
from maskbench.kinds.score import Outcome, Score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class _Score(Score):
    measure = "answer_f1"
    nothing = "there is no question"
    besides: ClassVar[Mapping[str, tuple[str, str]]] = {"exact": ("exact", "weight")}

    def outcome(
        self,
        names: Sequence[str],
        columns: Mapping[str, Any],
        reduced: Sequence[Any],
        labels: Any,
    ) -> Outcome:
        """Return the outcome of a model on questions, each of which has one window or several.

        The answer is the span with the highest sum of its two logits over all windows of a question: within the
        passage, no longer than `ANSWER_TOKENS`. Its text is cut out of the passage as it was read.
        """
        spans = [
            best_span(np.asarray(begins), start, end)
            for begins, start, end in zip(columns["begins"], *reduced, strict=True)
        ]
        losses = [loss(np.asarray(label), start, end) for label, start, end in zip(labels, *reduced, strict=True)]
        windows: dict[int, list[int]] = {}
        for row, example in enumerate(columns["example"]):
            windows.setdefault(int(example), []).append(row)
        rows = []
        for example, own in windows.items():
            row = max(own, key=lambda row: spans[row][0])  # of equals the first
            _, first, last = spans[row]
            given = columns["passage"][row][columns["begins"][row][first] : columns["ends"][row][last]]
            answers = list(columns["answers"][row])
            score, exact = (squad.best(measure, given, answers) for measure in (squad.f1, squad.exact))
            rows.append((example, score, 1.0, exact, sum(losses[row] for row in own), len(own), answers, given))
        table = pd.DataFrame(rows, columns=["example", "hit", "weight", "exact", "nll", "units", "label", "prediction"])
        table["document"] = [columns["document"][own[0]] for own in windows.values()]
        return Outcome("extractive-question-answering", tuple(names), table)

    def padded(self, parts: Sequence[Sequence[NDArray[Any]]], labels: Sequence[Any]) -> Any:
        """Return both as they are: windows are looked at one by one."""
        return parts, labels

    def measures(self, outcome: Outcome) -> dict[str, float]:
        """Return the F1 of answers, and the share that match one of the right answers exactly."""
        return {"answer_f1": outcome.score, "exact_match": float(outcome.table["exact"].mean())}

    def majority(self, train: Mapping[str, Any], test: Mapping[str, Any]) -> float:
        """Return the F1 of always giving the whole passage, which takes no reading."""
        columns = (test[name] for name in ("example", "passage", "answers"))
        found = {example: squad.best(squad.f1, *texts) for example, *texts in zip(*columns, strict=True)}
        return float(np.mean(list(found.values())))


def best_span(begins: NDArray[np.int64], start: Array, end: Array) -> tuple[float, int, int]:
    """Return the highest sum of the two logits of a span in one window, and the span's first and last token.

    Parameters
    ----------
    begins
        (T,) where each token stands in the passage, -1 outside of it.
    start, end
        (T,) logits.
    """
    own = np.flatnonzero(begins >= 0)  # the tokens of the passage stand together
    if not len(own):
        return -np.inf, 0, 0
    starts, ends = (np.asarray(side, dtype=np.float64)[own] for side in (start, end))
    reach = min(ANSWER_TOKENS, len(own))
    ahead = sliding_window_view(np.append(ends, np.full(reach - 1, -np.inf)), reach)
    sums = starts[:, None] + ahead
    first, more = divmod(int(sums.argmax()), reach)
    return float(sums[first, more]), int(own[first]), int(own[first + more])


def loss(labels: NDArray[np.int64], start: Array, end: Array) -> float:
    """Return the cross-entropy of a window in nats, the mean of that of its start and its end.

    Parameters
    ----------
    labels
        (T,) as the encoding has them.
    start, end
        (T,) logits.
    """
    _, first, last = unpacked(int(labels[labels != IGNORED][0]))
    sides = ((np.asarray(start, dtype=np.float64), first), (np.asarray(end, dtype=np.float64), last))
    return float(np.mean([np.logaddexp.reduce(logits) - logits[place] for logits, place in sides]))


PART = _Score()
