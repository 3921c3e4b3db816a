"""From sentences to sequences of token ids: running text cut into full sequences, or pairs of segments."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, List, Value
from tokenizers.pre_tokenizers import BertPreTokenizer

from maskbench.data.encoder import capitals_of
from maskbench.data.segments import words_of_pieces
from maskbench.errors import InputError
from maskbench.models.tokens import encode_as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

    from maskbench.data.corpora.readers import Document

_BATCH = 4096
"""Sentences that are tokenised at once."""


@dataclass(frozen=True)
class Tokens:
    """The N tokens of the S sentences of a split, without special ones."""

    ids: NDArray[np.int32]
    """(N,) ids of the tokens, in order."""
    words: NDArray[np.int64]
    """(N,) word of each token, numbered through the split; words of two sentences are never the same."""
    capitals: NDArray[np.bool_]
    """(N,) whether the token's word looks like a name."""
    ends: NDArray[np.int64]
    """(S,) the place behind each sentence's last token."""
    documents: NDArray[np.int64]
    """(S,) number of each sentence's document."""


def tokenize(tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document]) -> Tokens:
    """Return the tokens of documents; special tokens that are written in a text are text."""
    sentences = [sentence for document in documents for sentence in document]
    ids: list[NDArray[np.int32]] = []
    words: list[NDArray[np.int64]] = []
    capitals: list[NDArray[np.bool_]] = []
    before, at_spaces = 0, cuts_at_spaces(tokenizer)
    for start in range(0, len(sentences), _BATCH):
        texts, encodings = encode_as_text(tokenizer, sentences[start : start + _BATCH])
        for text, encoding in zip(texts, encodings, strict=True):
            own = words_in(text, encoding, at_spaces=at_spaces)
            of = np.array(own, dtype=np.int64)
            inside = of >= 0
            ids.append(np.array(encoding.ids, dtype=np.int32)[inside])
            words.append(of[inside] + before)
            capitals.append(np.array(capitals_of(text, encoding, own), dtype=bool)[inside])
            before += int(of.max(initial=-1)) + 1
    lengths = np.array([len(part) for part in ids], dtype=np.int64)
    numbers = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    some = lengths > 0  # a tokenizer may make nothing of control characters
    return Tokens(
        np.concatenate(ids), np.concatenate(words), np.concatenate(capitals), lengths.cumsum()[some], numbers[some]
    )


def cuts_at_spaces(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether a tokenizer is known to end a word at every space, as BERT's do."""
    backend: Tokenizer = getattr(tokenizer, "backend_tokenizer")  # noqa: B009
    return isinstance(backend.pre_tokenizer, BertPreTokenizer)


def words_in(text: str, encoding: Encoding, *, at_spaces: bool) -> list[int]:
    """Return the word of each piece of a text (data/segments.py); -1 for special tokens.

    Where the tokenizer cuts at spaces and the text has no script without them, its own words are the words: this saves
    most of the time.
    """
    if at_spaces and text.isascii():
        return [-1 if word is None else word for word in encoding.word_ids]
    return words_of_pieces(text, [(encoding.word_ids, encoding.offsets)])[0]


@dataclass
class Sequences:
    """Sequences that are being made, each of pieces of the tokens of a split."""

    tokens: Tokens
    start: int
    """Token id of [CLS], which begins a sequence."""
    end: int
    """Token id of [SEP], which ends a segment."""

    def __post_init__(self) -> None:
        self._columns: dict[str, list[NDArray[Any]]] = {"input_ids": [], "words": [], "capitals": [], "types": []}
        self._labels: list[int] = []
        self._cut: list[int] = []

    def add(self, parts: Sequence[tuple[NDArray[np.int64], int]], label: int = 0, cut: int = 0) -> None:
        """Add a sequence.

        Parameters
        ----------
        parts
            Places of tokens in the split, in order, and the segment that they are of. -1 stands for a [SEP]; one is
            put behind each part, and a [CLS] before the first.
        label
            What the column `labels` holds.
        cut
            Words of the parts that were cut off.
        """
        source = self.tokens
        places = np.concatenate([np.array([-2]), *(np.append(part, -1) for part, _ in parts)])
        real, at = places >= 0, places.clip(min=0)
        special = np.where(places == -1, self.end, self.start)
        self._columns["input_ids"].append(np.where(real, source.ids[at], special).astype(np.int32))
        words = np.where(real, source.words[at], -1)
        starts = real & (words != np.concatenate([[-1], words[:-1]]))
        self._columns["words"].append(np.where(real, starts.cumsum() - 1, -1).astype(np.int32))
        self._columns["capitals"].append(real & source.capitals[at])
        lengths = [len(part) + 1 for part, _ in parts]
        lengths[0] += 1
        self._columns["types"].append(np.repeat([segment for _, segment in parts], lengths).astype(np.int8))
        self._labels.append(label)
        self._cut.append(cut)

    def __len__(self) -> int:
        return len(self._labels)

    def dataset(self, fingerprint: str, *, segments: bool) -> Dataset:
        """Return the sequences with the columns of an encoded task (data/encode.py); `segments`: with segment ids."""
        lengths = [len(row) for row in self._columns["input_ids"]]
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))

        def lists(name: str) -> pa.ListArray:
            return pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(self._columns[name])))

        columns: dict[str, Any] = {
            "example": (Value("int64"), pa.array(range(len(self)), pa.int64())),
            "input_ids": (List(Value("int32")), lists("input_ids")),
            "words": (List(Value("int32")), lists("words")),
            "capitals": (List(Value("bool")), lists("capitals")),
            "labels": (Value("int64"), pa.array(self._labels, pa.int64())),
            "length": (Value("int32"), pa.array(lengths, pa.int32())),
            "truncated": (Value("int32"), pa.array(self._cut, pa.int32())),
        }
        if segments:
            columns["token_type_ids"] = (List(Value("int8")), lists("types"))
        features = Features({name: kind for name, (kind, _) in columns.items()})
        table = pa.table({name: values for name, (_, values) in columns.items()}, schema=features.arrow_schema)
        return Dataset(table, fingerprint=fingerprint)


def running(made: Sequences, length: int) -> int:
    """Cut the text of a split into sequences of `length` tokens; only the last one may be shorter.

    A [SEP] stands between two documents. Returns how many words a border goes through.
    """
    tokens, width = made.tokens, length - 2
    last = np.append(tokens.documents[1:] != tokens.documents[:-1], False)
    # -1 behind the last token of each document but the last
    stream = np.insert(np.arange(len(tokens.ids)), tokens.ends[last], -1)
    cut = place = 0
    while place < len(stream):
        place += int(stream[place] < 0)  # a sequence does not begin with the [SEP] of a document that ended before
        part = stream[place : place + width]
        place += width
        made.add([(part, 0)])
        if place < len(stream) and part[-1] >= 0 and stream[place] >= 0:
            cut += int(tokens.words[part[-1]] == tokens.words[stream[place]])
    return cut


def pairs(made: Sequences, length: int, rng: np.random.Generator, where: str) -> int:
    """Make pairs of neighbouring runs of whole sentences, and give half of them the second run of another document.

    Each sentence stands in one pair. Label 0: B follows A; 1: B is random. Returns how many documents have a single
    sentence, which makes no pair.

    Raises
    ------
    InputError
        Beginning with `where`, if no document has two sentences, or all that has is of one document.
    """
    tokens, room = made.tokens, length - 3
    found, alone = _neighbours(tokens, room)
    seconds = [second for _, second, _ in found]
    chosen = np.sort(rng.permutation(len(found))[: len(found) // 2])
    if not len(chosen):
        raise InputError(
            f"{where}: next_sentence: expected two pairs of sentences that follow each other in a document"
        )
    for target, source in _exchanged(found, chosen, rng, where):
        seconds[target] = found[source][1]
    random = set(chosen.tolist())
    for number, ((first, _, _), second) in enumerate(zip(found, seconds, strict=True)):
        one, two = _fitting(first, second, room, tokens.words)
        lost = len(first) + len(second) - len(one) - len(two)
        words = len(np.unique(tokens.words[np.concatenate([first[: len(first) - len(one)], second[len(two) :]])]))
        made.add([(one, 0), (two, 1)], label=int(number in random), cut=words if lost else 0)
    return alone


_Pair = tuple["NDArray[np.int64]", "NDArray[np.int64]", int]
"""Places of the tokens of two runs of sentences, and the number of their document."""


def _neighbours(tokens: Tokens, room: int) -> tuple[list[_Pair], int]:
    """Return pairs of runs of sentences that follow each other, and how many documents have none.

    As many sentences as fit into `room` tokens are taken at once and parted where the two runs differ least in length.
    """
    begins = np.concatenate([[0], tokens.ends[:-1]])
    borders = np.flatnonzero(np.diff(tokens.documents, prepend=-1, append=-1))
    found: list[_Pair] = []
    alone = 0
    for number, (first, behind) in enumerate(pairwise(borders.tolist())):
        here = first
        alone += behind - first == 1
        while behind - here > 1:
            taken = int(np.searchsorted(tokens.ends[here:behind] - begins[here], room, side="right"))
            taken = max(taken, 2)
            if behind - here - taken == 1:
                taken += -1 if taken > 2 else 1  # so that no sentence is left alone
            inner = tokens.ends[here : here + taken - 1]
            end = int(tokens.ends[here + taken - 1])
            border = int(inner[np.abs(inner - (begins[here] + end) / 2).argmin()])
            found.append((np.arange(begins[here], border), np.arange(border, end), number))
            here += taken
    return found, alone


def _fitting(
    one: NDArray[np.int64], two: NDArray[np.int64], room: int, words: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shorten two runs by whole words until they fit: the first at its beginning, the second at its end."""
    if len(one) + len(two) <= room:
        return one, two
    first = max(min(len(one), room - room // 2), room - len(two))
    skipped = len(one) - first
    while 0 < skipped < len(one) - 1 and words[one[skipped]] == words[one[skipped - 1]]:
        skipped += 1
    one = one[skipped:]
    kept = min(len(two), room - len(one))
    while 1 < kept < len(two) and words[two[kept]] == words[two[kept - 1]]:
        kept -= 1
    return one, two[:kept]


def _exchanged(
    found: Sequence[_Pair], chosen: NDArray[np.int64], rng: np.random.Generator, where: str
) -> list[tuple[int, int]]:
    """Return for each chosen pair the pair, of another document, whose second run it gets: each is given once.

    Neighbours in the order of the lengths of second runs give to each other, so that lengths tell nothing.
    """
    lengths = np.array([len(found[pair][1]) for pair in chosen], dtype=np.int64)
    order = chosen[np.lexsort((rng.random(len(chosen)), lengths))]
    givers = np.roll(order, 1)
    documents = np.array([document for _, _, document in found])
    for place in np.flatnonzero(documents[order] == documents[givers]):
        if documents[order[place]] != documents[givers[place]]:
            continue  # an earlier exchange has mended it
        fits = (documents[order[place]] != documents[givers]) & (documents[order] != documents[givers[place]])
        if not fits.any():
            raise InputError(
                f"{where}: next_sentence: too many of its pairs are of one document to take a random segment from "
                "another; expected more documents"
            )
        others = np.flatnonzero(fits)
        other = others[np.abs(others - place).argmin()]
        givers[[place, other]] = givers[[other, place]]
    return list(zip(order.tolist(), givers.tolist(), strict=True))
