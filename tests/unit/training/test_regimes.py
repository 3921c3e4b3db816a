"""Training regimes: one task after another, two at once, and the models that runs leave behind."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    TrainerCallback,
)

from maskbench.channels import Purpose
from maskbench.data.encode import load_encoded
from maskbench.errors import InputError
from maskbench.kinds import head
from maskbench.kinds.encoding import IGNORED
from maskbench.kinds.head import mean_cross_entropy
from maskbench.kinds.score import outcome_of
from maskbench.masks.base import InputMask
from maskbench.models.anatomy import base_of, layers_of
from maskbench.records.run import Record
from maskbench.slots.device import choose
from maskbench.training import conflict
from maskbench.training.collate import BESIDE_TEXT, Collator
from maskbench.training.joint import JointRun, run_joint
from maskbench.training.run import Inputs, Run, run_cell
from maskbench.training.trainer import PairedOrder, Treatment, derived
from tests.helpers.killed_training import KilledError, Watch
from tests.helpers.masks import MASKS, entry
from tests.helpers.models import make_cell, make_encoded, make_gpt2, make_model, same

KINDS = ["sequence-classification", "token-classification"]
TASKS = {"texts": KINDS[0], "names": KINDS[1], "copy": KINDS[0]}
HEADS = dict(zip(KINDS, [AutoModelForSequenceClassification, AutoModelForTokenClassification], strict=True))
PARAMETER = [kind for family, kind in MASKS if family == "parameter"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny model and three tasks: texts, names (with fewer examples), and the texts again."""
    base = tmp_path_factory.mktemp("tiny")
    model = make_model(base / "model", head=True)
    found = {"model": model}
    for task, kind in TASKS.items():
        found[task] = make_encoded(base / task, model, kind, 40 if task == "names" else 60)
    return found


@pytest.fixture
def cell():
    """Return a cell of a task under a regime."""

    def call(task, other=None, regime="joint", strategy=None, **keys):
        regime = "single" if other is None else regime
        return make_cell(TASKS[task], strategy, task=task, other=other, regime=regime, **keys)

    return call


@pytest.fixture
def single(folders, tmp_path, cell):
    """Train one cell in a folder of its own, with its record there."""

    def call(task, name="run", *, along=False, start=None, other=None, **keys):
        made, folder = cell(task, other, "sequential", **keys), tmp_path / name
        inputs = Inputs(folders[task], folders["model"], folder / "work", folder / "model", along, start)
        record, outcome = run_cell(made, inputs, choose(made.training), code="c", command="x")
        record.write(folder / "metrics.json")
        done = record.status == "completed"
        weights = load_file(folder / "model/model.safetensors") if done else None
        return SimpleNamespace(record=record, outcome=outcome, weights=weights, folder=folder)

    return call


@pytest.fixture
def joint(folders, tmp_path, cell):
    """Train two cells at once."""

    def call(tasks=("texts", "names"), name="joint", *, along=False, points=3, encoded=None, **keys):
        cells = [cell(task, other, **keys) for task, other in (tasks, tasks[::-1])]
        places = [tmp_path / name / task for task in tasks]
        inputs = [
            Inputs((encoded or folders)[task], folders["model"], place / "work", place / "model", along)
            for task, place in zip(tasks, places, strict=True)
        ]
        results = run_joint(cells, inputs, choose(cells[0].training), points=points, code="c", command="x")
        return [
            SimpleNamespace(
                record=record,
                outcome=outcome,
                folder=place,
                weights=load_file(place / "model/model.safetensors") if record.status == "completed" else None,
            )
            for (record, outcome), place in zip(results, places, strict=True)
        ]

    return call


@pytest.fixture
def prepared(folders, tmp_path, cell):
    """Return a joint run and its Trainer, ready to train."""

    def call(tasks=("texts", "names"), work="work", points=3, **keys):
        cells = [cell(task, other, **keys) for task, other in (tasks, tasks[::-1])]
        inputs = [Inputs(folders[task], folders["model"], tmp_path / work) for task in tasks]
        run = JointRun(cells, inputs, choose(cells[0].training), points)
        return run, run.prepare(AutoTokenizer.from_pretrained(folders["model"]))

    return call


def value(record, split, measure):
    return next(item.value for item in record.metrics if (item.split, item.measure) == (split, measure))


def encoder(weights):
    return {name: weight for name, weight in weights.items() if name.startswith("bert.") and "pooler" not in name}


# --- one task after another


@pytest.mark.parametrize(("first", "second"), [("texts", "names"), ("names", "texts"), ("texts", "copy")])
def test_a_sequential_run_starts_from_the_encoder_with_the_head_of_its_single_run(
    folders, single, cell, tmp_path, first, second
):
    before = single(first)

    def start(made, folder):
        run = Run(made, Inputs(folders[second], folders["model"], tmp_path / "w", start=folder), choose(made.training))
        return run.prepare(AutoTokenizer.from_pretrained(folders["model"])).model.state_dict()

    alone = start(cell(second), None)
    after = start(cell(second, first, "sequential"), before.folder)
    assert same(encoder(after), encoder(before.weights))
    assert not same(encoder(after), encoder(alone))
    fresh = after.keys() - encoder(after).keys()
    assert any(name.startswith("classifier") for name in fresh)
    assert all(torch.equal(after[name], alone[name]) for name in fresh)  # a fresh pooler is a part of the head
    if TASKS[first] == TASKS[second]:
        assert not torch.equal(after["classifier.weight"], before.weights["classifier.weight"])


def test_a_sequential_run_is_recorded_with_where_it_came_from(single):
    before = single("texts", "a")
    after = single("names", "b", other="texts", start=before.folder)
    assert after.record.run == "names.tiny.none.after-texts.clean.full.s1"
    assert after.record.notes == [f"starts from the encoder of {before.record.run}, with a fresh head"]
    assert not same(after.weights, single("names", "c").weights)


def test_an_encoder_that_was_never_trained_is_no_start(single, mask_kind):
    class Nothing(InputMask):
        kind: str = "nothing"

        def corrupt(self, batch, rng):
            raise KeyError("gone")

    strategy = {"name": "n", "input": "nothing"}
    before = single("texts", "a", strategy=strategy)
    assert before.record.status == "crashed"
    after = single("names", "b", other="texts", start=before.folder, strategy=strategy)
    assert (after.record.status, after.outcome) == ("crashed", None)
    assert after.record.error == f"the run {before.record.run} that it starts from crashed"
    assert list((after.folder / "model").iterdir()) == []


def test_the_wrong_start_is_a_clear_line(single):
    before = single("texts", "a", seed=2)
    expected = "expected the run texts.tiny.none.single.clean.full.s1, found texts.tiny.none.single.clean.full.s2"
    with pytest.raises(InputError, match=expected):
        single("names", "b", other="texts", start=before.folder)
    with pytest.raises(InputError, match="a run starts from another one if it is sequential, and only then"):
        single("names", "b", other="texts")


@pytest.mark.parametrize(
    "strategy", [{"input": {"kind": "random", "rate": 0}}, {"parameter": entry("child-f", share=1)}]
)
def test_a_strategy_that_does_nothing_is_none_after_another_task_too(single, strategy):
    runs = []
    for name, masks in (("none", None), ("x", {"name": "x", **strategy})):
        before = single("texts", f"{name}-a", strategy=masks)
        runs.append(single("names", f"{name}-b", other="texts", start=before.folder, strategy=masks))
    assert same(runs[0].weights, runs[1].weights)
    pd.testing.assert_frame_equal(runs[0].outcome.table, runs[1].outcome.table)


def test_an_added_mask_token_comes_along(tmp_path):
    model = make_gpt2(tmp_path / "gpt2")
    folders = {kind: make_encoded(tmp_path / kind, model, kind) for kind in KINDS}
    strategy = {"name": "r", "input": {"kind": "random", "rate": 0.5}}
    first = make_cell(KINDS[0], strategy, task="texts")
    place = tmp_path / "a"
    inputs = Inputs(folders[KINDS[0]], model, place / "work", place / "model")
    record, _ = run_cell(first, inputs, choose(first.training), code="c", command="x")
    record.write(place / "metrics.json")
    second = make_cell(KINDS[1], strategy, task="names", other="texts", regime="sequential")
    run = Run(second, Inputs(folders[KINDS[1]], model, tmp_path / "w", start=place), choose(second.training))
    table = run.prepare(AutoTokenizer.from_pretrained(model)).model.get_input_embeddings().weight
    learnt = load_file(place / "model/model.safetensors")["transformer.wte.weight"]
    assert torch.equal(table, learnt)
    assert not torch.equal(learnt[-1], load_file(model / "model.safetensors")["wte.weight"].mean(0))
    assert run.notes[0].startswith("the tokenizer has no mask token: <mask> was added")


def test_gpt2_is_trained_on_two_tasks_at_once(tmp_path):
    model = make_gpt2(tmp_path / "gpt2")
    folders = [make_encoded(tmp_path / kind, model, kind) for kind in KINDS]
    cells = [
        make_cell(kind, {"name": "r", "input": "random"}, task=task, other=other, regime="joint")
        for kind, task, other in zip(KINDS, ("texts", "names"), ("names", "texts"), strict=True)
    ]
    inputs = [Inputs(folder, model, tmp_path / "work", tmp_path / f"kept-{folder.parent.name}") for folder in folders]
    results = run_joint(cells, inputs, choose(cells[0].training), points=2, code="c", command="x")
    assert [record.status for record, _ in results] == ["completed"] * 2, results[0][0].error
    tables = [load_file(given.keep_model / "model.safetensors")["transformer.wte.weight"] for given in inputs]
    assert torch.equal(*tables)
    assert len(tables[0]) == len(load_file(model / "model.safetensors")["wte.weight"]) + 1


# --- two tasks at once: what an update is


def test_each_task_sees_its_batches_in_the_order_of_its_single_run(prepared):
    run, trainer = prepared(training={"batch_size": 8})
    sizes = [len(part.train) for part in run.runs]
    assert sizes[0] > sizes[1]
    for task, part in enumerate(run.runs):
        order, seen = PairedOrder(1, 8, list(part.train["length"]), True), []
        for number in range(2):
            order.set_epoch(number)
            rows = list(order)
            seen += [rows[start : start + 8] for start in range(0, len(rows), 8)]
        assert [trainer.updates.rows(task, update) for update in range(len(seen))] == seen
    assert len(trainer.updates) == -(-sizes[0] // 8)


class Stop(Exception):
    """Ends a training after its first update."""


class Gradients(TrainerCallback):
    """Keeps what the first update would move the weights by."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
        raise Stop


def by_hand(folder, model, rows, device=None):
    """Return the gradients of the mean cross-entropy of some training examples."""
    batch = Collator(0)([load_encoded(folder)["train"][row] for row in rows])
    labels = batch.pop("labels")
    logits = model(**{name: value for name, value in batch.items() if name not in BESIDE_TEXT}).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED)
    names, weights = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}


@pytest.mark.parametrize("parts", [1, 4])
def test_an_update_is_the_mean_of_both_tasks(prepared, folders, parts):
    settings = {"dropout": 0.0, "max_grad_norm": 0.0, "gradient_accumulation": parts}
    run, trainer = prepared(training=settings)
    watch = Gradients()
    trainer.add_callback(watch)
    with pytest.raises(Stop):
        trainer.train()
    expected = {}
    for task, model in enumerate(run.pair.models):
        model.eval()  # as there is no dropout
        for name, gradient in by_hand(folders[run.runs[task].cell.task], model, trainer.updates.rows(task, 0)).items():
            whole = name if name.startswith("bert.") or task == 0 else f"beside.{name}"
            expected[whole] = expected.get(whole, 0) + gradient / 2
    assert expected.keys() == watch.found.keys()
    for name, gradient in watch.found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_both_heads_start_as_in_the_single_runs(prepared, folders, cell, tmp_path):
    run, _ = prepared()
    for place, task in enumerate(("texts", "names")):
        made = cell(task)
        alone = Run(made, Inputs(folders[task], folders["model"], tmp_path / "w"), choose(made.training))
        expected = alone.prepare(AutoTokenizer.from_pretrained(folders["model"])).model.state_dict()
        states = run.pair.states(dict(run.pair.models[0].state_dict()))
        assert same(states[place], expected)
    assert base_of(run.pair.models[0]) is base_of(run.pair.models[1])


def test_the_shorter_task_starts_over_and_the_records_say_so(joint):
    texts, names = joint(training={"epochs": 4})
    assert value(texts.record, "run", "steps") == value(names.record, "run", "steps")
    assert any(note.startswith("names has fewer examples: ") for note in texts.record.notes)
    assert any("instead of 4" in note for note in names.record.notes)
    assert [row.step for row in texts.record.history] == [row.step for row in names.record.history]
    assert [row.epoch for row in texts.record.history] == [1, 2, 3, 4]
    assert names.record.history[-1].epoch > 4


def test_the_best_checkpoint_is_that_of_the_mean_score(joint):
    runs = joint(training={"epochs": 6, "learning_rate": 5e-3})
    means = [np.mean([row.score for row in rows]) for rows in zip(*(run.record.history for run in runs), strict=True)]
    best = runs[0].record.history[int(np.argmax(means))].step
    for run in runs:
        kept = json.loads((run.folder / "model/maskbench.json").read_text())
        assert (kept["run"], kept["step"]) == (run.record.run, best)


def test_hyperparameters_are_those_of_the_first_task(folders, cell, tmp_path):
    cells = [
        cell("texts", "names", training={"learning_rate": 3e-3}),
        cell("names", "texts", training={"epochs": 1}),
    ]
    inputs = [Inputs(folders[task], folders["model"], tmp_path / "work") for task in ("texts", "names")]
    results = run_joint(cells, inputs, choose(cells[0].training), points=1, code="c", command="x")
    for record, _ in results:
        assert record.notes[0] == (
            "hyperparameters are those of texts; names alone has epochs 1.0, learning_rate 0.001"
        )
        assert record.parameters["training"]["learning_rate"] == 3e-3


def test_cells_that_do_not_belong_together_are_refused(folders, cell, tmp_path):
    inputs = [Inputs(folders[task], folders["model"], tmp_path / "work") for task in ("texts", "names")]
    for cells in (
        [cell("texts", "names"), cell("names", "copy")],
        [cell("texts", "names"), cell("names", "texts", seed=2)],
        [cell("texts"), cell("names")],
    ):
        with pytest.raises(InputError, match="expected the two sides of one joint run"):
            JointRun(cells, inputs, choose(cells[0].training), 3)


def test_both_records_of_a_failed_run_say_so(joint, mask_kind):
    class Broken(InputMask):
        kind: str = "broken"

        def corrupt(self, batch, rng):
            raise KeyError("gone")

    runs = joint(strategy={"name": "b", "input": "broken"}, along=True)
    for run in runs:
        assert (run.record.status, run.record.error, run.outcome) == ("crashed", "KeyError: 'gone'", None)
        assert list((run.folder / "model").iterdir()) == []
        assert run.record.conflict  # measured before it failed
    assert [run.record.run for run in runs] == [
        "texts.tiny.b.with-names.clean.full.s1",
        "names.tiny.b.with-texts.clean.full.s1",
    ]


# --- two tasks at once: pairing, masks, models


@pytest.mark.parametrize(
    "strategy",
    [
        {"input": {"kind": "random", "rate": 0}},
        {"input": entry("span", apply=False), "objective": entry("consistency", apply=False)},
        {"parameter": entry("child-f", share=1)},
        {"parameter": entry("child-d", share=1)},
    ],
)
def test_a_strategy_that_does_nothing_is_none_beside_another_task_too(joint, strategy):
    for none, other in zip(joint(), joint(name="other", strategy={"name": "x", **strategy}), strict=True):
        assert same(none.weights, other.weights)
        pd.testing.assert_frame_equal(none.outcome.table, other.outcome.table)
        assert none.record.conflict == other.record.conflict


@pytest.mark.parametrize(("family", "kind"), MASKS)
def test_every_mask_is_trained_on_two_tasks_at_once(joint, family, kind, request):
    runs = joint(strategy={"name": "m", family: entry(kind)}, training={"epochs": 1}, points=2)
    none = request.getfixturevalue("plain")
    for run, other in zip(runs, none, strict=True):
        assert run.record.status == "completed", run.record.error
        assert run.weights.keys() == other.keys()
        assert not same(run.weights, other)
    assert same(encoder(runs[0].weights), encoder(runs[1].weights))
    if family == "parameter" and kind in ("freeze", "head-only", "child-d"):
        pretrained = load_file(request.getfixturevalue("folders")["model"] / "model.safetensors")
        held = {
            name: weight for name, weight in pretrained.items() if name.startswith("bert.encoder.layer.0.attention")
        }
        share = np.mean([float((runs[0].weights[name] == weight).float().mean()) for name, weight in held.items()])
        assert share == 1 if kind != "child-d" else 0.1 < share < 1


@pytest.fixture(scope="module")
def plain(folders, tmp_path_factory):
    """Weights of both models after one joint pass without masks."""
    work = tmp_path_factory.mktemp("plain")
    cells = [
        make_cell(TASKS[task], task=task, other=other, regime="joint", training={"epochs": 1})
        for task, other in (("texts", "names"), ("names", "texts"))
    ]
    inputs = [Inputs(folders[made.task], folders["model"], work / "w", work / made.task) for made in cells]
    run_joint(cells, inputs, choose(cells[0].training), points=2, code="c", command="x")
    return [load_file(given.keep_model / "model.safetensors") for given in inputs]


def test_masks_are_fitted_on_their_own_task(prepared):
    strategy = {"name": "m", "input": {"kind": "learned", "rate": 0.4}, "parameter": entry("child-d")}
    _, trainer = prepared(strategy=strategy)
    gates = [part.masking.strategy.input._gate for part in trainer.parts]
    assert gates[0] is not gates[1]
    owned = {id(weight) for group in trainer.create_optimizer().param_groups for weight in group["params"]}
    assert all(id(weight) in owned for gate in gates for weight in gate.parameters())
    assert trainer.moving.strategy.input is None
    assert all(part.masking.strategy.parameter is None for part in trainer.parts)


@pytest.mark.parametrize("task", [0, 1])
def test_a_batch_goes_by_the_head_of_the_task_whose_turn_it_is(prepared, task):
    """The Trainer keeps the whole model; only whose turn it is changes."""
    _, trainer = prepared()
    whole, kept = trainer.model.eval(), {name: vars(trainer)[name] for name in ("model", "model_wrapped", "masking")}
    part = trainer.parts[task]
    batch = trainer.data_collator([part.validation[0], part.validation[1]])
    text = {name: value for name, value in batch.items() if name not in (*BESIDE_TEXT, "labels")}
    with trainer.facing(task) as faced:
        assert faced is part
        assert trainer.treatment.masking is part.masking
        _, outputs = trainer.compute_loss(whole, dict(batch), return_outputs=True)
        assert all(vars(trainer)[name] is value for name, value in kept.items())
    assert trainer.treatment.masking is trainer.moving
    with torch.no_grad():
        assert torch.equal(outputs["logits"], part.model(**text)["logits"])
    assert outputs["logits"].shape[-1] == part.model.config.num_labels


def test_a_batch_of_no_task_and_a_turn_within_a_turn_are_refused(prepared):
    _, trainer = prepared()
    batch = trainer.data_collator([trainer.parts[0].validation[0]])
    with pytest.raises(RuntimeError, match="a batch of no task"):
        trainer.compute_loss(trainer.model, batch)
    with trainer.facing(1), pytest.raises(RuntimeError, match="texts: it is the turn of names"), trainer.facing(0):
        raise AssertionError
    with trainer.facing(0):  # the turn ended with the block
        pass


def test_the_seed_of_dropout_goes_by_run_task_update_and_micro_batch():
    def seeds(treatment, updates):
        return [treatment.noise(5, update) for update in updates]

    one, other = Treatment(None, (0,)), Treatment(None, (1,))
    assert seeds(one, [0, 0, 1]) == [derived(5, Purpose.NOISE, *path, 0) for path in ((0, 0), (0, 1), (1, 0))]
    assert seeds(other, [0, 0, 1]) == [derived(5, Purpose.NOISE, *path, 1) for path in ((0, 0), (0, 1), (1, 0))]
    assert seeds(Treatment(None), [3, 3]) == [derived(5, Purpose.NOISE, *path) for path in ((3, 0), (3, 1))]


@pytest.mark.parametrize("task", [0, 1])
def test_the_scores_of_a_joint_record_are_those_of_its_model(joint, folders, task):
    run = joint(training={"epochs": 6, "learning_rate": 5e-3})[task]
    kind = TASKS[run.record.task]
    model = HEADS[kind].from_pretrained(run.folder / "model").eval()
    split = load_encoded(folders[run.record.task])["test"]
    batch = Collator(0)(list(split))
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model(**{name: value for name, value in batch.items() if name not in BESIDE_TEXT}).logits
    reduced = [part.numpy() for part in head.of(kind).reduced(logits, labels)]
    names = [model.config.id2label[place] for place in range(model.config.num_labels)]
    outcome = outcome_of(kind, names, split, reduced, labels.numpy())
    assert outcome.score == pytest.approx(value(run.record, "test", "score"))
    assert outcome.loss == pytest.approx(value(run.record, "test", "loss"), rel=1e-4)
    assert AutoTokenizer.from_pretrained(run.folder / "model").mask_token == "[MASK]"


# --- two tasks at once: gradient conflict


def test_two_copies_of_a_task_do_not_conflict(joint):
    runs = joint(("texts", "copy"), points=4, training={"dropout": 0.0})
    points = runs[0].record.conflict
    assert Record.model_validate(runs[0].record.model_dump(mode="json", by_alias=True)) == runs[0].record
    last = int(value(runs[0].record, "run", "steps")) - 1
    assert len({point.step for point in points}) == 4
    assert {0, last} < {point.step for point in points}
    assert {point.layer for point in points} == {"all", "embeddings", "layer-0", "layer-1"}
    assert all(point.cosine > 0.999 for point in points)
    for run in runs:
        assert value(run.record, "run", "gradient_cosine") == pytest.approx(1, abs=1e-3)
        assert value(run.record, "run", "gradient_conflict:layer-1") == 0


def test_a_task_with_flipped_labels_conflicts_at_the_start(prepared, monkeypatch):
    original = conflict.fixed_batches

    def flipped(*given):
        texts, _ = original(*given)
        return [texts, [chunk | {"labels": 1 - chunk["labels"]} for chunk in texts]]

    monkeypatch.setattr(conflict, "fixed_batches", flipped)
    run, trainer = prepared(("texts", "copy"), training={"learning_rate": 1e-9})
    with torch.no_grad():  # heads that prefer neither class: what is left of the gradients is what labels ask for
        batch = {name: given for name, given in run.conflict.batches[0][0].items() if name != "labels"}
        for model in run.pair.models:
            model.classifier.bias -= model.eval()(**batch).logits.mean(0)
    trainer.train()
    assert {point.layer for point in run.conflict.found} == {"all", "embeddings", "layer-0", "layer-1"}
    assert all(point.cosine < -0.9 for point in run.conflict.found), run.conflict.found
    shares = [row.value for row in conflict.metrics(run.conflict.found) if row.measure.startswith("gradient_conflict")]
    assert shares == [1, 1, 1, 1]


@pytest.mark.parametrize("parameter", [None, entry("lora"), entry("freeze"), entry("learned-weights")])
def test_cosines_are_those_of_autograd(prepared, parameter):
    run, _ = prepared(strategy={"name": "x", "parameter": parameter})
    models = run.pair.models
    batches = conflict.fixed_batches([part.train for part in run.runs], 1, Collator(0))
    found = conflict.cosines(models, [head.of(kind) for kind in KINDS], batches)
    gradients = []
    shared = [
        weight
        for name, weight in base_of(models[0]).named_parameters()
        if weight.requires_grad and "pooler" not in name  # which is fresh here
    ]
    for model, chunks in zip(models, batches, strict=True):
        model.eval()
        total = sum((chunk["labels"] != IGNORED).sum() for chunk in chunks)
        loss = sum(
            mean_cross_entropy(model(**{k: v for k, v in chunk.items() if k != "labels"}), chunk["labels"], total)
            for chunk in chunks
        )
        known = torch.autograd.grad(loss, shared, allow_unused=True)
        gradients.append([torch.zeros_like(w) if g is None else g for w, g in zip(shared, known, strict=True)])

    def cosine(weights):
        wanted = {id(weight) for weight in weights}
        one, other = (
            torch.cat([g.flatten() for w, g in zip(shared, side, strict=True) if id(w) in wanted]) for side in gradients
        )
        return float(torch.nn.functional.cosine_similarity(one, other, 0))

    assert found["all"] == pytest.approx(cosine(shared), abs=1e-5)
    for place, layer in enumerate(layers_of(models[0])):
        moving = [weight for weight in layer.parameters() if weight.requires_grad]
        assert (f"layer-{place}" in found) == bool(moving)
        if moving:
            assert found[f"layer-{place}"] == pytest.approx(cosine(moving), abs=1e-5)
    assert all(weight.grad is None for weight in models[0].parameters())


def test_points_are_spread_evenly():
    assert conflict.points(100, 5) == [0, 25, 50, 74, 99]
    assert conflict.points(3, 8) == [0, 1, 2]
    assert conflict.points(10, 1) == [0]


def test_comparing_gradients_changes_nothing(joint):
    few, many = joint(points=1), joint(points=9, name="many")
    assert len(many[0].record.conflict) == 9 * len(few[0].record.conflict)
    assert same(few[0].weights, many[0].weights)


def test_without_a_shared_parameter_that_moves_there_is_no_conflict(joint):
    record = joint(strategy={"name": "h", "parameter": "head-only"}, training={"epochs": 1})[0].record
    assert record.conflict == []
    assert value(record, "run", "gradient_cosine") is None
    assert "gradient conflict: no parameter that both tasks share moves" in record.notes


# --- two tasks at once: resuming


@pytest.mark.parametrize(
    "strategy",
    [
        {},
        {"input": {"kind": "adaptive", "rate": 0.4, "fast": 0.3, "slow": 0.6}, "parameter": entry("child-f")},
        {"input": {"kind": "learned", "rate": 0.4}, "parameter": entry("adalora")},
        {"input": "random", "objective": entry("mlm-auxiliary"), "parameter": entry("learned-weights")},
    ],
)
def test_a_resumed_joint_run_ends_bit_identical(prepared, tmp_path, strategy):
    settings = {"evaluations_per_epoch": 3, "gradient_accumulation": 2, "epochs": 3}

    def train(work, end=None, start=None):
        _, trainer = prepared(work=work, strategy={"name": "m", **strategy}, training=settings)
        watch = Watch(end)
        trainer.add_callback(watch)
        resume = None if start is None else str(tmp_path / work / f"checkpoint-{start}")
        if end is None:
            trainer.train(resume_from_checkpoint=resume)
        else:
            with pytest.raises(KilledError):
                trainer.train(resume_from_checkpoint=resume)
        return watch.weights

    whole = train("whole")
    killed_at = 8  # within the second pass of the longer task
    assert len(whole) > killed_at + 4
    train("parts", end=killed_at)
    resumed = train("parts", start=killed_at)
    assert list(resumed) == list(range(killed_at + 1, len(whole) + 1))
    for step, weights in resumed.items():
        assert same(weights, whole[step]), step


# --- the models that runs leave behind


@pytest.mark.parametrize("parameter", [None, *PARAMETER])
def test_weights_along_the_way_are_ordinary_and_change_nothing(single, parameter):
    strategy = {"name": "m", "parameter": None if parameter is None else entry(parameter)}
    settings = {"training": {"evaluations_per_epoch": 2, "epochs": 2}}
    one = single("texts", "a", strategy=strategy, **settings)
    other = single("texts", "b", strategy=strategy, along=True, **settings)
    assert same(one.weights, other.weights)
    along = {int(path.stem.removeprefix("step-")): load_file(path) for path in (other.folder / "model/along").iterdir()}
    kept = json.loads((other.folder / "model/maskbench.json").read_text())
    assert kept["along"] == sorted(along) == [row.step for row in other.record.history]
    assert same(along[kept["step"]], other.weights)
    model = AutoModelForSequenceClassification.from_pretrained(other.folder / "model")
    for weights in along.values():
        model.load_state_dict(weights)
    assert not same(along[min(along)], along[max(along)])
    assert not (one.folder / "model/along").exists()


@pytest.mark.parametrize("parameter", [None, "lora", "learned-weights"])
def test_joint_weights_along_the_way_are_those_of_two_models(joint, parameter):
    strategy = {"name": "m", "parameter": None if parameter is None else entry(parameter)}
    plain, runs = joint(strategy=strategy), joint(strategy=strategy, name="along", along=True)
    for run, other in zip(runs, plain, strict=True):
        assert same(run.weights, other.weights)
        kept = json.loads((run.folder / "model/maskbench.json").read_text())
        assert kept["along"] == [row.step for row in run.record.history]
        assert same(load_file(run.folder / f"model/along/step-{kept['step']}.safetensors"), run.weights)


def test_a_model_of_an_earlier_run_does_not_survive_a_failed_one(single, mask_kind):
    class Fails(InputMask):
        kind: str = "fails"

        def corrupt(self, batch, rng):
            raise KeyError("gone")

    assert single("texts").weights
    failed = single("texts", strategy={"name": "f", "input": "fails"}, along=True)
    assert failed.record.status == "crashed"
    assert list((failed.folder / "model").iterdir()) == []
