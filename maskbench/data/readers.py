"""Readers of the file formats: every row with the line it stands on, or one clear line that says what is wrong."""

from __future__ import annotations

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
    file = File(task, Place(shown, "row" if hub else "line"), Seen(), hub, names)
    kind = reading.of(task.kind)
    if task.format == "conll" and not hub:
        rows = list(_conll(file, path, kind))
    else:
        found = (kind.row(file, *fields) for fields in _fields(file, path))
        rows = [row for row in found if row is not None]
    if not rows:
        raise InputError(f"{shown}: no rows: expected at least one")
    return FileTable(file.place, rows, file.seen)


def _fields(file: File, path: Path) -> Iterator[tuple[int, Any, Any]]:
    """Yield the line, the text and the label of each row of a file whose rows stand on one line each."""
    task, place = file.task, file.place
    if file.hub:
        yield from _hub_rows(file, path)
    elif task.format == "jsonl":
        for line, row in columns.objects(task, path, place, file.seen):
            text, label = (_value(row, key, line, place) for key in (task.text, task.label))
            if (group := columns.group_column(task)) is not None:
                file.seen.groups[line] = values.word(_value(row, group, line, place), "group", line, place)
            yield line, text, label
    else:
        yield from columns.fields(task, path, place, file.seen)


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
    keys = {"text": task.text, "label": task.label}
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
    for number, (text, label, *groups) in enumerate(zip(*cells, strict=True), 1):
        if groups and groups[0] is not None:
            file.seen.groups[number] = values.word(groups[0], "group", number, place)
        yield number, text, label
