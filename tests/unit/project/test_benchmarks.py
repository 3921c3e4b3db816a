"""Benchmarks: what they compare and print, and that the one for a card runs without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
    """Every stage but Snakemake's, on a tiny model: four processes, each of which imports transformers."""
    model = make_model(tmp_path / "model")
    encoded = make_encoded(tmp_path / "encoded", model, KIND, count=140)
    out = tmp_path / "card.json"
    given = ("--encoded", encoded, "--source", model, "--cells", "0", "--out", out, "--minutes", "9")
    done = call("card.py", "--device", "cpu", "--quick", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert set(found["one cell"]["beside_stock"]) == {"stock", "stock-bf16", "ours", "ours-compiled"}
    assert found["repeats"]["same_bits"]
    assert found["about"]["card"] is None
    for line in ("one cell, ours ", "GEMM peak", "the same cell twice", "host waits"):
        assert line in done.stdout


def test_a_stage_that_fails_or_does_not_fit_is_said(benchmarks):
    card = benchmarks("card")
    budget = card.Budget(10)
    budget.stage("peak", 0, lambda: {"bf16": 2e12})
    budget.stage("waits", 0, lambda: 1 / 0)
    budget.stage("cells", 60, lambda: pytest.fail("there is no time for it"))
    lines = card.table(budget.found).splitlines()
    assert lines[0].split(maxsplit=2)[2] == "bf16 2 TFLOP/s"
    assert lines[1].split(maxsplit=1)[1] == "FAILED: division by zero"
    assert "left out: 10 s were left" in lines[2]


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


def test_the_study_of_cells_has_as_many_as_are_asked_for(benchmarks):
    cells = benchmarks("cells")
    from maskbench.experiment.load import load

    for count, strategies in ((4, 4), (16, 4), (48, 16), (2, 16)):
        config = cells.experiment(count, 1000, {}, strategies)
        assert len(config["strategies"]) * len(config["seeds"]) == count
        load(config, [], runs_here=False)
