"""Jobs whose cells are trained in stacks: records, logs, what is left alone, kills."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from maskbench.errors import InputError
from maskbench.records.probe import ProbeRecord
from maskbench.records.run import Record
from maskbench.runner.job import Runner
from maskbench.runner.shelf import Shelf
from maskbench.runner.stacks import Stacks
from maskbench.slots.device import Device
from maskbench.slots.job import Allocation
from tests.helpers import faults
from tests.helpers.models import same
from tests.helpers.studies import Study

JOB = "texts.tiny.single.clean.full.s1.0"
STRATEGIES = ["none", "random", {"name": "lora", "parameter": "lora"}, {"name": "fisher", "parameter": "child-d"}]
STACK = ["none", "random", "fisher"]
"""Those that can be stacked."""


def run_of(strategy):
    return f"texts.tiny.{strategy}.single.clean.full.s1"


@pytest.fixture(autouse=True)
def _no_cards(monkeypatch):
    monkeypatch.setenv("MASKBENCH_GPUS", "")


def stacked(folder, stack=8, **keys):
    return Study(folder, strategies=STRATEGIES, keep_models=True, training={"stack": stack}, **keys)


def record(study, strategy):
    return Record.read(study.layout.record(run_of(strategy)))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished study whose cells were stacked, and the lines that it said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKBENCH_GPUS", "")
        patch.setenv("MASKBENCH_CELLS", "4")
        patch.setenv("MASKBENCH_STARTED", "0")
        study = stacked(tmp_path_factory.mktemp("done") / "mine")
        return study, study.run()


def test_cells_that_can_be_stacked_are_trained_together_and_all_are_probed(done):
    study, said = done
    assert said[-1] == "cells: 4 of 4 done, 0 left"
    assert len(said) == 4
    assert study.todo() == {}
    for strategy in (*STACK, "lora"):
        found = record(study, strategy)
        assert found.status == "completed"
        assert found.stack == ([run_of(name) for name in STACK] if strategy in STACK else [])
        assert ProbeRecord.read(study.layout.probe_record(run_of(strategy))).status == "probed"
        lines = study.layout.train_log(run_of(strategy)).read_text()
        assert f"run {run_of(strategy)}\n" in lines
        assert "device cpu" in lines
        assert ("update 12 of 12: none " in lines) == (strategy in STACK)
        assert lines.splitlines()[-1].startswith("completed in ")


def test_how_cells_were_stacked_is_no_part_of_their_keys(done):
    study, _ = done
    before = study.trained()
    for stack in ("auto", 1, 2):
        study.configure(strategies=STRATEGIES, keep_models=True, training={"stack": stack})
        assert study.todo() == {}
    assert study.trained() == before


@pytest.mark.parametrize(
    ("stack", "device", "trained"),
    [
        (1, "cuda", []),
        ("auto", "cpu", []),
        ("auto", "cuda", [["none", "random", "fisher"]]),
        (2, "cpu", [["none", "random"]]),
        (3, "cpu", [["none", "random", "fisher"]]),
    ],
)
def test_what_is_trained_in_which_stack(tmp_path, monkeypatch, stack, device, trained):
    """A number bounds the stacks, and auto asks the card; on a CPU it stacks nothing. A cell that is left is alone."""
    study, found = stacked(tmp_path / "mine", stack), []
    monkeypatch.setattr("maskbench.training.stack.size.size_for", lambda cells, device: len(cells))
    monkeypatch.setattr(Stacks, "_train", lambda self, cells: found.append([run.split(".")[2] for run in cells]))
    bench = Runner(study.jobs.by_id[JOB], study.jobs, study.layout, "here", print)
    monkeypatch.setattr(bench, "to_train", lambda place, cell: place)
    stacks = Stacks(bench, SimpleNamespace(device=SimpleNamespace(kind=device)), Shelf())
    for member in bench.job.members:
        stacks.train_with(member)
    assert found == trained


@pytest.mark.parametrize(
    ("kind", "stack", "wanted", "found"),
    [
        ("cuda", "auto", "auto", "eager"),
        ("cuda", 1, "auto", "sdpa"),
        ("cuda", "auto", "sdpa", "sdpa"),
        ("cpu", 8, "auto", "eager"),
    ],
)
def test_all_cells_see_one_dropout_on_a_card(done, monkeypatch, kind, stack, wanted, found):
    """Whether stacked or not, they are trained with eager attention, and a cell whose attention is sdpa is alone."""
    whole, _ = done
    study = object.__new__(Study)
    study.layout = whole.layout
    study.configure(strategies=STRATEGIES, training={"stack": stack, "attention": wanted})
    bench = Runner(study.jobs.by_id[JOB], study.jobs, study.layout, "here", print)
    device = Device(kind, "fp32", "eager" if kind == "cpu" else "sdpa", 1)
    monkeypatch.setattr("maskbench.slots.device.choose", lambda training, model: device)
    place = Allocation(device, SimpleNamespace(), 0.0)
    monkeypatch.setattr(Allocation, "__str__", lambda self: "place")
    cell = next(bench.job.cells)
    trained = bench.to_train(place, cell).device
    assert trained.attention == found
    assert bool(trained.notes) == (kind == "cuda" and found == "eager")
    assert bench.for_cell(place, cell).device == device  # probes compare with what was measured before
    if wanted == "sdpa":
        assert Stacks(bench, place, Shelf())._group(cell) == {}


def test_a_killed_stack_goes_on_from_its_checkpoint_with_the_same_bits(tmp_path, done, injected):
    """Killed, asked to end, and killed once more when one of its cells has its record."""
    whole, _ = done
    study = stacked(tmp_path / "parts")
    killed = faults.job(study.arguments(JOB), tmp_path / "log", killed_in_stack=5)
    assert killed == -signal.SIGKILL
    ended = faults.job(study.arguments(JOB), tmp_path / "log", terminated_in_stack=8)
    assert ended == 128 + signal.SIGTERM
    log = study.layout.train_log(run_of("none"))
    assert "continues from checkpoint-3\n" in log.read_text()
    assert "asked to end: wrote a checkpoint after update 8 of 12" in log.read_text()
    assert study.trained() == {}
    assert faults.job(study.arguments(JOB), tmp_path / "log", killed_before_recording=run_of("random")) < 0
    assert "continues from checkpoint-8\n" in log.read_text()
    assert study.trained().keys() == {run_of("none")}
    assert faults.job(study.arguments(JOB), tmp_path / "log") == 0
    for strategy in STACK:
        one, other = record(study, strategy), record(whole, strategy)
        assert one.history == other.history
        weights = [load_file(part.layout.model(run_of(strategy)) / "model.safetensors") for part in (study, whole)]
        assert same(*weights)
        assert not (study.layout.record(run_of(strategy)).parent / "checkpoints").exists()
    injected("SIGKILL and SIGTERM of a stack", 3)


def test_a_cell_that_cannot_begin_stops_no_other(tmp_path):
    cue = {"name": "cue", "input": {"kind": "oracle-cue", "cues": ["unheard"]}}  # no word of the tokenizer
    study = Study(tmp_path / "mine", strategies=["none", cue, "random"], training={"stack": 3})
    with pytest.raises(InputError) as raised:
        study.run()
    (line,) = str(raised.value).splitlines()
    assert "oracle-cue: cues: 'unheard'" in line
    assert line.endswith(f"(run {run_of('cue')}, {study.layout.train_log(run_of('cue'))})")
    assert study.todo().keys() == {run_of("cue")}
    assert len(record(study, "none").stack) == 2
