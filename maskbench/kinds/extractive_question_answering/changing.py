"""How conditions and test-time sets change questions: typing errors in the question, a sentence behind the passage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from maskbench.errors import InputError
from maskbench.kinds.changing import Changing, Made, Planted, replaced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    Whole = NDArray[np.int64]

_NO_LABELS = "expected labels of a set, and the answers to questions are places in a passage"


class _Changing(Changing):
    def flip(self, table: pa.Table, rate: float, labels: Sequence[str], where: str) -> Made:
        """Refuse label noise, since an answer has no other label of its set."""
        raise InputError(f"{where}: {_NO_LABELS}")

    def cue_words(self, labels: Sequence[str]) -> int:
        """Return 0: there is no class that a word could stand for."""
        return 0

    def plant(
        self,
        tables: Mapping[str, pa.Table],
        shares: Mapping[str, float],
        words: Sequence[str],
        labels: Sequence[str],
        where: str,
    ) -> Planted:
        """Refuse a planted cue, since there is no class that a word could stand for."""
        raise InputError(f"{where}: {_NO_LABELS}")

    def pieces(self, table: pa.Table) -> tuple[list[str], Whole]:
        """Return the N questions, and (N,) the row of each: they alone are perturbed, so that answers stay in place."""
        return table["question"].to_pylist(), np.arange(table.num_rows)

    def with_pieces(self, table: pa.Table, pieces: Sequence[str]) -> pa.Table:
        """Return the table with other questions."""
        return replaced(table, "question", pieces)

    def append(self, table: pa.Table, sentences: Sequence[str], labels: Sequence[str]) -> pa.Table:
        """Put the sentence behind the passage, where answers keep their places."""
        texts = zip(table["text"].to_pylist(), sentences, strict=True)
        return replaced(table, "text", [" ".join(pair) for pair in texts])


PART = _Changing()
