"""What refuses a verdict since it is not there: variation, outcomes of some runs, seeds of a control; and how often."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from maskbench.analysis.compare import SOME_LACK, Settings, compare
from maskbench.analysis.findings import BOTH, PARTLY, SEEDS, read_verdicts
from maskbench.analysis.metrics import OLD_COLUMNS, with_kind, write_csv
from maskbench.analysis.missing import COUNTED
from maskbench.analysis.resampler import Resampler
from maskbench.analysis.values import Values
from maskbench.analysis.verdicts import decided, judge
from maskbench.config.claims import Claims
from maskbench.config.measures import MEASURES
from tests.unit.analysis.test_right_numbers import claims, noise, one, study, written

# --- seeds that do not vary


@pytest.mark.parametrize("test", ["superior", "either", "non-inferior"])
@pytest.mark.parametrize("gain", [0.05, -0.05])
def test_ten_equal_seeds_show_no_difference_either(test, gain):
    """Ten equal signs reject at 2/2^10, and an interval of no width holds no null."""
    metrics = study(lambda task, strategy, seed: {"score": 0.8 + gain * (strategy == "x")})
    row = one(judge(metrics, None, claims("score", test=test)), "score")
    assert (row["verdict"], row["p"]) == ("inconclusive", 2 / 2**10)
    assert "All 10 seeds give the same difference, so that the interval has no width" in row["note"]
    assert "80 % power" not in row["note"]  # what does not vary says nothing about seeds


def test_seeds_that_differ_in_the_last_digits_alone_are_equal():
    metrics = study(lambda task, strategy, seed: {"score": 0.1 * seed / 3 + 0.05 * (strategy == "x")})
    differences = [0.1 * seed / 3 + 0.05 - 0.1 * seed / 3 for seed in range(1, 11)]
    assert 0 < np.ptp(differences) < 1e-15
    assert one(judge(metrics, None, claims("score")), "score")["verdict"] == "inconclusive"


def test_weights_and_memory_may_be_the_same_under_all_seeds():
    assert set(COUNTED) <= set(MEASURES)
    metrics = study(lambda task, strategy, seed: {"score": 0.8, "peak_memory": 900.0 if strategy == "x" else 1000.0})
    row = one(judge(metrics, None, claims("peak_memory")), "peak_memory")
    assert row["verdict"] == "supported"
    assert "no width" not in row["note"]


@pytest.mark.parametrize(("failed", "verdict"), [(10, "contradicted"), (0, "inconclusive")])
def test_the_rate_of_failed_runs_is_never_known_to_the_last_digit(failed, verdict):
    """All of ten runs against none of ten is a difference; none of ten against none of ten shows no equality."""
    metrics = study(
        lambda task, strategy, seed: (
            {"score": 0.5, "failed": 1.0} if strategy == "x" and seed <= failed else {"score": 0.8, "failed": 0.0}
        )
    )
    row = one(judge(metrics, None, claims("failed")), "failed")
    assert row["verdict"] == verdict
    assert row["ci_high"] - row["estimate"] == pytest.approx(-10 * np.log(0.05), abs=0.5)  # the rule of three
    assert row["p"] == (2 / 2**10 if failed else 1.0)


# --- outcomes of some of the runs


def losses(strategy, seed):
    """Return the losses of 200 texts, which decide more than the seeds do."""
    shared = np.random.default_rng(0).normal(size=200)
    return np.exp(0.3 * shared * (2.0 if strategy == "none" else 1.0) + 0.01 * noise(strategy, seed)) - (
        0.2 if strategy == "x" else 0.0
    )


def of_losses(path, lacking, seeds=10):
    """Return metrics and outcomes; x lacks what texts add to the loss under the first `lacking` seeds."""

    def streams(strategy, seed):
        found = {"test": np.ones(200), "test:loss": losses(strategy, seed)}
        return {"test": found["test"]} if strategy == "x" and seed <= lacking else found

    metrics = study(lambda task, *key: {"score": 1.0, "loss": losses(*key).mean()}, seeds=seeds)
    return metrics, written(path, streams, seeds=seeds)


@pytest.mark.parametrize(
    ("lacking", "interval", "verdict"),
    [(0, BOTH, "supported"), (2, PARTLY, "supported"), (3, PARTLY, "inconclusive"), (9, SEEDS, "inconclusive")],
)
def test_a_row_says_for_how_many_seeds_the_texts_are_known(tmp_path, lacking, interval, verdict):
    metrics, outcomes = of_losses(tmp_path / "o.parquet", lacking)
    row = one(judge(metrics, outcomes, claims("loss")), "loss")
    assert (row["interval"], row["verdict"], row["n_seeds"]) == (interval, verdict, 10)
    told = f"what the texts of {10 - lacking} of 10 seeds add to loss, and lacks it for some run of the others"
    assert (told in row["note"]) == (lacking > 0)
    assert ("refused: " in row["note"]) == (lacking > 2)
    assert "Over seeds alone" not in row["note"]


def test_the_variance_of_the_texts_is_that_of_the_seeds_that_have_it(tmp_path):
    metrics, whole = of_losses(tmp_path / "whole.parquet", 0)
    full = one(judge(metrics, whole, claims("loss")), "loss")
    some = one(judge(metrics, of_losses(tmp_path / "some.parquet", 1)[1], claims("loss")), "loss")
    alone = one(judge(metrics, None, claims("loss")), "loss")
    assert some["estimate"] == full["estimate"]
    widths = [row["ci_high"] - row["ci_low"] for row in (full, some, alone)]
    assert widths[1] == pytest.approx(widths[0], rel=0.02)
    assert widths[0] > 3 * widths[2]


def test_an_arm_without_any_outcomes_is_refused_and_a_study_without_them_is_told(tmp_path):
    metrics, outcomes = of_losses(tmp_path / "o.parquet", 10)
    row = one(judge(metrics, outcomes, claims("loss")), "loss")
    assert (row["interval"], row["verdict"]) == (SEEDS, "inconclusive")
    assert row["note"].startswith("refused: outcomes.parquet has what the texts of 0 of 10 seeds add to loss")
    bare = written(tmp_path / "bare.parquet", lambda *_: {"test": np.ones(200)})
    row = one(judge(metrics, bare, claims("loss")), "loss")
    assert (row["interval"], row["verdict"]) == (SEEDS, "supported")
    assert "Over seeds alone" in row["note"]


def test_the_words_of_the_column_can_be_read(tmp_path):
    metrics, outcomes = of_losses(tmp_path / "o.parquet", 1)
    found = judge(metrics, outcomes, claims("loss"), digest="abc")
    write_csv(found.verdicts, tmp_path / "verdicts.csv")
    assert read_verdicts(tmp_path / "verdicts.csv")["interval"].tolist() == [PARTLY]


def test_comparisons_say_so_too(tmp_path):
    metrics, outcomes = of_losses(tmp_path / "o.parquet", 1)
    metrics["measure"] = metrics["measure"].replace("loss", "loss_gap")
    found = compare(metrics, outcomes.path, Settings("none", 100, 0.95, 0)).set_index("measure")
    assert found["interval"].to_dict() | {"score_gap": "", "step_time": ""} == {
        "score": BOTH,
        "loss_gap": SOME_LACK,
        "score_gap": "",
        "step_time": "",
    }


# --- seeds that a control lost


def gated(kind, contrast, **keys):
    gate = {"gate": "g", "sentence": "It holds.", "measures": ["score"], "guards": ["score"], "kind": kind}
    return Claims.model_validate(claims("score").model_dump() | {"gates": [gate | {"contrasts": [contrast | keys]}]})


GATES = {
    "positive": {"name": "c", "of": "none", "against": "x"},
    "identical": {"name": "c", "of": "none", "against": "x"},
    "null": {"name": "c", "of": "none"},
}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(("lost", "outcome"), [(0, "passed"), (2, "passed"), (3, "undecided")])
def test_a_control_that_lost_as_many_seeds_as_refuse_a_verdict_is_undecided(kind, lost, outcome):
    arms = ("none",) if kind == "null" else ("none", "x")
    failed = {("a", arms[seed % len(arms)], seed) for seed in range(1, lost + 1)}

    def values(task, strategy, seed):
        effect = 0.2 + 0.001 * noise(strategy, seed) if strategy == "x" and kind == "positive" else 0.0
        return {"score": 0.8 + 0.01 * noise(seed) - effect}

    found = judge(study(values, seeds=12, failed=failed), None, gated(kind, GATES[kind]))
    (gate,) = found.gates.to_dict("records")
    assert gate["outcome"] == outcome
    what = "seeds" if kind == "null" else "pairs"
    assert (f"{lost} of 12 {what} are missing" in gate["note"]) == (lost > 0)
    assert gate["note"].startswith("refused: ") == (outcome == "undecided")
    assert one(found, "score")["unguarded"] == ("g: undecided" if outcome == "undecided" else "")


def test_one_pair_that_differs_fails_what_must_be_identical_whatever_is_missing():
    failed = {("a", "x", seed) for seed in range(2, 10)}
    metrics = study(lambda task, strategy, seed: {"score": 0.8 + 1e-9 * (strategy == "x")}, failed=failed)
    found = judge(metrics, None, gated("identical", GATES["identical"]))
    assert found.gates["outcome"].tolist() == ["failed"]


def test_a_control_that_does_not_vary_shows_no_effect():
    metrics = study(lambda task, strategy, seed: {"score": 0.8 - 0.2 * (strategy == "x")})
    (gate,) = judge(metrics, None, gated("positive", GATES["positive"])).gates.to_dict("records")
    assert (gate["outcome"], gate["ci_low"]) == ("undecided", pytest.approx(20.0))
    assert "All 10 seeds give the same difference" in gate["note"]


# --- an arm that collapses now and then: how often verdicts are wrong, and how often they are refused

COLLAPSING = {
    # points that x gains where a run learns something; shares of the runs of none and of x that learn nothing
    "no gain, a tenth of x": (0.0, (0.0, 0.1)),
    "a gain, a tenth of x": (1.0, (0.0, 0.1)),
    "a gain of the margin, a tenth of x": (0.5, (0.0, 0.1)),
    "a loss, a tenth of either": (-1.0, (0.1, 0.1)),
    "no gain, three tenths of x": (0.0, (0.0, 0.3)),
    "no gain, none": (0.0, (0.0, 0.0)),
}
LEVEL, MAJORITY, SD = 80.0, 50.0, 0.5


def collapsing(gain, rates, studies, rng):
    """Return metrics of many studies of ten seeds, each a task of its own, and a claim on each."""
    rows = []
    for number, (arm, strategy), seed in product(range(studies), enumerate(("none", "x")), range(1, 11)):
        stuck = rng.random() < rates[arm]
        score = MAJORITY if stuck else LEVEL + gain * arm + SD * rng.normal()
        run = f"t{number}.m.{strategy}.single.clean.n100.s{seed}"
        cell = (run, f"t{number}", "m", strategy, "single", "clean", "100", seed, "completed", "test")
        rows += [(*cell, "score", score / 100, "fraction"), (*cell, "majority_score", MAJORITY / 100, "fraction")]
    (claim,) = claims("score").model_dump()["claims"]
    names = [f"{chr(ord('A') + number // 1000)}{number % 1000:03}" for number in range(studies)]
    entries = [claim | {"id": name, "tasks": [f"t{number}"]} for number, name in enumerate(names)]
    metrics = with_kind(pd.DataFrame(rows, columns=list(OLD_COLUMNS)))
    return metrics, Claims.model_validate(claims("score").model_dump() | {"claims": entries})


@pytest.mark.parametrize(
    ("scenario", "studies"),
    [
        ("no gain, a tenth of x", 20),
        ("a gain, a tenth of x", 20),
        *(pytest.param(scenario, 2000, marks=pytest.mark.long) for scenario in COLLAPSING),
    ],
)
def test_where_some_runs_collapse_verdicts_are_refused_and_not_wrong(scenario, studies, monkeypatch):
    """A mean over runs that learned and runs that did not was wrong in 27 % of the studies.

    A verdict is about runs that learn: wrong is `supported` without a gain, `contradicted` without a loss, `equivalent`
    at a difference of the margin. Where nothing collapsed by chance, the note says up to what rate it may.
    """
    for name in ("seeds_to_find", "seeds_for_equivalence"):  # how many seeds it takes is of no matter here, and slow
        monkeypatch.setattr(f"maskbench.analysis.verdicts.{name}", lambda *_: None)
    gain, rates = COLLAPSING[scenario]
    rng, rows = np.random.default_rng([studies, *scenario.encode()]), []
    for _ in range(studies // 20):  # claims look through all runs of a study, so that many small ones are faster
        metrics, file = collapsing(gain, rates, 20, rng)
        values = Values(metrics)
        rows += decided(file, values, Resampler(None, values), 0)
    assert len(rows) == studies
    verdicts = np.array([row.verdict for row in rows])
    refused = np.array([any(note.startswith("refused: ") for note in row.notes) for row in rows])
    wrong = (
        ((verdicts == "supported") & (gain <= 0))
        | ((verdicts == "contradicted") & (gain >= 0))
        | ((verdicts == "equivalent") & (abs(gain) >= 0.5))
    )
    error = np.sqrt(0.05 * 0.95 / studies)
    told = f"{scenario}: {100 * wrong.mean():.1f} % wrong, {100 * refused.mean():.1f} % refused, of {studies} studies"
    print(told)
    assert wrong.mean() <= 0.05 + (2.5 * error if studies < 1000 else error), told
    some = 1 - np.prod([(1 - rate) ** 10 + rate**10 for rate in rates])  # an arm with runs of both kinds
    assert refused.mean() == pytest.approx(some, abs=4 * np.sqrt(some * (1 - some) / studies) + 1e-9), told
    answered = [row for row in rows if row.verdict != "inconclusive"]
    assert all("of 10 runs, up to 26 % may" in " ".join(row.notes) for row in answered), told
