"""The registry of contributions: of which sums over test examples each measure is made, so that texts can be resampled.

outcomes.parquet keeps streams: for each run and set, what each example adds to a sum of hits and to a sum of weights.
A stream is named by its set (``test``, ``swap-10``), or by its set and what is counted (``test:loss``). A set alone is
the task's own score and has every example; what is counted besides may leave out examples that add nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from maskbench.analysis.metrics import TEST
from maskbench.config.conditions import ALIGNED, CONFLICTING, DISTRACTOR, PERTURBATIONS
from maskbench.config.measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DOCUMENT = f"{TEST}:document"
"""Tells the document of each test example, as its hit: where texts come in documents, documents are drawn."""

ALONE = "alone>"
"""Before a stream: it is that of the run with the same task alone, on clean data."""


class Part(NamedTuple):
    """Streams over the same examples, and the function that makes a number of their sums.

    ratio: Σ factor · (Σ hit / Σ weight). gaps: Σ |Σ hit| / Σ weight over all streams together, as in a calibration
    error. least: the smallest Σ hit / Σ weight. A measure is the sum of its parts.
    """

    how: Literal["ratio", "gaps", "least"]
    streams: tuple[tuple[str, float], ...]
    """Name and factor; fractions have 100 in it, so that they come out in points."""


@dataclass(frozen=True)
class Recipe:
    """How a measure is made."""

    make: Callable[[str, list[str]], list[Part]]
    """From what stands behind the measure's colon, and a run's streams, to the parts; nothing if a stream lacks."""
    offset: bool = False
    """Whether something is added that does not vary with the test examples: a number of the training texts or of θ₀."""
    other_task: bool = False
    """Whether it is of the examples of the regime's other task."""


def _ratio(*streams: tuple[str, float], **more: bool) -> Recipe:
    return Recipe(lambda part, _: [] if part else [Part("ratio", streams)], **more)


def _drops(kinds: Iterable[str], flips: bool = False) -> Recipe:
    """Return the recipe of a drop, or of a flip rate, over the sets of some kinds: of one set, or the mean over all."""

    def make(wanted: str, known: list[str]) -> list[Part]:
        suffix = ":flips" if flips else ""
        sets = [name.removesuffix(suffix) for name in known if name.endswith(suffix) and name.count(":") == flips]
        found = [one for one in sets if one.partition("-")[0] in kinds and wanted in ("", one)]
        share = 100.0 / max(len(found), 1)
        if flips:
            return [Part("ratio", ((f"{one}:flips", share),)) for one in found]
        return [Part("ratio", ((TEST, share), (one, -share))) for one in found]

    return Recipe(make)


def _all_of(prefix: str, how: Literal["gaps", "least"]) -> Recipe:
    """Return a recipe of all streams whose names begin alike."""

    def make(part: str, known: list[str]) -> list[Part]:
        found = tuple((name, 100.0) for name in known if any(name.startswith(one) for one in prefix.split()))
        return [Part(how, found)] if found and not part else []

    return Recipe(make)


def _probing(part: str, known: list[str]) -> list[Part]:
    """Return the parts of the drop of linear probes: of one property, or the mean over all."""
    found = [name for name in known if name.startswith("test:probing-") and part in ("", name[len("test:probing-") :])]
    return [Part("ratio", ((name, -100.0 / len(found)),)) for name in found]


def _probing_accuracy(part: str, known: list[str]) -> list[Part]:
    return [Part("ratio", tuple((name, -factor) for name, factor in item.streams)) for item in _probing(part, known)]


_FORGOTTEN = (("1-1", 100.0), ("2-1", -100.0))
RECIPES: dict[str, Recipe] = {
    "score": _ratio((TEST, 100.0)),
    "accuracy": _ratio((TEST, 100.0)),
    "entity_f1": _ratio((TEST, 100.0)),
    "loss": _ratio(("test:loss", 1.0)),
    "loss_gap": _ratio(("test:loss", 1.0), offset=True),
    "score_gap": _ratio((TEST, -100.0), offset=True),
    "seen_f1": _ratio(("test:seen", 100.0)),
    "unseen_f1": _ratio(("test:unseen", 100.0)),
    "brier": _ratio(("test:brier", 100.0)),
    "ece": _all_of("test:confident-", "gaps"),
    "disagreement": _ratio(("test:disagreement", 100.0)),
    "flipped_agreement": _ratio(("train:flipped", 100.0)),
    "noise_memorisation": _ratio(("train:flipped", 100.0), ("train:twin", -100.0)),
    "distractor_drop": _ratio((TEST, 100.0), (DISTRACTOR, -100.0)),
    "distractor_flip_rate": _ratio((f"{DISTRACTOR}:flips", 100.0)),
    "perturbation_drop": _drops(PERTURBATIONS[:3]),
    "perturbation_flip_rate": _drops(PERTURBATIONS[:3], flips=True),
    "masking_drop": _drops(PERTURBATIONS[3:]),
    "masking_flip_rate": _drops(PERTURBATIONS[3:], flips=True),
    "aligned_score": _ratio((ALIGNED, 100.0)),
    "conflicting_score": _ratio((CONFLICTING, 100.0)),
    "cue_reliance": _ratio((ALIGNED, 100.0), (CONFLICTING, -100.0)),
    "worst_group_score": _all_of("cue:group-", "least"),
    "negative_transfer": _ratio((f"{ALONE}{TEST}", 100.0), (TEST, -100.0)),
    "forgetting": _ratio(*_FORGOTTEN, other_task=True),
    "backward_transfer": _ratio(*((name, -factor) for name, factor in _FORGOTTEN), other_task=True),
    "mlm_loss": _ratio(("test:masked-lm", 1.0)),
    "mlm_forgetting": _ratio(("test:masked-lm", 1.0), offset=True),
    "probing_accuracy": Recipe(_probing_accuracy),
    "probing_drop": Recipe(_probing, offset=True),
}
"""By measure, without what stands behind a colon."""

NO_TEXTS = frozenset(
    (
        *(name for name, entry in MEASURES.items() if entry.family in ("cost", "run") and name != "steps_to_score"),
        *("failed", "parameter_drift", "changed_weights", "gradient_cosine", "gradient_conflict"),
    )
)
"""Measures to which no test text contributes: an interval over seeds is all there is to say."""


def recipe(name: str, streams: Iterable[str]) -> tuple[Recipe, list[Part]] | None:
    """Return how a measure is made of the streams that a run has; None where it is not, or a stream is not there.

    Parameters
    ----------
    name
        The measure, with or without a part.
    streams
        Streams of a run.
    """
    base, _, part = name.partition(":")
    found, known = RECIPES.get(base), list(streams)
    parts = found.make(part, known) if found else []
    if found is None or not parts or any(one not in known for item in parts for one, _ in item.streams):
        return None
    return found, parts
