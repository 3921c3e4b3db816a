"""Values of runs on resampled test examples, for every measure that is made of scores on kept sets."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from maskbench.analysis import statistics
from maskbench.analysis.bootstrap import generator, resampled_scores
from maskbench.analysis.metrics import BLOCK, OUTCOME_COLUMNS, OUTCOME_TYPES, TEST, Array, check_counts, score_of
from maskbench.config.conditions import ALIGNED, CONFLICTING, DISTRACTOR, PERTURBATIONS
from maskbench.config.measures import measure
from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd

    from maskbench.analysis.contrasts import Evidence, Values

Part = tuple[tuple[str, float], ...]
"""Sets on the same examples, each with the weight of its score."""

_FIXED: dict[str, Part] = {
    "score": ((TEST, 100.0),),
    "distractor_drop": ((TEST, 100.0), (DISTRACTOR, -100.0)),
    "cue_reliance": ((ALIGNED, 100.0), (CONFLICTING, -100.0)),
    "aligned_score": ((ALIGNED, 100.0),),
    "conflicting_score": ((CONFLICTING, 100.0),),
    "forgetting": (("1-1", 100.0), ("2-1", -100.0)),
    "backward_transfer": (("1-1", -100.0), ("2-1", 100.0)),
}
_DROPS = {"perturbation_drop": PERTURBATIONS[:3], "masking_drop": PERTURBATIONS[3:]}
_OF_OTHER_TASK = ("forgetting", "backward_transfer")


def recipe(name: str, sets: Sequence[str]) -> list[Part]:
    """Return what a measure is the sum of, in points; nothing if it is not made of scores on kept sets.

    Parameters
    ----------
    name
        The measure.
    sets
        Sets that a run was tested on.
    """
    base, _, wanted = name.partition(":")
    if base in _DROPS:
        found = [one for one in sets if one.partition("-")[0] in _DROPS[base] and wanted in ("", one)]
        parts: list[Part] = [((TEST, 100.0 / len(found)), (one, -100.0 / len(found))) for one in found]
    else:
        parts = [_FIXED[name]] if name in _FIXED else []
    return parts if all(one in sets for part in parts for one, _ in part) else []


class Outcomes:
    """outcomes.parquet: what every run did with every test example, in each set that it was tested on.

    Parameters
    ----------
    path
        The file, as `collect` writes it.
    resamples, seed
        Of the bootstrap.
    """

    def __init__(self, path: Path, resamples: int, seed: int) -> None:
        self.path, self.resamples, self.seed = path, resamples, seed
        self.examples: dict[str, int] = {}
        """By measure, the smallest number of examples that were drawn from."""

    @cached_property
    def _table(self) -> tuple[dict[str, dict[str, slice]], np.ndarray[Any, Any], Array, Array]:
        """Rows of each run and set, and the columns example, hit and weight."""
        try:
            table = pq.read_table(self.path, columns=list(OUTCOME_COLUMNS)).cast(pa.schema(OUTCOME_TYPES))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise InputError(
                f"{self.path}: expected a parquet file with {', '.join(OUTCOME_COLUMNS)} ({error})"
            ) from None
        table = table.unify_dictionaries().combine_chunks()
        columns = {name: table[name].combine_chunks() for name in ("run", "set")}
        code = {name: column.indices.to_numpy() for name, column in columns.items()}
        names = {name: column.dictionary.to_pylist() for name, column in columns.items()}
        example, hit, weight = (table[name].to_numpy() for name in ("example", "hit", "weight"))
        key = code["run"].astype(np.int64) * max(len(names["set"]), 1) + code["set"]
        if not ((np.diff(key) > 0) | ((np.diff(key) == 0) & (np.diff(example) > 0))).all():
            order = np.lexsort((example, key))
            key, example, hit, weight = key[order], example[order], hit[order], weight[order]
        check_counts(self.path, hit, weight)
        bounds = np.append(np.flatnonzero(np.diff(key, prepend=-1)), len(key))
        rows: dict[str, dict[str, slice]] = {}
        for start, end in pairwise(bounds):
            run, kept = divmod(int(key[start]), len(names["set"]))
            rows.setdefault(names["run"][run], {})[names["set"][kept]] = slice(start, end)
        return rows, example, hit, weight

    def resampled(self, name: str, runs: pd.DataFrame, recorded: pd.Series[float]) -> dict[str, Array]:
        """Return a measure of runs on resamples of their test examples; the sets of a run share the drawn examples.

        Parameters
        ----------
        name
            The measure.
        runs
            Runs with the column run and those of `BLOCK`; what is compared, within a block, has the same examples.
        recorded
            The measure as recorded, in points, by run: outcomes must add up to it.

        Returns
        -------
        dict
            By run id, in points, shape (resamples,); a run without the sets is left out.
        """
        rows = self._table[0]
        groups: dict[tuple[str, tuple[tuple[Part, bytes], ...]], list[str]] = {}
        first: dict[tuple[str, ...], tuple[str, tuple[tuple[Part, bytes], ...]]] = {}
        for run, *block in runs[["run", *BLOCK]].itertuples(index=False):
            task, regime, sets = block[0], block[2], rows.get(run, {})
            if name == "score" and TEST not in sets:
                raise InputError(f"{self.path}: run {run} completed, but has no rows here; collect again")
            if made := tuple((part, self._shared(run, part)) for part in recipe(name, list(sets))):
                other, expected = first.setdefault(tuple(block), (run, made))
                if made != expected:
                    raise InputError(
                        f"{self.path}: runs {other} and {run} were not tested on the same examples; train them again"
                    )
                owner = regime.partition("-")[2] if name in _OF_OTHER_TASK else task
                groups.setdefault((owner, made), []).append(run)
        found: dict[str, Array] = {}
        for (owner, made), members in groups.items():
            found.update(self._of_group(name, owner, made, members, recorded))
        return found

    def _shared(self, run: str, part: Part) -> bytes:
        """Return the ids of the examples of a part: the test split may have more of them than a set made from it."""
        rows, example, _, _ = self._table
        return min((example[rows[run][kept]] for kept, _ in part), key=len).tobytes()

    def _of_group(
        self, name: str, owner: str, made: tuple[tuple[Part, bytes], ...], runs: list[str], recorded: pd.Series[float]
    ) -> dict[str, Array]:
        """Resample runs that were tested on the same examples."""
        total, exact = np.zeros((self.resamples, len(runs))), np.zeros(len(runs))
        for part, content in made:
            ids = np.frombuffer(content, dtype=np.int64)
            self.examples[name] = min(self.examples.get(name, len(ids)), len(ids))
            for kept, factor in part:
                hit, weight = self._matrix(kept, ids, runs)
                rng = generator(self.seed, "examples", owner)  # the same draws for every set
                total += factor * resampled_scores(hit, weight, self.resamples, rng)
                exact += factor * score_of(hit.sum(axis=1), weight.sum(axis=1))
        known = recorded.reindex(runs).to_numpy(dtype=float)
        if (wrong := np.flatnonzero(~np.isclose(exact, known, rtol=0.0, atol=1e-4))).size:
            run = int(wrong[0])
            raise InputError(
                f"{self.path}: run {runs[run]}: {name}: the outcomes add up to {exact[run]:.4f} points, recorded are "
                f"{known[run]:.4f}; outcomes and metrics are not of the same runs"
            )
        return dict(zip(runs, total.T, strict=True))

    def _matrix(self, kept: str, ids: np.ndarray[Any, Any], runs: list[str]) -> tuple[Array, Array]:
        """Return hits and weights on a set, shape (runs, examples)."""
        rows, example, hit, weight = self._table
        result = np.empty((2, len(runs), len(ids)))
        for index, run in enumerate(runs):
            place = rows[run][kept]
            found = np.searchsorted(example[place], ids)
            if (found >= place.stop - place.start).any() or (example[place][found] != ids).any():
                raise InputError(f"{self.path}: run {run}: the set {kept} lacks examples of the others; train it again")
            result[:, index] = hit[place][found], weight[place][found]
        return result[0], result[1]


class Resampler:
    """Means over seeds with their variance over seeds × test examples, or over seeds alone where nobody kept these.

    Parameters
    ----------
    outcomes
        None: all intervals are over seeds alone.
    values
        The numbers of the study.
    """

    def __init__(self, outcomes: Outcomes | None, values: Values) -> None:
        self.outcomes, self.values = outcomes, values

    def of(self, name: str, evidences: Iterable[Evidence]) -> dict[str, Array]:
        """Return, for the runs of some evidence, a measure on every resample, on its scale; empty without outcomes."""
        recorded = self.values.of(name)
        runs = {run for evidence in evidences for run in evidence.terms["run"]} & set(recorded.index)
        if self.outcomes is None or not runs:
            return {}
        table = self.values.runs[self.values.runs.index.isin(runs)]
        points = recorded * (100.0 if measure(name).unit == "fraction" else 1.0)
        sign = -1.0 if measure(name).better == "lower" else 1.0
        return {run: sign * value for run, value in self.outcomes.resampled(name, table, points).items()}

    def spread(self, evidence: Evidence, weights: Array, resampled: Array | None) -> statistics.Spread | None:
        """Return the mean over complete seeds and its variance; None without such a seed.

        Parameters
        ----------
        evidence
            The differences.
        weights
            Weight of each of its blocks.
        resampled
            The differences on resamples, as `on_resamples` gives them.
        """
        used, seeds = weights != 0, evidence.complete(weights)
        if not seeds.any():
            return None
        if resampled is None or self.outcomes is None:
            return statistics.spread(evidence.mean(weights))
        drawn = np.einsum("b,rbs->rs", weights[used], resampled[:, used][:, :, seeds])
        return statistics.spread(evidence.mean(weights), drawn, self.outcomes.examples[evidence.measure])
