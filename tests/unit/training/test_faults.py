"""Training jobs that are killed, asked to end, or short of memory: real processes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from types import SimpleNamespace

import pandas as pd
import pytest
from safetensors.torch import load_file

from maskbench.records.run import Record
from tests.helpers import faults
from tests.helpers.masks import entry
from tests.helpers.models import make_cell, make_encoded, make_model, same

TASKS = {"texts": "sequence-classification", "names": "token-classification"}
ADAPTIVE = {"kind": "adaptive", "place": "loss", "rate": 0.4, "gain": 50.0, "fast": 0.3, "slow": 0.6}
STRATEGIES = {
    "none": {},
    "adaptive": {"input": ADAPTIVE},
    "learned": {"input": {"kind": "learned", "rate": 0.4, "learning_rate": 0.1}},
    "augment": {"input": ADAPTIVE, "objective": {"kind": "augment", "mask": None}},
    "lora": {"parameter": entry("lora")},
    "child": {"input": ADAPTIVE, "parameter": entry("child-d")},
}
TIMES = {"train_time", "step_time", "throughput", "fit_time", "wall_time", "peak_memory"}
UPDATES = 12  # two passes of six; an evaluation and a checkpoint after every third


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("tiny")
    model = make_model(base / "model", head=True)
    return {"model": model} | {task: make_encoded(base / task, model, kind) for task, kind in TASKS.items()}


@pytest.fixture(scope="module")
def launch(folders):
    """Run a training job in a folder, perhaps with a fault; returns its status, its log, and the runs' folders."""

    def call(folder, regime="single", strategy="none", code="c", start=None, training=None, **fault):
        tasks = ["texts", "names"] if regime == "joint" else ["texts"]
        other = {"single": [None], "sequential": ["names"], "joint": tasks[::-1]}[regime]
        outputs = [folder / task for task in tasks]
        cells = [
            make_cell(
                TASKS[task],
                {"name": strategy, **STRATEGIES[strategy]},
                training={"evaluations_per_epoch": 2, **(training or {})},
                task=task, regime=regime, other=partner,
            )
            for task, partner in zip(tasks, other, strict=True)
        ]  # fmt: skip
        arguments = ["--cell", *(cell.model_dump_json() for cell in cells), "--model", str(folders["model"])]
        arguments += ["--encoded", *(str(folders[task]) for task in tasks), "--output", *map(str, outputs)]
        arguments += ["--code", code, "--along", "--conflict-points", "5"]
        arguments += ["--start", str(start)] if start is not None else []
        log = folder.with_suffix(".log")
        log.unlink(missing_ok=True)
        began = time.monotonic()
        status = faults.train(arguments, log, **fault)
        took = time.monotonic() - began
        return SimpleNamespace(
            took=took, status=status, log=log.read_text(), outputs=outputs, work=outputs[0] / "checkpoints"
        )

    return call


@pytest.fixture
def job(launch, tmp_path):
    """Run a training job in a folder of the test's own."""

    def call(*regime, name="parts", **keys):
        return launch(tmp_path / name, *regime, **keys)

    return call


@pytest.fixture(scope="module")
def whole(launch, tmp_path_factory):
    """Run a training job that nothing disturbs, once for all tests."""
    base, done = tmp_path_factory.mktemp("whole"), {}

    def call(*regime, **keys):
        name = json.dumps([regime, keys], default=str)
        if name not in done:
            done[name] = launch(base / str(len(done)), *regime, **keys)
            assert done[name].status == 0, done[name].log
        return done[name]

    return call


@pytest.fixture(scope="module")
def first(folders, tmp_path_factory):
    """Train what a sequential run starts from; returns its folder."""

    def call(strategy):
        base = tmp_path_factory.mktemp("first")
        cell = make_cell(TASKS["names"], {"name": strategy, **STRATEGIES[strategy]}, task="names")
        arguments = ["--cell", cell.model_dump_json(), "--encoded", str(folders["names"]), "--code", "c"]
        arguments += ["--model", str(folders["model"]), "--output", str(base / "run")]
        assert faults.train(arguments, base / "log") == 0
        return base / "run"

    return call


def result(folder):
    """Everything that a run leaves behind, but for what differs between two undisturbed runs."""
    record = Record.read(folder / "metrics.json")
    model = json.loads((folder / "model/maskbench.json").read_text())
    along = {step: load_file(folder / f"model/along/step-{step}.safetensors") for step in model["along"]}
    return SimpleNamespace(
        record=record,
        numbers=[metric for metric in record.metrics if metric.measure not in TIMES],
        rows=(record.status, record.history, record.conflict, model),
        notes=[note for note in record.notes if not note.startswith("went on after update ")],
        weights=load_file(folder / "model/model.safetensors"),
        along=along,
        outcome=pd.read_parquet(folder / "predictions.parquet"),
    )


def check_same(one, other):
    for left, right in zip(one.outputs, other.outputs, strict=True):
        a, b = result(left), result(right)
        assert a.record.status == "completed"
        assert (a.numbers, a.rows, a.notes) == (b.numbers, b.rows, b.notes)
        assert same(a.weights, b.weights)
        assert a.along.keys() == b.along.keys() == {3, 6, 9, 12}
        assert all(same(a.along[step], b.along[step]) for step in a.along)
        pd.testing.assert_frame_equal(a.outcome, b.outcome, check_exact=True)
        assert not (right / "checkpoints").exists()


@pytest.mark.parametrize(
    ("strategy", "regime", "step", "after"),
    [
        ("adaptive", "single", 2, None),
        ("learned", "single", 8, 6),
        ("augment", "single", 12, 9),
        ("lora", "single", 5, 3),
        ("child", "sequential", 11, 9),
        ("adaptive", "joint", 4, 3),
        ("learned", "joint", 10, 9),
    ],
)
def test_a_killed_job_goes_on_from_its_last_checkpoint_and_ends_bit_identical(
    job, whole, first, injected, strategy, regime, step, after
):
    keys = {"strategy": strategy} | ({"start": first(strategy)} if regime == "sequential" else {})
    killed = job(regime, **keys, killed_in_step=step)
    assert killed.status == -signal.SIGKILL
    assert not (killed.outputs[0] / "metrics.json").exists()
    resumed = job(regime, **keys)
    assert resumed.status == 0, resumed.log
    went_on = [note for note in result(resumed.outputs[0]).record.notes if note.startswith("went on")]
    said = f"went on after update {after}: wall time and peak memory are of the last part alone"
    assert went_on == ([] if after is None else [said])
    check_same(whole(regime, **keys), resumed)
    injected("SIGKILL of a training job at an update", recovery_s=resumed.took)


def test_so_does_one_that_is_killed_again_and_again(job, whole, injected):
    kills = {"killed_in_step": 5}, {"killed_while_saving": 6}, {"killed_in_step": 8}, {"killed_while_scoring": True}
    for fault in kills:
        assert job(strategy="adaptive", **fault).status == -signal.SIGKILL
    resumed = job(strategy="adaptive")
    assert resumed.status == 0, resumed.log
    check_same(whole(strategy="adaptive"), resumed)
    injected("SIGKILL of one training job, again and again", len(kills), recovery_s=resumed.took)


@pytest.mark.parametrize("step", [7, 9])
def test_a_job_that_is_asked_to_end_writes_a_checkpoint_first(job, whole, injected, step):
    """After the update at hand, be it one with an evaluation or not."""
    ended = job(strategy="adaptive", terminated_in_step=step)
    assert ended.status == 128 + signal.SIGTERM
    assert f"asked to end: wrote a checkpoint after update {step} of {UPDATES}" in ended.log
    assert not (ended.outputs[0] / "metrics.json").exists()
    resumed = job(strategy="adaptive")
    assert f"continues from checkpoint-{step}\n" in resumed.log
    check_same(whole(strategy="adaptive"), resumed)
    injected("SIGTERM of a training job", recovery_s=resumed.took)


def test_early_stopping_keeps_its_patience(job, whole):
    training = {"epochs": 4, "early_stopping": 2, "learning_rate": 1e-6}  # no evaluation is better than the first
    for fault in ({"killed_in_step": 8}, {"killed_while_scoring": True}):
        assert job(training=training, **fault).status == -signal.SIGKILL
    resumed = job(training=training)
    assert resumed.status == 0, resumed.log
    one, other = (result(run.outputs[0]) for run in (whole(training=training), resumed))
    assert len(one.record.history) == 3
    assert (one.numbers, one.rows) == (other.numbers, other.rows)
    assert same(one.weights, other.weights)


DAMAGE = {
    "model.safetensors: content differs": lambda folder: faults.garble(folder / "model.safetensors"),
    "optimizer.pt: content differs": lambda folder: (folder / "optimizer.pt").write_bytes(b"PK"),
    "masks.pt: listed in the manifest but missing": lambda folder: (folder / "masks.pt").unlink(),
    "checkpoint-9 is not complete": lambda folder: (folder / "sha256.json").unlink(),
    "sha256.json: not valid JSON": lambda folder: (folder / "sha256.json").write_text('{"opt'),
}


def test_a_damaged_checkpoint_is_named_and_not_used(job, whole, tmp_path, injected):
    killed = job(strategy="adaptive", killed_in_step=11)
    kept = shutil.copytree(killed.work, tmp_path / "kept")
    for what, damage in DAMAGE.items():
        shutil.rmtree(killed.outputs[0])
        shutil.copytree(kept, killed.work)
        damage(killed.work / "checkpoint-9")
        resumed = job(strategy="adaptive")
        assert resumed.status == 0, resumed.log
        assert re.search(f"checkpoint-9: not used: .*{what}", resumed.log)
        assert "continues from checkpoint-9" not in resumed.log
        check_same(whole(strategy="adaptive"), resumed)
        injected("checkpoint garbled, cut short or incomplete", recovery_s=resumed.took)
    shutil.rmtree(killed.outputs[0])
    shutil.copytree(kept, killed.work)
    assert "continues from checkpoint-9" in job(strategy="adaptive").log  # it is the damage, nothing else


@pytest.mark.parametrize("change", [{"code": "d"}, {"training": {"learning_rate": 2e-3}}])
def test_a_checkpoint_of_another_run_is_not_used(job, whole, change):
    assert job(strategy="adaptive", killed_in_step=8).status == -signal.SIGKILL
    other = job(strategy="adaptive", **change)
    assert "checkpoints: not used: of another configuration, code or data" in other.log
    assert "continues from" not in other.log
    check_same(whole(strategy="adaptive", **change), other)


# --- memory


@pytest.mark.parametrize("regime", ["single", "joint"])
def test_out_of_memory_is_met_with_smaller_micro_batches_and_the_same_batch(job, whole, injected, regime):
    short = job(regime, strategy="adaptive", memory_for=2)
    assert short.status == 0, short.log
    asked = whole(regime, strategy="adaptive", training={"gradient_accumulation": 4})
    for one, other in zip(short.outputs, asked.outputs, strict=True):
        found, expected = result(one), result(other)
        note = "out of memory with batches of 8 examples: trained with 4 micro-batches of 2 examples"
        assert [row for row in found.record.notes if row not in expected.record.notes] == [note]
        assert (found.numbers, found.rows) == (expected.numbers, expected.rows)
        assert same(found.weights, expected.weights)
    injected("out of memory", recovery_s=short.took)


def test_a_job_that_was_short_of_memory_and_killed_goes_on_with_its_micro_batches(job, whole):
    assert job(memory_for=4, killed_in_step=8).status == -signal.SIGKILL
    resumed = job(memory_for=4)
    assert "continues from checkpoint-6" in resumed.log
    assert "starting anew" not in resumed.log
    check_same(whole(memory_for=4), resumed)


def test_out_of_memory_with_one_example_is_a_result(job, injected):
    short = job(memory_for=0)
    assert short.status == 0, short.log
    record = Record.read(short.outputs[0] / "metrics.json")
    assert record.status == "oom"
    assert record.error == "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB."
    assert record.notes == ["out of memory with batches of 8 examples: trained with 8 micro-batches of 1 example"]
    assert not short.work.exists()
    injected("out of memory even with one example (recorded as `oom`)")
