"""Readers of the file formats: every row with the line it stands on, or one clear line that says what is wrong."""

from __future__ import annotations

import json
import math
import unicodedata
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskbench.config.sources import HubSource
from maskbench.data import columns
from maskbench.data import tags as schemes
from maskbench.data.columns import Place, Seen
from maskbench.data.tags import Writing
from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from maskbench.config.tasks import Column, Task


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text."""

    line: int
    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """One tagged sentence; `tags` are valid in one of the schemes of tags.py, as the file writes them."""

    line: int
    tokens: list[str]
    tags: list[str]
    lines: list[int] | None = None
    """Line of each token; None if all stand on one."""
    document: int | None = None
    """Number of its document in the file; None: the file does not say where documents begin."""

    def line_of(self, token: int) -> int:
        """Return the line that a token stands on."""
        return self.line if self.lines is None else self.lines[token]


@dataclass(frozen=True)
class Table:
    """All rows of one file: `examples` in classification, `sentences` in tagging."""

    place: Place
    examples: list[Example] = field(default_factory=list)
    sentences: list[Sentence] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    """What was seen beside them; among what it counts as dropped are rows of a hub dataset that hold no text, which
    in a user's own file are an error."""


@dataclass(frozen=True)
class _File:
    """A file that is being read."""

    task: Task
    path: Path
    place: Place
    seen: Seen
    names: list[str] | None
    """Hub datasets: what the numbers in the column of labels stand for."""
    writing: Writing
    """How tags are written."""


def read(task: Task, path: Path, shown: str, class_labels: Mapping[str, list[str]] | None = None) -> Table:
    """Read one file of a task.

    Parameters
    ----------
    task
        Its keys from `format` to `labels` say how.
    path
        The file.
    shown
        Its name in messages.
    class_labels
        Hub datasets: for each column with numbers as labels, the names that they stand for.

    Raises
    ------
    InputError
        ``<file>:<line>: <reason>`` for the first thing that is wrong, or if there is no row at all.
    """
    hub = isinstance(task.source, HubSource)
    writing = Writing(task.scheme, None if task.labels is None else tuple(task.labels))
    names = (class_labels or {}).get(str(task.label))
    file = _File(task, path, Place(shown, "row" if hub else "line"), Seen(), names, writing)
    examples: list[Example] = []
    sentences: list[Sentence] = []
    if task.kind == "sequence-classification":
        examples = list(_hub_texts(file) if hub else _texts(file))
    else:
        sentences = list(_hub_sentences(file) if hub else _conll(file) if task.format == "conll" else _tagged(file))
    if not examples and not sentences:
        raise InputError(f"{shown}: no rows: expected at least one")
    return Table(file.place, examples, sentences, file.seen)


def _value(row: Mapping[str, Any], column: Column, line: int, place: Place) -> Any:
    """Return one value of a JSON object."""
    if column not in row:
        raise place.error(line, f"no key {column!r}; the keys are {columns.named(list(row)) or '(none)'}")
    return row[str(column)]


# --- values


def _word(value: Any, what: str, line: int, place: Place) -> str:
    """Return a label, or a number or truth value used as one, as a word."""
    if isinstance(value, str):
        word = _encodable(value, what, line, place).strip()
        if not word:
            raise place.error(line, f"{what} is empty")
        return word
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    raise place.error(line, f"{what}: expected a word or a number, got {_brief(value)}")


def _text(value: Any, line: int, place: Place) -> str:
    """Return a text without white space at its ends; an empty one is an error."""
    if not isinstance(value, str):
        raise place.error(line, f"text: expected text, got {_brief(value)}")
    text = _encodable(value, "text", line, place).strip()
    if not text:
        raise place.error(line, "text is empty")
    return text


def _encodable(value: str, what: str, line: int, place: Place) -> str:
    """Refuse half a surrogate pair, which JSON can escape and no UTF-8 file can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise place.error(line, f"{what}: half of a surrogate pair ({value[:20]!a}) is no character") from None
    return value


def _brief(value: Any) -> str:
    """Show a value in a message."""
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def _sentence(file: _File, tokens: Any, tags: Any, line: int, lines: list[int] | None = None) -> Sentence | None:
    """Check tokens and tags, and read the tags; None if no token is left because all were empty."""
    place = file.place
    if not isinstance(tokens, list) or not all(isinstance(item, str) for item in tokens):
        raise place.error(line, f"tokens: expected a list of words, got {_brief(tokens)}")
    if not isinstance(tags, list) or not all(isinstance(item, str) or type(item) is int for item in tags):
        raise place.error(line, f"tags: expected a list of words or whole numbers, got {_brief(tags)}")
    if len(tokens) != len(tags):
        raise place.error(line, f"{len(tokens)} tokens but {len(tags)} tags")
    if not tokens:
        raise place.error(line, "text is empty")
    read = []
    for position, (token, tag) in enumerate(zip(tokens, tags, strict=True)):
        here = line if lines is None else lines[position]
        _encodable(token, "token", here, place)
        read.append(_tag(file, tag, here))
    if file.task.empty_tokens == "drop":
        return _without_empty(file, Sentence(line, tokens, read, lines))
    return Sentence(line, tokens, read, lines)


def _tag(file: _File, tag: str | int, line: int) -> str:
    """Read a tag as the task's scheme writes it."""
    if isinstance(tag, str):
        _encodable(tag, "tag", line, file.place)
    try:
        read = file.writing.read(tag)
    except ValueError as error:
        raise file.place.error(line, str(error)) from None
    file.seen.numbered += schemes.is_number(tag) and read != tag
    return read


def invisible(token: str) -> bool:
    """Tell whether nothing of a token can be seen: it is empty, or white space, controls, joiners and selectors."""
    return all(
        letter.isspace()
        or unicodedata.category(letter) in ("Cc", "Cf")
        or "\ufe00" <= letter <= "\ufe0f"
        or "\U000e0100" <= letter <= "\U000e01ef"
        for letter in token
    )


def _without_empty(file: _File, sentence: Sentence) -> Sentence | None:
    """Leave out tokens that cannot be seen; what is left first of a mention begins it."""
    tokens, tags, lines = [], [], []
    begun = ""
    for position, (token, tag) in enumerate(zip(sentence.tokens, sentence.tags, strict=True)):
        prefix, entity = schemes.parse(tag)
        if invisible(token):
            file.seen.dropped["empty token"] += 1
            begun = entity if prefix == "B" or (begun == entity and prefix == "I") else ""
            continue
        if begun and begun == entity and prefix in "IEL":
            tag = f"{'B' if prefix == 'I' else 'S'}-{entity}"
        begun = ""
        tokens.append(token)
        tags.append(tag)
        lines.append(sentence.line_of(position))
    return Sentence(lines[0], tokens, tags, lines) if tokens else None


# --- rows of each kind of task


def _texts(file: _File) -> Iterator[Example]:
    """Yield the labelled texts of a CSV, TSV or JSON lines file."""
    task, place = file.task, file.place
    rows: Iterator[tuple[int, Any, Any]]
    if task.format == "jsonl":
        found = columns.objects(task, file.path, place, file.seen)
        rows = ((line, *(_value(row, key, line, place) for key in (task.text, task.label))) for line, row in found)
    else:
        rows = columns.fields(task, file.path, place, file.seen)
    for line, text, label in rows:
        yield Example(line, _text(text, line, place), _word(label, "label", line, place))


def _tagged(file: _File) -> Iterator[Sentence]:
    """Yield the tagged sentences of a JSON lines file."""
    task, place = file.task, file.place
    for line, row in columns.objects(task, file.path, place, file.seen):
        tokens, tags = (_value(row, column, line, place) for column in (task.text, task.label))
        sentence = _sentence(file, tokens, tags, line)
        if sentence is None:
            file.seen.dropped["no text"] += 1
            continue
        if not all(token.strip() for token in sentence.tokens):
            raise place.error(line, "a token is empty; it is left out with empty_tokens: drop")
        yield sentence


def _conll(file: _File) -> Iterator[Sentence]:
    """Yield the sentences of a CoNLL file: one token a line, an empty line between sentences."""
    words: list[columns.Word] = []

    def ended() -> Iterator[Sentence]:
        if words:
            lines = [word.line for word in words]
            sentence = _sentence(file, [word.token for word in words], [word.tag for word in words], lines[0], lines)
            words.clear()
            if sentence is not None:
                yield replace(sentence, document=document)

    document: int | None = None
    for word in columns.words(file.task, file.path, file.place, file.seen):
        if not word.fields:
            yield from ended()
            if word.opens:
                document = 0 if document is None else document + 1
            continue
        if not word.token.strip() and file.task.empty_tokens == "refuse":
            raise file.place.error(word.line, "the token is empty; it is left out with empty_tokens: drop")
        if word.first.startswith("#") and file.task.comments is None:
            _no_comment(file, word)
        words.append(word)
    yield from ended()


def _no_comment(file: _File, word: columns.Word) -> None:
    """Refuse a line that begins with # and has no tag, and say how it is left out."""
    try:
        file.writing.read(word.tag)
    except ValueError as error:
        advice = 'if lines that begin with # are comments, set comments: "#"'
        raise file.place.error(word.line, f"{error}; {advice}") from None


# --- parquet from the hub


def _hub_rows(file: _File) -> Iterator[tuple[int, Any, Any]]:
    """Yield row number, text and label of a parquet file."""
    task, place = file.task, file.place
    try:
        opened = pq.ParquetFile(file.path)
        names = opened.schema_arrow.names
        wanted = [
            names[columns.index_of(column, key, names, place)]
            for key, column in (("text", task.text), ("label", task.label))
        ]
        table = opened.read(wanted)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{place.file}: not a parquet file: {error}") from None
    pairs = zip(*(table.column(name).to_pylist() for name in wanted), strict=True)
    for number, (text, label) in enumerate(pairs, 1):
        yield number, text, label


def _named(file: _File, value: Any, number: int) -> Any:
    """Return the name that a ClassLabel stands for; anything else as it is."""
    if file.names is None or not isinstance(value, int):
        return value
    if not 0 <= value < len(file.names):
        hint = "; the labels of this split are not public" if value == -1 else ""
        raise file.place.error(number, f"label {value} is outside 0 ... {len(file.names) - 1}{hint}")
    return file.names[value]


def _hub_texts(file: _File) -> Iterator[Example]:
    """Yield the labelled texts of a hub dataset; rows without text, which nobody here can repair, are counted."""
    for number, text, label in _hub_rows(file):
        if text is None or (isinstance(text, str) and not text.strip()):
            file.seen.dropped["no text"] += 1
            continue
        word = _word(_named(file, label, number), "label", number, file.place)
        yield Example(number, _text(text, number, file.place), word)


def _hub_sentences(file: _File) -> Iterator[Sentence]:
    """Yield the tagged sentences of a hub dataset; rows without tokens are counted."""
    for number, tokens, tags in _hub_rows(file):
        if not tokens and not tags:
            file.seen.dropped["no text"] += 1
            continue
        if isinstance(tags, list):
            if file.names is None and file.task.labels is None and any(isinstance(tag, int) for tag in tags):
                raise file.place.error(
                    number,
                    f"{file.task.label}: tags are numbers, and the dataset does not say what they stand for; name "
                    "them with labels, all tags in the order of their numbers",
                )
            tags = [_named(file, tag, number) for tag in tags]
        sentence = _sentence(file, tokens, tags, number)
        if sentence is None:
            file.seen.dropped["no text"] += 1
        else:
            yield sentence
