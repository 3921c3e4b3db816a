"""Controls: what must be equal, what must not differ, what must have an effect, before a verdict counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.analysis import statistics
from maskbench.analysis.bootstrap import generator
from maskbench.analysis.contrasts import Evidence, gather, halves, on_resamples
from maskbench.analysis.findings import GATE_COLUMNS, POOLED, ControlResult
from maskbench.analysis.missing import COUNTED, learned_nothing, lost, of_no_width, shares
from maskbench.config.science import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.analysis.metrics import Array
    from maskbench.analysis.resampler import Resampler
    from maskbench.analysis.values import Values
    from maskbench.config.claims import Claims, Control, Decision
    from maskbench.config.contrast import Contrast

DEALS = 20_000
"""Seeds are split into halves in all possible ways if these are at most so many; otherwise at random, so many times."""


def least_seeds(level: float) -> int:
    """Return the fewest seeds with which the test of halves can fail: at 1 % the ten that a claim takes to be shown."""
    return next(n for n in range(2, 40, 2) if 2.0 / math.comb(n, n // 2) <= level)


@dataclass
class Checked:
    """One contrast of a gate on one measure."""

    gate: Control
    contrast: str
    measure: str
    rules: Decision
    outcome: ControlResult = "not run"
    note: str = ""
    estimate: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    n_seeds: int | None = None
    singles: dict[int, float] = field(default_factory=dict)
    """null: the number of each seed."""

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
    if different:  # one pair is enough to show it, whatever is missing
        item.note = f"{different} of {found.size} pairs differ; the estimate is the largest difference."
        return
    _, weights = next(evidence.scopes())
    _heed_missing(item, evidence, weights)


def _heed_missing(item: Checked, evidence: Evidence, weights: Array) -> bool:
    """Leave a control undecided where so many runs are missing that a verdict would be refused; say what is missing.

    Returns
    -------
    bool
        Whether it is undecided for that.
    """
    missing = lost(evidence, weights, item.rules)
    if missing.too_much:
        item.outcome, item.note = "undecided", f"refused: {missing}; what is left may be biased."
    elif missing.pairs:
        item.note = f"{missing}."
    return missing.too_much


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
    item.ci_low, item.ci_high = (show(float(end)) for end in spread.interval(CONFIDENCE))
    rng = generator(seed, "flips", item.gate.gate, item.contrast, item.measure)
    # as in a verdict: that of the flipped signs knows nothing of other texts, which the interval beside it covers
    item.p = max(float(statistics.sign_flip(evidence.mean(weights), rng)), float(spread.p()))
    return spread


def _positive(item: Checked, evidence: Evidence, spread: statistics.Spread, least: float) -> None:
    """Pass if the interval is above 0; fail if it is below the least effect that the control must have.

    Parameters
    ----------
    item
        With its interval.
    evidence, spread
        What the interval is of.
    least
        δ, in the unit of the interval.
    """
    assert item.ci_low is not None
    assert item.ci_high is not None
    _, weights = next(evidence.scopes())
    if _heed_missing(item, evidence, weights):
        return
    if note := of_no_width(spread, item.measure, evidence.scale.hide(least)):
        item.outcome, item.note = "undecided", note
        return
    item.outcome = "passed" if item.ci_low > 0 else "failed" if item.ci_high < least else "undecided"
    if item.outcome == "failed":
        item.note = f"{item.note} The effect is below {least:g}, the margin δ.".strip()
    elif item.outcome == "undecided":
        item.note = f"{item.note} Too few seeds to tell.".strip()


def _heed_collapse(item: Checked, evidence: Evidence, values: Values) -> None:
    """Leave a control undecided that failed with runs that learned nothing: they have nothing to forget or to rely on.

    A control that passes on such runs passes: that masking nearly everything ruins the score is what it is to show.
    """
    if item.outcome != "failed":
        return
    _, weights = next(evidence.scopes())
    counts = learned_nothing(evidence, weights, values.collapsed)
    if any(count for count, _ in counts):
        item.outcome = "undecided"
        item.note = f"{shares(counts)} runs of the arms learned nothing, and cannot show it. {item.note}"


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
                found += [Checked(gate, contrast.name, name, claims.decision, note=note) for name in gate.measures]
            for member in members:
                for name in gate.measures:
                    item = Checked(gate, member.name, name, claims.decision)
                    gathered = halves if gate.kind == "null" else gather
                    evidence = gathered(values, member, name, tasks)
                    if isinstance(evidence, str):
                        item.note = evidence
                    elif gate.kind == "identical":
                        _identical(item, evidence)
                    elif (spread := _measured(item, evidence, resampler, seed)) is None:
                        pass  # the note says why
                    elif gate.kind == "positive":
                        _positive(item, evidence, spread, claims.margin(name).pooled)
                        _heed_collapse(item, evidence, values)
                    else:
                        item.singles = _singles(item, values, member, tasks)
                    found.append(item)
    alike: dict[tuple[str, str], list[Checked]] = {}
    for item in found:
        if item.singles:
            alike.setdefault((item.gate.gate, item.contrast), []).append(item)
    for items in alike.values():
        _judge_halves(items, seed)
    return found


def _singles(item: Checked, values: Values, contrast: Contrast, tasks: list[str]) -> dict[int, float]:
    """Return a number for each seed of one strategy that is complete in every block: the mean over tasks.

    None at all where too many seeds are missing, which the item then says.
    """
    found = gather(values, contrast.model_copy(update={"against": None}), item.measure, tasks)
    assert not isinstance(found, str)  # `halves` has gathered it
    _, weights = next(found.scopes())
    if _heed_missing(item, found, weights):
        return {}
    seeds = np.array(found.seeds)[found.complete(weights)]
    if not len(seeds):
        item.outcome, item.note = "undecided", "No seed has run in every block yet."
    return dict(zip(seeds.tolist(), found.mean(weights).tolist(), strict=True))


def apart(values: Array, rng: np.random.Generator) -> Array:
    """Return p-values of every second seed against the seeds between them, adjusted for the number of measures.

    Seeds have no partners: any half of them could have been the first. So seeds are dealt anew to two equal halves, in
    all ways up to `DEALS`, else in that many at random with the observed one counted; what is compared with each
    measure's difference is the largest of all measures (Westfall & Young 1993, Resampling-Based Multiple Testing, max
    T). Ten seeds can reject at 1 %: 2/252.

    Parameters
    ----------
    values
        Shape (measures, seeds), an even number of seeds.
    """
    spread = values.std(axis=1, keepdims=True)
    scaled = np.divide(values - values.mean(axis=1, keepdims=True), spread, out=np.zeros_like(values), where=spread > 0)
    n = values.shape[1]
    observed = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    if math.comb(n, n // 2) <= DEALS:
        chosen = np.array(list(combinations(range(n), n // 2)))
        deals = np.full((len(chosen), n), -1.0)
        np.put_along_axis(deals, chosen, 1.0, axis=1)
    else:
        deals = np.vstack([observed, rng.permuted(np.tile(observed, (DEALS, 1)), axis=1)])
    largest = np.abs(deals @ scaled.T).max(axis=1)
    found: Array = (largest[:, None] >= np.abs(observed @ scaled.T) - 1e-9).mean(axis=0)
    return found


def _judge_halves(items: list[Checked], seed: int) -> None:
    """Fail the halves of one strategy that differ at the level of the claims; too few seeds cannot."""
    level = items[0].rules.control_level
    common = sorted(set.intersection(*(set(item.singles) for item in items)))
    common = common[: len(common) // 2 * 2]
    least = 2.0 / math.comb(len(common), len(common) // 2) if common else 1.0
    values = np.array([[item.singles[one] for one in common] for item in items])
    rng = generator(seed, "halves", items[0].gate.gate, items[0].contrast)
    adjusted = apart(values, rng) if common else np.ones(len(items))
    for item, p, own in zip(items, adjusted, values, strict=True):
        item.p = float(p)
        item.outcome = "undecided" if least > level else "failed" if p < level else "passed"
        if item.outcome == "undecided":
            item.note = f"{len(common)} seeds can never reject; it takes {least_seeds(level)}."
        elif item.measure not in COUNTED and np.ptp(own) <= 1e-9 * np.abs(own).max():
            item.outcome = "undecided"
            item.note = f"All {len(common)} seeds give the same number: that nothing varied is no evidence."
