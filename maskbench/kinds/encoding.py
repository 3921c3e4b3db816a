"""Which columns an encoded row has for its labels, for each kind of task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast

from maskbench.kinds import part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datasets import Dataset

IGNORED = -100
"""Label of a position that carries none; what torch's cross-entropy leaves out."""


class Encoding(ABC):
    """The labels of encoded rows.

    A row has the column `labels`: a list with an entry for each subword where the kind is `per_token`, else one value.
    So a collator knows by its shape how to put the labels of a batch together.
    """

    @abstractmethod
    def feature(self) -> Any:
        """Return the type of the column `labels`, of datasets."""

    def more_features(self) -> dict[str, Any]:
        """Return the types of the columns that rows of this kind have beside those that all have."""
        return {}

    @abstractmethod
    def labels(self, batch: Mapping[str, list[Any]], words: Sequence[Sequence[int]]) -> list[Any]:
        """Return the labels of a batch of prepared rows.

        Parameters
        ----------
        batch
            Columns of the prepared rows.
        words
            For each row the word of each subword, -1 outside words.
        """

    def more(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the other columns of this kind."""
        return {}

    def cut_off(self, dataset: Dataset, labels: Sequence[str]) -> dict[str, int]:
        """Count what max_length leaves without a label, under the names of the fields of `EncodedSplit`."""
        return {}


def of(kind: str) -> Encoding:
    """Return the encoding of a kind."""
    return cast("Encoding", part(kind, "encoding"))
