"""What the cells of a job have in common, opened once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.data.encode import load_encoded
from maskbench.models.pretrained import Pretrained
from maskbench.probes.reference import Reference

if TYPE_CHECKING:
    from pathlib import Path

    from datasets import Dataset


class Shelf:
    """Encoded tasks, pretrained models and references; the job owns it, and what it gives out is never changed."""

    def __init__(self) -> None:
        self._encoded: dict[Path, dict[str, Dataset]] = {}
        self._references: dict[Path, Reference] = {}
        self.models = Pretrained()

    def encoded(self, folder: Path) -> dict[str, Dataset]:
        """Open an encoded task; its files are compared with their hashes the first time.

        Raises
        ------
        InputError
            If a file is missing or differs from the manifest.
        """
        if folder not in self._encoded:
            self._encoded[folder] = load_encoded(folder)
        return dict(self._encoded[folder])

    def reference(self, folder: Path) -> Reference:
        """Read what was measured of a pretrained model; its files are compared with their hashes the first time.

        Raises
        ------
        InputError
            If a file is missing or differs from the manifest.
        """
        if folder not in self._references:
            self._references[folder] = Reference.read(folder)
        return self._references[folder]
