"""Rows of the table of verdicts while their numbers are being filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.analysis import detection, statistics
from maskbench.analysis.bootstrap import generator
from maskbench.analysis.findings import BOTH, OF_MODELS, PARTLY, POOLED, SEEDS
from maskbench.config.science import CONFIDENCE, LEVEL

if TYPE_CHECKING:
    from maskbench.analysis.contrasts import Evidence
    from maskbench.analysis.findings import Verdict
    from maskbench.analysis.metrics import Array
    from maskbench.config.claims import Claim, Decision
    from maskbench.config.contrast import Test

NO_CONTRAST = "(none)"
"""In the column `contrast`: the claim is not tested by runs."""


@dataclass
class Untested:
    """A contrast on a measure that a study has not the runs for."""

    claim: Claim
    contrast: str
    measure: str
    why: str

    def entry(self) -> dict[str, Any]:
        """Return a row of verdicts.csv."""
        head = {"claim": self.claim.id, "contrast": self.contrast, "measure": self.measure, "scope": POOLED}
        return head | {"verdict": "not tested", "note": self.why, "unit": ""}


@dataclass(eq=False)
class Row:
    """One contrast on one measure in one scope, on its way to a verdict."""

    claim: Claim
    evidence: Evidence
    scope: str
    weights: Array
    """Weight of each block of the evidence."""
    delta: float
    """Margin, in the unit of the row."""
    rules: Decision
    """What refuses a verdict, as claims.yaml states it."""
    spread: statistics.Spread | None = None
    """None without a seed that is complete."""
    p: float = np.nan
    p_holm: float = np.nan
    q: float = np.nan
    """The p-value adjusted for all claims of the study, as a false discovery rate."""
    tests: int = 1
    """Size of the family that `p` was adjusted for."""
    verdict: Verdict = "inconclusive"
    unguarded: str = ""
    """Controls of the measure that were not run, or had too few seeds: `hot: not run; halves: undecided`."""
    notes: list[str] = field(default_factory=list)

    @property
    def test(self) -> Test:
        """What is asked: superior, non-inferior or either."""
        return self.evidence.contrast.test or "superior"

    @property
    def margin(self) -> float:
        """δ on the measure's scale."""
        return self.evidence.scale.hide(self.delta)

    @property
    def secondary(self) -> bool:
        """Whether the row only unfolds a pooled one."""
        return self.scope != POOLED and self.evidence.contrast.kind != "interaction"

    @property
    def null(self) -> float:
        """What is to be rejected: 0, or of a test of non-inferiority that the arm is worse by δ."""
        return -self.margin if self.test == "non-inferior" else 0.0

    def p_of(self, spread: statistics.Spread, differences: Array, seed: int) -> float:
        """Return the p-value of differences (seeds,): of the row's own, or of others in their place.

        The larger one of two: that of the flipped signs, which is exact for unseen seeds on these texts, and that of
        the interval, which is for unseen seeds and unseen texts.
        """
        contrast, name = self.evidence.contrast.name, self.evidence.measure
        rng = generator(seed, "flips", self.claim.id, contrast, name, self.scope)
        flipped = float(statistics.sign_flip(differences - self.null, rng))
        return max(flipped, float(spread.p(self.null))) if spread.n > 1 else flipped

    def decide(self, spread: statistics.Spread, p: float) -> Verdict:
        """Return the verdict of the row's own numbers, or of others in their place."""
        if statistics.smallest_p(spread.n) > LEVEL:
            return "inconclusive"  # too few seeds to reject anything, so their agreement shows nothing either
        intervals = spread.interval(CONFIDENCE), spread.inner()
        found = statistics.decide(np.asarray(p), *intervals, spread.estimate, self.margin, self.test)
        return str(found)  # type: ignore[return-value]

    def entry(self) -> dict[str, Any]:
        """Return a row of verdicts.csv."""
        evidence, spread = self.evidence, self.spread
        head = {"claim": self.claim.id, "contrast": evidence.contrast.name, "measure": evidence.measure}
        entry: dict[str, Any] = head | {"scope": self.scope, "verdict": self.verdict, "note": " ".join(self.notes)}
        entry["unguarded"] = self.unguarded
        entry |= {"unit": evidence.scale.unit, "delta": self.delta, "n_seeds": 0}
        if spread is None:
            return entry
        entry |= {"n_seeds": spread.n, "estimate": evidence.scale.show(float(spread.estimate))}
        if spread.n < 2:
            return entry
        low, high = spread.interval(CONFIDENCE)
        if self.test == "non-inferior":
            mde = detection.detectable(spread, self.tests, 0.0) - self.margin  # the null is at −δ
        else:
            mde = detection.detectable(spread, self.tests, self.margin)
        shown = {"ci_low": float(low), "ci_high": float(high), "mde": mde}
        entry |= {name: evidence.scale.show(value) for name, value in shown.items()}
        interval = SEEDS if not spread.n_examples else BOTH if spread.covered is None else PARTLY
        interval = OF_MODELS[interval] if evidence.fine_tuning else interval
        return entry | {"p": self.p, "p_holm": self.p_holm, "q": self.q, "interval": interval}
