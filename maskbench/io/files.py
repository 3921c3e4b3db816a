"""Atomic writing, canonical JSON and content hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; if the block succeeds, the file is flushed to disk and renamed to `path`.

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
"""Messages by which safetensors and torch, which write files themselves, report a full disk."""


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


def fingerprint(paths: Mapping[str, Path], known: Path) -> dict[str, str | None]:
    """Return the SHA-256 of files that may be large and are asked for again and again, as at every plan of a study.

    Parameters
    ----------
    paths
        Files, of any name, by what they are called in the answer.
    known
        File in which hashes are kept between calls, with the size and the times of change of the files that they are
        of: a file is read again when one of these differs, or when it changed a moment ago. It is written anew if there
        is something new; where it cannot be written, every call reads every file.

    Returns
    -------
    dict
        By the same keys; None for what is no file, or cannot be read.
    """
    try:
        before = {str(path): list(entry) for path, entry in json.loads(known.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        before = {}
    after = dict(before)
    found: dict[str, str | None] = {}
    for name, path in paths.items():
        place = os.path.abspath(path)  # noqa: PTH100 (resolve() would follow links)
        try:
            state = path.stat()
            about = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
            entry = before.get(place, [])
            found[name] = str(entry[4]) if entry[:4] == about and len(entry) == 5 else sha256_file(path)
            if time.time() - max(state.st_mtime, state.st_ctime) > 2:  # else a second change could have the same time
                after[place] = [*about, found[name]]
        except OSError:
            found[name] = None
    if after != before:
        with contextlib.suppress(OSError):
            write_json(known, after)
    return found


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
