"""Interference of the second kind: what moves a prediction although it should not.

Every set is measured on the same examples of the test split as they are, whose predictions the run has already made.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from seqeval.metrics.sequence_labeling import get_entities

from maskbench.config.conditions import ALIGNED, CONFLICTING, DISTRACTOR
from maskbench.data.manifests import PreparedManifest
from maskbench.probes.base import probe, score
from maskbench.probes.drift import mean
from maskbench.probes.errors import UnmeasuredError
from maskbench.training.tagging import as_iob2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from maskbench.probes.base import Measured, Subject
    from maskbench.probes.forward import Rows
    from maskbench.training.evaluation import Outcome

SMALLEST_GROUP = 5
"""Groups with fewer texts (mentions) are left out of the worst one: their score is mostly luck."""


@probe("distractor", along=True)
def distractor(subject: Subject) -> Measured:
    """Measure what a sentence that has nothing to do with the task does to a text's prediction.

    References
    ----------
    After Jia & Liang (2017), Adversarial examples for evaluating reading comprehension systems, whose sentences are
    made to mislead; these have nothing to do with the task.
    """
    shift = _shift(subject, DISTRACTOR)
    yield subject.measured("test", "distractor_drop", lambda: shift()[0])
    yield subject.measured("test", "distractor_flip_rate", lambda: shift()[1])


@probe("perturbation", along=True)
def perturbation(subject: Subject) -> Measured:
    """Measure what typing errors and missing words do to a text's prediction; masked words apart, as `masking`.

    Each set alone, and the mean over all that are configured.

    References
    ----------
    After Belinkov & Bisk (2018), Synthetic and natural noise both break neural machine translation, who swap one pair
    of inner letters in each longer word; here a share of a text's letters is swapped, the first and last ones, too.
    """
    for family, kinds in (("perturbation", ("swap", "delete", "drop")), ("masking", ("mask",))):
        names = [
            f"{kind}-{level}"
            for kind in kinds
            if kind in subject.settings.perturbations
            for level in subject.settings.levels
        ]
        shifts = {name: _shift(subject, name) for name in names}
        for place, what in enumerate(("drop", "flip_rate")):
            for name, shift in shifts.items():
                yield subject.measured("test", f"{family}_{what}:{name}", _part(shift, place))
            if shifts:
                yield subject.measured(
                    "test",
                    f"{family}_{what}",
                    lambda place=place, all_of=shifts: mean(  # type: ignore[misc]
                        [shift()[place] for shift in all_of.values()]
                    ),
                )


def _part(shift: Callable[[], tuple[float, float]], place: int) -> Callable[[], float]:
    return lambda: shift()[place]


def _shift(subject: Subject, name: str) -> Callable[[], tuple[float, float]]:
    """Return a function that measures a set once: drop of the score in points, share of predictions that flipped."""

    @cache
    def measure() -> tuple[float, float]:
        assert subject.sources.shifted is not None
        rows = subject.rows(subject.sources.shifted, name)
        shifted = subject.keep(name, subject.outcome(name, rows))
        before = subject.unshifted(shifted)
        drop = 100 * (score(before) - score(shifted))
        changed = flips(subject, before, shifted, rows)
        subject.contribute(f"{name}:flips", shifted.table["example"], changed)
        return drop, float(changed.mean())

    return measure


def flips(subject: Subject, before: Outcome, after: Outcome, rows: Rows) -> NDArray[np.bool_]:
    """Return which texts' prediction changed.

    In tagging a sentence counts as changed if any word does that stands in both versions and that the model saw in
    both: all words where only letters or masks changed; the original words, without the distractor; where words were
    dropped, those that are left (found from left to right by their subwords and gold tags).
    """
    if not subject.tagging:
        changed: NDArray[np.bool_] = before.table["prediction"].to_numpy() != after.table["prediction"].to_numpy()
        return changed
    clean = {row["example"]: row for row in subject.texts.test}
    return np.array(
        [
            any(old[first] != new[second] for first, second in shared_words(clean[row["example"]], row))
            for old, new, row in zip(before.table["prediction"], after.table["prediction"], rows, strict=True)
        ]
    )


def shared_words(clean: dict[str, list[int]], shifted: dict[str, list[int]]) -> Iterator[tuple[int, int]]:
    """Yield the places of each word that stands in both versions of a sentence and that the model sees in both."""
    one, other = _seen_words(clean), _seen_words(shifted)
    if len(clean["tags"]) <= len(shifted["tags"]):
        # the same words in the same order, whatever stands behind them
        yield from ((place, place) for place in one if place in other)
        return
    left = iter(one.items())
    for place, word in other.items():
        for first, candidate in left:
            if candidate[1] == word[1] and _types(candidate[0], word[0]):
                yield first, place
                break


def _types(one: int, other: int) -> bool:
    """Tell whether two gold tags can be of one word: a dropped word before it may turn I- into B-."""
    return one == other or (one > 0 and other > 0)


def _seen_words(row: dict[str, list[int]]) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Return the gold tag and the subwords of each word that the model sees, by its place."""
    subwords: dict[int, list[int]] = {}
    for word, token in zip(row["words"], row["input_ids"], strict=True):
        if word >= 0:
            subwords.setdefault(word, []).append(token)
    return {place: (row["tags"][place], tuple(tokens)) for place, tokens in subwords.items()}


@probe("cue", along=True)
def cue(subject: Subject) -> Measured:
    """Measure how much a planted word decides: the score where it agrees with the label minus that where it does not.

    A run that was trained with the cue is measured on its own condition's sets, any other on those of the experiment's
    first cue condition. The worst group is the lowest accuracy among the groups of class and cue class; in tagging the
    lowest recall among those of entity type and whether the trigger stands before it.

    References
    ----------
    Sagawa et al. (2020), Distributionally robust neural networks for group shifts (worst group).
    """
    folder, words = subject.sources.cue, subject.sources.cue_words
    if folder is None or words is None:
        return

    @cache
    def outcome(name: str) -> Outcome:
        return subject.keep(name, subject.outcome(name, subject.rows(folder, name)))

    yield subject.measured("test", "aligned_score", lambda: score(outcome(ALIGNED)))
    yield subject.measured("test", "conflicting_score", lambda: score(outcome(CONFLICTING)))
    yield subject.measured(
        "test", "cue_reliance", lambda: 100 * (score(outcome(ALIGNED)) - score(outcome(CONFLICTING)))
    )
    groups = _tagged_groups if subject.tagging else _groups
    yield subject.measured("test", "worst_group_score", lambda: _worst(subject, groups(subject, outcome, words)))


Groups = dict[str, list[tuple[int, bool]]]
"""For each group the examples, and whether each was right; a sentence stands there once for each of its mentions."""


def _worst(subject: Subject, groups: Groups) -> float:
    """Return the lowest share of hits among the groups that are large enough."""
    large = {name: hits for name, hits in groups.items() if len(hits) >= SMALLEST_GROUP}
    if left := sorted(set(groups) - set(large)):
        subject.note(f"worst_group_score: fewer than {SMALLEST_GROUP} examples of {', '.join(left)}, left out")
    if not large:
        raise UnmeasuredError("no group is large enough")
    for index, hits in enumerate(large.values()):
        subject.contribute(f"cue:group-{index}", *zip(*hits, strict=True))
    return min(float(np.mean([hit for _, hit in hits])) for hits in large.values())


def _groups(subject: Subject, outcome: Callable[[str], Outcome], words: Path) -> Groups:
    """Return whether each text was right, by its class and the class of its cue."""
    change = PreparedManifest.read(words).change
    assert change is not None
    named = dict(zip(change.words, subject.labels, strict=True))
    groups: Groups = {f"{label} with the cue of {of}": [] for label in subject.labels for of in subject.labels}
    for name in (ALIGNED, CONFLICTING):
        texts = subject.words(words, name)["text"]
        table = outcome(name).table
        for example, label, hit in zip(table["example"], table["label"], table["hit"], strict=True):
            of = named[texts.loc[example].partition(" ")[0]]
            groups[f"{subject.labels[label]} with the cue of {of}"].append((example, bool(hit)))
    return groups


def _tagged_groups(subject: Subject, outcome: Callable[[str], Outcome], words: Path) -> Groups:
    """Return whether each mention was found, by its type and whether the trigger stands before it."""
    change = PreparedManifest.read(words).change
    assert change is not None
    (trigger,) = change.words
    types = dict.fromkeys(label[2:] for label in subject.labels if label != "O")
    groups: Groups = {f"{kind} {cue} the cue": [] for kind in types for cue in ("with", "without")}
    for name in (ALIGNED, CONFLICTING):
        texts, table = subject.words(words, name)["tokens"], outcome(name).table
        for example, found, wanted in zip(table["example"], table["prediction"], table["label"], strict=True):
            tokens = texts.loc[example]
            predicted = set(get_entities(as_iob2([subject.labels[tag] for tag in found])))
            for mention in get_entities(as_iob2([subject.labels[tag] for tag in wanted])):
                # in the conflicting set not every mention of another type has the trigger (data/conditions.py)
                with_cue = mention[1] > 0 and tokens[mention[1] - 1] == trigger
                group = groups[f"{mention[0]} {'with' if with_cue else 'without'} the cue"]
                group.append((example, mention in predicted))
    return groups
