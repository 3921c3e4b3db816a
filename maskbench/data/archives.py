"""Read single files out of a wheel, a zip, a tar archive or a .deb; nothing else of it ever reaches the disk."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from maskbench.config.sources import is_safe
from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 32 * 2**30
"""No file of an archive may unpack to more bytes than this."""

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, struct.error),
    *(NotImplementedError, OverflowError, RuntimeError, ValueError),
)
"""What the libraries raise on damaged archives; a compression or an encryption that they do not know included."""


class Archive(ABC):
    """The files of an open archive by name."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.sizes: dict[str, int] = {}
        """Size of each regular file in bytes."""
        self.others: set[str] = set()
        """Names of links, devices and encrypted files, which are never read."""

    @abstractmethod
    def stream(self, name: str) -> IO[bytes]:
        """Open a regular file for reading."""

    def below(self, folder: str) -> list[str]:
        """Return the names of the regular files below a folder, relative to it, sorted.

        Raises
        ------
        InputError
            If a name would lead out of the folder.
        """
        prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
        names = sorted(name.removeprefix(prefix) for name in self.sizes if name.startswith(prefix))
        for name in names:
            if not is_safe(name):
                raise InputError(f"{self.where}: holds the unsafe file name {name!r}; refused")
        return names

    def copy(self, name: str, target: Path) -> None:
        """Write a regular file of the archive to `target`.

        Raises
        ------
        InputError
            If there is no such file, it is a link or a device, or it is too large.
        """
        if name in self.others:
            raise InputError(f"{self.where}: {name} is no plain file but a link, a device or encrypted; refused")
        if name not in self.sizes:
            raise InputError(f"{self.where}: has no file {name}; {self._nearby(name)}")
        if self.sizes[name] > LARGEST:
            raise InputError(f"{self.where}: {name} unpacks to {self.sizes[name]} bytes, more than {LARGEST}; refused")
        # Both zipfile and tarfile end a stream at the stated size, so this bounds what is written.
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.stream(name) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 2**20)
        if target.stat().st_size != self.sizes[name]:
            raise InputError(f"{self.where}: {name} is cut short")

    def _nearby(self, name: str) -> str:
        """Return a phrase that says what the archive has in place of a missing file."""
        folder = str(PurePosixPath(name).parent)
        names = self.below("" if folder == "." else folder)
        if not names:
            tops = sorted({member.split("/", 1)[0] for member in self.sizes})
            return f"it has no folder {folder} either; its top holds {', '.join(tops[:8])}"
        return f"beside it are {', '.join(names[:8])}" + (", ..." if len(names) > 8 else "")


class _Zip(Archive):
    def __init__(self, where: str, archive: zipfile.ZipFile) -> None:
        super().__init__(where)
        self._archive = archive
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
            if info.is_dir():
                continue
            if kind not in (0, stat.S_IFREG) or info.flag_bits & 1:
                self.others.add(info.filename)
            else:
                self.sizes[info.filename] = info.file_size

    def stream(self, name: str) -> IO[bytes]:
        return self._archive.open(name)


class _Tar(Archive):
    def __init__(self, where: str, archive: tarfile.TarFile) -> None:
        super().__init__(where)
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in archive.getmembers():
            name = member.name.removeprefix("./")
            if member.isreg():
                self.sizes[name] = member.size
                self._members[name] = member
            elif not member.isdir():
                self.others.add(name)

    def stream(self, name: str) -> IO[bytes]:
        stream = self._archive.extractfile(self._members[name])
        assert stream is not None  # only links and devices have none, and copy() refuses those
        return stream


_DEBIAN = b"!<arch>\n"
"""What an `ar` archive begins with, such as a .deb."""
_ENTRY = struct.Struct("16s12s6s6s8s10s2s")
"""An entry of an `ar` archive: name, time, owner, group, mode, size in decimal digits, end mark."""


def _is_debian(path: Path) -> bool:
    """Tell whether a file is an `ar` archive."""
    with path.open("rb") as stream:
        return stream.read(len(_DEBIAN)) == _DEBIAN


def _packed_data(path: Path) -> tuple[str, bytes]:
    """Return how the name of a .deb's data.tar ends (``.xz``), and its bytes."""
    with path.open("rb") as stream:
        stream.seek(len(_DEBIAN))
        while entry := stream.read(_ENTRY.size):
            name, *_, digits, mark = _ENTRY.unpack(entry)
            size = int(digits)
            if mark != b"`\n" or size < 0:
                raise ValueError("an entry of it has no end mark")
            title = name.decode("ascii", "replace").strip().removesuffix("/")
            if title.startswith("data.tar"):
                content = stream.read(size)
                if len(content) < size:
                    raise EOFError("its data.tar is cut short")
                return title.removeprefix("data.tar"), content
            stream.seek(size + size % 2, 1)
    raise ValueError("it has no data.tar")


def _unpacked(ending: str, content: bytes) -> IO[bytes]:
    """Open what was compressed as an ending of a name says."""
    stream = io.BytesIO(content)
    match ending:
        case "":
            return stream
        case ".gz":
            return cast("IO[bytes]", gzip.open(stream))
        case ".xz":
            return cast("IO[bytes]", lzma.open(stream))
        case ".bz2":
            return cast("IO[bytes]", bz2.open(stream))
        case ".zst":
            import pyarrow as pa

            return cast("IO[bytes]", pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"))
    raise NotImplementedError(f"a data.tar that ends in {ending} is not known")


@contextlib.contextmanager
def _data_of(path: Path) -> Iterator[tarfile.TarFile]:
    """Open the data.tar of a .deb, uncompressed in a file without a name: so its members can be read in any order."""
    with tempfile.TemporaryFile() as plain:
        with _unpacked(*_packed_data(path)) as stream:
            while chunk := stream.read(2**20):
                plain.write(chunk)
                if plain.tell() > LARGEST:
                    raise OverflowError(f"its data.tar unpacks to more than {LARGEST} bytes")
        plain.seek(0)
        with tarfile.open(fileobj=plain) as opened:
            yield opened


@contextlib.contextmanager
def open_archive(path: Path, where: str) -> Iterator[Archive]:
    """Open a zip (wheel) or tar archive, or the files of a .deb, told apart by content.

    Parameters
    ----------
    path
        The archive.
    where
        What messages name it by.

    Raises
    ------
    InputError
        If it is neither, or is damaged.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as opened:
                yield _Zip(where, opened)
        elif _is_debian(path):
            with _data_of(path) as data:
                yield _Tar(where, data)
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as opened_tar:
                yield _Tar(where, opened_tar)
        else:
            raise InputError(f"{where}: expected a zip or tar archive, or a .deb")
    except _DAMAGED as error:
        raise InputError(f"{where}: the archive is damaged ({error})") from None
    except OSError as error:
        # bz2 raises one without a number, and zipfile asks for places before the beginning of the file
        if error.errno not in (None, errno.EINVAL):
            raise
        raise InputError(f"{where}: the archive is damaged ({error})") from None
