"""Tuned learning rates: what is refused, the budget, the choice, and contrasts at the shared and at tuned rates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from maskbench.analysis.collect import collect
from maskbench.analysis.compare import Settings, compare_files
from maskbench.analysis.tuning import choose
from maskbench.analysis.verdict_files import write_verdicts
from maskbench.config.tuning import rate_words
from maskbench.errors import InputError
from maskbench.experiment.cell import Cell, cells
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.layout import Layout
from maskbench.experiment.load import load
from maskbench.experiment.tuning import tried, tuning
from maskbench.io.files import write_json, write_text
from maskbench.records.choices import Choice, Choices
from maskbench.records.run import Data, Record, Timings, number
from maskbench.report.figures.tuning import tuning as drawn
from maskbench.report.limits import limits
from maskbench.report.study import Study
from maskbench.report.tables import comparisons, scores, verdicts
from maskbench.report.tuning import MARK, tuned
from maskbench.report.tuning import tuning as tuning_table
from tests.helpers.run_folders import ENVIRONMENT, predictions

GRID = [1e-4, 1e-3, 1e-2]
TUNE = {"learning_rates": GRID, "seeds": [101, 102], "train_size": 64, "validation_size": 40}
TASK = {
    "name": "texts",
    "kind": "sequence-classification",
    "source": {"local": "nowhere"},
    "format": "csv",
    "files": {"train": "train.csv"},
}
CONFIG: dict[str, Any] = {
    "study": "mine",
    "tasks": [TASK],
    "models": [{"name": "tiny", "source": {"local": "nowhere"}}],
    "strategies": ["none", "random"],
    "seeds": [1, 2, 3, 4, 5, 6, 7, 8],
    "training": {"learning_rate": 1e-4},
    "probes": {"measure": []},
    "tune": TUNE,
}
HOT = {"name": "hot", "training": {"learning_rate": 1e-3}}
"""A control that is plain fine-tuning at ten times the shared rate."""


def multiple(name: str, of: str) -> dict[str, Any]:
    """Return the key of the block that gives a strategy ten times the rate of another one."""
    return {"multiples": {name: {"of": of, "times": 10}}}


CLAIM = {
    "id": "C90",
    "claim": "Masking costs score.",
    "contrasts": [{"name": "none vs random", "of": "none", "against": "random"}],
    "measures": ["score"],
}
BEST = {"none": 1e-4, "random": 1e-2}
"""The rate at which each strategy is at its best: in nothing else do the two differ."""


def experiment(**keys: Any) -> Experiment:
    return Experiment.model_validate(CONFIG | keys)


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
        (
            {"strategies": ["none", HOT]},
            "none and hot differ in their learning rate alone, and tuning would make them one; expected one of them in "
            "tune.multiples, such as {hot: {of: none, times: 10}}",
        ),
        (
            {"tune": TUNE | {"strategies": ["none", "rand*", "hat*"]}},
            "tune.strategies: hat* is not among the strategies",
        ),
        ({"tune": TUNE | multiple("hat", "none")}, "tune.multiples: hat is not among the strategies none, random"),
        ({"tune": TUNE | multiple("random", "hat")}, "tune.multiples: hat is not among the strategies none, random"),
        ({"tune": TUNE | multiple("none", "random")}, "tune.multiples: expected strategies but the baseline, got none"),
        (
            {"tune": TUNE | multiple("random", "random")},
            "random: expected a strategy that is tuned, got random, which is a multiple",
        ),
        (
            {
                "tune": TUNE | multiple("hot", "random"),
                "strategies": ["none", "random", HOT],
                "models": [{"name": "tiny", "source": {"local": "nowhere"}, "strategies": ["none", "hot"]}],
            },
            "tune.multiples: hot: model tiny is not trained with random",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused_in_a_line(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        load(CONFIG | keys, runs_here=False)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the budget and the choice


def test_every_strategy_gets_the_same_budget() -> None:
    strategies = ["none", "random", "lora", {"preset": "freeze", "twins": ["step-twin"]}]
    found = experiment(strategies=strategies)
    runs = list(tried(found))
    assert [item.learning_rate for item in runs] == GRID * 5
    assert all(len(item.runs) == 2 for item in runs)
    made = {cell.run: cell for cell in cells(tuning(found))}
    assert sorted(made) == sorted(run for item in runs for run in item.runs)
    for item in runs:
        assert {made[run].training.learning_rate for run in item.runs} == {item.learning_rate}
        assert {made[run].seed for run in item.runs} == {101, 102}
    assert [rate_words(rate) for rate in (0.01, 1.0, 3e-5, 2.5e-4)] == ["1e-2", "1e0", "3e-5", "2p5e-4"]


def test_without_a_block_nothing_is_tuned() -> None:
    found = experiment(tune=None)
    assert found.arms == found.strategies
    assert [cell.strategy.name for cell in cells(found)] == ["none"] * 8 + ["random"] * 8
    with pytest.raises(InputError, match=r"tune: expected a grid"):
        tuning(found)


def write(layout: Layout, cell: Cell, score: float | None, *, validation: float | None = None) -> None:
    """Write the record of a cell and what it predicted; without a score it diverged."""
    done, parameters = score is not None, cell.model_dump(mode="json")
    metrics = []
    if score is not None:
        rng = np.random.default_rng([cell.seed, round(1e6 * score)])
        table = predictions("texts", score, rng, 300)
        exact = float(table["hit"].sum() / table["weight"].sum())
        metrics = [number("test", "score", exact), number("test", "accuracy", exact)]
        metrics += [number("test", "majority_score", 0.5), number("test", "loss_gap", 0.1)]
        metrics.append(number("validation", "score", exact if validation is None else validation))
        path = layout.predictions(cell.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(path, index=False)
    about = {name: getattr(cell, name) for name in ("run", "task", "model", "seed")}
    Record(
        **{"schema": 1, "regime": "single", "condition": "clean", "train_size": str(cell.train_size), **about},
        strategy=cell.strategy.name,
        status="completed" if done else "diverged",
        error=None if done else "loss is not finite",
        metrics=metrics,
        history=[],
        parameters=parameters,
        parameters_hash="0" * 16,
        code="0123456789abcdef",
        data=Data(prepared="a" * 64, encoded="b" * 64, model="c" * 64),
        environment=ENVIRONMENT,
        timings=Timings(started="2026-11-22T02:00:00+00:00", wall_s=1.0, train_s=1.0 if done else None),
        command="made up",
    ).write(layout.record(cell.run))


SCORES: dict[str, tuple[list[list[float | None]], float | None, str | None, list[float], int]] = {
    "the best mean": ([[0.6, 0.7], [0.9, 0.8], [0.5, 0.5]], 1e-3, None, [], 0),
    "a tie goes to the lower rate": ([[0.6, 0.7], [0.75, 0.75], [0.75, 0.75]], 1e-3, None, [1e-2], 0),
    "at the end of the grid": ([[0.6, 0.7], [0.6, 0.8], [0.9, 0.9]], 1e-2, "highest", [], 0),
    "fewer failed cells go first": ([[0.6, 0.6], [0.7, 0.7], [0.99, None]], 1e-3, None, [], 1),
    "all rates have failed cells": ([[0.6, None], [None, None], [0.7, None]], 1e-2, "highest", [], 4),
    "none completed": ([[None, None]] * 3, None, None, [], 6),
}


@pytest.mark.parametrize("case", SCORES)
def test_the_rate_that_is_chosen(tmp_path: Path, case: str) -> None:
    values, rate, edge, ties, failed = SCORES[case]
    found, layout = experiment(strategies=["none"]), Layout(tmp_path).tuning
    made = {cell.run: cell for cell in cells(tuning(found))}
    for item, own in zip(tried(found), values, strict=True):
        for run, score in zip(item.runs, own, strict=True):
            write(layout, made[run], score and 0.5, validation=score)  # never by what was reached on test
    chosen = choose(found, layout)
    (choice,) = chosen.choices
    assert (choice.learning_rate, choice.edge, choice.ties, choice.failed) == (rate, edge, ties, failed)
    tuned_cells = [cell for cell in cells(found, chosen) if cell.strategy.name == "none-tuned"]
    assert {cell.training.learning_rate for cell in tuned_cells} == {1e-4 if rate is None else rate}


def test_a_control_at_ten_times_the_rate_stays_one(tmp_path: Path) -> None:
    found = experiment(strategies=["none", "random", HOT], tune=TUNE | multiple("hot", "none"))
    layout = Layout(tmp_path).tuning
    assert {item.strategy for item in tried(found)} == {"none", "random"}
    made = {cell.run: cell for cell in cells(tuning(found))}
    assert sorted(made) == sorted(run for item in tried(found) for run in item.runs)
    for item in tried(found):
        for run in item.runs:
            write(layout, made[run], 0.5 if item.learning_rate == BEST[item.strategy] else 0.4)
    chosen = choose(found, layout)
    hot = chosen.of("texts", "tiny", "hot")
    assert hot == Choice(
        task="texts", model="tiny", strategy="hot", learning_rate=10 * 1e-4, edge=None, ties=[], tried=[],
        multiple="10 × that of none",
    )  # fmt: skip
    rates = {cell.strategy.name: cell.training.learning_rate for cell in cells(found, chosen)}
    assert rates == {"none": 1e-4, "random": 1e-4, "hot": 1e-3, "none-tuned": 1e-4, "random-tuned": 1e-2} | {
        "hot-tuned": 1e-3
    }
    # where the other one has none, the control keeps its own
    for run, cell in made.items():
        if cell.strategy.name.startswith("none"):
            write(layout, made[run], None)
    chosen = choose(found, layout)
    assert {cell.training.learning_rate for cell in cells(found, chosen) if cell.strategy.name == "hot-tuned"} == {1e-3}


def test_all_texts_that_are_set_apart_to_choose_by_are_read() -> None:
    found = experiment(tasks=[TASK | {"max_validation": 10, "max_test": 20}])
    assert {cell.max_validation for cell in cells(tuning(found))} == {None}
    assert {cell.max_validation for cell in cells(found)} == {10}


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


# --- contrasts at both rates


def reached(cell: Cell, strategy: str) -> float:
    """Return the score of a cell: 0.85, and a tenth less for each factor of ten that its rate is from the best one."""
    off = abs(np.log10(cell.training.learning_rate / BEST[strategy]))
    return float(0.85 - 0.1 * off + np.random.default_rng([cell.seed, len(cell.strategy.name)]).normal(0, 0.004))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Choices]:
    """A study of made-up records, analysed as the rules do: two strategies that differ in their best rate alone."""
    layout, made = Layout(tmp_path_factory.mktemp("tuned")), experiment()
    for cell in cells(tuning(made)):
        write(layout.tuning, cell, reached(cell, cell.strategy.name.partition("-")[0]))
    choices = choose(made, layout.tuning)
    choices.write(layout.choices)
    every = list(cells(made, choices))
    for cell in every:
        write(layout, cell, reached(cell, cell.strategy.name.partition("-")[0]))
    folder = layout.folder
    collect("mine", folder, [cell.run for cell in every], folder)
    files = folder / "metrics.csv", folder / "outcomes.parquet"
    compare_files(*files, folder / "analysis/comparisons.csv", Settings("none", 200, 0.95, 0))
    stated = yaml.safe_load((Path(__file__).parents[3] / "claims.yaml").read_text())
    write_json(folder / "claims.json", stated | {"claims": [CLAIM], "gates": []})
    write_verdicts(*files, folder / "manifest.json", folder / "claims.json", folder, resamples=200, seed=0)
    write_text(layout.experiment, made.as_argument(exclude={"cache"}))
    return Study.read(folder), choices


def test_a_difference_that_is_the_rates_doing_is_found_at_the_shared_rate_alone(found: tuple[Study, Choices]) -> None:
    study, choices = found
    assert {item.strategy: item.learning_rate for item in choices.choices} == BEST
    assert study.tuned is not None
    halves = [half.evidence.verdicts for half in (study, study.tuned)]
    shared, at_tuned = (half[half["scope"] == "pooled"].iloc[0] for half in halves)
    assert shared["verdict"] == "supported"
    assert shared["estimate"] == pytest.approx(20, abs=3)
    assert at_tuned["verdict"] in ("equivalent", "inconclusive")
    assert at_tuned["ci_low"] < 0 < at_tuned["ci_high"]
    assert "learning rates differ" not in shared["note"]
    assert "The learning rates differ: none 0.0001, random 0.01." in at_tuned["note"]


def test_each_half_is_compared_with_its_own_baseline(found: tuple[Study, Choices]) -> None:
    study, _ = found
    assert study.tuned is not None
    assert study.strategies == study.tuned.strategies == ["none", "random"]
    table = comparisons(study)
    assert table.data["rate"].tolist() == ["shared"] * (n := len(study.comparisons)) + ["tuned"] * n
    assert set(table.shown["rate"]) == {"shared", "tuned"}
    behind = table.data.loc[table.data["measure"] == "score", "runs"].tolist()
    assert all(".random-tuned." not in run and ".none-tuned." not in run for run in behind[0].split())
    assert all(".random-tuned." in run or ".none-tuned." in run for run in behind[-1].split())


def test_choice_budget_and_both_verdicts_are_shown(found: tuple[Study, Choices]) -> None:
    study, choices = found
    table = tuning_table(study)
    assert table.shown["chosen"].tolist() == ["0.0001", "0.01"]
    assert table.shown["remarks"].tolist() == ["lowest of the grid", "highest of the grid"]
    budget = (
        "got the same: 6 trainings, 3 rates with 2 seeds each (101, 102), on 64 texts to train on and 40 to choose by"
    )
    assert budget in table.caption
    assert choices.digest[:16] in table.caption
    assert len(table.data) == 6
    both = tuned(study).data
    row = both[both["scope"] == "pooled"].iloc[0]
    assert (row["verdict_shared"], bool(row["agree"])) == ("supported", False)
    edges = [line for line in limits(study) if "of the grid" in line]
    assert edges == [
        f"The best learning rate is the {end} of the grid for {name} (texts, tiny): a better one may lie beyond it."
        for end, name in (("lowest", "none"), ("highest", "random"))
    ]


def test_a_multiple_is_shown_as_one_and_has_no_curve(found: tuple[Study, Choices], monkeypatch) -> None:
    study, choices = found
    about = {"task": "texts", "model": "tiny", "strategy": "hot", "learning_rate": 1e-3, "edge": None, "ties": []}
    more = Choice(**about, tried=[], multiple="10 × that of none")
    monkeypatch.setattr(study, "choices", choices.model_copy(update={"choices": [*choices.choices, more]}))
    table = tuning_table(study)
    assert table.shown["remarks"].tolist()[-1] == "not tuned: 10 × that of none"
    assert (
        "Every task, model and strategy got the same (but for hot: at a multiple of another's rate): " in table.caption
    )
    assert table.shown.iloc[-1].tolist()[3:] == ["–", "–", "–", "0.001", "not tuned: 10 × that of none"]
    assert len(table.data) == 6
    assert len(drawn(study).figure.axes) == 2


def test_a_rate_of_its_own_is_marked(tmp_path: Path) -> None:
    own = {"preset": "random", "training": {"learning_rate": 1e-3}}
    made = experiment(tune=None, strategies=["none", own, "static"])
    layout, folder = Layout(tmp_path), tmp_path
    for cell in cells(made):
        write(layout, cell, 0.8)
    collect("mine", folder, [cell.run for cell in cells(made)], folder)
    compare_files(folder / "metrics.csv", None, folder / "analysis/comparisons.csv", Settings("none", 200, 0.95, 0))
    stated = yaml.safe_load((Path(__file__).parents[3] / "claims.yaml").read_text())
    write_json(folder / "claims.json", stated | {"claims": [CLAIM], "gates": []})
    files = (folder / "metrics.csv", None, folder / "manifest.json", folder / "claims.json", folder)
    write_verdicts(*files, resamples=200, seed=0)
    write_text(layout.experiment, made.as_argument(exclude={"cache"}))
    study = Study.read(folder)
    assert study.tuned is None
    assert scores(study).shown["strategy"].tolist() == ["none", f"random{MARK}", "static"]
    assert comparisons(study).shown["strategy"].tolist() == [f"random{MARK}", "static"]
    words = "† At a learning rate of its own: random 0.001; that of none: 0.0001."
    assert all(words in table(study).caption for table in (scores, comparisons, verdicts))
    assert verdicts(study).shown["contrast"].tolist() == [f"none vs random{MARK}"]
    assert "none 0.0001, random 0.001" in study.evidence.verdicts["note"].iloc[0]
    (line,) = [line for line in limits(study) if "learning rate" in line]
    assert line.startswith("Some strategies have a learning rate of their own (random 0.001; shared: 0.0001)")
    assert tuning_table(study).shown.empty
    assert tuned(study).shown.empty
