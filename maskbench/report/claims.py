"""The claims in words: for each its headline, one plain sentence, its other rows and the runs behind them."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from maskbench.analysis.findings import AT_A_PRICE, OTHERS, POOLED, VERDICTS, whole
from maskbench.config.measures import measure
from maskbench.config.science import EQUIVALENCE_CONFIDENCE, LEVEL
from maskbench.report import text

if TYPE_CHECKING:
    import pandas as pd

    from maskbench.report.study import Study
    from maskbench.report.verdicts import VerdictFiles

VERDICT_SYMBOLS = {
    "supported": "✓",
    "contradicted": "✗",
    "equivalent": "=",
    "inconclusive": "?",
    "invalid": "!",
    AT_A_PRICE: "!",
    "holds": "✓",
    "false": "✗",
    "not tested": "–",
}
"""A sign for each verdict, beside its word and its colour."""

MEANINGS = {
    "supported": f"corrected p < {LEVEL:g}, the interval is above zero, and the effect is at least the margin δ",
    "contradicted": f"corrected p < {LEVEL:g}, and the interval is below zero: the opposite of the claim",
    "equivalent": f"the {100 * EQUIVALENCE_CONFIDENCE:g} % interval lies inside ±δ: no difference that matters",
    "inconclusive": "anything else; how large an effect could have been found is said",
    "invalid": "a control failed, so that the measure cannot be trusted here",
    AT_A_PRICE: "less interference, but of an arm whose score is not shown to be as good: it may have learned less",
    "holds": "a property, measured: within its bound in every run",
    "false": "a property, measured: beyond its bound in some run",
    "not tested": "this study does not have what the claim needs",
}
"""What the verdicts mean, in a line."""

PROPERTIES = ("holds", "false")
"""Verdicts on properties: of numbers of single runs, which are compared with a bound and not with each other."""

ANSWERS = ("supported", "contradicted", "equivalent", *PROPERTIES)
"""Verdicts that say something of the claim."""

ALL = "all tasks"
"""How the page calls the scope of all tasks together."""

SHOWN_PAIRS = 200
"""Most pairs of runs that the page lists for one contrast and measure; analysis/pairs.csv has all."""


class VerdictLine(NamedTuple):
    """One row of verdicts.csv, in words."""

    contrast: str
    measure: str
    scope: str
    at: str
    """The scope below which it stands: that of an interaction is about all tasks."""
    verdict: str
    effect: str
    interval: str
    chance: str
    seeds: str
    least: str
    sentence: str
    note: str
    unguarded: str
    """Controls of the measure that were not run or had too few seeds, of a verdict that says something."""
    strength: float | None
    """The effect in multiples of its margin, to sort by; None without one."""
    p: float | None


@dataclass(frozen=True)
class Group:
    """All that was found for one contrast and measure: rows by scope, and the pairs of runs behind them."""

    contrast: str
    measure: str
    rows: list[VerdictLine]
    pairs: list[dict[str, Any]]
    more: int
    """Pairs that are not listed."""


@dataclass(frozen=True)
class ShownClaim:
    """One claim as the page shows it."""

    id: str
    claim: str
    about: list[tuple[str, str]]
    """What else its file says of it: expectation, source, why it is not tested."""
    headlines: list[VerdictLine]
    """The row that stands for the claim, in each scope; the first is that of all tasks together."""
    groups: list[Group]
    tally: str
    """How many rows have which verdict."""

    @property
    def tested(self) -> bool:
        """Whether the study tests the claim anywhere."""
        return any(row.verdict != "not tested" for row in self.headlines)


def _sides(contrast: str) -> tuple[str, str] | None:
    """Return the two arms of a contrast called ``A vs B``."""
    one, vs, other = contrast.partition(" vs ")
    return (one, other) if vs and one and other and " vs " not in other else None


def _better(name: str, estimate: float) -> str:
    """Say which way a measure went: a positive estimate is the better way."""
    lower = measure(name).better != "higher"
    return "lower" if lower == (estimate > 0) else "higher"


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries by column."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def found_in_words(row: dict[str, Any]) -> str:
    """Say what was found, without a verdict: ``with random, forgetting came out 0.40 points lower than with none``.

    A ratio of what is better low says how much more the second arm has, as in verdicts.csv: the sentence has the number
    of the table.
    """
    title, unit, estimate = measure(row["measure"]).title, row["unit"], row["estimate"]
    if row["kind"] == "curve":
        title += " over the learning curve"
    sides, scope = _sides(row["contrast"]), "" if row["scope"] == POOLED else f" ({row['scope']})"
    size = text.amount(estimate, unit)
    if sides is None and row["kind"] == "combination":  # of two factors together, either way may be right
        return f"{row['contrast']}{scope}: {title}, {text.change(estimate, unit)} towards the better"
    if sides is None or " vs " in row["scope"] or row["kind"] == "by-size":
        return f"{row['contrast']}{scope}: {title}, {text.change(estimate, unit)} in favour of the claim"
    if not float(size.split()[0].replace(text.NARROW, "")):
        return f"with {sides[0]}, the {title} came out the same as with {sides[1]}, to the digits shown{scope}"
    first, second, way = *sides, _better(row["measure"], estimate)
    if unit == "per cent" and measure(row["measure"]).better != "higher":
        first, second, way = second, first, "higher" if estimate > 0 else "lower"
    return f"with {first}, the {title} came out {size} {way} than with {second}{scope}"


def sentence(row: dict[str, Any]) -> str:
    """Put a row of verdicts.csv into one plain sentence, which says no more than the verdict does."""
    verdict, unit = row["verdict"], row["unit"]
    if verdict == "not tested":
        return text.sentence_case(row["note"] or "This study does not have what the claim needs.")
    if math.isnan(row["estimate"]):
        return text.sentence_case(row["note"] or "There is no estimate.")
    if verdict in PROPERTIES:
        title = measure(row["measure"]).title
        return text.sentence_case(f"{row['contrast']}: {title}: {row['note'][:1].lower()}{row['note'][1:]}")
    found = found_in_words(row)
    margin = "" if math.isnan(row["delta"]) else text.amount(row["delta"], unit)
    ends = {
        "supported": f": at least the margin of {margin}.",
        "contradicted": ": the opposite of what the claim says.",
        "equivalent": f": any difference is smaller than the margin of {margin}.",
        "inconclusive": ", which does not settle it.",
        "invalid": ", but a control of this measure failed, so that it says nothing.",
        AT_A_PRICE: ", but it may have been bought with the score.",
    }
    return text.sentence_case(found + ends[verdict] + _unguarded(row))


def refusal(row: dict[str, Any]) -> str:
    """Return the sentence of a note that says why a verdict was refused, without the word; empty if it was not."""
    found = re.search(r"\brefused: (.*?\.)(?= [A-Z0-9]|$)", str(row["note"]))
    return found[1] if found else ""


def refused(row: dict[str, Any]) -> bool:
    """Tell whether a verdict was refused: the row is inconclusive, whatever its interval."""
    return row["verdict"] == "inconclusive" and bool(refusal(row))


def _unguarded(row: dict[str, Any]) -> str:
    """Say which controls do not stand behind a verdict that says something."""
    if not (row["unguarded"] and row["verdict"] in ANSWERS):
        return ""
    return f" Unguarded: of the controls of this measure, not all were passed ({row['unguarded']})."


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _seeds(row: dict[str, Any]) -> str:
    """Write how many seeds a row rests on; between models they are those of pretraining."""
    return f"{int(row['n_seeds'])}{' of pretraining' if row['kind'] == 'models' else ''}"


def row_in_words(row: dict[str, Any]) -> VerdictLine:
    """Return a row of verdicts.csv as it is shown."""
    unit, p = row["unit"], row["p_holm"] if not math.isnan(row["p_holm"]) else row["p"]
    strength = row["estimate"] / row["delta"] if row["delta"] else math.nan
    return VerdictLine(
        contrast=row["contrast"],
        measure=measure(row["measure"]).title + (f": {part}" if (part := row["measure"].partition(":")[2]) else ""),
        scope=_scope(row["scope"]),
        at=_at(row["scope"]),
        verdict=row["verdict"],
        effect="" if math.isnan(row["estimate"]) else _effect(row),
        interval=text.bounds(row["ci_low"], row["ci_high"], unit),
        chance=text.chance(p),
        seeds="" if math.isnan(row["n_seeds"]) else _seeds(row),
        least="" if math.isnan(row["mde"]) else text.amount(row["mde"], unit),
        sentence=sentence(row),
        # where there is no estimate, nothing was tested or a property was measured, the note is the sentence
        note="" if row["verdict"] in ("not tested", *PROPERTIES) or math.isnan(row["estimate"]) else row["note"],
        unguarded=row["unguarded"] if row["verdict"] in ANSWERS else "",
        strength=None if row["verdict"] in PROPERTIES else _number(strength),
        p=_number(p),
    )


def _effect(row: dict[str, Any]) -> str:
    """Write an estimate: a difference with its sign, of a property the number itself."""
    return f"{row['estimate']:.2g}" if row["verdict"] in PROPERTIES else text.change(row["estimate"], row["unit"])


def headline(rows: pd.DataFrame) -> pd.Series[Any]:
    """Return the row that stands for a claim: the first one on all tasks that was tested, else the first.

    The file of the claims names the primary contrast and measure first. A property that is false anywhere is false.
    """
    on_all = whole(rows["scope"])
    rows = rows[on_all] if on_all.any() else rows
    tested = rows[rows["verdict"] != "not tested"]
    false = rows[rows["verdict"] == "false"]
    return next(table for table in (false, tested, rows) if len(table)).iloc[0]


def scope_words(evidence: VerdictFiles) -> list[str]:
    """Return all scopes as they are written, that of all tasks first; those of interactions are about all tasks."""
    return sorted(dict.fromkeys(map(_at, evidence.verdicts["scope"])), key=lambda scope: scope != ALL)


def _scope(scope: str) -> str:
    return ALL if scope == POOLED else scope


def _at(scope: str) -> str:
    """Return the scope below which a row stands on the page."""
    return ALL if scope.endswith(OTHERS) else _scope(scope)


def headlines(evidence: VerdictFiles) -> pd.DataFrame:
    """Return the row that stands for each claim, pooled where there is one, in the order of the claims."""
    table, rows = evidence.verdicts, []
    for claim in evidence.claims:
        rows.append(headline(table[table["claim"] == claim["id"]]).name)
    return table.loc[rows]


_ABOUT = (("why", "Why not"), ("expectation", "Expected"), ("source", "Source"))


def _group(key: tuple[str, str], rows: pd.DataFrame, pairs: pd.DataFrame) -> Group:
    listed = records(pairs.head(SHOWN_PAIRS))
    for pair in listed:
        missing = math.isnan(pair["difference"])
        pair["difference"] = "missing" if missing else text.change(pair["difference"], pair["unit"])
    words = [row_in_words(row) for row in records(rows)]
    return Group(key[0], words[0].measure, words, listed, len(pairs) - len(listed))


def shown(study: Study) -> list[ShownClaim]:
    """Return all claims as the page shows them."""
    evidence = study.evidence
    by_claim = dict(tuple(evidence.verdicts.groupby("claim", sort=False)))
    pairs = dict(tuple(evidence.pairs.groupby(["claim", "contrast", "measure"], sort=False)))
    found = []
    for claim in evidence.claims:
        rows = by_claim[claim["id"]]
        groups = [
            _group((str(one), str(name)), members, pairs.get((claim["id"], one, name), evidence.pairs.iloc[:0]))
            for (one, name), members in rows.groupby(["contrast", "measure"], sort=False)
        ]
        at = rows["scope"].map(_at)
        ordered = sorted(at.unique(), key=lambda scope: scope != ALL)
        heads = [row_in_words(records(headline(rows[at == scope]).to_frame().T)[0]) for scope in ordered]
        about = [(words, str(claim[key])) for key, words in _ABOUT if claim.get(key)]
        found.append(ShownClaim(claim["id"], claim["claim"], about, heads, groups, tally(list(rows["verdict"]))))
    return found


def tally(verdicts: list[str]) -> str:
    """Write how many rows have which verdict, such as ``2 supported, 1 inconclusive``."""
    counts = Counter(verdicts)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])


def lead(study: Study) -> tuple[str, list[tuple[str, list[tuple[str, str]]]]]:
    """Return the answer in a sentence, and the claims that have one: under a word each, id and sentence."""
    evidence = study.evidence
    heads = headlines(evidence)
    counts, total = Counter(heads["verdict"]), len(heads)
    untested = counts["not tested"]
    if untested == total:
        why = f"only {study.baseline} was run" if not study.others else "it does not have what any of them needs"
        return f"This study tests none of the {text.count(total, 'claim')}: {why}.", []
    words = {
        "equivalent": ("shows no difference that matters", "show no difference that matters"),
        "holds": ("holds", "hold"),
    }
    parts = []
    for verdict in VERDICTS[:-1]:
        one, many = words.get(verdict, (f"is {verdict}", f"are {verdict}"))
        if counts[verdict]:
            parts.append(f"{counts[verdict]} {one if counts[verdict] == 1 else many}")
    answer = f"Of {text.count(total, 'claim')}, this study tests {total - untested}: {text.listed(parts)}."
    return answer + _bare(heads), _named(study)


def _bare(heads: pd.DataFrame) -> str:
    """Say how many answers have controls that were not passed."""
    answers = heads[heads["verdict"].isin(ANSWERS)]
    bare = int((answers["unguarded"] != "").sum())
    if not bare:
        return ""
    of = f"{bare} of these {len(answers)} answers" if len(answers) > 1 else "This answer"
    are = "is" if bare == 1 else "are"
    return f" {of} {are} unguarded: controls of the measures were not run, or had too few seeds."


_NAMED = {
    "supported": "Supported",
    "contradicted": "Contradicted",
    "equivalent": "No difference that matters",
    "holds": "Hold, as properties",
    "false": "False, as properties",
}


def _named(study: Study) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the claims with an answer, by answer: id and sentence."""
    verdicts = dict(zip(*(headlines(study.evidence)[name] for name in ("claim", "verdict")), strict=True))
    found = []
    for verdict, words in _NAMED.items():
        claims = [item for item in study.evidence.claims if verdicts[item["id"]] == verdict]
        named = [(item["id"], item["claim"].rstrip(".")) for item in claims]
        if named:
            found.append((words, named))
    return found


def gates(study: Study) -> list[dict[str, str]]:
    """Return the controls as the page shows them, failed ones first."""
    order = ("failed", "undecided", "passed", "not run")
    rows = sorted(records(study.evidence.gates), key=lambda row: order.index(row["outcome"]))
    found = []
    for row in rows:
        unit = measure(row["measure"]).unit if row["measure"] else ""
        estimate = "" if math.isnan(row["estimate"]) else text.signed(row["estimate"], text.DECIMALS.get(unit, 3))
        found.append(
            {
                **{key: str(row[key]) for key in ("gate", "sentence", "contrast", "scope", "outcome", "note")},
                "measure": measure(row["measure"]).title if row["measure"] else "",
                "estimate": estimate,
                "interval": text.bounds(row["ci_low"], row["ci_high"], unit),
                "seeds": "" if math.isnan(row["n_seeds"]) else str(int(row["n_seeds"])),
            }
        )
    return found
