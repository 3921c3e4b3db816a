"""Values at matched score: curves whose truth is known, seen often enough or not, through the derived measures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from maskbench.analysis.derived import Point, RunSummary, at_matched_score
from maskbench.analysis.metrics import OLD_COLUMNS, with_kind
from maskbench.analysis.verdicts import judge
from maskbench.config.measures import measure
from maskbench.experiment.claims import read_claims
from maskbench.io.code import ROOT
from tests.unit.analysis.test_verdicts import claims, row

MAJORITY = 0.509
CURVES = {"none": (10, 0.80), "random": (15, 0.80), "freeze": (10, 0.78), "random-90": (10, 0.60)}
"""τ and top of the validation curves top · (1 − e^(−t/τ))."""


def curves(arms, steps, seeds=10, regime="single", rate=0.0, measured="forgetting"):
    """Return metrics of runs with such curves, as `collect` derives them; a measure grows by `rate` an update."""
    rng, runs = np.random.default_rng(1), []
    for seed in range(1, seeds + 1):
        for name, (tau, top) in arms.items():
            level = top + 0.0005 * rng.normal()
            history = [Point(step, level * (1 - np.exp(-step / tau))) for step in steps]
            lost = [Point(step, rate * step * (1 + 0.02 * rng.normal())) for step in steps]
            about = {"task": "a", "model": "m", "regime": regime, "condition": "clean", "train_size": "full"}
            about |= {"majority_score": MAJORITY, "history": history, "trajectory": {measured: lost}}
            cell = f"a.m.{name}.{regime}.clean.full.s{seed}"
            runs.append(RunSummary(cell, strategy=name, seed=seed, completed=True, score=level, **about))
    of = {run.run: (run.run, "a", "m", run.strategy, regime, "clean", "full", run.seed, "completed") for run in runs}
    lines = [(*of[run.run], "test", "score", run.score, "fraction") for run in runs]
    lines += [(*of[run.run], "test", "accuracy", run.score, "fraction") for run in runs]
    lines += [
        (*of[item.run], "run", item.measure, item.value, measure(item.measure).unit)
        for item in at_matched_score(runs, "none")
    ]
    return with_kind(pd.DataFrame(lines, columns=list(OLD_COLUMNS)).astype({"value": "float64"}))


def verdict(metrics, claim):
    found = judge(metrics, None, read_claims(ROOT / "claims.yaml")).verdicts
    return row(found, claim=claim, contrast="random vs none", scope="pooled")


@pytest.mark.parametrize("steps", [(32, 64), (48, 64)])
def test_a_score_that_nobody_saw_being_reached_decides_nothing(steps):
    """Between 32 and 64 updates, or before 48."""
    found = verdict(curves(CURVES, steps), "C03")
    assert found["verdict"] == "inconclusive"
    assert "evaluations were too few to see when in" in found["note"]
    assert "and 10 of the second" in found["note"]
    assert "evaluations_per_epoch" in found["note"]


@pytest.mark.parametrize("hopeless", [False, True])
def test_seen_often_enough_the_truth_comes_out_whatever_other_strategies_do(hopeless):
    arms = {name: curve for name, curve in CURVES.items() if hopeless or name != "random-90"}
    found = verdict(curves(arms, range(4, 65, 4)), "C03")
    assert found["verdict"] == "contradicted"
    assert found["estimate"] == pytest.approx(100 * (10 / 15 - 1), abs=2.0)


def test_a_strategy_that_never_gets_there_is_not_compared():
    contrast = {"name": "random-90 vs none", "of": "random-90", "against": "none"}
    metrics = curves(CURVES, range(4, 65, 4))
    found = row(judge(metrics, None, claims(contrast, measures=["steps_to_score"])).verdicts, scope="pooled")
    assert found["verdict"] == "inconclusive"
    assert "it was never reached in 10 runs of the first arm and 0 of the second" in found["note"]
    assert "evaluations_per_epoch" not in found["note"]


@pytest.mark.parametrize(("none", "other"), [(0.80, 0.81), (0.81, 0.80)])
def test_a_plateau_one_point_higher_is_no_less_forgetting(none, other):
    """Equal speed and equal forgetting at each update; at the lower plateau's end the old rule saw 2.2 points."""
    arms = {"none": (10, none), "freeze": (10, other)}
    metrics = curves(arms, range(4, 65, 4), regime="after-b", rate=0.103)
    contrast = {"name": "freeze vs none", "of": "freeze", "against": "none"}
    found = row(judge(metrics, None, claims(contrast, measures=["matched_forgetting"])).verdicts, scope="pooled")
    assert found["verdict"] != "supported"
    assert abs(found["estimate"]) < 0.5


@pytest.mark.parametrize(("name", "rate"), [("loss_gap", 0.02), ("distractor_drop", 0.1), ("probing_drop", 0.1)])
def test_what_under_fitting_flatters_is_compared_at_matched_score_or_censored(name, rate):
    """The measure grows alike with each update, and `random` takes 16.6 more of them to the score."""
    contrast = {"name": "random vs none", "of": "random", "against": "none"}
    arms = {arm: CURVES[arm] for arm in ("none", "random")}

    def found(steps):
        metrics = curves(arms, steps, rate=rate, measured=name)
        return row(judge(metrics, None, claims(contrast, measures=[f"matched_{name}"])).verdicts, scope="pooled")

    seen = found(range(4, 65, 4))
    assert (seen["verdict"], seen["measure"]) == ("contradicted", f"matched_{name}")
    level = MAJORITY + 0.9 * (0.8 - MAJORITY)
    assert seen["estimate"] == pytest.approx(5 * rate * np.log(1 - level / 0.8), rel=0.1)
    # at the first evaluation both are beyond the score already: nobody knows what it was when they came there
    late = found((60, 64, 68))
    assert (late["verdict"], late["estimate"] is None or np.isnan(late["estimate"])) == ("inconclusive", True)
    assert "evaluations were too few to see when in 10 runs of the first arm and 10 of the second" in late["note"]
