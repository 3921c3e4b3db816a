"""Fetch what a task or a model needs from its source into a folder that says where everything came from."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskbench.config.corpora import SUFFIXES, TaskTexts
from maskbench.config.cutting import GroupFile
from maskbench.config.lexicons import WORDS
from maskbench.config.sources import (
    MODEL_FILES,
    RECORD,
    HubSource,
    LocalSource,
    PackageSource,
    SyntheticSource,
    is_model_file,
    is_safe,
    model_files,
)
from maskbench.data.archives import open_archive
from maskbench.data.fetched import KEY, set_folder
from maskbench.data.folders import new_folder
from maskbench.data.groups import FOLDER, as_task
from maskbench.data.hub import fetch_dataset, fetch_snapshot
from maskbench.data.lexicons import write_words
from maskbench.data.packages import cached_archive
from maskbench.data.synthetic import write_synthetic
from maskbench.errors import InputError
from maskbench.io import environment
from maskbench.io.files import sha256_files, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from maskbench.config.corpora import Corpus
    from maskbench.config.lexicons import Lexicon
    from maskbench.config.models import FetchedModel
    from maskbench.config.tasks import Task

_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")

Features = dict[str, list[str]]


def cache_folder(configured: str | None) -> Path:
    """Return the folder that downloads are kept in: as configured, or MASKBENCH_CACHE, or ~/.cache/maskbench."""
    chosen = configured or os.environ.get(environment.CACHE) or "~/.cache/maskbench"
    return Path(chosen).expanduser().absolute()


def fetch_task(task: Task, destination: Path, cache: Path) -> None:
    """Put a task's files into a new folder, with source.json beside them.

    Parameters
    ----------
    task
        The task; a hub source gives ``<split>.parquet``, the other sources give the files that `task.files` names,
        which a synthetic source writes by its seed.
    destination
        Folder to make; it appears whole or not at all.
    cache
        Where downloads are kept, see `cache_folder`.

    Raises
    ------
    InputError
        If a file is missing, has another hash than the pinned one, or cannot be downloaded.
    """
    where = f"task {task.name}: source: {_title(task.source)}"
    more: dict[str, Any] = {}

    def fill(folder: Path) -> Features:
        features = _fill(task, folder, cache, where)
        if isinstance(task.cut.group, GroupFile):
            _groups(task, task.cut.group, folder / FOLDER, cache, f"task {task.name}: cut.group: ")
            more["groups"] = task.cut.group.model_dump(mode="json")
        for one in task.out_of_domain:
            place = set_folder(folder, one.name)
            place.mkdir(parents=True)
            own = f"task {task.name}: out_of_domain ({one.name}): source: {_title(one.source)}"
            found = {"source": one.source.model_dump(mode="json")}
            found["features"] = _fill(one.as_task(task), place, cache, own)
            more.setdefault(KEY, {})[one.name] = found
        return features

    _fetch(task.source, destination, fill, where, more)


def _fill(task: Task, folder: Path, cache: Path, where: str) -> Features:
    """Put the files of a task into a folder; returns the names of class labels, where a hub's dataset has some."""
    match task.source:
        case HubSource() as source:
            return fetch_dataset(source, folder, cache, where)
        case PackageSource() as source:
            _unpack(source, lambda _: _task_names(task, where), folder, cache, where)
        case LocalSource() as source:
            _copy(_local_files(source, task, where), folder, where)
        case SyntheticSource() as source:
            write_synthetic(source, folder, where)
    return {}


def _groups(task: Task, group: GroupFile, folder: Path, cache: Path, where: str) -> None:
    """Put the file that says which texts belong together into a folder."""
    folder.mkdir()
    _fill(as_task(task, group), folder, cache, where + _title(group.source))


def fetch_model(model: FetchedModel, destination: Path, cache: Path) -> None:
    """Put a model's transformers folder into a new folder, with source.json beside its files.

    Only configuration, tokenizer and safetensors weights are taken.

    Parameters
    ----------
    model
        The model.
    destination
        Folder to make; it appears whole or not at all.
    cache
        Where downloads are kept, see `cache_folder`.

    Raises
    ------
    InputError
        If the weights (as safetensors), config.json or the tokenizer are missing, or something cannot be downloaded.
    """
    where = f"model {model.name}: source: {_title(model.source)}"

    def fill(folder: Path) -> Features:
        match model.source:
            case HubSource() as source:
                snapshot = fetch_snapshot(source, MODEL_FILES, cache, where)
                _copy(model_files(snapshot), folder, where)
            case PackageSource() as source:
                _unpack(source, lambda known: filter(is_model_file, known), folder, cache, where)
            case LocalSource() as source:
                if not source.path.is_dir():
                    raise InputError(f"{where}: expected a folder in transformers' format, {source.path} is none")
                _copy(model_files(source.path), folder, where)
        _check_model(folder, where)
        return {}

    _fetch(model.source, destination, fill, where)


def fetch_corpus(corpus: Corpus, destination: Path, cache: Path) -> None:
    """Put the files of a corpus into a new folder, with source.json beside them.

    Parameters
    ----------
    corpus
        The corpus; the texts of tasks have no files.
    destination
        Folder to make; it appears whole or not at all.
    cache
        Where downloads are kept, see `cache_folder`.

    Raises
    ------
    InputError
        If a file is missing, an archive has another hash than the pinned one, or it cannot be downloaded.
    """
    source = corpus.source
    if isinstance(source, TaskTexts):
        raise InputError(f"corpus {corpus.name}: source: the texts of tasks are prepared, not fetched")
    where = f"corpus {corpus.name}: source: {_title(source)}"

    def fill(folder: Path) -> Features:
        match source:
            case PackageSource():
                _unpack(source, lambda known: _chosen(corpus.files, known, where), folder, cache, where)
            case LocalSource():
                _copy(_corpus_files(corpus, where), folder, where)
        return {}

    _fetch(source, destination, fill, where)


def fetch_lexicon(lexicon: Lexicon, destination: Path, cache: Path) -> None:
    """Put the file of a lexicon into a new folder, with its words read (data/lexicons.py) and source.json beside it.

    Parameters
    ----------
    lexicon
        The lexicon.
    destination
        Folder to make; it appears whole or not at all.
    cache
        Where downloads are kept, see `cache_folder`.

    Raises
    ------
    InputError
        If the file is missing, or not what the format says; if an archive has another hash than the pinned one, or it
        cannot be downloaded.
    """
    source = lexicon.source
    where = f"lexicon {lexicon.name}: source: {_title(source)}"

    def fill(folder: Path) -> Features:
        if isinstance(source, PackageSource):
            name = str(lexicon.file)
            if not is_safe(name) or name in (RECORD, WORDS):
                raise InputError(f"{where}: file: expected a name inside the source's folder, got {name!r}")
            _unpack(source, lambda _: [name], folder, cache, where)
        else:
            name, path = lexicon.local_file()
            if name == WORDS:
                raise InputError(f"{where}: {path}: expected a file of another name than {WORDS}")
            _copy({name: path}, folder, where)
        write_words(lexicon, folder / name, folder)
        return {}

    _fetch(source, destination, fill, where)


def _corpus_files(corpus: Corpus, where: str) -> dict[str, Path]:
    """Return the files of a corpus on disk by the name that they get."""
    try:
        files = corpus.local_files()
    except ValueError as error:
        raise InputError(f"{where}: files: {error}") from None
    if not files:
        raise InputError(
            f"{where}: expected a file, or a folder with files that end in {SUFFIXES[corpus.format or '']}"
        )
    return files


def _title(source: PackageSource | LocalSource | HubSource | SyntheticSource) -> str:
    """Name a source in a message."""
    match source:
        case PackageSource():
            return f"package {source.package}=={source.version}"
        case HubSource():
            return f"hub {source.hub}@{source.revision[:12]}" + (f" ({source.config})" if source.config else "")
        case LocalSource():
            return f"local {source.local}"
        case SyntheticSource():
            return f"synthetic {source.synthetic}"


def _fetch(
    source: PackageSource | LocalSource | HubSource | SyntheticSource,
    destination: Path,
    fill: Callable[[Path], Features],
    where: str,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Fill a folder, write its record and let it appear; `more` is part of the record, and may be filled meanwhile."""
    try:
        with new_folder(destination) as folder:
            features = fill(folder)
            files = sha256_files((path for path in folder.rglob("*") if path.is_file()), folder)
            record = {"source": source.model_dump(mode="json"), "files": files, "features": features}
            write_json(folder / RECORD, record | dict(more or {}))
    except OSError as error:
        raise InputError(f"{where}: {error.filename or destination}: {error.strerror or error}") from error


def _task_names(task: Task, where: str) -> list[str]:
    """Return the names of a task's files, once each."""
    names = sorted(set(task.files.values()))
    for name in names:
        if not is_safe(name) or name == RECORD:
            raise InputError(f"{where}: files: expected a name inside the source's folder, got {name!r}")
    return names


def _unpack(
    source: PackageSource, choose: Callable[[list[str]], Iterable[str]], folder: Path, cache: Path, where: str
) -> None:
    """Unpack those files of a package's archive that are chosen among the names in its folder."""
    archive = cached_archive(source, cache, where)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_archive(archive, where))
        if source.inner is not None:
            inner = folder / f".inner.{uuid.uuid4().hex}"
            stack.callback(inner.unlink, missing_ok=True)
            opened.copy(source.inner, inner)
            opened = stack.enter_context(open_archive(inner, f"{where}: inner {source.inner}"))
        top = source.folder.strip("/")
        for name in choose(opened.below(top)):
            opened.copy(f"{top}/{name}" if top else name, folder / name)


def _chosen(wanted: list[str], known: list[str], where: str) -> list[str]:
    """Return the files of an archive that names stand for, in which `*`, `?` and `[...]` stand for several."""
    chosen: list[str] = []
    for name in wanted:
        if not is_safe(name) or name == RECORD:
            raise InputError(f"{where}: files: expected a name inside the source's folder, got {name!r}")
        found = [member for member in known if fnmatchcase(member, name)]
        if not found and name not in known and any(mark in name for mark in "*?["):
            raise InputError(f"{where}: files: nothing in the archive is called {name!r}")
        chosen += [name] if name in known else found or [name]
    return list(dict.fromkeys(chosen))


def _local_files(source: LocalSource, task: Task, where: str) -> dict[str, Path]:
    """Return the files of a local source by the name that they get."""
    try:
        return dict(source.file(given) for given in sorted(set(task.files.values())))
    except ValueError as error:
        raise InputError(f"{where}: files: {error}") from None


def _copy(files: dict[str, Path], folder: Path, where: str) -> None:
    """Copy files (no links: the user may change the originals while the study runs)."""
    for name, path in files.items():
        if not path.is_file():
            raise InputError(f"{where}: expected the file {path}, it does not exist")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _shards(index: Path, where: str) -> set[str]:
    """Return the names of the files that the weights of a model are in."""
    try:
        files = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        if all(isinstance(name, str) for name in files):
            return set(files)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        pass
    raise InputError(f"{where}: expected JSON with a weight_map of names of files")


def _check_model(folder: Path, where: str) -> None:
    """Check that transformers will find configuration, weights and tokenizer."""
    names = {path.name for path in folder.iterdir()}
    if "config.json" not in names:
        raise InputError(f"{where}: expected config.json of a transformers model, it is not there")
    index = "model.safetensors.index.json"
    if index in names:
        shards = _shards(folder / index, f"{where}: {index}")
        if missing := sorted(shards - names):
            raise InputError(f"{where}: {index} names {missing[0]}, which is not there")
    elif "model.safetensors" not in names:
        raise InputError(
            f"{where}: expected model.safetensors, it is not there; pickled weights (*.bin, *.pt) are never loaded: "
            "convert them with save_pretrained and give the folder as `local:`"
        )
    for name in sorted(name for name in names if name.endswith(".safetensors")):
        _check_weights(folder / name, f"{where}: {name}")
    if not any(fnmatchcase(name, pattern) for name in names for pattern in _TOKENIZERS):
        raise InputError(f"{where}: expected a tokenizer ({', '.join(_TOKENIZERS)}), there is none")


def _check_weights(path: Path, where: str) -> None:
    """Check the header of a weights file against its length; a Git LFS pointer or a cut file does not pass."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise InputError(f"{where}: expected a whole safetensors file ({error})") from None
