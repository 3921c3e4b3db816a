"""What every work on a cell of a job needs: what is left to do, its inputs, its device and its log."""

from __future__ import annotations

import gc
import sys
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.experiment.finished import Keys, StudyState
from maskbench.experiment.forced import Forced
from maskbench.io.script import disk_line
from maskbench.runner.logs import log_to

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from maskbench.experiment.cell import Cell
    from maskbench.experiment.jobs import Job, Jobs
    from maskbench.experiment.layout import Layout
    from maskbench.runner.shelf import Shelf
    from maskbench.slots.job import Allocation
    from maskbench.training.state import Inputs


class Bench:
    """Works on a job.

    Parameters
    ----------
    job
        The job.
    jobs
        All jobs of the experiment.
    layout
        Where things are.
    command
        What records say of how the job was started.
    say
        Is given a line for the terminal whenever a cell ends.
    """

    def __init__(self, job: Job, jobs: Jobs, layout: Layout, command: str, say: Callable[[str], None]) -> None:
        self.job, self.jobs, self.layout, self.command, self.say = job, jobs, layout, command, say
        self.forced = Forced(layout)
        self.failed: list[str] = []

    def state(self) -> StudyState:
        """Return which cells are finished at this moment; it changes, since other jobs work on the same study."""
        return StudyState(Keys(self.jobs, self.layout), forced=self.forced)

    def logged(self, path: Path, run: str, work: Callable[[], None], *, append: bool = False) -> bool:
        """Do some work on a run, with a log of its own; return whether it succeeded. A failure is noted in `failed`.

        Parameters
        ----------
        append
            The log is there, and is added to.
        """
        line: str | None = None
        try:
            with log_to(path, append=append):
                try:
                    work()
                except InputError as error:
                    line = str(error)
                except Exception as error:
                    line = disk_line(error) or f"{type(error).__name__}: {error}"
                    traceback.print_exc()
                if line is not None:
                    print(line, file=sys.stderr)
        except OSError as error:  # the log itself cannot be written
            line = line or disk_line(error) or str(error)
        if line is not None:
            self.failed += [f"{part} (run {run}, {path})" for part in line.splitlines()]
        print(f"run {run}: {'done' if line is None else 'failed'}, {path}", flush=True)
        return line is None

    def for_cell(self, place: Allocation, cell: Cell) -> Allocation:
        """Return the job's place with the threads, precision and attention that a cell asks for, and print it."""
        from maskbench.slots.device import choose

        own = replace(place, device=choose(cell.training, self.layout.model_source(cell.model).parent))
        print(own, flush=True)
        return own

    def to_train(self, place: Allocation, cell: Cell) -> Allocation:
        """Return the job's place as `for_cell` does, for a training.

        On a card where cells may be stacked, attention is eager unless the configuration names another: dropout inside
        of sdpa's kernels cannot be drawn alike in a stack and alone, and all strategies have to see the same dropout.
        """
        own = self.for_cell(place, cell)
        if own.device.kind != "cuda" or not self.stacks or cell.training.attention != "auto":
            return own
        note = "attention is eager, as cells of the study may be trained in stacks"
        print(note, flush=True)
        return replace(own, device=replace(own.device, attention="eager", notes=(*own.device.notes, note)))

    @property
    def stacks(self) -> bool:
        """Whether cells may be trained in stacks on a card."""
        return self.jobs.experiment.training.stack != 1

    def inputs(self, cell: Cell, shelf: Shelf) -> Inputs:
        """Return where the inputs of a cell are, and where it works."""
        from maskbench.training.state import Inputs

        layout, before = self.layout, self.jobs.before(cell)
        if before is not None and self.state().completed(before) and not (layout.model(before.run)).exists():
            raise InputError(
                f"{layout.model(before.run)}: expected the model that {cell.run} starts from, found none; run again"
            )
        wanted = self.jobs.experiment.keep_models or self.jobs.probes or self.jobs.dependents(cell)
        return Inputs(
            encoded=layout.encoded(cell.task, cell.model, cell.condition.name).parent,
            model=layout.model_source(cell.model).parent,
            work=self.checkpoints(cell),
            keep_model=layout.model(cell.run) if wanted else None,
            along=self.jobs.along,
            start=None if before is None else layout.record(before.run).parent,
            load=shelf.encoded,
            lexicons={name: layout.lexicon(name).parent for name in cell.strategy.lexicons},
            models=shelf.models,
        )

    def checkpoints(self, cell: Cell) -> Path:
        """Return the folder of a run's checkpoints."""
        return self.layout.record(cell.run).parent / "checkpoints"

    def forget(self, cell: Cell) -> None:
        """Remove what a training and its probes leave for good, before it is made again; models and logs aside."""
        for file in (self.layout.record(cell.run), self.layout.predictions(cell.run)):
            file.unlink(missing_ok=True)
        self.forget_probes(cell)

    def forget_probes(self, cell: Cell) -> None:
        """Remove the files of the probes that are out of date, before they are made again."""
        for file in (self.layout.probe_record(cell.run), self.layout.outcomes(cell.run)):
            file.unlink(missing_ok=True)


def free() -> None:
    """Free the memory that the last cell used, so that each cell begins as the first one did."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
