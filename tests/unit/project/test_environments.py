"""One set of versions: pyproject.toml, requirements.lock, envs/*.yaml and this environment."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from maskbench.io.code import imported
from maskbench.kinds import FOR_TRAINING

if TYPE_CHECKING:
    from pathlib import Path

STAGES = {
    "data": ["fetch.py", "prepare.py", "condition.py", "shift.py", "out_of_domain.py", "encode.py"],
    "training": ["train.py", "reference.py"],
    "analysis": ["choose.py", "collect.py", "compare.py", "tables.py", "figures.py", "page.py"],
}
# Imported names that differ from the name of their package.
PACKAGES = {
    "xdist": "pytest-xdist",
    "cka": "pytorch-cka",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "pydantic-core": "pydantic",
    "pynvml": "nvidia-ml-py",
    "pil": "pillow",
}
# There by a direct dependency that pins them, and imported for its types or its protocol.
IMPLIED = {"packaging", "docutils"}


def pins(lines: list[str]) -> dict[str, str]:
    """Read lines ``name==version``; anything else is a failure."""
    found: dict[str, str] = {}
    for line in lines:
        requirement = Requirement(line)
        (version,) = requirement.specifier
        assert version.operator == "==", line
        assert not requirement.extras, line
        assert requirement.marker is None, line
        assert requirement.url is None, line
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} stands twice"
        found[name] = version.version
    return found


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, dict[str, str]]:
    """Pins of pyproject.toml: what runs, the tools on top of it, and what a machine with cards may have."""
    content = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return {"run": pins(content["dependencies"])} | {
        name: pins(lines) for name, lines in content["optional-dependencies"].items()
    }


@pytest.fixture(scope="module")
def lock(root: Path) -> dict[str, str]:
    lines = (root / "requirements.lock").read_text().splitlines()
    return pins([line for line in lines if not line.startswith("#")])


def environment(root: Path, stage: str) -> dict[str, str]:
    """Pins of a stage's conda environment."""
    content = yaml.safe_load((root / "envs" / f"{stage}.yaml").read_text())
    (listed,) = (entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    return pins(listed)


def test_the_lock_has_the_projects_versions(project: dict[str, dict[str, str]], lock: dict[str, str]) -> None:
    wanted = project["run"] | project["dev"]
    assert {name: lock.get(name) for name in wanted} == wanted
    assert set(project["run"]) & set(project["dev"]) == set()


def test_what_only_machines_with_cards_have_is_in_no_lock(
    project: dict[str, dict[str, str]], lock: dict[str, str]
) -> None:
    """Everything works without it, so an environment without cards needs none of it."""
    assert set(project["gpu"]) == {"nvidia-ml-py"}
    assert set(project["gpu"]) & set(lock) == set()


def test_the_lock_is_plain(root: Path) -> None:
    """No hashes (torch differs by platform), no local versions, no addresses of an index or a folder."""
    for line in (root / "requirements.lock").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line


def test_the_lock_is_complete(lock: dict[str, str]) -> None:
    """Everything that a locked package asks for on this machine is locked, in a version that it accepts."""
    for name in lock:
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            wanted = canonicalize_name(requirement.name)
            if name == "torch" and wanted.startswith(("nvidia-", "cuda-", "triton")):
                continue
            assert wanted in lock, f"{name} needs {wanted}"
            assert requirement.specifier.contains(lock[wanted], prereleases=True), f"{name} needs {text}"


def test_this_environment_is_the_locked_one(lock: dict[str, str]) -> None:
    here = {name: importlib.metadata.version(name).split("+")[0] for name in lock}
    assert here == lock


def test_there_is_an_environment_for_every_stage(root: Path) -> None:
    assert {path.stem for path in (root / "envs").glob("*.yaml")} == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_conda_environments_have_the_locks_versions(root: Path, lock: dict[str, str], stage: str) -> None:
    listed = environment(root, stage)
    assert {name: lock.get(name) for name in listed} == listed
    content = yaml.safe_load((root / "envs" / f"{stage}.yaml").read_text())
    assert content["channels"] == ["conda-forge", "nodefaults"]
    assert [entry for entry in content["dependencies"] if isinstance(entry, str)] == ["python=3.11", "pip"]


def third_party(root: Path, files: list[Path]) -> set[str]:
    """Packages that some files import, anywhere in them but for types alone."""
    names: set[str] = set()
    for file in files:
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []  # before the walk goes on into it
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    others = names - set(sys.stdlib_module_names) - {"maskbench", "tests", "checkout"}
    found = {canonicalize_name(name) for name in others}
    return {PACKAGES.get(name, name) for name in found}


def _of_training(file: Path) -> bool:
    """Tell whether a module works only where models are trained (test_report.py looks what the analysis loads)."""
    return "kinds" in file.parts and file.stem in FOR_TRAINING


@pytest.mark.parametrize("stage", STAGES)
def test_conda_environments_hold_what_their_scripts_import(
    root: Path, project: dict[str, dict[str, str]], stage: str
) -> None:
    files = [root / "scripts" / script for script in STAGES[stage]]
    for script in STAGES[stage]:
        files += [file for file in imported(script).values() if stage != "analysis" or not _of_training(file)]
    if stage == "training":
        files += sorted((root / "maskbench" / "masks").rglob("*.py"))
    files += sorted((root / "maskbench" / "config").glob("*.py")) + sorted(
        (root / "maskbench" / "experiment").glob("*.py")
    )
    assert third_party(root, files) - IMPLIED - set(project["gpu"]) <= set(environment(root, stage))


def test_rules_run_in_the_environment_of_their_stage(root: Path) -> None:
    """Read from the rules' text: each script stands in a rule that names the environment of its stage."""
    seen: dict[str, set[str]] = {}
    for file in sorted((root / "rules").glob("*.smk")):
        for block in re.split(r"^\s*rule ", file.read_text(), flags=re.MULTILINE)[1:]:
            environments = re.findall(r"(\w+)\.yaml\"", block)
            for script in re.findall(r"MASKBENCH/scripts/(\w+\.py)", block):
                seen.setdefault(script, set()).update(environments)
    for stage, scripts in STAGES.items():
        for script in scripts:
            assert seen[script] == {stage}


def test_everything_imported_is_a_stated_dependency(root: Path, project: dict[str, dict[str, str]]) -> None:
    run = [*(root / "maskbench").rglob("*.py"), *(root / "scripts").glob("*.py")]
    assert third_party(root, run) - IMPLIED <= set(project["run"]) | set(project["gpu"])
    tests = third_party(root, list((root / "tests").rglob("*.py")))
    local = {canonicalize_name(path.stem) for path in (root / "tests").rglob("*.py")} | {"docs"}
    assert tests - local - IMPLIED <= set(project["run"]) | set(project["dev"])


def test_a_missing_python_gets_one_line(root: Path) -> None:
    command = ["make", "--always-make", "env", "PYTHON=python-that-is-not-here"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    first = done.stderr.splitlines()[0]
    assert first == (
        "make: python-that-is-not-here not found; install Python 3.11 or newer, or name it: make PYTHON=python3.12"
    )
    assert done.returncode != 0


def test_the_commands_that_the_readme_names_exist(root: Path) -> None:
    done = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True, timeout=60)
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    assert {"run", "test", "check", "schema", "lock", "clean-env", "help"} <= listed
    assert os.access(root / ".ci" / "run", os.X_OK)


def test_no_index_and_no_path_of_a_machine_is_named(root: Path) -> None:
    for name in (
        "Makefile",
        ".ci/run",
        "requirements.lock",
        "pyproject.toml",
        *(f"envs/{stage}.yaml" for stage in STAGES),
    ):
        text = (root / name).read_text()
        assert "://" not in text, name
        assert not re.search(r"/(root|home|opt|work)/", text), name
