"""Rows of prepared text as columns of token ids, with counts of what is cut off or lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datasets import Features, List, Value

from maskbench.data.segments import words_of_pieces
from maskbench.data.surface import name_like
from maskbench.errors import InputError
from maskbench.kinds import encoding, traits
from maskbench.models.tokens import MASKED, before_word, encode_as_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase


@dataclass
class Encoder:
    """Encodes a batch of rows, and counts what is cut off or lost."""

    tokenizer: PreTrainedTokenizerBase
    kind: str
    max_length: int
    file: str
    mask: int | None = None
    """Token id of what the tokenizer reads as `MASKED`, a word that `shift` masked; None: there are none."""
    with_types: bool = False
    """Whether rows have segment ids."""
    counts: Counter[str] = field(default_factory=Counter)
    documents: bool = False
    """Whether the rows say which document they are from; it is kept."""

    def __post_init__(self) -> None:
        self.counts = Counter(words=0, truncated_examples=0, truncated_words=0, words_without_tokens=0, tokens=0)
        self.counts.update(text_tokens=0, unknown_tokens=0)
        self.of_kind = encoding.of(self.kind)
        self.given = traits.of(self.kind).words_given
        self.prefix = before_word(self.tokenizer) if self.given else ""

    @property
    def features(self) -> Features:
        """Types of the columns of an encoded row."""
        columns = {
            "example": Value("int64"),
            "input_ids": List(Value("int32")),
            "words": List(Value("int32")),
            "capitals": List(Value("bool")),
            "labels": self.of_kind.feature(),
            "length": Value("int32"),
            "truncated": Value("int32"),
        }
        columns |= self.of_kind.more_features()
        if self.documents:
            columns["document"] = Value("int64")
        if self.with_types:
            columns["token_type_ids"] = List(Value("int8"))
        return Features(columns)

    def __call__(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the columns for a batch of prepared rows."""
        texts = [[self._spelled(word) for word in words] for words in batch["tokens"]] if self.given else batch["text"]
        texts, encodings = encode_as_text(self.tokenizer, texts, self.max_length)
        words, capitals, cut_off = [], [], []
        for row, (text, encoded) in enumerate(zip(texts, encodings, strict=True)):
            before = self.counts["truncated_words"]
            words.append(self._words(row, text, encoded, batch))
            cut_off.append(self.counts["truncated_words"] - before)
            found = words[-1]
            capitals.append(_capitals(found, batch["tokens"][row]) if self.given else capitals_of(text, encoded, found))
        return self.columns(batch, encodings, {"words": words, "capitals": capitals, "truncated": cut_off})

    def columns(
        self, batch: Mapping[str, list[Any]], encodings: Sequence[Any], own: Mapping[str, list[Any]]
    ) -> dict[str, list[Any]]:
        """Return all columns of encoded rows.

        Parameters
        ----------
        batch
            Columns of the prepared rows, a value for each encoded row.
        encodings
            What the tokenizer made of each.
        own
            `words`, `capitals` and `truncated`, and what else the encoded rows have.
        """
        ids = [encoded.ids for encoded in encodings]
        if self.mask is not None:
            masked, mask = self.mask, self.tokenizer.mask_token_id
            ids = [[mask if token == masked else token for token in row] for row in ids]
        columns = {
            "example": batch["example"],
            "input_ids": ids,
            **own,
            "labels": self.of_kind.labels(batch, own["words"]),
            "length": [len(row) for row in ids],
        }
        columns |= self.of_kind.more(batch)
        if self.documents:
            columns["document"] = batch["document"]
        if self.with_types:
            columns["token_type_ids"] = [encoded.type_ids for encoded in encodings]
        return columns

    def _spelled(self, word: str) -> str:
        """Return what the tokenizer is given for a word."""
        return word if self.mask is not None and word == MASKED else self.prefix + word

    def _words(self, row: int, text: Any, encoded: Any, batch: Mapping[str, list[Any]]) -> list[int]:
        """Return the word of each subword of one row, and count what is missing."""
        parts = [encoded, *encoded.overflowing]
        if self.given:
            found = [[-1 if word is None else word for word in part.word_ids] for part in parts]
        else:
            found = words_of_pieces(text, ((part.word_ids, part.offsets) for part in parts))
        if not (words := found[0]):
            raise InputError(f"{self.file}: example {batch['example'][row]}: the tokenizer makes no token of it")
        kept = set(words) - {-1}
        beyond = set().union(*found[1:]) - kept - {-1}
        self.counts["tokens"] += len(words)
        own = [token for token, word in zip(encoded.ids, words, strict=True) if word >= 0]
        self.counts["text_tokens"] += len(own)
        self.counts["unknown_tokens"] += own.count(self.tokenizer.unk_token_id)
        self.counts["truncated_examples"] += bool(encoded.overflowing)
        self.counts["truncated_words"] += len(beyond)
        self.counts["words"] += len(batch["tokens"][row]) if self.given else len(kept) + len(beyond)
        if self.given:
            self.counts["words_without_tokens"] += len(batch["tokens"][row]) - len(kept) - len(beyond)
        return words


def capitals_of(text: str, encoded: Any, words: list[int]) -> list[bool]:
    """Return for each subword of an encoded text whether its word, one of `words`, looks like a name."""
    return capitals_at(text, encoded.offsets, words)


def capitals_at(text: str, offsets: Sequence[tuple[int, int]], words: list[int]) -> list[bool]:
    """Return for each piece of a text, of which `offsets` say the characters, whether its word looks like a name."""
    return _capitals(words, _surface(text, offsets, words))


def _surface(text: str, offsets: Sequence[tuple[int, int]], words: list[int]) -> list[str]:
    """Return how each word of an encoded text is written; a word without subwords is empty."""
    spans: dict[int, tuple[int, int]] = {}
    for word, (start, end) in zip(words, offsets, strict=True):
        spans[word] = (spans[word][0] if word in spans else start, end)
    return [text[slice(*spans.get(word, (0, 0)))].strip() for word in range(max(words, default=-1) + 1)]


def _capitals(words: list[int], surface: Sequence[str]) -> list[bool]:
    """Return for each subword whether its word looks like a name."""
    found = name_like(surface)
    return [word >= 0 and found[word] for word in words]
