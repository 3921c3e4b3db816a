"""Controls: what must be equal, what must not differ, what must have an effect, before a verdict counts."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.analysis import statistics
from maskbench.analysis.bootstrap import generator
from maskbench.analysis.contrasts import Evidence, Values, gather, halves, on_resamples
from maskbench.analysis.findings import GATE_COLUMNS, POOLED, Outcome
from maskbench.config.claims import unit_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.analysis.outcomes import Resampler
    from maskbench.config.claims import Claims, Contrast, Gate

CHANCE = 0.01
"""Level of the test of halves: they differ by chance this often, and then all that they guard is invalid."""


@dataclass
class Checked:
    """One contrast of a gate on one measure."""

    gate: Gate
    contrast: str
    measure: str
    outcome: Outcome = "not run"
    note: str = ""
    estimate: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    n_seeds: int | None = None

    def entry(self) -> dict[str, Any]:
        """Return a row of gates.csv."""
        numbers = {name: getattr(self, name) for name in GATE_COLUMNS[5:12]}
        head = {"gate": self.gate.gate, "sentence": self.gate.sentence, "contrast": self.contrast}
        return head | {"measure": self.measure, "scope": POOLED} | numbers


def _expanded(contrast: Contrast, values: Values) -> Iterator[Contrast]:
    """Yield a contrast for each strategy that a pattern fits; a contrast without one as it is."""
    of = contrast.of
    if of is None or "*" not in of.strategy:
        yield contrast
        return
    for name in values.runs["strategy"].unique():
        if fnmatchcase(name, of.strategy):
            update = {"name": f"{name} vs {contrast.against}", "of": of.model_copy(update={"strategy": name})}
            yield contrast.model_copy(update=update)


def _identical(item: Checked, evidence: Evidence) -> None:
    """Pass if every difference is exactly 0."""
    found = evidence.differences[np.isfinite(evidence.differences)]
    item.n_seeds = int(np.isfinite(evidence.differences).any(axis=0).sum())
    if not found.size:
        item.outcome, item.note = "undecided", "No pair of runs is complete."
        return
    item.estimate = evidence.scale.show(float(found[np.abs(found).argmax()]))
    different = int((found != 0).sum())
    item.outcome = "failed" if different else "passed"
    item.note = (
        f"{different} of {found.size} pairs differ; the estimate is the largest difference." if different else ""
    )


def _measured(item: Checked, evidence: Evidence, resampler: Resampler, seed: int) -> statistics.Spread | None:
    """Fill in estimate, interval and p of the mean over tasks; None without two complete seeds."""
    _, weights = next(evidence.scopes())
    drawn = on_resamples(evidence, resampler.of(item.measure, [evidence]))
    spread = resampler.spread(evidence, weights, drawn)
    item.n_seeds = 0 if spread is None else spread.n
    if spread is None or spread.n < 2:
        item.outcome, item.note = "undecided", "It takes two seeds that are complete in every block."
        return None
    show = evidence.scale.show
    item.estimate = show(float(spread.estimate))
    item.ci_low, item.ci_high = (show(float(end)) for end in spread.interval(0.95))
    differences = evidence.mean(weights)
    item.p = float(
        statistics.sign_flip(differences, generator(seed, "flips", item.gate.gate, item.contrast, item.measure))
    )
    return spread


def _positive(item: Checked, least: float) -> None:
    """Pass if the interval is above 0; fail if it is below the least effect that the control must have."""
    assert item.ci_low is not None
    assert item.ci_high is not None
    item.outcome = "passed" if item.ci_low > 0 else "failed" if item.ci_high < least else "undecided"
    if item.outcome == "failed":
        item.note = f"The effect is below {least:g}, the margin δ."
    elif item.outcome == "undecided":
        item.note = "Too few seeds to tell."


def check(claims: Claims, values: Values, resampler: Resampler, seed: int) -> list[Checked]:
    """Check all gates.

    A gate that fails one of its contrasts on one of its measures has failed.
    """
    found: list[Checked] = []
    tasks = list(values.runs["task"].unique())
    for gate in claims.gates:
        for contrast in gate.contrasts:
            members = list(_expanded(contrast, values))
            if not members:
                assert contrast.of is not None
                note = f"The study has no strategy {contrast.of.strategy}."
                found += [Checked(gate, contrast.name, name, note=note) for name in gate.measures]
            for member in members:
                for name in gate.measures:
                    item = Checked(gate, member.name, name)
                    gathered = halves if gate.kind == "null" else gather
                    evidence = gathered(values, member, name, tasks)
                    if isinstance(evidence, str):
                        item.note = evidence
                    elif gate.kind == "identical":
                        _identical(item, evidence)
                    elif _measured(item, evidence, resampler, seed) and gate.kind == "positive":
                        _positive(item, claims.margins[unit_of(name)].pooled)
                    found.append(item)
    _judge_halves([item for item in found if item.gate.kind == "null" and item.p is not None])
    return found


def _judge_halves(items: list[Checked]) -> None:
    """Fail the halves that differ at 1 %, with Holm's correction over all; too few seeds cannot."""
    adjusted = statistics.holm([item.p for item in items if item.p is not None])
    for item, p in zip(items, adjusted, strict=True):
        possible = statistics.smallest_p(item.n_seeds or 1) <= CHANCE / len(items)
        item.outcome = "failed" if p < CHANCE else "passed" if possible else "undecided"
        if not possible:
            item.note = f"{item.n_seeds} pairs of seeds can never reject."
