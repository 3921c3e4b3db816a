"""What a reader can take in at once: functions and files of a bounded length, docstrings that say something."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[3]
FILES = [path for folder in ("maskbench", "scripts", "benchmarks") for path in sorted((TOP / folder).rglob("*.py"))]
LINES_OF_FUNCTION, LINES_OF_FILE, WORDS = 60, 400, 5


@pytest.fixture(scope="module")
def parsed():
    """Each file's syntax tree, by its name."""
    return {str(path.relative_to(TOP)): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def test_no_file_is_longer_than_four_hundred_lines():
    lengths = {str(path.relative_to(TOP)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert len(lengths) > 200
    assert {name: length for name, length in lengths.items() if length > LINES_OF_FILE} == {}


def test_no_function_is_longer_than_sixty_lines(parsed):
    found = {
        f"{name}: {node.name}": length
        for name, tree in parsed.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LINES_OF_FUNCTION
    }
    assert found == {}


def test_every_docstring_has_at_least_five_words(parsed):
    texts = [
        (f"{name}:{part.lineno}", part.value.value)
        for name, tree in parsed.items()
        for node in ast.walk(tree)
        for part in (getattr(node, "body", ()) if isinstance(getattr(node, "body", ()), list) else ())
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str)
    ]
    assert len(texts) > 1000
    assert [(place, text) for place, text in texts if len(text.split()) < WORDS] == []
