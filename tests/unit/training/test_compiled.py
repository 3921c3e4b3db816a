"""Compiled training passes: the same numbers, the same pairing, and a note where nothing can be compiled.

The graphs are those that a card would get, carried out by PyTorch itself (`aot_eager`), which takes no C++ compiler; a
test marked `long` takes the real one.
"""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import XLNetConfig, XLNetForSequenceClassification

from maskbench.slots.device import choose
from maskbench.training import compiled
from maskbench.training.run import Inputs, run_cell
from maskbench.training.stack.which import can_stack
from tests.helpers.models import make_cell, make_encoded, make_model, same

KIND = "sequence-classification"
COMPILED = "training passes were compiled"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("compiled")
    model = make_model(base / "model")
    return SimpleNamespace(model=model, encoded=make_encoded(base / "encoded", model, KIND, count=40))


@pytest.fixture
def train(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")

    def call(strategy=None, **training):
        cell = make_cell(KIND, strategy, training={"epochs": 1, "compile": "on", **training})
        inputs = Inputs(folders.encoded, folders.model, tmp_path / "work", tmp_path / "model")
        record, _ = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
        assert record.status == "completed", record.error
        return SimpleNamespace(notes=record.notes, weights=load_file(tmp_path / "model/model.safetensors"))

    return call


def test_compiled_passes_train_as_the_models_own_do(train):
    plain, graphs = train(compile="off", dropout=0.0), train(dropout=0.0)
    assert graphs.notes == [COMPILED]
    assert plain.notes == []
    for name, weight in plain.weights.items():
        torch.testing.assert_close(graphs.weights[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "masks",
    [
        {"attention": {"kind": "random-attention", "rate": 0.0}},
        {"attention": {"kind": "window", "width": 40}},
        {"input": {"kind": "learned", "rate": 0.0}},
        {"objective": {"kind": "consistency", "mask": {"kind": "random", "rate": 0.0}}},
        {"objective": {"kind": "augment", "apply": False}},
    ],
    ids=str,
)
def test_strategies_that_hide_nothing_stay_bit_identical(train, masks):
    """They change what the graph is given, and not the graph; dropout is on."""
    assert same(train().weights, train({"name": "m", **masks}).weights)


@pytest.mark.parametrize(
    "masks", [{"attention": {"kind": "window", "width": 1}}, {"input": {"kind": "learned", "rate": 0.5}}], ids=str
)
def test_masks_reach_a_compiled_pass(train, masks):
    """What a mask changes, it changes as in the model's own pass."""
    strategy = {"name": "m", **masks}
    plain, graphs = train(strategy, compile="off", dropout=0.0), train(strategy, dropout=0.0)
    assert graphs.notes == [COMPILED]
    assert not same(train(dropout=0.0).weights, graphs.weights)
    for name, weight in plain.weights.items():
        torch.testing.assert_close(graphs.weights[name], weight, rtol=1e-3, atol=1e-4)


def test_a_machine_that_cannot_compile_says_so_in_the_record(train, monkeypatch):
    def broken(*_):
        raise RuntimeError("Failed to find C++ compiler\nplease install one")

    monkeypatch.setattr(compiled, "_graphs", lambda *_: broken)
    run = train()
    assert run.notes == ["compile: not compiled: RuntimeError: Failed to find C++ compiler"]


def test_memory_that_runs_out_is_no_reason_not_to_compile(monkeypatch, folders):
    def broken(*_):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(compiled, "_graphs", lambda *_: broken)
    inputs = {"input_ids": torch.ones(2, 4, dtype=torch.int64), "attention_mask": torch.ones(2, 4, dtype=torch.int64)}
    from transformers import AutoModelForSequenceClassification

    model = compiled.Compiled(AutoModelForSequenceClassification.from_pretrained(folders.model).train(), 2)
    with pytest.raises(torch.OutOfMemoryError):
        model(**inputs)


def test_a_model_that_takes_its_pairs_in_another_way_is_not_compiled():
    torch.manual_seed(0)
    model = XLNetForSequenceClassification(XLNetConfig(vocab_size=30, d_model=16, n_layer=1, n_head=2, d_inner=16))
    model.train()
    graphs = compiled.Compiled(model, 2)
    ids = torch.tensor([[0, 5, 6, 2], [0, 7, 2, 1]])
    outputs = graphs(input_ids=ids, attention_mask=(ids != 1).long())
    assert outputs.logits.shape == (2, 2)
    (note,) = graphs.notes()
    assert note.startswith("compile: not compiled: XLNetForSequenceClassification computes something else")


def test_compiled_cells_are_not_stacked(folders):
    """Their dropout is another."""
    found = [can_stack(make_cell(KIND, training={"compile": setting}), folders.model) for setting in ("off", "on")]
    assert found == [True, False]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_inductors_own_graphs_train_as_the_models_own_do(train, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "inductor")
    plain, graphs = train(compile="off", dropout=0.0), train(dropout=0.0)
    assert graphs.notes == [COMPILED]
    for name, weight in plain.weights.items():
        torch.testing.assert_close(graphs.weights[name], weight, rtol=1e-3, atol=1e-4)
