"""Whether one should mask: which reasons for it a study supports, contradicts or leaves open, in few words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from maskbench.config.block import ConfigBlock, first_mistake
from maskbench.errors import InputError
from maskbench.experiment.load import read_yaml
from maskbench.report import text
from maskbench.report.claims import ANSWERS, VERDICT_SYMBOLS

if TYPE_CHECKING:
    from maskbench.report.reference import Half

SOURCE = Path(__file__).with_name("reasons.yaml")
"""Which claims speak for masking, in a few words each."""

DECIDED = ("supported", "contradicted", "equivalent")
"""Verdicts that say something of a reason."""

WORDS = {"supported": "supported", "contradicted": "contradicted", "equivalent": "without a difference that matters"}
"""How they are said of reasons."""

AGAINST = {
    "supported": ("contradicted",),
    "contradicted": ("supported",),
    "equivalent": ("supported", "contradicted"),
}
"""Verdicts of which none may stand among the other rows of a claim, or its first row does not speak for it alone."""


class Reason(ConfigBlock):
    """A claim that speaks for masking."""

    id: str
    """The claim, as claims.yaml calls it."""
    reason: str
    """In a few words: what one would mask for, or what one would mask."""
    claim: str
    """The claim's sentence: a claim of this id with another sentence is about something else."""


class Masks(ConfigBlock):
    """The reasons for one kind of masks."""

    masks: str
    """Which masks they are for."""
    reasons: list[Reason]
    """The reasons, each a claim."""


@cache
def reasons(path: Path = SOURCE) -> tuple[Masks, ...]:
    """Read the claims that speak for masking.

    Raises
    ------
    InputError
        If the file is not valid.
    """
    content = read_yaml(path)
    try:
        return tuple(Masks.model_validate(group) for group in content)
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}") from None


@dataclass(frozen=True)
class Finding:
    """What a study says of one reason."""

    id: str
    reason: str
    verdict: str
    """That of the claim's first contrast and measure that was tested."""
    remarks: list[str]
    """What keeps the verdict from speaking for the claim alone: other rows, other rates, controls."""

    @property
    def symbol(self) -> str:
        """The sign of the verdict."""
        return VERDICT_SYMBOLS[self.verdict]

    @property
    def clear(self) -> bool:
        """Whether it is supported and nothing speaks against it in the same study."""
        return self.verdict == "supported" and not self.remarks

    @property
    def said(self) -> str:
        """What was found of the reason: ``no difference: a higher score``."""
        found = "no difference" if self.verdict == "equivalent" else self.verdict
        return f"{found}: {self.words}"

    @property
    def words(self) -> str:
        """The reason, with the remarks in brackets."""
        return self.reason + (f" ({'; '.join(self.remarks)})" if self.remarks else "")


@dataclass(frozen=True)
class Side:
    """What a study says of the reasons for one kind of masks."""

    masks: str
    answer: str
    """A few words, such as ``no reason found so far``."""
    decided: list[Finding]
    open: list[str]
    """Reasons that were tested and not decided, in brackets what is decided on other rows of them."""
    untested: list[str]


def sides(half: Half, tuned: Half | None = None) -> list[Side]:
    """Return what a study says of each kind of masks; nothing of claims that it does not have in these words."""
    words = {claim["id"]: claim["claim"] for claim in half.evidence.claims}
    found = []
    for group in reasons():
        known = [reason for reason in group.reasons if words.get(reason.id) == reason.claim]
        if known:
            found.append(_side(group.masks, [_finding(half, tuned, reason) for reason in known]))
    return found


def _side(masks: str, findings: list[Finding]) -> Side:
    decided = [one for one in findings if one.verdict in DECIDED]
    untested = [one.reason for one in findings if one.verdict == "not tested"]
    undecided = [one.words for one in findings if one.verdict not in (*DECIDED, "not tested")]
    order = sorted(decided, key=lambda one: DECIDED.index(one.verdict))
    return Side(masks, answer(findings), order, undecided, untested)


def answer(findings: list[Finding]) -> str:
    """Answer in a few words whether to mask; never more than the verdicts say.

    Parameters
    ----------
    findings
        What a study says of each reason for one kind of masks.
    """
    tested = [one for one in findings if one.verdict != "not tested"]
    decided = [one for one in tested if one.verdict in DECIDED]
    supported = [one for one in tested if one.verdict == "supported"]
    clear = sum(one.clear for one in supported)
    if not decided:
        return "undecided" if tested else "not tested"
    if clear:
        purposes = "all of these" if 1 < clear == len(findings) else "some"
        return f"for {purposes} purposes ({_counts(tested)})"
    if supported:
        return f"for some purposes, with reservations ({_counts(tested)})"
    so_far = "" if len(decided) == len(findings) else " so far"
    return f"no reason found{so_far} ({_counts(tested)})"


def _counts(tested: list[Finding]) -> str:
    """Count verdicts: ``of 4 reasons tested, 1 supported, 3 undecided``."""
    counts = Counter(one.verdict for one in tested)
    parts = [f"{counts[verdict]} {words}" for verdict, words in WORDS.items() if counts[verdict]]
    if left := len(tested) - sum(counts[verdict] for verdict in DECIDED):
        parts.append(f"{left} undecided")
    return f"of {text.count(len(tested), 'reason')} tested, {', '.join(parts)}"


def _finding(half: Half, tuned: Half | None, reason: Reason) -> Finding:
    """Return what is said of a reason, with what keeps it from speaking for itself."""
    verdict = str(half.head(reason.id)["verdict"])
    return Finding(reason.id, reason.reason, verdict, remarks(half, tuned, reason.id))


def remarks(half: Half, tuned: Half | None, claim: str) -> list[str]:
    """Return what keeps the first row of a claim from speaking for it alone: other rows, other rates, controls."""
    head = half.head(claim)
    found, verdict = [], str(head["verdict"])
    rows = half.pooled(claim)
    beside = DECIDED if verdict not in (*DECIDED, "not tested") else AGAINST.get(verdict, ())
    for other in beside:
        if number := sum(row["verdict"] == other for row in rows):
            found.append(f"{text.count(number, 'other row')} {WORDS[other]}")
    open_ = [
        row for row in rows if row["measure"] == head["measure"] and row["verdict"] not in (*DECIDED, "not tested")
    ]
    undecided = len({row["contrast"] for row in open_} - {head["contrast"]})
    if verdict in DECIDED and undecided:
        found.append(f"{text.count(undecided, 'other contrast')} undecided")
    if verdict in DECIDED and (elsewhere := _at_tuned(tuned, head)) not in (None, "not tested", verdict):
        found.append(f"at tuned rates {elsewhere}")
    if verdict in ANSWERS and head["unguarded"]:
        found.append("unguarded")
    return found


def _at_tuned(tuned: Half | None, head: dict[str, Any]) -> str | None:
    """Return the verdict on the same row at tuned rates; None if there is none."""
    row = tuned and tuned.row(head["claim"], head["contrast"], head["measure"], head["scope"])
    return str(row["verdict"]) if row else None
