"""A study of a tiny model whose learning rate is tuned: what is trained, what is frozen, what is trained again."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import pytest

from maskbench.analysis.tuning import choose
from maskbench.data.encode import encode
from maskbench.data.prepare import prepare
from maskbench.errors import InputError
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.finished import Keys, StudyState, void
from maskbench.experiment.jobs import Jobs
from maskbench.experiment.layout import Layout
from maskbench.experiment.tuning import reserve, tuning
from maskbench.records.choices import Choices
from maskbench.records.run import Record
from maskbench.runner.job import Runner
from tests.helpers.models import csv_of_texts, make_model
from tests.helpers.tasks import make_source

if TYPE_CHECKING:
    from pathlib import Path

TUNE = {"learning_rates": [0.01, 0.1], "seeds": [101], "train_size": 16, "validation_size": 16}
CONFIG: dict[str, Any] = {
    "study": "mine",
    "tasks": [
        {
            **{"name": "texts", "kind": "sequence-classification", "source": {"local": "nowhere"}, "max_length": 32},
            **{"format": "csv", "files": {"train": "train.csv"}},
        }
    ],
    "models": [{"name": "tiny", "source": {"local": "nowhere"}}],
    "strategies": ["none"],
    "seeds": [1],
    "train_sizes": [16],
    "training": {"epochs": 1.0, "batch_size": 8, "learning_rate": 0.02, "precision": "fp32"},
    "probes": {"measure": []},
    "tune": TUNE,
}
SHARED, TUNED = "texts.tiny.none.single.clean.n16.s1", "texts.tiny.none-tuned.single.clean.n16.s1"


class Tuned:
    """The study, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.layout, self.experiment = Layout(folder), Experiment.model_validate(CONFIG)
        model = make_model(self.layout.model_source("tiny").parent)
        task, wanted = self.experiment.tasks[0], reserve(self.experiment)
        assert wanted is not None
        source = make_source(self.layout.task_source("texts").parent, {"train.csv": csv_of_texts(100)})
        apart = self.layout.tuning.prepared("texts", "clean").parent
        prepare(task, source, self.layout.prepared("texts", "clean").parent, (wanted, apart))
        for layout in (self.layout, self.layout.tuning):
            encode(
                *(task, layout.prepared("texts", "clean").parent),
                *(model, layout.encoded("texts", "tiny", "clean").parent),
            )

    def jobs(self, **keys: Any) -> Jobs:
        choices = self.layout.choices
        made = Experiment.model_validate(CONFIG | keys)
        return Jobs(made, Choices.read(choices) if choices.exists() else None)

    def run(self, jobs: Jobs, layout: Layout) -> list[str]:
        """Run all jobs here; returns the runs that were trained."""
        before = records(layout)
        with (
            open(1, "w", closefd=False) as out,
            open(2, "w", closefd=False) as err,
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            for job in jobs.by_id.values():
                Runner(job, jobs, layout, "here", lambda _: None).run()
        return sorted(run for run, written in records(layout).items() if before.get(run) != written)

    def tune(self) -> list[str]:
        """Tune and choose; returns the runs that were trained for it."""
        trained = self.run(Jobs(tuning(self.experiment)), self.layout.tuning)
        choose(self.experiment, self.layout.tuning).write(self.layout.choices)
        return trained


def records(layout: Layout) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in layout.folder.glob("training/*/metrics.json")}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tuned, list[str]]:
    """A finished study, and the runs of its tuning: four trainings of two updates."""
    made = Tuned(tmp_path_factory.mktemp("tuned"))
    runs = made.tune()
    assert len(runs) == 2
    assert made.run(made.jobs(), made.layout) == sorted([SHARED, TUNED])
    return made, runs


def test_tuned_cells_are_trained_at_the_chosen_rate_and_their_record_says_so(study: tuple[Tuned, list[str]]) -> None:
    made, _ = study
    (choice,) = Choices.read(made.layout.choices).choices
    found = {run: Record.read(made.layout.record(run)) for run in (SHARED, TUNED)}
    rates = {run: record.parameters["training"]["learning_rate"] for run, record in found.items()}
    assert rates == {SHARED: 0.02, TUNED: choice.learning_rate}
    assert found[TUNED].strategy == "none-tuned"


def test_cells_at_tuned_rates_have_jobs_of_their_own_that_wait_for_the_choices(study: tuple[Tuned, list[str]]) -> None:
    made, _ = study
    jobs, before = made.jobs(), Jobs(made.experiment)
    assert sorted(job.is_tuned for job in jobs.by_id.values()) == [False, True]
    for name, job in jobs.by_id.items():
        assert (made.layout.choices in jobs.inputs(job, made.layout)) is job.is_tuned
        assert before.key(before.by_id[name]) == jobs.key(job)  # what Snakemake compares, whatever was chosen
    without = Jobs(Experiment.model_validate(CONFIG | {"tune": None}))
    (name,) = without.by_id
    assert without.key(without.by_id[name]) == jobs.key(jobs.by_id[name])


def test_a_second_call_trains_nothing(study: tuple[Tuned, list[str]]) -> None:
    made, _ = study
    frozen = made.layout.choices.read_bytes()
    assert made.tune() == made.run(made.jobs(), made.layout) == []
    assert made.layout.choices.read_bytes() == frozen
    assert not list(void(made.jobs(), made.layout))
    assert not list(void(Jobs(tuning(made.experiment)), made.layout.tuning))


def unfinished(jobs: Jobs, layout: Layout, changing: tuple[Path, ...] = ()) -> list[str]:
    """Return the strategies of the cells that are to be trained."""
    state = StudyState(Keys(jobs, layout, changing))
    return sorted(cell.strategy.name for cell in jobs.cells.values() if not state.trained(cell))


def test_a_changed_grid_trains_its_new_rates_and_the_cells_whose_choice_changed(study: tuple[Tuned, list[str]]) -> None:
    made, _ = study
    more = Experiment.model_validate(CONFIG | {"tune": TUNE | {"learning_rates": [0.01, 0.03, 0.1]}})
    assert unfinished(Jobs(tuning(more)), made.layout.tuning) == ["none-at-3e-2"]
    assert unfinished(made.jobs(), made.layout) == []
    choices = Choices.read(made.layout.choices)
    other = choices.choices[0].model_copy(update={"learning_rate": 0.03})
    assert unfinished(Jobs(more, choices.model_copy(update={"choices": [other]})), made.layout) == ["none-tuned"]


def test_cells_whose_rate_is_not_known_are_not_finished(study: tuple[Tuned, list[str]]) -> None:
    made, _ = study
    assert unfinished(Jobs(made.experiment), made.layout) == ["none-tuned"]
    assert unfinished(made.jobs(), made.layout, (made.layout.choices,)) == ["none-tuned"]
    assert unfinished(made.jobs(strategies=["none", "random"]), made.layout) == ["random", "random-tuned"]


def test_a_tuning_that_was_killed_goes_on(study: tuple[Tuned, list[str]]) -> None:
    """A job that was killed has left some of its records and no index: the others are trained, and nothing else is."""
    made, runs = study
    frozen = made.layout.choices.read_bytes()
    made.layout.tuning.record(runs[0]).unlink()
    for index in made.layout.tuning.folder.glob("jobs/*.json"):
        index.unlink()
    with pytest.raises(InputError, match=runs[0]):
        choose(made.experiment, made.layout.tuning)
    assert made.tune() == [runs[0]]
    assert made.layout.choices.read_bytes() == frozen
    assert unfinished(made.jobs(), made.layout) == []
