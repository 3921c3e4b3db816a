"""docs/add-a-mask.md, followed to the letter in a copy of the library."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.unit.tiny import make_encoded, make_model

TRAIN = """
import sys
from pathlib import Path
from maskbench.experiment.cell import cells
from maskbench.experiment.load import load_file
from maskbench.slots.device import choose
from maskbench.training.run import Inputs, run_cell

model, encoded, work = map(Path, sys.argv[2:])
for cell in cells(load_file(sys.argv[1])):
    if cell.task == "rt-snippets" and cell.seed == 1 and cell.strategy.name != "none":
        short = cell.training.model_copy(update={"precision": "fp32", "epochs": 1.0})
        cell = cell.model_copy(update={"training": short})
        record, _ = run_cell(cell, Inputs(encoded, model, work), choose(cell.training), code="c", command="x")
        rate = next((item.value for item in record.metrics if item.measure == "mask_rate"), None)
        print("trained", cell.strategy.name, record.status, rate)
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
    shutil.copytree(root / "maskbench", folder / "maskbench", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "maskbench/masks/input/content.py").open("a", encoding="utf-8") as file:
        file.write(f"\n\n{walk['python']}")
    (folder / "rare-words.yaml").write_text(walk["yaml"], encoding="utf-8")
    return folder


def call(folder, *arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_mask_takes_less_than_40_lines(walk):
    assert len(walk["python"].splitlines()) < 40


def test_the_command_line_lists_and_validates_it(copy):
    listed = call(copy, "-m", "maskbench", "masks")
    assert "rare (input)  replacement: mask, rate: 0.15" in listed
    assert "The rarest tokens of a text are hit" in listed
    # 2 tasks, 6 strategies (three of them twins), 3 seeds
    assert "valid, 36 cells" in call(copy, "-m", "maskbench", "validate", "rare-words.yaml")


def test_it_trains_with_its_twins_at_its_rate(copy, tmp_path):
    model = make_model(tmp_path / "model")
    encoded = make_encoded(tmp_path / "task", model, "sequence-classification")
    output = call(copy, "-c", TRAIN, "rare-words.yaml", str(model), str(encoded), str(tmp_path / "work"))
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
        call(copy, "-m", *tool, "maskbench/masks/input/content.py")
