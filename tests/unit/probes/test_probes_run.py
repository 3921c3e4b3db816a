"""Probes of tiny trained runs: whole records, edge cases, dials on models whose dependence is known."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from transformers import AutoTokenizer
from transformers.modeling_outputs import SequenceClassifierOutput

from maskbench.analysis.metrics import OUTCOME_COLUMNS
from maskbench.analysis.outcomes import Outcomes
from maskbench.config.conditions import Condition
from maskbench.config.measures import MEASURES, measure
from maskbench.config.probes import PROBES, ProbeName
from maskbench.errors import InputError
from maskbench.models.tokens import add_mask_token
from maskbench.probes import fit, input, knowledge, oracle, reference, task, trajectory
from maskbench.probes.errors import UnmeasuredError
from maskbench.probes.registry import REGISTRY, probe, texts_of
from maskbench.probes.run import probe_run
from maskbench.probes.subject import Subject, Wanted
from maskbench.probes.trained import load_model, only
from maskbench.records.probe import ProbeRecord
from maskbench.slots.device import choose
from maskbench.training.run import Inputs, Run
from tests.helpers.models import GOOD, make_gpt2
from tests.helpers.probed_runs import DRIFT, EXAMPLES, TAGS, TEXTS, Bench, cell_of, sequential, settings, values

KINDS = [TEXTS, TAGS]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench.make(tmp_path_factory.mktemp("bench"))


def follows(dial, found):
    return spearmanr(dial, found).statistic == pytest.approx(1.0)


def rows_of(probe_of, subject):
    return {metric.measure: metric.value for metric in probe_of(subject)}


# --- the registry, and whole records


def test_every_probe_of_the_configuration_is_there():
    assert set(REGISTRY) == set(get_args(ProbeName))


def test_two_probes_of_one_name_are_refused():
    with pytest.raises(TypeError, match="two probes are called 'cue'"):
        probe("cue")(lambda subject: iter(()))


SHARED = {
    *("ece", "brier", "distractor_drop", "distractor_flip_rate", "perturbation_drop", "perturbation_drop:swap-10"),
    *("perturbation_drop:delete-10", "perturbation_drop:drop-10", "perturbation_flip_rate:drop-10"),
    *("perturbation_flip_rate", "masking_drop", "masking_drop:mask-10", "masking_flip_rate", "aligned_score"),
    *("conflicting_score", "cue_reliance", "worst_group_score", "representation_drift"),
    *("output_drift", "moved_drift"),
    *("representation_drift:embeddings", "representation_drift:layer-0", "representation_drift:layer-1"),
    *("parameter_drift", "parameter_drift:layer-1", "changed_weights", "changed_weights:embeddings", "mlm_loss"),
    *("mlm_forgetting", "probing_accuracy", "probing_drop", "probing_accuracy:length", "probing_drop:word-content"),
    *("ood_score", "ood_score:away", "ood_drop", "ood_drop:away", "distractor_drop_blocked", "distractor_excess"),
    "probe_time",
}
OWN = {
    "clean": set(),
    "noise-30": {"flipped_agreement", "noise_memorisation"},
    "cue-95": set(),
    "after": {"sequence_score:1-1", "sequence_score:1-2", "sequence_score:2-1", "sequence_score:2-2", "forgetting"},
}
MAY_BE_EMPTY = {"unseen_f1"}  # no new mention stands in the tiny sentences


def contributions_add_up(subject, outcomes, found, path):
    """Every measure that has contributions is the number that they add up to: reading them checks it."""
    table = subject.predictions.table
    parts = [outcomes, table[["example", "hit", "weight"]].assign(set="test")]
    nats = table[["example", "nll", "units"]].rename(columns={"nll": "hit", "units": "weight"})
    parts.append(nats.assign(set="test:loss"))
    cell = subject.cell
    pd.concat(parts).assign(run=cell.run)[list(OUTCOME_COLUMNS)].to_parquet(path, index=False)
    known = Outcomes(path, 20, 0)
    row = (cell.run, cell.task, cell.model, cell.strategy.name, cell.regime_name, cell.condition.name, "60", cell.seed)
    columns = ["run", "task", "model", "strategy", "regime", "condition", "train_size", "seed"]
    runs = pd.DataFrame([row], columns=columns)
    resampled = set()
    for name, value in found.items():
        points = 100 if measure(name).unit == "fraction" else 1
        if value is not None and known.resampled(name, runs, pd.Series({cell.run: points * value})):
            resampled.add(name)
    expected = {"ece", "brier", "distractor_drop", "distractor_flip_rate", "perturbation_flip_rate", "masking_drop"}
    expected |= {"mlm_loss", "mlm_forgetting", "probing_drop", "probing_accuracy", "cue_reliance", "worst_group_score"}
    expected |= {"ood_score", "ood_drop", "distractor_excess"}
    expected |= {"seen_f1", "unseen_f1"} if cell.kind == TAGS else set()
    expected |= {"flipped_agreement", "noise_memorisation"} if cell.condition.kind == "label-noise" else set()
    expected |= {"forgetting", "backward_transfer"} if cell.regime == "sequential" else set()
    assert resampled >= {name for name in expected if found.get(name) is not None}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["clean", "label-noise:0.3", "cue:0.95", "after"])
def test_a_record_holds_what_its_run_has_a_use_for(bench, kind, what, tmp_path):
    cell = sequential(kind) if what == "after" else cell_of(kind, condition=what)
    record, outcomes = bench.probe(cell)
    found = values(record)
    own = OWN[what if what == "after" else cell.condition.name]
    tagging = {"seen_f1", "unseen_f1"} if kind == TAGS else set()
    assert found.keys() > SHARED | own | tagging
    others = set().union(*OWN.values()) - own
    assert found.keys() & others == set()
    assert {name for name, value in found.items() if value is None} <= MAY_BE_EMPTY
    assert [point.step for point in record.trajectory] == [20, 40, 60]
    # each measure that has a value at matched score is measured along the training, where the run has it
    wanted = {entry.name for entry in MEASURES.values() if entry.along}
    wanted -= set() if what == "after" else {"forgetting"}
    wanted -= set() if what == "label-noise:0.3" else {"noise_memorisation"}
    assert all(point.measures.keys() >= wanted for point in record.trajectory)
    assert not any(":" in name for point in record.trajectory for name in point.measures)
    assert all(None not in point.measures.values() for point in record.trajectory)
    assert all(metric.split == measure(metric.measure).split for metric in record.metrics)
    sets = {"distractor", "swap-10", "delete-10", "drop-10", "mask-10", "aligned", "conflicting"}
    sets |= {"ood>away", "distractor-blocked"}
    whole = {name for name in outcomes["set"] if ":" not in name}
    assert whole == sets | ({"1-1", "2-1"} if what == "after" else set())
    assert not outcomes.duplicated(["set", "example"]).any()
    away = outcomes[outcomes["set"] == "ood>away:document"]
    assert set(away["hit"]) == ({0.0, 1.0} if kind == TEXTS else set())  # which of its texts are drawn together
    assert len(away) == (outcomes["set"] == "ood>away").sum() * (kind == TEXTS)
    contributions_add_up(bench.subject(cell), outcomes, found, tmp_path / "outcomes.parquet")
    part = outcomes[outcomes["set"] == "aligned"]
    assert part["hit"].sum() / part["weight"].sum() == pytest.approx(found["aligned_score"])
    record.write(tmp_path / "metrics.json")
    assert ProbeRecord.read(tmp_path / "metrics.json") == record


@pytest.mark.parametrize("cell", [cell_of(TEXTS), cell_of(TAGS)], ids=KINDS)
def test_drops_are_against_the_same_examples_as_they_are(bench, cell):
    record, outcomes = bench.probe(cell)
    predicted = bench.subject(cell).predictions.table.set_index("example")
    part = outcomes[outcomes["set"] == "swap-10"]
    assert len(part) == EXAMPLES
    clean = predicted.loc[part["example"]]
    drop = clean["hit"].sum() / clean["weight"].sum() - part["hit"].sum() / part["weight"].sum()
    assert values(record)["perturbation_drop:swap-10"] == pytest.approx(100 * drop)
    names = [f"perturbation_drop:{kind}-10" for kind in ("swap", "delete", "drop")]
    assert values(record)["perturbation_drop"] == pytest.approx(np.mean([values(record)[name] for name in names]))


def test_only_what_is_wanted_is_measured(bench):
    record, outcomes = bench.probe(cell_of(), measure=["parameter-drift"])
    assert {metric.measure.partition(":")[0] for metric in record.metrics} == {
        "parameter_drift",
        "changed_weights",
        "moved_drift",
        "probe_time",
    }
    assert list(outcomes.columns) == ["set", "example", "hit", "weight"]
    assert outcomes.empty
    record, _ = bench.probe(cell_of(), measure=["perturbation"], perturbations=["drop"], levels=[5, 20])
    names = {"perturbation_drop:drop-5", "perturbation_drop:drop-20", "perturbation_drop"}
    assert {name for name in values(record) if "_drop" in name} == names


@pytest.mark.parametrize("strategy", [None, {"name": "w", "attention": {"kind": "window", "width": 1, "at": "always"}}])
@pytest.mark.parametrize("kind", KINDS)
def test_probes_compute_what_the_evaluation_of_the_run_computed(bench, kind, strategy):
    """Also where an attention mask belongs to the model: probes see it as the run's own evaluation did."""
    cell = cell_of(kind, strategy=strategy)
    subject = bench.subject(cell)
    found = subject.outcome(subject.unchanged).table
    wanted = only(subject.predictions, found["example"]).table
    np.testing.assert_allclose(found["nll"], wanted["nll"], rtol=1e-5, atol=1e-6)
    same = [np.array_equal(*pair) for pair in zip(found["prediction"], wanted["prediction"], strict=True)]
    assert all(same)
    if strategy is not None:
        subject = bench.subject(cell)
        subject._shown = None  # without the mask it is another model
        other = subject.outcome(subject.unchanged).table
        assert not np.allclose(other["nll"], wanted["nll"], rtol=1e-5)


def test_each_text_is_passed_over_once(bench):
    """Whatever sets it stands in; for two of three steps along it is again, and the masked texts are for each step."""
    subject = bench.subject(cell_of())
    texts = []
    handle = subject.model.base_model.register_forward_pre_hook(
        lambda module, args, keys: texts.append(len(args[0] if args else keys["input_ids"])), with_kwargs=True
    )
    sets = {one.name: one.rows for one in texts_of(subject, subject.wanted)}
    # test-time sets, one from elsewhere; test, train and trained texts, and those that drift is measured on
    assert len(sets) == 7 + 1 + 4
    distinct = len({(tuple(row["input_ids"]), row["labels"]) for rows in sets.values() for row in rows})
    assert distinct < sum(len(rows) for rows in sets.values())
    subject.read(texts_of(subject, subject.wanted))
    assert sum(texts) == distinct
    for name in subject.wanted:
        if name != "trajectory":
            list(REGISTRY[name](subject))
    # no probe asked for a set that was not read before; what is hidden is tried on one text, then on all
    hidden = EXAMPLES + 1
    assert sum(texts) == distinct + EXAMPLES + hidden
    list(REGISTRY["trajectory"](subject))
    handle.remove()
    # the best step is the model itself: of it, only the masked texts are passed over
    assert sum(texts) == 3 * (distinct + EXAMPLES) + EXAMPLES + 3 * (hidden - 1) + 1


@pytest.mark.parametrize("cell", [cell_of(condition="label-noise:0.3"), sequential(TAGS)], ids=["noise", "after"])
def test_a_point_has_the_numbers_of_a_run_that_ended_there(bench, cell, tmp_path):
    """Another run whose model, and whose predictions, are those of the first evaluation; its probes say the same."""
    record, outcomes = bench.probe(cell, levels=[20])
    first = record.trajectory[0]
    sources = copied(bench, cell, tmp_path)
    model = sources.run / "model"
    shutil.copy(model / "along" / f"step-{first.step}.safetensors", model / "model.safetensors")
    ended = Subject(cell, sources, settings(examples=None, levels=[20]), choose(cell.training))
    texts = {"train": ended.trained_texts, "test": ended.split(sources.clean, "test").to_list()}
    scored = {name: ended.outcome(Wanted(name, rows)) for name, rows in texts.items()}
    scored["test"].table.to_parquet(sources.run / "predictions.parquet")
    wanted = [name for name in PROBES if name not in ("trajectory", "attributions")]  # the last is off
    found, _ = probe_run(cell, sources, settings(levels=[20], measure=wanted), choose(cell.training), code="c")
    alone = values(found)
    fixed = only(scored["test"], bench.subject(cell).examples)
    sure, right, _ = fit.confidences(fixed)
    alone |= {"ece": fit.ece(sure, right), "brier": fit.brier(fixed)}  # a probe has them of all test texts
    moved = 100 * (fixed.score - scored["test"].score)  # texts from elsewhere are compared with all of them, too
    alone |= {name: value + moved for name, value in alone.items() if name.partition(":")[0] == "ood_drop"}
    assert first.measures.keys() - alone.keys() == {"loss_gap", "score_gap"}  # the run's own, not a probe's
    for name, value in first.measures.items():
        if name in alone:
            assert value == pytest.approx(alone[name], abs=1e-5), name
    assert any(abs(value - values(record)[name]) > 1e-3 for name, value in first.measures.items() if name in alone)
    train = only(scored["train"], [row["example"] for row in bench.subject(cell).trained_texts])
    assert first.measures["loss_gap"] == pytest.approx(fixed.loss - train.loss, abs=1e-5)
    assert first.measures["score_gap"] == pytest.approx(100 * (train.score - fixed.score), abs=1e-5)
    # and outcomes are of the model that is left, not of a moment on the way
    plain = bench.probe(cell, levels=[20], measure=wanted)[1]
    pd.testing.assert_frame_equal(outcomes, plain)


def test_the_gap_along_the_training_is_the_runs_own_where_all_texts_are_looked_at(bench):
    cell = cell_of()
    subject = Subject(cell, bench.sources(cell), settings(examples=None, measure=[]), choose(cell.training))
    step = max(subject.record.history, key=lambda row: (row.score, -row.step)).step
    recorded = {(item.split, item.measure): item.value for item in subject.record.metrics}
    state = load_file(bench.sources(cell).run / "model" / "along" / f"step-{step}.safetensors")
    with subject.weights(state, step):
        found = {metric.measure: metric.value for metric in trajectory._gaps(subject)}
    for name in ("loss_gap", "score_gap"):
        assert found[name] == pytest.approx(recorded["test", name], abs=1e-4)


def test_only_wanted_probes_are_measured_along_the_training(bench):
    record, outcomes = bench.probe(cell_of(), measure=["distractor", "trajectory"])
    always = {"loss_gap", "score_gap", "representation_drift", "output_drift"}
    always |= {"parameter_drift", "changed_weights", "moved_drift"}
    for point in record.trajectory:
        assert point.measures.keys() == always | {
            "distractor_drop",
            "distractor_flip_rate",
            "distractor_drop_blocked",
            "distractor_excess",
        }
    assert {name.partition(":")[0] for name in outcomes["set"]} == {"distractor", "distractor-blocked"}


def test_the_trajectory_ends_at_the_model_if_the_last_one_is_the_best(bench):
    for cell in (cell_of(), sequential(TAGS)):
        record, _ = bench.probe(cell)
        history = bench.subject(cell).record.history
        best = max(history, key=lambda row: (row.score, -row.step))
        point = next(point for point in record.trajectory if point.step == best.step)
        assert point.score == best.score
        assert point.measures["mlm_forgetting"] is not None  # so that it has a value at the matched score
        # of all test texts, or of other training texts
        elsewhere = {"ece", "brier", "loss_gap", "score_gap"}
        for name, value in point.measures.items():
            if name not in elsewhere:
                assert value == pytest.approx(values(record)[name], abs=1e-6)


# --- dials on models whose dependence is known


class Toy(torch.nn.Module):
    """Reads the label off the telling word, but for a share of the texts, in which something else decides.

    Which texts these are depends on their telling word and the word before it, in a fixed way.
    """

    def __init__(self, model, tokenizer, share, decide):
        super().__init__()
        self.config, self.share, self.decide = model.config, share, decide
        ids = tokenizer.convert_tokens_to_ids
        self.good = torch.tensor(ids(GOOD))
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask, **keys):
        up = torch.isin(input_ids, self.good).any(1).long()
        known = torch.where((input_ids > 4) & (input_ids < 25), input_ids, 0).sum(1)
        chosen = ((known * 7919) % 97) / 97 < self.share
        answer = torch.where(chosen, self.decide(input_ids, up), up)
        logits = 4.0 * torch.nn.functional.one_hot(answer, 2).float()
        return SequenceClassifierOutput(logits=logits + 0 * self.weight)


def toy(bench, condition, share, decide):
    """Return a trained run as probes see it, with a toy in the place of its model and its predictions."""
    subject = bench.subject(cell_of(condition=condition))
    subject.settings = settings(examples=None)
    tokenizer = AutoTokenizer.from_pretrained(bench.model)
    subject.model = Toy(subject.model, tokenizer, share, decide)
    subject.predictions = subject.outcome(Wanted("clean", subject.split(subject.sources.clean, "test").to_list()))
    return subject


DIAL = [0.0, 0.25, 0.5, 0.75, 1.0]


def test_reliance_follows_a_model_that_follows_the_cue(bench):
    """The cue decides in a share s of the texts: reliance is 100 · s points, within the luck of 50 texts."""
    limestone = AutoTokenizer.from_pretrained(bench.model).convert_tokens_to_ids("limestone")

    def by_cue(ids, up):
        # limestone stands for the first class
        return torch.where((ids >= 25).any(1), (ids != limestone).all(1).long(), up)

    found = []
    for share in DIAL:
        subject = toy(bench, "cue:0.95", share, by_cue)
        measured = rows_of(input.cue, subject)
        assert measured["aligned_score"] == 1.0
        assert measured["cue_reliance"] == pytest.approx(100 * share, abs=15)
        assert measured["worst_group_score"] <= measured["conflicting_score"]
        found.append(measured["cue_reliance"])
    assert follows(DIAL, found)
    assert measured["worst_group_score"] == 0.0
    assert (found[0], found[-1]) == (0.0, 100.0)


def test_drops_follow_a_model_that_is_confused_by_what_is_new(bench, monkeypatch):
    """Unknown words beside the first number turn a share s of the answers."""

    def nothing_to_hide(*_):
        raise UnmeasuredError("a toy attends to nothing")

    monkeypatch.setattr(oracle, "blocked", nothing_to_hide)

    def confused(ids, up):
        return torch.where((ids == 1).sum(1) > 1, 1 - up, up)

    found = {"distractor_drop": [], "perturbation_drop:swap-10": [], "distractor_flip_rate": []}
    for share in DIAL:
        subject = toy(bench, "clean", share, confused)
        measured = rows_of(input.distractor, subject) | rows_of(input.perturbation, subject)
        for name, column in found.items():
            column.append(measured[name])
        assert measured["distractor_drop"] == pytest.approx(100 * share, abs=15)
        assert measured["distractor_flip_rate"] == pytest.approx(measured["distractor_drop"] / 100)
    for column in found.values():
        assert follows(DIAL, column)
    swap = found["perturbation_drop:swap-10"]
    for share, value in zip(DIAL, swap, strict=True):
        assert value == pytest.approx(swap[0] + share * (swap[-1] - swap[0]), abs=15)


def test_memorisation_follows_a_model_that_knows_flipped_labels(bench, monkeypatch):
    """A model that has learnt a share s of the flipped labels by heart, and a twin that learnt none."""
    found = []
    for share in DIAL:
        subject = toy(bench, "label-noise:0.3", 0.0, lambda ids, up: up)
        subject.settings = settings(examples=None)
        rows, flips = fit.flipped(subject)
        assert len(rows) == pytest.approx(0.3 * 160, abs=15)
        clean = {row["example"]: row["labels"] for row in subject.split(subject.sources.clean, "train")}
        assert all(flip[0][1] == 1 - clean[row["example"]] for row, flip in zip(rows, flips, strict=True))
        monkeypatch.setattr(fit, "load_model", lambda *_, twin=subject.model: twin)
        texts = {tuple(row["input_ids"]) for row in rows[: round(share * len(rows))]}

        def by_heart(ids, up, texts=texts):
            known = [tuple(row[row != 0].tolist()) in texts for row in ids]
            return torch.where(torch.tensor(known), 1 - up, up)

        subject.model = Toy(subject.model, AutoTokenizer.from_pretrained(bench.model), 1.0, by_heart)
        del subject.own  # of the toy without a memory
        measured = rows_of(fit.memorisation, subject)
        learnt = np.mean([tuple(row["input_ids"]) in texts for row in rows])
        assert measured["flipped_agreement"] == pytest.approx(learnt)
        assert measured["noise_memorisation"] == pytest.approx(learnt)
        assert learnt == pytest.approx(share, abs=0.1)
        found.append(measured["noise_memorisation"])
    assert follows(DIAL, found)


def test_drift_and_probing_follow_noise_in_the_weights(bench):
    """θ₀ + α · noise: parameter drift is exactly linear in α, the others rise with it, from nothing."""
    dial = [0.0, 0.02, 0.05, 0.1, 0.4]
    found = {"parameter_drift": [], "representation_drift": [], "output_drift": []}
    for scale in dial:
        still = {"epochs": 1, "learning_rate": 1e-9, "eval_batch_size": 8}
        subject = bench.subject(cell_of(seed=7, training=still))
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weight in subject.model.parameters():
                weight += scale * torch.randn(weight.shape, generator=generator)
        measured = rows_of(knowledge.representation_drift, subject) | rows_of(knowledge.parameter_drift, subject)
        for name, column in found.items():
            column.append(measured[name])
        assert measured["output_drift"] == measured["representation_drift:layer-1"]
        assert measured["moved_drift"] == pytest.approx(measured["parameter_drift"], rel=1e-3, abs=1e-6)  # all moved
        if not scale:
            nothing = rows_of(knowledge.probing, subject) | rows_of(knowledge.masked_lm, subject)
            assert nothing["probing_drop"] == 0
            assert nothing["mlm_forgetting"] == pytest.approx(0, abs=1e-5)
    for column in found.values():
        assert follows(dial, column)
        assert column[0] == pytest.approx(0, abs=1e-6)
    step = found["parameter_drift"][-1] / dial[-1]
    for scale, value in zip(dial, found["parameter_drift"], strict=True):
        assert value == pytest.approx(step * scale, rel=1e-4, abs=1e-6)
    assert 0.3 < found["representation_drift"][-1] < 1.1


# --- one task after another


def test_nothing_is_forgotten_where_nothing_moved(bench):
    subject = bench.subject(sequential(TAGS))
    first = task.First(subject)
    subject.model.base_model.load_state_dict(first.model.base_model.state_dict(), strict=False)
    subject.__dict__["model"] = first.model  # the first run's own encoder
    assert first.forgetting(first.after()) == pytest.approx(0)


def test_the_stages_by_hand(bench):
    """2-1 is the first run's model with the second one's encoder, loaded afresh; 1-2 what the second run began with."""
    cell = sequential(TAGS)
    measured = rows_of(task.forgetting, bench.subject(cell))
    sources = bench.sources(cell)
    subject = bench.subject(cell)
    first = bench.subject(cell_of(TEXTS))
    state = load_file(sources.before / "model" / "model.safetensors")
    state |= {
        name: weight
        for name, weight in load_file(sources.run / "model" / "model.safetensors").items()
        if name.startswith("bert.")
    }
    model = load_model(sources.before / "model", TEXTS, subject.device)
    model.load_state_dict(state)
    first.model = model
    score = first.outcome(first.unchanged).score
    assert measured["sequence_score:2-1"] == pytest.approx(score)
    clean = only(first.predictions, first.examples).score
    assert measured["sequence_score:1-1"] == pytest.approx(clean)
    assert measured["forgetting"] == pytest.approx(100 * (clean - score))
    assert measured["backward_transfer"] == pytest.approx(-measured["forgetting"])
    run = Run(cell, Inputs(sources.encoded, bench.model, sources.run / "w", start=sources.before), subject.device)
    tokenizer = AutoTokenizer.from_pretrained(bench.model)
    subject.model = run.build(tokenizer, add_mask_token(tokenizer))
    assert measured["sequence_score:1-2"] == pytest.approx(subject.outcome(subject.unchanged).score)


def test_a_first_run_without_a_model_leaves_its_numbers_empty(bench, tmp_path):
    cell = sequential(TAGS)
    gone = tmp_path / "before"
    shutil.copytree(bench.sources(cell).before, gone)
    shutil.rmtree(gone / "model")
    (gone / "model").mkdir()
    subject = bench.subject(cell, before=gone)
    measured = rows_of(task.forgetting, subject)
    assert measured["sequence_score:2-2"] is not None
    assert {measured[name] for name in ("forgetting", "backward_transfer", "sequence_score:1-1")} == {None}
    assert "forgetting: the run on the first task has no model" in subject.notes


# --- edge cases


def copied(bench, cell, folder):
    """Return the cell's sources, with a copy of the run that a test may break."""
    sources = bench.sources(cell)
    shutil.copytree(sources.run, folder / "run")
    return SimpleNamespace(**vars(sources) | {"run": folder / "run"})


def test_a_run_that_did_not_complete_is_not_probed(bench, tmp_path):
    cell = cell_of()
    sources = copied(bench, cell, tmp_path)
    record = bench.subject(cell).record.model_copy(update={"status": "diverged", "error": "loss is nan", "metrics": []})
    record.write(sources.run / "metrics.json")
    shutil.rmtree(sources.run / "model")
    (sources.run / "model").mkdir()
    found, outcomes = probe_run(cell, sources, settings(), choose(cell.training), code="c")
    assert (found.status, found.error) == ("not probed", "the run diverged: loss is nan")
    assert found.metrics == []
    assert outcomes.empty


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_are_not_finite_are_empty_and_said(bench, tmp_path, kind):
    cell = cell_of(kind)
    sources = copied(bench, cell, tmp_path)
    path = sources.run / "model" / "model.safetensors"
    state = load_file(path)
    state["bert.encoder.layer.1.output.dense.weight"][0, 0] = float("nan")
    save_file(state, path, metadata={"format": "pt"})
    found, outcomes = probe_run(cell, sources, settings(), choose(cell.training), code="c")
    assert found.status == "probed"
    measured = values(found)
    for name in ("distractor_drop", "perturbation_drop", "cue_reliance", "representation_drift", "mlm_loss"):
        assert measured[name] is None, name
    for name in ("probing_drop", "parameter_drift", "parameter_drift:layer-1", "masking_drop:mask-10"):
        assert measured[name] is None, name
    assert measured["ece"] is not None  # from the run's predictions
    assert measured["parameter_drift:layer-0"] is not None
    assert "distractor_drop: the model's logits are not finite" in found.notes
    assert "parameter_drift: a weight is not finite" in found.notes
    # nothing but what is counted in the run's own predictions
    assert {name.split(":")[0] for name in outcomes["set"]} <= {"test", "train"}
    assert not outcomes["set"].str.startswith(("test:masked-lm", "test:probing", "test:disagreement")).any()
    assert np.isfinite(outcomes[["hit", "weight"]].to_numpy()).all()
    assert [point.measures["parameter_drift"] is None for point in found.trajectory] == [False] * 3


def test_a_tagger_that_finds_nothing_is_no_robust_one(bench, tmp_path):
    cell = cell_of(TAGS)
    sources = copied(bench, cell, tmp_path)
    path = sources.run / "model" / "model.safetensors"
    state = load_file(path)
    state["classifier.bias"] = torch.tensor([100.0, 0, 0, 0, 0])
    save_file(state, path, metadata={"format": "pt"})
    table = pd.read_parquet(sources.run / "predictions.parquet")
    table["prediction"] = [np.zeros_like(tags) for tags in table["prediction"]]
    table["hit"] = 0.0
    table.to_parquet(sources.run / "predictions.parquet")
    found, _ = probe_run(cell, sources, settings(), choose(cell.training), code="c")
    measured = values(found)
    assert (measured["distractor_drop"], measured["distractor_flip_rate"], measured["seen_f1"]) == (0, 0, 0)
    assert measured["worst_group_score"] == 0
    assert any(note.startswith("the model finds no entity in any test text") for note in found.notes)


def test_groups_that_are_too_small_are_said(bench):
    subject = bench.subject(cell_of())
    assert (
        input._worst(subject, {"a": [(row, row < 9) for row in range(10)], "b": [(row, False) for row in range(4)]})
        == 0.9
    )
    assert subject.notes == ["worst_group_score: fewer than 5 examples of b, left out"]
    with pytest.raises(input.UnmeasuredError, match="no group is large enough"):
        input._worst(subject, {"b": []})
    subject.settings = settings(smallest_group=4)
    assert input._worst(subject, {"b": [(row, False) for row in range(4)]}) == 0.0


def test_drift_is_measured_on_so_many_tokens_of_so_many_texts():
    """Special tokens, of no word (−1), are left out; a smaller sample is another one of the same tokens."""
    rows = [{"words": [-1, 0, 1, 1, 2, -1]} for _ in range(10)]
    every = [(row, token) for row in range(3) for token in range(1, 5)]
    assert [tuple(place) for place in reference.places_of(rows, texts=3, tokens=12).tolist()] == every
    some = [tuple(place) for place in reference.places_of(rows, texts=3, tokens=5).tolist()]
    assert len(some) == 5
    assert some == sorted(set(some) & set(every))
    assert len(reference.places_of(rows, *DRIFT.values())) == 40


def test_label_noise_that_hit_nothing_and_a_missing_twin(bench, tmp_path):
    cell = cell_of(condition="label-noise:0.3")
    subject = bench.subject(cell, encoded=bench.encoded(TEXTS))
    assert rows_of(fit.memorisation, subject) == {"flipped_agreement": None, "noise_memorisation": None}
    assert subject.notes[0] == "flipped_agreement: no label among the run's training texts was flipped"
    subject = bench.subject(cell, twin=tmp_path)
    measured = rows_of(fit.memorisation, subject)
    assert measured["flipped_agreement"] is not None
    assert measured["noise_memorisation"] is None
    assert subject.notes == ["noise_memorisation: the clean-trained twin has no model"]


def test_a_model_that_is_not_there_is_a_clear_line(bench, tmp_path):
    cell = cell_of()
    sources = copied(bench, cell, tmp_path)
    shutil.rmtree(sources.run / "model")
    with pytest.raises(InputError, match=r"run/model: expected a trained model, found none; train the run again"):
        probe_run(cell, sources, settings(), choose(cell.training), code="c")


def test_missing_weights_along_the_way_are_a_clear_line(bench, tmp_path):
    cell = cell_of()
    sources = copied(bench, cell, tmp_path)
    (sources.run / "model" / "along" / "step-40.safetensors").unlink()
    with pytest.raises(InputError, match=r"expected the weights at steps 20, 40, 60, found 20, 60; train again"):
        probe_run(cell, sources, settings(), choose(cell.training), code="c")


def test_a_reference_of_other_texts_is_a_clear_line(bench):
    cell = cell_of()
    with pytest.raises(InputError, match="expected the test texts of this run"):
        bench.probe(cell, examples=EXAMPLES - 1)


def test_a_condition_has_its_own_cue_sets(bench):
    cell = cell_of(condition="cue:0.95")
    assert cell.condition == Condition.model_validate("cue:0.95")
    subject = bench.subject(cell, cue=None, cue_words=None)
    assert rows_of(input.cue, subject) == {}


def test_a_mention_is_in_the_group_of_what_stands_before_it(bench, monkeypatch):
    """In the conflicting set only some mentions of other types have the trigger: here every second one."""
    subject = bench.subject(cell_of(TAGS))
    words = subject.sources.cue_words
    texts = {name: subject.words(words, name) for name in ("aligned", "conflicting")}
    conflicting = texts["conflicting"]["tokens"]
    texts["conflicting"]["tokens"] = [
        ["the" if word == "limestone" and row % 2 else word for word in tokens]
        for row, tokens in enumerate(conflicting)
    ]
    monkeypatch.setattr(subject, "words", lambda folder, name: texts[name])

    def right(name):
        """Return the outcome of a tagger that makes no mistake."""
        tags = texts[name]["tags"]
        return SimpleNamespace(table=pd.DataFrame({"example": tags.index, "prediction": tags, "label": tags}))

    groups = input._groups(subject, right, words)
    assert all(hit for hits in groups.values() for _, hit in hits)
    count, half = len(conflicting), (len(conflicting) + 1) // 2
    assert {name: len(hits) for name, hits in groups.items()} == {
        "LOC with the cue": count,
        "LOC without the cue": count,
        "PER with the cue": half,
        "PER without the cue": 2 * count - half,
    }


# --- a model without a mask token and without a masked-LM head


def test_gpt2_is_probed(tmp_path):
    bench = Bench.make(tmp_path, make_gpt2(tmp_path / "model"), count=200)
    cell = cell_of(train_size=60)
    record, _ = bench.probe(cell)
    measured = values(record)
    assert "mlm_loss" not in measured
    assert record.notes == [] or all("masked" not in note for note in record.notes)
    manifest = bench.subject(cell).reference.manifest
    assert manifest.notes == ["masked-lm: expected a model with a masked-LM head; one of type gpt2 has none"]
    assert 0 < measured["parameter_drift:embeddings"] < 10
    assert {name for name, value in measured.items() if value is None} == set()


# --- a head in the model's file that was trained for something else


def test_a_head_that_the_configuration_disowns_is_not_measured(bench, tmp_path):
    """`masked_lm: false`, as for bert-tiny, whose file holds SPLADE's head."""
    cell = cell_of()
    folder, reference_folder = tmp_path / "disowned", bench.sources(cell).reference
    keys = {"max_test": None, "examples": EXAMPLES, "batch_size": 8, "device": choose(cell.training), "code": "c"}
    reference.make(bench.encoded(TEXTS), bench.model, folder, masked_lm=False, **keys, **DRIFT)
    disowned, used = reference.Reference.read(folder).manifest, reference.Reference.read(reference_folder).manifest
    assert used.masked_lm is not None  # the file has a head
    assert disowned.masked_lm is None
    assert disowned.notes == ["masked-lm: the configuration says masked_lm: false"]
    assert disowned.probing == used.probing
    measured = {metric.measure for metric in knowledge.masked_lm(bench.subject(cell, reference=folder))}
    assert measured == set()
