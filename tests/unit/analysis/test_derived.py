"""Measures across runs, against numbers computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maskbench.analysis.collect import collect
from maskbench.analysis.derived import (
    Point,
    RunSummary,
    at_matched_score,
    disagreement,
    failed,
    first_reached,
    negative_transfer,
    overheads,
    score_sd,
    side_of,
    value_at,
)
from maskbench.analysis.metrics import read_metrics
from maskbench.config.measures import MEASURES
from maskbench.errors import InputError
from maskbench.io.files import read_json, write_json
from tests.helpers import run_folders as synthetic

FOLDER = Path("training")


def run(name, strategy="none", seed=1, completed=True, **changes) -> RunSummary:
    """Return a run of one block; `changes` are its other fields."""
    about = {"task": "a", "model": "m", "regime": "single", "condition": "clean", "train_size": "full"}
    score = changes.pop("score", 0.8) if completed else None
    return RunSummary(name, strategy=strategy, seed=seed, completed=completed, score=score, **{**about, **changes})


def points(*values, steps=(10, 20, 30, 40)):
    return [Point(step, value) for step, value in zip(steps, values, strict=False)]


def by_run(values, measure=None):
    return {item.run: item.value for item in values if measure in (None, item.measure)}


def test_negative_transfer_is_what_the_score_lost_in_points():
    runs = [
        run("alone", score=0.80),
        run("alone-2", score=0.90, seed=2),
        run("alone-masked", "random", score=0.70),
        run("alone-cue", score=0.10, condition="cue-95"),
        run("joint", score=0.75, regime="with-b"),
        run("joint-2", score=0.95, seed=2, regime="with-b"),
        run("joint-masked", "random", score=0.70, regime="with-b"),
        run("after", score=0.20, regime="after-b"),
    ]
    found = by_run(negative_transfer(runs))
    assert found == pytest.approx({"joint": 5.0, "joint-2": -5.0, "joint-masked": 0.0})


@pytest.mark.parametrize(
    "partner",
    [
        [],
        [run("alone", completed=False)],
        [run("alone", seed=2)],
        [run("alone", "random")],
        [run("alone", train_size="2000")],
        [run("alone", condition="noise-30")],
        [run("alone", task="b")],
    ],
)
def test_without_its_partner_there_is_no_negative_transfer(partner):
    assert by_run(negative_transfer([*partner, run("joint", regime="with-b")])) == {"joint": None}


def test_a_failed_joint_run_has_no_negative_transfer():
    assert by_run(negative_transfer([run("alone"), run("joint", regime="with-b", completed=False)])) == {}


def test_the_spread_of_a_cell_stands_at_each_of_its_runs():
    runs = [run("a1", score=0.70), run("a2", seed=2, score=0.80), run("a3", seed=3, completed=False)]
    runs += [run("b1", "random", score=0.5), run("b2", "random", seed=2, completed=False)]
    expected = math.sqrt(((70 - 75) ** 2 + (80 - 75) ** 2) / 1)
    assert by_run(score_sd(runs)) == {"a1": pytest.approx(expected), "a2": pytest.approx(expected), "b1": None}


def test_failed_is_at_most_the_majority_class():
    runs = [
        run("good", score=0.6, majority_score=0.5),
        run("equal", score=0.5, majority_score=0.5),
        run("below", score=0.4, majority_score=0.5),
        run("crashed", completed=False),
        run("unknown", score=0.4),
    ]
    assert by_run(failed(runs)) == {"good": 0.0, "equal": 1.0, "below": 1.0, "crashed": 1.0, "unknown": None}


def test_disagreement_is_the_mean_over_the_other_seeds():
    codes = {"a1": [0, 0, 0, 0], "a2": [0, 0, 0, 1], "a3": [1, 1, 0, 1]}
    runs = [run(name, seed=seed) for seed, name in enumerate(codes, 1)]
    runs += [run("a4", seed=4, completed=False), run("b1", "random")]
    found = by_run(disagreement(runs, lambda name: (np.arange(4), np.array(codes[name])), FOLDER))
    # a1 and a2 differ in 1 of 4, a1 and a3 in 3, a2 and a3 in 2
    assert found == {"a1": (1 + 3) / 8, "a2": (1 + 2) / 8, "a3": (3 + 2) / 8, "b1": None}


def test_seeds_tested_on_other_examples_are_named():
    runs = [run("a1"), run("a2", seed=2)]
    examples = {"a1": np.arange(3), "a2": np.arange(1, 4)}
    with pytest.raises(InputError, match=r"a2/predictions\.parquet: expected the test examples of a1"):
        list(disagreement(runs, lambda name: (examples[name], np.zeros(3)), FOLDER))


def test_overheads_are_ratios_to_the_baseline_of_the_same_seed():
    runs = [
        run("n1", step_time=100.0, peak_memory=1000.0),
        run("n2", seed=2, completed=False),
        run("r1", "random", step_time=125.0, peak_memory=500.0),
        run("r2", "random", seed=2, step_time=125.0, peak_memory=500.0),
        run("o1", "other", step_time=None, peak_memory=2000.0),
        run("j1", "random", regime="with-b", step_time=1.0, peak_memory=1.0),
    ]
    assert by_run(overheads(runs, "none"), "step_overhead") == {
        "n1": 1.0,
        "r1": 1.25,
        "r2": None,
        "o1": None,
        "j1": None,
    }
    memory = by_run(overheads(runs, "none"), "memory_overhead")
    assert memory == {"n1": 1.0, "r1": 0.5, "r2": None, "o1": 2.0, "j1": None}


def test_a_level_is_first_reached_between_two_evaluations():
    history = points(0.2, 0.6, 0.4, 0.8)
    assert first_reached(history, 0.5) == pytest.approx(10 + 10 * 0.3 / 0.4)
    assert first_reached(history, 0.6) == 20.0
    assert first_reached(history, 0.7) == pytest.approx(30 + 10 * 0.3 / 0.4)


def test_a_level_that_nobody_saw_being_reached_has_no_time():
    history = points(0.2, 0.6, 0.4, 0.8)
    assert first_reached(history, 0.1) is None  # at the first evaluation already: nobody knows since when
    assert first_reached(history, 0.9) is None
    assert first_reached([], 0.1) is None
    # between 10 and 20 updates is too coarse, between 30 and 40 it is not
    assert [side_of(history, level) for level in (0.1, 0.2, 0.5, 0.7, 0.9)] == [-1, -1, -1, 0, 1]


def test_values_are_read_between_evaluations_and_never_outside():
    along = points(1.0, 3.0, 2.0)
    assert [value_at(along, step) for step in (10, 15, 20, 25, 30)] == [1.0, 2.0, 3.0, 2.5, 2.0]
    assert value_at(along, 9.9) is None
    assert value_at(along, 30.1) is None
    assert value_at([], 10) is None


def matched_study(**changes):
    """Return none, whose matched score is 0.1 + 0.9 · 0.7 = 0.73, and random, which gets just there."""
    drift = {"representation_drift": points(0.1, 0.2, 0.4, 0.8), "parameter_drift": points(1.0, 2.0, 3.0, 4.0)}
    fast = run("fast", history=points(0.2, 0.6, 0.7, 0.8), trajectory=drift | changes, majority_score=0.1)
    slow = run("slow", "random", history=points(0.1, 0.3, 0.63, 0.78), trajectory=drift | changes, majority_score=0.1)
    return [fast, slow]


def matched(runs):
    return {(item.run, item.measure): item.value for item in at_matched_score(runs, "none")}


def test_all_are_compared_below_the_plateau_of_the_baseline():
    found = matched(matched_study(forgetting=points(0.0, 10.0, 20.0, 30.0)))
    assert found["fast", "matched_score"] == found["slow", "matched_score"] == pytest.approx(0.73)
    assert found["fast", "steps_to_score"] == pytest.approx(33.0)
    assert found["slow", "steps_to_score"] == pytest.approx(30 + 10 * 0.1 / 0.15)
    assert found["fast", "matched_representation_drift"] == pytest.approx(0.52)
    assert found["slow", "matched_parameter_drift"] == pytest.approx(3.0 + 0.1 / 0.15)
    assert found["fast", "matched_forgetting"] == pytest.approx(23.0)
    assert found["fast", "matched_censored"] == found["slow", "matched_censored"] == 0.0


def test_the_level_lies_where_the_configuration_says():
    found = {(item.run, item.measure): item.value for item in at_matched_score(matched_study(), "none", 0.5)}
    assert found["fast", "matched_score"] == pytest.approx(0.45)
    assert found["fast", "steps_to_score"] is None  # between 10 and 20 updates: too coarse
    assert found["slow", "steps_to_score"] == pytest.approx(20 + 10 * 0.15 / 0.33)


def test_other_strategies_do_not_move_the_level():
    weak = run("weak", "static", score=0.3, majority_score=0.1, history=points(0.1, 0.2, 0.3, 0.3))
    stuck = run("stuck", "span", score=0.1, majority_score=0.1, history=points(0.1, 0.1, 0.1, 0.1))
    crashed = run("crashed", "freeze", completed=False, history=points(0.05))
    blind = run("blind", "other", majority_score=0.1)
    runs = [*matched_study(), weak, stuck, crashed, blind]
    found, alone = matched(runs), matched(matched_study())
    assert {key: found[key] for key in alone} == alone
    assert found["weak", "matched_censored"] == found["stuck", "matched_censored"] == 1.0
    assert found["weak", "steps_to_score"] is None
    assert {name for name, _ in found} == {"fast", "slow", "weak", "stuck"}
    assert by_run(failed(runs)) == {
        **dict.fromkeys(("fast", "slow", "weak", "blind"), 0.0),
        **dict.fromkeys(("stuck", "crashed"), 1.0),
    }


def test_what_was_reached_before_the_first_evaluation_is_not_known():
    runs = matched_study()
    quick = run("quick", "static", history=points(0.75, 0.9), trajectory=runs[0].trajectory, majority_score=0.1)
    found = {name: value for (of, name), value in matched([*runs, quick]).items() if of == "quick"}
    values = ("steps_to_score", "matched_representation_drift", "matched_parameter_drift")
    assert found == {"matched_score": pytest.approx(0.73), "matched_censored": -1.0, **dict.fromkeys(values)}


def test_a_baseline_that_learned_nothing_gives_no_level():
    runs = matched_study()
    runs[0] = run("fast", score=0.1, history=points(0.1, 0.1), majority_score=0.1)
    found = matched(runs)
    assert found["slow", "matched_score"] is None
    assert found["slow", "matched_censored"] is None
    assert found["slow", "steps_to_score"] is None
    assert matched(runs[1:])["slow", "matched_score"] is None


def test_what_was_not_measured_along_the_way_is_left_out_or_empty():
    runs = matched_study()
    half = {"parameter_drift": points(1.0, 2.0)}  # measured up to update 20 alone
    runs.append(run("half", "static", history=points(0.1, 0.2, 0.74), trajectory=half, majority_score=0.1))
    found = {name: value for (of, name), value in matched(runs).items() if of == "half"}
    assert found["matched_parameter_drift"] is None
    assert found["steps_to_score"] == pytest.approx(20 + 10 * 0.53 / 0.54)
    assert ("half", "matched_representation_drift") not in found


def test_blocks_and_seeds_are_matched_apart():
    runs = matched_study()
    about = {"majority_score": 0.0}
    others = [run("f2", seed=2, history=points(0.3), **about), run("s2", "random", seed=2, history=points(0.2))]
    joint = {"regime": "with-b"} | about
    both = [run("fj", history=points(0.4), **joint), run("sj", "random", history=points(0.5), **joint)]
    found = by_run(at_matched_score([*runs, *others, *both], "none"), "matched_score")
    assert found == pytest.approx({"fast": 0.73, "slow": 0.73, "f2": 0.27, "s2": 0.27, "fj": 0.36, "sj": 0.36})


@pytest.mark.parametrize("task", ["rt-snippets", "conll2003"])
def test_disagreement_is_read_from_predictions_in_any_order(tmp_path, task):
    """Answers are classes, or the tags of a sentence; rows are paired by example."""
    runs = [synthetic.write_run(tmp_path, task, "none", seed, examples=40) for seed in (1, 2)]
    paths = [tmp_path / "training" / name / "predictions.parquet" for name in runs]
    tables = [pd.read_parquet(path) for path in paths]
    answers = [[np.atleast_1d(answer).tolist() for answer in table["prediction"]] for table in tables]
    expected = np.mean([one != other for one, other in zip(*answers, strict=True)])
    tables[1].iloc[::-1].to_parquet(paths[1], index=False)
    collect("s", tmp_path, runs, tmp_path)
    found = read_metrics(tmp_path / "metrics.csv").query("measure == 'disagreement'")["value"]
    assert expected > 0
    assert found.tolist() == pytest.approx([expected] * 2)


def test_derived_measures_of_a_study_are_in_its_metrics(tmp_path):
    runs = synthetic.write_mixed(tmp_path, ["rt-snippets", "conll2003"], ["none", "random"], 2, examples=40)
    collect("s", tmp_path, runs, tmp_path, probed=True)
    metrics = read_metrics(tmp_path / "metrics.csv")
    derived = {name: entry.split for name, entry in MEASURES.items() if entry.derived}
    rows = metrics[metrics["measure"].isin(derived)]
    # attributions are off unless asked for, no cell was trained in a stack, and the other stands in verdicts alone
    assert set(rows["measure"]) == derived.keys() - {"attribution_agreement", "labels_needed", "stack"}
    assert (rows["split"] == rows["measure"].map(derived)).all()
    collect("s", tmp_path, runs, tmp_path / "half", probed=True, share=0.5)
    lower = read_metrics(tmp_path / "half" / "metrics.csv")
    levels = [table[table["measure"] == "matched_score"]["value"] for table in (metrics, lower)]
    assert (levels[1] < levels[0]).all()
    path = tmp_path / "training" / runs[0] / "metrics.json"
    write_json(path, read_json(path) | {"stack": runs[:3]})
    collect("s", tmp_path, runs, tmp_path / "stacks", probed=True)
    found = read_metrics(tmp_path / "stacks" / "metrics.csv").query("measure == 'stack'")
    assert found[["run", "value"]].to_numpy().tolist() == [[runs[0], 3.0]]
    kinds = rows.groupby("measure")["regime"].agg(lambda names: {name.partition("-")[0] for name in names}).to_dict()
    assert kinds["negative_transfer"] == {"with"}
    assert kinds["matched_forgetting"] == {"after"}
    assert kinds["disagreement"] == {"single", "after", "with"}
    scores = metrics.query("measure == 'score' and task == 'conll2003' and strategy == 'random' and seed == 2")
    scores = scores.set_index(["regime", "condition"])["value"]
    lost = rows.query("measure == 'negative_transfer' and task == 'conll2003' and strategy == 'random' and seed == 2")[
        "value"
    ].item()
    assert lost == pytest.approx(100 * (scores["single", "clean"] - scores["with-rt-snippets", "clean"]))
