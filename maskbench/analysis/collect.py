"""From run folders to one table of metrics, one of what was measured along training, one of outcomes, a manifest."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maskbench.analysis.about_data import Use, about_data
from maskbench.analysis.contributions import DOCUMENT
from maskbench.analysis.derived import Point, Run, derive
from maskbench.analysis.metrics import (
    ALONG_COLUMNS,
    CELL,
    COLUMNS,
    OUTCOME_COLUMNS,
    OUTCOME_TYPES,
    TEST,
    check_counts,
    write_csv,
)
from maskbench.config.kinds import KINDS
from maskbench.config.measures import MEASURES, measure
from maskbench.errors import InputError
from maskbench.io.files import atomic, write_json
from maskbench.kinds import score
from maskbench.records.probe import Point as Evaluated
from maskbench.records.probe import ProbeRecord
from maskbench.records.run import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maskbench.records.run import Metric

ROWS_IN_GROUP = 1_000_000
"""Outcomes that are held in memory at once, and rows of a row group of outcomes.parquet."""

LOSS, DISAGREEMENT = f"{TEST}:loss", f"{TEST}:disagreement"
"""In the column `set`: what test examples contribute to the cross-entropy, and to the disagreement of seeds."""


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
    if record.status == "completed" and _number(record, "test", "score") is None:
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


def _number(record: Record, split: str, name: str) -> float | None:
    return next((item.value for item in record.metrics if item.split == split and item.measure == name), None)


def _run(record: Record, probes: ProbeRecord | None) -> Run:
    """Return what other runs are measured against."""
    along, machine = probes.trajectory if probes else [], record.environment
    return Run(
        **{name: getattr(record, name) for name in CELL},
        completed=record.status == "completed",
        score=_number(record, "test", "score"),
        majority_score=_number(record, "test", "majority_score"),
        step_time=_number(record, "run", "step_time"),
        peak_memory=_number(record, "run", "peak_memory"),
        machine=f"{machine.device}, {machine.device_name}, {machine.threads} threads",
        history=[Point(item.step, item.score) for item in record.history if item.score is not None],
        trajectory={
            entry.name: points
            for entry in MEASURES.values()
            if entry.along and (points := list(_points(along, entry.name)))
        },
    )


def _points(along: Sequence[Evaluated], name: str) -> Iterator[Point]:
    """Yield what a measure was at each evaluation that has a number of it."""
    for item in along:
        if (value := item.measures.get(name)) is not None:
            yield Point(item.step, value)


class _Metrics:
    """Gathers the rows of metrics.csv."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self.cells: dict[str, tuple[Any, ...]] = {}

    def add(self, run: str, split: str, name: str, value: float | None) -> None:
        """Add one number of a run that is known."""
        row = (*self.cells[run], split, name, value, measure(name).unit)
        for column, item in zip(COLUMNS, row, strict=True):
            self.columns[column].append(item)

    def add_run(self, record: Record, probes: ProbeRecord | None) -> None:
        """Add what the records of a run hold; one without a test score gets an empty one, so that it is never lost."""
        self.cells[record.run] = (*(getattr(record, name) for name in CELL), _kind(record), record.status)
        for item in [*record.metrics, *(probes.metrics if probes else [])]:
            self.add(record.run, item.split, item.measure, item.value)
        if not any(item.split == "test" and item.measure == "score" for item in record.metrics):
            self.add(record.run, "test", "score", None)

    def frame(self) -> pd.DataFrame:
        """Return all rows, run by run."""
        frame = pd.DataFrame(self.columns).astype({"value": "float64", "seed": "int64"})
        place = frame["run"].map({run: index for index, run in enumerate(self.cells)})
        return frame.iloc[np.argsort(place.to_numpy(), kind="stable")].reset_index(drop=True)


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


def _read_table(path: Path, columns: list[str], what: str, *, may_be_empty: bool = False) -> pa.Table:
    """Read some columns of a parquet file, none of whose values may be missing."""
    try:
        table = pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: expected a parquet file with {', '.join(columns)} of {what} ({error}); "
            f"delete {path.parent} and run again"
        ) from None
    if (table.num_rows == 0 and not may_be_empty) or any(table[name].null_count for name in columns):
        raise InputError(f"{path}: expected a row for each test example and no empty values")
    return table


def _typed(path: Path, run: str, table: pa.Table, types: list[pa.Field]) -> pa.Table:
    """Return outcomes with the run's id and the types of outcomes.parquet; sums that they lack are 0."""
    table = table.append_column("run", pa.array([run] * table.num_rows).dictionary_encode())
    for name in {column.name for column in types} - set(table.column_names):
        table = table.append_column(name, pa.array(np.zeros(table.num_rows)))
    try:
        return table.select([column.name for column in types]).cast(pa.schema(types))
    except pa.ArrowException as error:
        raise InputError(f"{path}: expected whole numbers as examples, numbers as hit and weight ({error})") from None


def _kind(record: Record) -> str:
    """Return the kind of a run's task; empty text if its record does not say it."""
    kind = str(record.parameters.get("kind", ""))
    return kind if kind in KINDS else ""


def _types(results: Path, runs: Sequence[str]) -> list[pa.Field]:
    """Return the columns of outcomes.parquet: what the kinds of the study's tasks add up, by one run of each task."""
    first = {run.partition(".")[0]: run for run in reversed(runs)}
    kinds = set()
    for run in first.values():
        with suppress(InputError):  # it is refused when its turn comes
            kinds.add(_kind(Record.read(results / "training" / run / "metrics.json")))
    more = [name for name in score.sums_of(sorted(kinds)) if name not in OUTCOME_COLUMNS]
    return [*OUTCOME_TYPES, *(pa.field(name, pa.float64()) for name in more)]


def _read_outcomes(path: Path, record: Record, types: list[pa.Field]) -> pa.Table:
    """Read what a run got right and wrong on test, and check that it adds up to its score."""
    kind = _kind(record)
    names = list(score.of(kind).sums if kind else score.Score.sums)
    # predictions are read when all runs are known, but a file without them is refused here
    table = _read_table(path, ["example", *names, "prediction"], "a completed run").drop_columns("prediction")
    table = table.append_column("set", pa.array([TEST] * table.num_rows).dictionary_encode())
    table = _typed(path, record.run, table, types)
    sums = {name: table[name].to_numpy() for name in names}
    check_counts(path, sums)
    whole = np.array([values.sum() for values in sums.values()])
    found = float(score.of(kind).value(whole) if kind else score.ratio(*whole))
    recorded = _number(record, "test", "score")
    assert recorded is not None  # a completed run has one
    if not math.isclose(found, recorded, rel_tol=0.0, abs_tol=1e-6):
        raise InputError(
            f"{path}: run {record.run}: the hits add up to a score of {found:.6f}, the recorded score is "
            f"{recorded:.6f}; outcomes and metrics are not of the same runs"
        )
    besides = (*_losses(path, record.run, types), *_documents(path, record.run, types))
    return pa.concat_tables([table, *besides]).unify_dictionaries()


def _documents(path: Path, run: str, types: list[pa.Field]) -> Iterator[pa.Table]:
    """Yield the document of each test example, where texts come in documents: it stands as the hit."""
    if "document" not in pq.read_schema(path).names:
        return
    table = _read_table(path, ["example", "document"], "a completed run").rename_columns(["example", "hit"])
    table = table.append_column("weight", pa.array(np.ones(table.num_rows)))
    yield _typed(
        path, run, table.append_column("set", pa.array([DOCUMENT] * table.num_rows).dictionary_encode()), types
    )


def _losses(path: Path, run: str, types: list[pa.Field]) -> Iterator[pa.Table]:
    """Yield what each test example adds to the cross-entropy, where the predictions tell it: nats, and units."""
    columns = ["example", "nll", "units"]
    if not set(columns) <= set(pq.read_schema(path).names):
        return  # the verdicts say then that intervals are over seeds alone
    table = _read_table(path, columns, "a completed run").rename_columns(["example", "hit", "weight"])
    yield _typed(path, run, table.append_column("set", pa.array([LOSS] * table.num_rows).dictionary_encode()), types)


def _on_sets(name: str) -> bool:
    """Tell whether a measure rests on outcomes of test-time sets: beside a probe record that has it there are some."""
    recipe = measure(name).made_of
    return recipe is not None and recipe.on_sets


def _read_set_outcomes(path: Path, probes: ProbeRecord, types: list[pa.Field]) -> pa.Table | None:
    """Read what a run got right and wrong on the test-time sets; None if it was measured on none of them."""
    if probes.status != "probed":
        return None
    measured = any(_on_sets(item.measure) and item.value is not None for item in probes.metrics)
    columns = ["set", "example", "hit", "weight"]
    known = set(pq.read_schema(path).names) if path.exists() else set()
    more = [column.name for column in types[len(OUTCOME_TYPES) :] if column.name in known]
    table = _read_table(path, [*columns, *more], "a probed run", may_be_empty=not measured)
    if not table.num_rows:
        return None
    table = _typed(path, probes.run, table, types)
    frame = table.select([*columns, *more]).to_pandas()
    if TEST in set(frame["set"].unique()):
        raise InputError(f"{path}: set: {TEST} is the run's own test split; expected names of test-time sets")
    if frame.duplicated(["set", "example"]).any():
        raise InputError(f"{path}: expected each example of a set once")
    counted = frame["set"].str.contains(":").to_numpy(dtype=bool)
    for rows, signed in ((counted, True), (~counted, False)):
        sums = {name: frame.loc[rows, name].to_numpy() for name in ("hit", "weight", *more)}
        check_counts(path, sums, signed=signed)
    return table


def _read_predictions(results: Path, run: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the test examples of a run, sorted, and a code for what it predicted for each."""
    path = results / "training" / run / "predictions.parquet"
    table = _read_table(path, ["example", "prediction"], "a completed run").combine_chunks()
    predicted = table["prediction"]
    if pa.types.is_list(predicted.type) or pa.types.is_large_list(predicted.type):
        # all tags of a sentence as one number: its hash, which is the same for the same tags within this process
        code = np.array([hash(tags.tobytes()) for tags in predicted.to_numpy()], dtype=np.int64)
    else:
        code = predicted.to_numpy()
    examples = table["example"].to_numpy()
    order = np.argsort(examples, kind="stable")
    return examples[order], code[order]


class _Outcomes:
    """Writes outcomes.parquet in row groups, so that the memory does not grow with the study."""

    def __init__(self, writer: pq.ParquetWriter, types: list[pa.Field]) -> None:
        self.writer, self.types = writer, types
        self.waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        self.waiting.append(table)
        if sum(part.num_rows for part in self.waiting) >= ROWS_IN_GROUP:
            self.flush()

    def keep(self, run: str, examples: np.ndarray[Any, Any], shares: np.ndarray[Any, Any]) -> None:
        """Add what test examples contribute to the disagreement of a run with other seeds."""
        table = pa.table({"example": examples, "hit": shares, "weight": np.ones(len(examples))})
        table = table.append_column("set", pa.array([DISAGREEMENT] * len(examples)).dictionary_encode())
        self.add(_typed(Path("predictions.parquet"), run, table, self.types))

    def flush(self) -> None:
        if self.waiting:
            self.writer.write_table(pa.concat_tables(self.waiting).unify_dictionaries())
            self.waiting.clear()


def _entry(record: Record, probes: ProbeRecord | None) -> dict[str, Any]:
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
        "claims": record.claims,
        "probes": probes and probes.model_dump(include={"status", "error", "notes", "code", "timings"}),
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


def _manifest(
    study: str, entries: list[dict[str, Any]], versions: dict[str, Counter[str]], about: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the manifest of a study."""
    shared, differ = _versions(versions, len(entries))
    statuses = Counter(entry["status"] for entry in entries)
    probed = [entry["probes"] for entry in entries if entry["probes"]]
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
        "probed": sum(probes["status"] == "probed" for probes in probed),
        "probe_s": round(sum(probes["timings"]["wall_s"] for probes in probed), 3),
        "about_data": about,
        "records": entries,
    }


def collect(
    study: str, results: Path, runs: Sequence[str], output: Path, *, baseline: str = "none", probed: bool = False
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
        Whether every run has a ``probes/<run>/metrics.json``, and ``outcomes.parquet`` where test-time sets were
        measured.

    Raises
    ------
    InputError
        If a run is listed twice, or naming the first file that is missing or not valid; nothing is written then.
    """
    if len(set(runs)) < len(runs):
        raise InputError(f"{study}: expected each run once, {Counter(runs).most_common(1)[0][0]} is listed twice")
    metrics, found, along = _Metrics(), list[Run](), list[tuple[str, int, str, float | None]]()
    entries: list[dict[str, Any]] = []
    uses: list[Use] = []
    versions: dict[str, Counter[str]] = {}
    with ExitStack() as files:
        names = ("metrics.csv", "metrics.parquet", "along.csv", "outcomes.parquet")
        temporary = {name: files.enter_context(atomic(output / name)) for name in names}
        types = _types(results, runs)
        writer = pq.ParquetWriter(temporary["outcomes.parquet"], pa.schema(types), compression="zstd")
        with writer:
            outcomes = _Outcomes(writer, types)
            for record, probes in _records(results, runs, probed):
                metrics.add_run(record, probes)
                found.append(_run(record, probes))
                along.extend(_along(record, probes))
                entries.append(_entry(record, probes))
                uses.append(_use(record))
                for name, version in {"python": record.environment.python, **record.environment.packages}.items():
                    versions.setdefault(name, Counter())[version] += 1
                for table in _tables(results, record, probes, types):
                    outcomes.add(table)
            read = partial(_read_predictions, results)
            for value in derive(found, baseline, read, results / "training", outcomes.keep):
                metrics.add(value.run, measure(value.measure).split, value.measure, value.value)
            outcomes.flush()
        frame = metrics.frame()
        write_csv(frame, temporary["metrics.csv"])
        frame.to_parquet(temporary["metrics.parquet"], index=False)
        write_csv(pd.DataFrame(along, columns=list(ALONG_COLUMNS)), temporary["along.csv"])
    write_json(output / "manifest.json", _manifest(study, entries, versions, about_data(results, uses)))


def _use(record: Record) -> Use:
    """Return what a run takes of its task's texts."""
    most = (record.parameters.get(name) for name in ("max_validation", "max_test"))
    return Use(record.task, record.model, record.train_size, *most)


def _records(results: Path, runs: Sequence[str], probed: bool) -> Iterator[tuple[Record, ProbeRecord | None]]:
    """Yield the checked records of each run."""
    for run in runs:
        record = _read_record(results / "training" / run / "metrics.json", run)
        yield record, _read_probes(results / "probes" / run / "metrics.json", record) if probed else None


def _tables(results: Path, record: Record, probes: ProbeRecord | None, types: list[pa.Field]) -> Iterator[pa.Table]:
    """Yield the outcomes of a run on its test split, and on test-time sets."""
    if record.status == "completed":
        yield _read_outcomes(results / "training" / record.run / "predictions.parquet", record, types)
    if probes is not None:
        table = _read_set_outcomes(results / "probes" / record.run / "outcomes.parquet", probes, types)
        if table is not None:
            yield table
