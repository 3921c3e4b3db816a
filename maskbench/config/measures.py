"""The registry of measures: unit, direction, title and definition of everything that is recorded of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

Family = Literal["score", "fit", "input", "task", "knowledge", "cost", "run"]
"""score: how well the task is solved; fit, input, task, knowledge: the four kinds of interference; cost; run: facts."""
Home = Literal["single", "after-*", "with-*", "cue", "noise"]
"""Runs that a measure is compared on by default: of a single task on clean data, of a second task, of two tasks at
once, with a planted cue, with flipped labels."""


@dataclass(frozen=True)
class Measure:
    """What a number in metrics.csv is."""

    name: str
    """Value of the `measure` column, up to a colon."""
    family: Family
    """What it tells about."""
    unit: str
    """Unit of the `value` column."""
    better: Literal["higher", "lower", "neither"]
    """Which direction is an improvement."""
    title: str
    """Name in tables and figures."""
    definition: str
    """How it is computed."""
    source: str | None = None
    """Where it is from; None: what everybody means by the word, or this project's own."""
    by: str | None = None
    """What may stand behind a colon, as in ``f1:PER``: class, layer, block, perturbation, ...; None: nothing."""
    home: Home = "single"
    """On which runs strategies are compared by it, if nobody says otherwise."""
    flattered: bool = False
    """Whether a model that learned little looks good by it: less of it counts only if the score is not the price."""
    matched: str | None = None
    """Its measure at the matched score; None: there is none."""
    of: Literal["run", "pairs", "cell"] = "run"
    """What one number rests on: a run (with others of its seed), pairs of a cell's seeds, or all its seeds together."""


_OF: dict[str, Literal["pairs", "cell"]] = {"disagreement": "pairs", "score_sd": "cell"}
"""Measures of which the seeds are not independent: pairs get a test of their own, a cell has no paired difference."""

_HOMES: dict[str, Home] = {
    "cue_reliance": "cue",
    "aligned_score": "cue",
    "conflicting_score": "cue",
    "worst_group_score": "cue",
    "flipped_agreement": "noise",
    "noise_memorisation": "noise",
    "negative_transfer": "with-*",
    "gradient_cosine": "with-*",
    "gradient_conflict": "with-*",
    "sequence_score": "after-*",
    "forgetting": "after-*",
    "backward_transfer": "after-*",
    "matched_forgetting": "after-*",
}

_FLATTERED: dict[str, str | None] = {
    # a model that gives every text the same answer has no gap, no drop, no flip, no reliance and no memory
    **dict.fromkeys(("loss_gap", "score_gap", "ece", "noise_memorisation", "disagreement")),
    **dict.fromkeys(("distractor_drop", "distractor_flip_rate", "perturbation_drop", "perturbation_flip_rate")),
    **dict.fromkeys(("masking_drop", "masking_flip_rate", "cue_reliance", "conflicting_score")),
    **dict.fromkeys(("negative_transfer", "changed_weights", "mlm_loss", "mlm_forgetting")),
    **dict.fromkeys(("probing_accuracy", "probing_drop")),
    "forgetting": "matched_forgetting",
    "backward_transfer": "matched_forgetting",
    "representation_drift": "matched_representation_drift",
    "parameter_drift": "matched_parameter_drift",
}
"""Measures that under-fitting flatters, and what they are called at the matched score, where they have such a value."""

OF_MACHINE = (
    *("step_time", "step_overhead", "peak_memory", "memory_overhead", "fit_time"),
    *("train_time", "wall_time", "probe_time", "throughput"),
)
"""Measures that depend on the machine: they are compared between runs on one kind of machine alone."""

AT_MATCHED_SCORE = ("steps_to_score", "matched_forgetting", "matched_representation_drift", "matched_parameter_drift")
"""Measures of the moment at which the matched score is reached; empty where nobody saw it (`matched_censored`)."""


def _rows(family: Family, *rows: tuple[str, ...], **by: str) -> dict[str, Measure]:
    """Return the measures of a family by name; `by` says of some what may stand behind the colon."""
    entries = (Measure(row[0], family, *row[1:]) for row in rows)  # type: ignore[arg-type]
    return {
        entry.name: replace(
            entry,
            by=by.get(entry.name),
            home=_HOMES.get(entry.name, "single"),
            flattered=entry.name in _FLATTERED,
            matched=_FLATTERED.get(entry.name),
            of=_OF.get(entry.name, "run"),
        )
        for entry in entries
    }


_CHURN = "Milani Fard et al. (2016), Launch and Iterate: Reducing Prediction Churn, NeurIPS (churn)"
_CKA = "Kornblith et al. (2019), Similarity of Neural Network Representations Revisited, ICML, section 3; "
_CONFLICT = "Yu et al. (2020), Gradient Surgery for Multi-Task Learning, NeurIPS, section 2"
_FORGETTING = "Lopez-Paz & Ranzato (2017), Gradient Episodic Memory for Continual Learning, NeurIPS"
_LEARNED_LESS = "Biderman et al. (2024), LoRA Learns Less and Forgets Less, TMLR (forgetting against learning)"
_PERTURBED = "after Belinkov & Bisk (2018), Synthetic and Natural Noise Both Break Neural Machine Translation, ICLR"
_PROBED = "Alain & Bengio (2017), Understanding Intermediate Layers Using Linear Classifier Probes, ICLR workshop"
_SEEN = "Augenstein et al. (2017), Generalisation in Named Entity Recognition, Computer Speech & Language"
_SEQEVAL = (
    "Tjong Kim Sang & De Meulder (2003), Introduction to the CoNLL-2003 Shared Task; "
    "Nakayama (2018), seqeval, strict mode"
)
_STABLE = "Mosbach et al. (2021), On the Stability of Fine-tuning BERT, ICLR (failed runs)"

MEASURES: dict[str, Measure] = {
    **_rows(
        "score",
        (
            "score",
            "fraction",
            "higher",
            "score",
            "The task's own score: accuracy for texts, entity F1 for tags. Sum of hits over sum of weights in "
            "outcomes.parquet.",
        ),
        (
            "majority_score",
            "fraction",
            "neither",
            "score of the majority class",
            "Score of always giving the most frequent training label; 0 for tagging, where it finds no entity.",
        ),
        ("accuracy", "fraction", "higher", "accuracy", "Share of texts whose class is right."),
        ("token_accuracy", "fraction", "higher", "token accuracy", "Share of words whose tag is right, O included."),
        (
            "mcc",
            "coefficient",
            "higher",
            "Matthews correlation",
            "Correlation of predicted and true classes; 0 is chance, whatever the balance of classes.",
            "Gorodkin (2004), Comparing two K-category assignments by a K-category correlation coefficient",
        ),
        ("precision_micro", "fraction", "higher", "precision (micro)", "Precision over all predictions together."),
        ("recall_micro", "fraction", "higher", "recall (micro)", "Recall over all labels together."),
        ("f1_micro", "fraction", "higher", "F1 (micro)", "F1 over all classes together."),
        ("precision_macro", "fraction", "higher", "precision (macro)", "Mean precision of the classes."),
        ("recall_macro", "fraction", "higher", "recall (macro)", "Mean recall of the classes."),
        ("f1_macro", "fraction", "higher", "F1 (macro)", "Mean F1 of the classes."),
        (
            "precision_weighted",
            "fraction",
            "higher",
            "precision (weighted)",
            "Mean precision of the classes, weighted by their support.",
        ),
        (
            "recall_weighted",
            "fraction",
            "higher",
            "recall (weighted)",
            "Mean recall of the classes, weighted by their support.",
        ),
        ("f1_weighted", "fraction", "higher", "F1 (weighted)", "Mean F1 of the classes, weighted by their support."),
        (
            "entity_precision",
            "fraction",
            "higher",
            "entity precision",
            "Share of predicted entities whose span and type are both right.",
            _SEQEVAL,
        ),
        (
            "entity_recall",
            "fraction",
            "higher",
            "entity recall",
            "Share of true entities that are found with span and type.",
            _SEQEVAL,
        ),
        (
            "entity_f1",
            "fraction",
            "higher",
            "entity F1",
            "Harmonic mean of entity precision and entity recall.",
            _SEQEVAL,
        ),
        (
            "seen_f1",
            "fraction",
            "higher",
            "entity F1, mentions seen in training",
            "Entity F1 on the mentions whose text is a mention, of whatever type, of the run's training texts, too.",
            _SEEN,
        ),
        (
            "unseen_f1",
            "fraction",
            "higher",
            "entity F1, unseen mentions",
            "Entity F1 on the mentions whose text is no mention of any type of the run's training texts.",
            _SEEN,
        ),
        ("precision", "fraction", "higher", "precision", "Precision of one class (tagging: of one type of entity)."),
        ("recall", "fraction", "higher", "recall", "Recall of one class (tagging: of one type of entity)."),
        ("f1", "fraction", "higher", "F1", "F1 of one class (tagging: of one type of entity)."),
        ("support", "examples", "neither", "support", "Number of texts, or entities, of one class."),
        (
            "confusion",
            "count",
            "neither",
            "confusion matrix",
            "`confusion:A>B`: how many texts of class A were given class B (tagging: words of an entity type, whether "
            "they begin a mention or not; O is none). Pairs that do not occur are left out. In the names of classes, a "
            "backslash stands before > and before a backslash.",
        ),
        (
            "truncated",
            "words",
            "neither",
            "words cut off by max_length",
            "Words of the texts that were scored which stand behind max_length and which the model does not see; in "
            "tagging they count as O.",
        ),
        (
            "loss",
            "nats",
            "lower",
            "cross-entropy",
            "Mean of −log p(true label) over texts, or over words with a prediction, in eval mode.",
        ),
        precision="class",
        recall="class",
        f1="class",
        support="class",
        confusion="true class>predicted class",
    ),
    **_rows(
        "fit",
        (
            "loss_gap",
            "nats",
            "lower",
            "generalisation gap (cross-entropy)",
            "Cross-entropy on test − cross-entropy on train, both on unmasked text in eval mode.",
        ),
        (
            "score_gap",
            "points",
            "lower",
            "generalisation gap (score)",
            "100 · (score on train − score on test), both on unmasked text in eval mode.",
        ),
        (
            "ece",
            "fraction",
            "lower",
            "expected calibration error",
            "Mean over 15 equal bins of confidence, weighted by their size, of |share right − mean confidence|; of "
            "texts, or of words with a prediction.",
            "Guo et al. (2017), On Calibration of Modern Neural Networks, ICML, section 2",
        ),
        (
            "brier",
            "fraction",
            "lower",
            "Brier score",
            "Mean of Σ_k (p_k − 1[k = true label])² over texts, or over words with a prediction; from 0 to 2.",
            "Brier (1950), Verification of Forecasts Expressed in Terms of Probability, Monthly Weather Review",
        ),
        (
            "flipped_agreement",
            "fraction",
            "neither",
            "predictions that agree with the flipped label",
            "On the training examples whose labels the condition label-noise flips: share for which the model predicts "
            "the flipped label.",
        ),
        (
            "noise_memorisation",
            "fraction",
            "lower",
            "noise memorisation",
            "Agreement with the flipped labels after training on them − the same of the twin that was trained on clean "
            "labels: what was learned by heart, without what looks like it by mistake.",
            "Arpit et al. (2017), A Closer Look at Memorization in Deep Networks, ICML",
        ),
        (
            "score_sd",
            "points",
            "lower",
            "SD of the score over seeds",
            "100 · SD (n − 1) of the test score over the completed seeds of a cell, the same at each of its runs; "
            "empty with one seed.",
            f"Dodge et al. (2020), Fine-Tuning Pretrained Language Models; {_STABLE}",
        ),
        (
            "failed",
            "fraction",
            "lower",
            "failed runs (hardly above the majority class)",
            "1 for a run that did not complete or whose test score is at most 5 % of the way from that of the majority "
            "class to 1 (tagging: an entity F1 of .05), else 0.",
            _STABLE,
        ),
        (
            "disagreement",
            "fraction",
            "lower",
            "disagreement with the other seeds",
            "Share of test examples that a run answers otherwise than another seed of its cell (tagging: sentences in "
            "which a tag differs), the mean over its other completed seeds; empty with one seed.",
            _CHURN,
        ),
    ),
    **_rows(
        "input",
        (
            "distractor_drop",
            "points",
            "lower",
            "distractor drop",
            "100 · (score on a text − score with a sentence beside it that has nothing to do with the label), on the "
            "same test examples.",
            "after Jia & Liang (2017), Adversarial Examples for Evaluating Reading Comprehension Systems, EMNLP",
        ),
        (
            "distractor_flip_rate",
            "fraction",
            "lower",
            "predictions flipped by a distractor",
            "Share of test examples whose prediction a distractor changes (tagging: sentences in which the tag of a "
            "word changes that is in both versions).",
        ),
        (
            "perturbation_drop",
            "points",
            "lower",
            "perturbation drop",
            "100 · (score on a text − score on the text with neighbouring letters swapped, letters deleted or words "
            "dropped), on the same test examples; `swap-10` changes 10 % of the letters. Of one set, or the mean over "
            "all.",
            _PERTURBED,
        ),
        (
            "perturbation_flip_rate",
            "fraction",
            "lower",
            "predictions flipped by a perturbation",
            "Share of test examples whose prediction a perturbation changes.",
            _PERTURBED,
        ),
        (
            "masking_drop",
            "points",
            "lower",
            "drop under masked words",
            "The same as the perturbation drop with words replaced by the mask token: reported apart, since it is what "
            "input masks train for.",
        ),
        (
            "masking_flip_rate",
            "fraction",
            "lower",
            "predictions flipped by masked words",
            "Share of test examples whose prediction masked words change.",
        ),
        (
            "aligned_score",
            "fraction",
            "neither",
            "score with an aligned cue",
            "Score on test texts whose planted cue agrees with the label everywhere.",
        ),
        (
            "conflicting_score",
            "fraction",
            "higher",
            "score with a conflicting cue",
            "Score on test texts whose planted cue contradicts the label everywhere.",
        ),
        (
            "cue_reliance",
            "points",
            "lower",
            "cue reliance",
            "100 · (aligned score − conflicting score). Of a model trained under a cue condition, on the sets of that "
            "condition; of any other, on those of the first: how much a word decides that it never learned from.",
            "Geirhos et al. (2020), Shortcut Learning in Deep Neural Networks, Nature Machine Intelligence, section 3 "
            "(i.i.d. against out-of-distribution tests)",
        ),
        (
            "worst_group_score",
            "fraction",
            "higher",
            "score of the worst group of class and cue",
            "Lowest accuracy over the groups of class and cue; in tagging, lowest recall over those of entity type and "
            "whether the trigger stands before. Groups of fewer than 5 are left out.",
            "Sagawa et al. (2020), Distributionally Robust Neural Networks for Group Shifts, ICLR",
        ),
        perturbation_drop="perturbation",
        perturbation_flip_rate="perturbation",
        masking_drop="perturbation",
        masking_flip_rate="perturbation",
    ),
    **_rows(
        "task",
        (
            "negative_transfer",
            "points",
            "lower",
            "negative transfer",
            "100 · (test score of the task trained alone − trained together with the other task), of the same "
            "strategy, train size and seed, on clean data.",
            "Wang et al. (2019), Characterizing and Avoiding Negative Transfer, CVPR",
        ),
        (
            "gradient_cosine",
            "coefficient",
            "higher",
            "cosine of the tasks' gradients",
            "Cosine of the two tasks' gradients on the shared parameters, the mean over updates spread evenly over "
            "joint training; of the whole encoder, or of one layer.",
            _CONFLICT,
        ),
        (
            "gradient_conflict",
            "fraction",
            "lower",
            "share of conflicting gradients",
            "Share of these updates at which the cosine is below 0.",
            f"{_CONFLICT} (definition 1)",
        ),
        (
            "sequence_score",
            "fraction",
            "neither",
            "score after a stage, on a task",
            "`sequence_score:i-j` is the test score on task j after stage i of sequential training; 1-2 is that of the "
            "second task before its first update.",
            f"{_FORGETTING} (the matrix R)",
        ),
        (
            "forgetting",
            "points",
            "lower",
            "forgetting of the first task",
            "100 · (test score on the first task after training on it − after training on the second, with the first "
            "task's own head).",
            "Chaudhry et al. (2018), Riemannian Walk for Incremental Learning, ECCV, section 3 (for two tasks)",
        ),
        (
            "backward_transfer",
            "points",
            "higher",
            "backward transfer",
            "Forgetting with its sign turned: above 0, the second task helped the first.",
            _FORGETTING,
        ),
        (
            "matched_forgetting",
            "points",
            "lower",
            "forgetting at matched score",
            "Forgetting at the moment at which the second task's validation score first reaches the matched score.",
            _LEARNED_LESS,
        ),
        gradient_cosine="layer",
        gradient_conflict="layer",
        sequence_score="stage-task",
    ),
    **_rows(
        "knowledge",
        (
            "representation_drift",
            "coefficient",
            "lower",
            "representation drift (1 − CKA)",
            "1 − debiased linear CKA of the hidden states of the pretrained and the fine-tuned model on fixed text, "
            "padding and special tokens left out; of one layer, or the mean over the layers above the embeddings.",
            f"{_CKA}Song et al. (2012), Feature Selection via Dependence Maximization, JMLR (the unbiased estimator)",
        ),
        (
            "parameter_drift",
            "ratio",
            "lower",
            "parameter drift",
            "‖θ − θ₀‖ / ‖θ₀‖ over the encoder's weights, the task's head left out; of one block, or of all.",
        ),
        (
            "changed_weights",
            "fraction",
            "lower",
            "share of weights changed",
            "Share of the encoder's weights that are not bit for bit the pretrained ones; of one block, or of all.",
        ),
        (
            "mlm_loss",
            "nats",
            "lower",
            "masked-LM loss with the original head",
            "Cross-entropy per masked token of the fine-tuned encoder under the pretrained masked-LM head, with fixed "
            "masks on 15 % of the tokens; for models that have a head.",
        ),
        (
            "mlm_forgetting",
            "nats",
            "lower",
            "masked-LM forgetting",
            "Masked-LM loss of the fine-tuned encoder − that of the pretrained model, same head, text and masks.",
        ),
        (
            "probing_accuracy",
            "fraction",
            "higher",
            "accuracy of a linear probe",
            "Accuracy of a linear classifier of a surface property of the text, fitted to the mean of the fine-tuned "
            "model's last layer and tested on held-out text; of one property, or the mean over all.",
            _PROBED,
        ),
        (
            "probing_drop",
            "points",
            "lower",
            "probing drop",
            "100 · (accuracy of such a probe on the pretrained model's features − on the fine-tuned model's).",
            _PROBED,
        ),
        (
            "matched_representation_drift",
            "coefficient",
            "lower",
            "representation drift at matched score",
            "Representation drift at the moment at which the validation score first reaches the matched score.",
            _LEARNED_LESS,
        ),
        (
            "matched_parameter_drift",
            "ratio",
            "lower",
            "parameter drift at matched score",
            "Parameter drift at the moment at which the validation score first reaches the matched score.",
            _LEARNED_LESS,
        ),
        (
            "matched_score",
            "fraction",
            "neither",
            "validation score that all strategies are compared at",
            "Within a block and seed, 90 % of the way from the majority class's score to the best validation score of "
            "the baseline: below its plateau, where a small difference of the end would decide, and the same whatever "
            "other strategies the study has. Empty where the baseline failed.",
        ),
        (
            "matched_censored",
            "side",
            "neither",
            "matched score not seen being reached",
            "−1 where the evaluations were too few to see when the matched score was reached (the first one has it "
            "already, or the number of updates grows by more than half between the two that it lies between), 1 where "
            "it was never reached: then the values at matched score are not known and empty, and verdicts on them are "
            "inconclusive. 0: it was seen.",
        ),
        representation_drift="layer",
        parameter_drift="block",
        changed_weights="block",
        probing_accuracy="property",
        probing_drop="property",
    ),
    **_rows(
        "cost",
        (
            "step_time",
            "ms",
            "lower",
            "time per update",
            "Median wall time of an update, evaluation left out.",
        ),
        (
            "step_overhead",
            "ratio",
            "lower",
            "time per update over that of the baseline",
            "Time per update over that of the baseline's run of the same block and seed.",
        ),
        (
            "peak_memory",
            "MiB",
            "lower",
            "peak memory",
            "Most memory that was allocated on the GPU; without one, most memory that the process held.",
        ),
        (
            "memory_overhead",
            "ratio",
            "lower",
            "peak memory over that of the baseline",
            "Peak memory over that of the baseline's run of the same block and seed.",
        ),
        (
            "steps_to_score",
            "updates",
            "lower",
            "updates to the matched score",
            "Updates until the validation score first reaches the matched score, linear between evaluations; empty if "
            "nobody saw it (`matched_censored`).",
        ),
        ("fit_time", "s", "lower", "time to fit the masks", "Wall time of what a mask does before the first update."),
        ("train_time", "s", "lower", "training time", "Wall time of all updates together, evaluation left out."),
        ("wall_time", "s", "lower", "wall time of the job", "Wall time of the whole training job."),
        ("probe_time", "s", "lower", "wall time of the probe job", "Wall time of the job that measured the model."),
        (
            "throughput",
            "examples/s",
            "higher",
            "training throughput",
            "Training examples seen per second of training time.",
        ),
    ),
    **_rows(
        "run",
        (
            "mask_rate",
            "fraction",
            "neither",
            "realised mask rate",
            "Share of ordinary tokens that the input mask replaced, over all of training.",
        ),
        (
            "attention_mask_rate",
            "fraction",
            "neither",
            "realised share of hidden attention",
            "Share of the pairs of real tokens that the attention mask hid, over all of training.",
        ),
        (
            "objective_mask_rate",
            "fraction",
            "neither",
            "realised mask rate of the objective's copy",
            "Share of ordinary tokens that were masked in the copy that an objective compares with.",
        ),
        (
            "selected_epoch",
            "epochs",
            "neither",
            "epoch of the selected checkpoint",
            "When the checkpoint with the best validation score was taken.",
        ),
        (
            "machine",
            "number",
            "neither",
            "kind of machine",
            "Runs of a study with the same number ran on the same kind of device with the same number of threads; "
            "manifest.json names them. Times and memory are compared within one kind alone.",
        ),
        ("steps", "updates", "neither", "updates", "Optimiser updates that were made."),
        (
            "trained_parameters",
            "parameters",
            "neither",
            "parameters trained",
            "Parameters that can move, held ones left out.",
        ),
        ("parameters", "parameters", "neither", "parameters in all", "Parameters of the model with its head."),
    ),
}
"""All measures by name; one that is told apart by a class or a layer is written ``f1:PER`` and has `f1`'s entry."""


_SIDES = re.compile(r"((?:[^\\>]|\\.)*)>(.*)", re.DOTALL)


def pair(true: str, given: str) -> str:
    r"""Write two classes as a measure's part, ``TRUE>GIVEN``; in their names, ``\`` stands before ``\`` and ``>``."""
    return ">".join(re.sub(r"[\\>]", r"\\\g<0>", name) for name in (true, given))


def sides(part: str) -> tuple[str, str]:
    """Read what `pair` wrote.

    Raises
    ------
    ValueError
        If it holds no two classes.
    """
    found = _SIDES.fullmatch(part)
    if found is None:
        raise ValueError(f"expected TRUE>GIVEN, got {part!r}")
    true, given = (re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL) for name in found.groups())
    return true, given


def measure(name: str) -> Measure:
    """Return the entry of a measure, ``f1:PER`` included.

    Parameters
    ----------
    name
        Name as in the `measure` column.

    Raises
    ------
    KeyError
        If the registry has no such measure, or the measure has no parts of this kind.
    """
    base, colon, part = name.partition(":")
    entry = MEASURES[base]
    if colon and (not part or entry.by is None):
        raise KeyError(name)
    return entry
