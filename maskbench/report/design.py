"""What the report reads of experiment.json: baseline, strategies, and the train size at which claims are judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskbench.errors import InputError
from maskbench.io.files import read_json

if TYPE_CHECKING:
    from pathlib import Path


def read_design(path: Path) -> tuple[str, dict[str, dict[str, Any]], str | None]:
    """Return baseline, strategies by name as they are written, and the train size of the claims of experiment.json."""
    content = read_json(path)
    try:
        size = content.get("analysis", {}).get("train_size")
        settings = {str(item["name"]): dict(item) for item in content["strategies"]}
        return str(content["baseline"]), settings, None if size is None else str(size)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: expected baseline and strategies with names; delete it and run again") from None
