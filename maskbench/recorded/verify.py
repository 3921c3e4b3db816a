"""Redo some cells of a recorded study, and compare every number with the record."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from maskbench.analysis.metrics import BLOCK
from maskbench.config.measures import measure
from maskbench.data.manifests import EncodedManifest
from maskbench.errors import InputError
from maskbench.io.files import canonical, sha256_text
from maskbench.models.fetched import model_hash
from maskbench.records.probe import ProbeRecord
from maskbench.records.run import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from maskbench.experiment.jobs import Jobs
    from maskbench.experiment.layout import Layout
    from maskbench.recorded.study import Elsewhere, RecordedStudy
    from maskbench.records.manifest import RunEntry, StudyManifest

SPREAD = 3.0
"""On another kind of machine a number may differ from the record by so many standard deviations over the seeds."""

SHOWN = 5
"""Most numbers of a cell that are named one by one."""

Key = tuple[str, str]
"""Split and measure of a number."""


def drawn(runs: Sequence[str], seed: int, share: float) -> list[str]:
    """Return a random share of some runs, at least one: those with the lowest hashes of seed and name.

    Parameters
    ----------
    runs
        All runs of a record, in any order.
    seed
        Another seed draws other runs.
    share
        In per cent, above 0 and at most 100.

    Raises
    ------
    InputError
        If there are no runs, or the share is none.
    """
    if not 0.0 < share <= 100.0:
        raise InputError(f"SHARE: expected per cent above 0 and at most 100, got {share:g}")
    if not runs:
        raise InputError("expected a record with runs, found none")
    count = max(1, round(len(runs) * share / 100.0))
    return sorted(sorted(runs, key=lambda run: sha256_text(f"{seed} {run}"))[:count])


@dataclass
class Redone:
    """What came of a cell that was redone."""

    run: str
    exact: bool
    """Whether the machine is of the same kind, so that every number must be the same to the last bit."""
    compared: int = 0
    identical: int = 0
    unknown: int = 0
    """Numbers that differ and have one seed in the record, which tells nothing of their noise."""
    beyond: list[str] = field(default_factory=list)
    """What is not as the record says, in words."""

    @property
    def rule(self) -> str:
        """The rule that was applied."""
        return "bit-identical" if self.exact else f"within {SPREAD:g} SD"

    @property
    def line(self) -> str:
        """A line of the table."""
        verdict = "DIFFERS" if self.beyond else "ok"
        unknown = f", {self.unknown} without noise to judge by" if self.unknown else ""
        return f"{verdict:<8}{self.rule:<15}{self.identical:>5} of {self.compared} identical{unknown}  {self.run}"


def outdated(study: RecordedStudy, jobs: Jobs, runs: Sequence[str]) -> list[str]:
    """Return a line for each hash of code or parameters that is not that of the record any more."""
    entries = {entry.run: entry for entry in study.manifest.records}
    found: dict[str, list[str]] = {}
    for run in runs:
        cell, entry = jobs.cells[run], entries[run]
        parameters = sha256_text(canonical(cell.model_dump(mode="json")))
        probing = entry.probes.code if entry.probes else None
        pairs = {
            "the code that trains": (entry.code, jobs.code_of(cell)),
            "the code that probes": (probing, jobs.probe_code_of(cell) if probing else None),
            "the parameters": (entry.parameters_hash, parameters),
        }
        for what, (there, here) in pairs.items():
            if there != here:
                found.setdefault(what, []).append(f"{run}: record {there}, here {here}")
    return [
        f"{what} of {len(lines)} of {len(runs)} drawn cells differ from the record ({lines[0]}); check out a commit "
        "that has them, or make the record anew"
        for what, lines in found.items()
    ]


def other_data(study: RecordedStudy, layout: Layout, jobs: Jobs, runs: Sequence[str]) -> list[str]:
    """Return a line if text or models that were made here are not those of the record."""
    entries = {entry.run: entry.data for entry in study.manifest.records}
    lines = []
    for run in runs:
        cell, there = jobs.cells[run], entries[run]
        about = EncodedManifest.read(layout.encoded(cell.task, cell.model, cell.condition.name).parent)
        here = {
            "prepared": about.prepared,
            "encoded": about.hash,
            "model": model_hash(layout.model_source(cell.model).parent),
        }
        lines += [
            f"{run}: {name}: record {getattr(there, name)[:16]}, here {digest[:16]}"
            for name, digest in here.items()
            if digest != getattr(there, name)
        ]
    if not lines:
        return []
    return [f"the data of {len(lines)} hashes of drawn cells differ from the record ({lines[0]})"]


def same_machine(manifest: StudyManifest, entry: RunEntry, record: Record) -> bool:
    """Tell whether a run was redone on the kind of machine that it was made on, with the same packages.

    On a card cells may share a stack with others than before, which changes the last digits: never there.
    """
    here = record.environment
    packages = {"python": here.python, **here.packages}
    known = {**manifest.packages, **entry.packages}
    names = ("device", "device_name", "precision", "attention", "threads")
    alike = all(getattr(entry, name) == getattr(here, name) for name in names)
    return alike and here.device == "cpu" and all(known.get(name) == version for name, version in packages.items())


def numbers_of(record: Record, probes: ProbeRecord | None) -> dict[Key, float | None]:
    """Return what a run measured itself and what does not depend on how busy its machine was."""
    every = [*record.metrics, *(probes.metrics if probes else [])]
    return {(item.split, item.measure): item.value for item in every if _comparable(item.measure)}


def _comparable(name: str) -> bool:
    return not measure(name).of_machine and not measure(name).derived


class Noise:
    """How much the numbers of a record vary over the seeds of a cell.

    Parameters
    ----------
    study
        With its record.
    """

    def __init__(self, study: RecordedStudy) -> None:
        rows = study.metrics[study.metrics["measure"].map(_comparable)]
        cell = [*BLOCK, "strategy"]
        self.values: dict[str, dict[Key, float | None]] = {}
        for run, split, name, value in rows[["run", "split", "measure", "value"]].itertuples(index=False, name=None):
            self.values.setdefault(run, {})[split, name] = None if math.isnan(value) else float(value)
        self._sd = rows.groupby([*cell, "split", "measure"], observed=True)["value"].std()
        firsts = rows.drop_duplicates("run").set_index("run")[cell]
        self._cell = {str(run): tuple(about) for run, about in zip(firsts.index, firsts.to_numpy(), strict=True)}

    def sd(self, run: str, key: Key) -> float:
        """Return the standard deviation of a number over the seeds of a run's cell; NaN with one seed."""
        return float(self._sd.get((*self._cell[run], *key), math.nan))


def compare(run: str, exact: bool, here: Mapping[Key, float | None], status: tuple[str, str], noise: Noise) -> Redone:
    """Compare the numbers of a cell with those of the record.

    Parameters
    ----------
    run
        The cell.
    exact
        Whether they must be the same.
    here
        Its numbers now.
    status
        What became of the run in the record, and now.
    noise
        Of the record.
    """
    found = Redone(run, exact)
    if status[0] != status[1]:
        found.beyond.append(f"status: record {status[0]}, here {status[1]}")
    there = noise.values[run]
    for key in sorted({*there, *here}):
        name = f"{key[1]} ({key[0]})"
        if there.get(key) is here.get(key) is None:
            continue  # a run that failed has a row without a number in the record, and none in its own
        if key not in there or key not in here:
            found.beyond.append(f"{name}: only {'here' if key in here else 'in the record'}")
            continue
        one, other = there[key], here[key]
        found.compared += 1
        if one == other:
            found.identical += 1
        elif exact or one is None or other is None:
            found.beyond.append(f"{name}: record {one!r}, here {other!r}")
        elif math.isnan(sd := noise.sd(run, key)):
            found.unknown += 1
        elif abs(one - other) > SPREAD * sd:
            found.beyond.append(f"{name}: record {one:.6g}, here {other:.6g}, SD over the seeds {sd:.3g}")
    return found


def results(study: RecordedStudy, layout: Layout, runs: Sequence[str]) -> Iterator[Redone]:
    """Yield what came of each cell that was redone.

    Raises
    ------
    InputError
        If one was not.
    """
    entries, noise = {entry.run: entry for entry in study.manifest.records}, Noise(study)
    for run in runs:
        record = Record.read(layout.record(run))
        probes = ProbeRecord.read(layout.probe_record(run)) if study.jobs.probes else None
        exact = same_machine(study.manifest, entries[run], record)
        yield compare(run, exact, numbers_of(record, probes), (entries[run].status, record.status), noise)


def verify(elsewhere: Elsewhere, seed: int, share: float) -> list[str]:
    """Redo a random share of a record's cells in a folder of their own, print a table, and return what is wrong.

    Parameters
    ----------
    elsewhere
        The study, and where to work.
    seed
        Of the draw.
    share
        Of the record's cells, in per cent.

    Raises
    ------
    InputError
        If code, parameters or data are not those of the record, or cells could not be redone.
    """
    study = elsewhere.study
    if not study.runs:
        raise InputError(f"{study.layout.folder}: expected a record with runs, found none; SEED draws from them")
    runs = drawn(sorted(study.runs), seed, share)
    if gone := [run for run in runs if run not in study.jobs.cells]:
        raise InputError(f"{study.file}: the record has {gone[0]}, which this configuration does not plan")
    jobs = elsewhere.restrict(runs)
    if lines := outdated(study, jobs, runs):
        raise InputError(*lines)
    print(f"{len(runs)} of {len(study.runs)} cells drawn with seed {seed}; with what they need, {len(jobs.cells)}")
    if not elsewhere.make(elsewhere.inputs(jobs)):
        raise InputError("the data of the drawn cells could not be made; the lines above say why")
    if lines := other_data(study, elsewhere.layout, jobs, runs):
        raise InputError(*lines)
    if not elsewhere.make([elsewhere.layout.index(name) for name in jobs.by_id]):
        raise InputError("not all of the drawn cells could be redone; the lines above say why")
    found = list(results(study, elsewhere.layout, runs))
    print(*table(found), sep="\n")
    return [f"{item.run}: {len(item.beyond)} numbers differ from the record" for item in found if item.beyond]


def table(found: Sequence[Redone]) -> list[str]:
    """Return the table of what was compared, the differences below each cell that has some, and a summary."""
    lines = []
    for item in found:
        lines.append(item.line)
        lines += [f"         {words}" for words in item.beyond[:SHOWN]]
        if len(item.beyond) > SHOWN:
            lines.append(f"         and {len(item.beyond) - SHOWN} more")
    rules: Counter[Any] = Counter(item.rule for item in found)
    compared = sum(item.compared for item in found)
    lines.append(
        f"{len(found)} cells, {compared} numbers ({', '.join(f'{rule}: {count}' for rule, count in rules.items())}): "
        f"{sum(item.identical for item in found)} identical, {sum(len(item.beyond) for item in found)} differ"
    )
    return lines
