"""Drift and forgetting along the training, so that strategies can be compared where they score the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from safetensors.torch import load_file

from maskbench.errors import InputError
from maskbench.probes import drift
from maskbench.probes.base import probe
from maskbench.probes.errors import UnmeasuredError
from maskbench.probes.knowledge import layer_drifts, parameter_drifts
from maskbench.probes.task import first_of
from maskbench.records.probe import Point

if TYPE_CHECKING:
    from pathlib import Path

    from maskbench.probes.base import Measured, Subject


@probe("trajectory")
def trajectory(subject: Subject) -> Measured:
    """Measure drift, and the first task's forgetting, at each evaluation of the training, beside its validation score.

    The numbers go into the record's trajectory; the analysis turns them into measures at one score.
    """
    progress = {row.step: row for row in subject.record.history}
    files = snapshots(subject.sources.run / "model" / "along")
    if list(files) != sorted(progress):
        raise InputError(
            f"{subject.sources.run / 'model' / 'along'}: expected the weights at steps "
            f"{', '.join(map(str, sorted(progress)))}, found {', '.join(map(str, files)) or 'none'}; train again"
        )
    for step, path in files.items():
        row = progress[step]
        with subject.weights(load_file(path, device=str(subject.model.device))):
            measures = {name: _value(subject, name, step, how) for name, how in _measures(subject).items()}
        subject.trajectory.append(Point(step=step, epoch=row.epoch, score=row.score, measures=measures))
    yield from ()


def snapshots(folder: Path) -> dict[int, Path]:
    """Return the files ``step-N.safetensors`` of a folder by N, in order."""
    found = {path: re.fullmatch(r"step-(\d+)\.safetensors", path.name) for path in folder.glob("*")}
    return dict(sorted((int(match[1]), path) for path, match in found.items() if match))


def _measures(subject: Subject) -> dict[str, Callable[[], float]]:
    """Return what is measured of a model on its way."""
    measures: dict[str, Callable[[], float]] = {
        "representation_drift": lambda: drift.mean(layer_drifts(subject)[1:]),
        "parameter_drift": lambda: parameter_drifts(subject)[""][0],
    }
    if subject.cell.regime == "sequential":
        measures["forgetting"] = lambda: first_of(subject).forgetting(first_of(subject).after())
    return measures


def _value(subject: Subject, name: str, step: int, compute: Callable[[], float]) -> float | None:
    """Return a number, or None with a note that says why."""
    try:
        return compute()
    except UnmeasuredError as error:
        subject.note(f"{name} at step {step}: {error}")
        return None
