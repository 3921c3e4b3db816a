"""What enters a verdict: texts as well as seeds, few texts, seeds that are not independent, shapes, all claims."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from maskbench.analysis import detection, statistics
from maskbench.analysis.bootstrap import resampled_scores
from maskbench.analysis.contributions import recipe
from maskbench.analysis.few import Few
from maskbench.analysis.metrics import OLD_COLUMNS, OUTCOME_COLUMNS, with_kind
from maskbench.analysis.outcomes import Outcomes
from maskbench.analysis.verdicts import errors, judge
from maskbench.config.claims import Claims, Decision
from maskbench.config.measures import MEASURES, measure
from maskbench.config.science import MOST_REACH
from maskbench.data.readers import read
from maskbench.kinds.score import outcome_of
from tests.helpers.tasks import make_tagging

MARGINS = {"points": {"pooled": 0.5, "task": 1.0}, "nats": 0.02, "per cent": 5, "coefficient": 0.01}
PAIR = {"name": "x vs none", "of": "x", "against": "none"}


def claims(*measures, test="superior", more=()):
    """Return a file with a claim on some measures, and others like it."""
    entry = {"claim": "It helps.", "contrasts": [PAIR], "measures": list(measures), "test": test}
    entries = [{"id": f"C{number:02}", **entry} for number in range(1, 2 + len(more))]
    for one, change in zip(entries[1:], more, strict=True):
        one.update(change)
    return Claims.model_validate({"margins": MARGINS, "claims": entries})


def study(values, seeds=10, tasks=("a",), failed=()):
    """Return metrics of runs; `values(task, strategy, seed)` gives the numbers of one; `failed` ones crashed."""
    rows = []
    for task, strategy, seed in product(tasks, ("none", "x"), range(1, seeds + 1)):
        run = f"{task}.m.{strategy}.single.clean.n100.s{seed}"
        crashed = (task, strategy, seed) in failed
        cell = (run, task, "m", strategy, "single", "clean", "100", seed, "crashed" if crashed else "completed")
        numbers = {"score": None} if crashed else {"majority_score": 0.5, **values(task, strategy, seed)}
        rows += [(*cell, "test", name, value, measure(name).unit) for name, value in numbers.items()]
    return with_kind(pd.DataFrame(rows, columns=list(OLD_COLUMNS)).astype({"value": "float64"}))


def written(path, streams, seeds=10, texts=200):
    """Write outcomes; `streams(strategy, seed)` gives hits, or (hits, weights), by stream."""
    parts = []
    for strategy, seed in product(("none", "x"), range(1, seeds + 1)):
        for name, found in streams(strategy, seed).items():
            hit, weight = found if isinstance(found, tuple) else (found, np.ones(texts))
            run = f"a.m.{strategy}.single.clean.n100.s{seed}"
            parts.append(
                pd.DataFrame({"run": run, "set": name, "example": np.arange(texts), "hit": hit, "weight": weight})
            )
    pd.concat(parts)[list(OUTCOME_COLUMNS)].to_parquet(path, index=False)
    return Outcomes(path, 400, 0)


def one(found, name, scope="pooled"):
    rows = found.verdicts[(found.verdicts["measure"] == name) & (found.verdicts["scope"] == scope)]
    return rows.iloc[0]


def noise(*key):
    return np.random.default_rng([sum(map(ord, str(part))) for part in key]).normal()


# --- 2: every measure that texts contribute to


def test_every_measure_says_whether_texts_contribute_to_it():
    """A measure is made of contributions, or has none, or is known to lack them; a new one has to be put somewhere."""
    lacking = {
        # made of several numbers of a run that nobody keeps by text
        *("majority_score", "token_accuracy", "mcc", "support", "confusion", "truncated", "score_sd"),
        *(f"{kind}_{mean}" for kind in ("precision", "recall", "f1") for mean in ("micro", "macro", "weighted")),
        *("precision", "recall", "f1", "entity_precision", "entity_recall", "sequence_score"),
        # no sum over texts
        *("representation_drift", "output_drift", "matched_score", "matched_censored", "steps_to_score"),
        # read off a learning curve, which is resampled itself
        "labels_needed",
        # read off between two evaluations
        *(entry.matched for entry in MEASURES.values() if entry.along),
    }
    assert {name for name, entry in MEASURES.items() if entry.of_texts and entry.made_of is None} == lacking
    assert not [name for name, entry in MEASURES.items() if entry.made_of and not entry.of_texts]


def distracted(path):
    """Return metrics and outcomes: none is wrong on texts 0–13 beside a distractor, x on 14–21, both on five more."""

    def wrong(strategy, seed):
        found = np.zeros(200)
        found[slice(0, 14) if strategy == "none" else slice(14, 22)] = 1
        found[np.random.default_rng(seed).choice(np.arange(100, 200), 5, replace=False)] = 1
        return found

    outcomes = written(
        path,
        lambda *key: {"test": np.ones(200), "distractor": 1 - wrong(*key), "distractor:flips": wrong(*key)},
    )
    metrics = study(
        lambda task, *key: {
            "score": 1.0,
            "distractor_drop": 100 * wrong(*key).mean(),
            "distractor_flip_rate": wrong(*key).mean(),
        }
    )
    return metrics, outcomes


def test_a_drop_and_a_flip_rate_of_the_same_texts_agree(tmp_path):
    """Both are 3 points."""
    found = judge(*distracted(tmp_path / "o.parquet"), claims("distractor_drop", "distractor_flip_rate"))
    drop, flips = (one(found, f"distractor_{name}") for name in ("drop", "flip_rate"))
    assert drop["estimate"] == pytest.approx(3.0)
    columns = ["estimate", "ci_low", "ci_high", "p", "verdict", "interval"]
    assert drop[columns].tolist() == pytest.approx(flips[columns].tolist())
    assert (drop["verdict"], drop["interval"]) == ("inconclusive", "seeds × texts")
    assert drop["ci_low"] < 0 < drop["ci_high"]
    # the p-value is about unseen texts, too: 2/2^10 from the signs alone
    assert drop["p"] > 0.05


def test_the_p_of_a_control_is_about_other_texts_as_its_interval_is(tmp_path):
    """Ten seeds agree, so that the signs alone would say .002."""
    gate = {"gate": "hot", "sentence": "It acts.", "kind": "positive", "measures": ["distractor_drop"], "guards": "all"}
    gate["contrasts"] = [{"name": "x vs none", "of": "x", "against": "none"}]
    file = Claims.model_validate(claims("distractor_drop").model_dump() | {"gates": [gate]})
    found = judge(*distracted(tmp_path / "o.parquet"), file).gates.iloc[0]
    assert found["ci_low"] < 0 < found["ci_high"]
    assert (found["outcome"], found["p"] > 0.05) == ("undecided", True)


def test_losses_are_resampled_and_what_training_texts_add_is_not(tmp_path):
    shared = np.random.default_rng(0).normal(size=200)

    def losses(strategy, seed):
        return np.exp(shared * (1.5 if strategy == "none" else 1.0) + 0.01 * noise(strategy, seed))

    outcomes = written(tmp_path / "o.parquet", lambda *key: {"test": np.ones(200), "test:loss": losses(*key)})
    metrics = study(
        lambda task, *key: {"score": 1.0, "loss": losses(*key).mean(), "loss_gap": losses(*key).mean() - 0.25}
    )
    found = judge(metrics, outcomes, claims("loss", "loss_gap"))
    loss, gap = one(found, "loss"), one(found, "loss_gap")
    assert loss[["estimate", "ci_low", "ci_high"]].tolist() == pytest.approx(
        gap[["estimate", "ci_low", "ci_high"]].tolist()
    )
    alone = one(judge(metrics, None, claims("loss_gap")), "loss_gap")
    assert (alone["interval"], gap["interval"]) == ("seeds", "seeds × texts")
    assert gap["ci_high"] - gap["ci_low"] > 1.5 * (alone["ci_high"] - alone["ci_low"])
    assert "Over seeds alone" in alone["note"]


def test_other_streams_become_their_measures(tmp_path):
    """Calibration, the worst group, rare mentions and memorised labels, against the same sums by hand."""
    rng = np.random.default_rng(3)
    runs = {(name, seed): rng.random((6, 200)) for name, seed in product(("none", "x"), range(1, 11))}

    def streams(strategy, seed):
        part = runs[strategy, seed]
        place = part[0] < 0.5
        return {
            "test": np.ones(200),
            "test:confident-03": (place * (part[1] - 0.4), place * 1.0),
            "test:confident-07": (~place * (part[1] - 0.6), ~place * 1.0),
            "cue:group-0": (place * (part[2] < 0.7), place * 1.0),
            "cue:group-1": (~place * (part[2] < 0.6), ~place * 1.0),
            "test:unseen": (2.0 * (part[3] < 0.1), (part[3] < 0.2) * 2.0),
            "train:flipped": (part[4] < 0.5) * 1.0,
            "train:twin": (part[4] < 0.2) * 1.0,
        }

    def values(task, *key):
        sums = {name: [side.sum() for side in found] for name, found in streams(*key).items() if len(found) == 2}
        ratio = {name: hit / weight for name, (hit, weight) in sums.items()}
        return {
            "score": 1.0,
            "ece": sum(abs(sums[f"test:confident-{place}"][0]) for place in ("03", "07")) / 200,
            "worst_group_score": min(ratio["cue:group-0"], ratio["cue:group-1"]),
            "unseen_f1": ratio["test:unseen"],
            "noise_memorisation": float(((runs[key][4] < 0.5) * 1.0 - (runs[key][4] < 0.2)).mean()),
        }

    metrics = study(values)
    outcomes = written(tmp_path / "o.parquet", streams)
    for name in ("ece", "worst_group_score", "unseen_f1", "noise_memorisation"):
        runs_of = metrics.drop_duplicates("run").iloc[:1]
        told = 100 * metrics[metrics["measure"] == name].set_index("run")["value"]
        (drawn,) = outcomes.resampled(name, runs_of, told).values()
        assert drawn.std() > 0.5
        assert drawn.mean() == pytest.approx(told.iloc[0], abs=4 * drawn.std() / 20 + 1.5)


def test_a_joint_run_is_resampled_together_with_the_run_of_the_task_alone(tmp_path):
    hits = {name: (np.random.default_rng(index).random(200) < 0.8) * 1.0 for index, name in enumerate(("one", "two"))}
    parts, rows = [], []
    for regime, name in (("single", "one"), ("with-b", "two")):
        run = f"a.m.x.{regime}.clean.n100.s1"
        parts.append(
            pd.DataFrame({"run": run, "set": "test", "example": np.arange(200), "hit": hits[name], "weight": 1.0})
        )
        rows.append((run, "a", "m", "x", regime, "clean", "100", 1, "completed"))
    pd.concat(parts)[list(OUTCOME_COLUMNS)].to_parquet(tmp_path / "o.parquet", index=False)
    columns = [*OLD_COLUMNS[:9]]
    runs = pd.DataFrame(rows, columns=columns)
    lost = 100 * (hits["one"].mean() - hits["two"].mean())
    found = Outcomes(tmp_path / "o.parquet", 800, 0).resampled(
        "negative_transfer", runs.iloc[1:], pd.Series({rows[1][0]: lost}), runs
    )
    expected = 100 * (hits["one"] - hits["two"]).std() / np.sqrt(200)
    assert found[rows[1][0]].std() == pytest.approx(expected, rel=0.15)


def test_parts_of_a_recipe_are_those_that_a_run_has():
    known = ["test", "swap-10", "swap-20", "mask-10", "swap-10:flips", "mask-10:flips"]
    found = recipe("perturbation_drop", known)
    assert found is not None
    assert [part.streams for part in found[1]] == [
        (("test", 50.0), ("swap-10", -50.0)),
        (("test", 50.0), ("swap-20", -50.0)),
    ]
    assert recipe("perturbation_drop:swap-20", known)[1][0].streams == (("test", 100.0), ("swap-20", -100.0))
    assert recipe("masking_flip_rate", known)[1][0].streams == (("mask-10:flips", 100.0),)
    assert recipe("distractor_flip_rate", known) is None


# --- 5: intervals of no width, and few texts


def test_that_no_text_differs_shows_no_equivalence(tmp_path):
    """Both arms are right on all of 20 texts, under ten seeds: 15 points may hide there (the rule of three)."""
    outcomes = written(tmp_path / "o.parquet", lambda *_: {"test": np.ones(20)}, texts=20)
    metrics = study(lambda *_: {"score": 1.0})
    for test in ("superior", "non-inferior"):
        found = one(judge(metrics, outcomes, claims("score", test=test)), "score")
        assert found["verdict"] == "inconclusive"
        assert found["ci_high"] == -found["ci_low"] == pytest.approx(15, abs=1)


@pytest.mark.parametrize("name", ["score", "parameter_drift"])
@pytest.mark.parametrize("test", ["superior", "non-inferior"])
def test_seeds_that_all_agree_show_no_equivalence(name, test):
    metrics = study(lambda *_: {"score": 0.8, "parameter_drift": 0.1})
    assert one(judge(metrics, None, claims(name, test=test)), name)["verdict"] == "inconclusive"


def test_limits_of_few_texts_are_those_of_clopper_and_pearson():
    few = Few(np.array([2]), np.array([0]), np.array([600]), np.array([100 / 600]))
    _, up = few.exactly(0.90)
    low = stats.binomtest(2, 600).proportion_ci(0.90).high
    assert up == pytest.approx(100 * (low - 2 / 600), rel=1e-6)
    none = Few(np.array([0]), np.array([0]), np.array([20]), np.array([5.0]))
    assert none.exactly(0.90)[1] == pytest.approx(100 * (1 - 0.05 ** (1 / 20)))


# --- 6: measures of pairs of seeds


def test_disagreement_is_judged_by_the_jackknife_of_its_pairs():
    """A run's mean over its pairs deviates half as much from the cell's as what the run adds to it."""
    values = {("none", seed): 0.10 + 0.01 * noise("none", seed) for seed in range(1, 11)}
    values |= {("x", seed): 0.08 + 0.01 * noise("x", seed) for seed in range(1, 11)}
    metrics = study(lambda task, *key: {"score": 0.8, "disagreement": values[key]})
    found = one(judge(metrics, None, claims("disagreement")), "disagreement")
    raw = {name: 100 * np.array([values[name, seed] for seed in range(1, 11)]) for name in ("none", "x")}
    plain = raw["none"] - raw["x"]
    assert found["estimate"] == pytest.approx(plain.mean())
    pseudo = plain.mean() + 2 * 9 / 8 * (plain - plain.mean())
    spread = statistics.spread(pseudo)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(tuple(map(float, spread.interval(0.95))))


def test_disagreement_of_two_alike_arms_is_rarely_told_apart():
    """Each arm's runs answer 60 texts at random around a common answer: 38 % were wrong without the jackknife."""
    rng, wrong = np.random.default_rng(5), []
    for _ in range(300):
        means = []
        for _arm in range(2):
            rates = rng.beta(2, 8, size=(10, 1))  # how often a run leaves the common answer
            answers = (rng.random((10, 60)) < rates).astype(int)
            pairs = (answers[:, None] != answers[None]).mean(axis=-1)
            value = pairs.sum(axis=1) / 9
            means.append(value.mean() + 2 * 9 / 8 * (value - value.mean()))
        spread = statistics.spread(means[0] - means[1])
        low, high = spread.interval(0.95)
        wrong.append(low > 0 or high < 0)
    assert np.mean(wrong) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 300)


# --- 7: seeds that are lost


def test_seeds_lost_to_one_missing_block_are_counted_as_lost():
    tasks = ("a", "b", "c", "d")
    failed = {(tasks[i % 4], ("none", "x")[i % 2], i + 1) for i in range(12)}

    def values(task, strategy, seed):
        gain = 0.01 if strategy == "x" and seed > 12 else 0.0
        return {"score": 0.8 + gain + 0.002 * noise(task, strategy, seed)}

    found = one(judge(study(values, seeds=20, tasks=tasks, failed=failed), None, claims("score")), "score")
    assert (found["verdict"], found["n_seeds"]) == ("inconclusive", 8)
    assert "12 of 20 seeds are lost" in found["note"]
    assert found["note"].startswith("refused: ")
    patient = claims("score").model_copy(update={"decision": Decision(most_missing=0.6)})
    found = one(judge(study(values, seeds=20, tasks=tasks, failed=failed), None, patient), "score")
    assert found["verdict"] == "supported"


@pytest.mark.parametrize(("most_uneven", "verdict"), [(2, "inconclusive"), (3, "supported")])
def test_an_arm_that_failed_more_often_cannot_win(most_uneven, verdict):
    metrics = study(
        lambda task, strategy, seed: {"score": 0.8 + 0.02 * (strategy == "x") + 0.002 * noise(task, strategy, seed)},
        seeds=20,
        failed={("a", "x", 1), ("a", "x", 2)},
    )
    file = claims("score").model_copy(update={"decision": Decision(most_uneven=most_uneven)})
    found = one(judge(metrics, None, file), "score")
    assert (found["verdict"], found["note"].startswith("refused: ")) == (verdict, most_uneven == 2)


# --- 14: shape, outliers, collapse


def differences(draw, seeds, studies, key):
    return draw(np.random.default_rng(key), (studies, seeds))


SHAPES = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
    "lognormal": lambda rng, size: rng.lognormal(size=size) - np.exp(0.5),
    "t of 3": lambda rng, size: rng.standard_t(3, size=size),
    "uniform": lambda rng, size: rng.uniform(-1, 1, size=size),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seeds", [6, 7, 8, 10, 20])
def test_skewed_differences_are_as_rarely_wrong_as_others(shape, seeds):
    drawn = differences(SHAPES[shape], seeds, 4000, [seeds, *shape.encode()])
    spread = statistics.spread(drawn)
    low, high = spread.interval(0.95)
    covers, error = ((low <= 0) & (high >= 0)).mean(), np.sqrt(0.05 * 0.95 / 4000)
    most = 0.985 if shape == "uniform" else 0.975  # where the shape cannot be told, intervals are rather too wide
    assert 0.93 - 2 * error <= covers <= most + 2 * error
    wrong = (spread.p() < 0.05).mean()
    assert wrong == pytest.approx(1 - covers, abs=1e-3)  # p and interval are one
    student, width = replace(spread, skewness=0.0).interval(0.95), high - low
    reach = np.maximum(spread.estimate - low, high - spread.estimate) / (spread.estimate - student[0])
    assert reach.max() <= MOST_REACH + 1e-9
    assert (width / (student[1] - student[0])).max() <= (1 + MOST_REACH) / 2 + 1e-9


@pytest.mark.parametrize("seeds", [6, 7, 8, 10, 20, 50])
def test_an_interval_reaches_further_the_more_skewed_differences_are(seeds):
    """Hall's transformation, inverted, reaches furthest where the skewness is slight, 4.7 times as far as Student's."""
    skewness = np.linspace(0.0, np.sqrt(seeds), 200)
    down, up = statistics.stretched(skewness, seeds, 0.95)
    assert (np.diff(up) >= 0).all()
    assert up[0] == 1.0
    assert up[-1] > 1.2
    assert (down == 1.0).all()
    mirrored = statistics.stretched(-skewness, seeds, 0.95)
    assert (mirrored[0] == up).all()


def test_p_is_where_the_interval_ends():
    drawn = differences(SHAPES["exponential"], 10, 5, 1)
    spread = statistics.spread(drawn)
    low, high = spread.interval(1 - spread.p(0.3))
    assert np.minimum(np.abs(low - 0.3), np.abs(high - 0.3)) == pytest.approx(0.0, abs=1e-6)


def test_a_verdict_says_what_its_differences_look_like():
    def values(task, strategy, seed):
        far = 0.2 if strategy == "x" and seed == 3 else 0.0
        return {"score": 0.7 + far + 0.002 * noise(strategy, seed)}

    found = judge(study(values, seeds=10), None, claims("score"))
    note = one(found, "score")["note"]
    row = one(found, "score")
    student = stats.t.ppf(0.975, 9) * found.pairs["difference"].std() / np.sqrt(10)
    assert "seed 3 is farthest out" in note
    assert f"2.5 times as far up as Student's, which ends at {row['estimate'] + student:.3g}." in note
    assert row["ci_high"] - row["estimate"] == pytest.approx(2.5 * student)
    assert "1 of 10 seeds lie far from the others (3)" in note
    table = found.sensitivity.set_index("method")
    assert "P(difference above 0) = " in table.loc["probability of improvement", "note"]
    assert table.loc["sign flips", "ci_low"] < table.loc["sign flips", "ci_high"]


def test_typical_values_are_the_means_that_flipped_signs_do_not_reject():
    drawn = np.random.default_rng(2).normal(1.0, size=9)
    low, high = statistics.typical_interval(drawn, 0.95)
    rng = np.random.default_rng(0)
    for inside, null in ((True, low + 1e-9), (False, low - 1e-9), (True, high - 1e-9), (False, high + 1e-9)):
        assert (statistics.sign_flip(drawn - null, rng) >= 0.05) == inside


@pytest.mark.parametrize("collapsed", [1, 2])
def test_a_mean_over_runs_of_which_some_collapsed_is_refused(collapsed):
    def values(task, strategy, seed):
        stuck = strategy == "none" and seed <= collapsed
        score = 0.5 if stuck else 0.8 + (0.01 if strategy == "x" else 0.0) + 0.001 * noise(strategy, seed)
        return {"score": score, "failed": float(stuck)}

    found = judge(study(values), None, claims("score", "failed"))
    row = one(found, "score")
    assert row["verdict"] == "inconclusive"
    assert f"{0} of 10 and {collapsed} of 10 completed runs of the arms learned nothing" in row["note"]
    assert one(found, "failed")["estimate"] == pytest.approx(10.0 * collapsed)


def test_that_no_run_collapsed_says_up_to_what_rate_it_may():
    metrics = study(
        lambda task, *key: {
            "score": 0.8 + 0.001 * noise(*key),
            "failed": 0.0,
            "parameter_drift": 0.1 + 1e-4 * noise(*key),
        }
    )
    row = one(judge(metrics, None, claims("parameter_drift")), "parameter_drift")
    assert row["verdict"] == "equivalent"
    assert "of 10 runs, up to 26 % may" in row["note"]


@pytest.mark.parametrize("seeds", [6, 7])
def test_the_minimum_detectable_effect_of_few_seeds_has_its_power(seeds):
    spread = statistics.Spread(np.array(0.0), np.array(1.0 / seeds), np.array(0.0), seeds, 0)
    effect = detection.detectable(spread, 1, 0.1)
    drawn = effect + np.random.default_rng(seeds).normal(size=(3000, seeds))
    found = statistics.spread(drawn)
    p = np.maximum(statistics.sign_flip(drawn, np.random.default_rng(0)), found.p())
    verdict = statistics.decide(p, found.interval(0.95), found.inner(), found.estimate, 0.1, "superior")
    assert (verdict == "supported").mean() == pytest.approx(0.8, abs=0.025)


DOCUMENTS = "-DOCSTART- O\n\nAda B-PER\nsings O\n\nBob B-PER\n\n-DOCSTART- O\n\nit O\nrains O\n"


def test_a_sentence_keeps_its_document(tmp_path):
    path = tmp_path / "train.conll"
    path.write_text(DOCUMENTS)
    task = make_tagging()
    found = read(task, path, "train.conll").rows
    assert [sentence.document for sentence in found] == [0, 0, 1]
    path.write_text(DOCUMENTS.replace("-DOCSTART- O\n\n", ""))
    assert [sentence.document for sentence in read(task, path, "train.conll").rows] == [None] * 3


def test_documents_reach_the_predictions():
    rows = {
        "example": [0, 1],
        "words": [[-1, 0, 1, -1], [-1, 0, -1, -1]],
        "labels": [[-100, 1, 0, -100], [-100, 1, -100, -100]],
        "tags": [[1, 0], [1]],
        "document": [0, 3],
    }
    reduced = [np.array([[0, 1, 0, 0], [0, 1, 0, 0]]), *(np.zeros((2, 4)) for _ in range(3))]
    names = ["O", "B-PER", "I-PER"]
    found = outcome_of("token-classification", names, rows, reduced, np.array(rows["labels"]))
    assert found.table["document"].tolist() == [0, 3]


def test_documents_are_drawn_where_texts_come_in_them(tmp_path):
    """Ten sentences of a document are right or wrong together: they say as much as one."""
    right = np.repeat((np.random.default_rng(0).random(20) < 0.7) * 1.0, 10)
    plain = written(tmp_path / "plain.parquet", lambda *_: {"test": right})
    kept = written(
        tmp_path / "documents.parquet",
        lambda *_: {"test": right, "test:document": (np.repeat(np.arange(20.0), 10), np.ones(200))},
    )
    metrics = study(lambda *_: {"score": right.mean()})
    run = metrics.drop_duplicates("run").iloc[:1]
    told = pd.Series({run["run"].iloc[0]: 100 * right.mean()})
    spreads = [next(iter(one.resampled("score", run, told).values())).std() for one in (plain, kept)]
    assert spreads[1] == pytest.approx(np.sqrt(10) * spreads[0], rel=0.2)
    assert (plain.examples["score"], kept.examples["score"]) == (200, 20)


# --- 16: all claims together


def test_a_report_says_how_many_false_verdicts_it_may_hold():
    metrics = study(
        lambda task, strategy, seed: {
            "score": 0.8 + (0.02 if strategy == "x" else 0) + 0.002 * noise(strategy, seed),
            "parameter_drift": 0.1 + 0.01 * noise(strategy, seed),
        }
    )
    file = claims("score", more=[{"measures": ["parameter_drift"]}, {"measures": ["score", "parameter_drift"]}])
    found = judge(metrics, None, file).verdicts
    told = errors(found)
    assert (told["claims"], told["rows"], told["expected_false"]) == (3, 4, 0.15)
    expected = statistics.false_discoveries(found["p"].tolist())
    assert found["q"].tolist() == pytest.approx(expected.tolist())
    assert told["discoveries"] == int((found["q"] < 0.05).sum()) == 2
    assert "expected" in told["sentence"]


# --- calibration by simulation: near the ceiling, and where the texts decide


def simulated(draw, texts, truth, studies=300, seeds=10, delta=0.5):
    """Return coverage, share of wrong verdicts and of equivalent ones, of studies of two arms' hits."""
    rng, found = np.random.default_rng([texts, seeds]), []
    for _ in range(studies // 50):
        first, second = draw(rng, (50, seeds, texts))
        moved = 100 * (first - second)
        flat = moved.reshape(-1, texts)
        resampled = resampled_scores(flat, np.ones_like(flat), 150, rng).reshape(150, 50, seeds)
        mean = (first - second).mean(axis=1)
        few = Few(
            (mean >= 0.5).sum(axis=-1)[:, None],
            (mean <= -0.5).sum(axis=-1)[:, None],
            np.array([texts]),
            np.array([100 / texts]),
        )
        spread = statistics.spread(moved.mean(axis=-1), resampled, texts, few)
        (low, high), p = spread.interval(0.95), spread.p()
        verdict = statistics.decide(p, (low, high), spread.inner(), spread.estimate, delta, "superior")
        told = statistics.decide(p, (low, high), spread.inner(), spread.estimate, 1e-9, "superior")
        wrong = np.isin(told, ["supported", "contradicted"]) if truth == 0 else np.zeros(50, dtype=bool)
        found.append(np.stack([(low <= truth) & (high >= truth), wrong, verdict == "equivalent"]))
    return np.concatenate(found, axis=1).mean(axis=1)


def ceiling(rate):
    """Return a draw of arms that are right everywhere, but for some texts that the first one never gets right."""
    return lambda rng, size: (np.where(rng.random((size[0], 1, size[2])) < rate, 0.0, np.ones(size)), np.ones(size))


def shared(scale):
    """Return a draw of arms that find other texts hard, each in all of its runs."""

    def draw(rng, size):
        hard = rng.normal(size=(size[0], 1, size[2]))
        return tuple(
            (1.0 + hard + scale * rng.normal(size=hard.shape) + 0.5 * rng.normal(size=size) > 0) * 1.0 for _ in range(2)
        )

    return draw


@pytest.mark.parametrize("texts", [128, 200, 600])
def test_near_the_ceiling_equivalence_is_rarely_false(texts):
    """A true difference of half a point, the margin: 57, 37 and 20 % were called equivalent."""
    covers, _, equivalent = simulated(ceiling(0.005), texts, -0.5)
    error = np.sqrt(0.05 * 0.95 / 300)
    assert equivalent <= 0.05 + 2 * error
    assert covers >= 0.93 - 2 * error


def few_texts(texts, ahead, behind, most=28):
    """Return how likely each number of texts for either arm is, and the spread of a study of ten seeds that has it."""
    first, second = np.meshgrid(np.arange(most), np.arange(most), indexing="ij")
    counts = np.stack([first, second, texts - first - second], axis=-1)
    likely = stats.multinomial.pmf(counts, texts, [ahead, behind, 1 - ahead - behind])
    few = Few(first[..., None], second[..., None], np.array([texts]), np.array([100 / texts]))
    estimate = 100.0 * (first - second) / texts
    examples = 1e4 * ((first + second) - (first - second) ** 2 / texts) / (texts * (texts - 1))
    return likely, statistics.Spread(estimate, np.zeros_like(estimate), examples, 10, texts, few)


@pytest.mark.parametrize("texts", [200, 600, 800, 1000])
@pytest.mark.parametrize("ahead", [0.0, 0.0025])
def test_half_a_point_near_the_ceiling_is_covered_and_rarely_called_equivalent(texts, ahead):
    """By exact sums; with Jeffreys' limits in the place of the exact ones, 9.1 % of 800 texts would be equivalent."""
    likely, spread = few_texts(texts, ahead, ahead + 0.005)
    (low, high), inner = spread.interval(0.95), spread.inner()
    assert (likely * ((low <= -0.5 + 1e-9) & (high >= -0.5))).sum() >= 0.945
    assert (likely * ((inner[0] > -0.5) & (inner[1] < 0.5))).sum() <= 0.05


@pytest.mark.parametrize("texts", [128, 300])
def test_where_texts_decide_verdicts_are_rarely_wrong(texts):
    """Other texts are hard for either arm, in all seeds: the signs of seeds alone are wrong in most studies."""
    covers, wrong, _ = simulated(shared(0.5), texts, 0.0)
    error = np.sqrt(0.05 * 0.95 / 300)
    assert wrong <= 0.05 + 2.5 * error
    assert 0.93 - 2 * error <= covers <= 0.97 + 2 * error


@pytest.mark.long
@pytest.mark.parametrize("texts", [128, 200, 600, 1000])
@pytest.mark.parametrize("name", ["ceiling", "few", "shared", "alike"])
def test_long_shares_of_texts_are_calibrated(texts, name):
    draw, truth = {
        "ceiling": (ceiling(0.005), -0.5),
        "few": (shared(0.1), 0.0),
        "shared": (shared(0.5), 0.0),
        "alike": (shared(0.0), 0.0),
    }[name]
    covers, wrong, equivalent = simulated(draw, texts, truth, studies=2000)
    error = np.sqrt(0.05 * 0.95 / 2000)
    assert wrong <= 0.05 + 2.5 * error
    assert covers >= 0.93 - error
    if truth:
        assert equivalent <= 0.05 + 2.5 * error
