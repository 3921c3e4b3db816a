"""The labels of an encoded sentence: the tag of each word at its first subword, and all tags besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import List, Value

from maskbench.kinds.encoding import IGNORED, Encoding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datasets import Dataset


class _Encoding(Encoding):
    def feature(self) -> Any:
        """Return a list of whole numbers, one for each subword."""
        return List(Value("int64"))

    def more_features(self) -> dict[str, Any]:
        """Return `tags`: one for each word, also for those that max_length cuts off."""
        return {"tags": List(Value("int64"))}

    def labels(self, batch: Mapping[str, list[Any]], words: Sequence[Sequence[int]]) -> list[Any]:
        """Return the tag of a word at its first subword, IGNORED elsewhere."""
        return [_first_subwords(*pair) for pair in zip(words, batch["tags"], strict=True)]

    def more(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the column `tags`: the tags of all words of each sentence, also of words that are cut off."""
        return {"tags": batch["tags"]}

    def cut_off(self, dataset: Dataset, labels: Sequence[str]) -> dict[str, int]:
        """Count the mentions of an encoded split, and those of which a word was cut off.

        A mention that is not whole cannot be predicted right: its last words count as O (score.py).
        """
        inside = np.array([label.startswith("I-") for label in labels])
        begins = np.array([label.startswith("B-") for label in labels])
        counts = {"entities": 0, "truncated_entities": 0}
        for row in dataset.select_columns(["tags", "words", "truncated"]).with_format("numpy"):
            tags = row["tags"].astype(np.int64)
            counts["entities"] += int(begins[tags].sum())
            if row["truncated"]:
                beyond = np.arange(len(tags)) > row["words"].max(initial=-1)
                ends = ~np.append(inside[tags][1:], False)  # the last word of a mention is not followed by its I-
                counts["truncated_entities"] += int(((begins | inside)[tags] & ends & beyond).sum())
        return counts


def _first_subwords(words: Sequence[int], tags: list[int]) -> list[int]:
    """Return the tag of a word at its first subword, IGNORED elsewhere."""
    previous = -1
    labels = []
    for word in words:
        labels.append(IGNORED if word in (-1, previous) else tags[word])
        previous = word
    return labels


PART = _Encoding()
