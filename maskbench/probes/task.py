"""Interference of the third kind: what training on a second task does to the first."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch

from maskbench.data.encode import load_encoded
from maskbench.data.manifests import EncodedManifest
from maskbench.models.anatomy import base_of
from maskbench.models.loading import start_from
from maskbench.probes.errors import UnmeasuredError
from maskbench.probes.reference import Texts
from maskbench.probes.registry import once, probe
from maskbench.probes.trained import load_model, only, predicted, read_predictions, score
from maskbench.records.run import Record
from maskbench.training.fresh import fresh_model

if TYPE_CHECKING:
    from torch.nn import Module

    from maskbench.kinds.score import Outcome
    from maskbench.probes.registry import Measured
    from maskbench.probes.subject import Subject


class First:
    """The first task of a sequential run, and its head.

    Parameters
    ----------
    subject
        The run on the second task.

    Raises
    ------
    UnmeasuredError
        If the run on the first task has no model.
    """

    def __init__(self, subject: Subject) -> None:
        folder, encoded = subject.sources.before, subject.sources.before_encoded
        assert folder is not None
        assert encoded is not None
        if not (folder / "model" / "config.json").exists():
            raise UnmeasuredError("the run on the first task has no model")
        self.subject, self.folder = subject, folder
        about, cell = EncodedManifest.read(encoded), Record.read(folder / "metrics.json").parameters
        self.kind, self.labels = about.kind, about.labels
        self.rows = Texts.of(load_encoded(encoded), cell["max_test"], subject.settings.examples).test
        self.model = load_model(folder / "model", self.kind, subject.device)

    def before(self) -> Outcome:
        """Return what the first task's own run predicted for its fixed test texts."""
        return only(read_predictions(self.folder, self.kind, self.labels), [row["example"] for row in self.rows])

    def after(self) -> Outcome:
        """Return what the first task's head predicts for the same texts on the second run's encoder."""
        transplant(self.subject.model, self.model)
        return predicted(self.subject.forward(self.model), self.kind, self.labels, self.rows)

    def forgetting(self, after: Outcome) -> float:
        """Return what the score on the first task lost, in points."""
        return 100 * (score(self.before()) - score(after))


@torch.no_grad()
def transplant(donor: Module, model: Module) -> None:
    """Give a model the encoder of another; a part that the donor's lacks (BERT's pooler, after tagging) stays.

    Raises
    ------
    ValueError
        If the encoders are not of one shape.
    """
    given, taken = (dict(base_of(one).named_parameters()) for one in (donor, model))
    for name in taken.keys() & given.keys():
        if taken[name].shape != given[name].shape:
            raise ValueError(f"{name}: expected {tuple(taken[name].shape)}, found {tuple(given[name].shape)}")
        taken[name].copy_(given[name])


@once
def first_of(subject: Subject) -> First:
    """Return the first task of a sequential run, loaded once."""
    return First(subject)


@probe("forgetting", along=True)
def forgetting(subject: Subject) -> Measured:
    """Measure the four scores of two tasks in a row, and what the first one lost.

    ``sequence_score:i-j`` is the score after stage i on task j: 1-1 from the first run's predictions; 1-2 of the second
    run's model before its first update, its head still random; 2-1 of the second run's encoder under the first run's
    head; 2-2 from the second run's predictions. All on the fixed test texts of a task, so that the stages pair.
    Forgetting is 1-1 minus 2-1, and backward transfer its negative.

    References
    ----------
    Lopez-Paz & Ranzato (2017), Gradient episodic memory (R_ij, BWT); Chaudhry et al. (2018), Riemannian
    walk, section 3 (forgetting).
    """
    if subject.cell.regime != "sequential":
        return

    @cache
    def after() -> Outcome:
        return subject.keep("2-1", first_of(subject).after())

    def start() -> Outcome:
        model = fresh_model(
            subject.models, subject.cell, subject.sources.pretrained, subject.labels, subject.device.attention
        )
        model.config.pad_token_id = subject.model.config.pad_token_id
        start_from(model, first_of(subject).folder / "model")
        return predicted(subject.forward(model), subject.cell.kind, subject.labels, subject.texts.test)

    stages = {
        "1-1": lambda: score(subject.keep("1-1", first_of(subject).before())),
        "1-2": lambda: score(start()),
        "2-1": lambda: score(after()),
        "2-2": lambda: score(only(subject.predictions, subject.examples)),
    }
    for name, compute in stages.items():
        yield subject.measured("test", f"sequence_score:{name}", compute)
    yield subject.measured("test", "forgetting", lambda: first_of(subject).forgetting(after()))
    yield subject.measured("test", "backward_transfer", lambda: 0.0 - first_of(subject).forgetting(after()))
