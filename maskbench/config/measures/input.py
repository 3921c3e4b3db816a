"""Measures of the family *input*: what parts of a text that should not matter do to the answer."""

from __future__ import annotations

from maskbench.config.conditions import ALIGNED, CONFLICTING, DISTRACTOR, DISTRACTOR_BLOCKED, PERTURBATIONS
from maskbench.config.measures.entry import Measure
from maskbench.config.measures.recipes import TEST, all_of, drops, elsewhere, flips, ratio

_PERTURBED = "after Belinkov & Bisk (2018), Synthetic and Natural Noise Both Break Neural Machine Translation, ICLR"
_DOMAINS = (
    "after Hendrycks et al. (2020), Pretrained Transformers Improve Out-of-Distribution Robustness, ACL (train on one "
    "domain, test on another)"
)
_ERASER = "DeYoung et al. (2020), ERASER: A Benchmark to Evaluate Rationalized NLP Models, ACL (comprehensiveness)"

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
        name="distractor_drop_blocked",
        title="distractor drop of an oracle",
        unit="points",
        better="neither",
        family="input",
        definition=(
            "The distractor drop of the same model if no token can attend to the words of the distractor (a mask at "
            "test time that knows them: an oracle, and no strategy's score). What is left comes of the text's other "
            "length; no attention mask can be expected to lose less."
        ),
        made_of=ratio((TEST, 100.0), (DISTRACTOR_BLOCKED, -100.0)),
    ),
    Measure(
        name="distractor_excess",
        title="distractor drop beyond the oracle's",
        unit="points",
        better="lower",
        family="input",
        definition=(
            "`distractor_drop` − `distractor_drop_blocked`: what is lost because the model attends to the distractor. "
            "At 0 it keeps to the relevant part as well as an oracle; that of plain fine-tuning is the most that an "
            "attention mask can gain."
        ),
        made_of=ratio((DISTRACTOR_BLOCKED, 100.0), (DISTRACTOR, -100.0)),
        flattered=True,
        along=True,
        shown=("interference",),
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
        name="ood_score",
        title="score out of domain",
        unit="fraction",
        better="higher",
        family="input",
        definition=(
            "Score on texts from elsewhere that the task was not trained on (`out_of_domain`). Of one set, or the mean "
            "over all."
        ),
        source=_DOMAINS,
        by="set",
        made_of=elsewhere(100.0),
        shown=("interference",),
    ),
    Measure(
        name="ood_drop",
        title="drop out of domain",
        unit="points",
        better="lower",
        family="input",
        definition=(
            "100 · (score on the test split − score on texts from elsewhere). Of one set, or with the mean over all "
            "sets. Texts of both are drawn apart."
        ),
        source=_DOMAINS,
        by="set",
        made_of=elsewhere(100.0, less=True),
        flattered=True,
        along=True,
        shown=("interference", "profile"),
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
    Measure(
        name="attribution_agreement",
        title="agreement of seeds on which words matter",
        short="agreement on words",
        unit="coefficient",
        better="higher",
        family="input",
        definition=(
            "Kendall's τ-b of the attributions of a text's words under a run and another seed of its cell, the mean "
            "over the other completed seeds and the texts that both answer alike; empty with one seed. An attribution "
            "is what a word adds to the logit of the predicted class (`probes: attributions`), so tagging has none."
        ),
        source=(
            "Kendall (1945), The Treatment of Ties in Ranking Problems, Biometrika; attributions after Sundararajan et "
            "al. (2017), Axiomatic Attribution for Deep Networks, ICML"
        ),
        derived=True,
        made_of=ratio(("test:attributions", 1.0)),
        of="pairs",
        shown=("interference",),
    ),
    Measure(
        name="comprehensiveness",
        title="what the answer loses without its top words",
        short="loss without top words",
        unit="coefficient",
        better="neither",
        family="input",
        definition=(
            "p(answer) on a text − p(the same answer) without the fifth of its words with the highest attributions "
            "(`probes: attributions: share`, at least one word), from -1 to 1; the mean over texts."
        ),
        source=_ERASER,
        made_of=ratio(("test:comprehensiveness", 1.0)),
    ),
    Measure(
        name="comprehensiveness_random",
        title="what the answer loses without random words",
        short="loss without random words",
        unit="coefficient",
        better="neither",
        family="input",
        definition="The same without as many words that are drawn at random, the same ones for every model.",
        source=_ERASER,
        made_of=ratio(("test:comprehensiveness-random", 1.0)),
    ),
    Measure(
        name="faithfulness",
        title="faithfulness of attributions",
        unit="coefficient",
        better="higher",
        family="input",
        definition=(
            "`comprehensiveness` − `comprehensiveness_random`: how much more the answer rests on the words that have "
            "the highest attributions than on any others."
        ),
        source=_ERASER,
        made_of=ratio(("test:comprehensiveness", 1.0), ("test:comprehensiveness-random", -1.0)),
        shown=("interference",),
    ),
)
