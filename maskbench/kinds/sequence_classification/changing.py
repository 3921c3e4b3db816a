"""How conditions and test-time sets change labelled texts: another label, a word in front, a sentence behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from maskbench.errors import InputError
from maskbench.kinds import draws
from maskbench.kinds.changing import Changing, Made, Planted, replaced, share, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    Whole = NDArray[np.int64]


class _Changing(Changing):
    def flip(self, table: pa.Table, rate: float, labels: Sequence[str], where: str) -> Made:
        """Return the split with another label for a share of its texts."""
        _several(labels, where)
        before = whole(table["label"])
        after = draws.flip(before, len(labels), rate, draws.generator("label-noise", "train"))
        count = int((before != after).sum())
        counts, rates = {"texts": len(before), "flipped": count}, {"flipped": share(count, len(before))}
        return Made(replaced(table, "label", after), counts, rates)

    def cue_words(self, labels: Sequence[str]) -> int:
        """Return the number of classes: each has a cue word of its own."""
        return len(labels)

    def plant(
        self,
        tables: Mapping[str, pa.Table],
        shares: Mapping[str, float],
        words: Sequence[str],
        labels: Sequence[str],
        where: str,
    ) -> Planted:
        """Put the cue word of a class in front of each text."""
        _several(labels, where)
        return Planted(
            {split: _in_front(table, split, shares[split], words) for split, table in tables.items()}, list(words)
        )

    def pieces(self, table: pa.Table) -> tuple[list[str], Whole]:
        """Return all N texts of the table, and (N,) the row of each."""
        return table["text"].to_pylist(), np.arange(table.num_rows)

    def with_pieces(self, table: pa.Table, pieces: Sequence[str]) -> pa.Table:
        """Return the table with other texts."""
        return replaced(table, "text", pieces)

    def append(self, table: pa.Table, sentences: Sequence[str], labels: Sequence[str]) -> pa.Table:
        """Put the sentence behind a space."""
        texts = zip(table["text"].to_pylist(), sentences, strict=True)
        return self.with_pieces(table, [" ".join(pair) for pair in texts])


def _several(labels: Sequence[str], where: str) -> None:
    if len(labels) < 2:
        raise InputError(f"{where}: expected at least two labels, found only {labels[0]}")


def _in_front(table: pa.Table, split: str, rate: float, words: Sequence[str]) -> Made:
    """Put the cue word of a class in front of each text: of its own class in a share of them, else of another."""
    labels, rng = whole(table["label"]), draws.generator("cue", split)
    agrees = draws.stratified(labels, round(rate * len(labels)), rng)
    cue = np.where(agrees, labels, draws.other(labels, len(words), rng))
    texts = [f"{words[index]} {text}" for index, text in zip(cue, table["text"].to_pylist(), strict=True)]
    count = int(agrees.sum())
    counts, rates = {"texts": len(labels), "agreeing": count}, {"agreeing": share(count, len(labels))}
    return Made(replaced(table, "text", texts), counts, rates)


PART = _Changing()
