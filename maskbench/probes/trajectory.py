"""Interference along the training, so that strategies can be compared where they score the same."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from safetensors.torch import load_file

from maskbench.config.probes import PROBES
from maskbench.errors import InputError
from maskbench.probes.errors import UnmeasuredError
from maskbench.probes.registry import AT_EVALUATIONS, REGISTRY, probe, texts_of
from maskbench.probes.subject import Wanted
from maskbench.records.probe import TrajectoryPoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from maskbench.config.probes import ProbeName
    from maskbench.kinds.score import Outcome
    from maskbench.probes.registry import Measured
    from maskbench.probes.subject import Subject

ALWAYS: frozenset[ProbeName] = frozenset(("representation-drift", "parameter-drift", "forgetting"))
"""Probes that are called at every evaluation, also where the configuration does not name them."""


def _gap_texts(subject: Subject) -> list[Wanted]:
    return [Wanted("trained", subject.trained_texts)]


@probe("trajectory", reads=_gap_texts)
def trajectory(subject: Subject) -> Measured:
    """Measure the interference at each evaluation of the training, beside its validation score.

    Under the weights that were kept at each evaluation, the probes that the configuration names (`along`) are called
    once more, and the generalisation gap is measured on fixed training and test texts. Nothing of the trained model
    enters: what a shifted text is compared with is predicted under the same weights. The numbers go into the record's
    trajectory; the analysis turns them into measures at one score.
    """
    progress = {row.step: row for row in subject.record.history}
    files = snapshots(subject.sources.run / "model" / "along")
    if list(files) != sorted(progress):
        raise InputError(
            f"{subject.sources.run / 'model' / 'along'}: expected the weights at steps "
            f"{', '.join(map(str, sorted(progress)))}, found {', '.join(map(str, files)) or 'none'}; train again"
        )
    along = subject.settings.along
    asked = [name for name in subject.wanted if along == "all" or name in along]
    names = [name for name in PROBES if name in AT_EVALUATIONS and (name in ALWAYS or name in asked)]
    found: dict[int, dict[str, float | None]] = {}
    for step, path in files.items():
        with subject.weights(load_file(path, device=str(subject.model.device)), step):
            found[step] = dict(_measured(subject, names, step))
    everything = dict.fromkeys(name for measures in found.values() for name in measures)
    for step, measures in found.items():
        row = progress[step]
        measures = {name: measures.get(name) for name in everything}
        subject.trajectory.append(TrajectoryPoint(step=step, epoch=row.epoch, score=row.score, measures=measures))
    yield from ()


def snapshots(folder: Path) -> dict[int, Path]:
    """Return the files ``step-N.safetensors`` of a folder by N, in order."""
    found = {path: re.fullmatch(r"step-(\d+)\.safetensors", path.name) for path in folder.glob("*")}
    return dict(sorted((int(match[1]), path) for path, match in found.items() if match))


def _measured(subject: Subject, names: Sequence[ProbeName], step: int) -> Iterator[tuple[str, float | None]]:
    """Yield what probes measure of a model during training; of a measure with parts, only the value over all parts."""
    subject.read([*texts_of(subject, names), *_gap_texts(subject), subject.unchanged])
    for name, function in (("gap", _gaps), *((name, REGISTRY[name]) for name in names)):
        try:
            metrics = list(function(subject))
        except UnmeasuredError as error:  # no number could be measured: there are no predictions
            subject.note(f"{name} at step {step}: {error}")
            continue
        yield from ((metric.measure, metric.value) for metric in metrics if ":" not in metric.measure)


def _gaps(subject: Subject) -> Measured:
    """Measure the generalisation gap, as a run does of its trained model, on fixed texts of the two splits."""

    @cache
    def outcomes() -> tuple[Outcome, Outcome]:
        return subject.outcome(_gap_texts(subject)[0]), subject.predictions

    def loss() -> float:
        train, test = outcomes()
        return test.loss - train.loss

    def score() -> float:
        train, test = outcomes()
        return 100 * (train.score - test.score)

    yield subject.measured("test", "loss_gap", loss)
    yield subject.measured("test", "score_gap", score)
