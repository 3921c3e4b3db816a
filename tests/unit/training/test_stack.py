"""Several cells in one pass end as each does alone: every mask that can be stacked, failures, and what is chosen."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer

from maskbench.channels import Purpose
from maskbench.kinds import head
from maskbench.masks.registry import find
from maskbench.masks.visibility import showing
from maskbench.models.families import STACKED
from maskbench.slots.device import choose
from maskbench.training.collate import collator_for
from maskbench.training.quick import quick
from maskbench.training.resident import Resident
from maskbench.training.run import Inputs, Run, run_cell
from maskbench.training.stack.loop import Loop, stacked_cell
from maskbench.training.stack.passes import Pass
from maskbench.training.stack.size import AT_MOST, Trial, largest
from maskbench.training.stack.texts import Order
from maskbench.training.stack.together import Together, Wanted
from maskbench.training.stack.which import alike, can_stack, dealt
from maskbench.training.trainer import derived
from tests.helpers import families
from tests.helpers.masks import MASKS, entry
from tests.helpers.models import make_cell, make_encoded, make_gpt2, make_model, same

CLASSES, TAGS = "sequence-classification", "token-classification"
OTHERS = {"generated": {"by": "unigram"}}
"""Parameters with which a mask can be stacked, where it cannot be with the usual ones."""
STACKABLE = {
    kind: {family: entry(kind, **OTHERS.get(kind, {}))}
    for family, kind in MASKS
    if find(family, kind).model_validate(entry(kind, **OTHERS.get(kind, {}))).stacks()
}
MORE = {
    "slow": {"training": {"learning_rate": 1e-4, "weight_decay": 0.3, "scheduler": "cosine", "max_grad_norm": 0.01}},
    "scheduled": {"input": entry("random", schedule=[0.6, 0.3, 0.1])},
    "both": {"input": entry("random"), "attention": entry("window"), "parameter": entry("child-f")},
}
"""Strategies that differ in hyperparameters, and in several masks at once."""
WITH_DROPOUT = ("none", "keyword", "adaptive", "random-attention", "child-f", "step-twin", "slow", "both")
"""One or two of each family: masks draw from generators of their own, so dropout meets all of a family alike."""
UPDATES = 30


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Folders of two families of models, and of a task for each."""
    folder = tmp_path_factory.mktemp("stack")
    bert, gpt2 = make_model(folder / "bert", head=True), make_gpt2(folder / "gpt2")
    return {
        "bert": (bert, make_encoded(folder / "names", bert, TAGS), TAGS),
        "gpt2": (gpt2, make_encoded(folder / "texts", gpt2, CLASSES), CLASSES),
    }


@pytest.fixture(scope="module")
def prepared(base, tmp_path_factory):
    """Prepare a cell: its run, and its Trainer."""

    def call(family, name, strategy, **training):
        model, encoded, kind = base[family]
        cell = make_cell(kind, {"name": name, **strategy}, training={"epochs": 5, **training})
        cell = cell.model_copy(update={"training": cell.strategy.training.apply(cell.training)})
        run = Run(cell, Inputs(encoded, model, tmp_path_factory.mktemp("work")), choose(cell.training))
        return run, run.prepare(AutoTokenizer.from_pretrained(model))

    return call


def stack(members, batched=True):
    """Train members of a stack to the end, all in one pass as on a card; returns them."""
    left = {item.run.cell.run: error for item, error in Loop(members, batched=batched).train()}
    assert set(left.values()) == {None}
    return members


def apart(one, other):
    """Relative distance of two sets of weights, over all of them together."""
    squares = [sum(float(part.double().square().sum()) for part in parts) for parts in (
        [one[name] - other[name] for name in one], one.values())]  # fmt: skip
    return math.sqrt(squares[0] / squares[1])


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def pairs(request, prepared):
    """Strategies in one stack and alone: on BERT without dropout all that can be stacked, on GPT-2 with it some."""
    family = request.param
    strategies = {"none": {}, **STACKABLE, **MORE}
    if family == "gpt2":
        strategies = {name: strategies[name] for name in WITH_DROPOUT}
    training = {"dropout": 0.0 if family == "bert" else 0.1, "selection": "last"}
    stacked = stack([stacked_cell(*prepared(family, name, keys, **training)) for name, keys in strategies.items()])
    found = {}
    for (name, keys), one in zip(strategies.items(), stacked, strict=True):
        _, trainer = prepared(family, name, keys, **training)
        trainer.args.eval_strategy = trainer.args.save_strategy = trainer.args.logging_strategy = "no"
        trainer.train()
        assert trainer.state.global_step >= UPDATES
        found[name] = SimpleNamespace(alone=trainer, stacked=one.trainer)
    return SimpleNamespace(found=found, bound=1e-5 if family == "bert" else 1e-4)


@pytest.mark.parametrize("name", ["none", *STACKABLE, *MORE])
def test_a_cell_ends_in_a_stack_as_it_does_alone(pairs, name):
    if (pair := pairs.found.get(name)) is None:
        pytest.skip("dropout meets all masks of a family alike")
    alone, stacked = pair.alone.model.state_dict(), pair.stacked.model.state_dict()
    assert apart(alone, stacked) <= pairs.bound
    for count in ("masked", "hidden"):
        assert torch.equal(getattr(pair.alone.masking, count), getattr(pair.stacked.masking, count))
    # it would be seen: strategies differ by far more than rounding
    if name != "none" and name != "oracle-cue":
        assert apart(stacked, pairs.found["none"].stacked.model.state_dict()) > pairs.bound


def test_all_families_but_objectives_can_be_stacked():
    families = {family for family, kind in MASKS if kind in STACKABLE}
    assert families == {"input", "attention", "parameter"}


def test_masks_that_need_a_model_of_their_own_cannot(base):
    model, _, kind = base["bert"]
    for family, name in MASKS:
        strategy = {"name": "m", family: entry(name, **OTHERS.get(name, {}))}
        assert can_stack(make_cell(kind, strategy), model) == (name in STACKABLE)
    for place in ("loss", "attention"):
        assert not can_stack(make_cell(kind, {"name": "m", "input": entry("adaptive", place=place)}), model)
    assert not can_stack(make_cell(kind, training={"gradient_checkpointing": True}), model)
    assert not can_stack(make_cell(kind, training={"report_to": ["tensorboard"]}), model)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", sorted(STACKED))
def test_families_compute_in_one_pass_what_they_compute_alone(family, attention):
    """Losses and gradients of two sets of weights, where one model's attention is hidden in part, with dropout."""
    task = head.of(CLASSES)
    model = families.build(family, CLASSES).train()
    model.set_attn_implementation(attention)
    clean, other = (families.texts(family, lengths=(20, 9, 5), seed=seed) for seed in (0, 1))
    clean = replace(clean, labels=torch.tensor([0, 1, 1]))
    width = clean.input_ids.shape[1]
    torch.manual_seed(1)
    near = torch.rand(3, 1, width, width) < 0.5
    visible = torch.stack([near, torch.ones_like(near)])
    named = dict(model.named_parameters())
    shifts = {name: 0.02 * torch.randn_like(weight) for name, weight in named.items()}
    weights = {name: torch.stack([w.detach(), w.detach() + shifts[name]]).requires_grad_() for name, w in named.items()}
    ids = torch.stack([clean.input_ids, other.input_ids])
    torch.manual_seed(2)
    losses, _ = Pass(model, task, mixed=False, batched=True).losses(weights, clean, ids, visible)
    losses.sum().backward()
    for place in (0, 1):
        for name, parameter in named.items():
            parameter.data, parameter.grad = weights[name].detach()[place].clone(), None
        torch.manual_seed(2)
        with showing(model, visible[place]), quick(model, "cpu", states=False):
            outputs = model(**clean.inputs() | {"input_ids": ids[place]})
        loss = task.loss(outputs, clean.labels)
        loss.backward()
        assert float(losses[place]) == pytest.approx(float(loss), rel=1e-5)
        used = [name for name, parameter in named.items() if parameter.grad is not None]
        grads = {name: weights[name].grad[place] for name in used}
        assert apart({name: named[name].grad for name in used}, grads) <= 1e-5


NEUTRAL = {
    "rate-0": {"input": entry("random", rate=0.0)},
    "attention-0": {"attention": entry("random-attention", rate=0.0)},
    "share-1": {"parameter": entry("child-f", share=1.0)},
    "drawn": {family: entry(kind, apply=False) for family, kind in
              (("input", "span"), ("attention", "window"), ("parameter", "child-f"))},
}  # fmt: skip


@pytest.mark.parametrize(("family", "multiple"), [("bert", 1), ("bert", 8), ("gpt2", 8)])
def test_what_changes_nothing_is_bit_identical_to_none_in_a_stack(prepared, monkeypatch, family, multiple):
    """Wherever it stands, beside cells that mask their input and their attention; on a CPU, and batched as on a card.

    On a card texts are padded to multiples of 8, so what belongs to a cell begins at a round address.
    """
    monkeypatch.setattr("maskbench.training.run.collator_for", lambda tokenizer, device, model: replace(
        collator_for(tokenizer, device, model), multiple=multiple))  # fmt: skip
    strategies = {**NEUTRAL, "random": STACKABLE["random"], "none": {}, "window": STACKABLE["window"], "again": {}}
    members = [stacked_cell(*prepared(family, name, keys, epochs=2)) for name, keys in strategies.items()]
    cells = stack(members, batched=multiple > 1)
    weights = {name: item.model.state_dict() for name, item in zip(strategies, cells, strict=True)}
    for name in (*NEUTRAL, "again"):
        assert same(weights["none"], weights[name]), name
    for name in ("random", "window"):
        assert not same(weights["none"], weights[name])


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_batches_from_the_device_are_those_of_the_collator(prepared, family):
    run, trainer = prepared(family, "none", {}, gradient_accumulation=2)
    texts = Resident(run.train, trainer.data_collator, torch.device("cpu"))
    order = Order(trainer._get_train_sampler(), texts, 8, 2)
    sampler = trainer._get_train_sampler()
    for update in range(2 * order.per_epoch):
        if update % order.per_epoch == 0:
            sampler.set_epoch(update // order.per_epoch)
            rows = list(sampler)
        mine = rows[update % order.per_epoch * 8 :][:8]
        for start, batch in zip(range(0, len(mine), 4), order.batches(update), strict=True):
            wanted = trainer.data_collator([run.train[row] for row in mine[start : start + 4]])
            assert batch.keys() == wanted.keys()
            for name, value in wanted.items():
                assert value.dtype == batch[name].dtype
                assert torch.equal(value, batch[name]), name
    assert derived(1, Purpose.NOISE, 3, 0) != derived(1, Purpose.NOISE, 3, 1)


def test_micro_batches_make_the_same_update(prepared):
    cells = [stacked_cell(*prepared("bert", "random", STACKABLE["random"], gradient_accumulation=2, epochs=1))]
    (one,) = stack(cells)
    _, trainer = prepared("bert", "random", STACKABLE["random"], gradient_accumulation=2, epochs=1)
    trainer.train()
    assert apart(trainer.model.state_dict(), one.model.state_dict()) <= 1e-4
    scores = [(row["step"], row["epoch"], row["eval_score"]) for row in one.trainer.state.log_history]
    assert scores == [
        (row["step"], row["epoch"], row["eval_score"])
        for row in trainer.state.log_history
        if "eval_score" in row
    ]  # fmt: skip


# --- whole runs


NOT_OWN = ("step_time", "throughput", "peak_memory")
"""What a stack measures, and none of its cells has."""
HOT = {"training": {"learning_rate": 1e30, "max_grad_norm": 0.0}}


@pytest.fixture
def together(base, tmp_path):
    """Train strategies in a stack, up to their records and kept models."""

    def call(strategies, name="stacked", family="bert", **training):
        model, encoded, kind = base[family]
        settings = {"epochs": 2, "evaluations_per_epoch": 2, **training}
        found, wanted = {}, []
        for place, (strategy, keys) in enumerate(strategies.items()):
            cell = make_cell(kind, {"name": strategy, **keys}, training=settings)
            cell = cell.model_copy(update={"training": cell.strategy.training.apply(cell.training)})
            folder = tmp_path / name / strategy
            wanted.append(Wanted(cell, Inputs(encoded, model, folder / "work", folder / "model"), "c", place))
        trainer = Together(choose(wanted[0].cell.training), command="x", gpu_uuid=None)
        for place, ended in trainer.train(wanted):
            found[list(strategies)[place]] = ended()
        return found

    return call


@pytest.fixture
def alone(base, tmp_path):
    """Train a strategy alone."""

    def call(strategy, keys, family="bert", **training):
        model, encoded, kind = base[family]
        cell = make_cell(
            kind, {"name": strategy, **keys}, training={"epochs": 2, "evaluations_per_epoch": 2, **training}
        )
        cell = cell.model_copy(update={"training": cell.strategy.training.apply(cell.training)})
        inputs = Inputs(encoded, model, tmp_path / "alone" / strategy / "work")
        return run_cell(cell, inputs, choose(cell.training), code="c", command="x")

    return call


def scores(record):
    """What a record tells of scores: of each evaluation, and in the end."""
    ends = {(item.split, item.measure): item.value for item in record.metrics if item.split != "run"}
    return [(row.step, row.epoch, row.score) for row in record.history], ends


def test_a_diverged_cell_leaves_its_neighbours_unharmed(together, alone):
    strategies = {"none": {}, "hot": HOT, "random": STACKABLE["random"]}
    found = together(strategies)
    hot, expected = found["hot"][0], alone("hot", HOT)[0]
    assert (hot.status, hot.error) == (expected.status, expected.error) == ("diverged", hot.error)
    assert hot.error.startswith("loss is ")
    for name in ("none", "random"):
        record, outcome = found[name]
        assert record.status == "completed"
        assert len(record.stack) == 3
        wanted, other = alone(name, strategies[name])
        assert scores(record)[0] == scores(wanted)[0]
        assert scores(record)[1] == pytest.approx(scores(wanted)[1], rel=1e-4, abs=1e-5, nan_ok=True)
        assert list(map(list, outcome.table["prediction"])) == list(map(list, other.table["prediction"]))
        assert record.parameters == wanted.parameters
        measured = [item.measure for item in wanted.metrics if item.measure not in NOT_OWN]
        assert [item.measure for item in record.metrics] == measured


def test_a_cell_that_stops_early_leaves_the_stack_and_the_others_go_on(together, alone):
    stopping = {"training": {"early_stopping": 1, "learning_rate": 1e-6}}
    found = together({"none": {}, "stops": stopping, "span": STACKABLE["span"]})
    stopped = found["stops"][0]
    assert len(stopped.history) == 2
    assert scores(stopped)[0] == scores(alone("stops", stopping)[0])[0]
    assert [len(found[name][0].history) for name in ("none", "span")] == [4, 4]
    assert scores(found["span"][0])[0] == scores(alone("span", STACKABLE["span"])[0])[0]


def test_out_of_memory_halves_the_stack(together, monkeypatch):
    """Three cells where two fit: two, and one that is trained alone."""
    from maskbench.training.stack.passes import Pass

    original, sizes = Pass.losses, []

    def losses(self, weights, *args, **keys):
        size = len(next(iter(weights.values())))
        sizes.append(size)
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return original(self, weights, *args, **keys)

    monkeypatch.setattr(Pass, "losses", losses)
    names = ["none", "window", "child-f"]
    found = together({name: STACKABLE.get(name, {}) for name in names}, epochs=1)
    assert {record.status for record, _ in found.values()} == {"completed"}
    assert sizes[0] == 3
    assert set(sizes[1:]) == {2}
    assert [len(found[name][0].stack) for name in names] == [2, 2, 0]
    assert "out of memory in a stack of 3" in found["none"][0].notes
    assert "out of memory in a stack of 3: trained alone" in found["child-f"][0].notes


def test_a_stack_that_fails_otherwise_is_taken_apart(together, monkeypatch, capsys):
    def losses(*args, **keys):
        raise RuntimeError("no kernel for this")

    monkeypatch.setattr("maskbench.training.stack.passes.Pass.losses", losses)
    found = together({"none": {}, "random": STACKABLE["random"]}, epochs=1)
    for record, _ in found.values():
        assert (record.status, record.stack) == ("completed", [])
        assert record.notes == ["a stack failed (RuntimeError): trained alone"]
    assert "its cells are trained one by one" in capsys.readouterr().out


def test_bf16_is_trained_in_a_stack(together, alone):
    keys = {"none": {}, "random": STACKABLE["random"]}
    found = together(keys, epochs=1, precision="bf16")
    wanted, _ = alone("random", keys["random"], epochs=1, precision="bf16")
    losses = [record.history[-1].loss for record in (found["random"][0], wanted)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


# --- how many


@pytest.mark.parametrize(
    ("count", "room", "fixed", "each", "pays", "size"),
    [
        (10, 1e9, 10, 5, 99, 10),  # as many as there are
        (100, 1e9, 10, 5, 99, AT_MOST),
        (100, 60, 10, 5, 99, 10),  # 10 + 10 × 5 fill it
        (100, 1e9, 10, 5, 4, 4),  # eight are no faster than four, each
        (100, 12, 10, 5, 99, 1),
    ],
)
def test_auto_grows_a_stack_as_far_as_memory_and_speed_allow(count, room, fixed, each, pays, size):
    tried = []

    def trial(cells):
        tried.append(cells)
        return Trial(seconds=max(1.0, cells / pays), memory=fixed + each * cells)

    assert largest(count, room, trial) == size
    assert all(fixed + each * cells <= room for cells in tried[1:])


def test_a_trial_that_runs_out_of_memory_ends_the_growth():
    assert largest(8, 1e9, lambda cells: Trial(1.0, 1) if cells < 4 else None) == 2
    assert largest(8, 1e9, lambda cells: None) == 1


def test_a_trial_pass_leaves_the_model_as_it_is(prepared):
    from maskbench.training.stack.passes import Pass
    from maskbench.training.stack.size import _longest, _passed

    run, trainer = prepared("bert", "none", {})
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    passes = Pass(trainer.model, run.head, mixed=False)
    assert _passed(trainer.model, passes, _longest(run, trainer), 3, hiding=True) > 0
    assert same(before, trainer.model.state_dict())
    assert all(weight.grad is None for weight in trainer.model.parameters())


def test_cells_are_dealt_evenly_to_stacks_of_those_that_share_batches():
    assert dealt(range(10), 8) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert dealt([3, 5, 6], 2) == [[3, 5], [6]]
    training = [{}, {"batch_size": 4}, {"learning_rate": 1.0, "warmup": 0.5}, {"epochs": 1}, {"batch_size": 4}]
    assert alike([make_cell(training=keys) for keys in training]) == [[0, 2], [1, 4], [3]]
