"""A run that was killed and continues from its checkpoint ends as if nothing had happened, masks included."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer

from maskbench.masks.base import Mask
from maskbench.masks.registry import find
from maskbench.slots.device import choose
from maskbench.training.run import Inputs, Run
from tests.helpers.killed_training import KilledError, Watch
from tests.helpers.masks import MASKS, entry
from tests.helpers.models import make_cell, make_encoded, make_model

KINDS = ["sequence-classification", "token-classification"]
STRATEGIES = {
    "none": {},
    "adaptive": {"input": {"kind": "adaptive", "place": "loss", "rate": 0.4, "gain": 50.0, "fast": 0.3, "slow": 0.6}},
    "learned": {"input": {"kind": "learned", "rate": 0.4, "learning_rate": 0.1}},
    "hard-concrete": {"input": {"kind": "learned", "rate": 0.4, "sampling": "hard-concrete", "learning_rate": 0.1}},
    "consistency-adaptive": {"objective": {"kind": "consistency", "mask": {"kind": "adaptive", "rate": 0.5}}},
    "learned-top": {"parameter": {"kind": "learned-weights", "from_layer": 1, "spread": 0.02, "chosen": "top"}},
    "scheduled": {"input": {"kind": "random", "schedule": [0.6, 0.1]}},
    "augment": {"input": {"kind": "adaptive", "rate": 0.4}, "objective": {"kind": "augment", "mask": None}},
}
REGISTERED = {f"{family}-{kind}": {family: entry(kind)} for family, kind in MASKS}
KILLED_AT, UPDATES = 9, 12  # a pass has 6 updates, so this is within the second one


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("tiny")
    model = make_model(base / "model", head=True)
    return {"model": model} | {kind: make_encoded(base / kind, model, kind) for kind in KINDS}


@pytest.fixture
def train(folders):
    """Train in a working folder, perhaps to be killed, perhaps from a checkpoint there."""

    def call(work, kind, strategy, *, end=None, start=None, **training):
        settings = {"epochs": 2, "evaluations_per_epoch": 2, **training}
        cell = make_cell(kind, {"name": "mine", **(STRATEGIES | REGISTERED)[strategy]}, training=settings)
        run = Run(cell, Inputs(folders[kind], folders["model"], work), choose(cell.training))
        trainer = run.prepare(AutoTokenizer.from_pretrained(folders["model"]))
        watch = Watch(end)
        trainer.add_callback(watch)
        resume = None if start is None else str(work / f"checkpoint-{start}")
        if end is None:
            trainer.train(resume_from_checkpoint=resume)
        else:
            with pytest.raises(KilledError):
                trainer.train(resume_from_checkpoint=resume)
        trainer.masking.save(work / "last.pt")
        state = torch.load(work / "last.pt", weights_only=True)
        return SimpleNamespace(weights=watch.weights, state=state, rate=trainer.masking.realised_rate)

    return call


def equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def check(train, folder, kind, strategy, **training):
    whole = train(folder / "whole", kind, strategy, **training)
    killed = train(folder / "parts", kind, strategy, end=KILLED_AT, **training)
    assert list(killed.weights) == list(range(1, KILLED_AT + 1))
    resumed = train(folder / "parts", kind, strategy, start=KILLED_AT, **training)
    assert list(resumed.weights) == list(range(KILLED_AT + 1, UPDATES + 1))
    for step, weights in resumed.weights.items():
        assert equal(weights, whole.weights[step]), step
    assert equal(resumed.state, whole.state)
    assert resumed.rate == whole.rate
    return whole


@pytest.mark.parametrize(("strategy", "kind"), list(zip(STRATEGIES | REGISTERED, KINDS * 50, strict=False)))
def test_a_resumed_run_ends_bit_identical(train, tmp_path, strategy, kind):
    """For every mask, on one of the two tasks, and for some with parameters under which their state matters."""
    check(train, tmp_path, kind, strategy)


def test_so_does_one_with_several_micro_batches(train, tmp_path):
    check(train, tmp_path, KINDS[1], "adaptive", gradient_accumulation=2)


@pytest.mark.parametrize("strategy", ["adaptive", "learned"])
def test_without_what_the_mask_has_learnt_it_would_not(train, tmp_path, strategy, monkeypatch):
    """The comparison can fail: a mask that forgets ends elsewhere."""
    for mask in (find("input", strategy), Mask):
        monkeypatch.setattr(mask, "restore", lambda self, state: None)
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", keep_gate(torch.nn.Module.load_state_dict))
    with pytest.raises(AssertionError):
        check(train, tmp_path, KINDS[0], strategy)


def keep_gate(original):
    """Load all modules but gates."""

    def load(self, state, *args, **keys):
        return None if type(self).__name__ == "Gate" else original(self, state, *args, **keys)

    return load
