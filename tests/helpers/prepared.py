"""Files of a task, prepared or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from maskbench.data.prepare import load_prepared, prepare
from maskbench.errors import InputError
from tests.helpers.tasks import make_source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from maskbench.config.tasks import Task
    from maskbench.data.manifests import PreparedManifest


def run(
    tmp_path: Path, files: Mapping[str, Any], task: Task
) -> tuple[PreparedManifest, dict[str, list[dict[str, Any]]]]:
    """Prepare, and return the manifest and the rows of each split."""
    source = make_source(tmp_path / "source", files)
    prepare(task, source, tmp_path / "prepared")
    manifest, tables = load_prepared(tmp_path / "prepared")
    return manifest, {split: table.to_pylist() for split, table in tables.items()}


def refusal(tmp_path: Path, files: Mapping[str, Any], task: Task) -> str:
    """Return the message with which preparing is refused; nothing is left then."""
    with pytest.raises(InputError) as error:
        run(tmp_path, files, task)
    assert not (tmp_path / "prepared").exists()
    return str(error.value)
