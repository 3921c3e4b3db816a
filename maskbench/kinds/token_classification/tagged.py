"""Tagged sentences as flat arrays, so that whole splits are changed at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from maskbench.kinds.token_classification import tags as schemes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Whole = NDArray[np.int64]


class TagSet:
    """The IOB2 tags of a task by index.

    Parameters
    ----------
    labels
        O, B-x, I-x, ... (tags.label_names).
    """

    def __init__(self, labels: Sequence[str]) -> None:
        parsed = [schemes.parse(label) for label in labels]
        self.types = list(dict.fromkeys(entity for _, entity in parsed if entity))
        self.type_of = np.array([self.types.index(entity) if entity else -1 for _, entity in parsed])
        """(L,) type of each tag, -1 for O."""
        self.begins = np.array([prefix == "B" for prefix, _ in parsed])
        """(L,) bool: tags that begin a mention."""
        index = {label: position for position, label in enumerate(labels)}
        self.outside = index["O"]
        self.begin = np.array([index[f"B-{entity}"] for entity in self.types])
        """(types,) index of the tag that begins a mention of a type."""
        self.inside = np.array([index[f"I-{entity}"] for entity in self.types])
        """(types,) index of the tag that continues one."""


@dataclass(frozen=True)
class Tagged:
    """All N words of the sentences of one split, in order."""

    example: pa.ChunkedArray
    """Id of each sentence, in their order."""
    tokens: NDArray[np.object_]
    """(N,) words of all sentences, one after another."""
    tags: Whole
    """(N,) index of the tag of each word."""
    lengths: Whole
    """(sentences,) number of words in each sentence."""
    document: pa.ChunkedArray | None = None
    """Document of each sentence, where the file says where they begin."""

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """Read a table of a prepared tagging task."""
        tokens = pc.list_flatten(table["tokens"]).to_numpy(zero_copy_only=False)
        tags = pc.list_flatten(table["tags"]).to_numpy().astype(np.int64)
        lengths = pc.list_value_length(table["tags"]).to_numpy().astype(np.int64)
        document = table["document"] if "document" in table.column_names else None
        return cls(table["example"], tokens, tags, lengths, document)

    @property
    def rows(self) -> Whole:
        """(N,) sentence of each word."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def table(self) -> pa.Table:
        """Return the table that data/prepare.py writes."""
        offsets = pa.array(np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32))
        columns = {
            "example": self.example,
            "tokens": pa.ListArray.from_arrays(offsets, pa.array(self.tokens, pa.string())),
            "tags": pa.ListArray.from_arrays(offsets, pa.array(self.tags, pa.int64())),
        }
        return pa.table(columns if self.document is None else columns | {"document": self.document})

    def mentions(self, known: TagSet) -> tuple[Whole, Whole]:
        """Return (M,) the place of the first word of each of M mentions, and (M,) its type."""
        first = np.flatnonzero(known.begins[self.tags])
        return first, known.type_of[self.tags[first]]

    def insert(self, places: Whole, word: str, tag: int) -> Self:
        """Return the sentences with a word put before each of the places (P,), which are distinct."""
        return replace(
            self,
            tokens=np.insert(self.tokens, places, word),
            tags=np.insert(self.tags, places, tag),
            lengths=self.lengths + np.bincount(self.rows[places], minlength=len(self.lengths)),
        )

    def append(self, words: Sequence[Sequence[str]], tag: int) -> Self:
        """Return the sentences with the words put behind them, all with one tag."""
        added = np.array([len(item) for item in words])
        places = np.repeat(np.cumsum(self.lengths), added)
        flat = np.array([word for item in words for word in item], dtype=object)
        return replace(
            self,
            tokens=np.insert(self.tokens, places, flat),
            tags=np.insert(self.tags, places, tag),
            lengths=self.lengths + added,
        )

    def keep(self, kept: NDArray[np.bool_], known: TagSet) -> Self:
        """Return the sentences with only the words in `kept` (N,), in IOB2: a mention begins at its first word left.

        Unlike `tags.to_iob2` this knows the mentions as they were: two neighbours of one type do not become one when
        the word goes that began the second.
        """
        mention = np.where(known.type_of[self.tags] < 0, -1, np.cumsum(known.begins[self.tags]))[kept]
        tags = self.tags[kept]
        first = (mention >= 0) & (mention != np.concatenate([[-1], mention[:-1]]))
        tags[first] = known.begin[known.type_of[tags[first]]]
        lengths = np.bincount(self.rows[kept], minlength=len(self.lengths))
        return replace(self, tokens=self.tokens[kept], tags=tags, lengths=lengths)
