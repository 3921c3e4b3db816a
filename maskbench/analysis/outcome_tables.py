"""From predictions and outcomes of single runs to the rows of outcomes.parquet."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from maskbench.analysis.contributions import documents_of
from maskbench.analysis.metrics import OUTCOME_COLUMNS, OUTCOME_TYPES, TEST, check_counts
from maskbench.analysis.run_records import kind_of, number_of
from maskbench.config.measures import measure
from maskbench.errors import InputError
from maskbench.kinds import score
from maskbench.records.run import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from maskbench.records.probe import ProbeRecord


ROWS_IN_GROUP = 1_000_000
"""Outcomes that are held in memory at once, and rows of a row group of outcomes.parquet."""

LOSS, DISAGREEMENT = f"{TEST}:loss", f"{TEST}:disagreement"
"""In the column `set`: what test examples contribute to the cross-entropy, and to the disagreement of seeds."""
AGREEMENT = f"{TEST}:attributions"
"""What they contribute to the agreement of seeds on which words matter."""


def _read_table(
    path: Path, columns: list[str], what: str, *, optional: Sequence[str] = (), may_be_empty: bool = False
) -> pa.Table:
    """Read some columns of a parquet file, and optional ones if it has them; no value of them may be missing."""
    try:
        known = pq.read_schema(path).names if optional else ()
        table = pq.read_table(path, columns=[*columns, *(name for name in optional if name in known)])
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: expected a parquet file with {', '.join(columns)} of {what} ({error}); "
            f"delete {path.parent} and run again"
        ) from None
    if (table.num_rows == 0 and not may_be_empty) or any(column.null_count for column in table.columns):
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


def types_of(results: Path, runs: Sequence[str]) -> list[pa.Field]:
    """Return the columns of outcomes.parquet: what the kinds of the study's tasks add up, by one run of each task."""
    first = {run.partition(".")[0]: run for run in reversed(runs)}
    kinds = set()
    for run in first.values():
        with suppress(InputError):  # it is refused when its turn comes
            kinds.add(kind_of(Record.read(results / "training" / run / "metrics.json")))
    more = [name for name in score.sums_of(sorted(kinds)) if name not in OUTCOME_COLUMNS]
    return [*OUTCOME_TYPES, *(pa.field(name, pa.float64()) for name in more)]


def _read_outcomes(path: Path, record: Record, types: list[pa.Field]) -> pa.Table:
    """Read what a run got right and wrong on test, and check that it adds up to its score."""
    kind = kind_of(record)
    names = list(score.of(kind).sums if kind else score.Score.sums)
    # predictions are read when all runs are known, but a file without them is refused here
    table = _read_table(path, ["example", *names, "prediction"], "a completed run").drop_columns("prediction")
    table = table.append_column("set", pa.array([TEST] * table.num_rows).dictionary_encode())
    table = _typed(path, record.run, table, types)
    sums = {name: table[name].to_numpy() for name in names}
    check_counts(path, sums)
    whole = np.array([values.sum() for values in sums.values()])
    found = float(score.of(kind).value(whole) if kind else score.ratio(*whole))
    recorded = number_of(record, "test", "score")
    assert recorded is not None  # a completed run has one
    if not math.isclose(found, recorded, rel_tol=0.0, abs_tol=1e-6):
        raise InputError(
            f"{path}: run {record.run}: the hits add up to a score of {found:.6f}, the recorded score is "
            f"{recorded:.6f}; outcomes and metrics are not of the same runs"
        )
    besides = (*_losses(path, record.run, types), *_documents(path, record.run, types))
    if kind:
        besides += tuple(_others(path, record.run, types, score.of(kind).besides))
    return pa.concat_tables([table, *besides]).unify_dictionaries()


def _documents(path: Path, run: str, types: list[pa.Field]) -> Iterator[pa.Table]:
    """Yield the document of each test example, where texts come in documents: it stands as the hit."""
    if "document" not in pq.read_schema(path).names:
        return
    table = _read_table(path, ["example", "document"], "a completed run").rename_columns(["example", "hit"])
    table = table.append_column("weight", pa.array(np.ones(table.num_rows)))
    name = pa.array([documents_of(TEST)] * table.num_rows).dictionary_encode()
    yield _typed(path, run, table.append_column("set", name), types)


def _others(path: Path, run: str, types: list[pa.Field], streams: Mapping[str, tuple[str, str]]) -> Iterator[pa.Table]:
    """Yield what each test example adds to the other measures of its kind of task."""
    for name, (hit, weight) in streams.items():
        table = _read_table(path, ["example", hit, weight], "a completed run")
        table = table.select(["example", hit, weight]).rename_columns(["example", "hit", "weight"])
        yield _typed(
            path,
            run,
            table.append_column("set", pa.array([f"{TEST}:{name}"] * table.num_rows).dictionary_encode()),
            types,
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
    optional = [column.name for column in types[len(OUTCOME_TYPES) :]]
    table = _read_table(path, columns, "a probed run", optional=optional, may_be_empty=not measured)
    more = [name for name in optional if name in table.column_names]
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


def read_predictions(results: Path, run: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return (N,) the test examples of a run, sorted, and (N,) a code for what it predicted for each."""
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


class OutcomesWriter:
    """Writes outcomes.parquet in row groups, so that the memory does not grow with the study."""

    def __init__(self, writer: pq.ParquetWriter, types: list[pa.Field]) -> None:
        self.writer, self.types = writer, types
        self.waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Add rows; they are written when there are enough of them for a row group."""
        self.waiting.append(table)
        if sum(part.num_rows for part in self.waiting) >= ROWS_IN_GROUP:
            self.flush()

    def keep(self, run: str, examples: np.ndarray[Any, Any], shares: np.ndarray[Any, Any]) -> None:
        """Add what test examples (N,) contribute to a run's disagreement with other seeds: the shares (N,) of these."""
        self._keep(DISAGREEMENT, run, examples, shares, np.ones(len(examples)))

    def keep_agreement(
        self, run: str, examples: np.ndarray[Any, Any], hit: np.ndarray[Any, Any], weight: np.ndarray[Any, Any]
    ) -> None:
        """Add what test examples (N,) contribute to a run's agreement with other seeds: hits (N,) and weights (N,)."""
        self._keep(AGREEMENT, run, examples, hit, weight)

    def _keep(self, name: str, run: str, examples: Any, hit: Any, weight: Any) -> None:
        table = pa.table({"example": examples, "hit": hit, "weight": weight})
        table = table.append_column("set", pa.array([name] * len(examples)).dictionary_encode())
        self.add(_typed(Path("outcomes.parquet"), run, table, self.types))

    def flush(self) -> None:
        """Write the rows that are held in memory, if any."""
        if self.waiting:
            self.writer.write_table(pa.concat_tables(self.waiting).unify_dictionaries())
            self.waiting.clear()


def tables_of(results: Path, record: Record, probes: ProbeRecord | None, types: list[pa.Field]) -> Iterator[pa.Table]:
    """Yield the outcomes of a run on its test split, and on test-time sets."""
    if record.status == "completed":
        yield _read_outcomes(results / "training" / record.run / "predictions.parquet", record, types)
    if probes is not None:
        table = _read_set_outcomes(results / "probes" / record.run / "outcomes.parquet", probes, types)
        if table is not None:
            yield table
