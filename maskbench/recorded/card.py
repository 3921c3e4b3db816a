"""Run missing cells of a study for some minutes, on a card or not, and leave an archive of what came of them."""

from __future__ import annotations

import math
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.recorded.archive import pack
from maskbench.recorded.groups import complete, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maskbench.experiment.cell import Cell
    from maskbench.experiment.jobs import Jobs
    from maskbench.recorded.study import Elsewhere

RESERVE = 45.0
"""Seconds that are kept back for stopping what runs, and for the archive."""

GROWTH, SHARE = 2, 0.5
"""A call has at most so many times the groups of the one before, and as many as should fit into this share of the time
that is left: what the last one has begun when the time is over is lost."""


def batches(
    groups: list[list[Cell]], left: Callable[[], float], clock: Callable[[], float] = time.monotonic
) -> Iterator[list[list[Cell]]]:
    """Yield groups in batches that grow, while there is time: each is worked on before the next one is asked for.

    Parameters
    ----------
    groups
        What there is to do.
    left
        Seconds that are left.
    clock
        Seconds of a clock.
    """
    waiting, size = iter(groups), 1
    while left() > 0 and (batch := list(islice(waiting, size))):
        began = clock()
        yield batch
        took = max(clock() - began, 1e-3)
        size = max(1, min(GROWTH * len(batch), int(SHARE * left() * len(batch) / took)))


def run(elsewhere: Elsewhere, minutes: float, archive: Path) -> tuple[int, int]:
    """Run as many missing seed groups as fit into some minutes, and write an archive of those that are complete.

    Parameters
    ----------
    elsewhere
        The study, and where to work; what an earlier call has left there is gone on with.
    minutes
        All together, more than `RESERVE`.
    archive
        File to write.

    Returns
    -------
    tuple
        How many cells are in the archive, and how many seed groups the study still lacks.

    Raises
    ------
    InputError
        If nothing is missing, or no group could be completed in time.
    """
    least = RESERVE / 60.0
    if not least < minutes < math.inf:
        raise InputError(f"MINUTES: expected a number above {least:g}, which stopping takes, got {minutes:g}")
    end = time.monotonic() + 60.0 * minutes - RESERVE
    study = elsewhere.study
    groups = missing(study.jobs, study.runs | study.finished)
    if not groups:
        raise InputError(f"{study.layout.folder}: no seed group is missing that could be run here")
    print(f"{len(groups)} seed groups are missing; {minutes:g} minutes for as many as fit", flush=True)
    tried: list[list[Cell]] = []
    for batch in batches(groups, lambda: end - time.monotonic()):
        tried += batch
        jobs = elsewhere.restrict(cell.run for cells in tried for cell in cells)
        elsewhere.make(_indexes(elsewhere, jobs, batch), seconds=max(1.0, end - time.monotonic()))
    jobs = elsewhere.restrict(cell.run for cells in tried for cell in cells)
    runs = complete(tried, set(elsewhere.finished(jobs)))
    if not runs:
        raise InputError(f"no seed group was completed in {minutes:g} minutes; the next call goes on with it")
    pack(archive, study.experiment.study, elsewhere.layout, runs)
    return len(runs), len(groups)


def _indexes(elsewhere: Elsewhere, jobs: Jobs, batch: list[list[Cell]]) -> list[Path]:
    """Return what Snakemake is asked for: the indexes of the jobs of a batch."""
    names = dict.fromkeys(jobs.job_of[cell.run] for cells in batch for cell in cells)
    return [elsewhere.layout.index(name) for name in names]
