"""Readers of the file formats: every row with the line it stands on, or one clear line that says what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskbench.config.sources import HubSource
from maskbench.data import columns
from maskbench.errors import InputError
from maskbench.kinds import reading, values
from maskbench.kinds.files import File, FileTable, Place, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from maskbench.config.cutting import Column
    from maskbench.config.tasks import Task
    from maskbench.kinds.reading import Reading


def read(task: Task, path: Path, shown: str, class_labels: Mapping[str, list[str]] | None = None) -> FileTable:
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
    names = (class_labels or {}).get(str(task.label))
    unit = "row" if hub else "entry" if task.format == "json" else "line"
    file = File(task, Place(shown, unit), Seen(), hub, names)
    kind = reading.of(task.kind)
    if task.format == "conll" and not hub:
        rows = list(_conll(file, path, kind))
    else:
        found = (kind.row(file, *fields) for fields in _fields(file, path, kind))
        rows = [row for row in found if row is not None]
    if not rows:
        raise InputError(f"{shown}: no rows: expected at least one")
    return FileTable(file.place, rows, file.seen)


def _fields(file: File, path: Path, kind: Reading) -> Iterator[tuple[int, Any, Any]]:
    """Yield the line, the text and the label of each row of a file whose rows stand on one line each."""
    task, place = file.task, file.place
    if file.hub:
        yield from _hub_rows(file, path)
    elif task.format in ("jsonl", "json"):
        lines = task.format == "jsonl"
        objects = columns.objects(task, path, place, file.seen) if lines else _entries(file, path, kind)
        for line, row in objects:
            texts = [_value(row, getattr(task, key), line, place) for key in task.form.texts]
            label = _value(row, task.label, line, place)
            if (group := columns.group_column(task)) is not None:
                file.seen.groups[line] = values.word(_value(row, group, line, place), "group", line, place)
            yield line, _one(texts), label
    else:
        yield from columns.fields(task, path, place, file.seen)


def _one(texts: list[Any]) -> Any:
    """Return the text of a row; of kinds with several, their tuple."""
    return texts[0] if len(texts) == 1 else tuple(texts)


def _entries(file: File, path: Path, kind: Reading) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the entries of a JSON document, counted from 1, as the kind of task takes it apart."""
    lines = Place(file.place.file)
    content = columns.decode(file.task, path, lines, file.seen, file.task.skip_lines)
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        hint = "; with an object on each line it is format: jsonl" if error.msg == "Extra data" else ""
        raise lines.error(error.lineno, f"not valid JSON: {error.msg} at position {error.colno}{hint}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise InputError(f"{file.place.file}: not valid JSON: {error}") from None
    yield from enumerate(kind.objects(document, file.place), 1)


def _value(row: Mapping[str, Any], column: Column, line: int, place: Place) -> Any:
    """Return one value of a JSON object."""
    if column not in row:
        raise place.error(line, f"no key {column!r}; the keys are {columns.named(list(row)) or '(none)'}")
    return row[str(column)]


def _conll(file: File, path: Path, kind: Reading) -> Iterator[Any]:
    """Yield the sentences of a CoNLL file: one token a line, an empty line between sentences."""
    words: list[columns.ConllLine] = []

    def ended() -> Iterator[Any]:
        if words:
            lines = [word.line for word in words]
            tokens, tags = [word.token for word in words], [word.tag for word in words]
            sentence = kind.row(file, lines[0], tokens, tags, lines)
            words.clear()
            if sentence is not None:
                yield replace(sentence, document=document)

    document: int | None = None
    for word in columns.words(file.task, path, file.place, file.seen):
        if not word.fields:
            yield from ended()
            if word.opens:
                document = 0 if document is None else document + 1
            continue
        if not word.token.strip() and file.task.empty_tokens == "refuse":
            raise file.place.error(word.line, "the token is empty; it is left out with empty_tokens: drop")
        if word.first.startswith("#") and file.task.comments is None:
            _no_comment(file, word, kind)
        words.append(word)
    yield from ended()


def _no_comment(file: File, word: columns.ConllLine, kind: Reading) -> None:
    """Refuse a line that begins with # and has no tag, and say how it is left out."""
    try:
        kind.tag(file, word.tag)
    except ValueError as error:
        advice = 'if lines that begin with # are comments, set comments: "#"'
        raise file.place.error(word.line, f"{error}; {advice}") from None


def _hub_rows(file: File, path: Path) -> Iterator[tuple[int, Any, Any]]:
    """Yield row number, text and label of a parquet file; a row without a group is kept, and has none."""
    task, place = file.task, file.place
    keys = {key: getattr(task, key) for key in (*task.form.texts, "label")}
    if (group := columns.group_column(task)) is not None:
        keys["cut.group"] = group
    try:
        opened = pq.ParquetFile(path)
        names = opened.schema_arrow.names
        wanted = [names[columns.index_of(column, key, names, place)] for key, column in keys.items()]
        table = opened.read(wanted)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{place.file}: not a parquet file: {error}") from None
    cells = (table.column(name).to_pylist() for name in wanted)
    count = len(task.form.texts)
    for number, row in enumerate(zip(*cells, strict=True), 1):
        texts, (label, *groups) = list(row[:count]), row[count:]
        if groups and groups[0] is not None:
            file.seen.groups[number] = values.word(groups[0], "group", number, place)
        yield number, _one(texts), label
