"""What the registry says of one measure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from maskbench.config.measures.recipes import Recipe

MeasureFamily = Literal["score", "fit", "input", "task", "knowledge", "cost", "run"]
"""score: how well the task is solved; fit, input, task, knowledge: the four kinds of interference; cost; run: facts."""
Home = Literal["single", "after-*", "with-*", "cue", "noise"]
"""Runs that a measure is compared on by default: of a single task on clean data, of a second task, of two tasks at
once, with a planted cue, with flipped labels."""
MeasureSplit = Literal["train", "validation", "test", "run", "each"]
"""What a number is of: the texts of a split, the run itself, or of each of the three splits one number."""
Exhibit = Literal["interference", "comparisons", "cost", "profile", "profile at matched score", "gaps", "dynamic"]
"""Tables and figures that list measures. interference, comparisons, cost: the tables; profile, gaps, dynamic: the
figures; profile at matched score: its value at matched score has a column of its own in the profile."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a number in metrics.csv is."""

    name: str
    """Value of the `measure` column, up to a colon."""
    title: str
    """Name in tables and figures."""
    short: str | None = None
    """Name where there is little room; None: the title."""
    axis: str | None = None
    """Name on an axis of a figure, without the unit; None: the title."""
    unit: str
    """Unit of the `value` column."""
    better: Literal["higher", "lower", "neither"]
    """Which direction is an improvement."""
    family: MeasureFamily
    """The aspect of a run that it is about."""
    definition: str
    """How the measure is computed, in a sentence for docs/measures.md."""
    source: str | None = None
    """Where it is from; None: what everybody means by the word, or this project's own."""
    by: str | None = None
    """What may stand behind a colon, as in ``f1:PER``: class, layer, block, perturbation, ...; None: nothing."""
    home: Home = "single"
    """The runs on which strategies are compared by this measure, unless a claim names others."""
    split: MeasureSplit = "test"
    """What it is measured on."""
    derived: bool = False
    """Whether the analysis computes it from several runs, or from what was measured along the training
    (analysis/derived.py); no job records it."""
    made_of: Recipe | None = None
    """The sums over test examples that it is made of, so that texts can be resampled; None: it is not made of such."""
    of_texts: bool = True
    """Whether other test texts would give another number. If they would and `made_of` is None, its intervals are over
    seeds alone, and verdicts say what they lack."""
    masked_lm: bool = False
    """Whether it takes a pretrained model with a masked-LM head."""
    flattered: bool = False
    """Whether a model that learned little looks good by it: less of it counts only if the score did not suffer."""
    along: bool = False
    """Whether the probe `trajectory` measures it along the training: then `registered` gives it a value at the matched
    score. Of the flattered measures, those that take several runs have none."""
    matched: str | None = None
    """Its measure at the matched score; None: there is none."""
    at_matched_score: bool = False
    """Whether it belongs to the moment at which the matched score is reached; empty where that was not seen."""
    of: Literal["run", "pairs", "cell", "curve"] = "run"
    """What one number rests on: a run (with others of its seed), pairs of a cell's seeds, all its seeds together, or a
    seed's runs of all train sizes. Pairs get a test of their own, a cell has no paired difference, and a curve stands
    in verdicts alone."""
    curve_of: str | None = None
    """Of a curve: the measure whose learning curve it is read off."""
    spread: bool = True
    """Whether the SD over seeds says something: not if it is of the whole cell, or 0 or 1 for each run."""
    of_machine: bool = False
    """Whether it depends on the machine: it is compared between runs on one kind of machine alone."""
    shown: tuple[Exhibit, ...] = ()
    """Tables and figures that show it; each shows its measures in the order of the registry."""

    @property
    def label(self) -> str:
        """Name where there is little room."""
        return self.short or self.title


def registered(entries: Iterable[Measure]) -> Iterator[Measure]:
    """Yield entries as they stand in the registry: what is measured along the training is followed by its matched one.

    Every measure with `along` gets a second entry, ``matched_<name>``: the same at the moment at which the validation
    score first reaches the matched score.
    """
    for entry in entries:
        if not entry.along:
            yield entry
            continue
        plain = replace(entry, matched=f"matched_{entry.name}")
        yield plain
        yield _at_matched_score(plain)


def _at_matched_score(plain: Measure) -> Measure:
    """Return the entry of a measure's value at matched score."""
    assert plain.matched is not None
    shown: list[Exhibit] = ["interference"] if "interference" in plain.shown else []
    shown += ["profile"] if "profile at matched score" in plain.shown else []
    second = "second task's " if plain.home == "after-*" else ""
    return Measure(
        name=plain.matched,
        title=f"{plain.title} at matched score",
        short=f"{plain.label}, at matched score",
        unit=plain.unit,
        better=plain.better,
        family=plain.family,
        definition=(
            f"`{plain.name}` at the moment at which the {second}validation score first reaches the matched score."
        ),
        source=_LEARNED_LESS,
        home=plain.home,
        split=plain.split,
        derived=True,
        masked_lm=plain.masked_lm,
        at_matched_score=True,
        shown=tuple(shown),
    )


_LEARNED_LESS = "Biderman et al. (2024), LoRA Learns Less and Forgets Less, TMLR (forgetting against learning)"
