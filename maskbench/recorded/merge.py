"""Merge an archive of cells into a study, and make the record of the study anew."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.experiment.finished import finished
from maskbench.recorded.archive import Merging, unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from maskbench.recorded.study import Elsewhere, RecordedStudy


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
