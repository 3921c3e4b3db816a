"""What the tests of whole studies share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def copied(study: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the module's finished study that a test may change; times of the files are kept."""
    shutil.copytree(study[0], tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"
