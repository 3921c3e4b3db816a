"""Archives of finished cells: records, predictions and outcomes, no models and no text; packed and unpacked."""

from __future__ import annotations

import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from maskbench.config.block import first_mistake
from maskbench.errors import InputError
from maskbench.experiment.layout import Layout
from maskbench.io.files import atomic, canonical, sha256_file
from maskbench.recorded.texts import Sha256, Text, texts_of
from maskbench.records.manifest import RunIdText  # noqa: TC001 (pydantic reads it)
from maskbench.records.run import RecordBlock

if TYPE_CHECKING:
    from maskbench.experiment.jobs import Jobs

LIST = "cells.json"
"""The file of an archive that says what is in it."""

MOST_LIST, MOST_FILE = 64 * 2**20, 256 * 2**20
"""Most bytes of the list, and of any other file of an archive, when they are unpacked."""

DAMAGE = (EOFError, OverflowError, RuntimeError, UnicodeDecodeError, struct.error, zlib.error, zipfile.BadZipFile)
"""What zipfile raises for archives that are damaged, encrypted or packed in a way that it does not know."""


class Archived(RecordBlock):
    """A cell of an archive."""

    run: RunIdText
    files: dict[str, Sha256]
    """The hash of each of its files, by its path in the folder of the study."""


class Contents(RecordBlock):
    """What is in an archive."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    study: str
    cells: Annotated[list[Archived], Field(min_length=1)]
    texts: dict[Sha256, Text] = {}
    """The prepared text of each encoded one that the cells and their probes look at, by the hash of the latter."""


def files_of(run: str, layout: Layout) -> list[Path]:
    """Return the files that a finished cell may have, the record of its training last: it says that it is there."""
    return [layout.predictions(run), layout.outcomes(run), layout.probe_record(run), layout.record(run)]


def _names(run: str) -> list[str]:
    """Return these files by their paths in the folder of the study."""
    return [path.as_posix() for path in files_of(run, Layout(Path()))]


def pack(archive: Path, jobs: Jobs, layout: Layout, runs: Sequence[str]) -> None:
    """Write an archive of finished cells; the same cells give the same bytes.

    Parameters
    ----------
    archive
        File to write.
    jobs
        Of the study that the cells belong to.
    layout
        Where they are.
    runs
        Their names.
    """
    cells = []
    with atomic(archive) as temporary, zipfile.ZipFile(temporary, "w") as found:
        for run in runs:
            paths = [path for path in files_of(run, layout) if path.exists()]
            names = {path.relative_to(layout.folder).as_posix(): path for path in paths}
            for name, path in names.items():
                _add(found, name, path.read_bytes())
            cells.append(Archived(run=run, files={name: sha256_file(path) for name, path in names.items()}))
        about = Contents(study=jobs.experiment.study, cells=cells, texts=texts_of(jobs, layout, runs))
        _add(found, LIST, canonical(about.model_dump(mode="json", by_alias=True)).encode())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file without the time of day; parquet is compressed already."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o644 << 16
    kind = zipfile.ZIP_STORED if name.endswith(".parquet") else zipfile.ZIP_DEFLATED
    archive.writestr(entry, content, compress_type=kind)


@contextmanager
def unpacked(archive: Path, beside: Path) -> Iterator[tuple[Contents, Layout]]:
    """Unpack an archive into a folder that goes with the block; nothing is written but the files that it lists.

    Parameters
    ----------
    archive
        The file; it may come from anywhere.
    beside
        Folder that the other one is made in.

    Raises
    ------
    InputError
        In one line, if it is no archive of cells, damaged, or holds anything but the files of the cells that it lists.
    """
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".merging-") as folder:
        layout = Layout(Path(folder))
        try:
            contents = _unpack(archive, layout)
        except DAMAGE as error:
            raise InputError(f"{archive}: expected an archive of cells that can be read ({error})") from None
        yield contents, layout


def _unpack(archive: Path, layout: Layout) -> Contents:
    """Write the files of an archive, each with the content that the list says, and return the list."""
    try:
        found = zipfile.ZipFile(archive)
    except OSError as error:
        raise InputError(f"{archive}: cannot be read: {error.strerror}") from None
    with found:
        contents = _contents(archive, found)
        for cell in contents.cells:
            for name, digest in cell.files.items():
                path = layout.file(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_read(archive, found, name, MOST_FILE))
                if sha256_file(path) != digest:
                    raise InputError(f"{archive}: {name}: expected the content that {LIST} says, got another")
    return contents


def _contents(archive: Path, found: zipfile.ZipFile) -> Contents:
    """Return the list of an archive, if the archive has the files that it lists and no others."""
    if LIST not in found.namelist():
        raise InputError(f"{archive}: expected an archive of cells with {LIST}, found none in it")
    try:
        contents = Contents.model_validate_json(_read(archive, found, LIST, MOST_LIST))
    except ValidationError as error:
        raise InputError(f"{archive}: {LIST}: {first_mistake(error)}") from None
    listed = [LIST]
    for cell in contents.cells:
        known = _names(cell.run)
        if strange := sorted(set(cell.files) - set(known)):
            raise InputError(f"{archive}: {LIST}: {cell.run}: expected its own files, got {strange[0][:200]!r}")
        if known[-1] not in cell.files:
            raise InputError(f"{archive}: {LIST}: {cell.run}: expected its record, {known[-1]}, among its files")
        listed += cell.files
    counts = Counter(found.namelist())
    counts.subtract(listed)
    if wrong := [name for name, count in counts.items() if count]:
        raise InputError(f"{archive}: expected each file that {LIST} lists once and no other, see {wrong[0][:200]!r}")
    return contents


def _read(archive: Path, found: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Return the content of a file of an archive, if it is not too large."""
    with found.open(name) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise InputError(f"{archive}: {name}: expected at most {most // 2**20} MiB when it is unpacked")
    return content
