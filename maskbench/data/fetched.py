"""Where a fetched task has the texts from elsewhere that it is tested on, and what its record says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KEY = "out_of_domain"
"""Key of source.json: of each set its source, and the names of class labels where a hub's dataset has some."""


def set_folder(source: Path, name: str) -> Path:
    """Return the folder with the files of a set, in the folder of the fetched task."""
    return source / ".out-of-domain" / name
