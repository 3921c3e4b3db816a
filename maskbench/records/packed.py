"""The files of a study that its record keeps in a packed form: which they are, and how they get smaller and back."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.io.files import atomic
from maskbench.io.gzipped import ENDING, read_bytes

if TYPE_CHECKING:
    from pathlib import Path

METRICS = "metrics.csv"
"""Packed as metrics.parquet, which `collect` writes beside it."""

GZIPPED = ("manifest.json", "along.csv", "analysis/pairs.csv", "tuning/analysis/pairs.csv")
"""Packed as they are: files of several megabytes, most of which say the same of many runs."""


def packed_form(path: Path) -> Path:
    """Return the file that stands for another one in a record."""
    return path.with_suffix(".parquet") if path.name == METRICS else path.with_name(f"{path.name}{ENDING}")


def pack(path: Path) -> None:
    """Write the packed form of a file: the same bytes for the same content."""
    with atomic(packed_form(path)) as temporary:
        temporary.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def unpack(path: Path) -> None:
    """Write a file from its packed form.

    Raises
    ------
    InputError
        If the packed form is missing or damaged.
    """
    content = _content(packed_form(path))
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def read_packed(path: Path) -> bytes:
    """Return the content of a file that may be there in its packed form alone.

    Raises
    ------
    InputError
        If there is neither, or the packed form is damaged.
    """
    return path.read_bytes() if path.exists() else _content(packed_form(path))


def _content(source: Path) -> bytes:
    """Return what gzip has packed, or say that it cannot be had."""
    try:
        return read_bytes(source)
    except OSError as error:
        raise InputError(f"{source}: expected a file that gzip has packed ({error}); restore it") from None
