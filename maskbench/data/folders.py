"""Folders that appear only when they are complete."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from typing import TYPE_CHECKING

from maskbench.io.files import flush

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; if the block succeeds, it is flushed and takes the place of `path`."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    old = temporary.with_suffix(".old")
    temporary.mkdir()
    try:
        yield temporary
        for item in (*temporary.rglob("*"), temporary):
            flush(item)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
