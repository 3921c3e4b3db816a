"""The records of a run, read back and checked before anything is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.config.kinds import TASK_KINDS
from maskbench.config.measures import measure
from maskbench.errors import InputError
from maskbench.records.probe import ProbeRecord
from maskbench.records.run import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from maskbench.records.run import Metric


def _check_metrics(path: Path, metrics: Sequence[Metric], seen: set[tuple[str, str]]) -> None:
    """Check the units, that no number stands twice, also not in both records of a run, and that none is derived."""
    for metric in metrics:
        if metric.unit != (unit := measure(metric.measure).unit):
            raise InputError(f"{path}: metrics: {metric.measure}: expected the unit {unit}, got {metric.unit}")
        if measure(metric.measure).derived:
            raise InputError(f"{path}: metrics: {metric.measure} takes several runs and is computed from them here")
        if (key := (metric.split, metric.measure)) in seen:
            raise InputError(f"{path}: metrics: {metric.measure} of {metric.split} stands twice")
        seen.add(key)


def _read_record(path: Path, run: str) -> Record:
    """Read a record and check what its schema cannot: whose it is, and that a completed run has a score."""
    record = Record.read(path)
    if record.run != run:
        raise InputError(f"{path}: run: expected {run}, the name of its folder, got {record.run}")
    _check_metrics(path, record.metrics, set())
    if record.status == "completed" and number_of(record, "test", "score") is None:
        raise InputError(f"{path}: metrics: the run completed, but has no score on test")
    return record


def _read_probes(path: Path, record: Record) -> ProbeRecord:
    """Read what was measured on the model of a run, and check that it is of this run."""
    probes = ProbeRecord.read(path)
    if probes.run != record.run:
        raise InputError(f"{path}: run: expected {record.run}, the name of its folder, got {probes.run}")
    if probes.status == "probed" and record.status != "completed":
        raise InputError(f"{path}: status: probed, but the run has the status {record.status}; delete it and run again")
    if probes.status != "probed" and any(metric.value is not None for metric in probes.metrics):
        raise InputError(f"{path}: metrics: expected none of a model that was not probed")
    _check_metrics(path, probes.metrics, {(item.split, item.measure) for item in record.metrics})
    if any(one.step >= other.step for one, other in zip(probes.trajectory, probes.trajectory[1:], strict=False)):
        raise InputError(f"{path}: trajectory: expected each step once, in order")
    return probes


def number_of(record: Record, split: str, name: str) -> float | None:
    """Return a number of a run's record; None if it has none."""
    return next((item.value for item in record.metrics if item.split == split and item.measure == name), None)


def kind_of(record: Record) -> str:
    """Return the kind of a run's task; empty text if its record does not say it."""
    kind = str(record.parameters.get("kind", ""))
    return kind if kind in TASK_KINDS else ""


def read_records(results: Path, runs: Sequence[str], probed: bool) -> Iterator[tuple[Record, ProbeRecord | None]]:
    """Yield the checked records of each run."""
    for run in runs:
        record = _read_record(results / "training" / run / "metrics.json", run)
        yield record, _read_probes(results / "probes" / run / "metrics.json", record) if probed else None
