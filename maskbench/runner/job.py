"""Train and probe the cells of a job that are not finished, one after another, and say what is there then."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from maskbench.errors import InputError
from maskbench.experiment.finished import Keys
from maskbench.io import environment
from maskbench.io.files import sha256_file, write_json
from maskbench.io.imports import uncollected
from maskbench.runner.bench import Bench, free
from maskbench.runner.logs import progress
from maskbench.runner.stacks import Stacks
from maskbench.slots.job import on_slot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.experiment.cell import Cell
    from maskbench.experiment.finished import Todo
    from maskbench.experiment.jobs import Member
    from maskbench.runner.shelf import Shelf
    from maskbench.slots.job import Allocation


class Runner(Bench):
    """Trains and probes the cells of a job that are not finished."""

    def run(self) -> None:
        """Do what is left, on a slot if there is something, and write the job's index.

        Raises
        ------
        InputError
            A line for each cell that could not be worked on; the others are done, and the index is not written.
        """
        self._forget_if_forced()
        state = self.state()
        if any(state.todo(member) for member in self.job.members):
            # torch is imported only when the slot is held
            first = next(self.job.cells)
            with on_slot(str(self.job.id), first.training, self.layout.model_source(first.model).parent) as place:
                with uncollected():
                    from maskbench.runner.shelf import Shelf
                    from maskbench.runner.train import train  # noqa: F401 (imported here, with all that it needs)

                shelf = Shelf()
                stacks = Stacks(self, place, shelf)
                for member in self.job.members:
                    stacks.train_with(member)
                    if member[0].run not in stacks.failed:
                        self._member(member, place, shelf)
        for member in self.job.members:
            self._remove_models(member)
        if self.failed:
            raise InputError(*self.failed)
        self._write_index()

    def _forget_if_forced(self) -> None:
        """Forget what the job has left before, if the call was told to run it again and it did not begin yet."""
        name = str(self.job.id)
        if name in self.forced:
            for cell in self.job.cells:
                self.forget(cell)
                shutil.rmtree(self.checkpoints(cell), ignore_errors=True)
            self.forced.begun(name)

    def _member(self, member: Member, place: Allocation, shelf: Shelf) -> None:
        """Train and probe what is left of one member; an error in it does not stop the other members."""
        todo = self.state().todo(member)
        if todo:
            run, trained = member[0].run, True
            if todo.train:
                trained = self.logged(self.layout.train_log(run), run, lambda: self._train(member, todo, place, shelf))
            for cell in todo.probe if trained else ():
                self.logged(self.layout.probe_log(cell.run), cell.run, partial(self._probe, cell, place, shelf))
            if line := progress(self.layout):
                self.say(line)
            free()
        self._remove_models(member)

    def _train(self, member: Member, todo: Todo, place: Allocation, shelf: Shelf) -> None:
        """Train a member, and write its records."""
        from maskbench.runner.train import train

        print(*(f"run {cell.run}" for cell in member), sep="\n")
        place = self.to_train(place, member[0])
        if todo.why is None:
            for cell in member:
                self.forget(cell)
        else:
            print(f"finished before, and trained again: {todo.why}", flush=True)
        keys = Keys(self.jobs, self.layout)
        outputs = [self.layout.record(cell.run).parent for cell in member]
        with _variable(environment.TENSORBOARD, str(outputs[0] / "tensorboard")):
            train(
                member,
                [self.inputs(cell, shelf) for cell in member],
                outputs,
                place.device,
                keys=[keys.training(cell) for cell in member],
                points=self.jobs.experiment.probes.conflict_points,
                code=self.jobs.code_of(member[0]),
                command=self.command,
                gpu_uuid=place.slot.name,
            )

    def _probe(self, cell: Cell, place: Allocation, shelf: Shelf) -> None:
        """Measure the model of a cell, and write what was found."""
        from maskbench.runner.probe import probe

        print(f"run {cell.run}")
        place = self.for_cell(place, cell)
        self.forget_probes(cell)
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

    def _remove_models(self, member: Member) -> None:
        """Remove the models, of these cells and of the cells that they needed, that no unfinished cell needs.

        The job that finishes last finds that all others are finished, so no model is left behind.
        """
        if self.jobs.experiment.keep_models:
            return
        state = self.state()
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
