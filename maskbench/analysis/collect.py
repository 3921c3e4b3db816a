"""From run folders to one table of metrics, one of outcomes, and a manifest."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maskbench.analysis.metrics import CELL, COLUMNS, OUTCOME_TYPES, check_scores
from maskbench.config.measures import measure
from maskbench.errors import InputError
from maskbench.io.files import atomic, write_json
from maskbench.training.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROWS_IN_GROUP = 1_000_000
"""Outcomes that are held in memory at once, and rows of a row group of outcomes.parquet."""


def _read_record(path: Path, run: str) -> Record:
    """Read a record and check what its schema cannot: whose it is, the units, that no number stands twice."""
    record = Record.read(path)
    if record.run != run:
        raise InputError(f"{path}: run: expected {run}, the name of its folder, got {record.run}")
    seen: set[tuple[str, str]] = set()
    for metric in record.metrics:
        if metric.unit != (unit := measure(metric.measure).unit):
            raise InputError(f"{path}: metrics: {metric.measure}: expected the unit {unit}, got {metric.unit}")
        if (key := (metric.split, metric.measure)) in seen:
            raise InputError(f"{path}: metrics: {metric.measure} of {metric.split} stands twice")
        seen.add(key)
    if record.status == "completed" and _test_score(record) is None:
        raise InputError(f"{path}: metrics: the run completed, but has no score on test")
    return record


def _test_score(record: Record) -> float | None:
    return next((item.value for item in record.metrics if item.split == "test" and item.measure == "score"), None)


def _rows(record: Record) -> Iterator[tuple[Any, ...]]:
    """Yield the record's rows of metrics.csv; a run without a test score has an empty one, so that it is never lost."""
    cell = [getattr(record, name) for name in CELL]
    for item in record.metrics:
        yield (*cell, record.status, item.split, item.measure, item.value, item.unit)
    if not any(item.split == "test" and item.measure == "score" for item in record.metrics):
        yield (*cell, record.status, "test", "score", None, measure("score").unit)


def _read_outcomes(path: Path, record: Record) -> pa.Table:
    """Read what a run got right and wrong on test, and check that it adds up to its score."""
    columns = ["example", "hit", "weight"]
    try:
        table = pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: expected a parquet file with {', '.join(columns)} of a completed run ({error}); "
            f"delete {path.parent} and run again"
        ) from None
    if table.num_rows == 0 or any(table[name].null_count for name in columns):
        raise InputError(f"{path}: expected a row for each test example and no empty values")
    table = table.append_column("run", pa.array([record.run] * table.num_rows).dictionary_encode())
    table = table.select([field.name for field in OUTCOME_TYPES]).cast(pa.schema(OUTCOME_TYPES))
    hit, weight = (table[name].to_numpy().reshape(1, -1) for name in ("hit", "weight"))
    check_scores(path, [record.run], hit, weight, pd.Series({record.run: _test_score(record)}, dtype=float))
    return table


class _Outcomes:
    """Writes outcomes.parquet in row groups, so that the memory does not grow with the study."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self.writer = writer
        self.waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        self.waiting.append(table)
        if sum(part.num_rows for part in self.waiting) >= ROWS_IN_GROUP:
            self.flush()

    def flush(self) -> None:
        if self.waiting:
            self.writer.write_table(pa.concat_tables(self.waiting).unify_dictionaries())
            self.waiting.clear()


def _entry(record: Record) -> dict[str, Any]:
    """Return what the manifest keeps of one run."""
    machine = record.environment
    return {
        "run": record.run,
        "strategy": record.strategy,
        "status": record.status,
        "error": record.error,
        "notes": record.notes,
        "parameters_hash": record.parameters_hash,
        "code": record.code,
        "data": record.data.model_dump(),
        "device": machine.device,
        "device_name": machine.device_name,
        "gpu_uuid": machine.gpu_uuid,
        "precision": machine.precision,
        "attention": machine.attention,
        "threads": machine.threads,
        "timings": record.timings.model_dump(),
        "command": record.command,
    }


def _versions(seen: dict[str, Counter[str]], runs: int) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Split versions into those that all runs share, and those that differ with the number of runs of each."""
    shared = {name: next(iter(found)) for name, found in seen.items() if len(found) == 1 and found.total() == runs}
    differ = {
        name: {**dict(sorted(found.items())), **({"(absent)": runs - found.total()} if found.total() < runs else {})}
        for name, found in seen.items()
        if name not in shared
    }
    return shared, differ


def _manifest(study: str, entries: list[dict[str, Any]], versions: dict[str, Counter[str]]) -> dict[str, Any]:
    """Return the manifest of a study."""
    shared, differ = _versions(versions, len(entries))
    statuses = Counter(entry["status"] for entry in entries)
    return {
        "schema": 1,
        "study": study,
        "runs": len(entries),
        "statuses": {status: statuses[status] for status in sorted(statuses)},
        "packages": shared,
        "packages_that_differ": differ,
        "first_start": min(entry["timings"]["started"] for entry in entries),
        "last_start": max(entry["timings"]["started"] for entry in entries),
        "wall_s": round(sum(entry["timings"]["wall_s"] for entry in entries), 3),
        "train_s": round(sum(entry["timings"]["train_s"] or 0.0 for entry in entries), 3),
        "records": entries,
    }


def collect(study: str, results: Path, runs: Sequence[str], output: Path) -> None:
    """Write metrics.csv, metrics.parquet, outcomes.parquet and manifest.json of a study.

    Parameters
    ----------
    study
        Name of the study.
    results
        Folder that holds ``training/<run>/metrics.json`` and, for completed runs, ``predictions.parquet``.
    runs
        Run ids; their order is the order of the output, and the same runs in the same order give the same bytes.
    output
        Folder to write to.

    Raises
    ------
    InputError
        If a run is listed twice, or naming the first file that is missing or not valid; nothing is written then.
    """
    if len(set(runs)) < len(runs):
        raise InputError(f"{study}: expected each run once, {Counter(runs).most_common(1)[0][0]} is listed twice")
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    entries: list[dict[str, Any]] = []
    versions: dict[str, Counter[str]] = {}
    with ExitStack() as files:
        names = ("metrics.csv", "metrics.parquet", "outcomes.parquet")
        temporary = {name: files.enter_context(atomic(output / name)) for name in names}
        writer = pq.ParquetWriter(temporary["outcomes.parquet"], pa.schema(OUTCOME_TYPES), compression="zstd")
        with writer:
            outcomes = _Outcomes(writer)
            for run in runs:
                record = _read_record(results / "training" / run / "metrics.json", run)
                for row in _rows(record):
                    for name, value in zip(COLUMNS, row, strict=True):
                        columns[name].append(value)
                entries.append(_entry(record))
                for name, version in {"python": record.environment.python, **record.environment.packages}.items():
                    versions.setdefault(name, Counter())[version] += 1
                if record.status == "completed":
                    outcomes.add(_read_outcomes(results / "training" / run / "predictions.parquet", record))
            outcomes.flush()
        frame = pd.DataFrame(columns).astype({"value": "float64", "seed": "int64"})
        frame.to_csv(temporary["metrics.csv"], index=False, lineterminator="\n")
        frame.to_parquet(temporary["metrics.parquet"], index=False)
    write_json(output / "manifest.json", _manifest(study, entries, versions))
