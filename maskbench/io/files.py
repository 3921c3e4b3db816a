"""Atomic writing, canonical JSON and content hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the block ends well, flush it to disk and rename it.

    The file has its final name only when it is complete; after an error or a crash nothing with that name is there
    that was not there before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
_FULL = ("os error 28", "PytorchStreamWriter failed writing")
"""How safetensors and torch, which write files themselves, say that a disk is full."""


def disk_error(error: BaseException) -> str | None:
    """Say in words what a disk refused, if that is what an error means: it is full, or must not be written."""
    if isinstance(error, OSError) and error.errno in _REFUSED:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return os.strerror(errno.ENOSPC) if any(words in str(error) for words in _FULL) else None


def _umask() -> int:
    """Return the process's umask (mkstemp ignores it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def flush(path: Path) -> None:
    """Make the content of a file, or the entries of a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def canonical(value: Any) -> str:
    """Return JSON that is the same text for the same value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file atomically, indented and with sorted keys; NaN and infinity are refused."""
    write_text(path, json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        If it is missing or is not JSON (truncated, garbled), or holds text that no file can hold.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        value = json.loads(text)
        if "\\u" in text:  # an escape may be half a surrogate pair
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); delete it and run again") from None


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_files(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, by its path relative to `root`, sorted."""
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in sorted(paths)}


def verify(root: Path, expected: dict[str, str]) -> None:
    """Check that files still have the content that a manifest states.

    Raises
    ------
    InputError
        Naming the first file that is missing or differs.
    """
    for name, digest in expected.items():
        path = root / name
        if not path.is_file():
            raise InputError(f"{path}: listed in the manifest but missing; delete {root} and run again")
        if sha256_file(path) != digest:
            raise InputError(f"{path}: content differs from its manifest; delete {root} and run again")
