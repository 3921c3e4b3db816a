"""Benchmarks: what they compare and print, and that the one for a card runs without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import torch

from tests.helpers.models import make_encoded, make_model

ROOT = Path(__file__).resolve().parents[3]
KIND = "sequence-classification"


@pytest.fixture
def benchmarks(monkeypatch):
    """Import a benchmark by its name, as they import each other."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module


def call(script, *arguments):
    """Run a benchmark as a user does."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_the_benchmark_of_cards_says_so_in_a_line():
    done = call("card.py")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("no card: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.long
def test_the_benchmark_of_cards_runs_without_one(tmp_path):
    """Every part but Snakemake's, on a tiny model: five processes, each of which imports transformers."""
    model = make_model(tmp_path / "model")
    encoded = make_encoded(tmp_path / "encoded", model, KIND, count=140)
    out = tmp_path / "card.json"
    given = ("--encoded", encoded, "--source", model, "--cells", "0", "--out", out, "--minutes", "9")
    done = call("card.py", "--device", "cpu", "--quick", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert set(found["one cell"]["beside_stock"]) == {"stock", "stock-bf16", "ours"}
    assert found["repeats"]["same_bits"]
    assert set(found["stacks"]["examples_per_second"]) == {"stock", "stack of 2"}
    assert set(found["compiled"]["examples_per_second"]) == {"stock", "ours", "ours-compiled"}
    assert found["compiled"]["apart"] < 1e-2
    assert found["about"]["card"] is None
    for line in ("one cell, ours ", "GEMM peak", "the same cell twice", "host waits"):
        assert line in done.stdout


def test_a_part_that_fails_or_does_not_fit_is_said_and_the_others_go_on(benchmarks):
    card, kept = benchmarks("card"), []
    budget = card.Budget(10, dict.fromkeys(("peak", "waits", "cells"), 5), lambda found: kept.append(list(found)))
    budget.part("peak", lambda: {"bf16": 2e12})
    budget.part("waits", lambda: 1 / 0)
    budget.end -= 8
    budget.part("cells", lambda: pytest.fail("there is no time for it"))
    lines = card.table(budget.found).splitlines()
    assert lines[0].split(maxsplit=2)[2] == "bf16 2 TFLOP/s"
    assert lines[1].split(maxsplit=1)[1] == "FAILED: division by zero"
    assert lines[2].split(maxsplit=1)[1] == "left out: no time was left"
    assert kept == [["peak"], ["peak", "waits"]], "what was found is kept after each part"


def test_a_part_has_its_own_time_within_that_of_all(benchmarks):
    budget = benchmarks("card").Budget(100, {"peak": 30, "cells": 300})
    left = {}
    for name in ("peak", "cells"):
        budget.part(name, lambda name=name: left.setdefault(name, budget.left) and {})
    assert 29 < left["peak"] <= 30
    assert 99 < left["cells"] <= 100


def test_a_way_of_training_that_fails_takes_no_more_turns(benchmarks):
    def broken():
        calls.append("broken")
        raise RuntimeError("Traceback\nno compiler")

    calls, speeds = [], iter([100.0, 300.0, 100.0, 500.0])
    card, table = benchmarks("card"), benchmarks("card_table")
    way = lambda: {"examples_per_second": next(speeds), "precision": "fp32"}  # noqa: E731
    found = card.turns({"stock": way, "ours": way, "ours-compiled": broken}, rounds=2)
    assert found["beside_stock"] == {"stock": 1.0, "ours": 4.0}
    assert found["ways_failed"] == {"ours-compiled": "no compiler"}
    assert calls == ["broken"]
    found |= {"weights": 1e6, "tokens_per_example": 10}
    lines = table.table({"one cell": found, "peak": {"fp32": 1e12}}).splitlines()
    assert " ".join(lines[1].split()) == "one cell, ours 400 examples/s 4.00 x stock 2.4 % of the fp32 peak"
    assert lines[2].endswith("FAILED: no compiler")


def test_a_worker_that_takes_too_long_is_ended(benchmarks, monkeypatch):
    module = benchmarks("worker")
    monkeypatch.setattr(module.subprocess, "Popen", partial(_sleeper, module.subprocess.Popen))
    worker = module.Worker("ours", Path("texts"), Path("model"), threads=1)
    with pytest.raises(RuntimeError, match="train took more than 0 s"):
        worker.ask(limit=0.2, do="train")
    worker.close()
    assert not worker.alive


def _sleeper(start, _, **keys):
    """Start a process that answers nothing."""
    return start([sys.executable, "-c", "import time; time.sleep(60)"], **keys)


def test_a_ratio_falls_only_beyond_noise(benchmarks):
    check = benchmarks("check")
    recorded = {"steady": [2.0, 2.02, 1.98], "noisy": [2.0, 2.6, 1.6], "gone": [1.0]}
    found = {"steady": [1.7, 1.75, 1.9], "noisy": [1.7, 1.75, 1.9]}
    holds = {line.split(":")[0]: held for line, held in check.verdicts(found, recorded)}
    assert holds == {"steady": False, "noisy": True, "gone": False}


def test_what_was_recorded_can_be_compared(benchmarks):
    check = benchmarks("check")
    recorded = json.loads(check.RECORDED.read_text())
    assert recorded
    for ratios in recorded.values():
        assert all(len(values) >= 3 and min(values) > 0 for values in ratios.values())


def test_a_model_of_two_layers_has_one_frozen(benchmarks):
    from maskbench.experiment.load import load

    config = benchmarks("cells").experiment(4, 100, {}, model="bert-tiny")
    study = load(config, [], runs_here=False)
    (frozen,) = [one for one in study.strategies if one.name == "freeze"]
    assert frozen.parameter.layers == 1


def test_the_study_of_cells_has_as_many_as_are_asked_for(benchmarks):
    cells = benchmarks("cells")
    from maskbench.experiment.load import load

    for count, strategies in ((4, 4), (16, 4), (48, 16), (2, 16)):
        config = cells.experiment(count, 1000, {}, strategies)
        assert len(config["strategies"]) * len(config["seeds"]) == count
        load(config, [], runs_here=False)
