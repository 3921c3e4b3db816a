"""From claims and run tables to verdicts: what is compared, what is missing, what controls and other methods say."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from maskbench.analysis.metrics import OLD_COLUMNS, OUTCOME_COLUMNS, with_kind
from maskbench.analysis.outcomes import Outcomes
from maskbench.analysis.verdict_files import changed_since, write_verdicts
from maskbench.analysis.verdicts import judge
from maskbench.config.claims import Claims
from maskbench.config.measures import measure
from maskbench.errors import InputError
from maskbench.experiment.claims import claims_hash
from maskbench.io.code import ROOT
from maskbench.io.files import read_json, write_json

MARGINS = {"points": {"pooled": 0.5, "task": 1.0}, "nats": 0.02, "per cent": 5, "coefficient": 0.01}


def claims(*contrasts, gates=(), **keys):
    """Return a file with one claim."""
    entry = {"id": "C01", "claim": "It helps.", "contrasts": list(contrasts), "measures": ["score"], **keys}
    return Claims.model_validate({"margins": MARGINS, "claims": [entry], "gates": list(gates)})


def study(values, seeds=10, tasks=("a", "b"), sizes=("100",), places=(("single", "clean"),), failed=()):
    """Return metrics of runs; `values(task, strategy, seed, size, place)` gives the numbers of one by measure.

    `failed` holds (task, strategy, seed) of runs that crashed.
    """
    rows = []
    for task, size, (regime, condition), seed in product(tasks, sizes, places, range(1, seeds + 1)):
        for strategy, numbers in values(task, seed, size, (regime, condition)).items():
            run = f"{task}.m.{strategy}.{regime}.{condition}.n{size}.s{seed}"
            done = (task, strategy, seed) not in failed
            cell = (run, task, "m", strategy, regime, condition, size, seed, "completed" if done else "crashed")
            kind = "entity_f1" if task == "b" else "accuracy"
            numbers = {"majority_score": 0.5, kind: numbers.get("score"), **numbers} if done else {"score": None}
            rows += [(*cell, "test", name, value, measure(name).unit) for name, value in numbers.items()]
    return with_kind(pd.DataFrame(rows, columns=list(OLD_COLUMNS)).astype({"value": "float64"}))


def noise(*key):
    return np.random.default_rng([sum(map(ord, str(part))) for part in key]).normal()


def scores(effects, sd=0.002):
    """Return the scores of strategies by their effect in points, around a level that a seed shares."""

    def values(task, seed, size, place):
        level = 0.8 + 0.02 * noise(task, seed)
        return {
            name: {"score": level + effect / 100 + sd * noise(task, seed, size, name)}
            for name, effect in effects.items()
        }

    return values


def row(table, **where):
    found = table[np.logical_and.reduce([table[key] == value for key, value in where.items()])]
    assert len(found) == 1
    return found.iloc[0]


PAIR = {"name": "x vs none", "of": "x", "against": "none"}


def test_a_verdict_is_the_mean_over_tasks_of_the_mean_over_blocks_and_pairs_show_its_runs():
    metrics = study(scores({"none": 0.0, "x": 2.0}), sizes=("100", "200"))
    metrics = metrics[~((metrics["task"] == "b") & (metrics["train_size"] == "200"))]  # tasks count the same
    found = judge(metrics, None, claims(PAIR), digest="abc")
    pooled = row(found.verdicts, scope="pooled")
    means = found.pairs.groupby("task")["difference"].mean()
    assert pooled["estimate"] == pytest.approx(means.mean())
    assert row(found.verdicts, scope="a")["estimate"] == pytest.approx(means["a"])
    assert (pooled["verdict"], pooled["n_seeds"], pooled["unit"]) == ("supported", 10, "points")
    assert (pooled["delta"], row(found.verdicts, scope="a")["delta"]) == (0.5, 1.0)
    assert (pooled["claims_hash"], pooled["p"]) == ("abc", 2 / 2**10)
    assert len(found.pairs) == 30
    pair = found.pairs.iloc[0]
    value = metrics[metrics["measure"] == "score"].set_index("run")["value"]
    assert pair["difference"] == pytest.approx(100 * (value[pair["of"]] - value[pair["against"]]))


def test_other_strategies_and_a_second_call_change_nothing():
    few = judge(study(scores({"none": 0.0, "x": 0.3})), None, claims(PAIR))
    more = judge(study(scores({"none": 0.0, "y": 1.0, "x": 0.3})), None, claims(PAIR))
    pd.testing.assert_frame_equal(few.verdicts, more.verdicts)
    pd.testing.assert_frame_equal(few.sensitivity, more.sensitivity)


def test_ratios_are_told_in_per_cent_and_in_favour_of_the_first_arm():
    times = study(
        lambda task, seed, *_: {
            "none": {"score": 0.8, "step_time": 100.0},
            "x": {"score": 0.8, "step_time": 125.0 + 0.001 * (seed - 5.5)},
        }
    )
    contrast = {"name": "none vs x", "of": "none", "against": "x"}
    found = row(judge(times, None, claims(contrast, measures=["step_time"])).verdicts, scope="pooled")
    assert (found["unit"], found["verdict"]) == ("per cent", "supported")
    assert found["estimate"] == pytest.approx(25.0, abs=1e-6)


def test_lower_is_better_where_the_registry_says_so():
    gaps = study(
        lambda task, seed, *_: {
            "none": {"score": 0.8, "loss_gap": 0.5},
            "x": {"score": 0.8, "loss_gap": 0.3 + 0.01 * seed},
        }
    )
    found = row(judge(gaps, None, claims(PAIR, measures=["loss_gap"])).verdicts, scope="pooled")
    assert found["estimate"] == pytest.approx(0.2 - 0.055)


def test_a_trend_is_the_fitted_difference_between_the_lowest_and_the_highest_dose():
    doses = {"none": 0.0, "low": 0.1, "mid": 0.4, "high": 0.9}
    effects = {name: -3.0 * dose for name, dose in doses.items()}
    metrics = study(scores(effects), tasks=("a",))
    trend = {"name": "trend", "kind": "trend", "doses": doses | {"not-there": 0.6}}
    found = judge(metrics, None, claims(trend))
    table = metrics[metrics["measure"] == "score"].pivot_table(index="seed", columns="strategy", values="value")
    slopes = [np.polyfit(list(doses.values()), 100 * line[list(doses)], 1)[0] for _, line in table.iterrows()]
    assert row(found.verdicts, scope="pooled")["estimate"] == pytest.approx(-0.9 * np.mean(slopes))
    assert len(found.pairs.iloc[0]["of"].split()) == len(found.pairs.iloc[0]["against"].split()) == 2
    few = judge(metrics[metrics["strategy"].isin(["none", "low"])], None, claims(trend))
    assert "fewer than three of the doses" in few.verdicts["note"].iloc[0]


def test_a_learning_curve_is_the_area_over_the_logarithm_of_the_size():
    def values(task, seed, size, place):
        return {
            name: {"score": 0.5 + 0.01 * seed + gain * np.sqrt(int(size)) / 100}
            for name, gain in (("none", 1), ("x", 2))
        }

    metrics = study(values, sizes=("100", "400", "900"), tasks=("a",))
    found = judge(metrics, None, claims(PAIR, kind="curve"))
    area = np.trapezoid([10.0, 20.0, 30.0], np.log([100, 400, 900])) / np.log(9)
    assert row(found.verdicts, scope="pooled")["estimate"] == pytest.approx(area)
    assert set(found.pairs["train_size"]) == {"100 400 900"}
    one = judge(metrics[metrics["train_size"] == "100"], None, claims(PAIR, kind="curve"))
    assert "two train sizes" in one.verdicts["note"].iloc[0]


def test_an_interaction_is_a_tasks_effect_less_that_of_the_others():
    effects = {"a": 3.0, "b": 1.0, "c": 0.5}
    metrics = study(lambda task, *rest: scores({"none": 0.0, "x": effects[task]})(task, *rest), tasks=tuple(effects))
    found = judge(metrics, None, claims(PAIR, kind="interaction", test="either"))
    means = found.pairs.groupby("task")["difference"].mean()
    for task in effects:
        others = means.drop(task).mean()
        assert row(found.verdicts, scope=f"{task} vs others")["estimate"] == pytest.approx(means[task] - others)
    assert row(found.verdicts, scope="c vs others")["verdict"] == "supported"  # in either direction
    two = judge(metrics[metrics["task"] != "c"], None, claims(PAIR, kind="interaction", test="either"))
    assert list(two.verdicts["scope"]) == ["a vs others"]


@pytest.mark.parametrize(
    ("contrast", "keys", "note"),
    [
        ({"of": "y", "against": "none"}, {}, "no strategy y"),
        ({"of": "x", "against": "none"}, {"measures": ["forgetting"]}, "no regime sequential"),
        ({"of": "x", "against": "none"}, {"measures": ["cue_reliance"]}, "no condition cue"),
        (
            {"of": {"strategy": "x", "condition": "label-noise:0.3"}, "against": "none"},
            {},
            "no condition label-noise:0.3",
        ),
        ({"of": "x", "against": "none"}, {"measures": ["mlm_forgetting"]}, "No run has a number of mlm_forgetting"),
        ({"of": "x", "against": "none"}, {"tasks": ["other"]}, "none of the tasks"),
        ({"of": "x", "against": "none"}, {"tasks": ["a"], "kind": "interaction"}, "two tasks"),
    ],
)
def test_what_a_study_lacks_is_said_and_not_dropped(contrast, keys, note):
    found = judge(study(scores({"none": 0.0, "x": 1.0}), seeds=2), None, claims({"name": "c", **contrast}, **keys))
    assert found.verdicts["verdict"].tolist() == ["not tested"]
    assert note in found.verdicts["note"].iloc[0]


def test_tasks_are_chosen_by_kind():
    found = judge(study(scores({"none": 0.0, "x": 1.0})), None, claims(PAIR, tasks="token-classification"))
    assert set(found.pairs["task"]) == {"b"}
    assert found.verdicts["scope"].tolist() == ["pooled"]


def test_holm_goes_over_the_pooled_rows_of_a_claim():
    metrics = study(scores({"none": 0.0, "x": 1.0, "y": 0.05}))
    both = judge(metrics, None, claims(PAIR, {"name": "y vs none", "of": "y", "against": "none"})).verdicts
    alone = judge(metrics, None, claims(PAIR)).verdicts
    assert row(both, contrast="x vs none", scope="pooled")["p_holm"] == 2 * row(alone, scope="pooled")["p_holm"]
    assert row(both, contrast="x vs none", scope="a")["p_holm"] == 2 * row(alone, scope="a")["p_holm"]


def test_few_seeds_say_that_they_can_decide_nothing():
    five = row(judge(study(scores({"none": 0.0, "x": 2.0}), seeds=5), None, claims(PAIR)).verdicts, scope="pooled")
    assert five["verdict"] == "inconclusive"
    assert np.isnan(five["mde"])
    assert "5 seeds can never reject" in five["note"]
    one = row(judge(study(scores({"none": 0.0, "x": 2.0}), seeds=1), None, claims(PAIR)).verdicts, scope="pooled")
    assert one["verdict"] == "inconclusive"
    assert one[["ci_low", "p", "mde"]].isna().all()
    assert "One seed" in one["note"]
    assert judge(study(scores({"none": 0.0})), None, claims(PAIR)).verdicts["verdict"].tolist() == ["not tested"]


def test_missing_pairs_are_counted_and_put_to_the_worst_case():
    strong = study(scores({"none": 0.0, "x": 2.0}), failed={("a", "x", 3)})
    found = row(judge(strong, None, claims(PAIR)).verdicts, scope="pooled")
    assert (found["verdict"], found["n_seeds"]) == ("supported", 9)
    assert "1 of 20 pairs are missing (failed runs: 1 of the first arm, 0 of the second)" in found["note"]
    assert "the verdict holds" in found["note"]

    def values(task, seed, size, place):
        gain = 0.006 + 1e-5 * noise(task, seed) if seed > 1 else -0.05 if task == "a" else 0.02
        return {"none": {"score": 0.8}, "x": {"score": 0.8 + gain}}

    weak = judge(study(values, failed={("b", "x", 1)}), None, claims(PAIR)).verdicts
    assert row(weak, scope="pooled")["verdict"] == "supported"
    assert "the verdict does not hold" in row(weak, scope="pooled")["note"]


@pytest.mark.parametrize(
    "failed", [{("a", "x", 1), ("b", "x", 2)}, {(t, n, s) for t, n, s in product("ab", ["x", "none"], (1, 2, 3))}]
)
def test_uneven_or_many_failures_refuse_a_verdict(failed):
    found = judge(study(scores({"none": 0.0, "x": 2.0}), failed=failed), None, claims(PAIR))
    pooled = row(found.verdicts, scope="pooled")
    assert pooled["verdict"] == "inconclusive"
    assert pooled["note"].startswith("refused: ")


def test_failed_runs_count_as_the_majority_class_in_the_sensitivity():
    metrics = study(scores({"none": 0.0, "x": 2.0}, sd=0.0), tasks=("a",), failed={("a", "x", 3)})
    found = row(judge(metrics, None, claims(PAIR)).sensitivity, method="failed runs imputed")
    level = metrics[(metrics["seed"] == 3) & (metrics["strategy"] == "none") & (metrics["measure"] == "score")]
    assert found["estimate"] == pytest.approx((9 * 2.0 + 100 * (0.5 - level["value"].iloc[0])) / 10)
    assert found["agrees"] == "no"


def test_other_methods_agree_on_a_clear_effect():
    found = judge(study(scores({"none": 0.0, "x": 2.0})), None, claims(PAIR))
    assert dict(zip(found.sensitivity["method"], found.sensitivity["agrees"], strict=True)) == {
        "mixed model": "yes",
        "IQM": "yes",
        "sign flips": "yes",
        "probability of improvement": "yes",
        "ROPE": "yes",
    }
    assert found.sensitivity["estimate"].dropna().between(1.5, 2.5).all()
    iqm = row(found.sensitivity, method="IQM")["estimate"]
    means = found.pairs.groupby("seed")["difference"].mean().sort_values()
    assert iqm == pytest.approx(means.iloc[2:8].mean())


GATE = {"sentence": "It holds.", "measures": ["score"], "guards": ["score"]}


@pytest.mark.parametrize(
    ("difference", "outcome", "verdict"), [(0.0, "passed", "supported"), (1e-9, "failed", "invalid")]
)
def test_what_must_be_identical_is_so_to_the_last_bit(difference, outcome, verdict):
    def values(task, seed, size, place):
        found = scores({"none": 0.0, "x": 2.0})(task, seed, size, place)
        return found | {"x-rate-zero": {"score": found["none"]["score"] + (difference if seed == 3 else 0.0)}}

    gate = GATE | {
        "gate": "zero",
        "kind": "identical",
        "contrasts": [{"name": "z", "of": "*-rate-zero", "against": "none"}],
    }
    found = judge(study(values), None, claims(PAIR, gates=[gate]))
    assert found.gates[["contrast", "outcome"]].to_numpy().tolist() == [["x-rate-zero vs none", outcome]]
    assert row(found.verdicts, scope="pooled")["verdict"] == verdict


@pytest.mark.parametrize(("effect", "outcome"), [(-20.0, "passed"), (0.0, "failed")])
def test_a_control_must_have_its_effect(effect, outcome):
    gate = GATE | {"gate": "hurts", "kind": "positive", "contrasts": [{"name": "h", "of": "none", "against": "x-all"}]}
    metrics = study(scores({"none": 0.0, "x": 2.0, "x-all": effect}))
    found = judge(metrics, None, claims(PAIR, gates=[gate]))
    assert found.gates["outcome"].tolist() == [outcome]
    assert (row(found.verdicts, scope="pooled")["verdict"] == "invalid") == (outcome == "failed")
    missing = judge(metrics[metrics["strategy"] != "x-all"], None, claims(PAIR, gates=[gate]))
    assert missing.gates["outcome"].tolist() == ["not run"]
    assert row(missing.verdicts, scope="pooled")["verdict"] == "supported"


def test_halves_of_the_baseline_are_compared_with_each_other():
    gate = GATE | {"gate": "halves", "kind": "null", "contrasts": [{"name": "none", "of": "none"}]}
    metrics = study(scores({"none": 0.0, "x": 2.0}), seeds=17)
    found = judge(metrics, None, claims(PAIR, gates=[gate])).gates.iloc[0]
    paired = metrics[(metrics["strategy"] == "none") & (metrics["measure"] == "score") & (metrics["seed"] < 17)]
    value = paired.groupby("seed")["value"].mean()
    assert found["estimate"] == pytest.approx(100 * (value.iloc[::2].mean() - value.iloc[1::2].mean()))
    assert (found["n_seeds"], found["outcome"]) == (8, "passed")
    drifting = metrics.assign(value=metrics["value"] - 0.1 * (metrics["seed"] % 2))
    assert judge(drifting, None, claims(PAIR, gates=[gate])).gates["outcome"].tolist() == ["failed"]


def test_arms_of_other_conditions_meet_on_what_they_share():
    """A cue raises reliance: clean training against training with a cue, on the same task and seed."""

    def values(task, seed, size, place):
        level = 40.0 if place[1] == "cue-95" else 2.0 + 0.01 * (seed - 5.5)
        return {"none": {"score": 0.8, "cue_reliance": level + seed / 10}}

    arms = {"of": {"strategy": "none", "condition": "clean"}, "against": {"strategy": "none", "condition": "cue"}}
    gate = GATE | {
        "gate": "cue",
        "kind": "positive",
        "contrasts": [{"name": "c", **arms}],
        "measures": ["cue_reliance"],
    }
    metrics = study(values, places=(("single", "clean"), ("single", "cue-95")))
    found = judge(metrics, None, claims(PAIR, gates=[gate])).gates.iloc[0]
    assert (found["outcome"], found["n_seeds"]) == ("passed", 10)
    assert found["estimate"] == pytest.approx(38.0)


def hits(path, metrics, examples=150):
    """Write outcomes, and return the metrics with the scores and distractor drops that they add up to."""
    rng, parts, numbers = np.random.default_rng(0), [], []
    hardness = rng.random(examples)
    for cell in metrics.drop_duplicates("run").itertuples():
        for kept, level in (("test", 0.8), ("distractor", 0.7)):
            ids = np.arange(examples) if kept == "test" else np.arange(0, examples, 2)
            found = (hardness[ids] + 0.05 * rng.normal(size=len(ids)) < level).astype(float)
            parts.append(pd.DataFrame({"run": cell.run, "set": kept, "example": ids, "hit": found, "weight": 1.0}))
        numbers.append(100 * (parts[-2]["hit"][::2].mean() - found.mean()))
        metrics.loc[(metrics["run"] == cell.run) & (metrics["measure"] == "score"), "value"] = parts[-2]["hit"].mean()
        metrics.loc[(metrics["run"] == cell.run) & (metrics["measure"] == "distractor_drop"), "value"] = numbers[-1]
    pd.concat(parts)[list(OUTCOME_COLUMNS)].to_parquet(path, index=False)
    return metrics


def test_scores_on_kept_sets_are_resampled_over_seeds_and_the_same_examples(tmp_path):
    path = tmp_path / "outcomes.parquet"
    metrics = hits(
        path, study(lambda *_: {name: {"score": 0.0, "distractor_drop": 0.0} for name in ("none", "x")}, tasks=("a",))
    )
    file = claims(PAIR, measures=["score", "distractor_drop"])
    outcomes = Outcomes(path, 400, 0)
    found, alone = judge(metrics, outcomes, file).verdicts, judge(metrics, None, file).verdicts
    assert found["estimate"].tolist() == alone["estimate"].tolist()
    assert (outcomes.examples["score"], outcomes.examples["distractor_drop"]) == (150, 75)
    # a run's two sets share the drawn examples: what is hard in both leaves the difference
    runs = metrics.drop_duplicates("run").iloc[:1]
    drop = metrics[metrics["measure"] == "distractor_drop"].set_index("run")["value"]
    drawn = outcomes.resampled("distractor_drop", runs, drop)[runs["run"].iloc[0]]
    table = pd.read_parquet(path).query("run == @runs.run.iloc[0]").set_index("example")
    one, other = (table[table["set"] == kept]["hit"].reindex(range(0, 150, 2)) for kept in ("test", "distractor"))
    assert drawn.std() == pytest.approx(100 * (one - other).std(ddof=0) / np.sqrt(75), rel=0.15)
    again = judge(metrics, Outcomes(path, 400, 0), file).verdicts
    pd.testing.assert_frame_equal(found, again)


def test_outcomes_of_other_runs_are_refused(tmp_path):
    path = tmp_path / "outcomes.parquet"
    metrics = hits(
        path, study(lambda *_: {name: {"score": 0.0, "distractor_drop": 0.0} for name in ("none", "x")}, seeds=2)
    )
    changed = metrics.assign(value=metrics["value"].where(metrics["measure"] != "distractor_drop", 3.0))
    with pytest.raises(InputError, match="distractor_drop: the outcomes add up to"):
        judge(changed, Outcomes(path, 100, 0), claims(PAIR, measures=["distractor_drop"]))
    pd.read_parquet(path).query("run.str.contains('none')").to_parquet(path, index=False)
    with pytest.raises(InputError, match="has no rows here"):
        judge(metrics, Outcomes(path, 100, 0), claims(PAIR))


def test_changed_claims_are_told(tmp_path):
    path = tmp_path / "manifest.json"
    write_json(path, {"records": [{"claims": "new"}, {"claims": "old"}, {}]})
    sentence = changed_since(path, "new")
    assert sentence == "The claims changed after 1 of 3 runs were made."
    write_json(path, {"records": [{"claims": "new"}, {}]})
    assert changed_since(path, "new") is None
    found = judge(study(scores({"none": 0.0, "x": 2.0})), None, claims(PAIR), changed=sentence)
    assert found.verdicts["note"].str.endswith("The claims changed after runs were made.").all()


def test_all_claims_are_in_the_files_of_a_study(tmp_path):
    """The claims that come with maskbench, on a study that has the runs for few of them."""
    metrics = study(scores({"none": 0.0, "random": 0.1, "static": -1.0, "span": 0.2}), seeds=6)
    metrics.to_csv(tmp_path / "metrics.csv", index=False)
    path = ROOT / "claims.yaml"
    write_verdicts(tmp_path / "metrics.csv", None, None, path, tmp_path, resamples=100, seed=0)
    table = pd.read_csv(tmp_path / "verdicts.csv")
    assert list(dict.fromkeys(table["claim"])) == [f"C{number:02d}" for number in range(1, 29)]
    assert not table.duplicated(["claim", "contrast", "measure", "scope"]).any()
    tested = table[table["verdict"] != "not tested"]
    assert set(tested["claim"]) == {"C02", "C06", "C09"}
    content = read_json(tmp_path / "analysis/claims.json")
    assert content["hash"] == claims_hash(path) == table["claims_hash"].unique().item()
    assert [entry["id"] for entry in content["claims"]] == list(dict.fromkeys(table["claim"]))
    names = {
        name: (tmp_path / name).read_bytes() for name in ("verdicts.csv", "analysis/pairs.csv", "analysis/gates.csv")
    }
    write_verdicts(tmp_path / "metrics.csv", None, None, path, tmp_path, resamples=100, seed=0)
    assert all((tmp_path / name).read_bytes() == content for name, content in names.items())
