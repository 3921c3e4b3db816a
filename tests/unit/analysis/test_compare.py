"""The paired comparison, and the readers of metrics.csv and outcomes.parquet."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from maskbench.analysis.bootstrap import generator, resampled_scores
from maskbench.analysis.collect import collect
from maskbench.analysis.compare import (
    ALL_TASKS,
    BOTH,
    NO_PAIRS,
    ONE_SEED,
    SEEDS,
    Settings,
    compare,
    read_comparisons,
    write_comparisons,
)
from maskbench.analysis.metrics import read_metrics
from maskbench.analysis.outcomes import Outcomes
from maskbench.analysis.verdicts import judge
from maskbench.config.claims import Claims
from maskbench.errors import InputError
from tests.helpers import run_folders as synthetic
from tests.unit.analysis.test_verdicts import MARGINS

SETTINGS = Settings("none", 500, 0.95, 0)


def study(folder, tasks, strategies, seeds, **options):
    runs = synthetic.write_study(folder, tasks, strategies, seeds, **({"examples": 200} | options))
    collect("s", folder, runs, folder)
    return read_metrics(folder / "metrics.csv"), folder / "outcomes.parquet"


def row(comparisons, measure, task="rt-snippets", strategy="random"):
    found = comparisons[
        (comparisons["measure"] == measure) & (comparisons["task"] == task) & (comparisons["strategy"] == strategy)
    ]
    assert len(found) == 1
    return found.iloc[0]


def with_values(metrics, measure, values):
    """Return the metrics with one measure set, by (strategy, seed)."""
    changed = metrics.copy()
    for (strategy, seed), value in values.items():
        place = (changed["strategy"] == strategy) & (changed["seed"] == seed) & (changed["measure"] == measure)
        assert place.any()
        changed.loc[place, "value"] = value
    return changed


def test_the_estimate_is_the_mean_paired_difference_in_points(tmp_path):
    metrics, outcomes = study(tmp_path, ["rt-snippets"], ["none", "random"], 3)
    scores = metrics[(metrics["measure"] == "score")].pivot_table(index="seed", columns="strategy", values="value")
    found = row(compare(metrics, outcomes, SETTINGS), "score")
    assert found["estimate"] == pytest.approx(100 * (scores["random"] - scores["none"]).mean())
    assert (found["unit"], found["n_seeds"], found["interval"]) == ("points", 3, BOTH)
    assert found["ci_low"] < found["estimate"] < found["ci_high"]


def test_resampled_scores_are_those_of_repeated_examples():
    rng = np.random.default_rng(3)
    hit, weight = rng.integers(0, 3, (4, 25)) * 2.0, rng.integers(2, 7, (4, 25)).astype(float)
    found = resampled_scores(hit, weight, 20, generator(1, "x"))
    counts = generator(1, "x").multinomial(25, np.full(25, 1 / 25), size=20)
    for resample in range(20):
        drawn = np.repeat(np.arange(25), counts[resample])
        assert len(drawn) == 25
        np.testing.assert_allclose(found[resample], hit[:, drawn].sum(axis=1) / weight[:, drawn].sum(axis=1))


def test_equal_arms_differ_by_exactly_nothing(tmp_path):
    metrics, _ = study(tmp_path, ["rt-snippets"], ["none", "random"], 3)
    outcomes = pd.read_parquet(tmp_path / "outcomes.parquet").astype({"run": str})
    twin = outcomes[outcomes["run"].str.contains("none")]
    both = pd.concat([twin, twin.assign(run=twin["run"].str.replace("none", "random"))])
    both.to_parquet(tmp_path / "equal.parquet", index=False)
    base = metrics[(metrics["strategy"] == "none") & (metrics["measure"] == "score")].set_index("seed")["value"]
    same = with_values(metrics, "score", {("random", seed): value for seed, value in base.items()})
    found = row(compare(same, tmp_path / "equal.parquet", SETTINGS), "score")
    assert found["estimate"] == 0.0
    # that no text differs is no proof that none can: the rule of three
    texts = twin[twin["set"] == "test"]["example"].nunique()
    assert -found["ci_low"] == found["ci_high"] == pytest.approx(100 * -np.log(0.05) / texts)


def test_without_outcomes_the_interval_is_over_seeds_and_says_so(tmp_path):
    metrics, outcomes = study(tmp_path, ["rt-snippets"], ["none", "freeze"], 4)
    alone, both = (row(compare(metrics, path, SETTINGS), "score", strategy="freeze") for path in (None, outcomes))
    assert (alone["interval"], both["interval"]) == (SEEDS, BOTH)
    assert alone["estimate"] == both["estimate"]
    assert both["ci_low"] < alone["ci_low"]
    assert alone["ci_high"] < both["ci_high"]


def test_one_difference_has_one_interval_here_and_in_the_verdicts(tmp_path):
    metrics, outcomes = study(tmp_path, ["rt-snippets", "conll2003"], ["none", "freeze"], 4)
    comparisons = compare(metrics, outcomes, SETTINGS)
    contrast = {"name": "freeze vs none", "of": "freeze", "against": "none"}
    claim = {"id": "C01", "claim": "It helps.", "measures": ["score", "loss_gap"], "contrasts": [contrast]}
    claims = Claims.model_validate({"claims": [claim], "margins": MARGINS})
    found = judge(metrics, Outcomes(outcomes, SETTINGS.resamples, SETTINGS.seed), claims).verdicts
    for name in ("score", "loss_gap"):
        sign = {"score": 1.0, "loss_gap": -1.0}[name]
        for task, scope in ((ALL_TASKS, "pooled"), ("rt-snippets", "rt-snippets"), ("conll2003", "conll2003")):
            verdict = found[(found["measure"] == name) & (found["scope"] == scope)].iloc[0]
            difference = row(comparisons, name, task, "freeze")
            ends = sorted(sign * difference[end] for end in ("ci_low", "ci_high"))
            expected = [sign * difference["estimate"], *ends]
            assert verdict[["estimate", "ci_low", "ci_high"]].tolist() == pytest.approx(expected), (name, scope)


def test_times_are_compared_as_ratios(tmp_path):
    metrics, _ = study(tmp_path, ["rt-snippets"], ["none", "random"], 2)
    times = {("none", 1): 100.0, ("none", 2): 100.0, ("random", 1): 200.0, ("random", 2): 50.0}
    found = row(compare(with_values(metrics, "step_time", times), None, SETTINGS), "step_time")
    assert found["unit"] == "per cent"
    assert found["estimate"] == pytest.approx(0.0, abs=1e-9)
    half = stats.t.ppf(0.975, 1) * math.log(2)  # the standard error of log 2 and −log 2 is log 2
    expected = [100 * math.expm1(-half), 100 * math.expm1(half)]
    assert found[["ci_low", "ci_high"]].tolist() == pytest.approx(expected)


def test_gaps_keep_their_units(tmp_path):
    metrics, _ = study(tmp_path, ["rt-snippets"], ["none", "random"], 2)
    gaps = {("none", 1): 0.1, ("none", 2): 0.2, ("random", 1): 0.3, ("random", 2): 0.2}
    comparisons = compare(with_values(metrics, "loss_gap", gaps), None, SETTINGS)
    assert row(comparisons, "loss_gap")["estimate"] == pytest.approx(0.1)
    assert row(comparisons, "loss_gap")["unit"] == "nats"
    assert row(comparisons, "score_gap")["unit"] == "points"


def test_pooled_is_the_mean_over_tasks(tmp_path):
    metrics, outcomes = study(tmp_path, ["rt-snippets", "conll2003"], ["none", "random"], 3)
    comparisons = compare(metrics, outcomes, SETTINGS)
    tasks = [row(comparisons, "score", task)["estimate"] for task in ("rt-snippets", "conll2003")]
    pooled = row(comparisons, "score", ALL_TASKS)
    assert pooled["estimate"] == pytest.approx(np.mean(tasks))
    assert pooled["interval"] == BOTH
    assert pooled["n_seeds"] == 3


def test_only_one_kind_of_training_is_pooled(tmp_path):
    runs = synthetic.write_mixed(tmp_path, ["rt-snippets", "conll2003"], ["none", "random"], 2, examples=60)
    collect("s", tmp_path, runs, tmp_path, probed=True)
    metrics, outcomes = read_metrics(tmp_path / "metrics.csv"), tmp_path / "outcomes.parquet"
    comparisons = compare(metrics, outcomes, SETTINGS).query("measure == 'score'")
    pooled = comparisons[comparisons["task"] == ALL_TASKS].set_index(["regime", "condition"])["estimate"]
    assert sorted(pooled.index) == [
        ("after-*", "clean"),
        ("single", "clean"),
        ("single", "cue-95"),
        ("single", "noise-30"),
        ("with-*", "clean"),
    ]
    alone = comparisons[comparisons["task"] != ALL_TASKS]
    for regime, condition in pooled.index:
        kind = alone["regime"].str.startswith(regime.removesuffix("*")) & (alone["condition"] == condition)
        assert kind.sum() == 2
        assert pooled[regime, condition] == pytest.approx(alone.loc[kind, "estimate"].mean())


def test_one_task_is_not_pooled(tmp_path):
    metrics, _ = study(tmp_path, ["rt-snippets"], ["none", "random"], 2)
    assert ALL_TASKS not in set(compare(metrics, None, SETTINGS)["task"])


def test_failed_runs_are_counted_and_their_pairs_are_missing(tmp_path):
    failed = {("conll2003", "random", 2): "oom", ("rt-snippets", "none", 1): "crashed"}
    metrics, outcomes = study(tmp_path, ["rt-snippets", "conll2003"], ["none", "random"], 3, failed=failed)
    comparisons = compare(metrics, outcomes, SETTINGS)
    columns = ["n_seeds", "n_failed_strategy", "n_failed_baseline", "missing_pairs"]
    assert row(comparisons, "score", "conll2003")[columns].tolist() == [2, 1, 0, 1]
    assert row(comparisons, "score", "rt-snippets")[columns].tolist() == [2, 0, 1, 1]
    pooled = row(comparisons, "score", ALL_TASKS)
    assert pooled[columns].tolist() == [1, 1, 1, 2]
    assert pooled["interval"] == ONE_SEED
    assert math.isnan(pooled["ci_low"])


def test_one_seed_has_no_interval_and_no_pair_no_estimate(tmp_path):
    failed = {("rt-snippets", "static", 1): "diverged"}
    metrics, outcomes = study(tmp_path, ["rt-snippets"], ["none", "random", "static"], 1, failed=failed)
    comparisons = compare(metrics, outcomes, SETTINGS)
    assert row(comparisons, "score")["interval"] == ONE_SEED
    nothing = row(comparisons, "score", strategy="static")
    assert (nothing["interval"], nothing["n_seeds"]) == (NO_PAIRS, 0)
    assert math.isnan(nothing["estimate"])


def test_an_interval_does_not_depend_on_the_other_strategies(tmp_path):
    metrics, outcomes = study(tmp_path, ["rt-snippets"], ["none", "random", "static"], 3, examples=5000)
    all_rows = row(compare(metrics, outcomes, SETTINGS), "score")
    fewer = row(compare(metrics[metrics["strategy"] != "static"], outcomes, SETTINGS), "score")
    assert all_rows["ci_low"] == fewer["ci_low"]
    other = row(compare(metrics, outcomes, Settings("none", 500, 0.95, 1)), "score")
    assert all_rows["ci_low"] != other["ci_low"]


def test_only_the_baseline_gives_an_empty_table(tmp_path):
    metrics, outcomes = study(tmp_path, ["rt-snippets"], ["none"], 2)
    write_comparisons(compare(metrics, outcomes, SETTINGS), tmp_path / "comparisons.csv")
    assert read_comparisons(tmp_path / "comparisons.csv").empty


def test_comparisons_survive_writing_and_reading(tmp_path):
    failed = {("conll2003", "random", 2): "oom"}
    metrics, outcomes = study(tmp_path, ["rt-snippets", "conll2003"], ["none", "random"], 2, failed=failed)
    comparisons = compare(metrics, outcomes, SETTINGS)
    write_comparisons(comparisons, tmp_path / "comparisons.csv")
    pd.testing.assert_frame_equal(read_comparisons(tmp_path / "comparisons.csv"), comparisons, check_dtype=False)


def test_an_unknown_baseline_is_refused(tmp_path):
    metrics, _ = study(tmp_path, ["rt-snippets"], ["none", "random"], 1)
    with pytest.raises(InputError, match="none, random, got nothing"):
        compare(metrics, None, Settings("nothing", 500, 0.95, 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda frame: frame[~frame["run"].str.contains("random")],
            "random.single.clean.n2000.s1 completed, but has no rows",
        ),
        (lambda frame: frame[frame.index > 0], "not tested on the same examples"),
        (
            lambda frame: frame.assign(example=frame["example"] + 1000 * frame["run"].str.contains("random")),
            "same examples",
        ),
        (lambda frame: frame.assign(hit=1.0 - frame["hit"]), "not of the same runs"),
        (lambda frame: frame.drop(columns="hit"), "expected a parquet file with run, set, example, hit, weight"),
    ],
)
def test_outcomes_that_do_not_fit_are_refused(tmp_path, change, message):
    metrics, outcomes = study(tmp_path, ["rt-snippets"], ["none", "random"], 1)
    change(pd.read_parquet(outcomes).astype({"run": str})).to_parquet(outcomes, index=False)
    with pytest.raises(InputError, match=message) as error:
        compare(metrics, outcomes, SETTINGS)
    assert str(outcomes) in str(error.value)


GOOD = "run,task,model,strategy,regime,condition,train_size,seed,status,split,measure,value,unit\n"
LINE = "a.s1,a,m,none,single,clean,full,1,completed,test,score,0.5,fraction\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: expected the columns run,task"),
        ("run,task\n", "line 1: expected the columns"),
        (GOOD + "a,b\n", "line 2: expected 13 values, got 2"),
        (GOOD + LINE + LINE.replace(",1,", ",one,"), "line 3: seed: expected a whole number, got 'one'"),
        (GOOD + LINE.replace("completed", "done"), "line 2: status: expected one of completed, diverged"),
        (GOOD + LINE.replace("test", "dev"), "line 2: split: expected one of"),
        (GOOD + LINE.replace("score", "bleu"), "line 2: measure: expected a measure of"),
        (GOOD + LINE.replace("0.5", "high"), "line 2: value: expected a finite number or nothing, got 'high'"),
        (GOOD + LINE.replace("0.5", "nan"), "line 2: value: expected a finite number"),
        (GOOD + LINE.replace("fraction", "points"), "line 2: unit: expected fraction for score, got 'points'"),
        (GOOD + LINE.replace(",a,", ",,"), "line 2: task: expected text"),
        (GOOD + LINE.replace("0.5", ""), "run a.s1: completed, but the value of its test score is empty"),
        (GOOD + LINE.replace("score,0.5,fraction", "loss,0.5,nats"), "run a.s1: expected a line with split test"),
        (GOOD + LINE + LINE, "expected each measure once"),
        (GOOD + LINE + LINE.replace("none", "random"), "line 3: strategy: expected none, as on the other lines"),
        (GOOD + LINE + LINE.replace("a.s1", "again"), "expected each run once"),
        (GOOD + '"a.s1,a', "not valid CSV"),
    ],
)
def test_bad_metrics_are_named_by_line_and_column(tmp_path, content, message):
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_metrics(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_a_missing_file_and_other_bytes_are_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_metrics(tmp_path / "metrics.csv")
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="expected UTF-8"):
        read_metrics(tmp_path / "metrics.csv")
