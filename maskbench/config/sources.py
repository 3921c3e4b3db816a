"""Where text and models come from: a pinned package, a folder on disk, the Hugging Face hub, or (text) a seed."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from maskbench.config.block import ConfigBlock, Count, Rate, Seed

PACKAGE_PATTERN = r"^(@[a-z0-9][a-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9.+_-]*$"
VERSION_PATTERN = r"^[0-9][A-Za-z0-9.:+~-]*$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
REVISION_PATTERN = r"^[0-9a-f]{40}$"

PackageIndex = Literal["pypi", "npm", "debian"]
"""Kinds of package index, told apart by the client that reaches them: pip, npm and apt-get."""

_PATTERNS: dict[str, dict[PackageIndex, str]] = {
    "package": {
        "pypi": r"[A-Za-z0-9][A-Za-z0-9._-]*",
        "npm": r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*",
        "debian": r"[a-z0-9][a-z0-9.+-]+",
    },
    "version": {
        "pypi": r"[0-9][A-Za-z0-9.]*",
        "npm": r"[0-9]+\.[0-9]+\.[0-9]+([-+][A-Za-z0-9.+-]+)?",
        "debian": r"([0-9]+:)?[0-9][A-Za-z0-9.+~-]*",
    },
}
"""Names and versions of each index."""

Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
Revision = Annotated[str, StringConstraints(pattern=REVISION_PATTERN)]


RECORD = "source.json"
"""File in every fetched folder: the source, the hash of each file, the hub's class labels."""

MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
"""What a transformers folder needs; pickled weights (*.bin, *.pt) and code (*.py) are left behind."""


def is_safe(name: str) -> bool:
    """Tell whether a relative name stays inside the folder that it is joined to."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and name.isprintable() and "\\" not in name


def model_files(folder: Path) -> dict[str, Path]:
    """Return the files of a model in a folder on disk, by name; subfolders hold other formats."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return {name: folder / name for name in names if is_model_file(name)}


def is_model_file(name: str) -> bool:
    """Tell whether a file in a model's folder belongs to the model."""
    return "/" not in name and name != RECORD and any(fnmatchcase(name, pattern) for pattern in MODEL_FILES)


def expanded(text: str) -> Path:
    """Return a path with a leading ``~`` or ``~user`` as the home folder, as a shell has it."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 (Path.expanduser raises where there is no such user)


class PackageSource(ConfigBlock):
    """Files inside an archive of a package index, pinned by the archive's SHA-256."""

    package: Annotated[str, StringConstraints(pattern=PACKAGE_PATTERN)]
    """Name of the package in its index."""
    version: Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]
    """Exact version of the package."""
    index: PackageIndex = "pypi"
    """Which kind of index it is in: `pypi` (the one that pip uses), `npm` (the one that npm uses) or `debian` (the one
    that apt uses)."""
    artefact: Literal["wheel", "sdist"] = "wheel"
    """pypi: which archive of that version."""
    sha256: Sha256
    """SHA-256 of the archive; anything else is refused."""
    inner: str | None = None
    """Path of an archive inside the archive that holds the files."""
    folder: str = ""
    """Folder inside the archive that the file names are relative to; of a Debian package, in its data.tar."""

    @model_validator(mode="after")
    def _is_of_its_index(self) -> Self:
        """Refuse what the index cannot mean, so that nothing but a name and a version ever reaches its client."""
        for key, patterns in _PATTERNS.items():
            if not re.fullmatch(patterns[self.index], getattr(self, key)):
                raise ValueError(f"{key}: not one of {self.index}: {getattr(self, key)!r}")
        if self.index != "pypi" and self.artefact != "wheel":
            raise ValueError(f"artefact is for pypi; a version in {self.index} has one archive")
        return self


class LocalSource(ConfigBlock):
    """A folder (or one file) that is already on this machine; it is read, never changed."""

    local: Annotated[str, StringConstraints(min_length=1)]
    """Path, relative to the folder that snakemake runs in, or absolute; a leading `~` is the home folder."""

    @property
    def path(self) -> Path:
        """The folder or file that the data are read from."""
        return expanded(self.local)

    def file(self, given: str) -> tuple[str, Path]:
        """Return the name that a file gets when it is fetched, and where the file is.

        Parameters
        ----------
        given
            Name relative to the source's folder, taken literally and never as a pattern; or an absolute path below it.

        Raises
        ------
        ValueError
            Saying what was expected: a name inside the folder; where `local` is one file, that file's name.
        """
        place = Path(os.path.abspath(self.path))  # noqa: PTH100 (resolve() would follow links)
        top = place.parent if place.is_file() else place
        literal = top / given
        path = Path(os.path.normpath(literal if literal.exists() else top / expanded(given)))
        name = path.relative_to(top).as_posix() if path.is_relative_to(top) else ""
        if path == top or not is_safe(name) or name == RECORD or ".." in PurePosixPath(given).parts:
            raise ValueError(f"expected a name inside {top}, got {given!r}")
        if place.is_file() and path != place:
            raise ValueError(f"`local` is one file, so expected {place.name}, got {given!r}")
        return name, path


class HubSource(ConfigBlock):
    """A dataset or model of the Hugging Face hub at a pinned commit; no remote code, safetensors only."""

    hub: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?$")]
    """Repository id, such as ``stanfordnlp/sst2``."""
    revision: Revision
    """Commit hash of forty hexadecimal digits; a branch name can move and is refused."""
    config: str | None = None
    """Configuration (subset) of the dataset."""
    splits: dict[Literal["train", "validation", "test"], str] = Field(default_factory=dict)
    """Which split of the hub's dataset serves as which of ours."""


class SyntheticSource(ConfigBlock):
    """Text made up by a seed, so that what holds in it is known: one word tells the label. Nothing is downloaded."""

    synthetic: Literal["classification", "tagging"]
    """Texts with a label, or sentences with one entity each; it must fit the task's kind."""
    train: Count = 400
    """Texts of the training split; no text stands in two splits, or twice in one."""
    validation: Count = 100
    """Texts of the validation split."""
    test: Count = 200
    """Texts of the test split."""
    classes: Annotated[int, Field(ge=2, le=8)] = 2
    """Number of labels or entity types, each with ten words that tell it."""
    length: Annotated[int, Field(ge=4, le=500)] = 8
    """Number of words in each text."""
    noise: Rate = 0.0
    """Share of the training labels (types) that are flipped, exactly."""
    conflict: Rate = 0.0
    """Share of each label's telling words, in whole words, that stand for the next label instead. Two tasks that differ
    in nothing else have the same texts in the same order and disagree on this share of them."""
    seed: Seed = 0
    """Seed from which the texts are drawn."""


SOURCE_KINDS = ("package", "local", "hub", "synthetic", "tasks")
"""The kinds of source, each named by the key that only it has; `tasks` is a source of corpora (config/corpora.py)."""


def _which(value: Any) -> str | None:
    """Tell the kind of a source by the key that only this kind has."""
    return next(
        (kind for kind in SOURCE_KINDS if (kind in value if isinstance(value, dict) else hasattr(value, kind))), None
    )


_Package = Annotated[PackageSource, Tag("package")]
_Local = Annotated[LocalSource, Tag("local")]
_Hub = Annotated[HubSource, Tag("hub")]
_Synthetic = Annotated[SyntheticSource, Tag("synthetic")]


def by_key(expected: str) -> Discriminator:
    """Tell the kinds of source apart."""
    return Discriminator(
        _which,
        custom_error_type="unknown_source",
        custom_error_message=f"expected a source with one of the keys {expected}",
    )


Source = Annotated[_Package | _Local | _Hub, by_key("package, local or hub")]
"""Where a model comes from, told apart by its key ``package``, ``local`` or ``hub``."""
FileSource = Annotated[_Package | _Local, by_key("package or local")]
"""Where a single file comes from: ``package`` or ``local``."""
TaskSource = Annotated[_Package | _Local | _Hub | _Synthetic, by_key("package, local, hub or synthetic")]
"""Where a task comes from: as a model, or ``synthetic``."""
