"""Read metrics.csv and outcomes.parquet, checked: what is wrong is named with its file, line and column."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import pandas as pd
import pyarrow as pa

from maskbench.config.kinds import TASK_KINDS
from maskbench.config.measures import measure, recipes
from maskbench.config.science import LEAST_LEARNED
from maskbench.errors import InputError
from maskbench.io.files import atomic
from maskbench.io.gzipped import ENDING, read_bytes
from maskbench.kinds.score import kind_of
from maskbench.records.packed import packed_form

CELL = ("run", "task", "model", "strategy", "regime", "condition", "train_size", "seed")
"""Columns that say which run a number is of."""

OLD_COLUMNS = (*CELL, "status", "split", "measure", "value", "unit")
"""Columns of the metrics.csv of studies that were recorded before it said the kind of a task."""

KINDS_COLUMNS = (*CELL, "kind", *OLD_COLUMNS[len(CELL) :])
"""Columns of the metrics.csv of studies that were recorded before it said how a model was pretrained."""

PRETRAINED = ("recipe", "pretraining_seed")
"""Columns that say of which pretraining recipe a model is, and of which seed of it.

A model that was not pretrained here is a recipe of its own, and has no pretraining seed.
"""

METRIC_COLUMNS = (*CELL, *PRETRAINED, *KINDS_COLUMNS[len(CELL) :])
"""Columns of metrics.csv, in order; one row for each measured number. `kind` is that of the task."""

OUTCOME_COLUMNS = ("run", "set", "example", "hit", "weight")
"""Columns of outcomes.parquet; one row for each test example of a completed run, in each set that it was tested on.

Behind them stand the other sums of kinds of task whose score is made of others (`Score.sums`), 0 in rows without them.
"""

OUTCOME_TYPES = [
    pa.field("run", pa.dictionary(pa.int32(), pa.string())),
    pa.field("set", pa.dictionary(pa.int32(), pa.string())),
    pa.field("example", pa.int64()),
    pa.field("hit", pa.float64()),
    pa.field("weight", pa.float64()),
]

ALONG_COLUMNS = ("run", "step", "measure", "value")
"""Columns of along.csv; one row for each number along training, `step` updates after its start."""

TEST = recipes.TEST
"""In the column `set`: the run's own test split; the other sets are named by what was done to it, as in ``swap-10``."""

BLOCK = ["task", "model", "regime", "condition", "train_size"]
"""Runs are compared within a block: only strategy and seed differ in it."""

STATUSES = ("completed", "diverged", "oom", "crashed")
SPLIT_VALUES = ("train", "validation", "test", "run")

REGIME_KINDS = ("single", "after-*", "with-*")
"""Kinds of regime: a task alone, after another one, together with another one."""

Array = np.ndarray[Any, np.dtype[np.float64]]
Parser = Callable[[str], Any]


def regime_kind(regime: str) -> str:
    """Return the kind of a regime: ``after-*`` of ``after-conll2003``, ``single`` of ``single``."""
    return next((kind for kind in REGIME_KINDS[1:] if regime.startswith(kind[:-1])), regime)


def write_csv(frame: pd.DataFrame, path: str | Path, float_format: str | None = None) -> None:
    """Write a table that every reader of CSV reads as it is; rows end in a line feed.

    Text is quoted where it has to be. A carriage return inside of it has to be, too, which Python's writer and pandas
    leave out as long as rows do not end in one.
    """
    texts = (frame[name] for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name]))
    returns = any("\r" in str(value) for column in texts for value in column.unique())
    quoting: Literal[0, 2] = 2 if returns else 0  # csv.QUOTE_NONNUMERIC, csv.QUOTE_MINIMAL
    frame.to_csv(path, index=False, lineterminator="\n", quoting=quoting, float_format=float_format)


def unpack_metrics(path: Path) -> None:
    """Write metrics.csv from metrics.parquet beside it, as `collect` wrote it.

    Raises
    ------
    InputError
        If the parquet file is damaged, or has other columns.
    """
    source = packed_form(path)
    try:
        frame = pd.read_parquet(source)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{source}: expected the metrics of a study as parquet ({reason}); restore it") from None
    if tuple(frame.columns) not in (METRIC_COLUMNS, KINDS_COLUMNS, OLD_COLUMNS):
        raise InputError(f"{source}: expected the columns {','.join(METRIC_COLUMNS)}, got {','.join(frame.columns)}")
    with atomic(path) as temporary:
        write_csv(frame, temporary)


def _opened(path: Path) -> TextIO:
    """Open a CSV file, or one that a record keeps gzipped."""
    if path.suffix == ENDING:
        return io.TextIOWrapper(io.BytesIO(read_bytes(path)), encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


class CheckedTable:
    """A CSV file read as text, whose columns are then parsed one by one."""

    def __init__(self, path: str | Path, columns: Sequence[str]) -> None:
        self.path = path
        try:
            with _opened(Path(path)) as stream:
                rows = csv.reader(stream, strict=True)
                header = next(rows, [])
                if tuple(header) != tuple(columns):
                    raise InputError(
                        f"{path}: line 1: expected the columns {','.join(columns)}, got {','.join(header)}"
                    )
                content = []
                for row in rows:
                    if len(row) != len(columns):
                        raise InputError(
                            f"{path}: line {rows.line_num}: expected {len(columns)} values, got {len(row)}"
                        )
                    # most values stand in many rows: kept once, they take a tenth of the memory
                    content.append(tuple(map(sys.intern, row)))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: expected UTF-8 text") from None
        except csv.Error as error:
            raise InputError(f"{path}: line {rows.line_num}: not valid CSV: {error}") from None
        self.text = dict(zip(columns, zip(*content, strict=True) if content else ((),) * len(columns), strict=True))
        self.frame = pd.DataFrame(index=range(len(content)))

    def refuse(self, row: int, column: str, expected: str) -> InputError:
        """Return the error for one value (`row` counts from 0, without the header)."""
        found = repr(self.text[column][row])
        found = found if len(found) <= 100 else f"{found[:97]}..."
        return InputError(f"{self.path}: line {row + 2}: {column}: expected {expected}, got {found}")

    def parse(self, column: str, parser: Parser, expected: str, dtype: str) -> None:
        """Parse a column; each distinct text is parsed once.

        Raises
        ------
        InputError
            For the first value that the parser refuses with a ValueError.
        """
        code, texts = pd.factorize(np.array(self.text[column], dtype=object))
        parsed = []
        for index, text in enumerate(texts):  # in the order in which they first occur
            try:
                parsed.append(value := parser(text))
                if dtype in ("int64", "Int64") and value is not None and not -(2**63) <= value < 2**63:
                    raise ValueError
            except ValueError:
                raise self.refuse(int((code == index).argmax()), column, expected) from None
        self.frame[column] = pd.Series(parsed, dtype=dtype).take(code).reset_index(drop=True)


def filled(text: str) -> str:
    """Accept text that is not empty."""
    if not text.strip():
        raise ValueError
    return text


def one_of(values: Sequence[str]) -> Parser:
    """Accept one of some words."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return parse


def number_or_empty(text: str) -> float:
    """Accept a finite number, or nothing, which becomes NaN."""
    value = float(text) if text else math.nan
    if text and not math.isfinite(value):
        raise ValueError
    return value


def _whole_or_missing(text: str) -> int | None:
    """Accept a whole number, or nothing."""
    return int(text) if text else None


def known_measure(text: str) -> str:
    """Accept the name of a measure in the registry, ``f1:PER`` included."""
    try:
        measure(text)
    except KeyError:
        raise ValueError from None
    return text


def read_metrics(path: str | Path) -> pd.DataFrame:
    """Read metrics.csv.

    Parameters
    ----------
    path
        A file with the columns `METRIC_COLUMNS`, as `collect` writes it, or with those of an older study:
        `KINDS_COLUMNS` or `OLD_COLUMNS`.

    Returns
    -------
    DataFrame
        The columns `METRIC_COLUMNS`; `seed` int64, `pretraining_seed` Int64 (NA for none), `value` float64 (NaN where
        the file has nothing), all others text.

    Raises
    ------
    InputError
        Naming the file and, where there is one, the line and the column.
    """
    header = _header(path)
    columns = header if header in (OLD_COLUMNS, KINDS_COLUMNS) else METRIC_COLUMNS
    table = CheckedTable(path, columns)
    for column in (name for name in CELL if name != "seed"):
        table.parse(column, filled, "text", "str")
    table.parse("seed", int, "a whole number", "int64")
    table.parse("status", one_of(STATUSES), f"one of {', '.join(STATUSES)}", "str")
    table.parse("split", one_of(SPLIT_VALUES), f"one of {', '.join(SPLIT_VALUES)}", "str")
    table.parse("measure", known_measure, "a measure of docs/measures.md", "str")
    table.parse("value", number_or_empty, "a finite number or nothing", "float64")
    table.parse("unit", filled, "text", "str")
    if "kind" in columns:
        table.parse("kind", one_of(("", *TASK_KINDS)), f"one of {', '.join(TASK_KINDS)}, or nothing", "str")
    if "recipe" in columns:
        table.parse("recipe", filled, "text", "str")
        table.parse("pretraining_seed", _whole_or_missing, "a whole number or nothing", "Int64")
    frame = with_kind(table.frame)
    _check_units(frame, table)
    _check_runs(frame, table)
    _check_models(frame, table.path)
    return frame


def _header(path: str | Path) -> tuple[str, ...]:
    """Return the names in the first line of a CSV file; nothing if it cannot be read, which `CheckedTable` says."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            return tuple(next(csv.reader(stream), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()


def with_kind(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the metrics of a study, however old, with all columns of `METRIC_COLUMNS`.

    Where they do not say the kind of their tasks, it is the one that each task's measures tell. This is the one place
    where measures decide what kind a task is: a study that was recorded without it has no other sign. Where they do not
    say how models were pretrained, no model was pretrained here: each is a recipe of its own.
    """
    if "kind" not in metrics:
        kinds = metrics.groupby("task")["measure"].agg(lambda names: kind_of(set(names)))
        metrics = metrics.assign(kind=metrics["task"].map(kinds))
    if "recipe" not in metrics:
        none = pd.Series(pd.NA, index=metrics.index, dtype="Int64")
        metrics = metrics.assign(recipe=metrics["model"], pretraining_seed=none)
    return metrics[list(METRIC_COLUMNS)]


def kinds_of(metrics: pd.DataFrame) -> dict[str, str]:
    """Return the kind of each task, in the order of the file; empty text if it is not known."""
    return {str(task): str(kind) for task, kind in metrics.drop_duplicates("task")[["task", "kind"]].to_numpy()}


def _check_units(frame: pd.DataFrame, table: CheckedTable) -> None:
    """Check that each measure has the unit of the registry."""
    units = {name: measure(name).unit for name in frame["measure"].unique()}
    wrong = np.flatnonzero((frame["unit"] != frame["measure"].map(units)).to_numpy())
    if wrong.size:
        row = int(wrong[0])
        raise table.refuse(row, "unit", f"{units[table.text['measure'][row]]} for {table.text['measure'][row]}")


def _check_runs(frame: pd.DataFrame, table: CheckedTable) -> None:
    """Check that a run is one cell with one status, has each number once, and a test score if it completed."""
    first = frame.drop_duplicates("run").set_index("run")
    told = [name for name in ("kind", *PRETRAINED) if name in table.text]
    for column in [*BLOCK, "strategy", "seed", "status", *told]:
        own = frame["run"].map(first[column])
        alike = (frame[column] == own) | (frame[column].isna() & own.isna())
        wrong = np.flatnonzero(~alike.fillna(False).to_numpy(dtype=bool))
        if wrong.size:
            row = int(wrong[0])
            run = table.text["run"][row]
            raise table.refuse(row, column, f"{first.loc[run, column]}, as on the other lines of run {run}")
    for columns, what in ((["run", "split", "measure"], "measure"), ([*BLOCK, "strategy", "seed"], "run")):
        rows = frame if what == "measure" else first.reset_index()
        if (twice := rows.duplicated(columns)).any():
            values = rows[twice][columns].iloc[0]
            raise InputError(f"{table.path}: expected each {what} once, found two of {', '.join(map(str, values))}")
    tested = frame[(frame["split"] == "test") & (frame["measure"] == "score")]
    if lost := set(first.index) - set(tested["run"]):
        raise InputError(f"{table.path}: run {min(lost)}: expected a line with split test and measure score")
    if (empty := tested[(tested["status"] == "completed") & tested["value"].isna()]).size:
        raise InputError(
            f"{table.path}: run {empty['run'].iloc[0]}: completed, but the value of its test score is empty"
        )


def _check_models(frame: pd.DataFrame, path: str | Path) -> None:
    """Check that a model is of one recipe and pretraining seed, and that no two models are of the same."""
    models = frame[["model", *PRETRAINED]].drop_duplicates()
    if (twice := models.duplicated("model")).any():
        raise InputError(
            f"{path}: expected one recipe and pretraining seed of the model {models.loc[twice, 'model'].iloc[0]}"
        )
    if (same := models.duplicated(list(PRETRAINED))).any():
        recipe, seed = models.loc[same, list(PRETRAINED)].iloc[0]
        what = "without a pretraining seed" if pd.isna(seed) else f"with the pretraining seed {seed}"
        raise InputError(f"{path}: expected one model of the recipe {recipe} {what}, found two")


def runs_of(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each run, in the order of the file: id, block, strategy, seed, status, pretraining."""
    columns = ["run", *BLOCK, "strategy", "seed", "status", *PRETRAINED]
    return with_kind(metrics).drop_duplicates("run")[columns].reset_index(drop=True)


def values_of(metrics: pd.DataFrame, split: str, name: str) -> pd.Series[float]:
    """Return one measure by run id, of the completed runs that have it; `failed` is also of the other runs."""
    rows = metrics[(metrics["split"] == split) & (metrics["measure"] == name) & metrics["value"].notna()]
    if name != "failed":
        rows = rows[rows["status"] == "completed"]
    return rows.set_index("run")["value"]


def learned_nothing(score: Any, majority: Any) -> Any:
    """Tell whether a score is not worth calling learned: at most 5 % of the way from the majority class's to 1.

    The share is `LEAST_LEARNED`. NaN is not known to have learned nothing.

    Parameters
    ----------
    score, majority
        Fractions, or columns of them.
    """
    return score <= majority + LEAST_LEARNED * (1.0 - majority)


def check_counts(path: str | Path, sums: Mapping[str, Array], *, signed: bool = False) -> None:
    """Refuse contributions (N,) of test examples that are not finite, or are below 0; `signed` hits may be."""
    bounded = ("weight",) if signed else ("hit", "weight")
    if any(not np.isfinite(column).all() for column in sums.values()) or any(
        (sums[name] < 0).any() for name in bounded if name in sums
    ):
        raise InputError(f"{path}: expected finite {' and '.join(f'{name}s' for name in sums)} of at least 0")
