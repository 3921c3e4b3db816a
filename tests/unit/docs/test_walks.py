"""The pages docs/add-a-*.md, followed to the letter; add-a-mask.md and add-a-kind.md have tests of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel, AutoTokenizer

from maskbench.data.encode import encode, load_encoded
from maskbench.data.prepare import load_prepared, prepare
from maskbench.data.sources import fetch_model, fetch_task
from maskbench.experiment.load import load_file
from tests.helpers.models import make_model


def blocks(root: Path, page: str) -> list[tuple[str, str, str]]:
    """The code blocks of a page: language, name of the file if it has one, content."""
    text = (root / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```(\w+)(?: file=(\S+))?\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def follow(root, tmp_path, monkeypatch):
    """Writes the files of a page and its configuration, and returns the configuration's name."""

    def walk(page: str) -> str:
        monkeypatch.chdir(tmp_path)
        (config,) = (content for language, _, content in blocks(root, page) if language == "yaml")
        name = re.search(r"^study: (\S+)$", config, flags=re.MULTILINE)[1] + ".yaml"
        Path(name).write_text(config, encoding="utf-8")
        for _, file, content in blocks(root, page):
            if file:
                Path(file).parent.mkdir(parents=True, exist_ok=True)
                Path(file).write_text(content, encoding="utf-8")
        assert name in "".join(content for language, _, content in blocks(root, page) if language == "sh")
        return name

    return walk


def validate(root, name):
    done = subprocess.run(
        [sys.executable, "-m", "maskbench", "validate", name],
        env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_task_of_ones_own(follow, root, tmp_path):
    name = follow("add-a-task.md")
    assert "valid, 6 cells" in validate(root, name)
    (task,) = load_file(name).tasks
    fetch_task(task, tmp_path / "source", tmp_path / "cache")
    prepare(task, tmp_path / "source", tmp_path / "prepared")
    about, splits = load_prepared(tmp_path / "prepared")
    assert about.labels == ["delivery", "payment"]
    assert {split: table.num_rows for split, table in splits.items()} == {"train": 4, "validation": 4, "test": 4}
    # the tiny model takes 64 tokens and knows a handful of words
    short = task.model_copy(update={"max_length": 32, "accept": ["unknown-tokens"]})
    encode(short, tmp_path / "prepared", make_model(tmp_path / "model"), tmp_path / "encoded")
    assert len(load_encoded(tmp_path / "encoded")["train"]) == 4


def test_a_model_of_ones_own(follow, root, tmp_path):
    name = follow("add-a-model.md")
    given = make_model(tmp_path / "given")
    (code,) = (content for language, _, content in blocks(root, "add-a-model.md") if language == "python")
    scope: dict = {}
    exec(code, scope)
    # freeze takes three layers, and the tiny model has two
    mine = AutoModel.from_config(AutoConfig.from_pretrained(given, num_hidden_layers=3))
    scope["save"](mine, AutoTokenizer.from_pretrained(given))
    assert "valid, 9 cells" in validate(root, name)
    (model,) = load_file(name).models
    fetch_model(model, tmp_path / "fetched", tmp_path / "cache")
    assert AutoModel.from_pretrained(tmp_path / "fetched").config.model_type == "bert"
    assert model.training.learning_rate == 3e-4


MEASURED = """
import gc
import sys
from pathlib import Path
import tests
from tests.helpers.probed_runs import Bench, cell_of, values
gc.freeze()  # each training collects garbage, of which what was imported is none
bench = Bench.make(Path(sys.argv[1]))
for kind in ("sequence-classification", "token-classification"):
    record, outcomes = bench.probe(cell_of(kind), measure=sys.argv[2].split(","))
    print("found", kind, values(record)[sys.argv[3]], *sorted(set(outcomes["set"])))
"""


def parts(root: Path, page: str) -> dict[str, str]:
    """The pieces of code that a page puts into files, by their names."""
    return dict(re.findall(r"```python (\w+)\n(.*?)```", (root / "docs" / page).read_text(), flags=re.DOTALL))


@pytest.fixture
def copy(root, tmp_path):
    """A copy of the library, and a function that puts text into one of its files before what stands there."""
    shutil.copytree(root / "maskbench", tmp_path / "maskbench", ignore=shutil.ignore_patterns("__pycache__"))

    def put(file: str, text: str, before: str) -> None:
        path = tmp_path / "maskbench" / file
        content = path.read_text(encoding="utf-8")
        assert content.count(before) == 1, (file, before)
        path.write_text(content.replace(before, text + before), encoding="utf-8")

    return tmp_path, put


def run_in(folder: Path, root: Path, *arguments: str) -> str:
    """Run Python code, given with its arguments, with the code of a folder before the project's: what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", *arguments],
        env={"PYTHONPATH": f"{folder}:{root}", "PATH": "", "OMP_NUM_THREADS": "1", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def measure_in(folder: Path, root: Path, probes: str, name: str) -> dict[str, list[str]]:
    """Train and probe a tiny model of each kind with the code of a folder: its value and streams."""
    printed = run_in(folder, root, MEASURED, str(folder / "bench"), probes, name)
    lines = [line.split()[1:] for line in printed.splitlines() if line.startswith("found ")]
    return {kind: rest for kind, *rest in lines}


def test_a_measure_of_ones_own(copy, root):
    folder, put = copy
    code = parts(root, "add-a-measure.md")
    file = folder / "maskbench/config/measures/fit.py"
    file.write_text(re.sub(r"\n\)\n\Z", lambda end: f"\n{code['entry']})\n", file.read_text()))
    put("probes/fit.py", code["value"], "\n\ndef confidences(")
    found = measure_in(folder, root, "calibration", "confidence")
    assert len(found) == 2
    for value, *streams in found.values():
        assert 0.2 < float(value) <= 1
        assert "test:confidence" in streams


def test_a_probe_of_ones_own(copy, root):
    folder, put = copy
    code = parts(root, "add-a-probe.md")
    put("config/probes.py", code["name"], '    "trajectory",\n]')
    file = folder / "maskbench/config/measures/input.py"
    file.write_text(re.sub(r"\n\)\n\Z", lambda end: f"\n{code['entry']})\n", file.read_text()))
    file = folder / "maskbench/probes/input.py"
    file.write_text(f"{file.read_text()}\n\n{code['probe']}".replace("import score\n", "import only, score\n"))
    found = measure_in(folder, root, "length", "length_gap")
    assert len(found) == 2
    for value, *streams in found.values():
        assert -100 <= float(value) <= 100
        assert {"test:short", "test:long"} <= set(streams)


DRAWN = """
import sys
from pathlib import Path
from maskbench.report.figures import FIGURES
assert "matplotlib" not in sys.modules  # rules read the list at every call
from maskbench.report.figures import functions
from maskbench.report.style import save, style
from tests.helpers.reports import STRATEGIES, write_all
assert functions().keys() == FIGURES.keys()
study = write_all(Path("study"), ["conll2003"], {name: STRATEGIES[name] for name in ("none", "random")}, 2, full=False)
with style():
    drawing = functions()["spread"](study)
save(drawing.figure, Path("figures"), "spread")
print(list(FIGURES).index("spread"), FIGURES["spread"], drawing.caption)
"""


def test_a_figure_of_ones_own(copy, root):
    folder, put = copy
    code = parts(root, "add-a-figure.md")
    (folder / "maskbench/report/figures/spread.py").write_text(code["file"])
    registry = "report/figures/__init__.py"
    put(registry, code["name"], '    "rates": ')
    put(registry, code["import"], "\n    every: list")
    put(registry, code["function"], "    ]\n    return {draw.__name__")
    printed = run_in(folder, root, DRAWN)
    assert printed == "5 Scores SD over seeds, n = 2 seeds; no interval is drawn and no test is made.\n"
    assert (folder / "figures/spread.svg").stat().st_size > 5000
