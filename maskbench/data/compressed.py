"""Files as they were before gzip or bzip2 made them smaller, told by how they begin and not by their names."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import re
import zlib
from typing import IO, TYPE_CHECKING, cast

from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
"""How a bzip2 file begins, an empty one included; `BZh` alone could be text."""
_GZIP = b"\x1f\x8b\x08"


@contextlib.contextmanager
def opened(path: Path, shown: str) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed.

    Parameters
    ----------
    path
        The file.
    shown
        Its name in messages.

    Raises
    ------
    InputError
        If it cannot be read, or what is compressed is damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(10)
        if head.startswith(_GZIP):
            with gzip.open(path) as unzipped:
                yield cast("IO[bytes]", unzipped)
        elif _BZIP2.match(head):
            with bz2.open(path) as unzipped:
                yield cast("IO[bytes]", unzipped)
        else:
            with path.open("rb") as file:
                yield file
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{shown}: cannot be read: {reason}") from None
