"""The registry of measures: unit, direction and title of everything that a run records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Measure:
    """What a number in metrics.csv is."""

    name: str
    """Value of the `measure` column."""
    unit: str
    """Unit of the `value` column."""
    better: Literal["higher", "lower", "neither"]
    """Which direction is an improvement."""
    title: str
    """Name in tables and figures."""


_ROWS: tuple[tuple[str, str, Literal["higher", "lower", "neither"], str], ...] = (
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
    ("precision", "fraction", "higher", "precision"),
    ("recall", "fraction", "higher", "recall"),
    ("f1", "fraction", "higher", "F1"),
    ("support", "examples", "neither", "support"),
    ("truncated", "words", "neither", "words cut off by max_length"),
    ("loss", "nats", "lower", "cross-entropy"),
    ("loss_gap", "nats", "lower", "generalisation gap (cross-entropy)"),
    ("score_gap", "points", "lower", "generalisation gap (score)"),
    ("mask_rate", "fraction", "neither", "realised mask rate"),
    ("attention_mask_rate", "fraction", "neither", "realised share of hidden attention"),
    ("objective_mask_rate", "fraction", "neither", "realised mask rate of the objective's copy"),
    ("fit_time", "s", "lower", "time to fit the masks"),
    ("selected_epoch", "epochs", "neither", "epoch of the selected checkpoint"),
    ("steps", "updates", "neither", "updates"),
    ("train_time", "s", "lower", "training time"),
    ("wall_time", "s", "lower", "wall time of the job"),
    ("step_time", "ms", "lower", "time per update"),
    ("throughput", "examples/s", "higher", "training throughput"),
    ("peak_memory", "MiB", "lower", "peak memory"),
    ("trained_parameters", "parameters", "neither", "parameters trained"),
    ("parameters", "parameters", "neither", "parameters in all"),
)

MEASURES: dict[str, Measure] = {row[0]: Measure(*row) for row in _ROWS}
"""All measures by name; a per-class measure is written ``f1:PER`` and has the entry of ``f1``."""


def measure(name: str) -> Measure:
    """Return the entry of a measure, ``f1:PER`` included.

    Parameters
    ----------
    name
        Name as in the `measure` column.

    Raises
    ------
    KeyError
        If the registry has no such measure.
    """
    return MEASURES[name.split(":", 1)[0]]
