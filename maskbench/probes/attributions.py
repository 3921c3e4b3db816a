"""Which words a model's answer rests on, by gradients of its embeddings, and whether it really rests on them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from maskbench.channels import Shift
from maskbench.kinds import draws
from maskbench.probes.errors import UnmeasuredError
from maskbench.probes.registry import once, probe
from maskbench.probes.subject import Wanted
from maskbench.records.probe import Attributed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from maskbench.config.probes import Attributions
    from maskbench.masks.batch import Batch
    from maskbench.probes.registry import Measured
    from maskbench.probes.subject import Subject
    from maskbench.training.forward import Forward, Rows

    Numbers = NDArray[np.float64]

DIGITS = 5
"""Significant digits of an attribution in the record: the order of words is what is compared."""


@probe("attributions", reads=lambda subject: [subject.unchanged] if subject.probing.attributed else [])
def attributions(subject: Subject) -> Measured:
    """Measure which words the answers rest on, and what the answers are without them; the record has the attributions.

    An attribution is of the logit of the predicted class. Agreement between seeds is for the analysis, which sees all.

    References
    ----------
    DeYoung et al. (2020), ERASER (comprehensiveness: the drop of the probability without the words of a rationale).
    """
    if subject.settings.attributions is None or not subject.probing.attributed:
        return
    yield subject.measured("test", "comprehensiveness", lambda: _drop(subject, "top"))
    yield subject.measured("test", "comprehensiveness_random", lambda: _drop(subject, "random"))
    yield subject.measured("test", "faithfulness", lambda: _drop(subject, "top") - _drop(subject, "random"))


def _drop(subject: Subject, which: str) -> float:
    """Return the mean drop of the probability of the answer without some words, and keep what each text adds."""
    examples, found = _drops(subject)[which]
    name = {"top": "test:comprehensiveness", "random": "test:comprehensiveness-random"}[which]
    subject.contribute(name, examples, found)
    return float(found.mean())


@once
def _drops(subject: Subject) -> dict[str, tuple[list[int], Numbers]]:
    """Return for the words with the highest attributions, and for as many drawn ones, the drop of each text."""
    settings = subject.settings.attributions
    assert settings is not None
    rows = [row for row in subject.texts.test if len(words_of(row)) > 1][: settings.texts]
    if not rows:
        raise UnmeasuredError("no text has two words to compare")
    examples = [row["example"] for row in rows]
    before = subject.outcome(subject.unchanged)
    place = {example: index for index, example in enumerate(before.table["example"])}
    own = [place[example] for example in examples]
    classes = subject.probing.answers(before)[own]
    found = of_words(subject.own, rows, classes, settings)
    subject.attributed = [
        Attributed(example=example, words=[float(f"{value:.{DIGITS}g}") for value in values])
        for example, values in zip(examples, found, strict=True)
    ]
    sure = subject.probing.probabilities(before)[own, classes]
    chosen = {"top": [highest(values, settings.share) for values in found], "random": drawn(rows, settings.share)}
    drops = {}
    for name, places in chosen.items():
        shorter = [without(row, words_of(row)[index]) for row, index in zip(rows, places, strict=True)]
        after = subject.outcome(Wanted(f"without:{name}", shorter))
        drops[name] = examples, sure - subject.probing.probabilities(after)[np.arange(len(rows)), classes]
    return drops


# --- words


def words_of(row: dict[str, Any]) -> NDArray[np.int64]:
    """Return (W,) the numbers of the words of an encoded text that the model sees, in their order."""
    words = np.asarray(row["words"], dtype=np.int64)
    return np.unique(words[words >= 0])


def how_many(words: int, share: float) -> int:
    """Return how many of a text's words a share is: rounded, and at least one."""
    return max(1, round(share * words))


def highest(values: Numbers, share: float) -> NDArray[np.int64]:
    """Return (k,) the places of the words with the highest attributions (W,); of equal ones the first."""
    return np.argsort(-values, kind="stable")[: how_many(len(values), share)]


def drawn(rows: Rows, share: float) -> list[NDArray[np.int64]]:
    """Return for each text (k,) places of words that are drawn at random: the same ones for every model."""
    keys = draws.keys("attributions", ((row["example"], " ".join(map(str, row["input_ids"]))) for row in rows))
    found = []
    for row, key in zip(rows, keys, strict=True):
        count = len(words_of(row))
        order = draws.uniform(np.repeat(key, count), np.arange(count), Shift.ORDER)
        found.append(np.argsort(order, kind="stable")[: how_many(count, share)])
    return found


def without(row: dict[str, Any], words: NDArray[np.int64]) -> dict[str, Any]:
    """Return an encoded text without the tokens of some words, as if they had not been written."""
    kept = np.flatnonzero(~np.isin(row["words"], words))
    length = len(row["input_ids"])
    shorter = {
        name: [value[place] for place in kept] if isinstance(value, list) and len(value) == length else value
        for name, value in row.items()
    }
    return shorter | {"length": len(kept)}


# --- attributions


def of_words(forward: Forward, rows: Rows, classes: NDArray[np.int64], settings: Attributions) -> list[Numbers]:
    """Return for each text (W,) how much each of its words adds to the logit of a class.

    Parameters
    ----------
    forward
        The model, with the attention mask that belongs to it, if one does.
    rows
        N encoded texts.
    classes
        (N,) the class of each.
    settings
        The method. Gradients are taken in full precision.

    References
    ----------
    Sundararajan et al. (2017), Axiomatic attribution for deep networks (integrated gradients), in captum. The way
    begins at a text of padding, special tokens as they are. A word has the sum over its tokens.
    """
    attribute = _method(forward, settings)
    found: list[Numbers] = [np.zeros(0)] * len(rows)
    for chosen, batch in forward.batches(rows):
        target = torch.as_tensor(classes[chosen], device=batch.input_ids.device)
        tokens = attribute(batch, target)
        if not np.isfinite(tokens).all():
            raise UnmeasuredError("a gradient is not finite")
        words = batch.words.cpu().numpy()
        for row, place in enumerate(chosen):
            inside = words[row] >= 0
            _, word = np.unique(words[row][inside], return_inverse=True)
            found[place] = np.bincount(word, weights=tokens[row][inside])
    return found


def _method(forward: Forward, settings: Attributions) -> Callable[[Batch, Tensor], Numbers]:
    """Return what gives (B, T) the attribution of each token of a batch to the logit of a class (B,)."""
    # imported here: captum takes a second, and only these runs need it
    from captum.attr import LayerGradientXActivation, LayerIntegratedGradients

    model: Any = forward.model
    table = model.get_input_embeddings()

    def attribute(batch: Batch, target: Tensor) -> Numbers:
        _require_lookup(forward, batch)
        logits, place = partial(_logits, forward, batch), torch.arange(len(target), device=target.device)
        given: dict[str, Any] = {"target": target, "additional_forward_args": (place,)}
        if settings.method == "gradient-input":
            found = LayerGradientXActivation(logits, table).attribute(batch.input_ids, **given)
        else:
            start = torch.where(batch.maskable, forward.collate.pad_id, batch.input_ids)
            given |= {"n_steps": settings.steps, "internal_batch_size": len(target)}
            found = LayerIntegratedGradients(logits, table).attribute(batch.input_ids, baselines=start, **given)
        return found.detach().double().sum(-1).cpu().numpy()  # type: ignore[no-any-return]

    return attribute


def _require_lookup(forward: Forward, batch: Batch) -> None:
    """Make sure, by a pass over one text, that the model looks its tokens up once, in the order of the batch.

    Raises
    ------
    UnmeasuredError
        If it does not: XLNet has tokens before texts, and models with a decoder read their text twice.
    """
    model: Any = forward.model
    shapes: list[tuple[int, ...]] = []
    table, first = model.get_input_embeddings(), torch.zeros(1, dtype=torch.long, device=batch.input_ids.device)
    handle = table.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[:-1])))
    try:
        with torch.no_grad():
            _logits(forward, batch, batch.input_ids[:1], first)
    finally:
        handle.remove()
    if shapes != [(1, batch.input_ids.shape[1])]:
        raise UnmeasuredError(f"{type(model).__name__} does not look tokens up once, in the order of texts")


def _logits(forward: Forward, batch: Batch, ids: Tensor, place: Tensor) -> Tensor:
    """Return (N, C) logits of texts of a batch, at the places (N,) in it, with other token ids (N, T)."""
    parts = {name: value[place] for name in ("padding", "words", "examples") for value in [getattr(batch, name)]}
    types = None if batch.token_types is None else batch.token_types[place]
    part = replace(batch, input_ids=ids, token_types=types, labels=None, capitals=None, **parts)
    with nullcontext() if forward.shown is None else forward.shown(forward.model, part):
        outputs = forward.model(**part.inputs())
    found: Tensor = outputs["logits"].float()
    return found
