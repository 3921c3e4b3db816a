"""What stands between a difference and its verdict: a model that learned little cannot win, controls must be there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from maskbench.analysis.controls import apart
from maskbench.analysis.findings import AT_A_PRICE
from maskbench.analysis.metrics import OLD_COLUMNS, learned_nothing, with_kind
from maskbench.analysis.verdicts import judge
from maskbench.config.claims import Claims, Decision
from maskbench.config.measures import MEASURES, measure
from maskbench.experiment.claims import read_claims
from maskbench.io.code import ROOT
from tests.unit.analysis.test_verdicts import PAIR, claims, row, scores, study

FLIPS = ("perturbation_flip_rate", "masking_flip_rate")


def table(rows):
    """Return metrics from (strategy, condition, seed, values by measure)."""
    lines = []
    for strategy, condition, seed, values in rows:
        run = f"a.m.{strategy}.single.{condition}.full.s{seed}"
        cell = (run, "a", "m", strategy, "single", condition, "full", seed, "completed")
        for name, value in {"majority_score": 0.509, "accuracy": values["score"], **values}.items():
            lines.append((*cell, "test", name, value, measure(name).unit))
    return with_kind(pd.DataFrame(lines, columns=list(OLD_COLUMNS)).astype({"value": "float64"}))


def collapsed(score=None):
    """Return the study of the issue: `random` always gives the majority class (or has another score)."""
    rng, rows = np.random.default_rng(0), []
    for seed in range(1, 11):
        level = 0.80 + 0.01 * rng.normal()
        none = {
            "score": level,
            "loss_gap": 0.30 + 0.03 * rng.normal(),
            FLIPS[0]: 0.08 + 0.01 * rng.normal(),
            FLIPS[1]: 0.10 + 0.01 * rng.normal(),
            "perturbation_drop": 4.0 + 0.5 * rng.normal(),
        }
        other = 0.509 if score is None else level + score / 100 + 0.001 * rng.normal()
        random = dict.fromkeys(none, 0.0) | {"score": other, "loss_gap": 0.001 * rng.normal()}
        extra = {"cue-95": ("cue_reliance", 60 + 3 * rng.normal()), "noise-30": ("noise_memorisation", 0.40)}
        rows += [("none", "clean", seed, none), ("random", "clean", seed, random)]
        for condition, (name, value) in extra.items():
            found = value + (0.02 * rng.normal() if name == "noise_memorisation" else 0.0)
            rows.append(("none", condition, seed, {"score": level, name: found}))
            rows.append(("random", condition, seed, {"score": other, name: 0.0}))
    return table(rows)


WON = {"C01": ("loss_gap", "cue_reliance", "noise_memorisation"), "C23": (*FLIPS, "perturbation_drop")}


def of_claims(found):
    """Return the rows of C01 and C23 for random against none."""
    rows = found.verdicts[found.verdicts["claim"].isin(WON) & (found.verdicts["contrast"] == "random vs none")]
    rows = rows[rows["verdict"] != "not tested"]
    assert rows.groupby("claim")["measure"].apply(tuple).to_dict() == WON
    return rows


def test_a_collapsed_model_does_not_win():
    found = of_claims(judge(collapsed(), None, read_claims(ROOT / "claims.yaml")))
    assert set(found["verdict"]) == {AT_A_PRICE}
    assert found["note"].str.contains("The verdict would be supported").all()
    assert found["note"].str.contains("failed runs: 10 of random, 0 of none").all()


@pytest.mark.parametrize(("score", "verdict"), [(0.0, "supported"), (-0.5, "supported"), (-1.5, AT_A_PRICE)])
def test_less_interference_counts_if_the_score_is_not_inferior_and_says_what_it_rests_on(score, verdict):
    found = of_claims(judge(collapsed(score), None, read_claims(ROOT / "claims.yaml")))
    assert set(found["verdict"]) == {verdict}
    if verdict == "supported":
        assert found["note"].str.contains("The score of random is less than 1 points below that of none").all()
        assert found["note"].str.contains(r"No run has a number of matched_\w+ \(probe: trajectory\)").all()


def test_the_value_at_matched_score_is_named_where_there_is_one_and_its_lack_where_there_is_none():
    for name in ("disagreement", "loss_gap"):
        metrics = collapsed(0.0).replace({"measure": {"loss_gap": name}})
        found = row(judge(metrics, None, claims(PAIR | {"of": "random"}, measures=[name])).verdicts, scope="pooled")
        words = "No run has a number of matched_loss_gap" if name == "loss_gap" else "There is no value of disagreement"
        assert words in found["note"]
    matched = metrics[metrics["measure"] == "loss_gap"].assign(measure="matched_loss_gap")
    found = judge(pd.concat([metrics, matched]), None, claims(PAIR | {"of": "random"}, measures=["loss_gap"])).verdicts
    assert "See matched_loss_gap, too." in row(found, scope="pooled")["note"]


def test_an_arm_that_claims_less_and_collapses_does_not_win_from_the_other_side_either():
    contrast = {"name": "none vs random", "of": "none", "against": "random"}
    keys = {"measures": ["loss_gap"]}
    found = row(judge(collapsed(), None, claims(contrast, **keys)).verdicts, scope="pooled")
    assert (found["verdict"], found["estimate"] < 0) == (AT_A_PRICE, True)
    either = row(judge(collapsed(), None, claims(contrast, test="either", **keys)).verdicts, scope="pooled")
    assert either["verdict"] == AT_A_PRICE


def test_a_score_that_is_not_known_to_be_as_good_pays_a_price_too():
    """The mean is the same, but it varies by 5 points between seeds: nobody knows."""
    metrics = collapsed(0.0)
    of_score = (metrics["measure"] == "score") & (metrics["strategy"] == "random")
    noisy = metrics.assign(value=metrics["value"] + of_score * 0.05 * np.where(metrics["seed"] % 2, 1.0, -1.0))
    found = row(judge(noisy, None, claims(PAIR | {"of": "random"}, measures=["loss_gap"])).verdicts, scope="pooled")
    assert found["verdict"] == AT_A_PRICE


def test_scores_that_are_the_same_under_every_seed_do_not_show_that_one_is_as_good():
    """An interval of no width, [0, 0], is above any margin; that nothing varied is no evidence."""
    metrics = collapsed(0.0)
    level = metrics["measure"].isin(["score", "accuracy"])
    flat = metrics.assign(value=metrics["value"].mask(level, 0.8))
    found = row(judge(flat, None, claims(PAIR | {"of": "random"}, measures=["loss_gap"])).verdicts, scope="pooled")
    assert found["verdict"] == AT_A_PRICE
    assert "+0.00 points [0.00, 0.00], the same under every seed, which shows nothing" in found["note"]


@pytest.mark.parametrize(("stuck", "verdict"), [(2, "inconclusive"), (10, AT_A_PRICE)])
def test_an_arm_of_which_runs_collapsed_does_not_win_whatever_the_score_may_cost(stuck, verdict):
    """Of what a run learned there is one rule, with and without the measure `failed`."""
    metrics = collapsed(0.0)
    low = (metrics["measure"] == "score") & (metrics["strategy"] == "random") & (metrics["seed"] <= stuck)
    mixed = metrics.assign(value=metrics["value"].mask(low, 0.51))
    file = claims(PAIR | {"of": "random"}, measures=["loss_gap"])
    file = Claims.model_validate(file.model_dump() | {"price": 50})
    found = row(judge(mixed, None, file).verdicts, scope="pooled")
    assert found["verdict"] == verdict
    told = f"{stuck} of 10 and 0 of 10 completed runs" if stuck < 10 else "failed runs: 10 of random, 0 of none"
    assert told in found["note"]


def test_a_tagger_that_finds_next_to_nothing_has_failed():
    assert learned_nothing(0.01, 0.0)
    assert not learned_nothing(0.3, 0.0)
    assert learned_nothing(0.509, 0.509)
    assert not learned_nothing(0.8, 0.509)
    assert not learned_nothing(0.3, float("nan"))


def test_what_under_fitting_flatters_is_named_with_its_matched_measure():
    flattered = {name for name, entry in MEASURES.items() if entry.flattered}
    families = ("gap", "reliance", "memorisation", "drop", "flip_rate", "drift", "forgetting")
    for name, entry in MEASURES.items():
        if name.endswith(families) and entry.better != "neither" and not name.startswith("matched_"):
            assert name in flattered, name
    # of these, one run alone has no value: they take the runs of other seeds, or of the task alone
    assert {name for name in flattered if MEASURES[name].matched is None} == {"disagreement", "negative_transfer"}
    assert {MEASURES[name].matched for name in flattered} - {None} == {
        name for name in MEASURES if name.startswith("matched_") and MEASURES[name].better != "neither"
    }
    assert not any(MEASURES[name].flattered for name in ("score", "step_time", "matched_forgetting"))


GATE = {"sentence": "It hurts.", "measures": ["score"], "guards": ["score"], "gate": "hurts", "kind": "positive"}
GATE["contrasts"] = [{"name": "none vs all", "of": "none", "against": "x-all"}]


def test_a_verdict_without_its_control_is_unguarded_and_says_so():
    metrics = study(scores({"none": 0.0, "x": 2.0, "x-all": -20.0}))
    guarded = row(judge(metrics, None, claims(PAIR, gates=[GATE])).verdicts, scope="pooled")
    assert (guarded["verdict"], guarded["unguarded"]) == ("supported", "")
    without = metrics[metrics["strategy"] != "x-all"]
    bare = row(judge(without, None, claims(PAIR, gates=[GATE])).verdicts, scope="pooled")
    assert (bare["verdict"], bare["unguarded"]) == ("supported", "hurts: not run")
    other = row(judge(without, None, claims(PAIR, gates=[GATE | {"guards": ["loss"]}])).verdicts, scope="pooled")
    assert other["unguarded"] == ""  # a control of another measure


HALVES = {
    "sentence": "It is even.",
    "measures": ["score", "loss_gap"],
    "guards": "all",
    "gate": "halves",
    "kind": "null",
}
HALVES["contrasts"] = [{"name": "none", "of": "none"}]


def halved(points, seeds=10, **decision):
    """Return a study whose odd seeds are better by some points than its even ones."""

    def values(task, seed, size, place):
        found = scores({"none": 0.0, "x": 2.0})(task, seed, size, place)
        gap = {"loss_gap": 0.3 + 0.01 * np.sin(7 * seed)}
        return {
            name: numbers | gap | {"score": numbers["score"] + points / 100 * (seed % 2)}
            for name, numbers in found.items()
        }

    file = claims(PAIR, gates=[HALVES]).model_copy(update={"decision": Decision(**decision)})
    return judge(study(values, seeds=seeds), None, file)


def test_halves_of_the_ten_seeds_that_a_contrast_takes_can_fail():
    found = halved(30.0)
    assert dict(zip(found.gates["measure"], found.gates["outcome"], strict=True)) == {
        "score": "failed",
        "loss_gap": "passed",
    }
    assert row(found.verdicts, scope="pooled")["verdict"] == "invalid"
    even = halved(0.0)
    assert set(even.gates["outcome"]) == {"passed"}
    assert row(even.verdicts, scope="pooled")["unguarded"] == ""


def test_fewer_seeds_leave_the_control_undecided_and_the_verdict_unguarded():
    found = halved(0.0, seeds=8)
    assert set(found.gates["outcome"]) == {"undecided"}
    assert found.gates["note"].str.contains("8 seeds can never reject; it takes 10").all()
    assert row(found.verdicts, scope="pooled")["unguarded"] == "halves: undecided"


def test_halves_of_numbers_that_do_not_vary_pass_nothing():
    metrics = study(lambda task, seed, *_: {"none": {"score": 0.8, "loss_gap": 0.3 + 0.01 * np.sin(7 * seed)}})
    found = judge(metrics, None, claims(PAIR, gates=[HALVES])).gates.set_index("measure")
    assert found["outcome"].to_dict() == {"score": "undecided", "loss_gap": "passed"}
    assert found.loc["score", "note"] == "All 10 seeds give the same number: that nothing varied is no evidence."


def test_the_level_of_the_control_is_that_of_the_claims():
    found = halved(30.0, control_level=0.001)
    assert set(found.gates["outcome"]) == {"undecided"}
    assert found.gates["note"].str.contains("10 seeds can never reject; it takes 14").all()


def test_seeds_that_are_alike_fail_the_halves_as_rarely_as_it_says():
    rng = np.random.default_rng(2)
    wrong = [(apart(rng.normal(size=(2, 10)), rng) < 0.01).any() for _ in range(2000)]
    assert np.mean(wrong) == pytest.approx(2 / 252, abs=0.006)


@pytest.mark.parametrize(
    ("level", "lost", "outcome"),
    [(0.0, 0.0, "undecided"), (0.8, 0.0, "failed"), (0.0, 9.0, "passed"), (0.8, 9.0, "passed")],
)
def test_a_control_does_not_fail_by_runs_that_learned_nothing(level, lost, outcome):
    """At ten times the learning rate a model may learn nothing, and then it has nothing to forget."""
    gate = {"gate": "hot", "sentence": "It forgets.", "kind": "positive", "measures": ["forgetting"], "guards": "all"}
    gate["contrasts"] = [{"name": "none vs hot", "of": "none", "against": "none-hot"}]
    rng = np.random.default_rng(1)
    rows = []
    for seed in range(1, 11):
        rows.append(("none", "clean", seed, {"score": 0.8, "forgetting": 3.0 + 0.1 * rng.normal()}))
        score = 0.509 if level == 0.0 else level
        rows.append(("none-hot", "clean", seed, {"score": score, "forgetting": lost + 0.1 * rng.normal()}))
    metrics = table(rows)
    metrics["run"] = metrics["run"].str.replace(".single.", ".after-b.")
    metrics["regime"] = "after-b"
    metrics = with_kind(metrics[list(OLD_COLUMNS)])
    file = claims(PAIR, gates=[gate], measures=["forgetting"])
    found = judge(metrics, None, file).gates.iloc[0]
    assert found["outcome"] == outcome
    if outcome == "undecided":
        assert found["note"].startswith("0 of 10 and 10 of 10 runs of the arms learned nothing")
