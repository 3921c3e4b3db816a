"""Files that a record keeps gzipped: which form is the one to read, and how it is read."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

from maskbench.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

ENDING = ".gz"
"""Of the name of a gzipped file, behind its own."""


def present(path: Path) -> Path:
    """Return the form of a file that is there: the file itself or, if that is newer or alone, ``<name>.gz``."""
    gzipped = path.with_name(path.name + ENDING)
    if not gzipped.is_file():
        return path
    if path.is_file() and path.stat().st_mtime_ns >= gzipped.stat().st_mtime_ns:
        return path
    return gzipped


def read_bytes(path: Path) -> bytes:
    """Read a file in whichever form its name says.

    Raises
    ------
    OSError
        If it cannot be read.
    InputError
        If it is not what gzip has packed.
    """
    content = path.read_bytes()
    if path.suffix != ENDING:
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: expected a file that gzip has packed ({error}); restore it") from None
