"""Interference of the fourth kind: what the pretrained model knew and the trained model has lost."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from maskbench.models.anatomy import base_of
from maskbench.probes import drift, holes, linear
from maskbench.probes.errors import UnmeasuredError
from maskbench.probes.registry import once, probe
from maskbench.probes.subject import Wanted
from maskbench.training.fresh import untrained_model

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.models.masked_lm import MaskedLMHead
    from maskbench.probes.registry import Measured
    from maskbench.probes.subject import Subject


@probe("representation-drift", along=True, reads=lambda subject: [subject.drifting])
def representation_drift(subject: Subject) -> Measured:
    """Measure how far the representations of the same tokens in the same texts have moved: 1 − debiased linear CKA.

    Of the embeddings and of each layer's output against θ₀'s, on a fixed sample of the test texts' own tokens (no
    padding, no special tokens); without a layer it is the mean over the layers, embeddings aside. The last layer's is a
    measure of its own: lower layers that are frozen cannot move, and make the mean small by themselves.

    References
    ----------
    Kornblith et al. (2019), Similarity of neural network representations revisited; debiased as in `debiased_cka`.
    """
    moved = cache(lambda: layer_drifts(subject))
    for index, name in enumerate(subject.reference.manifest.layers):
        yield subject.measured(
            "test",
            f"representation_drift:{name}",
            lambda index=index: moved()[index],  # type: ignore[misc]
        )
    yield subject.measured("test", "representation_drift", lambda: drift.mean(moved()[1:]))
    yield subject.measured("test", "output_drift", lambda: moved()[-1])


def layer_drifts(subject: Subject) -> list[float]:
    """Return 1 − CKA of the embeddings and of each layer."""
    states, before = subject.passed(subject.drifting).states, subject.reference.states
    assert states is not None
    if states.device.type != "cuda":  # Apple's GPUs have no double precision
        states = states.cpu()
    return [1 - drift.debiased_cka(old, new) for old, new in zip(before.to(states.device), states, strict=True)]


@once
def _theta(subject: Subject) -> dict[str, Tensor]:
    """Return θ₀'s weights by name, without those that its file lacks."""
    models, folder = subject.models, subject.sources.pretrained
    model = untrained_model(models, subject.cell, folder, subject.labels, subject.device.attention)
    return {
        name: parameter.detach().to(subject.model.device)
        for name, parameter in base_of(model).named_parameters()
        if not getattr(parameter, "fresh", False)
    }


def parameter_drifts(subject: Subject) -> dict[str, tuple[float, float]]:
    """Return the drift and the share of changed weights of each block; `` is the whole encoder."""
    rows = drift.parameter_drift(drift.weights_of(subject.model), _theta(subject), drift.blocks(subject.model))
    return {name: (moved, changed) for name, moved, changed in rows}


@probe("parameter-drift", along=True)
def parameter_drift(subject: Subject) -> Measured:
    """Measure how far the weights have moved, ‖θ − θ₀‖ / ‖θ₀‖, and the share of them that are not the same bit by bit.

    Of the embeddings, of each layer and of the whole encoder; the task's head, which θ₀ does not have, is not in it.
    And of those weights alone that moved: a frozen part makes the drift of the whole small by itself.
    """
    for block, values in parameter_drifts(subject).items():
        part = f":{block}" if block else ""
        for name, value in zip(("parameter_drift", "changed_weights"), values, strict=True):
            yield subject.measured("run", f"{name}{part}", partial(_finite, value))
    parts = drift.blocks(subject.model)
    moved = drift.moved_drift(drift.weights_of(subject.model), _theta(subject), parts[""])
    yield subject.measured("run", "moved_drift", partial(_finite, moved))


def _finite(value: float) -> float:
    if not abs(value) < float("inf"):
        raise UnmeasuredError("a weight is not finite")
    return value


def _head(subject: Subject) -> MaskedLMHead:
    """Return θ₀'s masked-LM head, which the cells of a job share."""
    return subject.models.masked_lm_head(subject.sources.pretrained, subject.own.model)


@probe("masked-lm", along=True)
def masked_lm(subject: Subject) -> Measured:
    """Measure the masked-LM loss of the trained encoder under θ₀'s own head, and what it lost against θ₀.

    The head is θ₀'s in whole: a decoder that was tied to the token embeddings keeps those of θ₀. Fixed masks on 15 % of
    the fixed test texts' tokens, the same for all runs of a task. Models without a masked-LM head have no such number.
    """
    before = subject.reference.manifest.masked_lm
    if before is None:
        return

    @cache
    def loss() -> float:
        head = _head(subject)
        total, count = holes.losses(subject.own, head, subject.texts.test)
        subject.contribute("test:masked-lm", subject.examples, total, count)
        return float(total.sum() / count.sum())

    yield subject.measured("test", "mlm_loss", loss)
    yield subject.measured("test", "mlm_forgetting", lambda: loss() - before)


def _features(subject: Subject) -> tuple[Wanted, Wanted]:
    """Return the fixed texts of the two splits, with their hidden states."""
    texts = subject.texts
    return Wanted("train", texts.train, hidden=True), Wanted("test", texts.test, hidden=True)


@probe("probing", along=True, reads=_features)
def probing(subject: Subject) -> Measured:
    """Measure how well linear probes read surface properties of a text from the model's features, and from θ₀'s.

    Features are the mean of the last layer over a text's own tokens; the probes (probes/linear.py) are trained on fixed
    training texts and tested on the fixed test texts.

    References
    ----------
    Conneau et al. (2018), What you can cram into a single $&!#* vector.
    """
    before = subject.reference.manifest.probing
    classes = linear.properties(subject.texts.train, subject.texts.test)

    @cache
    def accuracy(name: str) -> float:
        train, test = (subject.passed(texts).pooled for texts in _features(subject))
        assert train is not None
        assert test is not None
        right = linear.hits(train, test, classes[name])
        subject.contribute(f"test:probing-{name}", subject.examples, right)
        return float(right.mean())

    def drop(name: str) -> float:
        return 100 * (before[name] - accuracy(name))

    for name in before:
        yield subject.measured("test", f"probing_accuracy:{name}", partial(accuracy, name))
        yield subject.measured("test", f"probing_drop:{name}", partial(drop, name))
    yield subject.measured("test", "probing_accuracy", lambda: drift.mean([accuracy(name) for name in before]))
    yield subject.measured("test", "probing_drop", lambda: drift.mean([drop(name) for name in before]))
