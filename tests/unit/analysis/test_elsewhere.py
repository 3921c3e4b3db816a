"""Scores on texts from elsewhere: their texts are drawn apart from those of the test split and of other sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from maskbench.analysis.contributions import recipe
from maskbench.analysis.verdicts import judge
from maskbench.config.measures import measure
from tests.unit.analysis.test_right_numbers import claims, one, study, written

TEXTS = 200
SETS = ("ood>shops", "ood>tweets")


def hits(strategy, seed, name):
    """Return (TEXTS,) 1 and 0: right on four in five; x is wrong on ten texts more out of domain."""
    found = np.ones(TEXTS)
    found[np.random.default_rng(seed).choice(TEXTS // 2, 40, replace=False)] = 0
    if strategy == "x" and name != "test":
        found[TEXTS // 2 : TEXTS // 2 + 10] = 0
    return found


def made(path):
    outcomes = written(path, lambda *key: {name: hits(*key, name) for name in ("test", *SETS)}, texts=TEXTS)

    def values(task, *key):
        score = hits(*key, "test").mean()
        parts = {name: hits(*key, name).mean() for name in SETS}
        whole = float(np.mean(list(parts.values())))
        each = {f"ood_drop:{name.removeprefix('ood>')}": 100 * (score - part) for name, part in parts.items()}
        return {"score": score, "ood_score": whole, "ood_drop": 100 * (score - whole), **each}

    return study(values), outcomes


def test_each_set_is_a_part_of_its_own():
    found = recipe("ood_drop", ["test", "swap-10", *SETS])
    assert found[0].on_sets
    assert [part.streams for part in found[1]] == [(("test", 100.0),), ((SETS[0], -50.0),), ((SETS[1], -50.0),)]
    assert [part.streams for part in recipe("ood_score:tweets", ["test", *SETS])[1]] == [((SETS[1], 100.0),)]
    assert recipe("ood_drop", ["test", "swap-10"]) is None
    assert measure("ood_drop").flattered
    assert not measure("ood_score").flattered


def test_the_drop_has_the_right_value_and_an_interval_over_seeds_and_texts(tmp_path):
    found = judge(*made(tmp_path / "o.parquet"), claims("ood_drop", "ood_score", "ood_drop:shops"))
    assert one(found, "ood_drop")["estimate"] == pytest.approx(-5.0)  # x drops five points more
    assert one(found, "ood_score")["estimate"] == pytest.approx(-5.0)
    assert one(found, "ood_drop:shops")["estimate"] == pytest.approx(-5.0)
    assert one(found, "ood_drop")["interval"] == "seeds × texts"


def test_texts_of_two_sets_are_drawn_apart(tmp_path):
    """Both sets have the same numbers of texts and the same answers: drawn together, their mean would vary as much as
    one of them does; drawn apart, its variance is half of that."""
    metrics, outcomes = made(tmp_path / "o.parquet")
    runs = metrics[metrics["measure"] == "ood_score"].assign(kind="")
    drawn = {}
    for name in ("ood_score", "ood_drop:shops", "ood_drop"):
        rows = metrics[metrics["measure"] == name].set_index("run")["value"]
        points = rows * (100.0 if measure(name).unit == "fraction" else 1.0)
        drawn[name] = outcomes.resampled(name, runs, points)
    run = runs["run"].iloc[0]
    variance = {name: np.var(found[run]) for name, found in drawn.items()}
    of_one = 100**2 * 0.8 * 0.2 / TEXTS  # of a share of four in five
    assert variance["ood_score"] == pytest.approx(of_one / 2, rel=0.3)
    assert variance["ood_drop:shops"] == pytest.approx(2 * of_one, rel=0.3)
    assert variance["ood_drop"] == pytest.approx(1.5 * of_one, rel=0.3)


def test_documents_of_a_set_are_drawn_whole(tmp_path):
    """Ten texts of a document are right or wrong together; texts of the other set, and of the test split, are alone."""
    right = np.repeat((np.random.default_rng(0).random(20) < 0.7) * 1.0, 10)
    both = dict.fromkeys(("test", *SETS), right)
    told = {"ood>shops:document": (np.repeat(np.arange(20.0), 10), np.ones(200))}
    kept = written(tmp_path / "o.parquet", lambda *_: both | told)
    metrics = study(lambda *_: {"score": right.mean()})
    run = metrics.drop_duplicates("run").iloc[:1]
    value = pd.Series({run["run"].iloc[0]: 100 * right.mean()})
    names = ("score", "ood_score:shops", "ood_score:tweets", "ood_score")
    test, shops, tweets, mean = (next(iter(kept.resampled(name, run, value).values())).std() for name in names)
    assert shops == pytest.approx(np.sqrt(10) * tweets, rel=0.2)
    assert test == pytest.approx(tweets, rel=0.2)
    assert mean == pytest.approx(np.hypot(shops, tweets) / 2, rel=0.2)
    assert [kept.examples[name] for name in names] == [200, 20, 200, 20]


def test_texts_that_speak_for_an_arm_are_counted_in_each_set(tmp_path):
    metrics, outcomes = made(tmp_path / "o.parquet")
    rows = metrics[metrics["measure"] == "ood_score"]
    outcomes.resampled("ood_score", rows.assign(kind=""), rows.set_index("run")["value"] * 100)
    terms = [(run, 1.0 if ".x." in run else -1.0) for run in rows["run"].iloc[[0, 10]]]
    few = outcomes.few("ood_score", [(1.0, terms)])
    assert few.ahead.tolist() == [0, 0]
    assert few.behind.tolist() == [10, 10]
    assert few.unit.tolist() == pytest.approx([0.25, 0.25])  # one text of 200, and a set counts a half
