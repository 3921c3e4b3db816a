"""What the files of the statistics hold: their columns and words, for those who write them and those who read them."""

from __future__ import annotations

from typing import Literal, get_args

Verdict = Literal["supported", "contradicted", "equivalent", "inconclusive", "invalid", "not tested"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""All verdicts, in the order in which they are counted and sorted."""

Outcome = Literal["passed", "failed", "undecided", "not run"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""What a gate can come to."""

METHODS = ("mixed model", "IQM", "ROPE", "failed runs imputed")
"""Other ways to look at the same differences."""

POOLED = "pooled"
"""In the column `scope`: all tasks together, each counting the same."""

VERDICT_COLUMNS = (
    *("claim", "contrast", "measure", "scope", "estimate", "ci_low", "ci_high", "p", "p_holm", "n_seeds", "mde"),
    *("delta", "verdict", "note", "unit", "claims_hash"),
)
"""Columns of verdicts.csv; one row for each contrast, measure and scope."""

PAIR_COLUMNS = (
    *("claim", "contrast", "measure", "task", "model", "regime", "condition", "train_size", "seed"),
    *("of", "against", "difference", "unit"),
)
"""Columns of pairs.csv; one row for each difference that a verdict rests on."""

GATE_COLUMNS = (
    *("gate", "sentence", "contrast", "measure", "scope", "estimate", "ci_low", "ci_high", "p", "n_seeds"),
    *("outcome", "note"),
)
"""Columns of gates.csv."""

SENSITIVITY_COLUMNS = (
    *("claim", "contrast", "measure", "scope", "method", "estimate", "ci_low", "ci_high", "agrees", "note"),
)
"""Columns of sensitivity.csv."""
