"""The label of an encoded window: where the answer starts and ends, or the token that stands for none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import List, Value

from maskbench.kinds.encoding import IGNORED, Encoding
from maskbench.kinds.extractive_question_answering.span import packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datasets import Dataset


class _Encoding(Encoding):
    def feature(self) -> Any:
        """Return a list of whole numbers, one for each subword."""
        return List(Value("int64"))

    def more_features(self) -> dict[str, Any]:
        """Return `passage` and `answers` (texts), and `begins` and `ends`: the characters of each of its subwords."""
        places = List(Value("int32"))
        return {"passage": Value("string"), "answers": List(Value("string")), "begins": places, "ends": places}

    def labels(self, batch: Mapping[str, list[Any]], words: Sequence[Sequence[int]]) -> list[Any]:
        """Return for each window the label (span.py) at the token where the answer starts, IGNORED elsewhere.

        The answer is the first of those that count as right, as in the training part of SQuAD, which has one. A window
        that does not hold it as a whole has its label at the token that stands for no answer, as questions without one
        (Devlin et al. 2019, BERT).
        """
        columns = (batch[name] for name in ("begins", "ends", "starts", "answers", "none"))
        return [_labels(*row) for row in zip(*columns, strict=True)]

    def more(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the passage, all answers, and where each subword stands in the passage (-1 outside of it)."""
        return {"passage": batch["text"], **{name: batch[name] for name in ("answers", "begins", "ends")}}

    def cut_off(self, dataset: Dataset, labels: Sequence[str]) -> dict[str, int]:
        """Count the questions, and those whose answer stands in no window as a whole, so that none is trained on it."""
        held: dict[int, bool] = {}
        for row in dataset.select_columns(["example", "labels", "begins"]).with_format("numpy"):
            (place,) = np.flatnonzero(row["labels"] != IGNORED)
            example = int(row["example"])
            held[example] = held.get(example, False) or bool(row["begins"][place] >= 0)
        return {"examples": len(held), "lost_answers": sum(not found for found in held.values())}


def _labels(
    begins: Sequence[int], ends: Sequence[int], starts: Sequence[int], answers: Sequence[str], none: int
) -> list[int]:
    """Return the labels of one window."""
    begin, end = np.asarray(begins), np.asarray(ends)
    first, behind = starts[0], starts[0] + len(answers[0])
    inside = np.flatnonzero((begin >= 0) & (end > first) & (begin < behind))
    whole = len(inside) > 0 and begin[inside[0]] <= first and end[inside[-1]] >= behind
    span = (int(inside[0]), int(inside[-1])) if whole else (none, none)
    labels = [IGNORED] * len(begins)
    labels[span[0]] = packed(len(begins), *span)
    return labels


def answer_of(row: Mapping[str, Any]) -> str | None:
    """Return the text of the passage that an encoded window is labelled with; None if the window holds no answer."""
    place = next(place for place, label in enumerate(row["labels"]) if label != IGNORED)
    _, start, end = unpacked(int(row["labels"][place]))
    if row["begins"][start] < 0:
        return None
    return str(row["passage"][row["begins"][start] : row["ends"][end]])


PART = _Encoding()
