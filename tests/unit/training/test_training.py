"""Training one cell: pairing, evaluation without masks, statuses, the hooks."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

from maskbench.data.encode import load_encoded
from maskbench.errors import InputError
from maskbench.masks.base import AttentionMask, InputMask, Objective, ParameterMask
from maskbench.records.run import Record
from maskbench.slots.device import choose
from maskbench.training import run as module
from maskbench.training.arguments import arguments
from maskbench.training.run import Inputs, Run, run_cell
from maskbench.training.subsets import subset
from maskbench.training.trainer import MaskedTrainer, PairedOrder
from tests.helpers.models import make_cell, make_encoded, make_gpt2, make_model, same

KINDS = ["sequence-classification", "token-classification"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny model and both kinds of task, encoded for it."""
    base = tmp_path_factory.mktemp("tiny")
    model = make_model(base / "model")
    return {"model": model} | {kind: make_encoded(base / kind, model, kind) for kind in KINDS}


@pytest.fixture
def train(folders, tmp_path):
    """Train a cell and return its record, outcome and final weights."""

    def call(kind=KINDS[0], strategy=None, encoded=None, load=load_encoded, **keys):
        cell = make_cell(kind, strategy, **keys)
        kept = tmp_path / hashlib.sha256(cell.model_dump_json().encode()).hexdigest()[:8]
        inputs = Inputs(encoded or folders[kind], folders["model"], tmp_path / "work", kept, load=load)
        record, outcome = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
        weights = load_file(kept / "model.safetensors") if record.status == "completed" else None
        return SimpleNamespace(record=record, outcome=outcome, weights=weights, folder=kept)

    return call


def value(record, split, measure):
    return next(item.value for item in record.metrics if (item.split, item.measure) == (split, measure))


# --- pairing


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", ["random", "static"])
def test_a_mask_that_hits_nothing_is_bit_identical_to_none(train, kind, mask):
    none = train(kind)
    for entry in ({"kind": mask, "rate": 0}, {"kind": mask, "rate": 0.5, "apply": False}):
        other = train(kind, {"name": "masked", "input": entry})
        assert same(none.weights, other.weights)
        pd.testing.assert_frame_equal(none.outcome.table, other.outcome.table)
    assert not same(none.weights, train(kind, {"name": "masked", "input": {"kind": mask, "rate": 0.5}}).weights)


def test_a_run_repeats_itself_and_another_seed_does_not(train):
    assert same(train().weights, train().weights)
    assert not same(train().weights, train(seed=2).weights)


def test_the_number_of_workers_does_not_matter(train, monkeypatch):
    strategy = {"name": "r", "input": {"kind": "span", "rate": 0.4}}
    alone = train(strategy=strategy)

    def with_workers(run, examples):
        made = arguments(run, examples)
        made.dataloader_num_workers = 2
        return made

    monkeypatch.setattr(module, "arguments", with_workers)
    assert same(alone.weights, train(strategy=strategy).weights)


def test_length_groups_and_accumulation_keep_the_pairing(train):
    settings = {"training": {"gradient_accumulation": 2, "group_by_length": False}}
    none = train(**settings)
    assert same(none.weights, train(strategy={"name": "r", "input": {"kind": "random", "rate": 0}}, **settings).weights)


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_give_the_update_of_the_whole_batch(train, kind):
    settings = {"dropout": 0.0, "max_grad_norm": 0.0, "learning_rate": 1e-4}
    one, four = (train(kind, training={**settings, "gradient_accumulation": steps}).weights for steps in (1, 4))
    for name, weights in one.items():
        torch.testing.assert_close(weights, four[name], rtol=1e-3, atol=2e-5)


def test_order_depends_on_seed_and_epoch_alone():
    lengths = list(np.random.default_rng(0).integers(3, 30, 100))
    orders = {}
    for seed in (1, 2):
        for epoch in (0, 1):
            for draws in (0, 5):  # whatever else drew from the global generator
                torch.manual_seed(draws)
                order = PairedOrder(seed, 8, lengths, group=True)
                order.set_epoch(epoch)
                orders.setdefault((seed, epoch), set()).add(tuple(order))
    assert all(len(found) == 1 for found in orders.values())
    assert len({next(iter(found)) for found in orders.values()}) == 4
    assert sorted(next(iter(orders[1, 0]))) == list(range(100))


def test_subsets_are_nested_and_paired(folders):
    dataset = load_encoded(folders[KINDS[0]])["train"]
    small, large = (set(subset(dataset, size, 1)["example"]) for size in (10, 30))
    assert len(small) == 10
    assert small < large
    assert set(subset(dataset, 10, 2)["example"]) != small


# --- evaluation never masks; selection never sees test


def _watched(model, watch):
    model.register_forward_pre_hook(watch, with_kwargs=True)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_sees_the_text_as_it_is(folders, train, kind, monkeypatch):
    seen = {True: [], False: []}

    def watch(model, args, keys):
        seen[model.training].append((keys["input_ids"].clone(), keys["attention_mask"].clone()))

    original = Run.fresh_model
    monkeypatch.setattr(Run, "fresh_model", lambda self: _watched(original(self), watch))
    train(kind, {"name": "all", "input": {"kind": "random", "rate": 1.0}})
    mask_id = 4
    assert not any((ids == mask_id).any() for ids, _ in seen[False])
    for ids, real in seen[True]:  # everything but [CLS], [SEP] and padding
        assert ((ids == mask_id).sum(1) == real.sum(1) - 2).all()
    texts = {name: {tuple(row) for row in split["input_ids"]} for name, split in load_encoded(folders[kind]).items()}
    evaluated = {
        tuple(ids[: int(real.sum())].tolist()) for batch in seen[False] for ids, real in zip(*batch, strict=True)
    }
    assert texts["validation"] | texts["test"] < evaluated < set.union(*texts.values())


def test_the_selected_checkpoint_does_not_depend_on_the_test_split(train):
    none = train(training={"epochs": 3})

    def other(folder):
        splits = load_encoded(folder)
        flipped = splits["test"].map(lambda row: {"labels": 1 - row["labels"]}, load_from_cache_file=False)
        return splits | {"test": flipped}

    changed = train(training={"epochs": 3}, load=other)
    assert same(none.weights, changed.weights)
    assert changed.outcome.score == pytest.approx(1 - none.outcome.score)


def test_the_best_checkpoint_is_kept_and_training_stops_early(train, monkeypatch):
    scores = iter([0.5, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    monkeypatch.setattr(Run, "validate", lambda self, trainer: {"score": next(scores), "nll": 1.0})
    record = train(training={"epochs": 8, "early_stopping": 2}).record
    assert [row.score for row in record.history] == [0.5, 0.9, 0.8, 0.7]
    assert value(record, "run", "selected_epoch") == pytest.approx(2.0)


def test_the_last_checkpoint_is_kept_on_request(train, monkeypatch):
    scores = iter([0.5, 0.9, 0.8])
    monkeypatch.setattr(Run, "validate", lambda self, trainer: {"score": next(scores), "nll": 1.0})
    last = train(training={"epochs": 3, "selection": "last"})
    assert value(last.record, "run", "selected_epoch") == pytest.approx(3.0)
    scores = iter([0.5, 0.9, 0.8])
    assert not same(last.weights, train(training={"epochs": 3}).weights)


# --- what is learnt and recorded


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_model_learns_and_its_record_is_whole(train, kind, tmp_path):
    run = train(kind, training={"epochs": 12, "learning_rate": 1e-2})
    record = run.record
    assert record.status == "completed"
    assert value(record, "train", "score") > 0.8
    assert value(record, "test", "score") == pytest.approx(run.outcome.score)
    assert value(record, "test", "loss_gap") == pytest.approx(
        value(record, "test", "loss") - value(record, "train", "loss")
    )
    assert record.environment.threads == 1
    assert len(record.history) == 12
    record.write(tmp_path / "metrics.json")
    assert Record.read(tmp_path / "metrics.json") == record
    assert list(run.outcome.table["example"]) == list(range(len(run.outcome.table)))


def test_the_words_behind_max_length_are_recorded_of_what_was_scored(train):
    record = train().record
    assert [value(record, split, "truncated") for split in ("train", "validation", "test")] == [0, 0, 0]


def test_a_kept_model_serves_a_pipeline(train):
    texts = pipeline("text-classification", model=str(train(KINDS[0]).folder))("the film was great")
    assert texts[0]["label"] in ("up", "down")
    tags = pipeline("token-classification", model=str(train(KINDS[1]).folder))("Anna saw Rome")
    assert all(tag["entity"] in ("O", "B-PER", "I-PER", "B-LOC", "I-LOC") for tag in tags)


def test_checkpoints_are_gone_afterwards(train, tmp_path):
    train()
    assert not (tmp_path / "work").exists()


def test_dropout_and_learning_rate_arrive(folders, tmp_path, monkeypatch):
    cell = make_cell(training={"dropout": 0.0, "learning_rate": 3e-4})
    run = Run(cell, Inputs(folders[KINDS[0]], folders["model"], tmp_path / "w"), choose(cell.training))
    model = run.fresh_model()
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.0}
    assert arguments(run, len(run.train)).learning_rate == 3e-4


# --- parameter masks


@pytest.mark.parametrize(("layers", "embeddings"), [(1, True), (2, True), (1, False)])
def test_frozen_parameters_keep_every_bit_and_the_rest_moves(train, folders, layers, embeddings):
    strategy = {"name": "f", "parameter": {"kind": "freeze", "layers": layers, "embeddings": embeddings}}
    run = train(strategy=strategy, training={"weight_decay": 0.1})
    before = load_file(folders["model"] / "model.safetensors")
    frozen = 0
    for name, old in before.items():
        new = run.weights[f"bert.{name}"]
        held = (embeddings and name.startswith("embeddings")) or any(
            name.startswith(f"encoder.layer.{index}.") for index in range(layers)
        )
        if held:
            frozen += old.numel()
            assert torch.equal(old, new), name
        elif "pooler" not in name and "word_embeddings" not in name and "position" not in name:
            assert not torch.equal(old, new), name
    total, trained = (value(run.record, "run", name) for name in ("parameters", "trained_parameters"))
    assert total - trained == frozen


def test_too_many_frozen_layers_are_a_clear_line(train):
    with pytest.raises(InputError, match="freeze: layers is 9, but the model has 2"):
        train(strategy={"name": "f", "parameter": {"kind": "freeze", "layers": 9}})


# --- the other hooks, with masks that a test defines


def test_attention_masks_hide_under_eager_and_sdpa(train, mask_kind):
    class Alone(AttentionMask):
        kind: Literal["alone"] = "alone"

        def attend(self, batch, rng):
            width = batch.input_ids.shape[1]
            return torch.zeros((1, 1, width, width), dtype=torch.bool)

    runs = [
        train(strategy={"name": "a", "attention": "alone"}, training={"attention": attention, "dropout": 0.0})
        for attention in ("eager", "sdpa")
    ]
    assert [value(run.record, "run", "attention_mask_rate") for run in runs] == [1.0, 1.0]
    for name, weights in runs[0].weights.items():
        torch.testing.assert_close(weights, runs[1].weights[name], rtol=1e-3, atol=1e-4)
    plain = train(training={"dropout": 0.0})
    assert not same(plain.weights, runs[0].weights)
    drawn = train(strategy={"name": "d", "attention": {"kind": "alone", "apply": False}}, training={"dropout": 0.0})
    assert same(plain.weights, drawn.weights)


def test_penalties_enter_the_loss_once_for_each_update(train, mask_kind, monkeypatch):
    class Constant(Objective):
        kind: Literal["constant"] = "constant"
        size: float = 0.0
        calls: ClassVar[list] = []

        def penalty(self, model, clean, masked):
            self.calls.append((clean, masked))
            return model.classifier.weight.sum() * 0 + self.size

    losses = {}
    original = MaskedTrainer.training_step

    def spy(self, *args, **kwargs):
        loss = original(self, *args, **kwargs)
        losses[self.state.global_step] = losses.get(self.state.global_step, 0) + float(loss)
        return loss

    monkeypatch.setattr(MaskedTrainer, "training_step", spy)
    none = train()
    assert same(none.weights, train(strategy={"name": "w", "objective": "constant"}).weights)
    for steps in (1, 2, 4):
        losses.clear()
        strategy = {"name": "w", "input": "random", "objective": {"kind": "constant", "size": 100.0}}
        train(strategy=strategy, training={"gradient_accumulation": steps})
        assert all(100.2 < total < 102 for total in losses.values()), losses
    clean, masked = Constant.calls[-1]
    assert masked.hit is not None
    assert torch.equal(torch.where(masked.hit, clean.input_ids, masked.input_ids), clean.input_ids)


def test_gates_get_the_gradients_of_each_update(train, mask_kind):
    class Still(ParameterMask):
        kind: Literal["still"] = "still"
        steps: ClassVar[list] = []

        def gate(self, gradients, step, rng):
            self.steps.append(step)
            for gradient in gradients.values():
                gradient.zero_()

    one, two = (
        train(strategy={"name": "s", "parameter": "still"}, training={"weight_decay": 0.0, "epochs": e}) for e in (1, 3)
    )
    assert same(one.weights, two.weights)
    updates = int(value(two.record, "run", "steps"))
    assert Still.steps[-updates:] == list(range(updates))


def test_a_mask_that_never_hit_anything_is_told(train):
    """Places beyond every text: the run is bit for bit that of no mask, and nobody would know."""
    none, beyond = train(), train(strategy={"name": "x", "input": {"kind": "fixed-positions", "positions": [60]}})
    assert same(none.weights, beyond.weights)
    told = "the input mask hit no token: the run is as if the strategy had none (fixed-positions)"
    assert (none.record.notes, beyond.record.notes) == ([], [told])
    for quiet in ({"kind": "random", "rate": 0}, {"kind": "fixed-positions", "positions": [60], "apply": False}):
        assert train(strategy={"name": "x", "input": quiet}).record.notes == []
    inside = {"name": "x", "objective": {"kind": "augment", "mask": {"kind": "tail", "keep": 60}}}
    assert train(strategy=inside).record.notes == [
        "the objective's mask hit no token: the run is as if the strategy had none (tail)"
    ]
    wide = train(strategy={"name": "x", "attention": {"kind": "window", "width": 60}})
    assert wide.record.notes == ["the attention mask hid nothing: the run is as if the strategy had none (window)"]


def test_the_realised_rate_is_recorded(train):
    record = train(strategy={"name": "r", "input": {"kind": "random", "rate": 0.3}}).record
    assert value(record, "run", "mask_rate") == pytest.approx(0.3, abs=0.08)
    assert not any(item.measure == "mask_rate" for item in train().record.metrics)


# --- failures are results; wrong input is not


def test_a_diverged_run_is_recorded(train, mask_kind, injected):
    class Infinite(Objective):
        kind: Literal["infinite"] = "infinite"

        def penalty(self, model, clean, masked):
            return model.classifier.weight.sum() * float("nan")

    run = train(strategy={"name": "i", "objective": "infinite"})
    assert (run.record.status, run.outcome) == ("diverged", None)
    assert "loss is nan at update 1" in run.record.error
    injected("loss of NaN (recorded as `diverged`)")


def test_a_crash_and_a_full_memory_are_recorded(train, mask_kind):
    class Breaks(InputMask):
        kind: Literal["breaks"] = "breaks"
        how: Literal["crash", "cuda", "cpu"]

        def corrupt(self, batch, rng):
            if self.how == "crash":
                raise KeyError("gone")
            if self.how == "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory")
            torch.empty(2**50, dtype=torch.float64)

    found = {
        how: train(strategy={"name": "b", "input": {"kind": "breaks", "how": how}}).record
        for how in ("crash", "cuda", "cpu")
    }
    assert {how: record.status for how, record in found.items()} == {"crash": "crashed", "cuda": "oom", "cpu": "oom"}
    assert found["crash"].error == "KeyError: 'gone'"


def test_too_few_examples_are_a_clear_line(train):
    with pytest.raises(InputError, match="train_sizes: 1000 examples are wanted, but the training split has"):
        train(train_size=1000)


# --- models without a mask token


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A tiny GPT-2 and both kinds of task, encoded for it."""
    base = tmp_path_factory.mktemp("gpt2")
    model = make_gpt2(base / "model")
    return {"model": model} | {kind: make_encoded(base / kind, model, kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_a_mask_token_is_given_one_whatever_the_strategy(gpt2, tmp_path, kind):
    def train(rate=None):
        strategy = None if rate is None else {"name": "r", "input": {"kind": "random", "rate": rate}}
        cell, kept = make_cell(kind, strategy), tmp_path / f"kept-{rate}"
        inputs = Inputs(gpt2[kind], gpt2["model"], tmp_path / "work", kept)
        record, outcome = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
        return SimpleNamespace(record=record, outcome=outcome, weights=load_file(kept / "model.safetensors"))

    none, nothing, half = train(), train(0.0), train(0.5)
    assert same(none.weights, nothing.weights)
    pd.testing.assert_frame_equal(none.outcome.table, nothing.outcome.table)
    assert not same(none.weights, half.weights)
    assert value(half.record, "run", "mask_rate") == pytest.approx(0.5, abs=0.1)
    for run in (none, nothing, half):
        assert len(run.record.notes) == 1
        assert run.record.notes[0].startswith("the tokenizer has no mask token: <mask> was added")
    before = load_file(gpt2["model"] / "model.safetensors")["wte.weight"]
    table = half.weights["transformer.wte.weight"]
    assert len(table) == len(before) + 1
    assert none.weights["transformer.wte.weight"][-1].allclose(before.mean(0), atol=0.01)  # but for weight decay
    assert (table[-1] - before.mean(0)).abs().max() > 1e-3  # learnt where it was seen


def test_a_kept_model_with_a_new_mask_token_loads_again(gpt2, tmp_path):
    cell = make_cell(KINDS[0], {"name": "r", "input": {"kind": "random", "rate": 0.5}})
    inputs = Inputs(gpt2[KINDS[0]], gpt2["model"], tmp_path / "work", tmp_path / "kept")
    run_cell(cell, inputs, choose(cell.training), code="c", command="x")
    classify = pipeline("text-classification", model=str(tmp_path / "kept"))
    assert classify.tokenizer.mask_token == "<mask>"
    assert classify.model.get_input_embeddings().num_embeddings == classify.tokenizer.mask_token_id + 1
    assert classify("the film was great <mask>")[0]["label"] in ("up", "down")


def test_a_model_with_a_mask_token_is_left_alone(train):
    assert train().record.notes == []


@pytest.mark.parametrize("damage", ["{", '{"schema": 2}', '{"schema": 1, "run": 3}', "", "[]"])
def test_a_damaged_record_is_named(tmp_path, damage):
    path = tmp_path / "metrics.json"
    path.write_text(damage)
    with pytest.raises(InputError, match=r"metrics\.json: .*delete it and run again"):
        Record.read(path)
