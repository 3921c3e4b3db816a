"""What the user's own files of text and models hold, as parameters of the rules that copy them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from maskbench.config.corpora import Corpus
from maskbench.config.cutting import GroupFile
from maskbench.config.lexicons import Lexicon
from maskbench.config.models import FetchedModel
from maskbench.config.sources import LocalSource, model_files
from maskbench.config.tasks import Task
from maskbench.io.files import fingerprint

KNOWN = Path(".snakemake/maskbench-files.json")
"""Hashes from earlier calls, so that a large file is not read at each."""


def task_content(task: Task) -> str:
    """Return hashes of the files of a task, as JSON; empty text if they are not on this machine's disks."""
    files: dict[str, Path] = {}
    if isinstance(task.source, LocalSource):
        files |= dict(task.source.file(name) for name in task.files.values())
    group = task.cut.group
    if isinstance(group, GroupFile) and isinstance(group.source, LocalSource):
        name, path = group.source.file(group.file)
        files[f"cut.group: {name}"] = path
    for one in task.out_of_domain:
        if isinstance(one.source, LocalSource) and one.file is not None:
            name, path = one.source.file(one.file)
            files[f"out_of_domain: {one.name}: {name}"] = path
    return _hashes(files) if files else ""


def model_content(model: FetchedModel) -> str:
    """Return hashes of the files of a model, as JSON; empty text if they are not on this machine's disks."""
    source = model.source
    if not isinstance(source, LocalSource) or not source.path.is_dir():
        return ""
    return _hashes(model_files(source.path))


def corpus_content(corpus: Corpus) -> str:
    """Return hashes of the files of a corpus, as JSON; empty text if they are not on this machine's disks."""
    return _hashes(corpus.local_files()) if isinstance(corpus.source, LocalSource) else ""


def lexicon_content(lexicon: Lexicon) -> str:
    """Return the hash of the file of a lexicon, as JSON; empty text if it is not on this machine's disks."""
    return _hashes(dict([lexicon.local_file()])) if isinstance(lexicon.source, LocalSource) else ""


def _hashes(files: Mapping[str, Path]) -> str:
    """Return hashes of some files as JSON.

    A parameter of a rule and no input: in names of inputs, Snakemake takes {word} and <word> for something to fill in.
    """
    return json.dumps(fingerprint(files, KNOWN))
