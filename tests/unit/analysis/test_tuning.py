"""Learning rates of each strategy's own: the texts set apart for them, the choice, the tuned cells, and what reruns."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from maskbench.analysis.collect import collect
from maskbench.analysis.compare import Settings, compare_files
from maskbench.analysis.tuning import choose
from maskbench.analysis.verdicts import write_verdicts
from maskbench.config.tuning import Reserve, rate_words
from maskbench.data.encode import encode
from maskbench.data.prepare import prepare
from maskbench.errors import InputError
from maskbench.experiment.cell import cells
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.finished import Keys, StudyState
from maskbench.experiment.jobs import Jobs
from maskbench.experiment.layout import Layout
from maskbench.experiment.load import load
from maskbench.experiment.tuning import reserve, tried, tuning
from maskbench.io.files import write_json, write_text
from maskbench.records.choices import Choice, Choices
from maskbench.records.run import Record
from maskbench.report.figures import functions
from maskbench.report.figures.drawing import Drawing
from maskbench.report.limits import limits
from maskbench.report.study import Study as Reported
from maskbench.report.style import style
from maskbench.report.tables import comparisons, scores
from maskbench.report.tuning import tuned
from maskbench.report.tuning import tuning as tuning_table
from maskbench.runner.job import Runner
from tests.helpers.models import csv_of_texts, make_model
from tests.helpers.tasks import make_source, make_task

TUNE = {"learning_rates": [0.01, 1.0], "seeds": [101], "train_size": 64, "validation_size": 40}
CLIPPED = {"name": "clipped", "training": {"max_grad_norm": 1e-8}}
CONFIG: dict[str, Any] = {
    "study": "mine",
    "tasks": [
        {
            "name": "texts",
            "kind": "sequence-classification",
            "source": {"local": "nowhere"},
            "format": "csv",
            "files": {"train": "train.csv"},
            "max_length": 32,
        }
    ],
    "models": [{"name": "tiny", "source": {"local": "nowhere"}}],
    "strategies": ["none", CLIPPED],
    "seeds": [1, 2, 3, 4, 5, 6],
    "train_sizes": [64],
    "training": {"epochs": 4.0, "batch_size": 8, "learning_rate": 0.01, "precision": "fp32"},
    "probes": {"measure": []},
    "resources": {"cells_per_job": "all"},
    "tune": TUNE,
}
CLAIM = {
    "id": "C90",
    "claim": "Clipping costs score.",
    "contrasts": [{"name": "none vs clipped", "of": "none", "against": "clipped"}],
    "measures": ["score"],
}


def experiment(**keys: Any) -> Experiment:
    return Experiment.model_validate(CONFIG | keys)


class Tuned:
    """A study of a tiny model whose learning rates are tuned, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        make_model(self.layout.model_source("tiny").parent)
        self.experiment = experiment()
        task = self.experiment.tasks[0]
        source = make_source(self.layout.task_source("texts").parent, {"train.csv": csv_of_texts(480)})
        wanted = reserve(self.experiment)
        assert wanted is not None
        apart = self.layout.tuning.prepared("texts", "clean").parent
        prepare(task, source, self.layout.prepared("texts", "clean").parent, (wanted, apart))
        for layout in (self.layout, self.layout.tuning):
            model = self.layout.model_source("tiny").parent
            encode(
                task, layout.prepared("texts", "clean").parent, model, layout.encoded("texts", "tiny", "clean").parent
            )

    def jobs(self) -> Jobs:
        choices = self.layout.choices
        return Jobs(self.experiment, Choices.read(choices) if choices.exists() else None)

    def run(self, jobs: Jobs, layout: Layout) -> list[str]:
        """Run all jobs here; returns the runs that were trained."""
        before = self.records(layout)
        with (
            open(1, "w", closefd=False) as out,
            open(2, "w", closefd=False) as err,
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            for job in jobs.by_id.values():
                Runner(job, jobs, layout, "here", lambda _: None).run()
        return sorted(run for run, written in self.records(layout).items() if before.get(run) != written)

    def tune(self) -> list[str]:
        """Tune and choose; returns the runs that were trained for it."""
        trained = self.run(Jobs(tuning(self.experiment)), self.layout.tuning)
        choose(self.experiment, self.layout.tuning).write(self.layout.choices)
        return trained

    def train(self) -> list[str]:
        return self.run(self.jobs(), self.layout)

    def analyse(self) -> Reported:
        """Collect, compare and judge, as the rules do."""
        folder, runs = self.layout.folder, [cell.run for cell in cells(self.experiment)]
        collect("mine", folder, runs, folder)
        files = folder / "metrics.csv", folder / "outcomes.parquet"
        compare_files(*files, folder / "analysis/comparisons.csv", Settings("none", 200, 0.95, 0))
        claims = folder / "claims.json"
        stated = yaml.safe_load((Path(__file__).parents[3] / "claims.yaml").read_text())
        write_json(claims, stated | {"claims": [CLAIM], "gates": []})
        write_verdicts(*files, folder / "manifest.json", claims, folder, resamples=200, seed=0)
        write_text(self.layout.experiment, self.experiment.as_argument(exclude={"cache"}))
        return Reported.read(folder)

    @staticmethod
    def records(layout: Layout) -> dict[str, int]:
        return {path.parent.name: path.stat().st_mtime_ns for path in layout.folder.glob("training/*/metrics.json")}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tuned, list[str], Reported]:
    """A finished study, the runs of its tuning, and what was found. Two dozen trainings: the contrast is the point."""
    made = Tuned(tmp_path_factory.mktemp("tuned"))
    tuning_runs = made.tune()
    assert len(made.train()) == 24
    return made, tuning_runs, made.analyse()


# --- what is refused


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            {"tune": TUNE | {"seeds": [3, 101, 5]}},
            "since no seed that a rate was chosen by is used again; got 3, 5 in both",
        ),
        ({"tune": TUNE | {"learning_rates": [1.0, 0.01]}}, "expected learning rates from the lowest to the highest"),
        ({"tune": TUNE | {"learning_rates": [0.01]}}, "tune.learning_rates: expected at least 2 entries"),
        ({"tune": TUNE | {"seeds": [101, 101]}}, "tune.seeds: expected each seed once"),
        ({"strategies": ["none", {"name": "my-tuned"}]}, "my-tuned: names that end in -tuned are given by tune"),
        ({"strategies": ["none", {"name": "a" * 34}]}, "expected a name of at most 32 characters"),
    ],
)
def test_what_cannot_be_tuned_is_refused_in_a_line(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        load(CONFIG | keys, runs_here=False)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_texts_that_are_not_there_cannot_be_set_apart(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", {"train.csv": csv_of_texts(100)})
    wanted = Reserve(train_size=900, validation_size=200), tmp_path / "apart"
    line = (
        "tune: train_size 900 and validation_size 200 are to be set apart, but the training split has 80 distinct texts"
    )
    with pytest.raises(InputError, match=line):
        prepare(make_task(), source, tmp_path / "clean", wanted)
    assert not (tmp_path / "clean").exists()


# --- texts


def column(path: Path, name: str) -> list[Any]:
    return list(pq.read_table(path)[name].to_pylist())


def test_tuning_has_texts_of_its_own_and_never_the_test_split(study: tuple[Tuned, list[str], Reported]) -> None:
    made, _, _ = study
    own, apart = (layout.prepared("texts", "clean").parent for layout in (made.layout, made.layout.tuning))
    texts = {split: set(column(own / f"{split}.parquet", "text")) for split in ("train", "validation", "test")}
    tuned_texts = {split: set(column(apart / f"{split}.parquet", "text")) for split in texts}
    assert {split: len(found) for split, found in tuned_texts.items()} == {"train": 64, "validation": 40, "test": 40}
    assert tuned_texts["test"] == tuned_texts["validation"]
    assert not set.union(*texts.values()) & set.union(*tuned_texts.values())
    assert not tuned_texts["train"] & tuned_texts["validation"]
    assert sum(map(len, texts.values())) + 64 + 40 == 480
    sentence = "Of the training split, 64 texts to train on and 40 to choose by were then set apart"
    assert sentence in json.loads((own / "manifest.json").read_text())["cut"]


def test_a_text_that_also_stands_in_test_is_not_set_apart(tmp_path: Path) -> None:
    lines = csv_of_texts(60).splitlines()
    files = {"train.csv": "\n".join(lines) + "\n", "test.csv": "\n".join([lines[0], *lines[1:41]]) + "\n"}
    source = make_source(tmp_path / "source", files)
    task = make_task(files={"train": "train.csv", "test": "test.csv"}, accept=["test-in-training"])
    prepare(task, source, tmp_path / "clean", (Reserve(train_size=30, validation_size=10), tmp_path / "apart"))
    test = set(column(tmp_path / "clean/test.parquet", "text"))
    apart = {text for split in ("train", "validation") for text in column(tmp_path / f"apart/{split}.parquet", "text")}
    assert apart
    assert not apart & test


def test_a_task_without_tuning_is_prepared_as_ever(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", {"train.csv": csv_of_texts(100)})
    prepare(make_task(), source, tmp_path / "clean")
    assert "set apart" not in json.loads((tmp_path / "clean/manifest.json").read_text())["cut"]


# --- the budget and the choice


def test_every_strategy_gets_the_same_budget() -> None:
    found = experiment(
        strategies=["none", "random", {"preset": "freeze", "twins": ["step-twin"]}], tune=TUNE | {"seeds": [7, 8]}
    )
    runs = list(tried(found))
    assert [item.learning_rate for item in runs] == [0.01, 1.0] * 4
    assert all(len(item.runs) == 2 for item in runs)
    made = {cell.run: cell for cell in cells(tuning(found))}
    assert sorted(made) == sorted(run for item in runs for run in item.runs)
    for item in runs:
        assert {made[run].training.learning_rate for run in item.runs} == {item.learning_rate}
        assert {made[run].seed for run in item.runs} == {7, 8}
    assert rate_words(2.5e-4) == "2p5e-4"
    assert [rate_words(rate) for rate in (0.01, 1.0, 3e-5)] == ["1e-2", "1e0", "3e-5"]


def record(layout: Layout, run: str, score: float | None, base: Record) -> None:
    """Write a record with a validation score; None: it diverged."""
    metrics = [item for item in base.metrics if item.split != "validation"]
    if score is not None:
        metrics += [item.model_copy(update={"value": score}) for item in base.metrics if item.split == "validation"]
    status = "diverged" if score is None else "completed"
    base.model_copy(update={"run": run, "status": status, "metrics": metrics}).write(layout.record(run))


SCORES = {
    "the best mean": ([[0.6, 0.7], [0.9, 0.8], [0.5, 0.5]], 1e-3, None, [], 0),
    "a tie goes to the lower rate": ([[0.6, 0.7], [0.75, 0.75], [0.75, 0.75]], 1e-3, None, [1e-2], 0),
    "at the end of the grid": ([[0.6, 0.7], [0.6, 0.8], [0.9, 0.9]], 1e-2, "highest", [], 0),
    "fewer failed cells go first": ([[0.6, 0.6], [0.7, 0.7], [0.99, None]], 1e-3, None, [], 1),
    "all rates have failed cells": ([[0.6, None], [None, None], [0.7, None]], 1e-2, "highest", [], 4),
    "none completed": ([[None, None]] * 3, None, None, [], 6),
}


@pytest.mark.parametrize("case", SCORES)
def test_the_rate_that_is_chosen(study: tuple[Tuned, list[str], Reported], tmp_path: Path, case: str) -> None:
    values, rate, edge, ties, failed = SCORES[case]
    made, runs, _ = study
    base = Record.read(made.layout.tuning.record(runs[0]))
    tune = TUNE | {"learning_rates": [1e-4, 1e-3, 1e-2], "seeds": [101, 102]}
    found, layout = experiment(strategies=["none"], tune=tune), Layout(tmp_path).tuning
    for item, own in zip(tried(found), values, strict=True):
        for run, score in zip(item.runs, own, strict=True):
            record(layout, run, score, base)
    (choice,) = choose(found, layout).choices
    assert (choice.learning_rate, choice.edge, choice.ties, choice.failed) == (rate, edge, ties, failed)
    tuned_cell = next(cell for cell in cells(found, choose(found, layout)) if cell.strategy.name == "none-tuned")
    assert tuned_cell.training.learning_rate == (0.01 if rate is None else rate)


def test_choices_are_frozen(tmp_path: Path) -> None:
    chosen = Choice(task="t", model="m", strategy="s", learning_rate=0.1, edge=None, ties=[], tried=[])
    about = {"rule": "r", "learning_rates": [0.1], "seeds": [1], "train_size": 1, "validation_size": 1}
    path = tmp_path / "choices.json"
    Choices(schema=1, choices=[chosen], **about).write(path)
    assert Choices.read(path).of("t", "m", "s") == chosen
    content = json.loads(path.read_text())
    content["choices"][0]["learning_rate"] = 0.2
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"choices.json: .*its content differs from its hash"):
        Choices.read(path)


# --- the study


def test_a_difference_that_is_the_rates_doing_is_found_at_the_shared_rate_alone(
    study: tuple[Tuned, list[str], Reported],
) -> None:
    """Clipped to 1e-8, the steps of AdamW are far shorter: the strategies differ in their best rate."""
    made, _, found = study
    choices = Choices.read(made.layout.choices)
    assert [(item.strategy, item.learning_rate) for item in choices.choices] == [("none", 0.01), ("clipped", 1.0)]
    shared, at_tuned = (half.evidence.verdicts for half in (found, found.tuned) if half)
    (one,) = shared[shared["scope"] == "pooled"].to_dict("records")
    (two,) = at_tuned[at_tuned["scope"] == "pooled"].to_dict("records")
    assert one["verdict"] == "supported"
    assert one["estimate"] > 10
    assert two["verdict"] != "supported"
    assert abs(two["estimate"]) < 3
    assert two["ci_low"] < 0 < two["ci_high"] or two["estimate"] == 0
    assert "The learning rates differ: none 0.01, clipped 1." in two["note"]
    assert "learning rates differ" not in one["note"]


def test_tuned_cells_are_trained_at_the_chosen_rate_and_their_record_says_so(
    study: tuple[Tuned, list[str], Reported],
) -> None:
    made, _, _ = study
    jobs = made.jobs()
    for run, cell in jobs.cells.items():
        parameters = Record.read(made.layout.record(run)).parameters
        wanted = 1.0 if cell.strategy.name == "clipped-tuned" else 0.01
        assert cell.training.learning_rate == parameters["training"]["learning_rate"] == wanted
    assert {job.is_tuned for job in jobs.by_id.values()} == {True, False}
    for job in jobs.by_id.values():
        assert (made.layout.choices in jobs.inputs(job, made.layout)) is job.is_tuned
        assert Jobs(made.experiment).key(jobs.by_id[str(job.id)]) == jobs.key(job)  # whatever was chosen


def test_what_is_shown_of_it(study: tuple[Tuned, list[str], Reported]) -> None:
    _, _, found = study
    table = tuning_table(found)
    assert table.shown["strategy"].tolist() == ["none", "clipped"]
    assert table.shown["chosen"].tolist() == ["0.01", "1"]
    assert table.shown["remarks"].tolist() == ["lowest of the grid", "highest of the grid"]
    assert "got the same: 2 trainings, 2 rates with 1 seed each (101), on 64 texts to train on and 40" in table.caption
    assert len(table.data) == 4
    both = tuned(found)
    (row,) = both.data[both.data["scope"] == "pooled"].to_dict("records")
    assert (row["verdict_shared"], row["agree"]) == ("supported", False)
    assert comparisons(found).data["rate"].tolist() == ["shared"] * (n := len(found.comparisons)) + ["tuned"] * n
    assert set(comparisons(found).shown["rate"]) == {"shared", "tuned"}
    assert set(scores(found).shown["strategy"]) == {"none", "clipped"}
    with style():
        drawing = functions()["tuning"](found)
    assert isinstance(drawing, Drawing)
    assert "Every panel took the same budget of 2 trainings" in drawing.caption
    edges = [line for line in limits(found) if "of the grid" in line]
    assert len(edges) == 2
    assert "the lowest of the grid for none (texts, tiny)" in edges[0]


# --- what reruns


def test_a_second_call_trains_nothing(study: tuple[Tuned, list[str], Reported]) -> None:
    made, _, _ = study
    before = made.layout.choices.read_bytes()
    assert made.tune() == made.train() == []
    assert made.layout.choices.read_bytes() == before


def test_a_changed_grid_trains_what_is_new_and_the_cells_whose_choice_changed(
    study: tuple[Tuned, list[str], Reported], tmp_path: Path
) -> None:
    made, _, _ = study
    state = StudyState(Keys(made.jobs(), made.layout))
    done = {run for run, cell in made.jobs().cells.items() if state.trained(cell)}
    assert len(done) == 24
    more = experiment(tune=TUNE | {"learning_rates": [0.01, 0.03, 1.0]})
    tuning_jobs = Jobs(tuning(more))
    state = StudyState(Keys(tuning_jobs, made.layout.tuning))
    left = sorted(cell.strategy.name for cell in tuning_jobs.cells.values() if not state.trained(cell))
    assert left == ["clipped-at-3e-2", "none-at-3e-2"]
    choices = Choices.read(made.layout.choices)
    other = choices.choices[0].model_copy(update={"learning_rate": 0.03})
    changed = Jobs(more, choices.model_copy(update={"choices": [other, choices.choices[1]]}))
    state = StudyState(Keys(changed, made.layout))
    left = sorted(cell.strategy.name for cell in changed.cells.values() if not state.trained(cell))
    assert left == ["none-tuned"] * 6


def test_cells_whose_choice_is_not_known_are_not_finished(study: tuple[Tuned, list[str], Reported]) -> None:
    made, _, _ = study
    for jobs, changing in ((Jobs(made.experiment), ()), (made.jobs(), (made.layout.choices,))):
        state = StudyState(Keys(jobs, made.layout, changing))
        left = {cell.strategy.name for cell in jobs.cells.values() if not state.trained(cell)}
        assert left == {"none-tuned", "clipped-tuned"}


def test_a_tuning_that_was_killed_goes_on(study: tuple[Tuned, list[str], Reported]) -> None:
    """A job that was killed has left some records and no index: the others are trained, and nothing is chosen anew."""
    made, runs, _ = study
    before = made.layout.choices.read_bytes()
    made.layout.tuning.record(runs[0]).unlink()
    for index in made.layout.tuning.folder.glob("jobs/*.json"):
        index.unlink()
    with pytest.raises(InputError, match=runs[0]):
        choose(made.experiment, made.layout.tuning)
    assert made.tune() == [runs[0]]
    assert made.layout.choices.read_bytes() == before
