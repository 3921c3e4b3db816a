"""Tasks and fetched folders for the tests of data/."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskbench.config.tasks import Task
from maskbench.io.files import sha256_files, write_json

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {"kind": "sequence-classification", "format": "csv", "files": {"train": "train.csv"}}
TAGS = {"kind": "token-classification", "format": "conll", "files": {"train": "train.txt"}, "text": 0, "label": -1}


def make_task(**keys: Any) -> Task:
    """Return a task; the keys replace those of a CSV task."""
    return Task.model_validate({"name": "mine", "source": {"local": "my-data"}, **TEXTS, **keys})


def make_tagging(**keys: Any) -> Task:
    """Return a CoNLL task with the given keys replaced."""
    return make_task(**{**TAGS, **keys})


def make_source(folder: Path, files: dict[str, bytes | str], **record: Any) -> Path:
    """Write files and source.json as fetching does."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    hashes = sha256_files((path for path in folder.rglob("*") if path.is_file()), folder)
    write_json(folder / "source.json", {"source": {}, "files": hashes, "features": {}, **record})
    return folder
