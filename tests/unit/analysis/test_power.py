"""What it takes to decide, against simulated studies; a plan tells what the verdicts of the same study tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from maskbench.analysis import detection, statistics
from maskbench.analysis.metrics import OUTCOME_COLUMNS
from maskbench.analysis.plan import Recorded, plan
from maskbench.analysis.power import Varying, chance_of_equivalence, seeds_for_equivalence, seeds_to_find
from maskbench.analysis.verdicts import judge, measured
from maskbench.config.science import EFFECT_TO_FIND
from maskbench.experiment.claims import read_claims
from maskbench.experiment.load import load_file
from maskbench.io.code import ROOT
from maskbench.io.files import write_json
from tests.helpers import run_folders as synthetic
from tests.unit.analysis.test_verdicts import PAIR, claims, row, scores, study

FILE = ROOT / "claims.yaml"


def verdicts_of(varying, effect, n, margin, test="superior", studies=4000):
    """Return the verdicts of simulated studies of n seeds."""
    rng = np.random.default_rng(n)
    differences = effect + np.sqrt(varying.seeds) * rng.normal(size=(studies, n))
    spread = statistics.spread(differences)
    p = statistics.sign_flip(differences + (margin if test == "non-inferior" else 0.0), rng, 2000)
    return statistics.decide(p, spread.interval(0.95), spread.interval(0.90), spread.estimate, margin, test)


@pytest.mark.parametrize(("n", "chance"), [(10, 0.04), (20, 0.33), (34, 0.745)])
def test_equal_arms_are_called_equivalent_as_often_as_the_plan_says(n, chance):
    varying = Varying(1.0)
    found = (verdicts_of(varying, 0.0, n, 0.5) == "equivalent").mean()
    assert chance_of_equivalence(varying, n, 0.5) == pytest.approx(chance, abs=0.02)
    assert chance_of_equivalence(varying, n, 0.5) == pytest.approx(found, abs=0.02)


def test_seeds_for_equivalence_are_the_fewest_with_power():
    varying = Varying(1.0)
    n = seeds_for_equivalence(varying, 0.5)
    assert chance_of_equivalence(varying, n - 1, 0.5) < 0.8 <= chance_of_equivalence(varying, n, 0.5)
    assert seeds_for_equivalence(Varying(1.0, 0.5**2, 200), 0.5) is None  # the texts alone are too few
    assert chance_of_equivalence(varying, 5, 100.0) == 0.0


@pytest.mark.parametrize("effect", [EFFECT_TO_FIND * 0.5, 1.0])
def test_seeds_have_the_power_that_they_are_told_for(effect):
    varying = Varying(1.0)
    n = seeds_to_find(varying, effect, 1, 0.5, "superior")
    assert (verdicts_of(varying, effect, n, 0.5) == "supported").mean() == pytest.approx(0.8, abs=0.05)


def test_no_number_of_seeds_finds_an_effect_of_delta():
    """The estimate must reach δ, too: half the time it does not."""
    assert seeds_to_find(Varying(1.0), 0.5, 1, 0.5, "superior") is None


def test_non_inferiority_is_counted_from_minus_delta():
    varying = Varying(1.0)
    n = seeds_to_find(varying, 0.0, 1, 0.5, "non-inferior")
    assert (verdicts_of(varying, 0.0, n, 0.5, "non-inferior") == "supported").mean() == pytest.approx(0.8, abs=0.05)
    assert seeds_to_find(varying, 0.3, 1, 0.5, "non-inferior") < n / 2
    assert seeds_to_find(varying, -0.5, 1, 0.5, "non-inferior") is None


@pytest.mark.parametrize(("effect", "size"), [(-0.9, "the estimate"), (-1.2, "no difference")])
def test_a_note_of_non_inferiority_counts_from_minus_delta(effect, size):
    metrics = study(scores({"none": 0.0, "x": effect}, sd=0.02), tasks=("a",))
    found = row(judge(metrics, None, claims(PAIR, test="non-inferior")).verdicts, scope="pooled")
    assert found["verdict"] == "inconclusive"
    differences = judge(metrics, None, claims(PAIR)).pairs["difference"]
    better = max(found["estimate"], 0.0)
    n = seeds_to_find(Varying(differences.var()), better, 1, 0.5, "non-inferior")
    assert (found["estimate"] > 0) == (size == "the estimate")
    assert f"{n} seeds tell {size} from −δ with 80 % power." in found["note"]


def recorded(folder, seeds=10, examples=200):
    """Write a study whose texts differ more than its seeds; return what a plan takes from it."""
    rng, parts = np.random.default_rng(3), []
    metrics = study(lambda *_: {name: {"score": 0.0} for name in ("none", "random", "span")}, seeds=seeds)
    metrics = metrics.assign(task=metrics["task"].map({"a": "rt-snippets", "b": "conll2003"}))
    texts = {
        (task, name): rng.random(examples)
        for task in ("rt-snippets", "conll2003")
        for name in ("none", "random", "span")
    }
    for cell in metrics.drop_duplicates("run").itertuples():
        hit = (texts[cell.task, cell.strategy] + 0.02 * rng.normal(size=examples) < 0.8).astype(float)
        parts.append(
            pd.DataFrame({"run": cell.run, "set": "test", "example": range(examples), "hit": hit, "weight": 1.0})
        )
        metrics.loc[(metrics["run"] == cell.run) & (metrics["measure"] == "score"), "value"] = hit.mean()
    pd.concat(parts)[list(OUTCOME_COLUMNS)].to_parquet(folder / "outcomes.parquet", index=False)
    metrics.to_csv(folder / "metrics.csv", index=False)
    write_json(folder / "manifest.json", {"records": []})
    return Recorded.read(folder, read_claims(FILE), resamples=300)


def test_a_plan_counts_the_texts_and_the_tests_of_an_interaction_as_the_verdicts_do(tmp_path):
    known = recorded(tmp_path)
    score = known.spreads["C02", "random vs none", "score", "pooled"]
    assert score.examples > 3 * score.seeds / 10  # what the old plan left out
    interaction = known.spreads["C09", "span vs random", "score", "rt-snippets vs others"]
    assert interaction.seeds != score.seeds
    experiment = synthetic.experiment(["rt-snippets", "conll2003"], ["none", "random", "span"], 10)
    lines = plan(experiment, read_claims(FILE), known).splitlines()
    mde = detection.detectable(score.spread(10), 1, 0.5)
    assert next(line for line in lines if line.startswith("C02")).endswith(f"effects from {mde:.2g} points")
    line = next(line for line in lines if line.startswith("C09"))
    assert "span vs random, rt-snippets vs others" in line
    assert line.endswith(f"effects from {detection.detectable(interaction.spread(10), 1, 1.0):.2g} points")


def test_a_family_has_a_test_for_each_task_of_an_interaction():
    from maskbench.analysis.plan import needs, planned_runs

    names = ["rt-snippets", "conll2003", "more"]
    experiment = synthetic.experiment(names, ["none", "random", "span"], 10)
    planned = [need for need in needs(experiment, read_claims(FILE), planned_runs(experiment)) if not need.lacks]
    metrics = study(scores({"none": 0.0, "random": 0.1, "span": 0.2}), tasks=("rt-snippets", "conll2003", "more"))
    rows = [found for found in measured(read_claims(FILE), metrics, None) if not found.secondary]
    assert {(need.claim.id, need.contrast.name, need.scope) for need in planned if need.claim.id == "C09"} == {
        (found.claim.id, found.evidence.contrast.name, found.scope) for found in rows if found.claim.id == "C09"
    }


def test_a_plan_has_no_contrast_that_the_limits_leave_without_its_runs():
    from maskbench.analysis.plan import needs, planned_runs
    from maskbench.config.limits import Limit, Selection

    names = ["rt-snippets", "conll2003", "more"]
    experiment = synthetic.experiment(names, ["none", "random", "span"], 10)

    def planned(*tasks):
        limit = Limit(of=Selection(strategies=["span"]), only=Selection(tasks=list(tasks)))
        own = experiment.model_copy(update={"limits": [limit]})
        rows = [need for need in needs(own, read_claims(FILE), planned_runs(own)) if need.claim.id == "C09"]
        return [need for need in rows if need.contrast.name == "span vs random"]

    assert [need.scope for need in planned(*names)] == [f"{name} vs others" for name in names]
    assert [need.scope for need in planned(*names[:2])] == ["rt-snippets vs others"]
    few = Limit(of=Selection(tasks=names), only=Selection(seeds=[2, 3]))
    told = plan(experiment.model_copy(update={"limits": [few]}), read_claims(FILE), None)
    assert told.startswith(f"{experiment.study}: 18 cells, 2 seeds.")
    assert [need.lacks for need in planned("conll2003")] == [
        "An interaction takes two tasks, and the limits leave conll2003 alone."
    ]
    # each arm runs somewhere, but never both of them
    none = Limit(of=Selection(strategies=["random"]), only=Selection(tasks=["rt-snippets"]))
    span = Limit(of=Selection(strategies=["span"]), only=Selection(tasks=["conll2003", "more"]))
    own = experiment.model_copy(update={"limits": [none, span]})
    rows = [need for need in needs(own, read_claims(FILE), planned_runs(own)) if need.contrast.name == "span vs random"]
    assert [need.lacks for need in rows] == [
        "No task has all runs of it, as the limits leave them (rt-snippets, conll2003, more)."
    ]


def test_what_runs_at_tuned_rates_is_planned_beside_what_runs_at_the_shared_one():
    told = plan(load_file(ROOT / "experiments/reference-tuned.yaml"), read_claims(FILE), None)
    assert told.startswith("reference-tuned: 46 cells, 1 seed. ")
    shared, tuned = told.split("At tuned learning rates: 418 cells, 10 seeds.\n")
    rows = [next(line for line in half.splitlines() if line.startswith("C10 ")) for half in (shared, tuned)]
    assert [row.partition("keyword vs its rate twin")[2].split()[0] for row in rows] == ["score", "score"]
    assert "nothing: 1 seeds can never reject" in rows[0]
    assert "effects from" in rows[1]
    undecided = tuned.partition("Not decided by this experiment: ")[2].splitlines()[0]
    assert "C10" not in undecided  # at the shared rate it is not, with one seed
    assert "Tuning takes 276 trainings more" in tuned
