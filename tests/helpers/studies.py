"""A small study whose text and model are prepared, so that its jobs can run, here or in processes of their own."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from maskbench.config.conditions import CLEAN
from maskbench.data.conditions import plant
from maskbench.data.encode import encode
from maskbench.data.prepare import prepare
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.finished import Keys, StudyState, Todo
from maskbench.experiment.jobs import Jobs
from maskbench.experiment.layout import Layout
from maskbench.io.files import write_text
from maskbench.probes import reference
from maskbench.runner.job import Runner
from maskbench.slots.device import choose
from tests.helpers.models import conll_of_sentences, csv_of_texts, make_model
from tests.helpers.tasks import make_source

TASKS = {
    "texts": {"kind": "sequence-classification", "format": "csv", "files": {"train": "train.csv"}},
    "names": {
        "kind": "token-classification",
        "format": "conll",
        "files": {"train": "train.txt"},
        "text": 0,
        "label": -1,
    },
}
TRAINING = {"epochs": 2.0, "batch_size": 8, "learning_rate": 1e-3, "precision": "fp32", "evaluations_per_epoch": 2}


class Study:
    """A study of tiny models in a folder.

    Parameters
    ----------
    folder
        Where it is made.
    keys
        Keys of the configuration that differ from one task, one seed, the strategies none and random, and two probes.
    """

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.layout = Layout(folder)
        make_model(self.layout.model_source("tiny").parent, head=True)
        self.configure(**keys)
        for task in self.jobs.experiment.tasks:
            self._prepare(task.name)

    def configure(self, **keys: Any) -> None:
        """Write another configuration of it."""
        base: dict[str, Any] = {
            "study": "mine",
            "tasks": ["texts"],
            "models": [{"name": "tiny", "source": {"local": "nowhere"}}],
            "strategies": ["none", "random"],
            "seeds": [1],
            "probes": {"measure": ["calibration", "parameter-drift"]},
            "resources": {"cells_per_job": "all"},
        } | keys
        base["training"] = TRAINING | keys.get("training", {})
        base["tasks"] = [
            {"name": name, "source": {"local": "nowhere"}, "max_length": 32, **TASKS[name]} for name in base["tasks"]
        ]
        self.jobs = Jobs(Experiment.model_validate(base))
        write_text(self.layout.experiment, self.jobs.experiment.as_argument(exclude={"cache"}))

    def _prepare(self, name: str) -> None:
        """Prepare and encode a task under all conditions, and measure the untrained model."""
        layout, experiment = self.layout, self.jobs.experiment
        task = next(task for task in experiment.tasks if task.name == name)
        (file,) = task.files.values()
        text = csv_of_texts(60) if name == "texts" else conll_of_sentences(60)
        source = make_source(layout.task_source(name).parent, {file: text})
        prepare(task, source, layout.prepared(name, CLEAN.name).parent)
        model = layout.model_source("tiny").parent
        for condition in experiment.conditions:
            folder = layout.prepared(name, condition.name).parent
            if condition != CLEAN:
                plant(condition, experiment.cue.words, layout.prepared(name, CLEAN.name).parent, folder)
            encode(task, folder, model, layout.encoded(name, "tiny", condition.name).parent)
        self.refer(name)

    def refer(self, name: str) -> None:
        """Measure the untrained model."""
        reference.make(
            self.layout.encoded(name, "tiny", CLEAN.name).parent,
            self.layout.model_source("tiny").parent,
            self.layout.reference(name, "tiny").parent,
            max_test=None,
            examples=self.jobs.experiment.probes.examples,
            drift_texts=self.jobs.experiment.probes.drift_texts,
            drift_tokens=self.jobs.experiment.probes.drift_tokens,
            batch_size=self.jobs.experiment.training.eval_batch_size,
            device=choose(self.jobs.experiment.training),
            code="c",
        )

    def run(self, *names: str) -> list[str]:
        """Run jobs here (all of them if none is named); returns the lines for the terminal."""
        said: list[str] = []
        # pytest's own streams write past the file descriptors
        with (
            open(1, "w", closefd=False) as out,
            open(2, "w", closefd=False) as err,
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            for name in names or sorted(self.jobs.by_id, key=self._waits):
                Runner(self.jobs.by_id[name], self.jobs, self.layout, "here", said.append).run()
        return said

    def _waits(self, name: str) -> bool:
        """Tell whether a job needs models of another one."""
        return any(self.jobs.needed_by(cell) for cell in self.jobs.by_id[name].cells)

    def arguments(self, name: str) -> list[str]:
        """Return the command line of a job."""
        results = ["--results", str(self.layout.folder)]
        return ["--experiment", str(self.layout.experiment), *results, "--job", name]

    def todo(self) -> dict[str, Todo]:
        """Return what is left to do, by the first run of what is trained at once; what is finished is left out."""
        state = StudyState(Keys(self.jobs, self.layout))
        members = [member for job in self.jobs.by_id.values() for member in job.members]
        left = {member[0].run: state.todo(member) for member in members}
        return {run: todo for run, todo in left.items() if todo}

    def trained(self) -> dict[str, int]:
        """Return when each record was written, in nanoseconds, by run."""
        return _times(self.layout.folder.glob("training/*/metrics.json"))

    def probed(self) -> dict[str, int]:
        """Return when each probe record was written, in nanoseconds, by run."""
        return _times(self.layout.folder.glob("probes/*.*.*/metrics.json"))

    def models(self) -> set[str]:
        """Return the runs that have the folder of a model."""
        return {path.parent.name for path in self.layout.folder.glob("training/*/model")}


def _times(paths: Iterable[Path]) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in paths}
