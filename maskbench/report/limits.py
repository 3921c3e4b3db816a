"""What a study cannot say, and why, in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.analysis import statistics
from maskbench.config.measures import MEASURES
from maskbench.config.science import CONFIRMING_SEEDS, LEVEL
from maskbench.report import text
from maskbench.report.tuning import rate_limits

if TYPE_CHECKING:
    from maskbench.report.study import Study

STATUS_WORDS = {"diverged": "diverged", "oom": "out of memory", "crashed": "crashed"}

REJECTING_SEEDS = statistics.least_seeds(LEVEL)
"""With fewer seeds, no exact sign-flip test can reject."""


def _seeds(study: Study) -> list[str]:
    """Say what the number of seeds does not allow."""
    return [*_of_pretraining(study), *_of_runs(study)]


def _of_pretraining(study: Study) -> list[str]:
    """Say what the number of pretraining seeds does not allow, if models were pretrained."""
    seeds = study.pretraining_seeds
    if not seeds or seeds >= REJECTING_SEEDS:
        return []
    there = f"There {'is' if seeds == 1 else 'are'} {text.count(seeds, 'pretraining seed')}."
    return [
        f"{there} Between pretraining recipes no test can reject: that takes at least {REJECTING_SEEDS} of them, "
        "however many runs are fine-tuned from each."
    ]


def _of_runs(study: Study) -> list[str]:
    """Say what the number of seeds of training runs does not allow, in contrasts of strategies."""
    seeds = len(study.seeds)
    if not study.others and len(study.recipes) > 1 and study.pretraining_seeds:
        return [f"Only the baseline {study.baseline} was run: this study says nothing of masking in fine-tuning."]
    if not study.others:
        return [f"Only the baseline {study.baseline} was run, so this study cannot say what masking does."]
    if seeds == 1:
        return ["There is one seed: no difference can be told from chance, and no interval can be given."]
    if seeds < REJECTING_SEEDS:
        return [
            f"There are {seeds} seeds. Intervals over so few are wide, and no test can reject: that takes at least "
            f"{REJECTING_SEEDS} seeds."
        ]
    if seeds < CONFIRMING_SEEDS:
        return [
            f"There are {seeds} seeds. An exact test over so few cannot reject once it is corrected for several "
            f"measures: to confirm an effect takes about {CONFIRMING_SEEDS} seeds, to show that there is none about 20."
        ]
    return []


def _families(study: Study) -> list[str]:
    """Say which families of interference were not measured at all."""
    found: set[str] = {MEASURES[name.partition(":")[0]].family for name in study.metrics["measure"].unique()}
    words = {
        "input": "distractors, perturbations and planted cues",
        "task": "other tasks (negative transfer, gradients, forgetting)",
        "knowledge": "what is left of the pretrained model (drift, masked-LM forgetting)",
    }
    missing = [text_ for family, text_ in words.items() if family not in found]
    return [f"These runs say nothing of {'; nor of '.join(missing)}."] if missing else []


def _failures(study: Study) -> list[str]:
    lines = []
    if failed := len(study.failures):
        counts = study.failures["status"].value_counts()
        kinds = text.listed([f"{number} {STATUS_WORDS[str(status)]}" for status, number in counts.items()])
        lines.append(
            f"{failed} of {text.count(len(study.runs), 'run')} did not complete ({kinds}). Their pairs are missing "
            "from the means, which can flatter a strategy that fails where it does badly."
        )
    if stuck := len(study.stuck):
        names = text.listed(list(study.runs.loc[study.stuck, "strategy"].unique()))
        lines.append(
            f"{text.count(stuck, 'completed run')} did hardly better than the majority class ({names}). What learned "
            "nothing forgets and overfits little, too: that is no merit of a mask."
        )
    return lines


def limits(study: Study) -> list[str]:
    """Return what the study cannot say, and why, one sentence or two for each reason."""
    lines = [*_seeds(study), *_families(study), *_failures(study)]
    lines += rate_limits(study)
    if study.machines > 1:
        lines.append(
            f"The runs were made on {study.machines} kinds of machines (device, threads, stack): times and memory are "
            "compared within one kind alone, and their means over seeds mix them."
        )
    if unseen := study.unseen:
        lines.append(
            f"In {text.count(unseen, 'completed run')} the evaluations were too few to see when the matched score was "
            "reached: the values at matched score of these runs are missing, and means of them are of the other runs."
        )
    if study.evidence.errors:
        lines.append(study.evidence.errors)
    if len({block.task for block in study.blocks}) == 1:
        lines.append("There is one task; whether the result holds on others is open.")
    if len(study.recipes) == 1:
        lines.append("There is one pretrained model; whether the result holds for others is open.")
    return lines


def missing(study: Study) -> list[dict[str, str]]:
    """Return, for each strategy with runs that did not complete, how many of which kind."""
    rows = []
    for name in study.strategies:
        arm = study.runs[study.runs["strategy"] == name]
        failed = arm[arm["status"] != "completed"]
        if len(failed):
            counts = failed["status"].value_counts()
            kinds = ", ".join(f"{number} {STATUS_WORDS[str(status)]}" for status, number in counts.items())
            rows.append({"strategy": name, "runs": str(len(arm)), "missing": str(len(failed)), "kinds": kinds})
    return rows
