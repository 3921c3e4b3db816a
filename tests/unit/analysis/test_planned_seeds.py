"""Seeds that one arm, or one block, has more than another: they were not to be run, and are not lost."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.analysis.compare import Pairs
from maskbench.analysis.metrics import runs_of
from maskbench.analysis.verdicts import judge
from tests.unit.analysis.test_verdicts import claims, noise, row, study

PAIR = {"name": "x vs none", "of": "x", "against": "none"}


def made(*, failed=(), tasks=("a", "b"), sizes=("100",)):
    """Return a study of twenty seeds in which x is four points better."""

    def values(task, seed, size, place):
        base = 0.7 + 0.03 * np.log10(int(size)) + 0.002 * noise(task, seed, size)
        score = {"none": base, "x": base + 0.04 + 0.002 * noise(task, seed, size, "x")}
        return {name: {"score": value, "loss_gap": 0.1} for name, value in score.items()}

    return study(values, seeds=20, tasks=tasks, sizes=sizes, failed=failed)


def without(metrics, **where):
    """Return a study that was never to have some of its runs."""
    there = np.ones(len(metrics), dtype=bool)
    for name, value in where.items():
        there &= metrics["seed"] > 10 if name == "late" else metrics[name] == value
    return metrics[~there]


def verdict(metrics, **keys):
    return row(judge(metrics, None, claims(PAIR, **keys)).verdicts, scope="pooled")


def test_a_baseline_may_have_more_seeds_than_what_it_is_compared_with():
    found = verdict(without(made(), strategy="x", late=True))
    assert (found["verdict"], found["n_seeds"]) == ("supported", 10)
    assert "missing" not in found["note"]
    assert "left out" not in found["note"]


def test_a_run_that_failed_is_lost_all_the_same():
    failed = {("a", "x", seed) for seed in (1, 2, 3)}
    found = verdict(without(made(failed=failed), strategy="x", late=True))
    assert found["verdict"] == "inconclusive"
    assert "3 of 20 pairs are missing (failed runs: 3 of the first arm, 0 of the second)" in found["note"]


def test_failed_runs_of_seeds_that_stand_in_no_pair_do_not_count():
    failed = {("a", "none", seed) for seed in (11, 12, 13)}
    found = verdict(without(made(failed=failed), strategy="x", late=True))
    assert (found["verdict"], "missing" in found["note"]) == ("supported", False)


def test_a_task_may_have_fewer_seeds_and_the_note_says_that_the_others_are_left_out():
    table = judge(without(made(), task="b", late=True), None, claims(PAIR)).verdicts
    pooled, alone = row(table, scope="pooled"), row(table, scope="a")
    assert (pooled["verdict"], pooled["n_seeds"], alone["n_seeds"]) == ("supported", 10, 20)
    assert "10 seeds of some blocks alone, with which the others were not to be run, are left out." in pooled["note"]
    assert "left out" not in alone["note"]


def test_no_seed_in_common_is_no_evidence():
    metrics = without(made(), task="b", late=True)
    found = verdict(metrics[(metrics["task"] != "a") | (metrics["seed"] > 10)])
    assert (found["verdict"], found["note"].startswith("refused: no seed")) == ("inconclusive", True)


@pytest.mark.parametrize(
    ("kind", "measures"), [("curve", ["score"]), ("by-size", ["score"]), ("labels", ["labels_needed"])]
)
def test_a_learning_curve_may_have_fewer_seeds_than_one_of_its_sizes(kind, measures):
    metrics = made(tasks=("a",), sizes=("100", "400", "1600"))
    metrics = without(without(metrics, train_size="100", late=True), train_size="1600", late=True)
    found = verdict(metrics, kind=kind, measures=measures)
    assert found["n_seeds"] == 10 or kind == "labels"
    assert "pairs are missing" not in found["note"]


@pytest.mark.parametrize("kind", ["identical", "null"])
def test_controls_of_some_seeds_are_judged_by_them(kind):
    metrics = without(made(tasks=("a",)), strategy="x", late=True)
    metrics.loc[metrics["strategy"] == "x", "value"] = metrics.loc[
        (metrics["strategy"] == "none") & (metrics["seed"] <= 10), "value"
    ].to_numpy()
    against = {"against": "none"} if kind == "identical" else {}
    gate = {"gate": "g", "sentence": "s", "kind": kind, "measures": ["score"], "guards": "all"}
    gate["contrasts"] = [{"name": "c", "of": "x", **against}]
    (found,) = judge(metrics, None, claims(PAIR, gates=[gate])).gates.to_dict("records")
    assert (found["outcome"], found["note"] or "") == ("passed", "")


def test_comparisons_count_no_pair_that_was_not_to_be():
    runs = runs_of(without(made(tasks=("a",), failed={("a", "none", 12)}), strategy="x", late=True))
    pairs = Pairs(runs[runs["strategy"] == "x"], runs[runs["strategy"] == "none"])
    assert pairs.seeds == set(range(1, 11))
    assert (pairs.failed_strategy, pairs.failed_baseline) == (0, 0)
