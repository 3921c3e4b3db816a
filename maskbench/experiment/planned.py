"""What a call of Snakemake is about to do, in words: it plans jobs, and jobs leave out the cells that are finished."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from maskbench.experiment.finished import Keys, StudyState
from maskbench.experiment.jobs import Jobs
from maskbench.experiment.layout import Layout
from maskbench.io import environment


@dataclass(frozen=True)
class Planned:
    """What a call is about to do.

    Attributes
    ----------
    cells
        How many cells it trains.
    lines
        What a user should know of it.
    """

    cells: int
    lines: tuple[str, ...]

    @classmethod
    def of(
        cls,
        jobs: Jobs,
        layout: Layout,
        names: Iterable[str],
        made: Collection[Path],
        *,
        forced: Container[str] = (),
        pretrained: Collection[str] = (),
        slots: int | None = None,
        what: str = "cells",
    ) -> Self:
        """Find out what the cells of some jobs need.

        Parameters
        ----------
        jobs
            All jobs of the experiment.
        layout
            Where things are.
        names
            The jobs that are to run.
        made
            Files that the call makes before: what rests on them counts as changed.
        forced
            The jobs among `names` that train all of their cells, finished or not.
        pretrained
            The models that are to be pretrained.
        slots
            Jobs that the call would run at once; None: it says nothing about it.
        what
            What these cells are called.
        """
        state = StudyState(Keys(jobs, layout, made), forced=forced, remember=True)
        again: Counter[str] = Counter()
        trained = probed = running = 0
        for name in sorted(names):
            running += 1
            for member in jobs.by_id[name].members:
                todo = state.todo(member)
                trained += len(member) if todo.train else 0
                probed += len(todo.probe)
                if todo.why is not None:
                    again[todo.why] += len(member)
        lines = [f"{_count(number, 'finished run')} trained again: {why}" for why, number in again.items()]
        if pretrained:
            own = sum(model.pretrain is not None for model in jobs.experiment.models)
            lines.append(f"of {own} models of the study's own, {len(pretrained)} to pretrain: {_listed(pretrained)}")
        if running:
            total = len(jobs.cells)
            probes = f", {probed} to probe" if jobs.probes else ""
            lines.append(f"of {total} {what}, {trained} to train{probes}, in {running} job{'s' if running > 1 else ''}")
            if (advice := jobs.advice(slots)) is not None:
                lines.append(advice)
        return cls(trained, tuple(lines))

    def before(self, other: Self) -> Self:
        """Return what is to be done in both plans, this one first."""
        return type(self)(self.cells + other.cells, (*self.lines, *other.lines))

    def environment(self) -> dict[str, str]:
        """Return the variables that the line about progress needs: how many cells the call trains, and since when."""
        return {environment.CELLS: str(self.cells), environment.STARTED: str(time.time())}


def _count(number: int, what: str) -> str:
    """Say how many there are, with the verb."""
    return f"{number} {what}s are" if number > 1 else f"{number} {what} is"


def _listed(names: Iterable[str], most: int = 8) -> str:
    """Return names, sorted, the first few of many."""
    ordered = sorted(names)
    more = [f"and {len(ordered) - most} more"] if len(ordered) > most else []
    return ", ".join([*ordered[:most], *more])
