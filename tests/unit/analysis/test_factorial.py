"""Several factors at once: a design's effects are found, each as an ordinary contrast, or the design is refused."""

from __future__ import annotations

from itertools import combinations

import pandas as pd
import pytest
import yaml

from maskbench.analysis.plan import needs, plan, planned_runs
from maskbench.analysis.verdicts import judge
from maskbench.config.factorial import effects
from maskbench.errors import InputError
from maskbench.experiment.claims import read_claims
from tests.helpers import run_folders as synthetic
from tests.unit.analysis.test_verdicts import MARGINS, PAIR, claims, noise, row, scores, study

FACTORS = "abcd"
HALF = ["", *map("".join, combinations(FACTORS, 2)), FACTORS]
"""The half fraction of four factors in which an even number of them is at work."""
FULL = ["", *(cell for size in (1, 2, 3, 4) for cell in map("".join, combinations(FACTORS, size)))]


def name(cell):
    return "-".join(cell) or "none"


def design(cells, factors=FACTORS):
    return {factor: [name(cell) for cell in cells if factor in cell] for factor in factors}


def contrast(cells, **keys):
    return {"name": "settings", "kind": "factorial", "factors": design(cells), "against": "none", **keys}


def measured(cells, mains, together, seeds=10):
    """Return a study whose score follows main effects and interactions, in points."""

    def values(task, seed, size, place):
        level = 0.8 + 0.02 * noise(task, seed)

        def score(cell):
            effect = sum(mains.get(factor, 0.0) for factor in cell)
            effect += sum(value for pair, value in together.items() if set(pair) <= set(cell))
            return {"score": level + effect / 100 + 0.0005 * noise(task, seed, cell)}

        return {name(cell): score(cell) for cell in cells}

    return study(values, seeds=seeds, tasks=("t",))


@pytest.mark.parametrize(("cells", "others"), [(HALF, "a × b + c × d"), (FULL, "a × b")])
def test_main_effects_and_interactions_are_found(cells, others):
    """Beside the others, a factor's effect is its own and half of its interactions; an interaction's is half of it."""
    metrics = measured(cells, {"a": 2.0, "b": -1.0}, {"ab": 1.5})
    table = judge(metrics, None, claims(contrast(cells))).verdicts
    found = dict(zip(table["contrast"], table["estimate"], strict=True))
    expected = {"a vs no a": 2.75, "b vs no b": -0.25, "c vs no c": 0.0, "d vs no d": 0.0, others: 0.75}
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=0.1)
    assert row(table, contrast="a vs no a")["verdict"] == "supported"
    assert row(table, contrast="c vs no c")["verdict"] == "equivalent"
    assert row(table, contrast=others)["verdict"] == "supported"  # a difference either way
    assert set(table["n_seeds"]) == {10}
    assert len(found) == (7 if cells is HALF else 10)


def test_two_factors_take_four_strategies_and_effects_are_those_of_the_cells():
    cells = ["", "a", "b", "ab"]
    metrics = measured(cells, {"a": 2.0}, {"ab": -2.0})
    table = judge(metrics, None, claims({**contrast(cells), "factors": design(cells, "ab")})).verdicts
    score = metrics[metrics["measure"] == "score"].groupby("strategy")["value"].mean() * 100
    assert row(table, contrast="a vs no a")["estimate"] == pytest.approx(
        (score["a"] + score["a-b"] - score["none"] - score["b"]) / 2
    )
    assert row(table, contrast="a × b")["estimate"] == pytest.approx(
        (score["a-b"] + score["none"] - score["a"] - score["b"]) / 2
    )


def test_a_pair_is_the_combination_of_plus_one_and_minus_one():
    """One mechanism: the same numbers, down to the last bit."""
    metrics = study(scores({"none": 0.0, "x": 0.6}))
    weights = {"name": PAIR["name"], "kind": "combination", "weights": {"x": 1.0, "none": -1.0}}
    one, other = (judge(metrics, None, claims(entry)) for entry in (PAIR, weights))
    pd.testing.assert_frame_equal(one.verdicts, other.verdicts)
    pd.testing.assert_frame_equal(one.pairs, other.pairs)


def test_a_factor_that_only_keeps_a_model_from_learning_does_not_win():
    """A small gap that costs the score is no merit, of a factor as of a strategy."""

    def values(task, seed, size, place):
        return {
            name(cell): {
                "score": 0.8 - 0.05 * ("a" in cell) + 0.002 * noise(task, seed, cell),
                "loss_gap": 0.5 - 0.2 * ("a" in cell) + 0.01 * noise(task, seed, cell, "gap"),
            }
            for cell in HALF
        }

    table = judge(study(values, tasks=("t",)), None, claims(contrast(HALF), measures=["loss_gap"])).verdicts
    found = row(table, contrast="a vs no a")
    assert found["verdict"] == "invalid: at the price of the score"
    assert "the score of a is less than" in found["note"]


def test_a_strategy_that_a_study_lacks_is_named():
    table = judge(measured(HALF[1:], {}, {}), None, claims(contrast(HALF))).verdicts
    assert set(table["verdict"]) == {"not tested"}
    assert set(table["note"]) == {"The study has no strategy none."}


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"a": ["x"], "b": ["x"]}, "a and b cannot be told apart"),
        ({"a": ["x"], "b": ["y"]}, "a cannot be told from the mean of all"),
        (design(["", "ab", "ac", "bc"], "abc"), "a and b × c cannot be told apart"),
        ({"a": ["none", "x"], "b": ["y", "x"]}, "in none, which `against` names, no factor is at work"),
    ],
)
def test_a_design_that_does_not_tell_its_effects_is_refused(factors, message):
    with pytest.raises(ValueError, match=message):
        effects(factors, "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"against": None}, "contrast settings: expected the arm `against`"),
        ({"kind": "paired"}, "contrast settings: factors and the kind factorial go together"),
        ({"of": "a"}, "expected `of` (and `against`), `doses`, `weights` or `factors`"),
        ({"factors": {"a": ["x"]}, "weights": {"a": 1, "b": -1}}, "expected `of` (and `against`), `doses`, `weights`"),
        ({"factors": None, "weights": {"a": 1, "b": 1}, "kind": "combination"}, "which add up to 0"),
        ({"factors": {}}, "(settings).factors: expected at least one entry"),  # or the claim would have no row at all
        ({"factors": {"a": ["x"], "b": ["y"]}}, "a cannot be told from the mean of all"),
    ],
)
def test_a_mistake_in_a_contrast_is_told_in_one_line(tmp_path, change, message):
    entry = {key: value for key, value in {**contrast(HALF), **change}.items() if value is not None}
    path = tmp_path / "claims.yaml"
    file = {"margins": {**MARGINS}, "claims": [{"id": "C25", "claim": "It helps.", "contrasts": [entry]}]}
    file["claims"][0]["measures"] = ["loss_gap"]
    path.write_text(yaml.safe_dump(file))
    with pytest.raises(InputError) as error:
        read_claims(path)
    assert message in str(error.value)


def test_a_plan_counts_a_test_for_each_effect():
    experiment = synthetic.experiment(["rt-snippets"], [name(cell) for cell in HALF])
    file = claims(contrast(HALF), measures=["loss_gap"])
    rows = list(needs(experiment, file, planned_runs(experiment)))
    assert len(rows) == 7
    assert {need.lacks for need in rows} == {None}
    assert "a × b + c × d" in plan(experiment, file, None)
