"""Scripts import maskbench of their own checkout, or say in one line what to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py") if path.name != "checkout.py")


def call(folder: Path, script: str, path: str | None) -> subprocess.CompletedProcess[str]:
    """Ask a script for help, with a PYTHONPATH or none."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        variables["PYTHONPATH"] = path
    # without PYTHONPATH also without the link to a checkout that `make env` puts into its environment
    command = [sys.executable, *([] if path else ["-S"]), str(ROOT / "scripts" / script), "--help"]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_the_package_there_is_one_clear_line(tmp_path: Path, script: str) -> None:
    done = call(tmp_path, script, None)
    assert (done.returncode, done.stdout) == (1, "")
    words = f"maskbench cannot be imported: run this by snakemake or make, or set PYTHONPATH={ROOT}\n"
    assert done.stderr == words


def test_another_checkouts_package_is_refused(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "maskbench" / "io", tmp_path / "maskbench" / "io")
    (tmp_path / "maskbench" / "__init__.py").touch()
    done = call(tmp_path, "encode.py", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    words = f"maskbench is the one in {tmp_path}, not this checkout's: run this by snakemake or make, or set "
    assert done.stderr == f"{words}PYTHONPATH={ROOT}\n"


def test_with_the_package_a_script_helps_from_any_folder(tmp_path: Path) -> None:
    done = call(tmp_path, "encode.py", str(ROOT))
    assert done.returncode == 0, done.stderr
    assert "\nusage: encode.py" in done.stdout


def test_a_link_to_the_checkout_is_the_checkout(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ROOT)
    assert call(tmp_path, "encode.py", str(tmp_path / "link")).returncode == 0


def installed(site: Path, folder: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Say where maskbench is imported from with the packages of a folder, in a process that starts somewhere else."""
    code = f"import site; site.addsitedir({str(site)!r}); import maskbench; print(maskbench.__file__)"
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"PYTHONPATH": path} if path else {}
    command = [sys.executable, *([] if path else ["-S"]), "-c", code]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)


def test_the_link_of_an_environment_needs_no_network_and_takes_nobodys_place(tmp_path: Path) -> None:
    """As `make env` makes it; it may lead to a checkout that is gone (.ci/run), and several checkouts may share it."""
    (line,) = re.findall(
        r"^\t@PYTHONPATH= python -m (pip install .*--editable \.)", (ROOT / "Makefile").read_text(), re.M
    )
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "maskbench", copy / "maskbench", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", *line.split(), "--prefix", str(tmp_path / "prefix")]
    offline = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=copy, env=offline, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (site,) = (tmp_path / "prefix").glob("lib/python*/site-packages")
    assert installed(site, tmp_path).stdout == f"{copy / 'maskbench/__init__.py'}\n"
    assert installed(site, tmp_path, str(ROOT)).stdout == f"{ROOT / 'maskbench/__init__.py'}\n"
    shutil.rmtree(copy)
    assert installed(site, tmp_path, str(ROOT)).stdout == f"{ROOT / 'maskbench/__init__.py'}\n"
    gone = installed(site, tmp_path)
    assert gone.stdout == ""
    assert gone.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'maskbench'"


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_script_changes_where_python_looks(script: str) -> None:
    text = (ROOT / "scripts" / script).read_text()
    assert "sys.path" not in text
    assert text.index("import checkout") < text.find("from maskbench") or "from maskbench" not in text


def prefix() -> str:
    """What the Snakefile puts before each command of a rule."""
    (text,) = re.findall(r"^shell\.prefix\('(.*)'\)$", (ROOT / "rules" / "common.smk").read_text(), re.MULTILINE)
    return str(text).replace("{{", "{").replace("}}", "}")


@pytest.mark.parametrize(("before", "after"), [(None, "HERE"), ("", "HERE"), ("mine", "HERE:mine")])
def test_jobs_look_into_their_own_checkout_first(tmp_path: Path, before: str | None, after: str) -> None:
    """Also where Snakemake has taken PYTHONPATH away, as it does for jobs with a conda environment."""
    variables = {"MASKBENCH": "HERE"} | ({} if before is None else {"PYTHONPATH": before})
    done = subprocess.run(
        ["bash", "-c", f'{prefix()} echo "$PYTHONPATH"; false; echo not reached'],
        env=variables | {"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, f"{after}\n")


def test_commands_of_make_look_into_their_own_checkout(tmp_path: Path) -> None:
    variables = os.environ | {"PYTHONPATH": "elsewhere"}
    command = ["make", "--dry-run", "--print-data-base", "help"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=True)
    assert f"\nPYTHONPATH := {ROOT}\n" in done.stdout
