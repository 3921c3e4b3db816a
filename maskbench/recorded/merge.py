"""Merge an archive of cells into a study, and make the record of the study anew."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskbench.analysis.collect import device_of
from maskbench.analysis.outcome_tables import tables_of, types_of
from maskbench.analysis.run_records import read_records
from maskbench.data.manifests import EncodedManifest
from maskbench.errors import InputError
from maskbench.experiment.finished import Keys, finished
from maskbench.io.files import atomic, sha256_file
from maskbench.recorded.archive import Contents, files_of, unpacked
from maskbench.recorded.groups import group_of
from maskbench.recorded.texts import texts_of
from maskbench.records.run import Record, Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskbench.experiment.jobs import Jobs
    from maskbench.experiment.layout import Layout
    from maskbench.recorded.study import Elsewhere, RecordedStudy
    from maskbench.records.probe import ProbeRecord


def merge(elsewhere: Elsewhere, archive: Path) -> tuple[int, int]:
    """Check an archive, move its cells into the study, and make the record anew.

    Parameters
    ----------
    elsewhere
        The study, and the folder to merge into: its own, or that of a study to be made of these cells alone.
    archive
        File with cells.

    Returns
    -------
    tuple
        How many cells are new, and how many were there already.

    Raises
    ------
    InputError
        In one line, if something speaks against it; the study is as it was before then.
    """
    study, target = elsewhere.study, elsewhere.there
    with unpacked(archive, target.layout.folder.parent) as (contents, source):
        # text and models are made before keys are compared
        if contents.study != study.experiment.study:
            raise InputError(f"{archive}: expected cells of the study {study.experiment.study}, got {contents.study}")
        runs = [cell.run for cell in contents.cells]
        needed(target, runs)
        if strange := [run for run in runs if run not in study.jobs.cells]:
            raise InputError(f"{archive}: {strange[0]} is no cell of this study; nothing was merged")
        if not elsewhere.at_home and (others := target.runs - set(study.jobs.cells)):
            raise InputError(f"{target.layout.folder}: expected cells of {study.file} or nothing, found {min(others)}")
        # of all cells: those whose text is missing would not be finished, and not in the next record
        jobs = elsewhere.restrict({*runs, *target.runs} & set(study.jobs.cells))
        if not elsewhere.make(elsewhere.inputs(jobs)):
            raise InputError("text and models of the study could not be made here; the lines above say why")
        elsewhere.cells_file.unlink(missing_ok=True)
        merging = Merging(archive, contents, source, study.jobs, target.layout)
        new = merging.check(target.finished)
        merging.move(new)
    if lost := set(new) - set(finished(study.jobs, target.layout)):
        raise InputError(f"{min(lost)}: expected a finished cell after it was merged; see its record")
    remake(elsewhere)
    return len(new), len(runs) - len(new)


def needed(study: RecordedStudy, runs: list[str]) -> None:
    """Refuse to merge where the record has cells whose runs are neither here nor in the archive.

    Metrics and verdicts are made of the records of all runs: without them, the record would have the new ones alone.

    Raises
    ------
    InputError
        In one line that says what is needed.
    """
    if lost := {run for run in study.runs - set(runs) if not study.layout.record(run).exists()}:
        raise InputError(
            f"{study.layout.folder}: the record has {len(lost)} cells whose runs are not here, such as {min(lost)}, "
            "and metrics and verdicts are made of the records of all runs; take the folders training/ and probes/ from "
            "where the study ran, or merge an archive of its cells first (make reference-archive there), or make a "
            "study of the new cells alone (INTO=a-name)"
        )


def remake(elsewhere: Elsewhere) -> None:
    """Make metrics, verdicts, figures and page of all cells that are finished.

    Raises
    ------
    InputError
        If that fails.
    """
    if subprocess.run(elsewhere.command(["record"]), env=os.environ, check=False).returncode:
        raise InputError("the cells are merged, but the record could not be made; the lines above say why")


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

        The files of prepared text may differ where their content is the same.
        """
        keys = Keys(self.jobs, self.target, prepared=self._prepared())
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

    def _prepared(self) -> dict[str, str]:
        """Return the hashes of the archive's prepared text of the same content as here, by those of the encoded one."""
        here = texts_of(self.jobs, self.target, self.runs)
        return {
            encoded: text.prepared
            for encoded, text in self.contents.texts.items()
            if encoded in here and here[encoded].content == text.content
        }

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
