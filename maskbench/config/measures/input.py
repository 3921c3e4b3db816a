"""Measures of the family *input*: what parts of a text that should not matter do to the answer."""

from __future__ import annotations

from maskbench.config.conditions import ALIGNED, CONFLICTING, DISTRACTOR, PERTURBATIONS
from maskbench.config.measures.entry import Measure
from maskbench.config.measures.recipes import TEST, all_of, drops, flips, ratio

_PERTURBED = "after Belinkov & Bisk (2018), Synthetic and Natural Noise Both Break Neural Machine Translation, ICLR"

INPUT = (
    Measure(
        name="distractor_drop",
        title="distractor drop",
        unit="points",
        better="lower",
        family="input",
        definition=(
            "100 · (score on a text − score with a sentence beside it that has nothing to do with the label), on the "
            "same test examples."
        ),
        source=("after Jia & Liang (2017), Adversarial Examples for Evaluating Reading Comprehension Systems, EMNLP"),
        made_of=ratio((TEST, 100.0), (DISTRACTOR, -100.0)),
        flattered=True,
        along=True,
        shown=("interference", "profile", "dynamic"),
    ),
    Measure(
        name="distractor_flip_rate",
        title="predictions flipped by a distractor",
        unit="fraction",
        better="lower",
        family="input",
        definition=(
            "Share of test examples whose prediction a distractor changes (tagging: sentences in which the tag of a "
            "word changes that is in both versions)."
        ),
        made_of=ratio((f"{DISTRACTOR}:flips", 100.0)),
        flattered=True,
        along=True,
    ),
    Measure(
        name="perturbation_drop",
        title="perturbation drop",
        unit="points",
        better="lower",
        family="input",
        definition=(
            "100 · (score on a text − score on the text with neighbouring letters swapped, letters deleted or words "
            "dropped), on the same test examples; `swap-10` changes 10 % of the letters. Of one set, or the mean over "
            "all."
        ),
        source=_PERTURBED,
        by="perturbation",
        made_of=drops(*PERTURBATIONS[:3]),
        flattered=True,
        along=True,
        shown=("interference", "profile"),
    ),
    Measure(
        name="perturbation_flip_rate",
        title="predictions flipped by a perturbation",
        unit="fraction",
        better="lower",
        family="input",
        definition="Share of test examples whose prediction a perturbation changes.",
        source=_PERTURBED,
        by="perturbation",
        made_of=flips(*PERTURBATIONS[:3]),
        flattered=True,
        along=True,
    ),
    Measure(
        name="masking_drop",
        title="drop under masked words",
        short="masked-words drop",
        unit="points",
        better="lower",
        family="input",
        definition=(
            "The same as the perturbation drop with words replaced by the mask token: reported apart, since it is what "
            "input masks train for."
        ),
        by="perturbation",
        made_of=drops(*PERTURBATIONS[3:]),
        flattered=True,
        along=True,
        shown=("interference", "profile"),
    ),
    Measure(
        name="masking_flip_rate",
        title="predictions flipped by masked words",
        unit="fraction",
        better="lower",
        family="input",
        definition="Share of test examples whose prediction masked words change.",
        by="perturbation",
        made_of=flips(*PERTURBATIONS[3:]),
        flattered=True,
        along=True,
    ),
    Measure(
        name="aligned_score",
        title="score with an aligned cue",
        unit="fraction",
        better="neither",
        family="input",
        definition="Score on test texts whose planted cue agrees with the label everywhere.",
        home="cue",
        made_of=ratio((ALIGNED, 100.0)),
    ),
    Measure(
        name="conflicting_score",
        title="score with a conflicting cue",
        unit="fraction",
        better="higher",
        family="input",
        definition="Score on test texts whose planted cue contradicts the label everywhere.",
        home="cue",
        made_of=ratio((CONFLICTING, 100.0)),
        flattered=True,
        along=True,
    ),
    Measure(
        name="cue_reliance",
        title="cue reliance",
        unit="points",
        better="lower",
        family="input",
        definition=(
            "100 · (aligned score − conflicting score). Of a model trained under a cue condition, on the sets of that "
            "condition; of any other, on those of the first: how much a word decides that it never learned from."
        ),
        source=(
            "Geirhos et al. (2020), Shortcut Learning in Deep Neural Networks, Nature Machine Intelligence, section 3 "
            "(i.i.d. against out-of-distribution tests)"
        ),
        home="cue",
        made_of=ratio((ALIGNED, 100.0), (CONFLICTING, -100.0)),
        flattered=True,
        along=True,
        shown=("interference", "profile"),
    ),
    Measure(
        name="worst_group_score",
        title="score of the worst group of class and cue",
        unit="fraction",
        better="higher",
        family="input",
        definition=(
            "Lowest accuracy over the groups of class and cue; in tagging, lowest recall over those of entity type and "
            "whether the trigger stands before. Groups of fewer than `probes: smallest_group` are left "
            "out."
        ),
        source="Sagawa et al. (2020), Distributionally Robust Neural Networks for Group Shifts, ICLR",
        home="cue",
        made_of=all_of("least", "cue:group-"),
    ),
)
