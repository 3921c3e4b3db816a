"""docs/add-a-mask.md, followed to the letter in a copy of the library."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.helpers.models import make_encoded, make_model

PLAN = """
import sys
from maskbench.experiment.cell import cells
from maskbench.experiment.load import load_file

for cell in cells(load_file(sys.argv[1])):
    if cell.task == "rt-snippets" and cell.seed == 1 and cell.strategy.name != "none":
        short = cell.training.model_copy(update={"precision": "fp32", "epochs": 1.0})
        print(cell.model_copy(update={"training": short}).as_argument())
"""
TRAIN = """
import gc
import inspect
import sys
from pathlib import Path
from maskbench.experiment.cell import Cell
from maskbench.slots.device import choose
from maskbench.training.run import Inputs, run_cell

ran = set()
gc.freeze()  # each training collects garbage, of which what was imported is none


def note(frame, event, _):
    # each function of the library that runs; what a module does while it is imported is no part of a job
    code, here = frame.f_code, "/maskbench/" in frame.f_code.co_filename
    if event == "call" and here and code not in ran and code.co_flags & inspect.CO_OPTIMIZED:
        outer = frame
        while outer is not None and outer.f_code.co_name != "<module>":
            outer = outer.f_back
        if outer is not None and "/maskbench/" not in outer.f_code.co_filename:
            ran.add(code)


model, encoded, work = map(Path, sys.argv[1:4])
sys.setprofile(note)
for text in sys.argv[4:]:
    cell = Cell.model_validate_json(text)
    record, _ = run_cell(cell, Inputs(encoded, model, work), choose(cell.training), code="c", command="x")
    rate = next((item.value for item in record.metrics if item.measure == "mask_rate"), None)
    print("trained", cell.strategy.name, record.status, rate)
sys.setprofile(None)

from maskbench.experiment.code import counted_for_training

counted = set()
for text in sys.argv[4:]:
    for key in counted_for_training(Cell.model_validate_json(text).strategy):
        module, _, names = key.partition(":")
        counted |= {(module, name.partition(".")[0]) for name in names.split(", ")}
found = set()
for code in ran:
    module = code.co_filename.rpartition("/maskbench/")[2].removesuffix(".py").removesuffix("/__init__")
    found.add((f"maskbench.{module}".replace("/", "."), code.co_qualname.partition(".")[0]))
print("functions", len(found))
print("uncounted", *sorted(":".join(place) for place in found - counted))
print("masks", *sorted(name for name in sys.modules if name.startswith("maskbench.masks.input.")))
"""


@pytest.fixture(scope="module")
def walk(root):
    """The code blocks of the page, by language."""
    text = (root / "docs/add-a-mask.md").read_text(encoding="utf-8")
    return dict(re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL))


@pytest.fixture(scope="module")
def copy(root, walk, tmp_path_factory):
    """A copy of the library after the first two steps of the walk."""
    folder = tmp_path_factory.mktemp("walk")
    for name in ("maskbench", "scripts"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "maskbench/masks/input/rare.py").write_text(walk["python"], encoding="utf-8")
    (folder / "rare-words.yaml").write_text(walk["yaml"], encoding="utf-8")
    return folder


def call(folder, *arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_mask_takes_less_than_40_lines(walk):
    assert len(walk["python"].partition("class ")[2].splitlines()) < 40


def test_the_command_line_lists_and_validates_it(copy):
    listed = call(copy, "-m", "maskbench", "masks")
    assert "rare (input)  replacement: mask, rate: 0.15" in listed
    assert "The rarest tokens of a text are hit" in listed
    # 2 tasks, 6 strategies (three of them twins), 3 seeds
    assert "valid, 36 cells" in call(copy, "-m", "maskbench", "validate", "rare-words.yaml")


@pytest.fixture(scope="module")
def output(copy, tmp_path_factory):
    """What is printed by the jobs of the walk's cells, all in one process."""
    folder = tmp_path_factory.mktemp("jobs")
    model = make_model(folder / "model")
    encoded = make_encoded(folder / "task", model, "sequence-classification")
    cells = call(copy, "-c", PLAN, "rare-words.yaml").splitlines()
    return call(copy, "-c", TRAIN, str(model), str(encoded), str(folder / "work"), *cells)


def test_all_code_that_runs_in_a_job_is_in_its_hash(output):
    lines = dict(line.partition(" ")[::2] for line in output.splitlines() if not line.startswith("trained "))
    assert int(lines["functions"]) > 60
    assert lines["uncounted"] == ""


def test_a_job_imports_no_other_masks(output):
    names = [f"maskbench.masks.input.{name}" for name in ("random", "rare", "rate_twin")]
    assert f"masks {' '.join(names)}" in output.splitlines()


def test_it_trains_with_its_twins_at_its_rate(output):
    lines = [line.split()[1:] for line in output.splitlines() if line.startswith("trained ")]
    found = {name: rest for name, *rest in lines}
    assert set(found) == {"random", "rare", "rare-noise-twin", "rare-rate-twin", "rare-drawn-not-applied"}
    assert {status for status, _ in found.values()} == {"completed"}
    # the same budget as random's, text by text
    assert len({rate for name, (_, rate) in found.items() if name != "rare-drawn-not-applied"}) == 1
    assert found["rare-drawn-not-applied"][1] == "None"


def test_the_code_passes_the_checks_of_the_project(copy, root):
    shutil.copy(root / "pyproject.toml", copy)
    for tool in (["ruff", "check"], ["ruff", "format", "--check"]):
        call(copy, "-m", *tool, "maskbench/masks/input/rare.py")
