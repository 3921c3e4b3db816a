"""From bytes to rows of columns: decoding, lines, CSV, TSV, JSON lines and CoNLL, with what was odd on the way."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maskbench.config.cutting import GroupFile
from maskbench.data.compressed import opened
from maskbench.errors import InputError
from maskbench.kinds.files import Spanning
from maskbench.kinds.values import word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from maskbench.config.corpora import Corpus
    from maskbench.config.cutting import Column
    from maskbench.config.lexicons import Lexicon
    from maskbench.config.tasks import Task
    from maskbench.kinds.files import Place, Seen

MARK = "\ufeff"
"""The byte order mark; inside a file it says that files were joined."""

_NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "a spreadsheet or document of an office program",
    b"\x1f\x8b": "compressed (gzip) twice",
    b"\xfd7zXZ": "compressed (xz)",
    b"\x28\xb5\x2f\xfd": "compressed (zstd)",
    b"%PDF-": "a PDF file",
    b"PAR1": "a parquet file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "a database",
}
"""How files begin that some encodings would read as text, and what they are; what gzip or bzip2 made is unpacked."""


def decode(task: Task | Corpus | Lexicon, path: Path, place: Place, seen: Seen, skip: int = 0) -> str:
    """Read a file as text, without byte order marks at its start and, where files were joined, inside.

    The first lines that are to be skipped (`skip`) are empty in it, so that the others keep their numbers.
    """
    with opened(path, place.file) as stream:
        raw = stream.read()
    if what := next((what for start, what in _NO_TEXT.items() if raw.startswith(start)), None):
        raise InputError(f"{place.file}: expected text, found {what}; unpack it, or export it as text")
    if (wide := _unmarked(raw)) and not codecs.lookup(task.encoding).name.startswith(wide[:6]):
        raise InputError(
            f"{place.file}: not {task.encoding}: many of its bytes are 0, as in {wide[:6].upper()} without a byte "
            f"order mark; name its encoding, such as encoding: {wide}"
        )
    try:
        text = raw.decode("utf-8-sig" if task.encoding == "utf-8" else task.encoding)
    except UnicodeDecodeError as error:
        # error.object lacks the byte order mark, so count in it and not in `raw`
        before = error.object[: error.start]
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        known = task.encoding if task.encoding != "utf-8" else "UTF-8"
        hint = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252"
        raise place.error(
            before.count(b"\n") + 1,
            f"not {known} (byte 0x{error.object[error.start]:02x} at position {column}); save the file as UTF-8, "
            f"or name its encoding, such as encoding: {hint}",
        ) from None
    text = text.removeprefix(MARK)
    if f"\n{MARK}" in text:
        seen.marks = [number for number, line in enumerate(text.split("\n"), 1) if line.startswith(MARK)]
        text = text.replace(f"\n{MARK}", "\n")
    alone, feeds = text.count("\r") - text.count("\r\n"), text.count("\n")
    if task.format != "csv" and alone > feeds > 0:  # CSV takes either for the end of a row
        raise InputError(
            f"{place.file}: {alone} lines end in a carriage return alone and {feeds} in a line feed; write the file "
            "with one kind of line end"
        )
    return _without_first(text, skip)


def _without_first(text: str, number: int) -> str:
    """Return a text with its first lines empty."""
    if not number:
        return text
    end = "\n" if "\n" in text or "\r" not in text else "\r"
    parts = text.split(end, number)
    return end * (len(parts) - 1) + (parts[number] if len(parts) > number else "")


def _unmarked(raw: bytes) -> str | None:
    """Return the encoding of two or four bytes for each character that a file without a mark seems to have, or None."""
    head = raw[:4096]
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or len(head) < 4:
        return None
    zeros = [head[start::4].count(0) / len(head[start::4]) for start in range(4)]
    if min(zeros[1:3]) > 0.5:
        return "utf-32-le" if zeros[3] > 0.5 else "utf-32-be"
    if max(zeros) > 0.5:
        return "utf-16-le" if zeros[1] + zeros[3] > zeros[0] + zeros[2] else "utf-16-be"
    return None


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines, counted from 1, without their LF or CRLF (str.splitlines would split at eight more characters).

    Only in a file without any LF does a CR alone end a line, as on old Macs.
    """
    if "\r" in text and "\n" not in text:
        text = text.replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), 1):
        yield number, line.removesuffix("\r")


def _csv_rows(text: str, delimiter: str, place: Place) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the rows of a CSV file, the line that each starts on and the lines it has; a quoted field may span some."""
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise InputError(f"{place.file}: separator: expected one character for CSV, got {delimiter!r}")
    csv.field_size_limit(2**31 - 1)  # a long document is not an error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        for row in reader:
            if row:
                yield start, reader.line_num + 1 - start, row
            start = reader.line_num + 1
    except csv.Error as error:
        reason = "a quoted field is never closed" if "unexpected end" in str(error) else str(error)
        raise place.error(start, f"not valid CSV: {reason}") from None


def _tsv_rows(text: str, separator: str, place: Place) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the rows of a TSV file as `_csv_rows` does; a quotation mark is text like any other, as in GLUE."""
    if not separator or "\n" in separator or "\r" in separator:
        raise InputError(f"{place.file}: separator: expected at least one character, got {separator!r}")
    for number, line in lines(text):
        if line:
            yield number, 1, line.split(separator)


def named(names: Sequence[str]) -> str:
    """Return names of columns for a message, shortened: in a file that is read in a wrong way they can be very long."""
    shown = ", ".join(name if len(name) <= 40 else f"{name[:37]!r}..." for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _other_separator(column: str, names: Sequence[str]) -> str:
    """Say what would make a header have a column, if it would with another separator or without Excel's first line."""
    if names and names[0].startswith("sep="):
        return "; the first line is none of the table: take it out"
    for sign in ";\t|,":
        if any(column in map(str.strip, name.split(sign)) for name in names):
            return f"; it is one with separator: {json.dumps(sign)}"
    return ""


def index_of(column: Column, key: str, names: Sequence[str], place: Place) -> int:
    """Return the position of a column given by name or by number (-1 is the last)."""
    known = named(names)
    if isinstance(column, int):
        if not -len(names) <= column < len(names):
            raise InputError(f"{place.file}: {key}: no column {column}, there are {len(names)} ({known})")
        return column % len(names)
    if names.count(column) != 1:
        if column in names:
            raise InputError(f"{place.file}: {key}: two columns are called {column!r}; the columns are {known}")
        advice = _other_separator(column, names)
        raise InputError(f"{place.file}: {key}: no column {column!r}; the columns are {known}{advice}")
    return names.index(column)


def group_column(task: Task) -> Column | None:
    """Return the column of the task's own files that says which rows belong together, if there is one."""
    return None if isinstance(task.cut.group, GroupFile) else task.cut.group


def fields(
    task: Task, path: Path, place: Place, seen: Seen, keys: tuple[str, str] = ("text", "label")
) -> Iterator[tuple[int, str, str]]:
    """Yield line, text and label of the rows of a CSV or TSV file; messages call the two columns by their keys."""
    content = decode(task, path, place, seen, task.skip_lines)
    quoted = task.format == "csv"
    separator = task.separator if task.separator is not None else "," if quoted else "\t"
    rows = _csv_rows(content, separator, place) if quoted else _tsv_rows(content, separator, place)
    seen.by_index = isinstance(task.text, int) and isinstance(task.label, int)
    names = task.columns if not task.header else None
    text = label = group = -1
    grouped = group_column(task)
    for line, height, row in rows:
        if task.comments is not None and row[0].lstrip().startswith(task.comments):
            seen.dropped["comment"] += 1
            continue
        if text < 0:
            header = task.header
            names = names or ([name.strip() for name in row] if header else [str(index) for index in range(len(row))])
            text, label = index_of(task.text, keys[0], names, place), index_of(task.label, keys[1], names, place)
            group = -1 if grouped is None else index_of(grouped, "cut.group", names, place)
            seen.shape = (separator, len(names), label)
            if header:
                # pandas writes indices for columns without names
                by_number = (row[text].strip(), row[label].strip()) == (str(text), str(label))
                seen.first = None if by_number else (line, row[text], row[label])
                continue
        assert names is not None
        if len(row) != len(names):
            raise place.error(line, f"expected {len(names)} fields ({named(names)}), found {len(row)}")
        cells = (row[text], row[label])
        if [cell.strip().casefold() for cell in cells] == [names[column].casefold() for column in (text, label)]:
            seen.like_header.append(line)
        if height > 1:
            seen.spanning += [
                Spanning(line, height, column, parts)
                for column, cell in enumerate(row)
                if len(parts := re.split(r"\r?\n", cell)) > 1
            ]
        if group >= 0:
            seen.groups[line] = word(row[group], "group", line, place)
        yield line, row[text], row[label]


def objects(task: Task, path: Path, place: Place, seen: Seen) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON lines file; blank lines are skipped."""
    for line, content in lines(decode(task, path, place, seen, task.skip_lines)):
        if task.comments is not None and content.lstrip().startswith(task.comments):
            seen.dropped["comment"] += 1
            continue
        if not content.strip():
            continue
        try:
            value = json.loads(content)
        except json.JSONDecodeError as error:
            whole = "; expected one object on each line" if content.strip() in ("[", "{", "[{") else ""
            raise place.error(line, f"not valid JSON: {error.msg} at position {error.colno}{whole}") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
            raise place.error(line, f"not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise place.error(line, 'expected a JSON object on each line, such as {"text": ..., "label": ...}')
        yield line, value


@dataclass(frozen=True)
class ConllLine:
    """One line of a CoNLL file: `fields` is empty where a sentence ends."""

    line: int
    fields: list[str]
    token: str = ""
    tag: str = ""
    first: str = ""
    """How the line begins, for advice about comments."""
    opens: bool = False
    """Whether a document begins with the line."""


def words(task: Task, path: Path, place: Place, seen: Seen) -> Iterator[ConllLine]:
    """Yield the tokens of a CoNLL file with their tags, without comments; nothing is checked about token and tag."""
    rows = list(_conll_rows(task.separator, decode(task, path, place, seen, task.skip_lines), place))
    mark = task.comments
    own = [row for row in rows if row.fields and not (mark and row.first.startswith(mark))]
    if not own:
        return
    width, first = len(own[0].fields), own[0].line
    names = [str(index) for index in range(width)]
    text, label = index_of(task.text, "text", names, place), index_of(task.label, "label", names, place)
    if text == label:
        raise place.error(first, f"text and label are both column {text} of {width}; is the separator right?")
    known = {row.fields[label] for row in own if len(row.fields) == width} if mark else set()
    for row in rows:
        columns = row.fields
        if mark and columns and row.first.startswith(mark) and not (len(columns) == width and columns[label] in known):
            seen.dropped["comment"] += 1
            continue
        if task.empty_tokens == "drop" and len(columns) == width - 1 and text == 0 and row.first[:1] in (" ", "\t"):
            columns = ["", *columns]  # white space alone is before the first separator
        if columns and len(columns) != width:
            raise place.error(
                row.line,
                f"expected {width} columns as in line {first}, found {len(columns)}{_advice(row, width, task)}",
            )
        token, tag = (columns[text], columns[label]) if columns else ("", "")
        yield ConllLine(row.line, columns, token, tag, row.first, row.opens)


def _advice(row: ConllLine, width: int, task: Task) -> str:
    """Say which key would read a line of another number of columns."""
    if row.first.startswith("#") and task.comments is None:
        return '; lines that begin with # are left out with comments: "#"'
    if len(row.fields) == width - 1 and row.first[:1] in (" ", "\t"):
        return "; if its token is empty, it is left out with empty_tokens: drop"
    return ""


def _conll_rows(separator: str | None, text: str, place: Place) -> Iterator[ConllLine]:
    """Yield the columns of each line; none where a sentence ends (empty line, -DOCSTART-)."""
    if separator == "":
        raise InputError(f"{place.file}: separator: expected at least one character, got ''")
    for line, content in lines(text):
        # ASCII white space only: a no-break space can stand inside a token
        bare = content.strip(" \t\r\f\v")
        columns = (
            re.split(r"[ \t\r\f\v]+", bare)
            if separator is None
            else [item.strip() for item in content.split(separator)]
        )
        opens = "-DOCSTART-" in (columns[0], *bare.split(maxsplit=1)[:1])
        blank = not bare or not any(columns) or opens
        yield ConllLine(line, [] if blank else columns, first=content[:40], opens=opens)
