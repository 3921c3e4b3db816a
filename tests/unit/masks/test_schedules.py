"""Schedules of mask rates: their numbers, what decides them, and the twins of a mask that has one."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoTokenizer

from maskbench.masks import Strategy
from maskbench.masks.draws import Draws
from maskbench.masks.input.random import Random
from maskbench.masks.input.rate_twin import RateTwin
from maskbench.masks.input.span import Span
from maskbench.masks.schedule import Schedule
from maskbench.slots.device import choose
from maskbench.training.joint import JointRun
from maskbench.training.run import Inputs, Run
from maskbench.training.stack.loop import Loop, stacked_cell
from tests.helpers.models import make_cell, make_encoded, make_model
from tests.helpers.texts import Text, batch_of, rows_of

RATES = [0.6, 0.3, 0.1]
CLASSES, TAGS = "sequence-classification", "token-classification"


# --- numbers


def test_the_rate_at_a_moment():
    def rates(schedule, shares, passes=3.0, epoch=0):
        return [round(schedule.rate(0.4, progress=share, epoch=epoch, passes=passes), 3) for share in shares]

    assert rates(Schedule(), (0, 0.5, 1)) == [0.4, 0.4, 0.4]
    assert rates(Schedule(kind="linear", to=0.1), (0, 0.5, 1)) == [0.4, 0.25, 0.1]
    assert rates(Schedule(kind="cyclic"), (0, 0.25, 0.5, 0.75), passes=2) == [0.4, 0.0, 0.4, 0.0]
    cycle = Schedule(kind="epochs", rates=[0.4, 0.2])
    assert [rates(cycle, (0.1, 0.9), epoch=epoch) for epoch in range(3)] == [[0.4, 0.4], [0.2, 0.2], [0.4, 0.4]]


@pytest.mark.parametrize(
    ("schedule", "mean"),
    [
        (Schedule(kind="linear", to=0.0), 0.6 * (1 - 4.5 / 10)),  # at update u of 10: 0.6 (1 - u / 10)
        (Schedule(kind="epochs", rates=RATES), (4 * 0.6 + 4 * 0.3 + 2 * 0.1) / 10),  # two passes of 4, and a half
        (Schedule(kind="epochs", rates=[0.6]), 0.6),
    ],
)
def test_a_mean_is_over_all_updates_of_the_training(schedule, mean):
    assert schedule.mean(0.6, updates=10, per_pass=4) == pytest.approx(mean, abs=1e-12)
    assert Schedule(kind="cyclic").mean(0.6, updates=10, per_pass=5) == pytest.approx(0.3, abs=1e-12)


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (
            {"rate": 0.2, "schedule": [0.15, 0.1]},
            "expected 0.15, the first of schedule.rates, or no rate at all, got 0.2",
        ),
        ({"schedule": {"kind": "epochs"}}, "expected rates with the kind epochs, and with no other"),
        ({"schedule": {"kind": "linear", "rates": [0.1]}}, "expected rates with the kind epochs, and with no other"),
        ({"schedule": {"kind": "epochs", "rates": [0.1], "to": 0.1}}, "to goes with linear and cyclic"),
        ({"schedule": []}, "at least 1 item"),
        ({"schedule": [0.1, 1.5]}, "less than or equal to 1"),
        ({"schedule": {"kind": "constant", "flat": True}}, "a constant rate is its own mean"),
        (
            {"kind": "adaptive", "schedule": "linear"},
            "a rate that follows the loss has none; expected rate_by: constant",
        ),
    ],
)
def test_mistakes_are_told(entry, line):
    with pytest.raises(ValidationError, match=line):
        Strategy.model_validate({"name": "x", "input": {"kind": "random"} | entry})


def test_a_mask_that_is_part_of_the_model_has_one_rate():
    entry = {"kind": "random-attention", "at": "always", "schedule": "linear"}
    with pytest.raises(ValidationError, match="at: always"):
        Strategy.model_validate({"name": "x", "attention": entry})


# --- twins


def twins(**keys):
    kinds = ["noise-twin", "rate-twin", "constant-rate-twin", "rate-zero", "all"]
    strategy = Strategy.model_validate({"name": "x", "twins": kinds, **keys})
    found = {twin.twin: twin for twin in strategy.expanded()}
    assert all(Strategy.model_validate_json(twin.model_dump_json()) == twin for twin in found.values())
    return found


def test_twins_of_a_scheduled_mask():
    inner = {"kind": "consistency", "mask": {"kind": "span", "schedule": {"kind": "linear", "to": 0.1}}}
    found = twins(input={"kind": "random", "schedule": RATES}, objective=inner)
    own, flat = found[None].input.schedule, Schedule(kind="epochs", rates=RATES, flat=True)
    assert found["noise-twin"].input.schedule == found["rate-twin"].input.of.schedule == own
    assert found["constant-rate-twin"].input == found[None].input.model_copy(update={"schedule": flat})
    assert found["constant-rate-twin"].objective.mask.schedule == Schedule(kind="linear", to=0.1, flat=True)
    for twin, rate in (("rate-zero", 0.0), ("all", 1.0)):
        assert (found[twin].input.rate, found[twin].input.schedule) == (rate, Schedule())


def test_a_constant_rate_has_no_constant_rate_twin():
    with pytest.raises(ValidationError, match="makes no sense without a mask whose rate has a schedule"):
        Strategy.model_validate({"name": "x", "input": "random", "twins": ["constant-rate-twin"]})


def test_a_rate_twin_hits_as_many_tokens_of_each_text_in_every_epoch():
    rows = rows_of([Text([[4 + word] for word in range(20 + text)]) for text in range(30)])
    other = Span(rate=RATES[0], schedule=Schedule(kind="epochs", rates=RATES))
    twin, rng, seen = RateTwin(of=other), Draws(1), []
    for epoch in range(4):
        batch = batch_of(rows, epoch=epoch)
        counts = [(mask.where(batch, rng) & batch.maskable).sum(1) for mask in (other, twin)]
        assert torch.equal(*counts)
        seen.append(float(counts[0].sum() / batch.maskable.sum()))
    assert seen == pytest.approx([*RATES, RATES[0]], abs=0.06)


# --- in a training


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("schedules")
    model = make_model(base / "model")
    few = make_encoded(base / "few", model, TAGS, count=40)
    return {"model": model, CLASSES: make_encoded(base / "texts", model, CLASSES), TAGS: few}


@pytest.fixture
def seen(monkeypatch):
    """Collect what a mask's rate was in each micro-batch: pass, share of the training that was done, and rate."""
    found, original = [], Random.rate_at

    def rate_at(self, batch):
        found.append((batch.epoch, round(batch.progress, 6), original(self, batch)))
        return found[-1][-1]

    monkeypatch.setattr(Random, "rate_at", rate_at)
    return found


@pytest.fixture
def prepared(folders, tmp_path):
    """Prepare a run of four passes under a schedule."""

    def call(schedule, work, **training):
        settings = {"epochs": 3.5, "selection": "last", **training}
        cell = make_cell(CLASSES, {"name": "m", "input": {"kind": "random", "schedule": schedule}}, training=settings)
        run = Run(cell, Inputs(folders[CLASSES], folders["model"], tmp_path / work), choose(cell.training))
        return run, run.prepare(AutoTokenizer.from_pretrained(folders["model"]))

    return call


@pytest.mark.parametrize("schedule", [RATES, {"kind": "cyclic", "to": 0.1}, {"kind": "linear", "to": 0.1}])
def test_all_micro_batches_and_stacks_have_the_rate_of_their_update(prepared, seen, schedule):
    run, trainer = prepared(schedule, "alone")
    trainer.train()
    alone = list(seen)
    assert len(alone) == run.updates == math.ceil(3.5 * math.ceil(len(run.train) / 8))
    if schedule == RATES:
        assert {(epoch, rate) for epoch, _, rate in alone} == set(enumerate([*RATES, RATES[0]]))
    assert len({rate for _, _, rate in alone}) > 1
    seen.clear()
    split, trainer = prepared(schedule, "split", gradient_accumulation=2)
    trainer.train()
    assert split.micro_batches == 2
    assert sorted(set(seen)) == sorted(set(alone))
    seen.clear()
    list(Loop([stacked_cell(*prepared(schedule, "stack"))], batched=True).train())
    assert seen == alone


def test_a_constant_rate_twin_has_the_mean_of_the_rates(prepared, seen):
    for schedule in (RATES, {"kind": "cyclic", "to": 0.1}):
        entry = {"kind": "epochs", "rates": schedule} if schedule == RATES else schedule
        rates = []
        for flat in (False, True):
            seen.clear()
            prepared(entry | {"flat": flat}, f"flat-{flat}-{entry['kind']}")[1].train()
            rates.append([rate for _, _, rate in seen])
        assert len(set(rates[1])) == 1
        assert rates[1][0] == pytest.approx(sum(rates[0]) / len(rates[0]), abs=1e-12)


def test_in_joint_training_each_task_has_the_rate_of_its_own_pass(folders, tmp_path, seen):
    cells = [
        make_cell(
            kind,
            {"name": "m", "input": {"kind": "random", "schedule": RATES}},
            task=task,
            other=other,
            regime="joint",
            training={"epochs": 2},
        )
        for kind, task, other in ((CLASSES, "texts", "names"), (TAGS, "names", "texts"))
    ]
    inputs = [Inputs(folders[cell.kind], folders["model"], tmp_path / "joint") for cell in cells]
    run = JointRun(cells, inputs, choose(cells[0].training), 0)
    trainer = run.prepare(AutoTokenizer.from_pretrained(folders["model"]))
    trainer.train()
    per_pass = trainer.updates.per_pass
    assert per_pass[0] > per_pass[1]
    expected = [(update // size, RATES[update // size % 3]) for update in range(2 * per_pass[0]) for size in per_pass]
    assert [(epoch, rate) for epoch, _, rate in seen] == expected
