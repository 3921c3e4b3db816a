"""Train and probe the cells of a job that are not finished, one after another, and say what is there then."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import traceback
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from maskbench.errors import InputError
from maskbench.experiment.finished import Keys, StudyState
from maskbench.experiment.forced import Forced
from maskbench.io import environment
from maskbench.io.files import sha256_file, write_json
from maskbench.io.imports import uncollected
from maskbench.io.script import disk_line
from maskbench.runner.logs import log_to, progress
from maskbench.slots.job import Allocation, on_slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from maskbench.experiment.cell import Cell
    from maskbench.experiment.finished import Todo
    from maskbench.experiment.jobs import Job, Jobs, Member
    from maskbench.experiment.layout import Layout
    from maskbench.runner.shelf import Shelf
    from maskbench.training.state import Inputs


class Runner:
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

    def run(self) -> None:
        """Do what is left, on a slot if there is something, and write the job's index.

        Raises
        ------
        InputError
            A line for each cell that could not be worked on; the others are done, and the index is not written.
        """
        self._forget_if_forced()
        state = self._state()
        if any(state.todo(member) for member in self.job.members):
            # torch is imported only when the slot is held
            first = next(self.job.cells)
            with on_slot(str(self.job.id), first.training, self.layout.model_source(first.model).parent) as place:
                with uncollected():
                    from maskbench.runner.shelf import Shelf
                    from maskbench.runner.train import train  # noqa: F401 (imported here, with all that it needs)

                shelf = Shelf()
                for member in self.job.members:
                    self._member(member, place, shelf)
        for member in self.job.members:
            self._remove_models(member)
        if self.failed:
            raise InputError(*self.failed)
        self._write_index()

    def _state(self) -> StudyState:
        """Return which cells are finished at this moment; it changes, since other jobs work on the same study."""
        return StudyState(Keys(self.jobs, self.layout), forced=self.forced)

    def _forget_if_forced(self) -> None:
        """Forget what the job has left before, if the call was told to run it again and it did not begin yet."""
        name = str(self.job.id)
        if name in self.forced:
            for cell in self.job.cells:
                self._forget(self._training_files(cell) + self._probe_files(cell))
                shutil.rmtree(self._checkpoints(cell), ignore_errors=True)
            self.forced.begun(name)

    def _member(self, member: Member, place: Allocation, shelf: Shelf) -> None:
        """Train and probe what is left of one member; an error in it does not stop the other members."""
        todo = self._state().todo(member)
        if todo:
            run, trained = member[0].run, True
            if todo.train:
                trained = self._logged(self.layout.train_log(run), run, lambda: self._train(member, todo, place, shelf))
            for cell in todo.probe if trained else ():
                self._logged(self.layout.probe_log(cell.run), cell.run, partial(self._probe, cell, place, shelf))
            if line := progress(self.layout):
                self.say(line)
            _free()
        self._remove_models(member)

    def _logged(self, path: Path, run: str, work: Callable[[], None]) -> bool:
        """Do some work on a run, with a log of its own; return whether it succeeded. A failure is noted in `failed`."""
        line: str | None = None
        try:
            with log_to(path):
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

    def _for_cell(self, place: Allocation, cell: Cell) -> Allocation:
        """Return the job's place with the threads, precision and attention that a cell asks for, and print it."""
        from maskbench.slots.device import choose

        own = replace(place, device=choose(cell.training, self.layout.model_source(cell.model).parent))
        print(own, flush=True)
        return own

    def _train(self, member: Member, todo: Todo, place: Allocation, shelf: Shelf) -> None:
        """Train a member, and write its records."""
        from maskbench.runner.train import train

        print(*(f"run {cell.run}" for cell in member), sep="\n")
        place = self._for_cell(place, member[0])
        if todo.why is None:
            for cell in member:
                self._forget(self._training_files(cell) + self._probe_files(cell))
        else:
            print(f"finished before, and trained again: {todo.why}", flush=True)
        keys = Keys(self.jobs, self.layout)
        outputs = [self.layout.record(cell.run).parent for cell in member]
        with _variable(environment.TENSORBOARD, str(outputs[0] / "tensorboard")):
            train(
                member,
                [self._inputs(cell, shelf) for cell in member],
                outputs,
                place.device,
                keys=[keys.training(cell) for cell in member],
                points=self.jobs.experiment.probes.conflict_points,
                code=self.jobs.code_of(member[0]),
                command=self.command,
                gpu_uuid=place.slot.name,
            )

    def _inputs(self, cell: Cell, shelf: Shelf) -> Inputs:
        """Return where the inputs of a cell are, and where it works."""
        from maskbench.training.state import Inputs

        layout, before = self.layout, self.jobs.before(cell)
        if before is not None and self._state().completed(before) and not (layout.model(before.run)).exists():
            raise InputError(
                f"{layout.model(before.run)}: expected the model that {cell.run} starts from, found none; run again"
            )
        wanted = self.jobs.experiment.keep_models or self.jobs.probes or self.jobs.dependents(cell)
        return Inputs(
            encoded=layout.encoded(cell.task, cell.model, cell.condition.name).parent,
            model=layout.model_source(cell.model).parent,
            work=self._checkpoints(cell),
            keep_model=layout.model(cell.run) if wanted else None,
            along=self.jobs.along,
            start=None if before is None else layout.record(before.run).parent,
            load=shelf.encoded,
        )

    def _probe(self, cell: Cell, place: Allocation, shelf: Shelf) -> None:
        """Measure the model of a cell, and write what was found."""
        from maskbench.runner.probe import probe

        print(f"run {cell.run}")
        place = self._for_cell(place, cell)
        self._forget(self._probe_files(cell))
        probe(
            cell,
            self.jobs.sources(cell, self.layout),
            self.jobs.experiment.probes,
            self.layout.probe_record(cell.run).parent,
            place.device,
            shelf,
            key=Keys(self.jobs, self.layout).probing(cell),
            code=self.jobs.probe_code_of(cell) or "",
            gpu_uuid=place.slot.name,
        )

    def _checkpoints(self, cell: Cell) -> Path:
        return self.layout.record(cell.run).parent / "checkpoints"

    def _training_files(self, cell: Cell) -> list[Path]:
        """Return what a training leaves behind for good: the record and the predictions; models and logs aside."""
        return [self.layout.record(cell.run), self.layout.predictions(cell.run)]

    def _probe_files(self, cell: Cell) -> list[Path]:
        """Return what the probes leave behind: their record, and what each example contributed."""
        return [self.layout.probe_record(cell.run), self.layout.outcomes(cell.run)]

    def _forget(self, files: Iterable[Path]) -> None:
        """Remove files that are out of date, before they are made again."""
        for file in files:
            file.unlink(missing_ok=True)

    def _remove_models(self, member: Member) -> None:
        """Remove the models, of these cells and of the cells that they needed, that no unfinished cell needs.

        The job that finishes last finds that all others are finished, so no model is left behind.
        """
        if self.jobs.experiment.keep_models:
            return
        state = self._state()
        for run in dict.fromkeys(one.run for cell in member for one in (cell, *self.jobs.needed_by(cell))):
            folder = self.layout.model(run)
            if folder.exists() and not state.needs_model(self.jobs.cells[run]):
                shutil.rmtree(folder, ignore_errors=True)

    def _write_index(self) -> None:
        """Write the index of the job's finished cells, and the file that stands for models that other jobs need."""
        keys = Keys(self.jobs, self.layout)
        cells = []
        for cell in self.job.cells:
            entry: dict[str, Any] = {
                "run": cell.run,
                "key": keys.training(cell),
                "record": sha256_file(self.layout.record(cell.run)),
            }
            if self.jobs.probes:
                probes = sha256_file(self.layout.probe_record(cell.run))
                entry["probes"] = {"key": keys.probing(cell), "record": probes}
            cells.append(entry)
        write_json(self.layout.index(str(self.job.id)), {"schema": 1, "job": str(self.job.id), "cells": cells})
        if self.jobs.lending:
            # Snakemake compares contents: if a key changes, the jobs that start from these models run again
            lent = {entry["run"]: entry["key"] for entry in cells}
            about = "the models of these runs, while other jobs need them; nothing reads this file but Snakemake"
            write_json(self.layout.models(str(self.job.id)), {"schema": 1, "about": about, "keys": lent})


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment in the block, unless the user has set it already."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _free() -> None:
    """Free the memory that the last cell used, so that each cell begins as the first one did."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
