"""Rows of two texts as columns of token ids: the first text whole, the second in windows that overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets import Features, List, Value

from maskbench.config.kinds import TASK_KINDS
from maskbench.data.encoder import Encoder, capitals_at
from maskbench.data.segments import words_of_pieces
from maskbench.errors import InputError
from maskbench.models.tokens import encode_pairs_as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tokenizers import Encoding

    Span = tuple[int, int]


@dataclass
class PairEncoder(Encoder):
    """Encodes a batch of rows of two texts, each as one window or several.

    A kind of task is asked for the labels of windows: its prepared columns have a value for each window then, and there
    are `segments` (0 for pieces of the first text, 1 for those of the second), `begins` and `ends` (the characters of a
    piece of the second text, as it was prepared; -1 for others) and `none` (the place of the token that stands for no
    place in it: the tokenizer's token for classes or, without one, the first).
    """

    stride: int = 0
    """Pieces of the second text that two windows share."""

    @property
    def features(self) -> Features:
        """Types of the columns of an encoded row."""
        return Features({**super().features, "segments": List(Value("int8"))})

    def __call__(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the columns for a batch of prepared rows: one encoded row for each window."""
        first, second = TASK_KINDS[self.kind].texts
        pairs = list(zip(batch[first], batch[second], strict=True))
        names = [f"{self.file}: example {example}: the {first}" for example in batch["example"]]
        texts, windows = encode_pairs_as_text(self.tokenizer, pairs, self.max_length, self.stride, names)
        rows: list[int] = []
        encodings: list[Encoding] = []
        found: dict[str, list[Any]] = {
            name: [] for name in ("words", "capitals", "segments", "begins", "ends", "none", "truncated")
        }
        for row, (pair, own) in enumerate(zip(texts, windows, strict=True)):
            read = _Read.of(own, pair, pairs[row][1], self.stride)
            if not read.first and not read.second:
                example = batch["example"][row]
                raise InputError(f"{self.file}: example {example}: the tokenizer makes no token of it")
            self._count(own, read)
            for number, encoding in enumerate(own):
                rows.append(row)
                encodings.append(encoding)
                for name, values in read.window(number, encoding.sequence_ids).items():
                    found[name].append(values)
                found["none"].append(self._none(encoding))
                found["truncated"].append(0)
        kept = {name: found.pop(name) for name in ("words", "capitals", "segments", "truncated")}
        repeated = {name: [values[row] for row in rows] for name, values in batch.items()}
        return self.columns({**repeated, **found, "segments": kept["segments"]}, encodings, kept)

    def _none(self, encoding: Encoding) -> int:
        """Return the place of the token that stands for no place in the second text."""
        wanted = self.tokenizer.cls_token_id
        return encoding.ids.index(wanted) if wanted in encoding.ids else 0

    def _count(self, windows: Sequence[Encoding], read: _Read) -> None:
        """Count the words and tokens of a row, each piece of a text once."""
        self.counts["tokens"] += sum(len(window.ids) for window in windows)
        self.counts["words"] += len({piece.word for piece in (*read.first, *read.second)} - {-1})
        pieces = [piece.token for piece in (*read.first, *read.second)]
        self.counts["text_tokens"] += len(pieces)
        self.counts["unknown_tokens"] += pieces.count(self.tokenizer.unk_token_id)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A subword of one of the texts."""

    token: int
    word: int
    """Number of its word; the words of the second text go on where those of the first end."""
    capitals: bool
    """Whether its word looks like a name."""
    span: Span
    """Its characters in the text as it was prepared."""


@dataclass(frozen=True)
class _Read:
    """Both texts of a row, taken apart once, whatever number of windows there is."""

    first: list[_Piece]
    second: list[_Piece]
    starts: list[int]
    """For each window, which piece of the second text is its first."""

    @classmethod
    def of(cls, windows: Sequence[Encoding], texts: Sequence[str], prepared: str, stride: int) -> _Read:
        """Put the windows of a row together.

        Parameters
        ----------
        windows
            From left to right; each begins `stride` pieces before the end of the last.
        texts
            Both, as they were encoded.
        prepared
            The second text as it was prepared: in what was encoded there may be spaces more.
        """
        first, *parts = [
            _pieces(windows[0], 0),
            *(_pieces(window, 1)[stride if number else 0 :] for number, window in enumerate(windows)),
        ]
        starts, behind = [], 0
        for number, part in enumerate(parts):
            starts.append(behind - (stride if number else 0))
            behind += len(part)
        place = _places(texts[1], prepared)
        front = _named(texts[0], [first], 0)
        words = 1 + max((piece.word for piece in front), default=-1)
        back = _named(texts[1], parts, words)
        return cls(front, [_placed(piece, place, prepared) for piece in back], starts)

    def window(self, number: int, sequences: Sequence[int | None]) -> dict[str, list[Any]]:
        """Return the columns of one window, of whose pieces `sequences` say which text they are of."""
        texts = {0: iter(self.first), 1: iter(self.second[self.starts[number] :])}
        pieces = [None if sequence is None else (sequence, next(texts[sequence])) for sequence in sequences]
        spans = [found[1].span if found is not None and found[0] == 1 else (-1, -1) for found in pieces]
        return {
            "words": [-1 if found is None else found[1].word for found in pieces],
            "capitals": [found is not None and found[1].capitals for found in pieces],
            "segments": [0 if found is None else found[0] for found in pieces],
            "begins": [start for start, _ in spans],
            "ends": [end for _, end in spans],
        }


def _pieces(window: Encoding, sequence: int) -> list[tuple[int, int | None, Span]]:
    """Return token, word and characters of each piece of one of the texts in a window."""
    pieces = zip(window.ids, window.word_ids, window.offsets, window.sequence_ids, strict=True)
    return [(token, word, span) for token, word, span, of in pieces if of == sequence]


def _named(text: str, parts: Sequence[Sequence[tuple[int, int | None, Span]]], words: int) -> list[_Piece]:
    """Return the pieces of a text with the numbers of their words, from `words` on."""
    given = (([word for _, word, _ in part], [span for _, _, span in part]) for part in parts)
    numbers = [number for part in words_of_pieces(text, given) for number in part]
    spans = [span for part in parts for _, _, span in part]
    names = capitals_at(text, spans, numbers)
    tokens = (token for part in parts for token, _, _ in part)
    return [
        _Piece(token, number + words if number >= 0 else -1, name, span)
        for token, number, name, span in zip(tokens, numbers, names, spans, strict=True)
    ]


def _placed(piece: _Piece, place: Sequence[int], prepared: str) -> _Piece:
    """Return a piece with its characters in the prepared text, without the white space that some tokenizers take in."""
    start, end = (place[side] for side in piece.span)
    while start < end and prepared[start].isspace():
        start += 1
    while end > start and prepared[end - 1].isspace():
        end -= 1
    return _Piece(piece.token, piece.word, piece.capitals, (start, end))


def _places(encoded: str, prepared: str) -> Sequence[int]:
    """Return for each character of a text as it was encoded, and its end, the character of the prepared text."""
    if encoded == prepared:
        return range(len(prepared) + 1)
    return list(_aligned(encoded, prepared))


def _aligned(encoded: str, prepared: str) -> Iterator[int]:
    """Yield the places of `_places` where the encoded text has spaces that the prepared one has not."""
    place = 0
    for letter in encoded:
        yield place
        place += place < len(prepared) and prepared[place] == letter
    yield place
