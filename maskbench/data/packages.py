"""Archives of a package index: downloaded by pip once, pinned by SHA-256, kept in the cache."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from maskbench.data import metadata_backend
from maskbench.errors import InputError
from maskbench.io import environment
from maskbench.io.files import flush, sha256_file

if TYPE_CHECKING:
    from maskbench.config.sources import PackageSource

_BACKENDS = (
    "setuptools.build_meta",
    "hatchling.build",
    "flit_core.buildapi",
    "poetry.core.masonry.api",
    "pdm.backend",
)
"""Build backends that metadata_backend.py stands in for; a source archive with another one is refused by pip."""


def cached_archive(source: PackageSource, cache: Path, where: str) -> Path:
    """Return the archive of a package in the cache; download it if it is not there or no longer has its hash.

    Parameters
    ----------
    source
        Which archive.
    cache
        The cache folder; concurrent jobs of one or more runs may share it.
    where
        What messages begin with.

    Raises
    ------
    InputError
        If pip cannot get it, or it has another SHA-256.
    """
    folder = cache / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{source.sha256}.archive"
    with FileLock(path.with_suffix(".lock")):
        if path.is_file():
            if sha256_file(path) == source.sha256:
                return path
            print(f"{where}: {path} is garbled: removed, downloading it again", file=sys.stderr)
            path.unlink()
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            archive = _download(source, Path(temporary), path, where)
            flush(archive)
            archive.replace(path)
        flush(folder)
    return path


def _download(source: PackageSource, folder: Path, path: Path, where: str) -> Path:
    """Let pip download the archive into a folder, from whatever index it is set up for, and check its hash."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    target = folder / "archive"
    form = "--only-binary" if source.artefact == "wheel" else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-cache-dir", "--no-input"]
    command += ["--no-color", "--ignore-requires-python", form, source.package, "--dest", str(target)]
    command += ["--no-build-isolation", "--use-pep517", "--requirement", str(requirements)]
    # pip checks the hash first and asks a source archive for its metadata then; the stand-in backend answers from
    # PKG-INFO, so that nothing of the archive runs (only one that brings its own backend along would run that).
    variables = os.environ | {environment.PYTHONPATH: _stand_in(folder / "backends")}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    archives = list(target.iterdir()) if target.is_dir() else []
    if done.returncode or len(archives) != 1:
        reason = _reason(done.stderr + done.stdout, source)
        raise InputError(f"{where}: {reason}; {_ways_out(path)}")
    if (found := sha256_file(archives[0])) != source.sha256:
        raise InputError(f"{where}: expected an archive with SHA-256 {source.sha256}, got {found}; {_ways_out(path)}")
    return archives[0]


def _stand_in(folder: Path) -> str:
    """Write the stand-in for the build backends and return the module path that puts it first."""
    text = Path(metadata_backend.__file__).read_text(encoding="utf-8")
    for name in _BACKENDS:
        module = folder.joinpath(*name.split(".")).with_suffix(".py")
        module.parent.mkdir(parents=True, exist_ok=True)
        for package in list(module.parents)[: name.count(".")]:
            package.joinpath("__init__.py").touch()
        module.write_text(text, encoding="utf-8")
    return os.pathsep.join(part for part in (str(folder), os.environ.get(environment.PYTHONPATH)) if part)


def _reason(output: str, source: PackageSource) -> str:
    """Put pip's complaint into one line."""
    if "No module named pip" in output:
        return "this Python has no pip to download with; run python -m ensurepip"
    if found := re.search(r"^\s*Got\s+([0-9a-f]{64})", output, re.MULTILINE):
        return f"expected an archive with SHA-256 {source.sha256}, got {found[1]}"
    if re.search(r"No matching distribution|Could not find a version", output):
        reach = " or the index cannot be reached" if "Retrying" in output else ""
        return f"the package index that pip uses has no {source.artefact} of that version{reach}"
    errors = re.findall(r"^\s*(?:ERROR|error): (.+)$", output, re.MULTILINE)
    return f"pip could not download it ({errors[-1].strip() if errors else 'it says nothing'})"


def _ways_out(path: Path) -> str:
    return (
        "ways out: correct version, artefact or sha256, set another index (PIP_INDEX_URL), put the archive at "
        f"{path}, or use a `local:` or `hub:` source"
    )
