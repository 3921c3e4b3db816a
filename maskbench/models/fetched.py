"""What a fetched model is, from the list of its files alone: no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.io.files import canonical, read_json, sha256_text

if TYPE_CHECKING:
    from pathlib import Path


def model_hash(folder: Path) -> str:
    """Return one hash over the files of a fetched model."""
    return sha256_text(canonical(read_json(folder / "source.json")["files"]))
