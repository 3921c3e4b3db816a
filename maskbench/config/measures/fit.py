"""Measures of the family *fit*: what is learned of the training set that does not hold elsewhere."""

from __future__ import annotations

from maskbench.config.measures.entry import Measure
from maskbench.config.measures.recipes import TEST, all_of, ratio
from maskbench.config.science import CALIBRATION_BINS

_CHURN = "Milani Fard et al. (2016), Launch and Iterate: Reducing Prediction Churn, NeurIPS (churn)"
_STABLE = "Mosbach et al. (2021), On the Stability of Fine-tuning BERT, ICLR (failed runs)"

FIT = (
    Measure(
        name="loss_gap",
        title="generalisation gap (cross-entropy)",
        short="gap in loss",
        axis="cross-entropy, test minus train",
        unit="nats",
        better="lower",
        family="fit",
        definition="Cross-entropy on test − cross-entropy on train, both on unmasked text in eval mode.",
        made_of=ratio(("test:loss", 1.0), offset=True),
        flattered=True,
        along=True,
        shown=("interference", "profile", "comparisons", "gaps", "dynamic"),
    ),
    Measure(
        name="score_gap",
        title="generalisation gap (score)",
        short="gap in score",
        axis="score, train minus test",
        unit="points",
        better="lower",
        family="fit",
        definition="100 · (score on train − score on test), both on unmasked text in eval mode.",
        made_of=ratio((TEST, -100.0), offset=True),
        flattered=True,
        along=True,
        shown=("interference", "profile", "comparisons", "gaps", "dynamic"),
    ),
    Measure(
        name="ece",
        title="expected calibration error",
        short="calibration error",
        unit="fraction",
        better="lower",
        family="fit",
        definition=(
            f"Mean over {CALIBRATION_BINS} equal bins of confidence, weighted by their size, of |share right − mean "
            "confidence|; of texts, or of words with a prediction."
        ),
        source="Guo et al. (2017), On Calibration of Modern Neural Networks, ICML, section 2",
        made_of=all_of("gaps", "test:confident-"),
        flattered=True,
        along=True,
        shown=("interference", "profile"),
    ),
    Measure(
        name="brier",
        title="Brier score",
        unit="fraction",
        better="lower",
        family="fit",
        definition=("Mean of Σ_k (p_k − 1[k = true label])² over texts, or over words with a prediction; from 0 to 2."),
        source=("Brier (1950), Verification of Forecasts Expressed in Terms of Probability, Monthly Weather Review"),
        made_of=ratio(("test:brier", 100.0)),
    ),
    Measure(
        name="flipped_agreement",
        title="predictions that agree with the flipped label",
        unit="fraction",
        better="neither",
        family="fit",
        definition=(
            "On the training examples whose labels the condition label-noise flips: share for which the model predicts "
            "the flipped label."
        ),
        home="noise",
        split="train",
        made_of=ratio(("train:flipped", 100.0)),
    ),
    Measure(
        name="noise_memorisation",
        title="noise memorisation",
        short="noise memorised",
        unit="fraction",
        better="lower",
        family="fit",
        definition=(
            "Agreement with the flipped labels after training on them − the same of the twin that was trained on clean "
            "labels: what was learned by heart, without what looks like it by mistake."
        ),
        source="Arpit et al. (2017), A Closer Look at Memorization in Deep Networks, ICML",
        home="noise",
        split="train",
        made_of=ratio(("train:flipped", 100.0), ("train:twin", -100.0)),
        flattered=True,
        along=True,
        shown=("interference", "profile"),
    ),
    Measure(
        name="score_sd",
        title="SD of the score over seeds",
        unit="points",
        better="lower",
        family="fit",
        definition=(
            "100 · SD (n − 1) of the test score over the completed seeds of a cell, the same at each of its runs; "
            "empty with one seed."
        ),
        source=f"Dodge et al. (2020), Fine-Tuning Pretrained Language Models; {_STABLE}",
        derived=True,
        of="cell",
        spread=False,
        shown=("interference",),
    ),
    Measure(
        name="failed",
        title="failed runs (hardly above the majority class)",
        unit="fraction",
        better="lower",
        family="fit",
        definition=(
            "1 for a run that did not complete or whose test score is at most 5 % of the way from that of the majority "
            "class to 1 (tagging: an entity F1 of .05), else 0."
        ),
        source=_STABLE,
        derived=True,
        of_texts=False,
        spread=False,
        shown=("interference",),
    ),
    Measure(
        name="disagreement",
        title="disagreement with the other seeds",
        short="disagreement of seeds",
        unit="fraction",
        better="lower",
        family="fit",
        definition=(
            "Share of test examples that a run answers otherwise than another seed of its cell (tagging: sentences in "
            "which a tag differs), the mean over its other completed seeds; empty with one seed."
        ),
        source=_CHURN,
        derived=True,
        made_of=ratio(("test:disagreement", 100.0)),
        flattered=True,
        of="pairs",
        shown=("interference", "profile"),
    ),
)
