"""The table of injected faults is made of what tests note."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.injected import VARIABLE, note

ROOT = Path(__file__).resolve().parents[3]


def test_notes_become_rows(tmp_path, monkeypatch, injected):
    path = tmp_path / "notes"
    monkeypatch.delenv(VARIABLE, raising=False)
    note("nothing")
    monkeypatch.setenv(VARIABLE, str(path))
    injected("b", 200)
    note("a", recovery_s=1.0, test="x")
    note("a", 2, lost=1, recovery_s=2.5, test="x")
    assert len(path.read_text().splitlines()) == 3
    first = json.loads(path.read_text().splitlines()[0])
    assert first["test"] == "unit/training/test_injected.py::test_notes_become_rows"
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.injected", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "| a | 3 | 1 | 1.8 (2.5) | `x` |\n| b | 200 | 0 | – |" in done.stdout


def test_without_notes_there_is_no_page(tmp_path):
    (tmp_path / "notes").touch()
    command = [sys.executable, "-m", "tests.helpers.injected", str(tmp_path / "notes")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no test noted a fault" in done.stderr
