"""What holds for every mask of the registry, on both kinds of tasks: a new mask is tested by being there.

That a run with it resumes bit for bit is in test_resume.py, over the registry as well.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from maskbench.masks.base import Mask
from maskbench.masks.registry import find
from maskbench.models import packing
from maskbench.slots.device import choose
from maskbench.training.forward import Forward
from maskbench.training.run import Inputs, run_cell
from tests.helpers.masks import MASKS, entry
from tests.helpers.models import make_cell, make_encoded, make_model, same

KINDS = ["sequence-classification", "token-classification"]
NEUTRAL = {"rate": 0.0, "share": 1.0}
"""Values at which a mask hides nothing."""


@pytest.fixture(scope="module", autouse=True)
def _padding_is_left_out():
    """Let the tiny models of these tests compute as wide ones do, without padding."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "NARROWEST", 1)
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("every")
    model = make_model(base / "model", head=True)
    return {"model": model} | {kind: make_encoded(base / kind, model, kind) for kind in KINDS}


@contextmanager
def watched():
    """Collect a hash of everything that a model is given in evaluation."""
    original, seen = Forward.__call__, set()

    def watch(_, __, keys):
        tensors = {name: value for name, value in keys.items() if torch.is_tensor(value)}
        seen.add(tuple((name, hash(tuple(value.flatten().tolist()))) for name, value in sorted(tensors.items())))

    def call(self, batch, **keys):
        assert not self.model.training
        handle = self.model.register_forward_pre_hook(watch, with_kwargs=True)
        try:
            return original(self, batch, **keys)
        finally:
            handle.remove()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Forward, "__call__", call)
        yield seen


@pytest.fixture(scope="module")
def train(folders, tmp_path_factory):
    """Train a cell once and keep its weights, outcome and record, and what its model was given in evaluation."""
    made = {}

    def call(kind, strategy=None):
        cell = make_cell(kind, strategy, training={"epochs": 1})
        key = hashlib.sha256(cell.model_dump_json().encode()).hexdigest()
        if key not in made:
            base = tmp_path_factory.mktemp("run")
            inputs = Inputs(folders[kind], folders["model"], base / "work", base / "model")
            with watched() as given:
                record, outcome = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
            assert record.status == "completed", record.error
            weights = load_file(base / "model/model.safetensors")
            made[key] = SimpleNamespace(record=record, outcome=outcome, weights=weights, given=given)
        return made[key]

    return call


def test_every_family_has_masks():
    assert {family for family, _ in MASKS} == {"input", "attention", "parameter", "objective"}


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize(("family", "kind"), MASKS)
def test_drawn_and_not_applied_is_bit_identical_to_none(train, family, kind, task):
    none, other = train(task), train(task, {"name": "m", family: entry(kind, apply=False)})
    assert same(none.weights, other.weights)
    pd.testing.assert_frame_equal(none.outcome.table, other.outcome.table)


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize(("family", "kind"), MASKS)
def test_at_rate_0_it_is_bit_identical_to_none(train, family, kind, task):
    mask = find(family, kind).model_validate(entry(kind))
    neutral = {key: value for key, value in NEUTRAL.items() if key in type(mask).model_fields}
    inner = [key for key in type(mask).model_fields if isinstance(getattr(mask, key), Mask)]
    for key in inner:
        fields = {name: value for name, value in NEUTRAL.items() if name in type(getattr(mask, key)).model_fields}
        if fields:
            neutral[key] = getattr(mask, key).model_dump() | fields
    if not neutral:
        pytest.skip(f"{kind} has no rate")
    other = train(task, {"name": "m", family: entry(kind, **neutral)})
    assert same(train(task).weights, other.weights)


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize(("family", "kind"), MASKS)
def test_applied_it_makes_a_difference(train, family, kind, task):
    assert not same(train(task).weights, train(task, {"name": "m", family: entry(kind)}).weights)


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize(("family", "kind"), MASKS)
def test_evaluation_gets_the_text_as_it_is(train, family, kind, task):
    """Everything that the model is given in evaluation, by hash, is what it is given without a mask."""
    none = train(task).given
    assert none
    assert train(task, {"name": "m", family: entry(kind)}).given == none
