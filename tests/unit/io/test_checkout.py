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
    command = [sys.executable, str(ROOT / "scripts" / script), "--help"]
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
