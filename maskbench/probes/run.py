"""One run's probes from start to end: load the model once, measure everything, record."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import datasets
import pandas as pd
from transformers.utils import logging as transformers_logging

from maskbench.data.encode import load_encoded
from maskbench.data.manifests import EncodedManifest
from maskbench.models.fetched import model_hash

# imported for their probes, which enter the registry
from maskbench.probes import attributions, fit, input, knowledge, task, trajectory  # noqa: F401
from maskbench.probes.reference import Reference
from maskbench.probes.registry import REGISTRY, texts_of
from maskbench.probes.subject import Subject
from maskbench.records.probe import ProbeRecord, ProbeTimings
from maskbench.records.run import number

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from datasets import Dataset

    from maskbench.config.probes import Probes
    from maskbench.experiment.cell import Cell
    from maskbench.models.pretrained import Pretrained
    from maskbench.probes.sources import Sources
    from maskbench.records.run import Metric
    from maskbench.slots.device import Device

OUTCOMES = ["set", "example", "hit", "weight"]


def probe_run(
    cell: Cell,
    sources: Sources,
    settings: Probes,
    device: Device,
    *,
    code: str,
    gpu_uuid: str | None = None,
    load: Callable[[Path], dict[str, Dataset]] = load_encoded,
    refer: Callable[[Path], Reference] = Reference.read,
    models: Pretrained | None = None,
) -> tuple[ProbeRecord, pd.DataFrame]:
    """Measure the trained model of a run.

    Parameters
    ----------
    cell
        The run.
    sources
        Where things are.
    settings
        Which probes, on how much text.
    device
        What to compute on.
    code, gpu_uuid
        Content hash of the code, and id of the card (None: there is none, or torch knows it).
    load, refer, models
        What opens an encoded task, what reads a reference, and what opens the pretrained model.

    Returns
    -------
    tuple
        The record, and the outcomes of the test-time sets: columns `set`, `example`, `hit`, `weight`.

    Raises
    ------
    InputError
        If an input is missing or does not fit the run.
    """
    _quiet()
    clock, started = time.perf_counter(), datetime.now(UTC)
    subject = Subject(cell, sources, settings, device, load, refer, models)
    (metrics, error), wall = _measure(subject), time.perf_counter() - clock
    record = ProbeRecord(
        schema=1,
        run=cell.run,
        status="probed" if error is None else "not probed",
        error=error,
        metrics=[*metrics, number("run", "probe_time", wall)] if error is None else [],
        trajectory=subject.trajectory,
        attributions=subject.attributed,
        notes=subject.notes,
        code=code,
        data=_data(subject),
        environment=device.environment(gpu_uuid),
        timings=ProbeTimings(started=started.isoformat(timespec="seconds"), wall_s=wall),
    )
    return record, _outcomes(subject)


def _quiet() -> None:
    """Show no bars of progress in logs."""
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()


def _measure(subject: Subject) -> tuple[list[Metric], str | None]:
    """Return what the wanted probes measure; or nothing, and why, of a run that did not complete."""
    if subject.record.status != "completed":
        return [], f"the run {subject.record.status}" + (f": {subject.record.error}" if subject.record.error else "")
    metrics: list[Metric] = []
    subject.read(texts_of(subject, subject.wanted))
    for name in subject.wanted:
        metrics += REGISTRY[name](subject)
    _note_constant(subject)
    return metrics, None


def _note_constant(subject: Subject) -> None:
    """Say that a model whose answer is always the same can neither drop nor flip."""
    table = subject.predictions.table
    if (found := subject.probing.constant(table)) is not None:
        subject.note(f"{found}: its drops and flip rates say nothing")


def _data(subject: Subject) -> dict[str, str]:
    """Return the content hashes of what went in."""
    sources = subject.sources
    encoded = {
        "encoded": sources.encoded,
        "clean": sources.clean,
        "shifted": sources.shifted,
        "out of domain": sources.elsewhere,
        "cue": sources.cue,
        "first task": sources.before_encoded,
    }
    hashes = {name: EncodedManifest.read(folder).hash for name, folder in encoded.items() if folder is not None}
    return hashes | {"pretrained": model_hash(sources.pretrained)}


def _outcomes(subject: Subject) -> pd.DataFrame:
    """Return the outcomes of all test-time sets in one table."""
    parts = [table.assign(set=name) for name, table in subject.outcomes.items()]
    if not parts:
        return pd.DataFrame(
            {"set": pd.Series(dtype=str), "example": pd.Series(dtype="int64"), "hit": 0.0, "weight": 0.0}
        )
    whole = pd.concat(parts, ignore_index=True)
    more = [name for name in whole.columns if name not in OUTCOMES]
    # sets of a task whose score is made of other sums have none of these, and what is counted besides none of those
    return whole[[*OUTCOMES, *more]].fillna(0.0)
