"""Values of runs on resampled test examples, for every measure that examples contribute to."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maskbench.analysis.bootstrap import generator, resampled_sums
from maskbench.analysis.contributions import documents_of, recipe
from maskbench.analysis.few import Few
from maskbench.analysis.metrics import BLOCK, OUTCOME_COLUMNS, OUTCOME_TYPES, TEST, Array, check_counts
from maskbench.analysis.stream_sums import StreamSums, by_unit, design_effect, influence_of, share_of
from maskbench.config.conditions import CLEAN
from maskbench.config.measures import measure
from maskbench.config.measures.recipes import ALONE, ELSEWHERE
from maskbench.errors import InputError
from maskbench.kinds import score
from maskbench.kinds.score import Score

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from maskbench.config.measures.recipes import Summand

    Ids = np.ndarray[Any, Any]


class _Rows(NamedTuple):
    """Rows of some streams: where those of each run and stream are, and the columns example and those of sums."""

    place: dict[str, dict[str, slice]]
    example: Ids
    sums: dict[str, Array]


class Moved(NamedTuple):
    """What each of some texts moves a value by, in points, and the most that all of them together can."""

    by: Array
    unit: Ids
    """The number of the unit that each text is drawn with: its own, or that of its document or group."""
    most: float = 100.0


class Outcomes:
    """outcomes.parquet: what every test example added to the sums that measures are made of, run by run.

    Parameters
    ----------
    path
        The file, as `collect` writes it.
    resamples, seed
        Of the bootstrap.
    kinds
        The kind of each task, which says how its score is made. Of a task that is not among them, or whose kind is
        not known (empty text), the score is the sum of hits over the sum of weights: it was recorded when all were.
    """

    def __init__(self, path: Path, resamples: int, seed: int, kinds: Mapping[str, str] | None = None) -> None:
        self.path, self.resamples, self.seed, self.kinds = path, resamples, seed, kinds or {}
        self.examples: dict[str, int] = {}
        """By measure, the smallest number of examples that were drawn from."""
        self.influence: dict[str, dict[str, list[Moved]]] = {}
        """By measure and run, what examples move the value by, those of each set of texts apart: of shares, not of
        losses."""
        self._kept: tuple[frozenset[str], _Rows] | None = None

    def score_of(self, task: str) -> Score | None:
        """Return how the score of a task is made; None: as the sum of hits over the sum of weights."""
        kind = self.kinds.get(task)
        return score.of(kind) if kind else None

    def _refusal(self, error: Exception) -> InputError:
        return InputError(f"{self.path}: expected a parquet file with {', '.join(OUTCOME_COLUMNS)} ({error})")

    @cached_property
    def streams(self) -> dict[str, list[str]]:
        """The streams of each run, in the order of the file."""
        found: dict[str, dict[str, None]] = {}
        try:
            file = pq.ParquetFile(self.path)
            if lacking := set(OUTCOME_COLUMNS) - set(file.schema_arrow.names):
                raise ValueError(f"{', '.join(sorted(lacking))} missing")
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["run", "set"]).cast(pa.schema(OUTCOME_TYPES[:2]))
                for run, name in _pairs(table):
                    found.setdefault(run, {})[name] = None
        except (OSError, pa.ArrowException, ValueError) as error:
            raise self._refusal(error) from None
        return {run: list(names) for run, names in found.items()}

    def _rows(self, names: frozenset[str]) -> _Rows:
        """Read the rows of some streams; those that were read last are kept."""
        if self._kept is None or self._kept[0] != names:
            self._kept = (names, self._read(names))
        return self._kept[1]

    def _read(self, names: frozenset[str]) -> _Rows:
        try:
            wanted = pc.field("set").isin(sorted(names))
            more = [name for name in pq.read_schema(self.path).names if name not in OUTCOME_COLUMNS]
            table = pq.read_table(self.path, columns=[*OUTCOME_COLUMNS, *more], filters=wanted)
            table = table.cast(pa.schema([*OUTCOME_TYPES, *(pa.field(name, pa.float64()) for name in more)]))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise self._refusal(error) from None
        table = table.unify_dictionaries().combine_chunks()
        columns = {name: table[name].combine_chunks() for name in ("run", "set")}
        code = {name: column.indices.to_numpy() for name, column in columns.items()}
        texts = {name: column.dictionary.to_pylist() for name, column in columns.items()}
        example, sums = table["example"].to_numpy(), {name: table[name].to_numpy() for name in (*Score.sums, *more)}
        key = code["run"].astype(np.int64) * max(len(texts["set"]), 1) + code["set"]
        if not ((np.diff(key) > 0) | ((np.diff(key) == 0) & (np.diff(example) > 0))).all():
            order = np.lexsort((example, key))
            key, example, sums = key[order], example[order], {name: one[order] for name, one in sums.items()}
        check_counts(self.path, sums, signed=any(":" in name for name in names))
        bounds = np.append(np.flatnonzero(np.diff(key, prepend=-1)), len(key))
        place: dict[str, dict[str, slice]] = {}
        for start, end in pairwise(bounds):
            run, kept = divmod(int(key[start]), len(texts["set"]))
            place.setdefault(texts["run"][run], {})[texts["set"][kept]] = slice(start, end)
        return _Rows(place, example, sums)

    @cached_property
    def documents(self) -> dict[tuple[str, str], tuple[Ids, Ids]]:
        """By task and set whose texts come in documents: (N,) its examples, sorted, and (N,) the document of each."""
        pairs = ((run, name) for run, names in self.streams.items() for name in names if documents_of(name) in names)
        first: dict[tuple[str, str], str] = {}
        for run, name in pairs:
            first.setdefault((run.partition(".")[0], name), run)
        if not first:
            return {}
        rows = self._read(frozenset(documents_of(name) for _, name in first))
        places = {key: rows.place[run][documents_of(key[1])] for key, run in first.items()}
        return {key: (rows.example[place], rows.sums["hit"][place].astype(np.int64)) for key, place in places.items()}

    def units(self, owner: str, texts: str, ids: Ids) -> Ids:
        """Return (N,) the number of what each of N examples of a task's set is drawn with: its document, or itself."""
        if (owner, texts) not in self.documents:
            return np.arange(len(ids))
        example, document = self.documents[owner, texts]
        place = np.minimum(np.searchsorted(example, ids), len(example) - 1)
        unit: Ids = np.unique(document[place], return_inverse=True)[1]
        return unit

    def resampled(
        self, name: str, runs: pd.DataFrame, recorded: pd.Series[float], every: pd.DataFrame | None = None
    ) -> dict[str, Array]:
        """Return a measure of runs on resamples of their test examples; all streams of a run share the drawn examples.

        Parameters
        ----------
        name
            The measure.
        runs
            Runs with the columns run, strategy, seed and those of `BLOCK`; what is compared, within a block, has the
            same examples.
        recorded
            The measure as recorded, by run, fractions in points: contributions must add up to it.
        every
            All runs of the study: among them is the one that a joint run is compared with; None: `runs`.

        Returns
        -------
        dict
            By run id, fractions in points, shape (resamples,); a run without the contributions is left out.
        """
        alone = _alone(runs if every is None else every)
        groups: dict[tuple[str, tuple[Summand, ...]], list[str]] = {}
        for run, strategy, seed, *block in runs[["run", "strategy", "seed", *BLOCK]].itertuples(index=False):
            task, model, regime, _, size = block
            known = self.streams.get(run, [])
            if name == "score" and TEST not in known:
                raise InputError(f"{self.path}: run {run} completed, but has no rows here; collect again")
            other = alone.get((task, model, strategy, size, seed))
            more = [f"{ALONE}{TEST}"] if TEST in self.streams.get(other or "", []) else []
            if found := recipe(name, [*known, *more]):
                owner = regime.partition("-")[2] if found[0].other_task else task
                groups.setdefault((owner, tuple(found[1])), []).append(run)
        partner = {run: alone.get(tuple(key)) or run for run, *key in runs[["run", *_ALONE]].itertuples(index=False)}
        block_of = dict(zip(runs["run"], zip(*(runs[column] for column in BLOCK), strict=True), strict=True))
        made: dict[str, Array] = {}
        self.influence[name] = {}
        for (owner, parts), members in groups.items():
            group = _Group(self, name, owner, parts, members, partner)
            for same in group.alike(block_of):
                made.update(same.values(recorded))
        return made

    def few(self, name: str, blocks: Sequence[tuple[float, list[tuple[str, float]]]]) -> Few | None:
        """Return how many texts speak for either arm of a contrast by themselves; None of a measure that is no share.

        Parameters
        ----------
        name
            A measure that was resampled.
        blocks
            For each block its weight, and the runs of the contrast with the weights of their values.
        """
        influence = self.influence.get(name, {})
        counts: list[tuple[float, float, float, float]] = []
        for factor, terms in blocks:
            moved = [influence[run] for run, _ in terms if run in influence]
            if len(moved) < len(terms) or len({len(one) for one in moved}) != 1:
                return None
            weights = np.sign(factor) * np.array([weight for _, weight in terms])
            for parts in zip(*moved, strict=True):
                if len({len(part.by) for part in parts}) != 1:
                    return None
                mean, whole = weights @ np.stack([part.by for part in parts]), parts[0].most / len(parts[0].by)
                ahead, behind = int((mean >= whole / 2).sum()), int((mean <= -whole / 2).sum())
                alike = design_effect(mean, parts[0].unit)
                counts.append((ahead / alike, behind / alike, len(mean) / alike, abs(factor) * whole * alike))
        return Few(*map(np.array, zip(*counts, strict=True))) if counts else None


_ALONE = ["task", "model", "strategy", "train_size", "seed"]


def _alone(runs: pd.DataFrame) -> dict[tuple[Any, ...], str]:
    """Return the run of each task alone on clean data, by what it shares with a run of two tasks."""
    table = runs[(runs["regime"] == "single") & (runs["condition"] == CLEAN.name)]
    return {tuple(key): run for run, *key in table[["run", *_ALONE]].itertuples(index=False)}


def _pairs(table: pa.Table) -> Iterator[tuple[str, str]]:
    """Yield each pair of run and stream of a table once, in its order."""
    columns = [table[name].combine_chunks() for name in ("run", "set")]
    columns = [column.chunk(0) if isinstance(column, pa.ChunkedArray) else column for column in columns]
    run, kept = (column.indices.to_numpy() for column in columns)
    first = np.flatnonzero((np.diff(run, prepend=-1) != 0) | (np.diff(kept, prepend=-1) != 0))
    names, sets = (column.dictionary.to_pylist() for column in columns)
    yield from ((names[run[index]], sets[kept[index]]) for index in first)


class _Group:
    """Runs whose value of a measure is made of the same streams."""

    def __init__(
        self,
        outcomes: Outcomes,
        name: str,
        owner: str,
        parts: tuple[Summand, ...],
        runs: list[str],
        partner: dict[str, str],
        ids: list[Ids] | None = None,
    ) -> None:
        self.outcomes, self.name, self.owner, self.parts, self.runs = outcomes, name, owner, parts, runs
        self.partner = partner
        names = frozenset(stream.removeprefix(ALONE) for part in parts for stream, _ in part.streams)
        self.rows = outcomes._rows(names)
        self.score = outcomes.score_of(owner)
        self.ids = ids or []
        """Ids of the examples of each part, in its order."""

    def alike(self, block_of: dict[str, tuple[Any, ...]]) -> Iterator[_Group]:
        """Yield groups of runs that were tested on the same examples.

        Raises
        ------
        InputError
            If runs of one block were not.
        """
        groups: dict[tuple[bytes, ...], list[str]] = {}
        first: dict[tuple[Any, ...], tuple[str, tuple[bytes, ...]]] = {}
        for run in self.runs:
            content = tuple(self._complete(run, part) for part in self.parts)
            other, expected = first.setdefault(block_of[run], (run, content))
            if content != expected:
                raise InputError(
                    f"{self.outcomes.path}: runs {other} and {run} were not tested on the same examples; "
                    "train them again"
                )
            groups.setdefault(content, []).append(run)
        for content, members in groups.items():
            ids = [
                np.frombuffer(one, dtype=np.int64) if one else self._union(part, members)
                for one, part in zip(content, self.parts, strict=True)
            ]
            yield _Group(self.outcomes, self.name, self.owner, self.parts, members, self.partner, ids)

    def _place(self, run: str, stream: str) -> slice:
        """Return where the rows of a stream are; a run may lack one that is counted besides."""
        owner = self.partner[run] if stream.startswith(ALONE) else run
        return self.rows.place.get(owner, {}).get(stream.removeprefix(ALONE), slice(0, 0))

    def _complete(self, run: str, part: Summand) -> bytes:
        """Return the ids of a part whose streams have every example (a set may have fewer than the test split)."""
        if any(":" in stream for stream, _ in part.streams):
            return b""
        return min((self.rows.example[self._place(run, stream)] for stream, _ in part.streams), key=len).tobytes()

    def _union(self, part: Summand, runs: list[str]) -> Ids:
        """Return all examples that add something to a part in any of the runs."""
        found = [self.rows.example[self._place(run, stream)] for stream, _ in part.streams for run in runs]
        return np.unique(np.concatenate(found))

    def _matrix(self, stream: str, ids: Ids) -> Array:
        """Return what examples contribute to the sums of a stream, shape (k, runs, examples)."""
        names = Score.sums if ":" in stream or self.score is None else self.score.sums
        if lacking := [name for name in names if name not in self.rows.sums]:
            raise InputError(f"{self.outcomes.path}: expected the column {lacking[0]}, which a score is made of")
        result = np.zeros((len(names), len(self.runs), len(ids)))
        for index, run in enumerate(self.runs):
            place = self._place(run, stream)
            example, sums = self.rows.example[place], [self.rows.sums[name][place] for name in names]
            if ":" in stream:
                columns = np.searchsorted(ids, example)
                for one, values in zip(result, sums, strict=True):
                    one[index, columns] = values
                continue
            found = np.searchsorted(example, ids)
            if (found >= len(example)).any() or (example[found] != ids).any():
                raise InputError(
                    f"{self.outcomes.path}: run {run}: the set {stream} lacks examples of the others; train it again"
                )
            for one, values in zip(result, sums, strict=True):
                one[index] = values[found]
        return result

    def values(self, recorded: pd.Series[float]) -> dict[str, Array]:
        """Return the measure of each run on every resample (resamples,), and note what each example moves it by.

        Raises
        ------
        InputError
            If the contributions do not add up to what was recorded.
        """
        outcomes, shape = self.outcomes, (self.outcomes.resamples, len(self.runs))
        total, exact = np.zeros(shape), np.zeros(len(self.runs))
        moved: list[Any] = [0.0 for _ in self.ids]
        units: list[Ids] = []
        for index, (part, ids) in enumerate(zip(self.parts, self.ids, strict=True)):
            other = next((stream for stream, _ in part.streams if stream.startswith(ELSEWHERE)), None)
            # training texts are no test texts: their ids say nothing about documents
            trained = any(stream.startswith("train:") for stream, _ in part.streams)
            unit = np.arange(len(ids)) if trained else outcomes.units(self.owner, other or TEST, ids)
            size = int(unit.max(initial=-1)) + 1
            units.append(unit)
            outcomes.examples[self.name] = min(outcomes.examples.get(self.name, size), size)
            drawn, known = StreamSums(part.how), StreamSums(part.how)
            for stream, factor in part.streams:
                single = self._matrix(stream, ids)
                sums = np.stack([by_unit(side, unit, size) for side in single])
                value = share_of if ":" in stream or self.score is None else self.score.value
                # the same draws for every stream of the same texts
                rng = generator(outcomes.seed, "examples", self.owner, *([other] if other else []))
                drawn.add(factor, resampled_sums(sums, outcomes.resamples, rng), value)
                known.add(factor, sums.sum(axis=2)[:, None], value)
                if self._of_shares():
                    moved[index] = moved[index] + factor * influence_of(single[0], single[1])
            total += drawn.value
            exact += known.value[0]
        told = recorded.reindex(self.runs).to_numpy(dtype=float)
        made = recipe(self.name, [stream for part in self.parts for stream, _ in part.streams])
        assert made is not None
        if made[0].offset:
            total += told - exact
        elif (wrong := np.flatnonzero(~np.isclose(exact, told, rtol=0.0, atol=1e-4))).size:
            run = int(wrong[0])
            told_in = "points" if measure(self.name).unit in ("fraction", "points") else measure(self.name).unit
            raise InputError(
                f"{outcomes.path}: run {self.runs[run]}: {self.name}: the outcomes add up to {exact[run]:.4f} "
                f"{told_in}, recorded are {told[run]:.4f}; outcomes and metrics are not of the same runs"
            )
        self._note_influence(moved, units)
        return dict(zip(self.runs, total.T, strict=True))

    def _note_influence(self, moved: list[Array], units: list[Ids]) -> None:
        """Keep what each example moves a share by, and in which unit of resampling each is, part by part."""
        if measure(self.name).unit not in ("fraction", "points") or any(part.how != "ratio" for part in self.parts):
            return
        if not self._of_shares():
            return
        if any(stream.startswith(ELSEWHERE) for part in self.parts for stream, _ in part.streams):
            # each part has texts of its own, whatever their numbers are
            most = [sum(abs(factor) for _, factor in part.streams) for part in self.parts]
            of_run = [list(map(Moved, one, units, most)) for one in zip(*moved, strict=True)]
        elif all(np.array_equal(ids, self.ids[0]) for ids in self.ids):
            of_run = [[Moved(by, units[0])] for by in np.sum(moved, axis=0)]
        else:
            return
        self.outcomes.influence[self.name].update(zip(self.runs, of_run, strict=True))

    def _of_shares(self) -> bool:
        """Tell whether all streams are shares: hits over weights."""
        streams = [stream for part in self.parts for stream, _ in part.streams]
        return self.score is None or self.score.share or all(":" in stream for stream in streams)
