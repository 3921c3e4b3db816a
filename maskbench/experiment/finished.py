"""What of a study is done: a cell is finished if its records say what they would say if they were made now."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench.config.tuning import is_tuned
from maskbench.data.lexicons import words_hash
from maskbench.data.manifests import EncodedManifest
from maskbench.errors import InputError
from maskbench.experiment.cell import Cell
from maskbench.experiment.jobs import ENCODED_SETS, Job, Jobs, Member
from maskbench.experiment.layout import Layout
from maskbench.io.files import canonical, read_json, sha256_file, sha256_text
from maskbench.models.fetched import model_hash

NOT_KEPT = "models were not kept (keep_models: true)"
NO_ALONG = "weights along the way were not kept (probe: trajectory)"
FORCED = "the call forces it (--forcerun, --forceall, --force)"
"""Why a finished cell is trained again."""


class Keys:
    """Hashes of all that a training or a probe depends on; records have them.

    Parameters
    ----------
    jobs
        All jobs of the experiment.
    layout
        Where things are.
    changing
        Manifests that are about to be made anew: their content is not known yet.
    prepared
        Hashes of prepared text by those of what was encoded of it, in the place of the ones here. The former are of
        files, which other versions of libraries write otherwise, the latter of content.
    """

    def __init__(
        self,
        jobs: Jobs,
        layout: Layout,
        changing: Collection[Path] = (),
        prepared: Mapping[str, str] | None = None,
    ) -> None:
        self.jobs, self.layout, self.changing, self.prepared = jobs, layout, changing, prepared or {}
        self._data: dict[Path, Any] = {}
        self._trainings: dict[str, str | None] = {}

    def _of(self, manifest: Path) -> Any:
        """Return what identifies the content of a manifest's folder; None if it is not there or about to change."""
        if manifest not in self._data:
            try:
                self._data[manifest] = None if manifest in self.changing else self._read(manifest)
            except (InputError, KeyError, TypeError):
                self._data[manifest] = None  # the code that reads its content will say what is wrong
        return self._data[manifest]

    def _read(self, manifest: Path) -> Any:
        kind, _ = self.layout.parse(manifest)
        if kind == "encoded":
            about = EncodedManifest.read(manifest.parent)
            return {"encoded": about.hash, "prepared": self.prepared.get(about.hash, about.prepared)}
        if kind == "model_source":
            return model_hash(manifest.parent)
        if kind == "lexicon":
            return words_hash(manifest.parent)
        assert kind == "reference", kind
        found = read_json(manifest)
        kept = {name: found[name] for name in ("code", "data", "examples", "layers", "notes")}
        return kept | {"masked_lm": found["masked_lm"] is None}

    def training(self, cell: Cell) -> str | None:
        """Return the key of a cell's training; None if its data, or its tuned learning rate, are not there yet."""
        if cell.run not in self._trainings:
            self._trainings[cell.run] = self._training(cell)
        return self._trainings[cell.run]

    def _training(self, cell: Cell) -> str | None:
        if not self.jobs.has_rate(cell) or (is_tuned(cell.strategy.name) and self.layout.choices in self.changing):
            return None
        member, before = self.jobs.member_of[cell.run], self.jobs.before(cell)
        data = [self._of(self.layout.encoded(one.task, one.model, one.condition.name)) for one in member]
        model = self._of(self.layout.model_source(cell.model))
        start = None if before is None else self.training(before)
        words = {name: self._of(self.layout.lexicon(name)) for name in cell.strategy.lexicons}
        if model is None or None in data or None in words.values() or (before is not None and start is None):
            return None
        about = {
            "cells": [one.model_dump(mode="json") for one in member],
            "run": cell.run,
            "code": self.jobs.code_of(cell),
            "data": data,
            "model": model,
            "lexicons": words,
            "start": start,
            "points": self.jobs.experiment.probes.conflict_points if len(member) > 1 else None,
        }
        return sha256_text(canonical(about))[:16]

    def probing(self, cell: Cell) -> str | None:
        """Return the key of a cell's probes; None if their data are not there yet."""
        encoded = ("clean", "encoded", *ENCODED_SETS)
        folders = self.jobs.sources(cell, self.layout)
        data = {name: self._of(folders[name] / "manifest.json") for name in encoded if name in folders}
        data["reference"] = self._of(folders["reference"] / "manifest.json")
        others = [self.training(cell), *(self.training(other) for other in self.jobs.needed_by(cell))]
        if None in others or None in data.values():
            return None
        about = [others, data, self.jobs.probing, self.jobs.probe_code_of(cell)]
        return sha256_text(canonical(about))[:16]


@dataclass(frozen=True)
class Todo:
    """What is left to do of what is trained at once.

    Attributes
    ----------
    train
        Whether it is trained.
    why
        Why it is, although it was finished; None if it was not.
    probe
        The cells that are probed.
    """

    train: bool
    why: str | None
    probe: tuple[Cell, ...]

    def __bool__(self) -> bool:
        """Tell whether something is left."""
        return self.train or bool(self.probe)


class StudyState:
    """What is done, and which models are needed, as the files say at the moment of the question.

    Parameters
    ----------
    keys
        What the records should say.
    forced
        Jobs whose cells are not finished, whatever is there.
    remember
        Read every record once. Whoever asks while jobs write has to leave it out.
    """

    def __init__(self, keys: Keys, *, forced: Container[str] = (), remember: bool = False) -> None:
        self.keys, self.jobs, self.layout, self._forced = keys, keys.jobs, keys.layout, forced
        self._known: dict[Path, tuple[Any, Any]] | None = {} if remember else None

    def _record(self, path: Path) -> tuple[Any, Any]:
        """Return key and status of a record; two None if it is not there or cannot be read."""
        if self._known is not None and path in self._known:
            return self._known[path]
        try:
            found = read_json(path)
            about = found.get("key"), found.get("status")
        except (InputError, AttributeError):
            about = None, None
        if self._known is not None:
            self._known[path] = about
        return about

    def trained(self, cell: Cell) -> bool:
        """Tell whether a cell has the record, and the predictions, that a training now would leave."""
        if self._is_forced(cell):
            return False
        key, status = self._record(self.layout.record(cell.run))
        if key is None or key != self.keys.training(cell):
            return False
        return status != "completed" or self.layout.predictions(cell.run).exists()

    def _is_forced(self, cell: Cell) -> bool:
        return self.jobs.job_of[cell.run] in self._forced

    def _was_finished(self, cell: Cell) -> bool:
        """Tell whether a cell has a record that nothing speaks against; what it depends on may be about to change."""
        key, _ = self._record(self.layout.record(cell.run))
        return key is not None and self.keys.training(cell) in (key, None)

    def probed(self, cell: Cell) -> bool:
        """Tell whether a cell has the probe record that its probes would leave now, or is not to have one."""
        if not self.jobs.probes:
            return True
        if self._is_forced(cell):
            return False
        key, status = self._record(self.layout.probe_record(cell.run))
        if key is None or key != self.keys.probing(cell):
            return False
        return status != "probed" or self.layout.outcomes(cell.run).exists()

    def completed(self, cell: Cell) -> bool:
        """Tell whether the training of a cell came to its end, so that there is a model."""
        return bool(self._record(self.layout.record(cell.run))[1] == "completed")

    def needs_model(self, cell: Cell) -> bool:
        """Tell whether the model of a cell is needed: by its own probes, or by another cell that is not finished."""
        if not self.probed(cell):
            return True
        for other in self.jobs.dependents(cell):
            if other.regime == "sequential" and not self.trained(other):
                return True
            looked_at = self.jobs.looks_back if other.regime == "sequential" else True
            if looked_at and not self.probed(other):
                return True
        return False

    def _lost(self, cell: Cell) -> str | None:
        """Return why the model of a finished cell cannot serve those who need it; None if it can, or none do."""
        if not (self.completed(cell) and self.needs_model(cell)):
            return None
        try:
            about = read_json(self.layout.model(cell.run) / "maskbench.json")
            steps = about["along"]
        except (InputError, KeyError, TypeError):
            return NOT_KEPT
        return NO_ALONG if self.jobs.along and not self.probed(cell) and not steps else None

    def todo(self, member: Member) -> Todo:
        """Return what is left to do of what is trained at once."""
        if not all(self.trained(cell) for cell in member):
            forced = all(self._is_forced(cell) and self._was_finished(cell) for cell in member)
            why = FORCED if forced else None
            return Todo(True, why, member if self.jobs.probes else ())
        why = next((why for cell in member if (why := self._lost(cell))), None)
        return Todo(why is not None, why, tuple(cell for cell in member if not self.probed(cell)))


def finished(jobs: Jobs, layout: Layout) -> list[str]:
    """Return the runs that are trained and, if anything is measured, probed, in the order of the cells."""
    state = StudyState(Keys(jobs, layout), remember=True)
    return [cell.run for cell in jobs.cells.values() if state.trained(cell) and state.probed(cell)]


def void(jobs: Jobs, layout: Layout) -> Iterator[Path]:
    """Yield the indexes of jobs whose records are not as they left them, and what stands for models that are gone.

    Snakemake knows nothing of records and models; without these files, it runs the jobs again where it has to.
    """
    for name, job in jobs.by_id.items():
        index, models = layout.index(name), layout.models(name)
        if index.exists() and not _is_true(index, _records(jobs, job, layout)):
            yield index
        if models.exists() and not all(layout.model(cell.run).exists() for cell in job.cells):
            yield models


def _is_true(index: Path, records: Iterator[Path]) -> bool:
    """Tell whether all records are there, and those that were changed after the index still have the hashes in it.

    A record that was changed before has been read since, by the job that wrote the index.
    """
    changed = []
    written = index.stat().st_mtime_ns
    for record in records:
        try:
            if record.stat().st_mtime_ns > written:
                changed.append(record)
        except OSError:
            return False
    if not changed:
        return True
    try:
        cells = read_json(index)["cells"]
        known = {one["record"] for cell in cells for one in (cell, cell.get("probes", cell))}
        return all(sha256_file(record) in known for record in changed)
    except (InputError, OSError, KeyError, TypeError, AttributeError):
        return False


def _records(jobs: Jobs, job: Job, layout: Layout) -> Iterator[Path]:
    """Yield the records that a job leaves."""
    for cell in job.cells:
        yield layout.record(cell.run)
        if jobs.probes:
            yield layout.probe_record(cell.run)
