"""The probes of one trained model, up to the record and the outcomes on disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from maskbench.io.files import atomic
from maskbench.probes.run import probe_run
from maskbench.probes.sources import Sources
from maskbench.runner.ending import write_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from maskbench.config.probes import Probes
    from maskbench.experiment.cell import Cell
    from maskbench.records.probe import ProbeRecord
    from maskbench.runner.shelf import Shelf
    from maskbench.slots.device import Device


def probe(
    cell: Cell,
    sources: Mapping[str, Path],
    settings: Probes,
    output: Path,
    device: Device,
    shelf: Shelf,
    *,
    key: str | None,
    code: str,
    gpu_uuid: str | None = None,
) -> ProbeRecord:
    """Measure the interference in a trained model, and write what was found.

    Parameters
    ----------
    cell
        The run.
    sources
        Folders by name (`maskbench.probes.sources.Sources`).
    settings
        What is measured.
    output
        Folder: ``metrics.json``, and ``outcomes.parquet`` with the outcomes of the test-time sets.
    device
        What to compute on.
    shelf
        What the cells of the job have in common.
    key
        The hash that the record is found by (`maskbench.experiment.finished`).
    code
        Content hash of the code.
    gpu_uuid
        Of the card; None: there is none, or torch knows it.

    Returns
    -------
    ProbeRecord
        As it was written.

    Raises
    ------
    InputError
        If an input is missing or does not fit the run.
    OSError
        If a file cannot be read or written.
    """
    cpu = time.process_time()
    where, about = Sources(**sources), {"code": code, "gpu_uuid": gpu_uuid}
    load, refer, models = shelf.encoded, shelf.reference, shelf.models
    record, outcomes = probe_run(cell, where, settings, device, load=load, refer=refer, models=models, **about)  # type: ignore[arg-type]
    with atomic(output / "outcomes.parquet") as path:
        outcomes.to_parquet(path, index=False)
    record = write_record(record, output, cpu, key=key)
    print(*record.notes, sep="\n")
    return record
