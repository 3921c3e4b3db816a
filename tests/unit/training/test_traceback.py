"""A run that crashed keeps where its error came from, and the page links to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskbench.records.run import TRACEBACK
from maskbench.report.page import _traceback
from maskbench.training.run import Inputs, StartError, run_cell
from tests.helpers.models import make_cell, make_encoded, make_model
from tests.unit.report.test_report import Text, analysed, make, report


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("traceback")
    model = make_model(folder / "model")
    encoded = make_encoded(folder / "task", model, "sequence-classification", 40)
    run = folder / "run"
    return Inputs(encoded=encoded, model=model, work=run / "checkpoints", keep_model=run / "model")


def trained(inputs: Inputs, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> str:
    """Run a cell that raises an error, and return its status."""
    from maskbench.slots.device import choose
    from maskbench.training import run

    def fails(*about: object) -> None:
        raise error

    cell = make_cell(training={"epochs": 1})
    if error is not None:
        monkeypatch.setattr(run.Run, "fit", fails)
    record, _ = run_cell(cell, inputs, choose(cell.training), code="c", command="x", gpu_uuid=None)
    monkeypatch.undo()
    return record.status


def test_a_crashed_run_keeps_its_traceback(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    file = inputs.keep_model.parent / TRACEBACK
    for error, status in (
        (KeyError("gone"), "crashed"),
        (StartError("no model"), "crashed"),
        (MemoryError("all"), None),
    ):
        found = trained(inputs, monkeypatch, error)
        assert found == status or status is None
        content = file.read_text(encoding="utf-8")
        assert content.startswith("Traceback (most recent call last)")
        assert f"{type(error).__name__}: {error}" in content
        assert "in fails" in content
    assert trained(inputs, monkeypatch, None) == "completed"
    assert not file.exists()


def test_both_runs_of_a_job_keep_it(tmp_path: Path) -> None:
    inputs = [Inputs(tmp_path, tmp_path, tmp_path / "a/checkpoints", tmp_path / name / "model") for name in "ab"]
    assert [item.traceback for item in inputs] == [tmp_path / name / TRACEBACK for name in "ab"]


def test_the_page_links_to_it(tmp_path: Path) -> None:
    make(tmp_path, ["rt-snippets"], ["none", "random"], 2, failed={("rt-snippets", "random", 1): "crashed"})
    run = "rt-snippets.minilm-l6.random.single.clean.n2000.s1"
    study = analysed(tmp_path, outcomes=False)
    place = f"training/{run}/{TRACEBACK}"
    assert ("href", place) not in Text(report(tmp_path, study, named=["none", "random"])).attributes
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("Traceback")
    assert ("href", place) in Text(report(tmp_path, study, named=["none", "random"])).attributes
    assert _traceback(tmp_path, "no such run") is None
