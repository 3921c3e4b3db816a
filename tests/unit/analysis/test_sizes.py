"""Contrasts over train sizes: a learning curve is compared over the same sizes, and few labels with many."""

from __future__ import annotations

import re

import numpy as np
import pytest

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
