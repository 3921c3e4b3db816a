"""Readers of the file formats: every row with the line it stands on, or one clear line that says what is wrong."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskbench.config.sources import HubSource
from maskbench.data import tags as schemes
from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from maskbench.config.tasks import Column, Task


@dataclass(frozen=True, slots=True)
class Place:
    """The file that messages name, and what its rows are counted in."""

    file: str
    unit: str = "line"

    def error(self, line: int, reason: str) -> InputError:
        """Return the error to raise for a row, counted from 1."""
        return InputError(
            f"{self.file}:{line}: {reason}" if self.unit == "line" else f"{self.file}: {self.unit} {line}: {reason}"
        )


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text."""

    line: int
    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """One tagged sentence; `tags` are valid in one of the schemes of tags.py, as found in the file."""

    line: int
    tokens: list[str]
    tags: list[str]
    lines_per_token: int = 0

    def line_of(self, token: int) -> int:
        """Return the line that a token stands on."""
        return self.line + token * self.lines_per_token


@dataclass(frozen=True)
class Table:
    """All rows of one file: `examples` in classification, `sentences` in tagging."""

    place: Place
    examples: list[Example] = field(default_factory=list)
    sentences: list[Sentence] = field(default_factory=list)
    without_text: int = 0
    """Rows of a hub dataset that hold no text and were left out; in a user's own file they are an error."""


def read(task: Task, path: Path, shown: str, class_labels: Mapping[str, list[str]] | None = None) -> Table:
    """Read one file of a task.

    Parameters
    ----------
    task
        Its `format`, `text`, `label`, `header`, `columns` and `separator` say how.
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
    place = Place(shown, "row" if hub else "line")
    names = (class_labels or {}).get(str(task.label))
    found: list[Example | Sentence | None]
    if task.kind == "sequence-classification":
        found = list(_hub_texts(task, path, place, names) if hub else _texts(task, path, place))
    else:
        found = list(_hub_sentences(task, path, place, names) if hub else _sentences(task, path, place))
    examples = [row for row in found if isinstance(row, Example)]
    sentences = [row for row in found if isinstance(row, Sentence)]
    if not examples and not sentences:
        raise InputError(f"{shown}: no rows: expected at least one")
    return Table(place, examples, sentences, without_text=found.count(None))


# --- bytes, lines and columns


def _decode(path: Path, place: Place) -> str:
    """Read UTF-8, with or without a byte order mark."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{place.file}: cannot be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # error.object lacks the byte order mark, so count in it and not in `raw`
        before = error.object[: error.start]
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        raise place.error(
            before.count(b"\n") + 1,
            f"not UTF-8 (byte 0x{error.object[error.start]:02x} at position {column}); save the file as UTF-8",
        ) from None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines, counted from 1, without their LF or CRLF (str.splitlines would split at eight more characters)."""
    for number, line in enumerate(text.split("\n"), 1):
        yield number, line.removesuffix("\r")


def _csv_rows(text: str, delimiter: str, place: Place) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file with the line that each starts on; a quoted field may span lines."""
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise InputError(f"{place.file}: separator: expected one character for CSV, got {delimiter!r}")
    csv.field_size_limit(2**31 - 1)  # a long document is no error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        for row in reader:
            if row:
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        reason = "a quoted field is never closed" if "unexpected end" in str(error) else str(error)
        raise place.error(start, f"not valid CSV: {reason}") from None


def _tsv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a TSV file; a quotation mark is text like any other, as in GLUE."""
    for number, line in _lines(text):
        if line:
            yield number, line.split("\t")


def _index(column: Column, key: str, names: Sequence[str], place: Place) -> int:
    """Return the position of a column given by name or by number (-1 is the last)."""
    known = ", ".join(names)
    if isinstance(column, int):
        if not -len(names) <= column < len(names):
            raise InputError(f"{place.file}: {key}: no column {column}, there are {len(names)} ({known})")
        return column % len(names)
    if names.count(column) != 1:
        problem = f"no column {column!r}" if column not in names else f"two columns are called {column!r}"
        raise InputError(f"{place.file}: {key}: {problem}; the columns are {known}")
    return names.index(column)


def _fields(task: Task, path: Path, place: Place) -> Iterator[tuple[int, str, str]]:
    """Yield line, text and label of the rows of a CSV or TSV file."""
    content = _decode(path, place)
    rows = _csv_rows(content, task.separator or ",", place) if task.format == "csv" else _tsv_rows(content)
    names = task.columns if not task.header else None
    text = label = -1
    for line, row in rows:
        if names is None or text < 0:
            header, names = names is None, names or [name.strip() for name in row]
            text, label = _index(task.text, "text", names, place), _index(task.label, "label", names, place)
            if header:
                continue
        if len(row) != len(names):
            raise place.error(line, f"expected {len(names)} fields ({', '.join(names)}), found {len(row)}")
        yield line, row[text], row[label]


def _objects(path: Path, place: Place) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON lines file; blank lines are skipped."""
    for line, content in _lines(_decode(path, place)):
        if not content.strip():
            continue
        try:
            value = json.loads(content)
        except json.JSONDecodeError as error:
            raise place.error(line, f"not valid JSON: {error.msg} at position {error.colno}") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
            raise place.error(line, f"not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise place.error(line, 'expected a JSON object, such as {"text": ..., "label": ...}')
        yield line, value


def _value(row: Mapping[str, Any], column: Column, line: int, place: Place) -> Any:
    """Return one value of a JSON object."""
    if column not in row:
        raise place.error(line, f"no key {column!r}; the keys are {', '.join(row) or '(none)'}")
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


def _sentence(tokens: Any, tags: Any, line: int, place: Place) -> Sentence:
    """Check the two lists of a JSON object or a hub row."""
    for name, value in (("tokens", tokens), ("tags", tags)):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise place.error(line, f"{name}: expected a list of words, got {_brief(value)}")
    if len(tokens) != len(tags):
        raise place.error(line, f"{len(tokens)} tokens but {len(tags)} tags")
    if not tokens:
        raise place.error(line, "text is empty")
    for token, tag in zip(tokens, tags, strict=True):
        _encodable(token, "token", line, place)
        _tag(_encodable(tag, "tag", line, place), line, place)
    return Sentence(line, tokens, tags)


def _tag(tag: str, line: int, place: Place) -> None:
    """Refuse a tag that belongs to no scheme."""
    try:
        schemes.parse(tag)
    except ValueError as error:
        raise place.error(line, str(error)) from None


# --- rows of each kind of task


def _texts(task: Task, path: Path, place: Place) -> Iterator[Example | None]:
    """Yield the labelled texts of a CSV, TSV or JSON lines file."""
    if task.format == "jsonl":
        for line, row in _objects(path, place):
            text, label = (_value(row, column, line, place) for column in (task.text, task.label))
            yield Example(line, _text(text, line, place), _word(label, "label", line, place))
    else:
        for line, text, label in _fields(task, path, place):
            yield Example(line, _text(text, line, place), _word(label, "label", line, place))


def _sentences(task: Task, path: Path, place: Place) -> Iterator[Sentence | None]:
    """Yield the tagged sentences of a CoNLL or JSON lines file."""
    if task.format == "conll":
        yield from _conll(task, path, place)
        return
    for line, row in _objects(path, place):
        tokens, tags = (_value(row, column, line, place) for column in (task.text, task.label))
        sentence = _sentence(tokens, tags, line, place)
        if not all(token.strip() for token in tokens):
            raise place.error(line, "a token is empty")
        yield sentence


def _conll(task: Task, path: Path, place: Place) -> Iterator[Sentence]:
    """Yield the sentences of a CoNLL file: one token a line, an empty line between sentences."""
    text = label = width = first = start = 0
    tokens: list[str] = []
    tags: list[str] = []
    for line, fields in _conll_rows(task.separator, path, place):
        if fields and not width:
            width, first = len(fields), line
            names = [str(index) for index in range(width)]
            text, label = _index(task.text, "text", names, place), _index(task.label, "label", names, place)
            if text == label:
                raise place.error(line, f"text and label are both column {text} of {width}; is the separator right?")
        if fields and len(fields) != width:
            raise place.error(line, f"expected {width} columns as in line {first}, found {len(fields)}")
        if not fields and tokens:
            yield Sentence(start, tokens, tags, lines_per_token=1)
            tokens, tags = [], []
        elif fields:
            if not fields[text].strip():
                raise place.error(line, "the token is empty")
            _tag(fields[label], line, place)
            start = start if tokens else line
            tokens.append(fields[text])
            tags.append(fields[label])
    if tokens:
        yield Sentence(start, tokens, tags, lines_per_token=1)


def _conll_rows(separator: str | None, path: Path, place: Place) -> Iterator[tuple[int, list[str]]]:
    """Yield the columns of each line; an empty list where a sentence ends (empty line, -DOCSTART-)."""
    if separator == "":
        raise InputError(f"{place.file}: separator: expected at least one character, got ''")
    for line, content in _lines(_decode(path, place)):
        # ASCII white space only: a no-break space can stand inside a token
        bare = content.strip(" \t\r\f\v")
        fields = (
            re.split(r"[ \t\r\f\v]+", bare)
            if separator is None
            else [item.strip() for item in content.split(separator)]
        )
        blank = not bare or not any(fields) or "-DOCSTART-" in (fields[0], *bare.split(maxsplit=1)[:1])
        yield line, [] if blank else fields


# --- parquet from the hub


def _hub_rows(task: Task, path: Path, place: Place) -> Iterator[tuple[int, Any, Any]]:
    """Yield row number, text and label of a parquet file."""
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        columns = [
            names[_index(column, key, names, place)] for key, column in (("text", task.text), ("label", task.label))
        ]
        table = file.read(columns)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{place.file}: not a parquet file: {error}") from None
    pairs = zip(*(table.column(name).to_pylist() for name in columns), strict=True)
    for number, (text, label) in enumerate(pairs, 1):
        yield number, text, label


def _named(value: Any, names: list[str] | None, number: int, place: Place) -> Any:
    """Return the name that a ClassLabel stands for; anything else as it is."""
    if names is None or not isinstance(value, int):
        return value
    if not 0 <= value < len(names):
        hint = "; the labels of this split are not public" if value == -1 else ""
        raise place.error(number, f"label {value} is outside 0 ... {len(names) - 1}{hint}")
    return names[value]


def _hub_texts(task: Task, path: Path, place: Place, names: list[str] | None) -> Iterator[Example | None]:
    """Yield the labelled texts of a hub dataset; None for a row without text, which nobody here can repair."""
    for number, text, label in _hub_rows(task, path, place):
        if text is None or (isinstance(text, str) and not text.strip()):
            yield None
            continue
        word = _word(_named(label, names, number, place), "label", number, place)
        yield Example(number, _text(text, number, place), word)


def _hub_sentences(task: Task, path: Path, place: Place, names: list[str] | None) -> Iterator[Sentence | None]:
    """Yield the tagged sentences of a hub dataset; None for a row without tokens."""
    for number, tokens, tags in _hub_rows(task, path, place):
        if not tokens and not tags:
            yield None
            continue
        if isinstance(tags, list):
            if names is None and any(isinstance(tag, int) for tag in tags):
                raise place.error(
                    number, f"{task.label}: tags are numbers, and the dataset does not say what they stand for"
                )
            tags = [_named(tag, names, number, place) for tag in tags]
        yield _sentence(tokens, tags, number, place)
