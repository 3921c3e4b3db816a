"""Archives of finished cells: records, predictions and outcomes, no models and no text; packed, checked and merged."""

from __future__ import annotations

import shutil
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from maskbench.analysis.collect import device_of
from maskbench.analysis.outcome_tables import tables_of, types_of
from maskbench.analysis.run_records import read_records
from maskbench.config.block import first_mistake
from maskbench.data.manifests import EncodedManifest
from maskbench.errors import InputError
from maskbench.experiment.finished import Keys
from maskbench.experiment.layout import Layout
from maskbench.io.files import atomic, canonical, sha256_file
from maskbench.recorded.groups import group_of
from maskbench.records.manifest import RunIdText  # noqa: TC001 (pydantic reads it)
from maskbench.records.run import Record, RecordBlock, Stored

if TYPE_CHECKING:
    from maskbench.experiment.jobs import Jobs
    from maskbench.records.probe import ProbeRecord

LIST = "cells.json"
"""The file of an archive that says what is in it."""

MOST_LIST, MOST_FILE = 64 * 2**20, 256 * 2**20
"""Most bytes of the list, and of any other file of an archive, when they are unpacked."""

DAMAGE = (EOFError, OverflowError, RuntimeError, UnicodeDecodeError, struct.error, zlib.error, zipfile.BadZipFile)
"""What zipfile raises for archives that are damaged, encrypted or packed in a way that it does not know."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


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
    prepared: dict[Sha256, Sha256] = {}
    """The hash of the prepared text of each encoded one, by the hash of the latter: keys of cells depend on both."""


def files_of(run: str, layout: Layout) -> list[Path]:
    """Return the files that a finished cell may have, the record of its training last: it says that it is there."""
    return [layout.predictions(run), layout.outcomes(run), layout.probe_record(run), layout.record(run)]


def _names(run: str) -> list[str]:
    """Return these files by their paths in the folder of the study."""
    return [path.as_posix() for path in files_of(run, Layout(Path()))]


def pack(archive: Path, study: str, layout: Layout, runs: Sequence[str]) -> None:
    """Write an archive of finished cells; the same cells give the same bytes.

    Parameters
    ----------
    archive
        File to write.
    study
        Name of the study that the cells belong to.
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
        about = Contents(study=study, cells=cells, prepared=_prepared(layout))
        _add(found, LIST, canonical(about.model_dump(mode="json", by_alias=True)).encode())


def _prepared(layout: Layout) -> dict[str, str]:
    """Return the hash of the prepared text of each text that is encoded in a study, by the hash of the encoded one."""
    manifests = sorted(layout.file("data/encoded").glob("*/manifest.json"))
    return {about.hash: about.prepared for about in (EncodedManifest.read(path.parent) for path in manifests)}


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


class Merging:
    """The cells of an archive on their way into a study; every check comes before the first file is moved.

    Parameters
    ----------
    archive
        The file.
    contents, source
        What is in it, and where it was unpacked.
    jobs, target
        Of the study that it is merged into, and where that is.
    """

    def __init__(self, archive: Path, contents: Contents, source: Layout, jobs: Jobs, target: Layout) -> None:
        self.archive, self.contents, self.source = archive, contents, source
        self.jobs, self.target = jobs, target
        self.runs = [cell.run for cell in contents.cells]
        self.files = {name: digest for cell in contents.cells for name, digest in cell.files.items()}

    def check(self, finished: set[str]) -> list[str]:
        """Return the runs that are to be merged.

        Parameters
        ----------
        finished
            Runs of the study that are finished.

        Raises
        ------
        InputError
            If a cell is not what the study would make here, is there with another result, or would stand on another
            kind of device than the other cells of its seed.
        """
        if len(set(self.runs)) < len(self.runs):
            raise self._refuse(f"expected each cell once, got {Counter(self.runs).most_common(1)[0][0]} twice")
        records = self._records()
        self._check_keys(records)
        self._translate(records)
        new = [run for run in self.runs if not self._is_there(run, finished)]
        self._check_devices(records, new, finished)
        return new

    def _refuse(self, why: str) -> InputError:
        return InputError(f"{self.archive}: {why}; nothing was merged")

    def _records(self) -> dict[str, tuple[Record, ProbeRecord | None]]:
        """Return the records of each run, checked as `collect` checks them, with predictions and outcomes."""
        folder, found = self.source.folder, {}
        try:
            types = types_of(folder, self.runs)
            for record, probes in read_records(folder, self.runs, bool(self.jobs.probes)):
                for _ in tables_of(folder, record, probes, types):
                    pass
                found[record.run] = (record, probes)
        except InputError as error:
            raise self._refuse(str(error).replace(f"{folder}/", "")) from None
        return found

    def _check_keys(self, records: dict[str, tuple[Record, ProbeRecord | None]]) -> None:
        """Refuse a cell that differs from what would be made here, and say in what.

        Where the text that was encoded is the same, that of the prepared files may differ: other versions of libraries
        write the same table in other bytes.
        """
        keys = Keys(self.jobs, self.target, prepared=self.contents.prepared)
        for run, (record, probes) in records.items():
            cell = self.jobs.cells[run]
            here = keys.training(cell)
            if here is None or (self.jobs.probes and keys.probing(cell) is None):
                raise self._refuse(f"{run}: its text, its model or its learning rate is not in {self.target.folder}")
            what = None
            if record.code != self.jobs.code_of(cell):
                what = f"the code that trains: archive {record.code}, here {self.jobs.code_of(cell)}"
            elif record.key != here:
                what = f"parameters or data (key of the training): archive {record.key}, here {here}"
            elif probes is not None and probes.code != self.jobs.probe_code_of(cell):
                what = f"the code that probes: archive {probes.code}, here {self.jobs.probe_code_of(cell)}"
            elif probes is not None and probes.key != keys.probing(cell):
                what = f"settings or data of the probes (key): archive {probes.key}, here {keys.probing(cell)}"
            if what is not None:
                raise self._refuse(f"{run} differs in {what}")

    def _translate(self, records: dict[str, tuple[Record, ProbeRecord | None]]) -> None:
        """Give checked records the keys, and the hashes of prepared text, that they would have here."""
        keys = Keys(self.jobs, self.target)
        for run, (record, probes) in records.items():
            cell = self.jobs.cells[run]
            if record.key == keys.training(cell) and (probes is None or probes.key == keys.probing(cell)):
                continue
            encoded = self.target.encoded(cell.task, cell.model, cell.condition.name).parent
            data = record.data.model_copy(update={"prepared": EncodedManifest.read(encoded).prepared})
            changed: dict[Path, Stored] = {}
            changed[self.source.record(run)] = record.model_copy(update={"key": keys.training(cell), "data": data})
            if probes is not None:
                changed[self.source.probe_record(run)] = probes.model_copy(update={"key": keys.probing(cell)})
            for path, content in changed.items():
                content.write(path)
                self.files[path.relative_to(self.source.folder).as_posix()] = sha256_file(path)

    def _is_there(self, run: str, finished: set[str]) -> bool:
        """Tell whether a run is finished here with the same files; another result of it is refused."""
        if run not in finished:
            return False
        for path in files_of(run, self.target):
            name = path.relative_to(self.target.folder).as_posix()
            if (sha256_file(path) if path.exists() else None) != self.files.get(name):
                raise self._refuse(f"{run} is in {self.target.folder} already, with another result")
        return True

    def _check_devices(
        self, records: dict[str, tuple[Record, ProbeRecord | None]], new: Sequence[str], finished: set[str]
    ) -> None:
        """Refuse cells that would put the arms of a seed on different kinds of device."""
        groups: dict[Any, dict[str, str]] = {}
        added = {group_of(self.jobs.cells[run], self.jobs) for run in new}
        for run in finished:
            if (group := group_of(self.jobs.cells[run], self.jobs)) in added:
                record = Record.read(self.target.record(run))
                groups.setdefault(group, {})[device_of(record.environment)] = run
        for run in new:
            devices = groups.setdefault(group_of(self.jobs.cells[run], self.jobs), {})
            devices.setdefault(device_of(records[run][0].environment), run)
            if len(devices) > 1:
                kinds = " and ".join(f"{kind} ({one})" for kind, one in devices.items())
                raise self._refuse(f"runs of one seed would be on different kinds of device: {kinds}")

    def move(self, runs: Sequence[str]) -> None:
        """Move checked cells into the study, the record of each training last."""
        for run in runs:
            for source, target in zip(files_of(run, self.source), files_of(run, self.target), strict=True):
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.exists():
                    with atomic(target) as temporary:
                        shutil.copyfile(source, temporary)
                else:
                    target.unlink(missing_ok=True)  # of a cell that is out of date
