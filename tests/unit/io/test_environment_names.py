"""One list of the environment's names: used everywhere, and told in docs/environment.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from maskbench.io import environment

OF_THE_TESTS = {"MASKBENCH_CI_CACHE", "MASKBENCH_REQUIRE_SLURM"}
READS = {"get", "setdefault", "pop", "getenv"}


def names() -> set[str]:
    """All names of the list."""
    found: set[str] = set()
    for name, value in vars(environment).items():
        if name.isupper():
            found.update([value] if isinstance(value, str) else value)
    return found


def code(root: Path) -> list[Path]:
    """Production code, but for the list itself."""
    files = [*root.glob("maskbench/**/*.py"), *root.glob("scripts/*.py")]
    assert len(files) > 100
    return [file for file in files if file != root / "maskbench/io/environment.py"]


def is_environment(node: ast.AST) -> bool:
    return ast.unparse(node) in {"os.environ", "environ"}


def literals(tree: ast.AST) -> list[str]:
    """Texts by which a module asks for a variable of the environment or sets it."""
    asked: list[ast.expr | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and is_environment(node.value):
            asked.append(node.slice)
        elif isinstance(node, ast.Compare) and any(map(is_environment, node.comparators)):
            asked.append(node.left)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READS:
            if is_environment(node.func.value) or ast.unparse(node.func) == "os.getenv":
                asked.append(node.args[0])
        elif isinstance(node, ast.BinOp | ast.AugAssign):
            sides = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.target, node.value]
            if any(map(is_environment, sides)):
                asked += [key for side in sides if isinstance(side, ast.Dict) for key in side.keys]
    return [item.value for item in asked if isinstance(item, ast.Constant)]


def docstrings(tree: ast.AST) -> set[int]:
    """Numbers of the nodes that are bare texts."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def test_no_module_names_a_variable_by_a_text_of_its_own(root: Path) -> None:
    for file in code(root):
        tree = ast.parse(file.read_text())
        assert literals(tree) == [], file
        told = docstrings(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
                assert not re.search(r"\bMASKBENCH(_[A-Z]+)*\b", node.value), (file, node.value)


@pytest.mark.parametrize(
    "text",
    [
        'os.environ["X"]',
        'os.environ.get("X", "1")',
        'os.environ.setdefault("X", "1")',
        '"X" in os.environ',
        '"X" not in os.environ',
        'os.environ | {"X": "1"}',
        'os.environ |= {"X": "1"}',
        'os.getenv("X")',
    ],
)
def test_the_search_sees_every_way(text: str) -> None:
    assert literals(ast.parse(text)) == ["X"]


def test_rules_name_the_programs_own_variables_by_the_list_or_in_commands(root: Path) -> None:
    for file in [root / "Snakefile", *(root / "rules").glob("*.smk")]:
        for line in file.read_text().splitlines():
            for found in re.finditer(r"\bMASKBENCH(_[A-Z]+)*\b", line.partition("  # ")[0]):
                assert found[0] in names(), (file, line)
                assert line[found.start() - 1] == "$", (file, line)


def test_the_document_tells_the_whole_list_and_nothing_else(root: Path) -> None:
    text = (root / "docs" / "environment.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(told) == len(set(told))
    assert set(told) == names()


def test_no_other_name_of_ours_is_used_anywhere(root: Path) -> None:
    files = [file for pattern in ("**/*.py", "**/*.md", "**/*.smk", "**/*.yaml") for file in root.glob(pattern)]
    files = [file for file in files if not {".venv", "results", ".snakemake"} & set(file.relative_to(root).parts)]
    ours = {name for name in names() if name.startswith("MASKBENCH")}
    for file in [*files, root / ".ci" / "run", root / "Makefile"]:
        used = set(re.findall(r"\bMASKBENCH(?:_[A-Z]+)+\b", file.read_text()))
        assert used <= ours | OF_THE_TESTS, file
    text = (root / "docs" / "environment.md").read_text()
    assert all(f"`{name}`" in text for name in OF_THE_TESTS)
