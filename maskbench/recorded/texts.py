"""The text that cells of an archive were made of, so that it is known where it is the same in other files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from maskbench.data.manifests import EncodedManifest
from maskbench.experiment.jobs import ENCODED_SETS
from maskbench.io.files import canonical, sha256_text
from maskbench.records.run import RecordBlock

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from maskbench.experiment.cell import Cell
    from maskbench.experiment.jobs import Jobs
    from maskbench.experiment.layout import Layout

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Text(RecordBlock):
    """A prepared text, on which keys of cells depend."""

    prepared: Sha256
    """Hash of its files, which other versions of libraries write otherwise."""
    content: Sha256
    """Hash of all that is in its columns, whatever the files."""


def texts_of(jobs: Jobs, layout: Layout, runs: Iterable[str]) -> dict[str, Text]:
    """Return the prepared text of each encoded one that cells and their probes look at, by the hash of the latter.

    What is not there any more is left out, and so is what two prepared texts give alike.
    """
    found: dict[str, set[tuple[str, str]]] = {}
    for folder in sorted({folder for run in runs for folder in _encoded(jobs.cells[run], jobs, layout)}):
        task, _, variant = folder.name.split(".")
        prepared = layout.prepared(task, variant)
        if prepared.exists() and (folder / prepared.name).exists():
            about = EncodedManifest.read(folder)
            found.setdefault(about.hash, set()).add((about.prepared, _content(prepared.parent)))
    return {
        encoded: Text(prepared=prepared, content=content)
        for encoded, every in found.items()
        for prepared, content in every
        if len(every) == 1
    }


def _encoded(cell: Cell, jobs: Jobs, layout: Layout) -> set[Path]:
    """Return the folders of encoded text that the keys of a cell and of its probes depend on."""
    own = layout.encoded(cell.task, cell.model, cell.condition.name).parent
    sources = jobs.sources(cell, layout) if jobs.probes else {}
    return {own, *(sources[name] for name in ("clean", "encoded", *ENCODED_SETS) if name in sources)}


def _content(folder: Path) -> str:
    """Return a hash of all that is in the columns of a prepared text."""
    from maskbench.data.encode import column_digests
    from maskbench.data.prepare import load_prepared

    manifest, tables = load_prepared(folder)
    digests = {split: column_digests(table) for split, table in tables.items()}
    return sha256_text(canonical({"kind": manifest.kind, "labels": manifest.labels, "splits": digests}))
