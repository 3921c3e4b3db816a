"""From run folders to one table of metrics, one of what was measured along training, one of outcomes, a manifest."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maskbench.analysis.about_data import Use, about_data
from maskbench.analysis.agreement import attribution_agreement
from maskbench.analysis.derived import MATCHED, Point, RunSummary, Value, derive
from maskbench.analysis.metrics import ALONG_COLUMNS, CELL, METRIC_COLUMNS, write_csv
from maskbench.analysis.outcome_tables import OutcomesWriter, read_predictions, tables_of, types_of
from maskbench.analysis.rates import halves
from maskbench.analysis.run_records import kind_of, number_of, read_records
from maskbench.analysis.study_manifest import entry_of, manifest_of, models_of, progress
from maskbench.config.measures import MEASURES, measure
from maskbench.errors import InputError
from maskbench.io.files import atomic, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from maskbench.records.probe import ProbeRecord
    from maskbench.records.probe import TrajectoryPoint as Evaluated
    from maskbench.records.run import Environment, Record


FILES = ("metrics.csv", "metrics.parquet", "along.csv", "outcomes.parquet")
"""What `collect` writes beside the manifest."""


def device_of(machine: Environment) -> str:
    """Return the kind of device that a run was made on, between which nothing is compared."""
    return f"{machine.device if machine.device == 'cpu' else machine.device_name}, {machine.precision}"


def machine_of(record: Record) -> str:
    """Return the kind of machine that a run was made on, between which times and memory are not compared.

    A cell of a stack has a share of the time of all: it is compared with cells of stacks of as many alone.
    """
    machine = record.environment
    stack = f", in a stack of {len(record.stack)}" if record.stack else ""
    return f"{machine.device}, {machine.device_name}, {machine.threads} threads{stack}"


def _run(record: Record, probes: ProbeRecord | None) -> RunSummary:
    """Return what other runs are measured against."""
    along = probes.trajectory if probes else []
    return RunSummary(
        **{name: getattr(record, name) for name in CELL},
        completed=record.status == "completed",
        score=number_of(record, "test", "score"),
        majority_score=number_of(record, "test", "majority_score"),
        step_time=number_of(record, "run", "step_time"),
        peak_memory=number_of(record, "run", "peak_memory"),
        machine=machine_of(record),
        stack=len(record.stack),
        device=device_of(record.environment),
        history=[Point(item.step, item.score) for item in record.history if item.score is not None],
        trajectory={
            entry.name: points
            for entry in MEASURES.values()
            if entry.along and (points := list(_points(along, entry.name)))
        },
        attributions={text.example: text.words for text in (probes.attributions if probes else [])},
    )


def _points(along: Sequence[Evaluated], name: str) -> Iterator[Point]:
    """Yield what a measure was at each evaluation that has a number of it."""
    for item in along:
        if (value := item.measures.get(name)) is not None:
            yield Point(item.step, value)


class _Metrics:
    """Gathers the rows of metrics.csv."""

    def __init__(self, pretrained: Mapping[str, tuple[str, int | None]]) -> None:
        self.pretrained = pretrained
        self.columns: dict[str, list[Any]] = {name: [] for name in METRIC_COLUMNS}
        self.cells: dict[str, tuple[Any, ...]] = {}

    def add(self, run: str, split: str, name: str, value: float | None) -> None:
        """Add one number of a run that is known."""
        row = (*self.cells[run], split, name, value, measure(name).unit)
        for column, item in zip(METRIC_COLUMNS, row, strict=True):
            self.columns[column].append(item)

    def add_run(self, record: Record, probes: ProbeRecord | None) -> None:
        """Add what the records of a run hold; one without a test score gets an empty one, so that it is never lost."""
        model = self.pretrained.get(record.model, (record.model, None))
        self.cells[record.run] = (*(getattr(record, name) for name in CELL), *model, kind_of(record), record.status)
        for item in [*record.metrics, *(probes.metrics if probes else [])]:
            self.add(record.run, item.split, item.measure, item.value)
        if not any(item.split == "test" and item.measure == "score" for item in record.metrics):
            self.add(record.run, "test", "score", None)

    def write(self, csv: Path, parquet: Path) -> None:
        """Write all rows, run by run, to two files."""
        frame = pd.DataFrame(self.columns).astype({"value": "float64", "seed": "int64", "pretraining_seed": "Int64"})
        place = frame["run"].map({run: index for index, run in enumerate(self.cells)})
        frame = frame.iloc[np.argsort(place.to_numpy(), kind="stable")].reset_index(drop=True)
        write_csv(frame, csv)
        frame.to_parquet(parquet, index=False)


def _along(record: Record, probes: ProbeRecord | None) -> Iterator[tuple[str, int, str, float | None]]:
    """Yield what was measured of a run along its training: scores, gradients of two tasks, drift and forgetting."""
    for row in record.history:
        yield record.run, row.step, "validation_score", row.score
        yield record.run, row.step, "validation_loss", row.loss
    for item in record.conflict:
        part = "" if item.layer == "all" else f":{item.layer}"
        yield record.run, item.step, f"gradient_cosine{part}", item.cosine
    for point in probes.trajectory if probes else []:
        for name, value in point.measures.items():
            yield record.run, point.step, name, value


class _Seen:
    """What is kept of every run beside its metrics."""

    def __init__(self) -> None:
        self.runs: list[RunSummary] = []
        self.along: list[tuple[str, int, str, float | None]] = []
        self.entries: list[dict[str, Any]] = []
        self.uses: list[Use] = []
        self.versions: dict[str, Counter[str]] = {}
        """How many runs had each version of a package, by package."""

    def add(self, record: Record, probes: ProbeRecord | None) -> None:
        """Add the rows of a run to all tables."""
        self.runs.append(_run(record, probes))
        self.along.extend(_along(record, probes))
        self.entries.append(entry_of(record, probes))
        self.uses.append(_use(record))
        for name, version in {"python": record.environment.python, **record.environment.packages}.items():
            self.versions.setdefault(name, Counter())[version] += 1

    def models(self, pretrained: Mapping[str, tuple[str, int | None]]) -> dict[str, tuple[str, int | None]]:
        """Return how the models of the runs were pretrained; others may be waiting for their pretraining."""
        used = {run.model for run in self.runs}
        return {name: about for name, about in pretrained.items() if name in used}


def collect(
    study: str,
    results: Path,
    runs: Sequence[str],
    output: Path,
    *,
    baseline: str = "none",
    probed: bool = False,
    share: float = MATCHED,
    pretrained: Mapping[str, tuple[str, int | None]] | None = None,
    planned: Sequence[str] | None = None,
) -> None:
    """Write metrics.csv, metrics.parquet, along.csv, outcomes.parquet and manifest.json of a study.

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
    baseline
        The strategy that overheads are relative to.
    probed
        Whether every run has a ``probes/<run>/metrics.json`` (and ``outcomes.parquet`` with test-time sets).
    share
        Where the matched score lies, from the majority class's score (0) to the baseline's best (1).
    pretrained
        By model, its pretraining recipe and seed (None: not pretrained here); others are recipes of their own.
    planned
        All runs that the study is to have; None: these are all.

    Raises
    ------
    InputError
        If a run is listed twice, or naming the first file that is missing or not valid; nothing is written then.
    """
    _check_once(study, runs)
    metrics, seen = _Metrics(pretrained or {}), _Seen()
    with ExitStack() as files:
        temporary = {name: files.enter_context(atomic(output / name)) for name in FILES}
        types = types_of(results, runs)
        with pq.ParquetWriter(temporary["outcomes.parquet"], pa.schema(types), compression="zstd") as writer:
            outcomes = OutcomesWriter(writer, types)
            for record, probes in read_records(results, runs, probed):
                metrics.add_run(record, probes)
                seen.add(record, probes)
                for table in tables_of(results, record, probes, types):
                    outcomes.add(table)
            for value in _derived(seen.runs, results, baseline, share, outcomes):
                metrics.add(value.run, measure(value.measure).split, value.measure, value.value)
            outcomes.flush()
        metrics.write(temporary["metrics.csv"], temporary["metrics.parquet"])
        write_csv(pd.DataFrame(seen.along, columns=list(ALONG_COLUMNS)), temporary["along.csv"])
    about, models = about_data(results, seen.uses), models_of(results, seen.models(pretrained or {}))
    manifest = manifest_of(study, seen.entries, seen.versions, about, models)
    write_json(output / "manifest.json", manifest | progress(planned or runs, runs))


def _check_once(study: str, runs: Sequence[str]) -> None:
    """Refuse a list in which a run stands twice."""
    if len(set(runs)) < len(runs):
        raise InputError(f"{study}: expected each run once, {Counter(runs).most_common(1)[0][0]} is listed twice")


def _derived(
    runs: Sequence[RunSummary], results: Path, baseline: str, share: float, outcomes: OutcomesWriter
) -> Iterator[Value]:
    """Yield what follows from several runs; those at tuned rates are measured against the tuned baseline."""
    read = partial(read_predictions, results)
    for runs_at_rate in halves(runs):
        yield from derive(runs_at_rate, baseline, read, results / "training", outcomes.keep, share=share)
        yield from attribution_agreement(runs_at_rate, read, results / "probes", outcomes.keep_agreement)


def _use(record: Record) -> Use:
    """Return what a run takes of its task's texts."""
    most = (record.parameters.get(name) for name in ("max_validation", "max_test"))
    return Use(record.task, record.model, record.train_size, *most)
