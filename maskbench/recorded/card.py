"""Run missing cells of a study for some minutes, on a card or not, and leave an archive of what came of them."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.recorded.archive import pack
from maskbench.recorded.groups import complete, missing
from maskbench.slots.cards import capacity

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
    groups: list[list[Cell]],
    left: Callable[[], float],
    clock: Callable[[], float] = time.monotonic,
    *,
    at_once: int = 1,
    to_do: Callable[[list[Cell]], int] = len,
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
    at_once
        Groups that run side by side and take as long as one: the first batch has so many, and later ones no fewer as
        long as that fits into the time.
    to_do
        How many cells of a group are not finished yet: an earlier call may have left some.
    """
    waiting, size = list(groups), at_once
    while left() > 0 and waiting:
        batch, waiting = waiting[:size], waiting[size:]
        cells, began = _cells_of_a_round(batch, to_do, at_once), clock()
        yield batch
        each = (clock() - began) / max(cells, 1.0)
        takes = [
            each * _cells_of_a_round(waiting[:number], to_do, at_once)
            for number in range(1, min(len(waiting), max(at_once, GROWTH * len(batch))) + 1)
        ]
        least = at_once if takes and takes[:at_once][-1] < left() else 1
        size = max(least, sum(seconds <= SHARE * left() for seconds in takes))
        size -= size % at_once if size > at_once else 0


def _cells_of_a_round(groups: list[list[Cell]], to_do: Callable[[list[Cell]], int], at_once: int) -> float:
    """Return how many cells come one after another where so many groups run side by side."""
    return math.ceil(len(groups) / at_once) * sum(map(to_do, groups)) / len(groups)


def _at_once(elsewhere: Elsewhere, groups: list[list[Cell]]) -> int:
    """Return how many groups the machine has slots and cores for; each may have several jobs."""
    experiment, job_of = elsewhere.study.experiment, elsewhere.study.jobs.job_of
    cores = max(1, (os.cpu_count() or 1) // experiment.training.threads)
    jobs = max(len({job_of[cell.run] for cell in cells}) for cells in groups)
    return max(1, min(cores, capacity(experiment.resources.slots_per_gpu) or cores) // jobs)


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
    needed = elsewhere.inputs(elsewhere.restrict(cell.run for cells in groups for cell in cells))
    if not elsewhere.make(needed, seconds=max(1.0, end - time.monotonic())):
        raise InputError("text and models of the study could not be made here in time; the lines above say why")
    there = set(elsewhere.finished(elsewhere.restrict(cell.run for cells in groups for cell in cells)))

    def to_do(cells: list[Cell]) -> int:
        return sum(cell.run not in there for cell in cells)

    tried = [cells for cells in groups if not to_do(cells)]  # an earlier call has finished them
    at_once, rest = _at_once(elsewhere, groups), [cells for cells in groups if to_do(cells)]
    for batch in batches(rest, lambda: end - time.monotonic(), at_once=at_once, to_do=to_do):
        tried += batch
        jobs = elsewhere.restrict(cell.run for cells in tried for cell in cells)
        made = elsewhere.make(_indexes(elsewhere, jobs, batch), seconds=max(1.0, end - time.monotonic()))
        if not (made or complete(batch, set(elsewhere.finished(jobs))) or end < time.monotonic()):
            raise InputError("no cell of the last groups could be run; the lines above and the logs say why")
    jobs = elsewhere.restrict(cell.run for cells in tried for cell in cells)
    runs = complete(tried, set(elsewhere.finished(jobs)))
    if not runs:
        raise InputError(f"no seed group was completed in {minutes:g} minutes; the next call goes on with it")
    pack(archive, study.jobs, elsewhere.layout, runs)
    return len(runs), len(groups)


def _indexes(elsewhere: Elsewhere, jobs: Jobs, batch: list[list[Cell]]) -> list[Path]:
    """Return what Snakemake is asked for: the indexes of the jobs of a batch."""
    names = dict.fromkeys(jobs.job_of[cell.run] for cells in batch for cell in cells)
    return [elsewhere.layout.index(name) for name in names]
