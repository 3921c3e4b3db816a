"""Jobs: which cells are trained and probed by one process, what it needs, and what others need of it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from maskbench.config.conditions import CLEAN, OUT_OF_DOMAIN, SHIFTED
from maskbench.config.resources import CellsPerJob
from maskbench.config.tuning import is_tuned, tuned, untuned
from maskbench.errors import InputError
from maskbench.experiment.cell import Cell, cells, resolve
from maskbench.experiment.code import probe_code, training_code
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.layout import JobId, Layout, RunId
from maskbench.io import environment
from maskbench.io.files import canonical, read_json, sha256_text
from maskbench.records.choices import Choices

AT_LEAST = 8
"""Jobs that `auto` makes at least, if there are so many cells: two for each slot of a machine with four cards, so that
no slot is empty for long while the last jobs end."""

EVALUATED = {"precision", "attention", "threads", "eval_batch_size"}
"""What decides how an untrained model is evaluated; learning rates and the like have no effect on it."""

ENCODED_SETS = ("shifted", "elsewhere", "cue", "before_encoded")
"""Encoded texts that probes look at beside the run's own, by the names of maskbench/probes/sources.py."""

Member = tuple[Cell, ...]
"""What is trained at once: one cell, or the two sides of a joint training."""


def split(strategies: int, groups: int, wanted: CellsPerJob) -> list[list[int]]:
    """Deal strategies out to jobs, in the same way for every group of cells that differ in strategy alone.

    What is dealt depends on the configuration alone, so that another call plans the same jobs.

    Parameters
    ----------
    strategies
        How many there are.
    groups
        How many groups of cells there are.
    wanted
        A number: pieces of so many strategies, one after another. ``all``: one piece. ``auto``: as few pieces as make
        at least `AT_LEAST` jobs, or one for each strategy; they are dealt like cards, so that one that is appended to
        the list changes one piece.

    Returns
    -------
    list
        Of each piece, the places of its strategies in the experiment's list; none is empty.
    """
    everything = list(range(strategies))
    if wanted == "all":
        return [everything]
    if wanted == "auto":
        pieces = min(strategies, math.ceil(AT_LEAST / groups))
        return [everything[piece::pieces] for piece in range(pieces)]
    return [everything[start : start + wanted] for start in range(0, strategies, wanted)]


@dataclass(frozen=True)
class Job:
    """Cells that differ in strategy alone, which one process trains and probes in this order.

    Attributes
    ----------
    id
        Its name.
    members
        What is trained at once, one after another.
    """

    id: JobId
    members: tuple[Member, ...]

    @property
    def is_tuned(self) -> bool:
        """Whether its cells have tuned learning rates."""
        return is_tuned(self.members[0][0].strategy.name)

    @property
    def cells(self) -> Iterator[Cell]:
        """All cells, in the order in which they are trained."""
        for member in self.members:
            yield from member


def only_runs() -> list[str] | None:
    """Return the runs that a call is restricted to (``MASKBENCH_ONLY``); None if it is not.

    Raises
    ------
    InputError
        If the file is missing, or is no list of texts.
    """
    path = os.environ.get(environment.ONLY)
    if not path:
        return None
    found = read_json(path)
    if not isinstance(found, list) or not all(isinstance(run, str) for run in found):
        raise InputError(f"{path}: expected a list of runs")
    return found


def _turned(places: list[int], seed: int) -> list[int]:
    """Return places with another one first for each seed: a place in a process must not look like a strategy."""
    first = (seed - 1) % len(places)
    return [*places[first:], *places[:first]]


class Jobs:
    """All jobs of an experiment, and how they depend on each other.

    Parameters
    ----------
    experiment
        The experiment.
    choices
        The tuned learning rates; None: they are not known yet, or nothing is tuned.
    only
        Runs: these cells, and those that they need, are all that there is; None: all cells of the experiment.

    Raises
    ------
    InputError
        If one of these runs is no cell of the experiment.
    """

    def __init__(
        self, experiment: Experiment, choices: Choices | None = None, only: Iterable[str] | None = None
    ) -> None:
        self.experiment, self.choices = experiment, choices
        self.cells = {cell.run: cell for cell in cells(experiment, choices)}
        self._planned = {cell.run: cell for cell in cells(experiment)} if choices else self.cells
        self.probes = set(experiment.probes.wanted)
        if only is not None:
            self.cells = self._with_needed(only)
        self.by_id = {str(job.id): job for job in self._made()}
        self.job_of = {cell.run: name for name, job in self.by_id.items() for cell in job.cells}
        self.member_of = {cell.run: one for job in self.by_id.values() for one in job.members for cell in one}
        self._cues = self._planted()
        self._parts: dict[str, str] = {}

    def _planted(self) -> dict[str, str]:
        """Return, by task, the condition with a planted cue that its other cells are probed with.

        Limits may leave a task without one, such as a task of more classes than there are words to plant.
        """
        named = next((item.name for item in self.experiment.conditions if item.kind == "cue"), None)
        if named is None:
            return {}
        if self.experiment.limits:
            return {cell.task: named for cell in self._planned.values() if cell.condition.kind == "cue"}
        return {task.name: named for task in self.experiment.tasks}

    def _with_needed(self, runs: Iterable[str]) -> dict[str, Cell]:
        """Return some cells, those whose models they need and the other sides of joint ones, in the order of all."""
        wanted: set[str] = set()
        waiting = list(runs)
        while waiting:
            run = waiting.pop()
            if run not in self.cells:
                raise InputError(f"{run}: expected a cell of the study {self.experiment.study}, found none")
            if run not in wanted:
                wanted.add(run)
                cell = self.cells[run]
                waiting += [other.run for other in (*self._member(cell), *self.needed_by(cell))]
        return {run: cell for run, cell in self.cells.items() if run in wanted}

    def _made(self) -> Iterator[Job]:
        """Yield the jobs of the experiment: its cells in groups, in the order of the cells."""
        order = [task.name for task in self.experiment.tasks]
        groups: dict[tuple[object, ...], list[Cell]] = {}
        for cell in self.cells.values():
            if cell.regime == "joint" and order.index(cell.task) > order.index(cell.other or ""):
                continue  # the second side of a pair is trained with the first
            alike = (cell.task, cell.model, cell.regime_name, cell.condition.name, cell.train_size, cell.seed)
            groups.setdefault(alike, []).append(cell)
        # cells at tuned rates have jobs of their own, so that the others do not wait for the tuning
        names = [strategy.name for strategy in self.experiment.strategies]
        place_of = {strategy.name: place for place, strategy in enumerate(self.experiment.arms)}
        dealt = split(len(names), len(groups), self.experiment.resources.cells_per_job)
        again = [[place_of[tuned(names[one])] for one in every if tuned(names[one]) in place_of] for every in dealt]
        dealt += again if len(place_of) > len(names) else []
        for group in groups.values():
            run = RunId.parse(group[0].run)
            own = {place_of[cell.strategy.name]: cell for cell in group}  # a model may leave some out
            for piece, every in enumerate(dealt):
                if not (places := [place for place in every if place in own]):
                    continue
                name = JobId(run.task, run.model, run.regime, run.condition, run.size, run.seed, piece)
                yield Job(name, tuple(self._member(own[place]) for place in _turned(places, run.seed)))

    def _member(self, cell: Cell) -> Member:
        """Return what is trained at once with a cell."""
        if cell.regime != "joint":
            return (cell,)
        other = replace(RunId.parse(cell.run), task=str(cell.other), regime=f"with-{cell.task}")
        return cell, self.cells[str(other)]

    def has_rate(self, cell: Cell) -> bool:
        """Tell whether it is known at which learning rate a cell is trained."""
        if not is_tuned(cell.strategy.name):
            return True
        return bool(self.choices and self.choices.of(cell.task, cell.model, untuned(cell.strategy.name)))

    # which models of other cells a cell needs

    def before(self, cell: Cell) -> Cell | None:
        """Return the cell of the first task, from whose model a sequential one goes on; None of any other regime."""
        if cell.regime != "sequential":
            return None
        return self.cells[str(replace(RunId.parse(cell.run), task=str(cell.other), regime="single"))]

    def twin(self, cell: Cell) -> Cell | None:
        """Return the cell with clean labels that a cell with flipped ones is probed beside; None if it needs none."""
        if cell.condition.kind != "label-noise" or "memorisation" not in self.probes:
            return None
        return self.cells[str(replace(RunId.parse(cell.run), condition=CLEAN.name))]

    def needed_by(self, cell: Cell) -> list[Cell]:
        """Return the cells whose models a cell needs, to be trained or to be probed."""
        return [other for other in (self.before(cell), self.twin(cell)) if other is not None]

    @cached_property
    def _dependents(self) -> dict[str, list[Cell]]:
        found: dict[str, list[Cell]] = {}
        for cell in self.cells.values():
            for other in self.needed_by(cell):
                found.setdefault(other.run, []).append(cell)
        return found

    def dependents(self, cell: Cell) -> list[Cell]:
        """Return the cells that need the model of a cell."""
        return self._dependents.get(cell.run, [])

    @property
    def lending(self) -> bool:
        """Whether any cell needs the model of another one."""
        return bool(self._dependents)

    @property
    def looks_back(self) -> bool:
        """Whether probes measure the first task of a sequential training."""
        return bool(self.probes & {"forgetting", "trajectory"})

    @property
    def along(self) -> bool:
        """Whether the weights at each evaluation are needed."""
        return "trajectory" in self.probes

    # what a job needs, and what its work depends on

    @cached_property
    def _elsewhere(self) -> set[str]:
        """The tasks that are tested on texts from elsewhere."""
        wanted = "out-of-domain" in self.probes
        return {task.name for task in self.experiment.tasks if wanted and task.out_of_domain}

    def sources(self, cell: Cell, layout: Layout) -> dict[str, Path]:
        """Return the folders that the probes of a run look at, by the names of maskbench/probes/sources.py."""
        task, model, condition = cell.task, cell.model, cell.condition
        cue = condition.name if condition.kind == "cue" else self._cues.get(task)
        files = {
            "run": layout.record(cell.run),
            "pretrained": layout.model_source(model),
            "reference": layout.reference(task, model),
            "clean": layout.encoded(task, model, CLEAN.name),
            "encoded": layout.encoded(task, model, condition.name),
            "prepared": layout.prepared(task, condition.name),
        }
        if self.probes & {"distractor", "perturbation"}:
            files["shifted"] = layout.encoded(task, model, SHIFTED)
        if task in self._elsewhere:
            files["elsewhere"] = layout.encoded(task, model, OUT_OF_DOMAIN)
        if "cue" in self.probes and cue is not None:
            files |= {"cue": layout.encoded(task, model, cue), "cue_words": layout.prepared(task, cue)}
        if (twin := self.twin(cell)) is not None:
            files["twin"] = layout.record(twin.run)
        if self.looks_back and (before := self.before(cell)) is not None:
            files["before"] = layout.record(before.run)
            files["before_encoded"] = layout.encoded(before.task, model, CLEAN.name)
        return {name: file.parent for name, file in files.items()}

    def inputs(self, job: Job, layout: Layout) -> list[Path]:
        """Return the files that a job waits for, each once: text, models, and what stands for models of other jobs."""
        found: list[Path] = []
        for cell in job.members[0]:  # the others differ in strategy alone
            found += [layout.encoded(cell.task, cell.model, cell.condition.name), layout.model_source(cell.model)]
            if self.probes:
                sources = self.sources(cell, layout)
                found.append(layout.reference(cell.task, cell.model))
                found += [
                    sources[name] / "manifest.json" for name in ("clean", *ENCODED_SETS)
                    if name in sources
                ]  # fmt: skip
        found += [layout.lexicon(name) for cell in job.cells for name in cell.strategy.lexicons]
        lenders = {self.job_of[other.run] for cell in job.cells for other in self.needed_by(cell)}
        found += [layout.choices] if job.is_tuned else []
        return list(dict.fromkeys(found)) + [layout.models(name) for name in sorted(lenders)]

    def _part(self, cell: Cell) -> str:
        """Return a hash of what the training of a cell depends on and Snakemake sees in no file.

        A tuned learning rate stands in a file.
        """
        if cell.run not in self._parts:
            points = self.experiment.probes.conflict_points if cell.regime == "joint" else None
            codes = f"{self.code_of(cell)} {self.probe_code_of(cell)}"
            self._parts[cell.run] = sha256_text(f"{self._planned[cell.run].as_argument()} {codes} {points}")
        return self._parts[cell.run]

    def code_of(self, cell: Cell) -> str:
        """Return a hash of the code that trains a cell."""
        return training_code(cell.strategy)

    def probe_code_of(self, cell: Cell) -> str | None:
        """Return a hash of the code that probes a cell; None if nothing is measured."""
        return probe_code(cell.strategy, self.experiment.probes) if self.probes else None

    @cached_property
    def probing(self) -> dict[str, object] | None:
        """What is measured, as JSON; None if nothing is."""
        if not self.probes:
            return None
        return self.experiment.probes.model_dump(mode="json", exclude={"conflict_points"})

    def key(self, job: Job) -> str:
        """Return a hash of all that a job depends on and Snakemake sees in no file, sixteen hexadecimal digits.

        It covers the cells whose models the job needs, and those that need models of the job, too: when one of these
        changes, the job looks whether it still has the model.
        """
        near = [[cell, *self.needed_by(cell), *self.dependents(cell)] for cell in job.cells]
        parts = [[self._part(cell) for cell in cells] for cells in near]
        return sha256_text(canonical([parts, self.probing]))[:16]

    @property
    def probe_minutes(self) -> int:
        """Time that the probes of one model may take: half of a training's, but at least ten minutes."""
        return max(10, self.experiment.resources.minutes // 2)

    def minutes(self, job: Job) -> int:
        """Return the time that a job may take: a training for each member, and the probes of each cell."""
        probes = self.probe_minutes if self.probes else 0
        return sum(self.experiment.resources.minutes + probes * len(member) for member in job.members)

    def evaluated(self, task: str, model: str) -> str:
        """Return the hyperparameters of a task and model that an evaluation depends on, as JSON."""
        own_task = next(item for item in self.experiment.tasks if item.name == task)
        own_model = next(item for item in self.experiment.models if item.name == model)
        resolved = resolve(self.experiment.training, own_model, own_task, None)
        return resolved.model_dump_json(include=EVALUATED, ensure_ascii=True)

    def advice(self, slots: int | None) -> str | None:
        """Say so if a call asks for more slots than there are jobs, though there are more cells.

        Parameters
        ----------
        slots
            Jobs that the call would run at once; None: it says nothing about it.
        """
        jobs, members = len(self.by_id), sum(len(job.members) for job in self.by_id.values())
        if slots is None or slots <= jobs or members <= jobs:
            return None
        wanted = self.experiment.resources.cells_per_job
        return (
            f"resources.cells_per_job: {wanted} makes {jobs} jobs, fewer than the {slots} that may run at once; "
            f"{max(1, members // slots)} would make more"
        )
