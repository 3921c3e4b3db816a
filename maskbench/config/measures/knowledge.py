"""Measures of the family *knowledge*: what is left of the pretrained model."""

from __future__ import annotations

from maskbench.config.measures.entry import Measure
from maskbench.config.measures.recipes import probes, ratio
from maskbench.config.science import MASKED_LM_RATE

_CKA = "Kornblith et al. (2019), Similarity of Neural Network Representations Revisited, ICML, section 3; "
_PROBED = "Alain & Bengio (2017), Understanding Intermediate Layers Using Linear Classifier Probes, ICLR workshop"

KNOWLEDGE = (
    Measure(
        name="representation_drift",
        title="representation drift (1 − CKA)",
        short="representation drift",
        unit="coefficient",
        better="lower",
        family="knowledge",
        definition=(
            "1 − debiased linear CKA of the hidden states of the pretrained and the fine-tuned model on fixed text, "
            "padding and special tokens left out; of one layer, or the mean over the layers above the embeddings."
        ),
        source=(
            f"{_CKA}Song et al. (2012), Feature Selection via Dependence Maximization, JMLR (the unbiased estimator)"
        ),
        by="layer",
        flattered=True,
        along=True,
        shown=("interference", "profile", "profile at matched score"),
    ),
    Measure(
        name="output_drift",
        title="drift of the output representation (1 − CKA)",
        short="output drift",
        unit="coefficient",
        better="lower",
        family="knowledge",
        definition=(
            "1 − debiased linear CKA of the last layer's hidden states of the pretrained and the fine-tuned model, on "
            "the same tokens: where drift can show whatever layers are frozen."
        ),
        source=(
            f"{_CKA}Song et al. (2012), Feature Selection via Dependence Maximization, JMLR (the unbiased estimator)"
        ),
        flattered=True,
        along=True,
    ),
    Measure(
        name="parameter_drift",
        title="parameter drift",
        unit="ratio",
        better="lower",
        family="knowledge",
        definition="‖θ − θ₀‖ / ‖θ₀‖ over the encoder's weights, the task's head left out; of one block, or of all.",
        by="block",
        split="run",
        of_texts=False,
        flattered=True,
        along=True,
        shown=("interference", "profile", "profile at matched score"),
    ),
    Measure(
        name="moved_drift",
        title="drift of the weights that moved",
        unit="ratio",
        better="lower",
        family="knowledge",
        definition=(
            "‖θ − θ₀‖ / ‖θ₀‖ over those of the encoder's weights that are not bit for bit the pretrained ones: what a "
            "mask froze or held is left out."
        ),
        split="run",
        of_texts=False,
        flattered=True,
        along=True,
    ),
    Measure(
        name="changed_weights",
        title="share of weights changed",
        unit="fraction",
        better="lower",
        family="knowledge",
        definition=(
            "Share of the encoder's weights that are not bit for bit the pretrained ones; of one block, or of all."
        ),
        by="block",
        split="run",
        of_texts=False,
        flattered=True,
        along=True,
    ),
    Measure(
        name="mlm_loss",
        title="masked-LM loss with the original head",
        unit="nats",
        better="lower",
        family="knowledge",
        definition=(
            "Cross-entropy per masked token of the fine-tuned encoder under the pretrained masked-LM head, with fixed "
            f"masks on {100 * MASKED_LM_RATE:g} % of the tokens; for models that have a head."
        ),
        made_of=ratio(("test:masked-lm", 1.0)),
        masked_lm=True,
        flattered=True,
        along=True,
    ),
    Measure(
        name="mlm_forgetting",
        title="masked-LM forgetting",
        unit="nats",
        better="lower",
        family="knowledge",
        definition=(
            "Masked-LM loss of the fine-tuned encoder − that of the pretrained model, same head, text and masks."
        ),
        made_of=ratio(("test:masked-lm", 1.0), offset=True),
        masked_lm=True,
        flattered=True,
        along=True,
        shown=("interference", "profile"),
    ),
    Measure(
        name="probing_accuracy",
        title="accuracy of a linear probe",
        unit="fraction",
        better="higher",
        family="knowledge",
        definition=(
            "Accuracy of a linear classifier of a surface property of the text, fitted to the mean of the fine-tuned "
            "model's last layer and tested on held-out text; of one property, or the mean over all."
        ),
        source=_PROBED,
        by="property",
        made_of=probes(100.0),
        flattered=True,
        along=True,
    ),
    Measure(
        name="probing_drop",
        title="probing drop",
        unit="points",
        better="lower",
        family="knowledge",
        definition=("100 · (accuracy of such a probe on the pretrained model's features − on the fine-tuned model's)."),
        source=_PROBED,
        by="property",
        made_of=probes(-100.0, offset=True),
        flattered=True,
        along=True,
        shown=("interference", "profile"),
    ),
    Measure(
        name="matched_score",
        title="validation score that all strategies are compared at",
        unit="fraction",
        better="neither",
        family="knowledge",
        definition=(
            "Within a block and seed, the share `analysis: matched_score` of the way from the majority class's score "
            "to the best validation score of the baseline: below its plateau, where a small difference of the end "
            "would decide, and the same whatever other strategies the study has. Empty where the baseline failed."
        ),
        split="validation",
        derived=True,
    ),
    Measure(
        name="matched_censored",
        title="matched score not seen being reached",
        unit="side",
        better="neither",
        family="knowledge",
        definition=(
            "−1 where the evaluations were too few to see when the matched score was reached (the first one has it "
            "already, or the number of updates grows by more than half between the two that it lies between), 1 where "
            "it was never reached: then the values at matched score are not known and empty, and verdicts on them are "
            "inconclusive. 0: it was seen."
        ),
        split="run",
        derived=True,
    ),
)
