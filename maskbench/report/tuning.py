"""Learning rates in tables: those of a strategy's own, what was chosen by tuning, and verdicts at both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from maskbench.analysis.rates import words
from maskbench.config.measures import measure
from maskbench.report import text
from maskbench.report.claims import records
from maskbench.report.formats import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.records.choices import Choice
    from maskbench.report.study import Study

MARK = " †"
"""Stands behind the name of a strategy that was not trained at the baseline's learning rate."""

_KEY = ["claim", "contrast", "measure", "scope"]
_FOUND = ["estimate", "ci_low", "ci_high", "p_holm", "verdict"]


def own_rates(study: Study) -> dict[str, set[float]]:
    """Return the learning rates of the strategies that have others than the baseline in some block, and its own."""
    found: dict[str, set[float]] = {}
    for block in study.blocks:
        rates = {
            name: {study.learning_rates[run] for run in study.arm(block, name)["run"] if run in study.learning_rates}
            for name in study.strategies_of(block)
        }
        base = rates.get(study.baseline)
        for name, own in rates.items() if base else ():
            if own and own != base:
                found.setdefault(name, set()).update(own)
                found.setdefault(study.baseline, set()).update(base or ())
    return found


def marked(study: Study) -> dict[str, str]:
    """Return the name of each strategy, with a mark if it was not trained at the baseline's learning rate."""
    own = own_rates(study)
    return {name: name + MARK * (name in own and name != study.baseline) for name in study.strategies}


def rates_note(study: Study) -> str:
    """Say what the mark means, with a blank before it; nothing if all have one learning rate."""
    own = own_rates(study)
    if not own:
        return ""
    base = own.pop(study.baseline)
    return f"{MARK} At a learning rate of its own: {words(own)}; that of {study.baseline}: {_rates(base)}."


def _rates(rates: set[float]) -> str:
    return " or ".join(f"{rate:g}" for rate in sorted(rates))


def rate_limits(study: Study) -> Iterator[str]:
    """Yield what learning rates keep the study from saying, in sentences."""
    own = own_rates(study)
    base = own.pop(study.baseline, set())
    if own:
        rest = (
            "the verdicts at tuned rates give every strategy the same search"
            if study.tuned
            else f"with {study.baseline} they differ in two things, and only a study with tune gives every strategy "
            "the same search (docs/tuning.md)"
        )
        yield f"Some strategies have a learning rate of their own ({words(own)}; shared: {_rates(base)}): {rest}."
    if study.choices is None:
        return
    for end in ("lowest", "highest"):
        names = [_named(item) for item in study.choices.choices if item.edge == end]
        if names:
            yield (
                f"The best learning rate is the {end} of the grid for {_listed(names)}: a better one may lie beyond it."
            )
    if failed := sum(item.failed for item in study.choices.choices):
        total = sum(len(item.tried) for item in study.choices.choices) * len(study.choices.seeds)
        yield f"{failed} of {total} cells of the tuning did not complete; rates at which fewer failed go first."
    if study.tuned is not None and (failures := len(study.tuned.failures)):
        yield f"At tuned learning rates, {failures} of {text.count(len(study.tuned.runs), 'run')} did not complete."


def _named(choice: Choice) -> str:
    return f"{choice.strategy} ({choice.task}, {choice.model})"


def _listed(names: list[str], most: int = 6) -> str:
    """Return names, the first few of many."""
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return text.listed([*names[:most], *more])


def tuning(study: Study) -> Table:
    """Return what was chosen by tuning: the score over the learning rate of every task, model and strategy."""
    choices = study.choices
    grid = [f"{rate:g}" for rate in choices.learning_rates] if choices else []
    rows: list[dict[str, Any]] = []
    shown = []
    for item in choices.choices if choices else ():
        about = {"task": item.task, "model": item.model, "strategy": item.strategy}
        line: dict[str, str] = about | dict.fromkeys(grid, text.DASH)
        for tried in item.tried:
            mean = math.nan if tried.mean is None else 100 * tried.mean
            rows.append(
                about
                | {"learning_rate": tried.learning_rate, "mean": mean, "unit": "per cent", "n": len(tried.scores)}
                | {"n_failed": tried.failed, "chosen": tried.learning_rate == item.learning_rate}
            )
            failed = f" ({tried.failed} failed)" if tried.failed else ""
            line[f"{tried.learning_rate:g}"] = (text.DASH if tried.mean is None else text.plain(mean, 1)) + failed
        line["chosen"] = text.DASH if item.learning_rate is None else f"{item.learning_rate:g}"
        line["remarks"] = _remarks(item)
        shown.append(line)
    columns = ["task", "model", "strategy", "learning_rate", "mean", "unit", "n", "n_failed", "chosen"]
    names = ["task", "model", "strategy", *grid, "chosen", "remarks"]
    data = pd.DataFrame(rows, columns=columns)
    return Table("tuning", "Tuned learning rates", _budget(study), data, pd.DataFrame(shown, columns=names), names=3)


def _remarks(item: Choice) -> str:
    """Say what a reader of a choice has to know."""
    if item.multiple is not None:
        return f"not tuned: {item.multiple}"
    if item.learning_rate is None:
        return "no cell completed: it keeps the rate that it has without tuning"
    parts = [f"{item.edge} of the grid"] if item.edge else []
    parts += [f"as good: {', '.join(f'{rate:g}' for rate in item.ties)}"] if item.ties else []
    return "; ".join(parts) or text.DASH


def _budget(study: Study) -> str:
    """Say how rates were chosen, and what every strategy got."""
    choices = study.choices
    if choices is None:
        return "No learning rate was tuned."
    seeds, rates = len(choices.seeds), len(choices.learning_rates)
    multiples = list(dict.fromkeys(item.strategy for item in choices.choices if item.multiple is not None))
    but = f" (but for {text.listed(multiples)}: at a multiple of another's rate)" if multiples else ""
    return (
        f"Mean validation score, in per cent, at each learning rate. Every task, model and strategy got the same{but}: "
        f"{rates * seeds} trainings, {text.count(rates, 'rate')} with {text.count(seeds, 'seed')} each "
        f"({', '.join(map(str, choices.seeds))}), on {choices.train_size} texts to train on and "
        f"{choices.validation_size} to choose by, which no other cell of the study sees. {choices.rule} Frozen with "
        f"the hash {choices.hash[:16]} in tuning/choices.json."
    )


def tuned(study: Study) -> Table:
    """Return every verdict at the shared and at the tuned learning rates, side by side."""
    columns = [*_KEY, "unit", *(f"{name}_{rate}" for rate in ("shared", "tuned") for name in _FOUND), "agree"]
    names = [
        "claim",
        "contrast",
        "measure",
        "on",
        "shared rate",
        "effect, shared",
        "tuned rates",
        "effect, tuned",
        "agree",
    ]
    caption = (
        "The same claims judged twice: with every strategy at the shared learning rate (or at its own, where a preset "
        "or the configuration gives it one), and with every strategy, the baseline included, at the rate that was "
        "tuned for it. Holm's correction is made within a claim at each rate. What holds at the shared rate alone may "
        "be the rate's doing."
    )
    if study.tuned is None:
        empty = pd.DataFrame(columns=names)
        return Table("tuned", _TITLE, "No learning rate was tuned.", pd.DataFrame(columns=columns), empty, names=4)
    left, right = (half.evidence.verdicts[[*_KEY, "unit", *_FOUND]] for half in (study, study.tuned))
    data = left.merge(right.drop(columns="unit"), on=_KEY, how="outer", suffixes=("_shared", "_tuned"), sort=False)
    data["agree"] = data["verdict_shared"] == data["verdict_tuned"]
    shown = [
        [
            *(row["claim"], row["contrast"], measure(row["measure"]).title),
            "all tasks" if row["scope"] == "pooled" else row["scope"],
            *_half(row, "shared"),
            *_half(row, "tuned"),
            "yes" if row["agree"] else "no",
        ]
        for row in records(data)
    ]
    return Table("tuned", _TITLE, caption, data[columns], pd.DataFrame(shown, columns=names), names=4)


_TITLE = "Verdicts at the shared and at tuned learning rates"


def _half(row: dict[str, Any], rate: str) -> tuple[str, str]:
    """Return verdict and effect of a row at one of the rates."""
    verdict, estimate = row[f"verdict_{rate}"], row[f"estimate_{rate}"]
    if not isinstance(verdict, str):  # a row that only the other rate has
        return text.DASH, text.DASH
    if math.isnan(estimate):
        return verdict, text.DASH
    return verdict, text.difference(estimate, row[f"ci_low_{rate}"], row[f"ci_high_{rate}"], str(row["unit"]))
