"""A study as its record has it, and calls of the pipeline that work on some of its cells."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pandas as pd
from pydantic import ValidationError

from maskbench.analysis.metrics import read_metrics
from maskbench.config.block import first_mistake
from maskbench.errors import InputError
from maskbench.experiment.call import read_call
from maskbench.experiment.finished import finished
from maskbench.experiment.jobs import Jobs
from maskbench.experiment.layout import Layout
from maskbench.experiment.load import load
from maskbench.io import environment
from maskbench.io.code import ROOT
from maskbench.io.files import write_json
from maskbench.records.choices import Choices
from maskbench.records.manifest import StudyManifest
from maskbench.records.packed import packed_form, read_packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maskbench.experiment.experiment import Experiment

STOPPING = 30.0
"""Seconds that a call has to come to its end, once it was told to, before it is ended."""


@dataclass(frozen=True)
class RecordedStudy:
    """A study whose record is at hand.

    Attributes
    ----------
    file
        Its configuration.
    experiment
        What it consists of.
    layout
        Where its record is.
    """

    file: Path
    experiment: Experiment
    layout: Layout

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read the configuration of a study.

        Raises
        ------
        InputError
            With one line for each mistake in it.
        """
        config, shown = read_call([file], [])
        experiment = load(config, [shown], given={}, runs_here=False)
        return cls(file, experiment, Layout.of(experiment.study))

    @cached_property
    def jobs(self) -> Jobs:
        """All jobs of the study, with its tuned learning rates if they were chosen."""
        return Jobs(self.experiment, self.choices)

    @property
    def choices(self) -> Choices | None:
        """The tuned learning rates; None if nothing is tuned, or they were not chosen yet."""
        there = self.experiment.tune is not None and self.layout.choices.exists()
        return Choices.read(self.layout.choices) if there else None

    @cached_property
    def manifest(self) -> StudyManifest:
        """What the record says of its runs.

        Raises
        ------
        InputError
            If it is missing or damaged.
        """
        path = self.layout.file("manifest.json")
        try:
            return StudyManifest.model_validate(json.loads(read_packed(path)))
        except ValidationError as error:
            raise InputError(f"{path}: not a manifest of schema 1 ({first_mistake(error)})") from None
        except ValueError as error:
            raise InputError(f"{path}: not valid JSON ({error})") from None

    @property
    def has_record(self) -> bool:
        """Whether there is a record, packed or not."""
        path = self.layout.file("manifest.json")
        return path.exists() or packed_form(path).exists()

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """All numbers of the record, as `read_metrics` gives them."""
        path = self.layout.file("metrics.csv")
        if packed_form(path).exists():
            return pd.read_parquet(packed_form(path))
        return read_metrics(path)

    @cached_property
    def finished(self) -> set[str]:
        """The runs whose records are here, as they would be made now; none where there is the record alone."""
        return set(finished(self.jobs, self.layout)) if self.layout.file("training").exists() else set()

    @property
    def runs(self) -> set[str]:
        """The runs of the record; none without one."""
        return {entry.run for entry in self.manifest.records} if self.has_record else set()


@dataclass(frozen=True)
class Elsewhere:
    """Some cells of a study, worked on in a folder of their own by the pipeline as it always is.

    Attributes
    ----------
    study
        The study.
    name
        What the other folder is called.
    arguments
        Further arguments of Snakemake, such as ``--resources gpu=1``.
    """

    study: RecordedStudy
    name: str
    arguments: tuple[str, ...] = ()

    @property
    def layout(self) -> Layout:
        """Where the cells are worked on."""
        return Layout.of(self.name)

    @property
    def at_home(self) -> bool:
        """Whether this is the study's own folder."""
        return self.layout == self.study.layout

    @cached_property
    def there(self) -> RecordedStudy:
        """The study as it is in this folder."""
        return self.study if self.at_home else replace(self.study, layout=self.layout)

    @property
    def cells_file(self) -> Path:
        """File with the runs that the calls are restricted to."""
        return self.layout.file("cells.json")

    def restrict(self, runs: Iterable[str]) -> Jobs:
        """Write down which cells are worked on, and return their jobs; tuned learning rates are those of the study."""
        wanted = sorted(runs)
        write_json(self.cells_file, wanted)
        if self.study.choices is not None and not self.at_home:
            self.layout.choices.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.study.layout.choices, self.layout.choices)
        return Jobs(self.study.experiment, self.study.choices, wanted)

    def finished(self, jobs: Jobs) -> list[str]:
        """Return the runs that are finished in the folder."""
        return finished(jobs, self.layout)

    def inputs(self, jobs: Jobs) -> list[Path]:
        """Return the text, the models and what is measured of them before that some jobs wait for."""
        found = [path for job in jobs.by_id.values() for path in jobs.inputs(job, self.layout)]
        made = {self.layout.models(name) for name in jobs.by_id} | {self.layout.choices}
        return [path for path in dict.fromkeys(found) if path not in made]

    def command(self, targets: Sequence[Path | str]) -> list[str]:
        """Return a call of Snakemake for some targets in this folder."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "all"]
        command += ["--nolock", *map(str, targets), *self.arguments, "--configfile", str(self.study.file)]
        return command if self.at_home else [*command, "--config", f"study={self.name}"]

    def make(self, targets: Sequence[Path], *, seconds: float | None = None) -> bool:
        """Call Snakemake for some files; return whether all of them were made in time.

        Parameters
        ----------
        targets
            The files.
        seconds
            After so many, the call is told to stop: trainings end with a checkpoint, and half of nothing is left.
        """
        process = subprocess.Popen(
            self.command(targets),
            env=os.environ | {environment.ONLY: str(self.cells_file.absolute())},
            start_new_session=True,
        )
        # The call is not in this process's group: whoever ends this process has to end the call, too.
        before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            return process.wait(timeout=seconds) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            _stop(process)
            signal.signal(signal.SIGTERM, before)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Tell a call and its jobs to stop, and end what has not come to its end after a while."""
    for number, seconds in ((signal.SIGTERM, STOPPING), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            continue
