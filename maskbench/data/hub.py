"""The Hugging Face hub: datasets and models at a pinned commit, without remote code, kept in the cache."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from maskbench.data.folders import new_folder
from maskbench.errors import InputError
from maskbench.io import environment
from maskbench.io.files import canonical, read_json, sha256_file, sha256_files, sha256_text, verify, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.config.sources import HubSource

_RECORD = "record.json"


def _prepare(cache: Path) -> Path:
    """Put the hub's cache below `cache` unless the user chose a place, keep logs short, and return the cache.

    The libraries read these variables when they are imported, and datasets has no parameter for them.
    """
    if not any(name in os.environ for name in environment.HUB_CHOICES):
        os.environ[environment.HUB] = str(cache / "hub")
        os.environ.setdefault(environment.HUB_XET, str(cache / "xet"))
    if not sys.stderr.isatty():
        for name in environment.HUB_QUIET:
            os.environ.setdefault(name, "1")
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def fetch_dataset(source: HubSource, folder: Path, cache: Path, where: str) -> dict[str, list[str]]:
    """Write the splits of a hub dataset as parquet files named by our splits.

    Parameters
    ----------
    source
        Repository, commit, configuration and splits.
    folder
        Where ``train.parquet`` and so on are written.
    cache
        The cache folder.
    where
        What messages begin with.

    Returns
    -------
    dict
        For each column with class labels, their names in the order of the numbers.

    Raises
    ------
    InputError
        If the hub cannot be reached and nothing is cached, or it has no such repository, commit or split, or the
        dataset is a loading script.
    """
    key = sha256_text(canonical([source.hub, source.revision, source.config, source.splits]))
    kept = cache / "datasets" / key[:16]
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.with_suffix(".lock")):
        if not _is_whole(kept, where):
            with new_folder(kept) as new:
                _load(source, new, cache, where)
        record = read_json(kept / _RECORD)
        for name in record["files"]:
            shutil.copyfile(kept / name, folder / name)
    features: dict[str, list[str]] = record["features"]
    return features


def _is_whole(kept: Path, where: str) -> bool:
    """Tell whether a dataset is in the cache with the content that it was put there with."""
    if not kept.is_dir():
        return False
    try:
        record = read_json(kept / _RECORD)
        verify(kept, dict(record["files"]))
        dict(record["features"])
    except (InputError, KeyError, TypeError, ValueError) as error:
        print(f"{where}: garbled cache, fetching it again ({error})", file=sys.stderr)
        return False
    return True


def _load(source: HubSource, folder: Path, cache: Path, where: str) -> None:
    """Load the splits with datasets and write them as parquet, with a record of their hashes and class labels."""
    kept = _prepare(cache)
    import datasets

    # An empty cache for datasets itself: with the hub down, it would take "the latest cached version" of any commit.
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        try:
            splits = datasets.load_dataset(
                f"hf://datasets/{source.hub}",  # a plain name would be looked for on this disk first
                source.config,
                revision=source.revision,
                split=list(source.splits.values()),
                cache_dir=temporary,
            )
        except Exception as error:  # the libraries raise dozens of kinds, httpx's among them
            raise _refusal(error, source, kept, where) from error
        features: dict[str, list[str]] = {}
        for name, split in zip(source.splits, splits, strict=True):
            split.to_parquet(folder / f"{name}.parquet")
            features |= _class_labels(split.features)
    files = sha256_files(folder.glob("*.parquet"), folder)
    write_json(folder / _RECORD, {"source": source.model_dump(mode="json"), "files": files, "features": features})


def _class_labels(features: Any) -> dict[str, list[str]]:
    """Return the names of the class labels of each column, lists of labels included."""
    import datasets

    found = {}
    for column, feature in features.items():
        while hasattr(feature, "feature"):
            feature = feature.feature
        if isinstance(feature, datasets.ClassLabel):
            found[str(column)] = list(feature.names)
    return found


def fetch_snapshot(source: HubSource, patterns: tuple[str, ...], cache: Path, where: str) -> Path:
    """Return the folder with the files of a hub model.

    Parameters
    ----------
    source
        Repository and commit.
    patterns
        Which files are wanted; only those at the repository's top.
    cache
        The cache folder.
    where
        What messages begin with.

    Raises
    ------
    InputError
        If the hub cannot be reached and nothing is cached, or it has no such repository or commit.
    """
    kept = _prepare(cache)
    import huggingface_hub

    for last in (False, True):
        try:
            snapshot = huggingface_hub.snapshot_download(
                source.hub, revision=source.revision, allow_patterns=list(patterns), ignore_patterns=["*/*"]
            )
        except Exception as error:
            raise _refusal(error, source, kept, where) from error
        garbled = [path for path in sorted(Path(snapshot).iterdir()) if not _is_as_committed(path)]
        if not garbled:
            break
        if last:
            raise InputError(f"{where}: {garbled[0].name} does not have the SHA-256 that the hub states for it")
        for path in garbled:
            print(f"{where}: {path} is garbled: removed, downloading it again", file=sys.stderr)
            path.resolve().unlink()
            path.unlink()
    return Path(snapshot)


def _is_as_committed(path: Path) -> bool:
    """Check a large file of the hub's cache: it is a link to a blob named by the SHA-256 that the commit states."""
    blob = path.resolve()
    return not re.fullmatch("[0-9a-f]{64}", blob.name) or sha256_file(blob) == blob.name


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _refusal(error: Exception, source: HubSource, kept: Path, where: str) -> InputError:
    """Turn what the libraries raised into one line with the ways out."""
    ways = (
        "a `local:` folder, a `package:` source, another hub by HF_ENDPOINT, "
        f"or a cached copy of this commit (HF_HUB_CACHE is {kept})"
    )
    return InputError(f"{where}: {_reason(error, source)}; ways out: {ways}")


def _reason(error: Exception, source: HubSource) -> str:
    """Return one line that says why a download failed."""
    from huggingface_hub import constants, errors

    chain = list(_chain(error))
    said = " ".join(str(item) for item in chain)
    if any(isinstance(item, errors.GatedRepoError) for item in chain) or "is a gated" in said:
        return "the repository is gated: ask for access on its page and log in with `hf auth login`"
    # datasets cuts the chain with `raise ... from None`, so its own words count too
    if any(isinstance(item, errors.RevisionNotFoundError) for item in chain) or "doesn't exist for dataset" in said:
        return f"the hub has no commit {source.revision} of it"
    if any(isinstance(item, errors.RepositoryNotFoundError) for item in chain) or "exist on the Hub or" in said:
        return "the hub has no such repository, or it is private (log in with `hf auth login`)"
    if "scripts are no longer supported" in said:
        return (
            "the dataset is a loading script, and no remote code is run; its parquet branch may do "
            "(give the commit of refs/convert/parquet as the revision)"
        )
    if any(isinstance(item, ConnectionError) or _is_transport(item) for item in chain):
        if constants.is_offline_mode():
            return "not in the cache, and HF_HUB_OFFLINE forbids to ask the hub"
        return f"not in the cache, and the hub at {constants.ENDPOINT} cannot be reached"
    first = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {first[0]}"


def _is_transport(error: BaseException) -> bool:
    """Tell whether an exception is a failure to connect or a timeout of the hub's HTTP library."""
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)
