"""The file of claims: what comes with maskbench is complete, and mistakes end in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from maskbench.analysis.plan import Recorded, needs, plan, planned_runs
from maskbench.config.contrast import unit_of
from maskbench.config.measures import MEASURES
from maskbench.errors import InputError
from maskbench.experiment.claims import claims_file, claims_hash, read_claims
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.load import load, load_file, read_mapping
from maskbench.experiment.presets import presets
from maskbench.io.code import ROOT
from maskbench.io.files import write_json
from maskbench.masks.strategy import TWINS
from tests.helpers import run_folders as synthetic
from tests.unit.analysis.test_verdicts import scores, study

FILE = ROOT / "claims.yaml"


def test_all_claims_are_there():
    assert [claim.id for claim in read_claims(FILE).claims] == [f"C{number:02d}" for number in range(1, 29)]


def test_strategies_are_presets_or_their_twins_or_doses_and_controls_that_an_experiment_defines():
    file = read_claims(FILE)
    contrasts = [one for entry in [*file.claims, *file.gates] for one in entry.contrasts]
    names = {arm.strategy for contrast in contrasts for arm in contrast.arms}
    known = set(presets()["strategies"])
    twins = {f"{name}-{twin}" for name in known for twin in TWINS}
    patterns = {"*", *(f"*-{twin}" for twin in TWINS)}
    own = {"random-05", "random-30", "random-45", "random-60", "random-90", "none-hot", "bare"}
    own |= {"decay-dropout", "decay-early", "decay-slow", "dropout-early", "dropout-slow", "early-slow"}
    own |= {"decay-dropout-early-slow"}
    assert names - known - twins - patterns == own


def test_every_unit_that_has_a_direction_has_a_margin():
    file = read_claims(FILE)
    directed = [entry.name for entry in MEASURES.values() if entry.better != "neither"]
    assert {unit_of(name) for name in directed} == {"points", "nats", "per cent", "coefficient"}
    assert all(file.margin(name).pooled > 0 for name in directed)


def test_coefficients_of_two_kinds_have_a_margin_each_and_drift_of_weights_is_a_ratio():
    file = read_claims(FILE)
    assert "coefficient" not in file.margins
    assert file.margin("representation_drift:layer-1") == file.margin("matched_representation_drift")
    assert file.margin("gradient_cosine").pooled == 2 * file.margin("representation_drift").pooled
    assert unit_of("parameter_drift") == unit_of("matched_parameter_drift") == "per cent"
    assert file.margin("matched_parameter_drift").pooled == 10


def test_measures_are_at_home_where_they_are_about_something():
    assert MEASURES["forgetting"].home == "after-*"
    assert MEASURES["negative_transfer"].home == "with-*"
    assert MEASURES["cue_reliance"].home == "cue"
    assert MEASURES["noise_memorisation"].home == "noise"
    assert MEASURES["score"].home == MEASURES["matched_representation_drift"].home == "single"


def test_a_gate_guards_a_measure_and_its_parts_and_no_other():
    gates = {gate.gate: gate for gate in read_claims(FILE).gates}
    assert gates["masked-away"].guarded("score")
    assert not gates["masked-away"].guarded("score_gap")
    part = gates["masked-away"].model_copy(update={"guards": ["perturbation_drop"]})
    assert part.guarded("perturbation_drop:swap-10")
    assert gates["rate-zero"].guarded("loss_gap")


def changed(tmp_path, change):
    content = yaml.safe_load(FILE.read_text())
    change(content)
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda file: file["claims"][0].update(measures=["bleu"]),
            "claims[0].measures[0] (bleu): expected a measure of",
        ),
        (lambda file: file["claims"][0].update(measures=["score_sd"]), "score_sd is of all seeds of a cell together"),
        (lambda file: file["claims"][0].update(measures=["steps"]), "of which more or less is better"),
        (
            lambda file: file["gates"][3]["contrasts"][0].update(kind="labels"),
            "expected a control to compare runs, which the kind labels does not",
        ),
        (
            lambda file: file["gates"][3].update(measures=["labels_needed"]),
            "expected a control to compare runs, which the kind labels does not",
        ),
        (
            lambda file: file["gates"][3]["contrasts"][0].update(kind="property"),
            "expected a control to compare runs, which the kind property does not",
        ),
        (lambda file: file["claims"][0].update(mesures=[]), "unknown key mesures; did you mean measures?"),
        (lambda file: file["claims"][0].update(id="C02"), "claims: expected each once, found C02 twice"),
        (lambda file: file["claims"][0].pop("contrasts"), "expected contrasts, or `why` there are none"),
        (lambda file: file["claims"][0]["contrasts"][0].pop("against"), "expected the arm `against`"),
        (lambda file: file["claims"][0]["contrasts"][0].update(of="No"), "of.strategy: expected text of the form"),
        (lambda file: file["claims"][4]["contrasts"][1].update(kind="paired"), "doses and the kind trend go together"),
        (lambda file: file["claims"][4]["contrasts"][1].update(doses={"none": 0}), "at least three different ones"),
        (
            lambda file: file["margins"].pop("nats"),
            "expected a margin for each unit and each coefficient, nats missing",
        ),
        (lambda file: file["margins"].pop("mcc"), "expected a margin for each unit and each coefficient, mcc missing"),
        (lambda file: file["margins"].update(ratio=0.005), "or measures of which more or less is better, got ratio"),
        (lambda file: file["margins"].update(nats=0), "expected a number above 0.0, got 0"),
        (lambda file: file["gates"][0].update(kind="nul"), "expected 'identical', 'null' or 'positive'"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_file_and_key(tmp_path, change, message):
    path = changed(tmp_path, change)
    with pytest.raises(InputError) as error:
        read_claims(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_an_experiment_names_its_claims_and_another_content_has_another_hash(tmp_path):
    path = changed(tmp_path, lambda file: file["margins"].update(nats=0.03))
    content = synthetic.experiment(["rt-snippets"], ["none", "random"])
    assert claims_file(content) == FILE
    assert claims_file(synthetic.experiment(["rt-snippets"], ["none"], claims=str(path))) == path
    assert claims_hash(path) != claims_hash(FILE)


def test_a_plan_says_what_can_be_decided(tmp_path):
    file = read_claims(FILE)
    few = plan(synthetic.experiment(["rt-snippets", "conll2003"], ["none", "random", "static"], 5), file, None)
    assert "30 cells, 5 seeds" in few
    assert "5 seeds can never reject, 6 can" in few
    assert "26 of 28 claims" in few  # two properties are told by any run
    assert "holds or false, from any run" in next(line for line in few.splitlines() if line.startswith("C15"))
    assert "C16  freeze vs none: The study has no strategy freeze." in few
    many = plan(synthetic.experiment(["rt-snippets", "conll2003"], ["none", "random", "static"], 40), file, None)
    line = next(line for line in many.splitlines() if line.startswith("C02"))
    words = line.split()
    assert words[4:10] == ["score", "1", "–", "assumed", "0.5", "points"]
    assert float(words[-2]) == pytest.approx(0.6, abs=0.07)  # the minimum detectable effect of 40 seeds
    assert "C02" not in next(line for line in many.splitlines() if line.startswith("Not decided"))


def test_a_plan_names_the_controls_that_are_missing():
    file = read_claims(FILE)
    text = plan(synthetic.experiment(["rt-snippets"], ["none", "random"], 8), file, None)
    assert "Controls that this experiment lacks: 8 of 8; verdicts are unguarded" in text
    assert (
        "  hot  The study has no strategy none-hot. Unguarded: forgetting, matched_forgetting, backward_transfer."
        in text
    )
    assert "  halves  8 seeds can never differ at 1 %, 10 can. Unguarded: all measures." in text
    ten = plan(synthetic.experiment(["rt-snippets"], ["none", "random"], 10), file, None)
    assert "halves" not in ten


@pytest.mark.parametrize(("wanted", "missing"), [(["trajectory"], False), (["representation-drift"], True)])
def test_a_plan_says_that_values_at_matched_score_take_the_trajectory(wanted, missing):
    keys = {"regimes": ["single", "sequential"], "probes": {"measure": wanted}}
    experiment = synthetic.experiment(["rt-snippets", "conll2003"], ["none", "random", "freeze"], 10, **keys)
    every = list(needs(experiment, read_claims(FILE), planned_runs(experiment)))
    lacks = {need.measure: need.lacks for need in every if need.contrast.name in ("freeze vs none", "random vs none")}
    words = "The probe trajectory is not among those to measure." if missing else None
    assert [lacks[f"matched_{name}"] for name in ("forgetting", "moved_drift")] == [words] * 2
    assert lacks["steps_to_score"] is None


def test_a_plan_says_what_evaluations_and_test_sets_are_too_few_for():
    file = read_claims(FILE)
    text = plan(synthetic.experiment(["rt-snippets"], ["none", "random"], 10), file, None)
    assert "2 evaluations of a run are too few" in text
    coarse = "masking_flip_rate, ood_drop, ood_score, perturbation_drop, perturbation_flip_rate"
    assert f"One text of a test-time set of 200 is 0.5 points of a task, no less than δ: {coarse}" in text
    more = {"training": {"evaluations_per_epoch": 5}, "probes": {"examples": 2000}}
    text = plan(synthetic.experiment(["rt-snippets"], ["none", "random"], 10, **more), file, None)
    assert "too few" not in text
    assert "test-time set" not in text


def test_a_plan_takes_spreads_and_times_from_a_recorded_study(tmp_path):
    metrics = study(scores({"none": 0.0, "random": 1.0}, sd=0.01), seeds=10, tasks=("rt-snippets",))
    metrics.to_csv(tmp_path / "metrics.csv", index=False)
    timings = {"wall_s": 100.0, "train_s": 90.0}
    run = "rt-snippets.minilm-l6.none.single.clean.n1000.s1"
    write_json(tmp_path / "manifest.json", {"records": [{"run": run, "timings": timings, "probes": None}]})
    recorded = Recorded.read(tmp_path, read_claims(FILE))
    text = plan(synthetic.experiment(["rt-snippets"], ["none", "random"], 18), read_claims(FILE), recorded)
    assert "About 1.9 hours" in text  # 36 cells of 10 + 2 × 90 seconds
    line = next(line for line in text.splitlines() if line.startswith("C02"))
    value = metrics[metrics["measure"] == "score"].pivot_table(index="seed", columns="strategy", values="value")
    assert line.split()[5:8] == [f"{100 * (value['random'] - value['none']).std():.2g}", "–", "recorded"]
    assert "has no outcomes.parquet: test texts are not counted" in text


ELSEWHERE = {
    "C12": "experiments/questions.yaml: masks of a question are refused by other tasks, and its text is the user's"
}
"""Claims that the plan of all claims leaves to another experiment, and why."""


def test_every_claim_is_decided_by_some_experiment():
    file = read_claims(FILE)
    decided = set()
    for path in sorted((ROOT / "experiments").glob("*.yaml")):
        experiment = load(read_mapping(path), [path], runs_here=False)
        if claims_file(experiment) == FILE:
            rows = needs(experiment, file, planned_runs(experiment))
            decided |= {need.claim.id for need in rows if need.lacks is None}
    assert {claim.id for claim in file.claims} == decided


def test_the_plan_of_all_claims_names_none_as_impossible():
    """What its seeds can reject is told for each; a claim that no contrast is stated for is in its list alone."""
    file = read_claims(FILE)
    text = plan(load_file(ROOT / "experiments/claims.yaml"), file, None)
    line = next(line for line in text.splitlines() if line.startswith("Not decided by this experiment"))
    assert line == f"Not decided by this experiment: {len(ELSEWHERE)} of 28 claims ({', '.join(ELSEWHERE)})"
    assert "can never reject" not in text
    assert "Controls that this experiment lacks" not in text


def test_a_model_takes_the_strategies_that_it_names():
    own = [{"preset": "minilm-l6"}, {"preset": "bert-tiny", "strategies": ["none"]}]
    runs = planned_runs(Experiment.model_validate(content(own)))
    assert runs.groupby("model")["strategy"].unique().map(set).to_dict() == {
        "minilm-l6": {"none", "random"},
        "bert-tiny": {"none"},
    }


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["none", "rondom"], "model bert-tiny names the strategy 'rondom', which is not among none, random"),
        (["random"], "model bert-tiny: expected the baseline none among its strategies"),
    ],
)
def test_a_model_names_strategies_that_there_are_and_the_baseline(names, message):
    with pytest.raises(ValueError, match=message):
        Experiment.model_validate(content([{"preset": "bert-tiny", "strategies": names}]))


def content(models):
    about = {"study": "s", "tasks": ["rt-snippets"], "strategies": ["none", "random"], "seeds": [1]}
    return {**about, "models": models}


def test_the_command_line_prints_a_plan_without_torch(tmp_path):
    call = "import runpy, sys; sys.path.insert(0, 'scripts'); sys.argv = ['plan.py', '--configfile', 'config.yaml']; "
    call += "runpy.run_path('scripts/plan.py', run_name='__main__'); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("quickstart: ")
