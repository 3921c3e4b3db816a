"""The answer on top of a page: what the study, and the reference study, say of whether one should mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskbench.report import text
from maskbench.report.claims import ANSWERS
from maskbench.report.reasons import sides
from maskbench.report.reference import Half, Reference, beside

if TYPE_CHECKING:
    from maskbench.report.study import Study


def answers(study: Study, reference: Reference | None) -> list[dict[str, Any]]:
    """Return what the study answers, then the reference study if its record is at hand; nothing of foreign claims."""
    tuned = Half(study.tuned.evidence) if study.tuned else None
    found = [{"who": "This study", "about": "", "sides": sides(Half(study.evidence), tuned)}]
    if reference is not None:
        about = f"{text.count(reference.runs, 'run')}, {text.listed(reference.tasks)}; docs/findings.md has all of it"
        found.append({"who": "Reference study", "about": about, "sides": sides(reference.shared, reference.tuned)})
    known = {claim["id"] for claim in study.evidence.claims}
    return [answer | {"known": known} for answer in found if answer["sides"]]


def referred(study: Study, reference: Reference | None) -> dict[str, dict[str, Any]]:
    """Return what the reference study says of each claim of the study, by id.

    Nothing of a claim that it did not test, or that has other words there.
    """
    own, found = Half(study.evidence), {}
    for claim in study.evidence.claims if reference else ():
        assert reference is not None
        head = own.head(claim["id"])
        row = reference.like(claim, head if head["verdict"] != "not tested" else None)
        if row is not None:
            bare = bool(row["unguarded"]) and row["verdict"] in ANSWERS
            found[claim["id"]] = {"verdict": row["verdict"], "unguarded": bare, "words": beside(reference, row)}
    return found
