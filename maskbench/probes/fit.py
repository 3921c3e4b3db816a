"""Interference of the first kind: what a model learns of its training text beside the task."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from maskbench.config.science import CALIBRATION_BINS
from maskbench.kinds import probing
from maskbench.probes.errors import UnmeasuredError
from maskbench.probes.registry import once, probe
from maskbench.probes.subject import Wanted
from maskbench.probes.trained import load_model, predicted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from maskbench.kinds.probing import Flip
    from maskbench.probes.registry import Measured
    from maskbench.probes.subject import Subject
    from maskbench.training.forward import Rows

    Flips = list[list[Flip]]
    """For each text what was flipped."""
    from maskbench.kinds.score import Outcome


@probe("calibration", along=True)
def calibration(subject: Subject) -> Measured:
    """Measure whether the test predictions are right as often as their probabilities say.

    From the run's own predictions, without a forward pass; in tagging over all words that were predicted.
    """
    sure, right, examples = confidences(subject.predictions)
    yield subject.measured("test", "ece", lambda: ece(sure, right))
    bins = _bins(sure)
    for place in np.unique(bins):
        own = bins == place
        subject.contribute(f"test:confident-{place:02}", examples[own], right[own] - sure[own])
    yield subject.measured("test", "brier", lambda: brier(subject.predictions))
    table = subject.predictions.table[subject.predictions.table["units"] > 0]
    subject.contribute("test:brier", table["example"], table["brier"] * table["units"], table["units"])


def confidences(predicted: Outcome) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return, all (N,): the probability of each prediction, whether it was right, its example; of texts or words."""
    return probing.of(predicted.kind).confidences(predicted)


def _bins(sure: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each probability, in single precision and with the borders of torchmetrics; the last has 1."""
    borders = torch.linspace(0, 1, CALIBRATION_BINS + 1)
    found = torch.bucketize(torch.tensor(sure).float(), borders, right=True) - 1
    return np.asarray(found.clamp(max=CALIBRATION_BINS - 1))


def ece(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over bins of equal width: Σ_b n_b/n |accuracy_b − confidence_b|.

    Parameters
    ----------
    sure
        (N,) probability of each predicted class.
    right
        (N,) whether it was the true one.

    References
    ----------
    Guo et al. (2017), On calibration of modern neural networks, section 2.
    """
    if not len(sure):
        raise UnmeasuredError("there are no predictions")
    return float(np.abs(np.bincount(_bins(sure), right - sure)).sum() / len(sure))


def brier(predicted: Outcome) -> float:
    """Return the mean of Σ_k (p_k − 1[k = y])² over the labelled texts or words."""
    table = predicted.table[predicted.table["units"] > 0]
    if not len(table):
        raise UnmeasuredError("there are no predictions")
    return float((table["brier"] * table["units"]).sum() / table["units"].sum())


def _trained_with_flips(subject: Subject) -> Iterator[Wanted]:
    if subject.cell.condition.kind == "label-noise":
        yield Wanted("flipped", flipped(subject)[0])


@probe("memorisation", along=True, reads=_trained_with_flips)
def memorisation(subject: Subject) -> Measured:
    """Measure how often the model gives a training text the flipped label that it was trained with.

    On the run's own training texts whose label was flipped (at most `probes.examples` of them): the share of
    predictions that are the flipped label, and the same minus that of the run that differs in nothing but clean
    labels. In tagging of mentions: one agrees if all its words are predicted with the flipped type, whatever the
    prefix.

    References
    ----------
    Arpit et al. (2017), A closer look at memorization in deep networks; Zhang et al. (2017), Understanding deep
    learning requires rethinking generalization.
    """
    if subject.cell.condition.kind != "label-noise":
        return
    rows, flips = flipped(subject)  # from the run's own training texts; they do not depend on the weights

    @cache
    def own() -> float:
        _require(rows)
        return _share(subject, "flipped", agreement(subject.outcome(Wanted("flipped", rows)), flips, subject.labels))

    yield subject.measured("train", "flipped_agreement", own)
    yield subject.measured("train", "noise_memorisation", lambda: own() - _share(subject, "twin", _twin(subject)))


def _require(rows: Rows) -> None:
    if not rows:
        raise UnmeasuredError("no label among the run's training texts was flipped")


@once
def _twin(subject: Subject) -> pd.DataFrame:
    """Return how often the clean-trained twin, when its training is over, predicts the flipped labels."""
    rows, flips = flipped(subject)
    twin = subject.sources.twin
    if twin is None or not (twin / "model" / "config.json").exists():
        raise UnmeasuredError("the clean-trained twin has no model")
    forward = subject.forward(load_model(twin / "model", subject.cell.kind, subject.device))
    return agreement(predicted(forward, subject.cell.kind, subject.labels, rows), flips, subject.labels)


def _share(subject: Subject, name: str, found: pd.DataFrame) -> float:
    """Return the share of flipped labels that are predicted, and keep what each text contributes to it."""
    subject.contribute(f"train:{name}", found["example"], found["hit"], found["weight"])
    return float(found["hit"].sum() / found["weight"].sum())


@once
def flipped(subject: Subject) -> tuple[Rows, Flips]:
    """Return the run's training texts of which a label was flipped, and what was flipped to what."""
    noisy = subject.trained_on
    clean = subject.split(subject.sources.clean, "train")
    place = {example: row for row, example in enumerate(clean["example"])}
    column = subject.probing.target
    before = clean.select([place[example] for example in noisy["example"]])[column]
    after = noisy[column]
    chosen = [row for row, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    chosen = chosen[: subject.settings.examples]
    found = [subject.probing.flipped(before[row], after[row], subject.labels) for row in chosen]
    return noisy.select(chosen).to_list(), found


def agreement(predicted: Outcome, flips: Flips, labels: list[str]) -> pd.DataFrame:
    """Return how many flipped labels or mentions each text has (`weight`), and how many are predicted (`hit`)."""
    kind, table = probing.of(predicted.kind), predicted.table
    hits = [
        sum(kind.given(prediction, flip, labels) for flip in changed)
        for prediction, changed in zip(table["prediction"], flips, strict=True)
    ]
    return pd.DataFrame({"example": table["example"].to_numpy(), "hit": hits, "weight": list(map(len, flips))})


@probe("seen-mentions")
def seen_mentions(subject: Subject) -> Measured:
    """Measure entity F1 apart for mentions that were in the training text and for new ones.

    A mention is seen if its words stand together as a mention of any type in the run's own training texts, case and
    all; gold and predicted mentions alike, so that a wrong type of a seen mention is one miss and one false alarm among
    the seen ones. From the run's predictions, without a forward pass.

    References
    ----------
    Augenstein, Derczynski & Bontcheva (2017), Generalisation in named entity recognition (seen and unseen
    mentions).
    """
    parts = split_by_seen(subject)
    examples = subject.predictions.table["example"]
    for name, counts in parts.items():
        subject.contribute(f"test:{name}", examples, 2 * counts[:, 0], counts[:, 1] + counts[:, 2])
        yield subject.measured("test", f"{name}_f1", lambda counts=counts: _f1(counts))  # type: ignore[misc]


def _f1(counts: NDArray[np.int64]) -> float:
    """Return F1 of (N, 3) numbers of right, predicted and gold mentions."""
    right, found, wanted = counts.sum(0)
    if not wanted:
        raise UnmeasuredError("there is no such gold mention in the test text")
    return float(2 * right / (found + wanted))


def split_by_seen(subject: Subject) -> dict[str, NDArray[np.int64]]:
    """Return (N, 3) numbers of right, predicted and gold mentions of each test text, `seen` and `unseen` ones."""
    prepared = subject.sources.prepared
    known, mentions = _known(subject), probing.of(subject.predictions.kind).mentions
    tokens = subject.words(prepared, "test")["tokens"]
    table = subject.predictions.table
    counts = {name: np.zeros((len(table), 3), dtype=np.int64) for name in ("seen", "unseen")}
    for row, (example, found, wanted) in enumerate(
        zip(table["example"], table["prediction"], table["label"], strict=True)
    ):
        words = tokens.loc[example]
        predicted, gold = (set(mentions(tags, subject.labels)) for tags in (found, wanted))
        for mention in predicted | gold:
            part = "seen" if _surface(words, mention) in known else "unseen"
            counts[part][row] += (mention in predicted & gold, mention in predicted, mention in gold)
    return counts


def _known(subject: Subject) -> set[str]:
    """Return the surfaces of the mentions that the run was trained on."""
    mentions = probing.of(subject.predictions.kind).mentions
    table = subject.words(subject.sources.prepared, "train").loc[subject.trained_on["example"]]
    return {
        _surface(words, mention)
        for words, tags in zip(table["tokens"], table["tags"], strict=True)
        for mention in mentions(tags, subject.labels)
    }


def _surface(words: NDArray[np.object_], mention: tuple[str, int, int]) -> str:
    return " ".join(words[mention[1] : mention[2] + 1])
