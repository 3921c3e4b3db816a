"""A build backend that builds nothing: it answers pip's question for metadata with the sdist's own PKG-INFO.

``pip download`` asks for the metadata of a source archive; the real backend would run the archive's setup.py for it.
maskbench/data/packages.py puts this file in the place of the common backends, so that no code of the archive runs.
It is run by pip as a file of its own and imports nothing but the standard library.
"""

from __future__ import annotations

import email
import re
import sys
from pathlib import Path
from typing import Any


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return what a build needs (PEP 517): nothing."""
    del config_settings
    return []


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Any = None) -> str:
    """Write the metadata (PEP 517) and return the folder's name; the working folder is the unpacked archive."""
    del config_settings
    content = Path("PKG-INFO").read_bytes()
    header = email.message_from_bytes(content)
    name = re.sub(r"[-_.]+", "_", header["Name"])
    folder = Path(metadata_directory) / f"{name}-{header['Version']}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_bytes(content)
    return folder.name


__legacy__ = sys.modules[__name__]  # setuptools' name for archives without pyproject.toml
