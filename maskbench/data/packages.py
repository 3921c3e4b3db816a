"""Archives of a package index: downloaded once by its client, pinned by SHA-256, kept in the cache."""

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
    from collections.abc import Callable

    from maskbench.config.sources import PackageIndex, PackageSource

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
        If the index's client is not there or cannot get it, or it has another SHA-256.
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
    """Download the archive into a folder from whatever index its client is set up for, and check its hash."""
    target = folder / "archive"
    target.mkdir()
    try:
        reason = _CLIENTS[source.index](source, folder, target)
    except FileNotFoundError as error:
        reason = f"{error.filename} is not installed, which downloads packages of {source.index}"
    archives = list(target.iterdir())
    if reason or len(archives) != 1:
        raise InputError(f"{where}: {reason or 'nothing was downloaded'}; {_ways_out(source, path)}")
    if (found := sha256_file(archives[0])) != source.sha256:
        raise InputError(
            f"{where}: expected an archive with SHA-256 {source.sha256}, got {found}; {_ways_out(source, path)}"
        )
    return archives[0]


def _pip(source: PackageSource, folder: Path, target: Path) -> str | None:
    """Download a wheel or a source archive; return in a line why there is none."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    form = "--only-binary" if source.artefact == "wheel" else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-cache-dir", "--no-input"]
    command += ["--no-color", "--ignore-requires-python", form, source.package, "--dest", str(target)]
    command += ["--no-build-isolation", "--use-pep517", "--requirement", str(requirements)]
    # pip checks the hash first and asks a source archive for its metadata then; the stand-in backend answers from
    # PKG-INFO, so that nothing of the archive runs (only one that brings its own backend along would run that).
    variables = os.environ | {environment.PYTHONPATH: _stand_in(folder / "backends")}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    return _reason(done.stderr + done.stdout, source) if done.returncode else None


def _npm(source: PackageSource, folder: Path, target: Path) -> str | None:
    """Download the tarball of a package in npm's registry; return in a line why there is none."""
    command = ["npm", "pack", f"{source.package}@{source.version}", "--pack-destination", str(target)]
    command += ["--ignore-scripts", "--loglevel=error", "--cache", str(folder / "cache")]
    # in the new folder, so that no project's .npmrc counts
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return _complaint("npm", r"^npm (?:error|ERR!) (?!code |A complete log)(.+)$", done) if done.returncode else None


def _apt(source: PackageSource, folder: Path, target: Path) -> str | None:
    """Download a .deb from the mirrors that apt is set up for; return in a line why there is none."""
    del folder
    command = ["apt-get", "download", f"{source.package}={source.version}"]
    command += ["-o", "APT::Sandbox::User=root"]  # else root's apt warns that it cannot write as another user
    variables = os.environ | {environment.LOCALE: "C"}
    done = subprocess.run(command, cwd=target, env=variables, capture_output=True, text=True, check=False)
    return _complaint("apt-get", r"^E: (.+)$", done) if done.returncode else None


_CLIENTS: dict[PackageIndex, Callable[[PackageSource, Path, Path], str | None]] = {
    "pypi": _pip,
    "npm": _npm,
    "debian": _apt,
}


def _complaint(client: str, pattern: str, done: subprocess.CompletedProcess[str]) -> str:
    """Put what a client says it could not do into one line."""
    found = re.findall(pattern, done.stderr + done.stdout, re.MULTILINE)
    return f"{client} could not download it ({found[0].strip() if found else 'it says nothing'})"


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


_HINTS: dict[PackageIndex, tuple[str, str]] = {
    "pypi": ("version, artefact or sha256", "set another index (PIP_INDEX_URL)"),
    "npm": ("version or sha256", "set another registry (npm_config_registry)"),
    "debian": ("version or sha256", "run apt-get update or add a mirror that has this version"),
}
"""What may be wrong with a pinned archive of each index, and what may help."""


def _ways_out(source: PackageSource, path: Path) -> str:
    pinned, other = _HINTS[source.index]
    return f"ways out: correct {pinned}, {other}, put the archive at {path}, or use a `local:` or `hub:` source"
