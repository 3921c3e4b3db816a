"""What a training step must not do on a card, as far as a machine without one can tell."""

from __future__ import annotations

import warnings

import pytest
import torch

from maskbench.data.encode import load_encoded
from maskbench.slots import determinism
from maskbench.slots.device import choose
from maskbench.training.clock import Clock, DivergedError, Losses
from maskbench.training.collate import Collator
from maskbench.training.resident import Resident
from maskbench.training.run import Inputs, Run
from tests.helpers.masks import MASKS, entry
from tests.helpers.models import make_cell, make_encoded, make_model
from tests.helpers.waits import Waits

KINDS = ["sequence-classification", "token-classification"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("card")
    model = make_model(base / "model", head=True)
    return {"model": model} | {kind: make_encoded(base / kind, model, kind) for kind in KINDS}


def prepared(folders, tmp_path, kind, strategy, **training):
    """Return a Trainer that takes its model for one on a card, ready for its first update."""
    from transformers import AutoTokenizer

    cell = make_cell(kind, strategy, training={"attention": "sdpa", "epochs": 1, **training})
    inputs = Inputs(folders[kind], folders["model"], tmp_path / "work")
    run = Run(cell, inputs, choose(cell.training))
    trainer = run.prepare(AutoTokenizer.from_pretrained(folders["model"]))
    trainer.on_card, trainer.losses = True, Losses(1000)
    trainer.args.eval_strategy = trainer.args.save_strategy = trainer.args.logging_strategy = "no"
    trainer.args.load_best_model_at_end, trainer.args.max_steps = False, 2
    return trainer


# --- nothing waits


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize(("family", "kind"), [(None, "none"), *MASKS])
def test_no_update_waits_for_the_card(folders, tmp_path, family, kind, task, monkeypatch):
    """Neither a number nor a size is read back, and no number is copied, in the steps of any mask."""
    monkeypatch.setattr("maskbench.masks.shared.masked_lm._places", lambda hit: torch.arange(hit.numel()))
    trainer = prepared(folders, tmp_path, task, {"name": "m", family: entry(kind)} if family else None)
    waits: list[str] = []
    step, optimise = type(trainer).training_step, trainer.callback_handler.on_pre_optimizer_step

    def watched(model, inputs, items=None):
        with Waits() as seen:
            loss = step(trainer, model, inputs, items)
        waits.extend(seen.found)
        return loss

    def gated(*args):
        with Waits() as seen:
            control = optimise(*args)
        waits.extend(seen.found)
        return control

    monkeypatch.setattr(trainer, "training_step", watched)
    monkeypatch.setattr(trainer.callback_handler, "on_pre_optimizer_step", gated)
    trainer.train()
    assert not waits, sorted(set(waits))


def test_what_waits_is_found():
    values = torch.arange(4.0)
    with Waits() as seen:
        values[values > 1]
        values.sum().item()
        torch.as_tensor(0.5) + values
        values[torch.tensor([1])]
    assert [line.split()[0] for line in seen.found] == [
        "index",
        "_local_scalar_dense",
        "lift_fresh",
        "lift_fresh",
    ]


# --- batches


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("multiple", [1, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_on_the_device_are_those_of_the_collator(folders, kind, multiple, left):
    dataset = load_encoded(folders[kind])["train"].select(range(40, 5, -1))
    collate = Collator(0, left=left, multiple=multiple)
    resident = Resident(dataset, collate, CPU)
    assert len(resident) == len(dataset)
    for rows in ([3, 0, 17], [8], list(range(35))):
        wanted, found = collate([dataset[row] for row in rows]), resident.batch(rows)
        assert wanted.keys() == found.keys()
        for name, value in wanted.items():
            assert value.dtype == found[name].dtype, name
            assert torch.equal(value, found[name]), name


# --- losses and times


def test_a_loss_that_is_not_finite_is_found_at_the_next_look():
    losses = Losses(3)
    losses.add(1, torch.tensor(0.5))
    losses.add(2, torch.tensor(float("nan")))
    with pytest.raises(DivergedError, match="loss is nan at update 2"):
        losses.add(3, torch.tensor(0.5))
    losses.add(4, torch.tensor(float("inf")))
    with pytest.raises(DivergedError, match="loss is inf at update 4"):
        losses.look()
    losses.look()


def test_a_diverging_run_stops_before_it_is_scored(folders, tmp_path, monkeypatch):
    """The host looks rarely on a card, but always before an evaluation or the end."""
    trainer = prepared(folders, tmp_path, KINDS[0], None, learning_rate=1e30, max_grad_norm=0.0)
    trainer.args.max_steps = 6
    with pytest.raises(DivergedError, match="loss is nan at update"):
        trainer.train()


def test_a_card_keeps_the_time_of_updates_by_its_own_events(monkeypatch):
    class Event:
        clock = 0.0

        def __init__(self, enable_timing=False):
            assert enable_timing

        def record(self):
            Event.clock += 2.0
            self.at = Event.clock

        def synchronize(self):
            self.done = True

        def elapsed_time(self, other):
            assert other.at == Event.clock or not hasattr(other, "done")
            return other.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock = Clock(on_card=True)
    for _ in range(3):
        clock.on_step_begin()
        clock.on_step_end()
    assert clock.durations == [0.002] * 3
    clock.durations = [1.0]
    clock.on_step_begin()
    clock.on_step_end()
    assert clock.durations == [1.0, 0.002]


# --- determinism is told


def test_an_operation_that_is_not_deterministic_is_told_once_and_noted(capsys):
    said = "nll_loss2d_forward does not have a deterministic implementation, but you set 'warn_only=True'"
    with warnings.catch_warnings():
        determinism.tell_once()
        determinism.tell_once()
        determinism.begin()
        assert determinism.notes() == []
        for _ in range(3):
            warnings.warn(said, stacklevel=1)
            with warnings.catch_warnings():  # which lets Python forget what it has shown
                pass
        warnings.warn("cuDNN attention defaults to a non-deterministic algorithm. To ...", stacklevel=1)
        assert determinism.notes() == ["not deterministic on this card: cuDNN attention, nll_loss2d_forward"]
        determinism.begin()
        warnings.warn(said, stacklevel=1)
        assert determinism.notes() == ["not deterministic on this card: nll_loss2d_forward"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("nll_loss2d_forward is not deterministic")
