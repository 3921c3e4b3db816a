"""The layers of the library, checked on what is really imported."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TORCH = {"torch", "transformers", "datasets", "evaluate", "accelerate"}


def modules(root: Path, *packages: str) -> list[str]:
    """Names of all modules of some packages."""
    files = [file for package in packages for file in sorted((root / "maskbench" / package).rglob("*.py"))]
    names = [".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for file in files]
    assert len(names) > len(packages)
    return names


def loaded_by(root: Path, names: list[str]) -> set[str]:
    """Top-level modules that are there after importing some modules in a fresh process."""
    imports = "\n".join(f"import {name}" for name in names)
    code = f"import sys\n{imports}\nprint(sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(ast.literal_eval(done.stdout))


@pytest.mark.parametrize("package", ["analysis", "report"])
def test_analysis_and_report_run_without_torch(root: Path, package: str) -> None:
    loaded = loaded_by(root, modules(root, package))
    assert loaded & TORCH == set()
    assert "pandas" in loaded


def test_configuration_and_experiment_are_light(root: Path) -> None:
    loaded = loaded_by(root, [*modules(root, "config", "io", "experiment"), "maskbench.masks"])
    assert loaded & (TORCH | {"numpy", "pandas", "pyarrow", "scipy", "matplotlib", "jinja2"}) == set()
    assert "pydantic" in loaded


def test_the_contracts_hold(root: Path, tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "lint-imports", "--config", "pyproject.toml", "--no-cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_contracts_name_every_layer(root: Path) -> None:
    """A package that no contract names could import what it likes."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    named = {name.strip() for layer in layers for name in layer.split("|")}
    here = {f"maskbench.{path.name.removesuffix('.py')}" for path in (root / "maskbench").iterdir()}
    assert named == here - {"maskbench.__init__", "maskbench.__pycache__"}
