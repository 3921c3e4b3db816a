"""Where text and models come from: a pinned package, a folder on disk, or the Hugging Face hub."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from maskbench.config.block import Block

SHA256_PATTERN = r"^[0-9a-f]{64}$"
REVISION_PATTERN = r"^[0-9a-f]{40}$"

Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
Revision = Annotated[str, StringConstraints(pattern=REVISION_PATTERN)]


class PackageSource(Block):
    """Files inside an archive of a package index, pinned by the archive's SHA-256."""

    package: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the package in the index that pip uses."""
    version: Annotated[str, StringConstraints(pattern=r"^[0-9][A-Za-z0-9.]*$")]
    """Exact version."""
    artefact: Literal["wheel", "sdist"] = "wheel"
    """Which archive of that version."""
    sha256: Sha256
    """SHA-256 of the archive; anything else is refused."""
    inner: str | None = None
    """Path of an archive inside the archive that holds the files."""
    folder: str = ""
    """Folder inside the archive that the file names are relative to."""


class LocalSource(Block):
    """A folder (or one file) that is already on this machine; it is read, never changed."""

    local: Annotated[str, StringConstraints(min_length=1)]
    """Path, relative to the folder that snakemake runs in, or absolute."""


class HubSource(Block):
    """A dataset or model of the Hugging Face hub at a pinned commit; no remote code, safetensors only."""

    hub: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?$")]
    """Repository id, such as ``stanfordnlp/sst2``."""
    revision: Revision
    """Commit hash of forty hexadecimal digits; a branch name can move and is refused."""
    config: str | None = None
    """Configuration (subset) of the dataset."""
    splits: dict[Literal["train", "validation", "test"], str] = Field(default_factory=dict)
    """Which split of the hub's dataset serves as which of ours."""


KINDS = ("package", "local", "hub")
"""The kinds of source, each named by the key that only it has."""


def _which(value: Any) -> str | None:
    """Tell the kind of a source by the key that only this kind has."""
    return next((kind for kind in KINDS if (kind in value if isinstance(value, dict) else hasattr(value, kind))), None)


Source = Annotated[
    Annotated[PackageSource, Tag("package")] | Annotated[LocalSource, Tag("local")] | Annotated[HubSource, Tag("hub")],
    Discriminator(
        _which,
        custom_error_type="unknown_source",
        custom_error_message="expected a source with one of the keys package, local or hub",
    ),
]
"""One of the three kinds of source, told apart by its key ``package``, ``local`` or ``hub``."""
