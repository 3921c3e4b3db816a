"""Contrasts over train sizes: a learning curve is compared over the same sizes, and few labels with many."""

from __future__ import annotations

import re

import numpy as np
import pytest

from maskbench.analysis import statistics
from maskbench.analysis.contrasts import gather, on_resamples
from maskbench.analysis.values import Values
from maskbench.analysis.verdicts import judge
from maskbench.experiment.claims import read_claims
from maskbench.io.code import ROOT
from tests.unit.analysis.test_verdicts import PAIR, claims, noise, row, study

SIZES = ("100", "400", "1600")


def by_size(effects, sd=0.0005, sizes=SIZES, name="x"):
    """Return a study in which the second arm is better by some points at each size."""

    def values(task, seed, size, place):
        level = 0.6 + 0.03 * np.log(int(size)) / np.log(4) + 0.01 * noise(task, seed)
        gain = effects.get(size, 0.0) / 100
        return {
            "none": {"score": level},
            name: {"score": level + gain + sd * noise(task, seed, size, "x")},
        }

    return study(values, tasks=("a",), sizes=sizes)


def pooled(metrics, kind, **keys):
    return row(judge(metrics, None, claims(PAIR, kind=kind, **keys)).verdicts, scope="pooled")


def test_a_gain_that_is_the_same_at_every_size_is_no_lower_need_for_labels():
    found = pooled(by_size(dict.fromkeys(SIZES, 1.0)), "by-size")
    assert found["verdict"] == "equivalent"
    assert found["estimate"] == pytest.approx(0.0, abs=0.1)
    file = read_claims(ROOT / "claims.yaml")
    metrics = by_size(dict.fromkeys(SIZES, 1.0), name="random")
    table = judge(metrics, None, file).verdicts.query("claim == 'C22'")
    assert table["verdict"].iloc[0] == "equivalent"  # the first contrast stands for the claim


def test_a_gain_that_is_larger_with_few_labels_is_one():
    effects = {"100": 2.0, "400": 1.0, "1600": 0.0}
    found = pooled(by_size(effects), "by-size")
    assert found["verdict"] == "supported"
    assert found["estimate"] == pytest.approx(2.0, abs=0.1)  # the line at 100 less that at 1,600


def test_claims_are_judged_at_one_train_size_and_those_over_sizes_at_all():
    metrics = by_size({"100": 3.0, "400": 1.0, "1600": 0.0})
    at_all, at_400 = (
        row(judge(metrics, None, claims(PAIR), train_size=size).verdicts, scope="pooled") for size in (None, "400")
    )
    assert at_all["estimate"] == pytest.approx(4 / 3, abs=0.1)
    assert at_400["estimate"] == pytest.approx(1.0, abs=0.1)
    curve = row(judge(metrics, None, claims(PAIR, kind="by-size"), train_size="400").verdicts, scope="pooled")
    assert curve["estimate"] == pytest.approx(pooled(metrics, "by-size")["estimate"])


def test_a_curve_that_crosses_the_other_is_not_equivalent_to_it():
    found = pooled(by_size({"100": 2.0, "1600": -2.0}), "curve")
    assert found["estimate"] == pytest.approx(0.0, abs=0.1)
    assert found["verdict"] == "inconclusive"
    assert re.search(r"By train size: 100: \+(1\.9|2\.0)\d, 400: .*, 1600: -(1\.9|2\.0)\d points\.", found["note"])
    assert "in the mean of the sizes alone" in found["note"]
    assert pooled(by_size({}), "curve")["verdict"] == "equivalent"


def test_a_size_at_which_no_seed_differs_shows_no_equality_there():
    """The mean of a curve has a width from its other sizes."""
    metrics = by_size({})
    small = (metrics["train_size"] == "100") & (metrics["measure"].isin(["score", "accuracy"]))
    found = pooled(metrics.assign(value=metrics["value"].mask(small, 0.6)), "curve")
    assert found["ci_low"] < 0 < found["ci_high"]
    assert found["verdict"] == "inconclusive"
    assert "in the mean of the sizes alone" in found["note"]


@pytest.mark.parametrize("kind", ["curve", "by-size"])
@pytest.mark.parametrize("strategy", ["x", "none"])
def test_an_arm_that_lacks_a_size_is_refused(kind, strategy):
    metrics = by_size({}, sd=0.0)
    less = metrics[~((metrics["strategy"] == strategy) & (metrics["train_size"] == "400"))]
    found = judge(less, None, claims(PAIR, kind=kind)).verdicts
    assert found["verdict"].tolist() == ["not tested"]
    assert f"{strategy} lacks the train size 400 on a" in found["note"].iloc[0]


def test_the_range_of_a_curve_is_that_of_its_own_task():
    """Another task of other sizes changes nothing of a task's curve."""

    def values(task, seed, size, place):
        gain = {"100": 0.0, "400": 0.01, "900": 0.02}[size]
        return {"none": {"score": 0.6 + 0.01 * seed}, "x": {"score": 0.6 + 0.01 * seed + gain}}

    metrics = study(values, sizes=("100", "400", "900"))
    other = metrics[~((metrics["task"] == "b") & (metrics["train_size"] == "900"))]
    found = judge(other, None, claims(PAIR, kind="curve"))
    assert row(found.verdicts, scope="b")["estimate"] == pytest.approx(0.5)
    area = np.trapezoid([0.0, 1.0, 2.0], np.log([100, 400, 900])) / np.log(9)
    assert row(found.verdicts, scope="a")["estimate"] == pytest.approx(area)
    assert set(found.pairs["train_size"]) == {"100 400 900", "100 400"}


def test_tasks_that_differ_are_not_equivalent_in_their_mean():
    def values(task, seed, size, place):
        gain = (0.02 if task == "a" else -0.02) + 0.0005 * noise(task, seed, "x")
        return {
            "none": {"score": 0.8 + 0.01 * noise(task, seed)},
            "x": {"score": 0.8 + 0.01 * noise(task, seed) + gain},
        }

    found = judge(study(values), None, claims(PAIR)).verdicts
    assert row(found, scope="pooled")["verdict"] == "inconclusive"
    assert "in the mean of the tasks alone: a supported, b contradicted" in row(found, scope="pooled")["note"]


def test_by_size_is_the_interaction_of_strategy_and_log_train_size():
    """The coefficient of their product in a least-squares line of the score, over the range of log(train size)."""
    metrics = by_size({"100": 2.0, "400": 1.4, "1600": 0.2}, sd=0.01)
    table = metrics[metrics["measure"] == "score"]
    x, arm = np.log(table["train_size"].astype(float)), (table["strategy"] == "x").astype(float)
    design = np.column_stack([np.ones(len(x)), arm, x, arm * x])
    slope = np.linalg.lstsq(design, 100 * table["value"].to_numpy(), rcond=None)[0][3]
    assert pooled(metrics, "by-size")["estimate"] == pytest.approx(-slope * np.log(1600 / 100))


def labels(metrics, **keys):
    return judge(metrics, None, claims({**PAIR, **keys}, kind="labels", measures=["labels_needed"])).verdicts


def curves(factor, sizes=("100", "400", "1600"), sd=0.0005, gain=0.05, missing=()):
    """Return a study in which the strategy x scores with n texts what none scores with `factor` · n."""

    def values(task, seed, size, place):
        found = {}
        for name, times in (("none", 1.0), ("x", factor)):
            score = 0.6 + gain * np.log(times * int(size) / 100) / np.log(4) + sd * noise(task, seed, size, name)
            found[name] = {"score": None if (name, seed, size) in missing else score}
        return found

    return study(values, tasks=("a",), sizes=sizes)


def test_labels_for_a_fixed_score_are_found_and_their_ratio_has_an_interval():
    found = row(labels(curves(1.5)), scope="pooled")
    assert (found["verdict"], found["unit"], found["n_seeds"]) == ("supported", "per cent", 10)
    assert found["estimate"] == pytest.approx(50.0, abs=3)  # the baseline takes half as many labels more
    assert found["ci_low"] < 50 < found["ci_high"]
    assert row(labels(curves(1 / 1.5)), scope="pooled")["verdict"] == "contradicted"
    assert row(labels(curves(1.0)), scope="pooled")["verdict"] == "equivalent"


def test_a_gain_of_some_points_is_told_in_labels_at_the_score_of_the_size_that_is_named():
    """A steeper curve turns the same gain into fewer labels: at 200 texts here, not at 800."""
    sizes = ("100", "200", "400", "800", "1600")

    def values(task, seed, size, place):
        steep = 0.05 * min(np.log(int(size) / 100), np.log(4)) + 0.01 * max(np.log(int(size) / 400), 0.0)
        return {
            name: {"score": 0.6 + steep + gain + 0.0002 * noise(task, seed, size, name)}
            for name, gain in (("none", 0.0), ("x", 0.005))
        }

    metrics = study(values, tasks=("a",), sizes=sizes)
    few, many = (row(labels(metrics, at=at), scope="pooled")["estimate"] for at in (200, 800))
    assert few == pytest.approx(100 * np.expm1(0.1), abs=2)
    assert many == pytest.approx(100 * np.expm1(0.5), abs=8)


def test_a_curve_that_never_has_the_score_is_censored_and_so_is_one_that_has_it_at_once():
    never = row(labels(curves(0.2)), scope="pooled")
    assert never["verdict"] == "inconclusive"
    assert "10 learning curves of the first arm and 0 of the second never reach it" in never["note"]
    at_once = row(labels(curves(5.0)), scope="pooled")
    assert at_once["verdict"] == "inconclusive"
    assert "10 learning curves of the first arm and 0 of the second have it with the smallest" in at_once["note"]


def test_a_seed_that_lacks_a_run_of_its_curve_is_missing():
    found = row(labels(curves(1.5, missing={("x", 3, "400")})), scope="pooled")
    assert found["n_seeds"] == 9
    assert found["verdict"] == "supported"
    assert "1 of 10 pairs are missing" in found["note"]


@pytest.mark.parametrize(
    ("sizes", "keys", "sentence"),
    [
        (("100", "400"), {}, "Labels for a fixed score take 3 train sizes with a number."),
        (SIZES, {"at": 100}, "Labels for the score at 100 texts take this train size, a smaller one and a larger one."),
    ],
)
def test_labels_take_three_sizes_and_a_score_between_the_ends(sizes, keys, sentence):
    assert labels(curves(1.5, sizes), **keys)["note"].tolist() == [sentence]


def test_resampled_texts_are_read_off_the_same_way():
    """Each resample has its own curves and its own fixed score; scores that are the recorded ones give these labels."""
    file = claims(PAIR, kind="labels", measures=["labels_needed"])
    values = Values(curves(1.5))
    (contrast,) = file.claims[0].resolved()
    evidence = gather(values, contrast, "labels_needed", ["a"])
    points = 100 * values.of("score")
    steeper = {run: np.array([value, 1.1 * value]) for run, value in points.items()}
    drawn = on_resamples(evidence, steeper)
    assert drawn.shape == (2, 1, 10)
    np.testing.assert_allclose(drawn[0], evidence.differences)
    np.testing.assert_allclose(drawn[1], evidence.differences)  # no unit of the score is in the labels


def test_labels_of_equal_arms_differ_in_at_most_one_study_of_twenty():
    """Of noisy curves, with the score that is fixed made of the second arm's own seeds."""
    file = claims(PAIR, kind="labels", measures=["labels_needed"])
    (contrast,) = file.claims[0].resolved()
    evidence = gather(Values(curves(1.0)), contrast, "labels_needed", ["a"])
    level = 60 + 5 * np.log(evidence.terms["train_size"].astype(float).to_numpy() / 100) / np.log(4)
    drawn = np.random.default_rng(0).normal(level, 1.0, size=(4000, len(level)))
    differences = evidence.curves.differences(drawn)[:, 0]
    whole = differences[np.isfinite(differences).all(axis=1)]
    assert len(whole) > 3500  # the others have a curve that is censored
    wrong = (statistics.spread(whole).p() < 0.05).mean()
    assert 0.01 < wrong < 0.06
    assert abs(whole.mean()) < 0.01  # neither arm is favoured by taking its score
