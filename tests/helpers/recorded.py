"""What git keeps of the reference study: the record that a clone has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def ignored(names: list[str]) -> set[str]:
    """Return those of some files, by their paths in results/reference, that git does not track."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=ROOT,
        input="\n".join(f"results/reference/{name}" for name in names),
        capture_output=True,
        text=True,
        check=False,
    )
    return {name.removeprefix("results/reference/") for name in asked.stdout.splitlines()}


def copy_record(results: Path, destination: Path) -> None:
    """Copy of a study what git would keep of it if it were the reference study."""
    names = [path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()]
    for name in set(names) - ignored(names):
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(results / name, destination / name)
