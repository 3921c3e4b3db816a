"""Seed groups: the cells whose runs contrasts pair, and which of them a study still lacks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from maskbench.experiment.cell import Cell
    from maskbench.experiment.jobs import Jobs


def group_of(cell: Cell, jobs: Jobs) -> tuple[Any, ...]:
    """Return what the cells of a seed group share: all but the strategy, and whether their rates are tuned.

    The two sides of a joint training are in one group.
    """
    first = jobs.member_of[cell.run][0]
    about = (first.task, first.model, first.regime_name, first.condition.name, first.train_size, first.seed)
    return (*about, jobs.by_id[jobs.job_of[cell.run]].is_tuned)


def groups_of(jobs: Jobs) -> dict[tuple[Any, ...], list[Cell]]:
    """Return the cells of each seed group, in the order of the cells."""
    found: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in jobs.cells.values():
        found.setdefault(group_of(cell, jobs), []).append(cell)
    return found


def missing(jobs: Jobs, there: Collection[str]) -> list[list[Cell]]:
    """Return the seed groups of which a study has no cell, those first of whose model and seed it has the fewest.

    Of as many, the seeds come one after another, each with all of its tasks: verdicts count seeds that every task has.

    A group of which some cells are there is left out: its other cells would run on another machine. So are cells of
    models that a study pretrains itself, which are other models elsewhere, and of rates that are not tuned yet.

    Parameters
    ----------
    jobs
        Of the study.
    there
        The runs that it has.
    """
    own = {model.name for model in jobs.experiment.models if model.pretrain is not None}
    known = Counter((cell.model, cell.seed) for run in there if (cell := jobs.cells.get(run)) is not None)
    found = [
        cells
        for cells in groups_of(jobs).values()
        if not any(cell.run in there or cell.model in own or not jobs.has_rate(cell) for cell in cells)
    ]
    return sorted(found, key=lambda cells: (known[cells[0].model, cells[0].seed], cells[0].seed))


def complete(groups: Iterable[list[Cell]], finished: Collection[str]) -> list[str]:
    """Return the runs of the groups all of whose cells are finished."""
    return [cell.run for cells in groups if all(cell.run in finished for cell in cells) for cell in cells]
