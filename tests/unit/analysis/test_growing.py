"""A study that grows: what has not run is neither failed nor missing, and a pair counts when both runs are there."""

from __future__ import annotations

import pandas as pd
import pytest

from maskbench.analysis.compare import Settings, compare
from maskbench.analysis.study_manifest import progress
from maskbench.analysis.verdicts import judge
from tests.unit.analysis.test_verdicts import PAIR, claims, row, scores, study

COLUMNS = ["estimate", "ci_low", "ci_high", "p", "n_seeds", "verdict"]


def without(metrics, **where):
    """Return the metrics of a study in which some runs have not been made yet."""
    gone = pd.Series(True, index=metrics.index)
    for column, values in where.items():
        gone &= metrics[column].isin(values)
    return metrics[~gone].reset_index(drop=True)


def test_seeds_of_which_one_arm_has_run_are_seeds_that_are_not_there_yet():
    whole = study(scores({"none": 0.0, "x": 0.6}))
    half = judge(without(whole, strategy=["x"], seed=[7, 8, 9, 10]), None, claims(PAIR)).verdicts
    six = judge(without(whole, seed=[7, 8, 9, 10]), None, claims(PAIR)).verdicts
    assert half[[*COLUMNS, "note"]].equals(six[[*COLUMNS, "note"]])
    assert set(half["n_seeds"]) == {6}
    assert not half["note"].str.contains("missing|refused").any()


def test_arms_that_have_run_with_no_seed_in_common_are_not_compared():
    """Each arm alone is no difference, not even where every seed of the block has one run."""
    part = without(study(scores({"none": 0.0, "x": 0.6})), strategy=["x"], seed=[1, 2, 3, 4, 5])
    part = without(part, strategy=["none"], seed=[6, 7, 8, 9, 10])
    found = judge(part, None, claims(PAIR))
    assert set(found.verdicts["verdict"]) == {"not tested"}
    assert found.pairs.empty


def test_a_task_that_has_fewer_seeds_so_far_takes_none_from_the_others():
    part = without(study(scores({"none": 0.0, "x": 2.0})), task=["b"], seed=[4, 5, 6, 7, 8, 9, 10])
    found = judge(part, None, claims(PAIR)).verdicts
    assert found.set_index("scope")["n_seeds"].to_dict() == {"pooled": 3, "a": 10, "b": 3}
    assert row(found, scope="a")["verdict"] == "supported"
    assert not found["note"].str.contains("missing|refused").any()


def test_tasks_without_a_seed_in_common_have_no_pooled_number_yet():
    part = without(study(scores({"none": 0.0, "x": 2.0})), task=["b"], seed=range(1, 6))
    part = without(part, task=["a"], seed=range(6, 11))
    pooled = row(judge(part, None, claims(PAIR)).verdicts, scope="pooled")
    assert (pooled["verdict"], pooled["n_seeds"], pooled["note"]) == (
        *("inconclusive", 0),
        "refused: no seed was run with all arms in all blocks.",
    )


def test_a_run_that_failed_is_missing_among_runs_that_are_still_to_be_made():
    part = without(study(scores({"none": 0.0, "x": 2.0}), failed={("a", "x", 3)}), strategy=["x"], seed=[10])
    found = row(judge(part, None, claims(PAIR)).verdicts, scope="pooled")
    assert (found["verdict"], found["n_seeds"]) == ("supported", 8)
    assert "1 of 18 pairs are missing (failed runs: 1 of the first arm, 0 of the second)" in found["note"]
    assert "the verdict holds" in found["note"]


def test_a_contrast_without_runs_is_not_tested_and_a_task_without_pairs_is_left_out():
    whole = study(scores({"none": 0.0, "x": 2.0}))
    assert judge(without(whole, strategy=["x"]), None, claims(PAIR)).verdicts["verdict"].tolist() == ["not tested"]
    one = judge(without(whole, strategy=["x"], task=["b"]), None, claims(PAIR)).verdicts
    assert one["scope"].tolist() == ["pooled"]
    assert one["n_seeds"].tolist() == [10]


def test_a_control_counts_what_has_run():
    gate = {"gate": "g", "sentence": "It holds.", "measures": ["score"], "guards": ["score"], "kind": "positive"}
    gate |= {"contrasts": [{"name": "c", "of": "none", "against": "x"}]}
    part = without(study(scores({"none": 0.0, "x": -5.0})), strategy=["x"], seed=[5, 6, 7, 8, 9, 10])
    (found,) = judge(part, None, claims(PAIR, gates=[gate])).gates.to_dict("records")
    assert (found["outcome"], found["n_seeds"]) == ("passed", 4)
    assert "missing" not in found["note"]


def test_comparisons_miss_no_pair_that_has_not_run():
    metrics = without(study(scores({"none": 0.0, "x": 2.0})), strategy=["x"], seed=[9, 10])
    found = compare(metrics, None, Settings("none", 100, 0.95, 0)).query("measure == 'score'")
    assert set(found["n_seeds"]) == {8}
    assert set(found["missing_pairs"]) == {0}


@pytest.mark.parametrize("left", [0, 1])
def test_the_manifest_counts_what_is_planned(left):
    runs = [f"a.m.{name}.single.clean.n100.s{seed}" for name in ("none", "x") for seed in (1, 2)]
    found = progress(runs, runs[: len(runs) - left])
    assert found["planned"] == 4
    assert found["not_run"] == {
        "strategies": {"x": 1} if left else {},
        "blocks": {"a.m.single.clean.n100": 1} if left else {},
    }
