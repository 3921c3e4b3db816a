"""Interference of the second kind: what moves a prediction although it should not.

Every set is measured on the same examples of the test split as they are, whose predictions the run has already made.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from maskbench.config.conditions import ALIGNED, CONFLICTING, DISTRACTOR, DISTRACTOR_BLOCKED, PERTURBATIONS
from maskbench.config.measures.recipes import DOCUMENT, ELSEWHERE
from maskbench.data.manifests import PreparedManifest
from maskbench.kinds import probing
from maskbench.probes import oracle as oracles
from maskbench.probes.drift import mean
from maskbench.probes.errors import UnmeasuredError
from maskbench.probes.registry import probe
from maskbench.probes.subject import Wanted
from maskbench.probes.trained import score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from maskbench.kinds.probing import Groups
    from maskbench.kinds.score import Outcome
    from maskbench.probes.registry import Measured
    from maskbench.probes.subject import Subject
    from maskbench.training.forward import Rows


def _shifted(subject: Subject, *names: str) -> Iterator[Wanted]:
    assert subject.sources.shifted is not None
    for name in names:
        yield Wanted(name, subject.rows(subject.sources.shifted, name))


@probe("distractor", along=True, reads=lambda subject: _shifted(subject, DISTRACTOR))
def distractor(subject: Subject) -> Measured:
    """Measure what a sentence that has nothing to do with the task does to a text's prediction.

    References
    ----------
    After Jia & Liang (2017), Adversarial examples for evaluating reading comprehension systems, whose sentences are
    made to mislead; these have nothing to do with the task.

    Once more with attention to the sentence blocked, by an oracle that knows it (probes/oracle.py): what is lost beyond
    that is what a model loses because it attends to what does not matter.
    """
    shift = _shift(subject, DISTRACTOR)
    yield subject.measured("test", "distractor_drop", lambda: shift()[0])
    yield subject.measured("test", "distractor_flip_rate", lambda: shift()[1])

    @cache
    def oracle() -> Outcome:
        assert subject.sources.shifted is not None
        rows = subject.rows(subject.sources.shifted, DISTRACTOR)
        return subject.keep(DISTRACTOR_BLOCKED, oracles.blocked(subject, rows))

    def left() -> float:
        return 100 * (score(subject.unshifted(oracle())) - score(oracle()))

    yield subject.measured("test", "distractor_drop_blocked", left)
    yield subject.measured("test", "distractor_excess", lambda: shift()[0] - left())


def _perturbed(subject: Subject, kinds: tuple[str, ...]) -> list[str]:
    """Return the names of the configured sets of some perturbations."""
    configured = [kind for kind in kinds if kind in subject.settings.perturbations]
    return [f"{kind}-{level}" for kind in configured for level in subject.settings.levels]


@probe("perturbation", along=True, reads=lambda subject: _shifted(subject, *_perturbed(subject, PERTURBATIONS)))
def perturbation(subject: Subject) -> Measured:
    """Measure what typing errors and missing words do to a text's prediction; masked words apart, as `masking`.

    Each set alone, and the mean over all that are configured.

    References
    ----------
    After Belinkov & Bisk (2018), Synthetic and natural noise both break neural machine translation, who swap one pair
    of inner letters in each longer word; here a share of a text's letters is swapped, the first and last ones, too.
    """
    for family, kinds in (("perturbation", ("swap", "delete", "drop")), ("masking", ("mask",))):
        shifts = {name: _shift(subject, name) for name in _perturbed(subject, kinds)}
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


def _from_elsewhere(subject: Subject) -> dict[str, Wanted]:
    """Return the fixed texts of each set from elsewhere by its name; none if the task has no such sets."""
    folder = subject.sources.elsewhere
    sets = [] if folder is None else list(subject.splits(folder))
    return {name: Wanted(f"{ELSEWHERE}{name}", subject.fixed(folder, name)) for name in sets if folder is not None}


@probe("out-of-domain", along=True, reads=lambda subject: _from_elsewhere(subject).values())
def out_of_domain(subject: Subject) -> Measured:
    """Measure what a model's answers are worth on texts from elsewhere, such as reviews of other things.

    Each set alone, and the mean over all.

    References
    ----------
    After Hendrycks et al. (2020), Pretrained transformers improve out-of-distribution robustness, who train on one
    domain and test on another.
    """
    sets = _from_elsewhere(subject)

    @cache
    def measure(name: str) -> float:
        texts = sets[name]
        found = subject.keep(texts.name, subject.outcome(texts))
        if "document" in found.table:
            subject.contribute(f"{texts.name}:{DOCUMENT}", found.table["example"], found.table["document"])
        return score(found)

    def whole() -> float:
        return mean([measure(name) for name in sets])

    for name in sets:
        yield subject.measured("test", f"ood_score:{name}", partial(measure, name))
    for name in sets:
        drop = partial(lambda name: 100 * (score(subject.predictions) - measure(name)), name)
        yield subject.measured("test", f"ood_drop:{name}", drop)
    if sets:
        yield subject.measured("test", "ood_score", whole)
        yield subject.measured("test", "ood_drop", lambda: 100 * (score(subject.predictions) - whole()))


def _part(shift: Callable[[], tuple[float, float]], place: int) -> Callable[[], float]:
    return lambda: shift()[place]


def _shift(subject: Subject, name: str) -> Callable[[], tuple[float, float]]:
    """Return a function that measures a set once: drop of the score in points, share of predictions that flipped."""

    @cache
    def measure() -> tuple[float, float]:
        assert subject.sources.shifted is not None
        rows = subject.rows(subject.sources.shifted, name)
        shifted = subject.keep(name, subject.outcome(Wanted(name, rows)))
        before = subject.unshifted(shifted)
        drop = 100 * (score(before) - score(shifted))
        changed = flips(subject, before, shifted, rows)
        subject.contribute(f"{name}:flips", shifted.table["example"], changed)
        return drop, float(changed.mean())

    return measure


def flips(subject: Subject, before: Outcome, after: Outcome, rows: Rows) -> NDArray[np.bool_]:
    """Return (texts,) bool: whether the prediction changed."""
    return probing.of(before.kind).changed(before, after, subject.texts.test, rows)


def _cued(subject: Subject) -> Iterator[Wanted]:
    folder, words = subject.sources.cue, subject.sources.cue_words
    if folder is not None and words is not None:
        for name in (ALIGNED, CONFLICTING):
            yield Wanted(name, subject.rows(folder, name))


@probe("cue", along=True, reads=_cued)
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
        return subject.keep(name, subject.outcome(Wanted(name, subject.rows(folder, name))))

    yield subject.measured("test", "aligned_score", lambda: score(outcome(ALIGNED)))
    yield subject.measured("test", "conflicting_score", lambda: score(outcome(CONFLICTING)))
    yield subject.measured(
        "test", "cue_reliance", lambda: 100 * (score(outcome(ALIGNED)) - score(outcome(CONFLICTING)))
    )
    yield subject.measured("test", "worst_group_score", lambda: _worst(subject, _groups(subject, outcome, words)))


def _worst(subject: Subject, groups: Groups) -> float:
    """Return the lowest share of hits among the groups that are large enough."""
    least = subject.settings.smallest_group
    large = {name: hits for name, hits in groups.items() if len(hits) >= least}
    if left := sorted(set(groups) - set(large)):
        subject.note(f"worst_group_score: fewer than {least} examples of {', '.join(left)}, left out")
    if not large:
        raise UnmeasuredError("no group is large enough")
    for index, hits in enumerate(large.values()):
        subject.contribute(f"cue:group-{index}", *zip(*hits, strict=True))
    return min(float(np.mean([hit for _, hit in hits])) for hits in large.values())


def _groups(subject: Subject, outcome: Callable[[str], Outcome], words: Path) -> Groups:
    """Return what was right and wrong, by label and cue."""
    change = PreparedManifest.read(words).change
    assert change is not None
    sets = ((subject.words(words, name), outcome(name).table) for name in (ALIGNED, CONFLICTING))
    return subject.probing.groups(subject.labels, change.words, sets)
