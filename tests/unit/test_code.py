"""The hash of a stage's code: what counts, and for which stage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest

from maskbench.io import code

if TYPE_CHECKING:
    from pathlib import Path

Edit = Callable[[str, str, str], None]


def fresh_hashes(scripts: Iterable[str]) -> dict[str, str]:
    """Hash as a new process would."""
    code._read.cache_clear()
    code.code_hash.cache_clear()
    return {script: code.code_hash(script) for script in scripts}


def fresh_hash(script: str) -> str:
    return fresh_hashes([script])[script]


@pytest.fixture(autouse=True)
def _forget() -> object:
    yield
    code._read.cache_clear()
    code.code_hash.cache_clear()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project: two scripts, and a chain of imports below one of them."""
    files = {
        "scripts/one.py": "from maskbench.a.top import run\nrun()\n",
        "scripts/two.py": "import maskbench.b\n",
        "maskbench/__init__.py": "",
        "maskbench/a/__init__.py": "",
        "maskbench/a/top.py": "def run():\n    from maskbench.a import deep\n    return deep.value\n",
        "maskbench/a/deep.py": "from maskbench.a import top\nvalue = 1\n",
        "maskbench/a/other.py": "value = 5\n",
        "maskbench/b.py": "import json\nvalue = 2\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    return tmp_path


def test_a_change_far_down_the_imports_counts_for_its_script_alone(tree: Path) -> None:
    one, two = fresh_hash("one.py"), fresh_hash("two.py")
    (tree / "maskbench/a/deep.py").write_text("from maskbench.a import top\nvalue = 3\n")
    assert fresh_hash("one.py") != one
    assert fresh_hash("two.py") == two


def test_what_is_not_imported_does_not_count(tree: Path) -> None:
    one = fresh_hash("one.py")
    (tree / "maskbench/a/other.py").write_text("value = 6\n")
    assert fresh_hash("one.py") == one


def test_the_package_itself_counts(tree: Path) -> None:
    one = fresh_hash("one.py")
    (tree / "maskbench/a/__init__.py").write_text("import os\n")
    assert fresh_hash("one.py") != one


@pytest.mark.parametrize(
    "text",
    [
        "from maskbench.a import top  # a comment\nvalue = 1\n",
        '"""A docstring."""\n\nfrom maskbench.a import top\n\nvalue = 1\n"""What it is."""\n',
        "from maskbench.a import top\nvalue = (\n    1\n)\n",
    ],
    ids=["comment", "docstrings", "layout"],
)
def test_comments_docstrings_and_layout_do_not_count(tree: Path, text: str) -> None:
    one = fresh_hash("one.py")
    (tree / "maskbench/a/deep.py").write_text(text)
    assert fresh_hash("one.py") == one


def test_docstrings_of_functions_do_not_count_but_strings_that_are_used_do(tree: Path) -> None:
    deep = tree / "maskbench/a/deep.py"
    deep.write_text("def f():\n    return 'x'\n")
    plain = fresh_hash("one.py")
    deep.write_text("def f():\n    '''Say x.'''\n    return 'x'\n")
    assert fresh_hash("one.py") == plain
    deep.write_text("def f():\n    return 'y'\n")
    assert fresh_hash("one.py") != plain
    deep.write_text("def f():\n    '''Only this.'''\n")
    only_docstring = fresh_hash("one.py")
    deep.write_text("def f():\n    '''Only that.'''\n")
    assert fresh_hash("one.py") == only_docstring


def test_two_modules_that_swap_their_code_change_the_hash(tree: Path) -> None:
    (tree / "scripts/one.py").write_text("import maskbench.a.other\nimport maskbench.b\n")
    one = fresh_hash("one.py")
    other, b = tree / "maskbench/a/other.py", tree / "maskbench/b.py"
    texts = other.read_text(), b.read_text()
    other.write_text(texts[1])
    b.write_text(texts[0])
    assert fresh_hash("one.py") != one


# --- the real code, copied and edited


@pytest.fixture
def edited(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edit:
    """A copy of the repository's code, and a function that replaces text in one of its files."""
    for folder in ("maskbench", "scripts"):
        shutil.copytree(root / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "ROOT", tmp_path)

    def edit(name: str, old: str, new: str) -> None:
        path = tmp_path / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def append(path: str, edit: Edit) -> None:
    """Add a statement at the end of a module."""
    edit(path, "from __future__ import annotations\n", "from __future__ import annotations\n\nEDITED = True\n")


DATA = {"fetch.py", "prepare.py", "encode.py"}
ANALYSIS = {"collect.py", "compare.py"}
REPORT = {"tables.py", "figures.py", "page.py"}
ALL = DATA | ANALYSIS | REPORT | {"train.py"}


@pytest.mark.parametrize(
    ("module", "rerun", "untouched"),
    [
        ("maskbench/masks/draws.py", {"train.py"}, ALL - {"train.py"}),
        ("maskbench/masks/input/chance.py", {"train.py"}, ALL - {"train.py"}),
        ("maskbench/training/trainer.py", {"train.py"}, ALL - {"train.py"}),
        ("maskbench/report/figures/profile.py", {"figures.py"}, DATA | ANALYSIS | {"train.py", "tables.py"}),
        ("maskbench/report/page.py", {"page.py"}, ALL - {"page.py"}),
        ("maskbench/analysis/compare.py", {"compare.py"}, DATA | {"train.py", "collect.py"}),
        ("maskbench/data/sources.py", {"fetch.py"}, ANALYSIS | REPORT | {"train.py"}),
        ("maskbench/io/files.py", ALL, set()),
        ("scripts/train.py", {"train.py"}, ALL - {"train.py"}),
        # a key of a new block, a new preset: cells that do not use it must not be trained again
        ("maskbench/config/training.py", set(), ALL),
        ("maskbench/experiment/cell.py", set(), ALL),
        # the title of a measure is shown, not trained with
        ("maskbench/config/measures/score.py", {"tables.py", "compare.py"}, DATA | {"train.py"}),
    ],
)
def test_an_edit_reruns_its_stage_and_no_other(edited: Edit, module: str, rerun: set[str], untouched: set[str]) -> None:
    before = fresh_hashes(ALL)
    append(module, edited)
    changed = {script for script, value in fresh_hashes(ALL).items() if value != before[script]}
    assert rerun <= changed
    assert changed & untouched == set()


def test_a_template_counts_for_the_page_and_not_for_training(edited: Edit) -> None:
    page, train = fresh_hash("page.py"), fresh_hash("train.py")
    edited("maskbench/report/templates/page.css", "{", "{ ")
    assert fresh_hash("page.py") != page
    assert fresh_hash("train.py") == train


def test_the_hash_is_the_same_in_another_folder(edited: Edit, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = fresh_hashes(ALL)
    monkeypatch.setattr(code, "ROOT", root)
    assert fresh_hashes(ALL) == copied
    assert len(set(copied.values())) == len(ALL)
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in copied.values())


def test_a_script_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        code.code_hash("absent.py")
