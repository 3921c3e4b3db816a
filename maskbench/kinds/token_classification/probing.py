"""How probes read predicted tags: word by word, and mention by mention as the CoNLL scorer reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.kinds.probing import Probing
from maskbench.kinds.token_classification.iob2 import as_iob2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from maskbench.kinds.probing import Flip, Groups
    from maskbench.kinds.score import Outcome, Rows


class _Probing(Probing):
    target = "tags"

    def confidences(self, outcome: Outcome) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
        """Return (N,) probability of each predicted word's tag, (N,) whether it was right, and (N,) its example."""
        table = outcome.table
        columns = (np.concatenate(table[name].tolist()) for name in ("confidence", "prediction", "label"))
        sure, found, wanted = columns
        seen = ~np.isnan(sure)
        examples = np.repeat(table["example"].to_numpy(), table["label"].map(len))
        return sure[seen].astype(np.float64), found[seen] == wanted[seen], examples[seen]

    def flipped(self, before: Any, after: Any, labels: Sequence[str]) -> list[Flip]:
        """Return the mentions whose type was flipped."""
        return list(_flipped_mentions(before, after, labels))

    def given(self, prediction: Any, flip: Flip, labels: Sequence[str]) -> bool:
        """Tell whether all words of a mention are predicted with the flipped type, whatever the prefix."""
        words, wanted = flip
        return all(labels[int(prediction[word])][2:] == labels[wanted][2:] for word in words)

    def changed(self, before: Outcome, after: Outcome, clean: Rows, shifted: Rows) -> NDArray[np.bool_]:
        """Return (sentences,) bool: whether the tag changes of a word that the model sees in both versions.

        That is all words where only letters or masks changed; the original words, without the distractor; where words
        were dropped, those that are left (found from left to right by their subwords and gold tags).
        """
        first = {row["example"]: row for row in clean}
        pairs = zip(before.table["prediction"], after.table["prediction"], shifted, strict=True)
        return np.array(
            [
                any(old[one] != new[other] for one, other in shared_words(first[row["example"]], row))
                for old, new, row in pairs
            ]
        )

    def groups(
        self, labels: Sequence[str], words: Sequence[str], sets: Iterable[tuple[pd.DataFrame, pd.DataFrame]]
    ) -> Groups:
        """Return whether each mention was found, by its type and whether the trigger stands before it."""
        (trigger,) = words
        types = dict.fromkeys(label[2:] for label in labels if label != "O")
        groups: Groups = {f"{kind} {cue} the cue": [] for kind in types for cue in ("with", "without")}
        for rows, table in sets:
            for example, found, wanted in zip(table["example"], table["prediction"], table["label"], strict=True):
                tokens = rows["tokens"].loc[example]
                predicted = set(self.mentions(found, labels))
                for mention in self.mentions(wanted, labels):
                    # in the conflicting set not every mention of another type has the trigger (changing.py)
                    with_cue = mention[1] > 0 and tokens[mention[1] - 1] == trigger
                    group = groups[f"{mention[0]} {'with' if with_cue else 'without'} the cue"]
                    group.append((example, mention in predicted))
        return groups

    def constant(self, table: pd.DataFrame) -> str | None:
        """Say that the model finds nothing."""
        if any(tags.any() for tags in table["prediction"]):
            return None
        return "the model finds no entity in any test text"

    def mentions(self, tags: NDArray[np.int64], labels: Sequence[str]) -> list[tuple[str, int, int]]:
        """Return the mentions as the CoNLL scorer reads the tags."""
        from seqeval.metrics.sequence_labeling import get_entities

        return list(get_entities(as_iob2([labels[tag] for tag in tags])))


def _flipped_mentions(before: list[int], after: list[int], labels: Sequence[str]) -> Iterator[tuple[list[int], int]]:
    """Yield the words of each mention whose type was flipped, and the tag that begins it now."""
    for start, tag in enumerate(after):
        if labels[tag].startswith("B-") and labels[tag] != labels[before[start]]:
            end = start + 1
            while end < len(after) and labels[after[end]].startswith("I-"):
                end += 1
            yield list(range(start, end)), tag


def shared_words(clean: Mapping[str, Any], shifted: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the places of each word that stands in both versions of a sentence and that the model sees in both."""
    one, other = _seen_words(clean), _seen_words(shifted)
    if len(clean["tags"]) <= len(shifted["tags"]):
        # the same words in the same order, whatever stands behind them
        yield from ((place, place) for place in one if place in other)
        return
    left = iter(one.items())
    for place, word in other.items():
        for first, candidate in left:
            if candidate[1] == word[1] and _types(candidate[0], word[0]):
                yield first, place
                break


def _types(one: int, other: int) -> bool:
    """Tell whether two gold tags can be of one word: a dropped word before it may turn I- into B-."""
    return one == other or (one > 0 and other > 0)


def _seen_words(row: Mapping[str, Any]) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Return the gold tag and the subwords of each word that the model sees, by its place."""
    subwords: dict[int, list[int]] = {}
    for word, token in zip(row["words"], row["input_ids"], strict=True):
        if word >= 0:
            subwords.setdefault(word, []).append(token)
    return {place: (row["tags"][place], tuple(tokens)) for place, tokens in subwords.items()}


PART = _Probing()
