"""The answer in plain sentences, which never say more than the intervals show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from maskbench.analysis.compare import POOLED, SEEDS
from maskbench.analysis.metrics import values_of
from maskbench.config.measures import MEASURES as REGISTRY
from maskbench.report import text
from maskbench.report.study import FEW_SEEDS

if TYPE_CHECKING:
    from maskbench.report.study import Block, Study

CONFIRMING_SEEDS = 10
"""From here on a direction is stated; below, an exact sign-flip test could not confirm it after Holm's correction."""

STATUS_WORDS = {"diverged": "diverged", "oom": "out of memory", "crashed": "crashed"}

Direction = Literal["lower", "higher", "open"]


@dataclass(frozen=True)
class Words:
    """How a direction of a measure is put."""

    measure: str
    label: str
    noun: str
    lower: str
    higher: str


MEASURES = (
    Words("loss_gap", "Generalisation gap (loss)", "gap", "a smaller gap", "a larger gap"),
    Words("score_gap", "Generalisation gap (score)", "gap", "a smaller gap", "a larger gap"),
    Words("score", "Test score", "score", "a lower score", "a higher score"),
    Words("step_time", "Time per update", "time per update", "faster updates", "slower updates"),
)
"""What the answer reports; the first is the measure of interference, the third that of the task."""


@dataclass(frozen=True)
class Reading:
    """What one comparison shows."""

    label: str
    estimate: str
    """The mean difference with its unit, or a dash."""
    interval: str
    """The interval, or why there is none."""
    words: str
    """The reading in words."""
    direction: Direction


@dataclass(frozen=True)
class Finding:
    """What was found for one strategy in one context."""

    strategy: str
    scope: str
    """The tasks and the number of paired seeds."""
    readings: list[Reading]
    note: str
    """What must be kept in mind when reading it; may be empty."""


@dataclass(frozen=True)
class Answer:
    """The first section of the page."""

    lead: str
    more: list[str]
    findings: list[Finding]
    limits: list[str]


def direction(estimate: float, low: float, high: float, seeds: int) -> Direction:
    """Return the direction that an interval shows, ``open`` if it shows none or rests on too few seeds."""
    if seeds < FEW_SEEDS or math.isnan(low) or math.isnan(high) or low <= 0.0 <= high:
        return "open"
    return "lower" if estimate < 0 else "higher"


def _words(words: Words, found: Direction, seeds: int) -> str:
    """Put a direction into words, as strongly as the number of seeds allows."""
    if found == "open":
        if seeds < FEW_SEEDS:
            return "too few seeds to tell" if seeds else "no pair of completed runs"
        return "cannot tell: zero is in the interval"
    named = words.lower if found == "lower" else words.higher
    return f"{'shows' if seeds >= CONFIRMING_SEEDS else 'points to'} {named}"


def _reading(study: Study, block: Block, strategy: str, words: Words) -> Reading:
    row = study.compared(block, words.measure).loc[[strategy]].to_dict("records")[0]
    seeds, unit = int(row["n_seeds"]), str(row["unit"])
    found = direction(row["estimate"], row["ci_low"], row["ci_high"], seeds)
    estimate = text.DASH if math.isnan(row["estimate"]) else text.change(row["estimate"], unit)
    interval = text.bounds(row["ci_low"], row["ci_high"], unit) or "no interval"
    return Reading(words.label, estimate, interval, _words(words, found, seeds), found)


def _note(readings: dict[str, Reading]) -> str:
    """Warn where a smaller gap comes with a lower score."""
    smaller = "lower" in (readings["loss_gap"].direction, readings["score_gap"].direction)
    if smaller and readings["score"].direction == "lower":
        return "The score is lower too, so the smaller gap may only mean that less was learned."
    return ""


def _finding(study: Study, block: Block, strategy: str) -> Finding:
    readings = {item.measure: _reading(study, block, strategy, item) for item in MEASURES}
    row = study.compared(block, "score").loc[[strategy]].to_dict("records")[0]
    tasks = len({item.task for item in study.blocks if item.key[1:] == block.key[1:]})
    where = f"mean of {text.count(tasks, 'task')}" if block.task == POOLED else block.task
    parts = [where, *study.contexts(block), text.count(int(row["n_seeds"]), "paired seed")]
    if missing := int(row["missing_pairs"]):
        parts.append(f"{text.count(missing, 'pair')} missing")
    return Finding(strategy, ", ".join(parts), list(readings.values()), _note(readings))


def _headline_blocks(study: Study) -> list[Block]:
    """Return the blocks that the answer rests on, each a task alone on clean data: pooled where there are several."""
    blocks = [block for block in study.comparison_blocks() if block.plain]
    pooled = {block.key[1:] for block in blocks if block.task == POOLED}
    return [block for block in blocks if block.task == POOLED or block.key[1:] not in pooled]


def _tally(findings: list[Finding], words: Words, verb: str) -> str:
    """Say for which strategies a measure has which direction."""
    groups: dict[str, list[str]] = {"lower": [], "higher": [], "open": []}
    for finding in findings:
        reading = next(item for item in finding.readings if item.label == words.label)
        groups[reading.direction].append(finding.strategy)
    named = [
        f"{name} for {text.listed(groups[key])}"
        for key, name in (("lower", words.lower), ("higher", words.higher))
        if groups[key]
    ]
    if not named:
        return f"cannot tell whether any strategy changes the {words.noun}"
    rest = f", and cannot tell for {text.listed(groups['open'])}" if groups["open"] else ""
    return f"{verb} {text.listed(named)}{rest}"


def _lead(study: Study, groups: list[list[Finding]]) -> tuple[str, list[str]]:
    """Return the first sentence, and those that follow."""
    most = max(int(study.compared(block, "score")["n_seeds"].max()) for block in _headline_blocks(study))
    name = study.baseline
    if most < FEW_SEEDS:
        seeds = {0: "no pair of completed runs", 1: "one paired seed"}.get(most, f"at most {most} paired seeds")
        lead = f"This study cannot tell yet: it has {seeds} for each comparison with {name}."
        least = f"At least {FEW_SEEDS} seeds are needed before a direction is named."
        return lead, [f"The differences below are a first look. {least}"]
    gap, _, score, _ = MEASURES
    verb = "show" if most >= CONFIRMING_SEEDS else "point to"
    sentences = []
    for group in groups:
        where = f", {group[0].scope}" if len(groups) > 1 else ""
        sentences.append(f"Generalisation gap{where}: compared with {name}, the runs {_tally(group, gap, verb)}.")
        sentences.append(f"Test score{where}: they {_tally(group, score, verb)}.")
    if all(reading.direction == "open" for group in groups for finding in group for reading in finding.readings[:3]):
        sentences.append("That is no evidence of no effect: the intervals say how large a difference could still be.")
    elif most < CONFIRMING_SEEDS:
        sentences.append(f"With {most} seeds these are directions, not confirmations, which take {CONFIRMING_SEEDS}.")
    return sentences[0], sentences[1:]


def _at_majority(study: Study) -> int:
    """Return how many completed runs did no better than the majority class."""
    scores = values_of(study.metrics, "test", "score")
    majority = values_of(study.metrics, "test", "majority_score").reindex(scores.index)
    return int((scores <= majority).sum())


def _families(study: Study) -> str:
    """Say which families of interference the answer rests on."""
    found: set[str] = {REGISTRY[name.partition(":")[0]].family for name in study.metrics["measure"].unique()}
    others: list[str] = [name for name in ("input", "task", "knowledge") if name in found]
    if others:
        return (
            "The answer rests on the runs of a task alone on clean data, and on one family of interference, the fit to "
            f"the training set (generalisation gap). What was measured of {text.listed(others)} is in the figure and "
            "the table of interference, without a test."
        )
    return (
        "Of the families of interference, these runs measure one, the fit to the training set (generalisation gap). "
        "They say nothing of distractors, other tasks or forgetting."
    )


def _limits(study: Study) -> list[str]:
    """Return what the study cannot say, and why."""
    lines = [_families(study)]
    if failed := len(study.failures):
        counts = study.failures["status"].value_counts()
        kinds = text.listed([f"{number} {STATUS_WORDS[str(status)]}" for status, number in counts.items()])
        lines.append(
            f"{failed} of {text.count(len(study.runs), 'run')} did not complete ({kinds}). Their pairs are missing "
            "from the means, which can flatter a strategy that fails where it does badly."
        )
    if stuck := _at_majority(study):
        lines.append(f"{text.count(stuck, 'completed run')} did no better than the majority class.")
    if study.others:
        number = len(study.comparisons)
        lines.append(
            f"{text.count(number, 'comparison')} were made, and the intervals are not adjusted for that: by chance "
            "alone, some would leave out zero."
        )
        scored = study.comparisons[study.comparisons["measure"] == "score"]
        if (scored["interval"] == SEEDS).any():
            lines.append(
                "The outcomes of single test examples were not at hand, so the score's intervals are over seeds alone "
                "and leave out the chance in the choice of test examples."
            )
        if 1 < int(scored["n_seeds"].max()) < FEW_SEEDS:
            lines.append(f"Intervals over fewer than {FEW_SEEDS} seeds are shown for completeness; they are too short.")
    if len({block.task for block in study.blocks}) == 1:
        lines.append("There is one task; whether the result holds on others is open.")
    return lines


def answer(study: Study) -> Answer:
    """Return the answer of a study so far."""
    if not study.others:
        lead = f"Only the baseline {study.baseline} was run, so this study cannot say what masking does."
        return Answer(lead, ["Add strategies to the configuration to compare them with it."], [], _limits(study))
    if not _headline_blocks(study):
        lead = "No task was trained alone on clean data, which the answer rests on."
        return Answer(lead, ["The tables and figures below show what was run."], [], _limits(study))
    groups = [
        [_finding(study, block, name) for name in study.compared(block, "score").index]
        for block in _headline_blocks(study)
    ]
    lead, more = _lead(study, groups)
    return Answer(lead, more, [finding for group in groups for finding in group], _limits(study))
