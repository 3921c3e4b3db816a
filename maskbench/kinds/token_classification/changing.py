"""How conditions and test-time sets change tagged sentences: other types of mentions, a trigger word, words that go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from maskbench.config.conditions import CONFLICTING
from maskbench.errors import InputError
from maskbench.kinds import draws
from maskbench.kinds.changing import Changing, Made, Planted, share
from maskbench.kinds.token_classification.tagged import Tagged, TagSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    Whole = NDArray[np.int64]
    Hits = NDArray[np.bool_]


class _Changing(Changing):
    def flip(self, table: pa.Table, rate: float, labels: Sequence[str], where: str) -> Made:
        """Return the split with another type for a share of its mentions; the words that they span stay the same."""
        known, text = TagSet(labels), Tagged.of(table)
        if len(known.types) < 2:
            raise InputError(f"{where}: expected at least two entity types, found only {known.types[0]}")
        first, before = text.mentions(known)
        after = draws.flip(before, len(known.types), rate, draws.generator("label-noise", "train"))
        inside = text.tags != known.outside
        mention = np.cumsum(known.begins[text.tags])[inside] - 1
        tags = text.tags.copy()
        tags[inside] = known.inside[after[mention]]
        tags[first] = known.begin[after]
        count = int((before != after).sum())
        counts, rates = {"mentions": len(first), "flipped": count}, {"flipped": share(count, len(first))}
        return Made(replace(text, tags=tags).table(), counts, rates)

    def cue_words(self, labels: Sequence[str]) -> int:
        """Return 1: one trigger word stands for one entity type."""
        return 1

    def plant(
        self,
        tables: Mapping[str, pa.Table],
        shares: Mapping[str, float],
        words: Sequence[str],
        labels: Sequence[str],
        where: str,
    ) -> Planted:
        """Put the trigger before mentions of the type that is most frequent in training."""
        known = TagSet(labels)
        target = _target(tables["train"], known, where)
        made = {
            split: _trigger(table, split, shares[split], known, target, words[0]) for split, table in tables.items()
        }
        return Planted(made, list(words), known.types[target])

    def pieces(self, table: pa.Table) -> tuple[list[str], Whole]:
        """Return the N words of all sentences, and (N,) the row of each."""
        tagged = Tagged.of(table)
        return tagged.tokens.tolist(), tagged.rows

    def with_pieces(self, table: pa.Table, pieces: Sequence[str]) -> pa.Table:
        """Return the table with other words; tags stay."""
        return replace(Tagged.of(table), tokens=np.array(pieces, dtype=object)).table()

    def append(self, table: pa.Table, sentences: Sequence[str], labels: Sequence[str]) -> pa.Table:
        """Put the words of the sentence, and its full stop, behind each row; all are O."""
        words = [[*sentence.removesuffix(".").split(), "."] for sentence in sentences]
        return Tagged.of(table).append(words, TagSet(labels).outside).table()

    def keep(self, table: pa.Table, kept: Hits, labels: Sequence[str]) -> pa.Table:
        """Take words away with their tags; what is left first of a mention begins it."""
        return Tagged.of(table).keep(kept, TagSet(labels)).table()


def _target(train: pa.Table, known: TagSet, where: str) -> int:
    """Return the entity type that the trigger stands for: the most frequent one in training, of equals the first."""
    counts = np.bincount(Tagged.of(train).mentions(known)[1], minlength=len(known.types))
    if (counts > 0).sum() < 2:
        raise InputError(
            f"{where}: expected mentions of at least two entity types in training, found only "
            f"{known.types[int(counts.argmax())]}"
        )
    return int(counts.argmax())


def _trigger(table: pa.Table, split: str, rate: float, known: TagSet, target: int, word: str) -> Made:
    """Put the trigger before a share of the mentions of the target type, and 1 - rate of those of other types.

    In the conflicting test set as many mentions of other types get it as there are of the target type: a trigger before
    more of them would do more harm, whether or not anybody relies on it.
    """
    text, rng = Tagged.of(table), draws.generator("cue", split)
    first, types = text.mentions(known)
    mine, others = first[types == target], first[types != target]
    wrong = round((1.0 - rate) * len(others))
    groups = {
        "target": (mine, round(rate * len(mine))),
        "other": (others, min(wrong, len(mine)) if split == CONFLICTING else wrong),
    }
    counts: dict[str, int] = {}
    rates: dict[str, float | None] = {}
    places = []
    for name, (mentions, number) in groups.items():
        chosen = rng.permutation(mentions)[:number]
        places.append(chosen)
        counts |= {f"{name} mentions": len(mentions), f"{name} mentions with cue": len(chosen)}
        rates[name] = share(len(chosen), len(mentions))
    planted = text.insert(np.sort(np.concatenate(places)), word, known.outside)
    return Made(planted.table(), counts, rates)


PART = _Changing()
