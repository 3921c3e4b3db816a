"""The registry of measures: unit, direction and title of everything that a run records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["score", "fit", "input", "task", "knowledge", "cost", "run"]
"""score: how well the task is solved; fit, input, task, knowledge: the four kinds of interference; cost; run: facts."""


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
    by: str | None = None
    """What may stand behind a colon, as in ``f1:PER``: class, layer, block, perturbation, ...; None: nothing."""


def _rows(family: Family, *rows: tuple[str, ...]) -> dict[str, Measure]:
    """Return the measures of a family by name."""
    return {row[0]: Measure(row[0], family, *row[1:]) for row in rows}  # type: ignore[arg-type]


MEASURES: dict[str, Measure] = {
    **_rows(
        "score",
        ("score", "fraction", "higher", "score"),
        ("majority_score", "fraction", "neither", "score of the majority class"),
        ("accuracy", "fraction", "higher", "accuracy"),
        ("token_accuracy", "fraction", "higher", "token accuracy"),
        ("mcc", "coefficient", "higher", "Matthews correlation"),
        ("precision_micro", "fraction", "higher", "precision (micro)"),
        ("recall_micro", "fraction", "higher", "recall (micro)"),
        ("f1_micro", "fraction", "higher", "F1 (micro)"),
        ("precision_macro", "fraction", "higher", "precision (macro)"),
        ("recall_macro", "fraction", "higher", "recall (macro)"),
        ("f1_macro", "fraction", "higher", "F1 (macro)"),
        ("precision_weighted", "fraction", "higher", "precision (weighted)"),
        ("recall_weighted", "fraction", "higher", "recall (weighted)"),
        ("f1_weighted", "fraction", "higher", "F1 (weighted)"),
        ("entity_precision", "fraction", "higher", "entity precision"),
        ("entity_recall", "fraction", "higher", "entity recall"),
        ("entity_f1", "fraction", "higher", "entity F1"),
        ("seen_f1", "fraction", "higher", "entity F1, mentions seen in training"),
        ("unseen_f1", "fraction", "higher", "entity F1, unseen mentions"),
        ("precision", "fraction", "higher", "precision", "class"),
        ("recall", "fraction", "higher", "recall", "class"),
        ("f1", "fraction", "higher", "F1", "class"),
        ("support", "examples", "neither", "support", "class"),
        ("truncated", "words", "neither", "words cut off by max_length"),
        ("loss", "nats", "lower", "cross-entropy"),
    ),
    **_rows(
        "fit",
        ("loss_gap", "nats", "lower", "generalisation gap (cross-entropy)"),
        ("score_gap", "points", "lower", "generalisation gap (score)"),
        ("ece", "fraction", "lower", "expected calibration error"),
        ("brier", "fraction", "lower", "Brier score"),
        ("flipped_agreement", "fraction", "neither", "predictions that agree with the flipped label"),
        ("noise_memorisation", "fraction", "lower", "noise memorisation"),
        ("score_sd", "points", "lower", "SD of the score over seeds"),
        ("failed", "fraction", "lower", "failed runs (at most the majority class)"),
        ("disagreement", "fraction", "lower", "disagreement with the other seeds"),
    ),
    **_rows(
        "input",
        ("distractor_drop", "points", "lower", "distractor drop"),
        ("distractor_flip_rate", "fraction", "lower", "predictions flipped by a distractor"),
        ("perturbation_drop", "points", "lower", "perturbation drop", "perturbation"),
        ("perturbation_flip_rate", "fraction", "lower", "predictions flipped by a perturbation", "perturbation"),
        ("masking_drop", "points", "lower", "drop under masked words", "perturbation"),
        ("masking_flip_rate", "fraction", "lower", "predictions flipped by masked words", "perturbation"),
        ("aligned_score", "fraction", "neither", "score with an aligned cue"),
        ("conflicting_score", "fraction", "higher", "score with a conflicting cue"),
        ("cue_reliance", "points", "lower", "cue reliance"),
        ("worst_group_score", "fraction", "higher", "score of the worst group of class and cue"),
    ),
    **_rows(
        "task",
        ("negative_transfer", "points", "lower", "negative transfer"),
        ("gradient_cosine", "coefficient", "higher", "cosine of the tasks' gradients", "layer"),
        ("gradient_conflict", "fraction", "lower", "share of conflicting gradients", "layer"),
        ("sequence_score", "fraction", "neither", "score after a stage, on a task", "stage-task"),
        ("forgetting", "points", "lower", "forgetting of the first task"),
        ("backward_transfer", "points", "higher", "backward transfer"),
        ("matched_forgetting", "points", "lower", "forgetting at matched score"),
    ),
    **_rows(
        "knowledge",
        ("representation_drift", "coefficient", "lower", "representation drift (1 − CKA)", "layer"),
        ("parameter_drift", "ratio", "lower", "parameter drift", "block"),
        ("changed_weights", "fraction", "lower", "share of weights changed", "block"),
        ("mlm_loss", "nats", "lower", "masked-LM loss with the original head"),
        ("mlm_forgetting", "nats", "lower", "masked-LM forgetting"),
        ("probing_accuracy", "fraction", "higher", "accuracy of a linear probe", "property"),
        ("probing_drop", "points", "lower", "probing drop", "property"),
        ("matched_representation_drift", "coefficient", "lower", "representation drift at matched score"),
        ("matched_parameter_drift", "ratio", "lower", "parameter drift at matched score"),
        ("matched_score", "fraction", "neither", "validation score that all strategies are compared at"),
    ),
    **_rows(
        "cost",
        ("step_time", "ms", "lower", "time per update"),
        ("step_overhead", "ratio", "lower", "time per update over that of the baseline"),
        ("peak_memory", "MiB", "lower", "peak memory"),
        ("memory_overhead", "ratio", "lower", "peak memory over that of the baseline"),
        ("steps_to_score", "updates", "lower", "updates to the matched score"),
        ("fit_time", "s", "lower", "time to fit the masks"),
        ("train_time", "s", "lower", "training time"),
        ("wall_time", "s", "lower", "wall time of the job"),
        ("probe_time", "s", "lower", "wall time of the probe job"),
        ("throughput", "examples/s", "higher", "training throughput"),
    ),
    **_rows(
        "run",
        ("mask_rate", "fraction", "neither", "realised mask rate"),
        ("attention_mask_rate", "fraction", "neither", "realised share of hidden attention"),
        ("objective_mask_rate", "fraction", "neither", "realised mask rate of the objective's copy"),
        ("selected_epoch", "epochs", "neither", "epoch of the selected checkpoint"),
        ("steps", "updates", "neither", "updates"),
        ("trained_parameters", "parameters", "neither", "parameters trained"),
        ("parameters", "parameters", "neither", "parameters in all"),
    ),
}
"""All measures by name; one that is told apart by a class or a layer is written ``f1:PER`` and has `f1`'s entry."""


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
