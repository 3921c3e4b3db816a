"""What is said of pretraining recipes beside a verdict: how their models are counted, and what differences vary by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.analysis.between_models import pretraining_seeds
from maskbench.analysis.components import components

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.analysis.contrasts import Evidence
    from maskbench.analysis.rows import Row


def of_recipes(row: Row) -> Iterator[str]:
    """Say of which pretraining seeds the models of a contrast are, where they have any."""
    evidence = row.evidence
    if evidence.fine_tuning:
        yield from _of_pairs(evidence, row)
        return
    seeds = evidence.terms.groupby("recipe")["model"].nunique()
    if several := [f"{name} ({count})" for name, count in seeds.items() if count > 1]:
        yield (
            f"Models that differ in their pretraining seed alone count as one: {', '.join(several)}. Seeds are those "
            "of fine-tuning: that other pretraining seeds would give another number is not in the interval."
        )


def component_rows(rows: list[Row]) -> Iterator[dict[str, Any]]:
    """Yield the rows of components.csv: what the differences between two recipes vary by, scope by scope."""
    for row in rows:
        evidence, spread = row.evidence, row.spread
        if spread is None or not evidence.fine_tuning:
            continue
        found = components(evidence.table(row.weights))
        parts = {"pretraining_sd": found.pretraining, "fine_tuning_sd": found.fine_tuning, "rest_sd": found.rest}
        parts["texts_se"] = float(spread.examples) if spread.n_examples else np.nan
        parts["se"] = float(spread.error) ** 2 if spread.n > 1 else np.nan
        yield {
            "claim": row.claim.id,
            "contrast": evidence.contrast.name,
            "measure": evidence.measure,
            "scope": row.scope,
            "unit": evidence.scale.unit,
            "n_pretraining": found.n,
            "n_fine_tuning": found.n_fine_tuning,
            **{name: evidence.scale.show(float(np.sqrt(variance))) for name, variance in parts.items()},
        }


def _of_pairs(evidence: Evidence, row: Row) -> Iterator[str]:
    """Say how pretraining seeds are paired, and what of them is left out."""
    spread = row.spread
    if spread is None:
        return
    of_seed = evidence.complete(row.weights).reshape(len(evidence.seeds), -1).sum(axis=1)
    of_seed = of_seed[of_seed > 0]
    low, high = int(of_seed.min()), int(of_seed.max())
    times = f"{low} to {high} fine-tuning seeds" if low < high else f"{low} fine-tuning seed{'s' * (low > 1)}"
    yield f"A seed is one of pretraining, its value the mean over {times}."
    if spread.n_fine_tuning < 2:
        yield "That other fine-tuning seeds would give another number is not in the interval."
    for side, arm in enumerate(evidence.contrast.arms):
        own = evidence.terms[evidence.terms["arm"] == side]
        if not pretraining_seeds(own):
            yield f"{arm.model} was not pretrained here: the verdict is about this one checkpoint."
