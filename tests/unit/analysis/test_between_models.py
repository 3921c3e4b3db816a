"""Contrasts between pretraining recipes, whose unit is the pretraining seed: known truths, missing runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from maskbench.analysis import detection, statistics
from maskbench.analysis.between_models import planned_seeds
from maskbench.analysis.components import components
from maskbench.analysis.findings import read_verdicts
from maskbench.analysis.metrics import METRIC_COLUMNS, OUTCOME_COLUMNS, read_metrics, write_csv
from maskbench.analysis.outcomes import Outcomes
from maskbench.analysis.power import Varying, seeds_to_find
from maskbench.analysis.values import Values
from maskbench.analysis.verdicts import judge
from maskbench.config.claims import Claims
from maskbench.config.contrast import Arm
from maskbench.config.measures import measure

MARGINS = {"points": {"pooled": 0.5, "task": 1.0}, "nats": 0.02, "per cent": 5, "coefficient": 0.01}
BETWEEN = {"name": "a vs b", "kind": "models", "of": {"model": "a"}, "against": {"model": "b"}}


def claims(*measures, contrast=BETWEEN, **keys):
    entry = {"id": "C01", "claim": "It helps.", "contrasts": [contrast], "measures": list(measures), **keys}
    return Claims.model_validate({"margins": MARGINS, "claims": [entry]})


def study(value, seeds=(1, 2, 3, 4, 5, 6), recipes=("a", "b"), fetched=(), strategies=("none",), failed=(), runs=3):
    """Return metrics; `value(recipe, strategy, pretraining seed, seed)` is the score of a run, as a fraction."""
    rows = []
    models = [(name, f"{name}-p{seed}", seed) for name, seed in product(recipes, seeds)]
    models += [(name, name, None) for name in fetched]
    for (recipe, model, pretraining), strategy, seed in product(models, strategies, range(1, runs + 1)):
        run = f"t.{model}.{strategy}.single.clean.n100.s{seed}"
        crashed = (model, seed) in failed
        cell = (run, "t", model, strategy, "single", "clean", "100", seed, recipe, pretraining)
        head = (*cell, "sequence-classification", "crashed" if crashed else "completed", "test")
        score = None if crashed else value(recipe, strategy, pretraining, seed)
        rows.append((*head, "score", score, "fraction"))
        rows += [] if crashed else [(*head, "majority_score", 0.5, "fraction")]
    types = {"value": "float64", "pretraining_seed": "Int64"}
    return pd.DataFrame(rows, columns=list(METRIC_COLUMNS)).astype(types)


def row_of(metrics, outcomes=None, **keys):
    return judge(metrics, outcomes, claims("score", **keys)).verdicts.iloc[0]


def drawn(*key, sd=0.01):
    return sd * np.random.default_rng([sum(map(ord, str(part))) for part in key]).normal()


def noisy(gain):
    def value(recipe, strategy, pretraining, seed):
        both = drawn("p", recipe, pretraining or 0) + drawn(recipe, pretraining or 0, seed, sd=0.005)
        return 0.8 + gain * (recipe == "a") + both

    return value


# --- what is compared


def test_the_unit_is_the_pretraining_seed_and_its_value_the_mean_over_fine_tuning_seeds():
    metrics = study(noisy(0.04))
    row = row_of(metrics)
    score = metrics[metrics["measure"] == "score"].set_index("run")["value"]
    per_seed = [
        100 * np.mean([score[f"t.a-p{p}.none.single.clean.n100.s{s}"] for s in (1, 2, 3)])
        - 100 * np.mean([score[f"t.b-p{p}.none.single.clean.n100.s{s}"] for s in (1, 2, 3)])
        for p in range(1, 7)
    ]
    assert row["estimate"] == pytest.approx(np.mean(per_seed))
    assert (row["n_seeds"], row["verdict"], row["p"] >= 2 / 2**6) == (6, "supported", True)
    assert row["interval"] == "pretraining × fine-tuning seeds"
    assert "A seed is one of pretraining, its value the mean over 3 fine-tuning seeds." in row["note"]
    # wider than that of the six means alone: other fine-tuning seeds are in it
    alone = statistics.spread(np.array(per_seed)).interval(0.95)
    assert row["ci_low"] == pytest.approx(alone[0])  # nothing that fine-tuning seeds do alike is seen here
    shared = row_of(study(lambda *key: noisy(0.04)(*key) + 0.02 * (key[-1] - 2) * (key[0] == "a")))
    assert shared["estimate"] == pytest.approx(row["estimate"])
    assert shared["ci_low"] < alone[0] - 1


def test_three_pretraining_seeds_decide_nothing_however_many_runs_they_have():
    row = row_of(study(noisy(0.04), seeds=(1, 2, 3), runs=10))
    assert (row["verdict"], row["n_seeds"]) == ("inconclusive", 3)
    assert "3 pretraining seeds can never reject: an exact test takes at least 6." in row["note"]


def test_pairs_name_both_runs_of_each_pretraining_and_fine_tuning_seed():
    pairs = judge(study(noisy(0.0)), None, claims("score")).pairs
    assert len(pairs) == 18
    first = pairs.iloc[0]
    assert (first["of"], first["against"]) == tuple(f"t.{name}-p1.none.single.clean.n100.s1" for name in "ab")
    assert sorted(pairs["seed"].unique()) == [1, 2, 3]


def test_one_fine_tuning_seed_tells_nothing_of_others_and_the_note_says_so():
    row = row_of(study(noisy(0.04), runs=1))
    assert "That other fine-tuning seeds would give another number is not in the interval." in row["note"]


def test_pretraining_seeds_that_one_recipe_alone_has_are_left_out():
    metrics = study(noisy(0.04))
    short = metrics[~((metrics["recipe"] == "b") & (metrics["pretraining_seed"] > 4))]
    row = row_of(short)
    assert (row["n_seeds"], "missing" in row["note"]) == (4, False)
    apart = short[~((short["recipe"] == "a") & (short["pretraining_seed"] <= 4))]
    assert row_of(apart)["note"] == "a and b have no pretraining seed in common."


# --- one checkpoint


def test_a_model_that_was_not_pretrained_here_is_one_checkpoint():
    """Its own fine-tuning noise is shared by all pretraining seeds: more of them do not lower it."""

    def value(recipe, strategy, pretraining, seed):
        return noisy(0.04)(recipe, strategy, pretraining, seed) + drawn("b", seed, sd=0.03) * (recipe == "b")

    metrics = study(value, recipes=("a",), fetched=("b",))
    row = row_of(metrics)
    assert "b was not pretrained here: the verdict is about this one checkpoint." in row["note"]
    assert row["n_seeds"] == 6
    score = metrics[metrics["measure"] == "score"].set_index("run")["value"]
    means = [100 * score[[f"t.a-p{p}.none.single.clean.n100.s{s}" for s in (1, 2, 3)]].mean() for p in range(1, 7)]
    naive = np.ptp(statistics.spread(np.array(means)).interval(0.95))
    assert row["ci_high"] - row["ci_low"] > 2 * naive


def test_two_checkpoints_say_nothing_of_how_they_were_made():
    row = row_of(study(noisy(0.04), recipes=(), fetched=("a", "b")))
    assert row["verdict"] == "not tested"
    assert "two checkpoints say nothing about how they were made" in row["note"]


def test_a_study_without_the_models_does_not_test_them():
    row = row_of(study(noisy(0.0), recipes=("a", "c")))
    assert (row["verdict"], row["note"]) == ("not tested", "The study has no model b.")


# --- missing runs


def test_a_failed_run_is_left_out_of_its_pretraining_seed_and_counted():
    row = row_of(study(noisy(0.04), failed={("a-p2", 3)}))
    assert row["n_seeds"] == 6
    assert "1 of 18 pairs are missing (failed runs: 1 of the first arm, 0 of the second)" in row["note"]
    assert "its value the mean over 2 to 3 fine-tuning seeds" in row["note"]
    assert "the verdict holds with the worst" in row["note"]


@pytest.mark.parametrize(
    "failed",
    [{("a-p1", 1), ("a-p2", 3)}, {(f"{name}-p{p}", 1) for name, p in product("ab", (1, 2, 3, 4))}],
    ids=["uneven", "too many"],
)
def test_too_many_or_uneven_failures_refuse_a_verdict(failed):
    row = row_of(study(noisy(0.04), failed=failed))
    assert row["verdict"] == "inconclusive"
    assert "refused:" in row["note"]


# --- price and controls


def with_gap(metrics, gap):
    rows = metrics[(metrics["measure"] == "score") & metrics["value"].notna()]
    added = rows.assign(measure="loss_gap", unit="nats", split="run", value=[gap(*key) for key in _keys(rows)])
    return pd.concat([metrics, added], ignore_index=True)


def _keys(rows):
    return rows[["recipe", "pretraining_seed", "seed"]].itertuples(index=False, name=None)


@pytest.mark.parametrize(
    ("gain", "verdict", "words"),
    [
        (
            -0.04,
            "invalid: at the price of the score",
            "not shown that the score of a is less than 1 points below that of b",
        ),
        (0.04, "supported", "There is no value of loss_gap at a matched score of two models"),
    ],
)
def test_a_smaller_gap_must_not_be_bought_with_the_score(gain, verdict, words):
    def gap(recipe, pretraining, seed):
        return 0.2 - 0.1 * (recipe == "a") + drawn("gap", recipe, pretraining, seed)

    found = judge(with_gap(study(noisy(gain)), gap), None, claims("loss_gap")).verdicts.iloc[0]
    assert found["verdict"] == verdict
    assert words in found["note"]


def test_a_control_that_fails_makes_verdicts_between_models_invalid():
    gate = {"gate": "rate-zero", "sentence": "It is the same.", "kind": "identical", "measures": ["score"]}
    gate |= {"contrasts": [{"name": "zero vs none", "of": "zero", "against": "none"}], "guards": "all"}
    content = claims("score").model_dump(mode="json") | {"gates": [gate]}
    metrics = study(noisy(0.04), strategies=("none", "zero"))
    same = judge(metrics, None, Claims.model_validate(content))
    assert (same.verdicts.iloc[0]["verdict"], same.gates.iloc[0]["outcome"]) == ("supported", "passed")
    other = metrics["value"].where((metrics["strategy"] == "none") | (metrics["measure"] != "score"), 0.7)
    found = judge(metrics.assign(value=other), None, Claims.model_validate(content))
    assert (found.verdicts.iloc[0]["verdict"], found.gates.iloc[0]["outcome"]) == ("invalid", "failed")


# --- contrasts of strategies, where several models are of one recipe


def test_models_of_one_recipe_count_as_one_model_in_contrasts_of_strategies():
    """Masking gains 3 points on the three models of a and none on b: 1.5 over two models, not 2.25 over four."""

    def value(recipe, strategy, pretraining, seed):
        return 0.8 + 0.03 * (strategy == "x" and recipe == "a") + drawn(strategy, seed, sd=1e-4)

    metrics = study(value, seeds=(1, 2, 3), recipes=("a",), fetched=("b",), strategies=("none", "x"), runs=6)
    row = row_of(metrics, contrast={"name": "x vs none", "of": "x", "against": "none"})
    assert row["estimate"] == pytest.approx(1.5, abs=0.05)
    assert row["n_seeds"] == 6  # those of fine-tuning
    assert "Models that differ in their pretraining seed alone count as one: a (3)." in row["note"]
    assert row["interval"] == "seeds"


# --- texts


def test_texts_are_in_the_interval(tmp_path):
    texts = 200
    shared = np.random.default_rng(0).normal(size=texts)

    def hits(recipe, pretraining, seed):
        rng = np.random.default_rng([ord(recipe), pretraining, seed])
        return (shared * (1 if recipe == "a" else -1) + 0.3 * rng.normal(size=texts) > -1).astype(float)

    metrics = study(lambda recipe, _, pretraining, seed: hits(recipe, pretraining, seed).mean())
    rows = [
        pd.DataFrame(
            {
                "run": f"t.{recipe}-p{p}.none.single.clean.n100.s{s}",
                "set": "test",
                "example": np.arange(texts),
                "hit": hits(recipe, p, s),
                "weight": 1.0,
            }
        )
        for recipe, p, s in product("ab", range(1, 7), (1, 2, 3))
    ]
    pd.concat(rows)[list(OUTCOME_COLUMNS)].to_parquet(tmp_path / "o.parquet", index=False)
    outcomes = Outcomes(tmp_path / "o.parquet", 300, 0, {"t": "sequence-classification"})
    both, seeds = row_of(metrics, outcomes), row_of(metrics)
    assert both["interval"] == "pretraining × fine-tuning seeds × texts"
    assert both["ci_high"] - both["ci_low"] > 1.5 * (seeds["ci_high"] - seeds["ci_low"])


# --- known truths


def table_of(n, m, sds, studies, rng, effect=0.0):
    """Return differences (studies, n, m) with the SDs of pretraining seeds, fine-tuning seeds and their interaction."""
    shapes = ((studies, n, 1), (studies, 1, m), (studies, n, m))
    return effect + sum(sd * rng.normal(size=shape) for sd, shape in zip(sds, shapes, strict=True))


def spread_of(tables):
    """Return the means of tables (studies, n, m) with what they vary by."""
    parts, whole = [components(table) for table in tables], statistics.spread(tables.mean(axis=2))
    added = np.array([one.of_mean for one in parts])
    return replace(whole, fine_tuning=added, n_fine_tuning=tables.shape[2])


def test_components_are_those_of_the_analysis_of_variance():
    rng = np.random.default_rng(0)
    found = [components(table) for table in table_of(10, 3, (1.0, 0.7, 0.5), 400, rng)]
    means = np.mean([(one.pretraining, one.fine_tuning, one.rest) for one in found], axis=0)
    assert means == pytest.approx([1.0, 0.49, 0.25], rel=0.12)
    # by hand, of one table: (MS − MS of the interaction) / levels of the other factor
    table = table_of(4, 3, (1.0, 1.0, 0.5), 1, rng)[0]
    left = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    rest = (left**2).sum() / 6
    one = components(table)
    assert one.rest == pytest.approx(rest)
    assert one.pretraining == pytest.approx(max(table.mean(1).var(ddof=1) - rest / 3, 0))
    assert one.fine_tuning == pytest.approx(max(table.mean(0).var(ddof=1) - rest / 4, 0))
    assert one.of_mean == pytest.approx(max(4 * table.mean(0).var(ddof=1) - rest / 2, 0) / 12)


def test_components_of_a_table_with_gaps_and_of_one_column():
    rng = np.random.default_rng(1)
    tables = table_of(10, 3, (1.0, 0.7, 0.5), 300, rng)
    for table in tables:
        table[rng.integers(10, size=4), rng.integers(3, size=4)] = np.nan
    found = [components(table) for table in tables]
    means = np.mean([(one.pretraining, one.fine_tuning, one.rest) for one in found], axis=0)
    assert means == pytest.approx([1.0, 0.49, 0.25], rel=0.15)
    alone = components(tables[0][:, :1])
    assert (alone.of_mean, alone.n_fine_tuning, np.isnan(alone.fine_tuning)) == (0.0, 1, True)


@pytest.mark.parametrize("n", [6, 10])
@pytest.mark.parametrize("sds", [(1.0, 0.0, 1.0), (1.0, 0.5, 1.0), (1.0, 1.0, 1.0)], ids=str)
def test_intervals_cover_and_verdicts_are_rarely_wrong(n, sds):
    """Without an effect, over unseen seeds of both kinds; 250 studies of n pretraining and three fine-tuning seeds."""
    rng = np.random.default_rng([n, *(int(10 * sd) for sd in sds)])
    tables = table_of(n, 3, sds, 250, rng)
    flipped = statistics.sign_flip(tables.mean(axis=2), rng, 2000)
    spread = spread_of(tables)
    low, high = spread.interval(0.95)
    covers = ((low <= 0) & (high >= 0)).mean()
    error = np.sqrt(0.05 * 0.95 / len(tables))
    assert covers >= 0.95 - 2 * error
    assert (np.maximum(flipped, spread.p()) < 0.05).mean() <= 0.05 + 2 * error


@pytest.mark.parametrize("n", [6, 10])
def test_two_simpler_ways_would_be_wrong(n):
    """All runs as if they were independent; pretraining seeds with the fine-tuning seeds that they share left out."""
    rng = np.random.default_rng(n)
    # pretraining varies: 3 n runs are not 3 n independent numbers
    runs = table_of(n, 3, (1.0, 0.0, 0.5), 2000, rng).reshape(2000, -1)
    assert (stats.ttest_1samp(runs, 0.0, axis=1).pvalue < 0.05).mean() > 0.15
    # what a fine-tuning seed does to all pretraining seeds alike does not show between these
    means = table_of(n, 3, (0.5, 1.0, 0.5), 2000, rng).mean(axis=2)
    assert (stats.ttest_1samp(means, 0.0, axis=1).pvalue < 0.05).mean() > 0.15


def test_the_minimum_detectable_effect_is_found_as_often_as_it_says():
    rng = np.random.default_rng(5)
    sds, n, m = (1.0, 0.3, 0.5), 10, 3
    tables = table_of(n, m, sds, 600, rng)
    parts = spread_of(tables)
    middle = statistics.Spread(
        np.array(0.0),
        np.array(parts.seeds.mean()),
        np.array(0.0),
        n,
        0,
        fine_tuning=float(parts.fine_tuning.mean()),
        n_fine_tuning=m,
    )
    effect = detection.detectable(middle, 1, 0.1)
    p = spread_of(tables[:300] + effect).p()
    flipped = statistics.sign_flip(tables[:300].mean(axis=2) + effect, rng, 2000)
    assert (np.maximum(p, flipped) < 0.05).mean() == pytest.approx(0.8, abs=0.1)


# --- plans


def test_a_plan_counts_the_pretraining_seeds_that_both_recipes_will_have():
    runs = Values(study(noisy(0.0), seeds=(1, 2, 3), fetched=("m",))).runs
    fewer = runs[(runs["recipe"] != "b") | (runs["pretraining_seed"] < 3)]
    (contrast,) = claims("score").claims[0].contrasts
    assert (planned_seeds(runs, contrast), planned_seeds(fewer, contrast)) == (3, 2)
    one = contrast.model_copy(update={"against": Arm(model="m")})
    assert planned_seeds(runs, one) == 3


def test_more_pretraining_seeds_do_not_lower_what_fine_tuning_seeds_do_alike():
    seeds = Varying(1.0)
    shared = Varying(1.0, fine_tuning=detection.FineTuning(0.5, 3))
    assert Varying.of(shared.spread(8)) == shared
    assert seeds_to_find(seeds, 1.5, 1, 0.5, "superior") < 20
    assert seeds_to_find(shared, 1.5, 1, 0.5, "superior") is None
    assert seeds_to_find(shared, 6.0, 1, 0.5, "superior") is not None


# --- what differences vary by


def test_components_of_each_contrast_are_written():
    def value(recipe, strategy, pretraining, seed):
        """Pretraining seeds differ by 1 point, fine-tuning seeds by 2 in what they do to a alone, and nothing else."""
        return 0.8 + 0.01 * (-1) ** pretraining * (recipe == "a") + 0.02 * (seed - 2) * (recipe == "a")

    found = judge(study(value), None, claims("score")).components.iloc[0]
    assert (found["n_pretraining"], found["n_fine_tuning"], found["unit"]) == (6, 3, "points")
    assert found["pretraining_sd"] == pytest.approx(np.std([1, -1] * 3, ddof=1))
    assert found["fine_tuning_sd"] == pytest.approx(2.0)
    assert found["rest_sd"] == pytest.approx(0.0, abs=1e-9)
    assert found["se"] == pytest.approx(np.sqrt(1.2 / 6 + 4 / 3))
    assert np.isnan(found["texts_se"])


def test_a_study_without_recipes_has_no_components():
    metrics = study(noisy(0.0), recipes=(), fetched=("m",), strategies=("none", "x"), runs=6)
    found = judge(metrics, None, claims("score", contrast={"name": "x vs none", "of": "x", "against": "none"}))
    assert found.components.empty


# --- what is written and read


def test_metrics_tell_recipe_and_pretraining_seed_and_older_ones_are_read(tmp_path):
    metrics = study(noisy(0.0), seeds=(1, 2), fetched=("c",))
    write_csv(metrics, tmp_path / "metrics.csv")
    pd.testing.assert_frame_equal(read_metrics(tmp_path / "metrics.csv"), metrics, check_dtype=False)
    write_csv(metrics.drop(columns=["recipe", "pretraining_seed"]), tmp_path / "old.csv")
    old = read_metrics(tmp_path / "old.csv")
    assert (old["recipe"] == old["model"]).all()
    assert old["pretraining_seed"].isna().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pretraining_seed": 1}, "expected one model of the recipe a with the pretraining seed 1, found two"),
        ({"recipe": ""}, "recipe: expected text"),
    ],
)
def test_models_that_cannot_be_told_apart_are_refused(tmp_path, change, words):
    metrics = study(noisy(0.0), seeds=(1, 2))
    write_csv(metrics.assign(**change), tmp_path / "metrics.csv")
    with pytest.raises(Exception, match=words):
        read_metrics(tmp_path / "metrics.csv")


def test_verdicts_between_models_are_read_back(tmp_path):
    found = judge(study(noisy(0.04)), None, claims("score"), digest="d")
    write_csv(found.verdicts, tmp_path / "verdicts.csv")
    assert read_verdicts(tmp_path / "verdicts.csv")["interval"].tolist() == ["pretraining × fine-tuning seeds"]


# --- what is refused


@pytest.mark.parametrize(
    ("contrast", "words"),
    [
        (BETWEEN | {"kind": "paired"}, "only arms of the kind models name a model"),
        (BETWEEN | {"against": "none"}, "expected a model in both arms"),
        (BETWEEN | {"against": {"model": "a"}}, "differ in their model, and in nothing else"),
        (BETWEEN | {"against": {"model": "b", "strategy": "x"}}, "differ in their model, and in nothing else"),
        (BETWEEN | {"measures": ["matched_loss_gap"]}, "matched score is that of each model's own baseline"),
        (BETWEEN | {"against": {"regime": "single"}}, "expected the name of a strategy, or of a model"),
    ],
)
def test_contrasts_that_cannot_be_meant_are_refused(contrast, words):
    with pytest.raises(ValueError, match=words):
        claims("score", contrast=contrast)


def test_an_arm_says_which_model_it_is_about():
    assert str(Arm(model="a")) == "a"
    assert str(Arm(model="a", strategy="random", condition="cue")) == "a random cue"
    gate = {"gate": "g", "sentence": "s", "kind": "positive", "contrasts": [BETWEEN], "guards": "all"}
    with pytest.raises(ValueError, match="expected a control to compare strategies"):
        Claims.model_validate(
            {"margins": MARGINS, "gates": [gate | {"measures": ["score"]}]} | {"claims": [claims("score").claims[0]]}
        )
    assert measure("matched_loss_gap").at_matched_score
