"""Counts, before anything starts, how many training texts a file has at most once other splits are cut from it."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import TYPE_CHECKING

from maskbench.data import columns
from maskbench.data.compressed import opened
from maskbench.errors import InputError
from maskbench.kinds.files import Place, Seen
from maskbench.kinds.rows import key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from maskbench.config.tasks import Task


def most_rows(task: Task, path: Path) -> int | None:
    """Return how many rows a file has at most: every one takes a line, and a CoNLL sentence is between blank lines.

    None of a JSON document, whose lines say nothing.
    """
    if task.format == "json":
        return None
    with opened(path, str(path)) as stream:  # latin-1: every byte is a character, every kind of line end ends a line
        lines = io.TextIOWrapper(stream, encoding="latin-1")
        blank = [number < task.skip_lines or not line.strip() for number, line in enumerate(lines)]
    if task.format == "conll":
        return sum(1 for before, line in pairwise([True, *blank]) if before and not line)
    return blank.count(False) - (task.header and task.format in ("csv", "tsv"))


def cut_off(task: Task, path: Path, wanted: int) -> int:
    """Return how many rows of a training file are cut off it, at the least, for splits that have no file.

    Parameters
    ----------
    task
        Says how the file is read, and how much is cut off it.
    path
        The file.
    wanted
        How many rows shall be left: the file is only read if it could be too few.

    Returns
    -------
    int
        0 where all wanted rows are left, and where it cannot be known: the file cannot be read (preparing says why),
        `binarize` leaves out rows, or whole groups are cut off.
    """
    cuts = (("test", task.cut.test), ("validation", task.cut.validation))
    shares = [share for split, share in cuts if split not in task.files]
    rows = most_rows(task, path)
    if rows is None or task.binarize is not None or task.cut.group is not None:
        return 0
    if wanted <= rows - _taken(shares, rows):
        return 0
    try:
        return _taken(shares, len({key(text) for text in _texts(task, path)}))
    except InputError:
        return 0


def _taken(shares: list[float], texts: int) -> int:
    """Return how many distinct texts are cut off, at the least (data/cutting.py takes more for rare labels)."""
    return sum(max(round(share * texts), 1) for share in shares)


def _texts(task: Task, path: Path) -> Iterator[str]:
    """Yield the texts of a file, of tokens with spaces between them; nothing about them is checked."""
    place, seen = Place(str(path)), Seen()
    if task.format in ("csv", "tsv"):
        yield from (text for _, text, _ in columns.fields(task, path, place, seen))
    elif task.format == "jsonl":
        for _, row in columns.objects(task, path, place, seen):
            found = (row.get(str(getattr(task, name))) for name in task.form.texts)
            yield " ".join(" ".join(map(str, one)) if isinstance(one, list) else str(one) for one in found)
    else:
        tokens: list[str] = []
        for word in columns.words(task, path, place, seen):
            if word.fields:
                tokens.append(word.token)
            elif tokens:
                yield " ".join(tokens)
                tokens = []
        if tokens:
            yield " ".join(tokens)
