"""The score over the learning rate of every strategy, by which its tuned rate was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.lines import Line2D

from maskbench.report.figures.drawing import DASHED, DOTTED, Drawing, Nothing, counted, legend
from maskbench.report.figures.grids import grid, label, plain_numbers
from maskbench.report.style import BLUE, GREY, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from maskbench.records.choices import Choice
    from maskbench.report.study import Study

_TITLE = "Score and learning rate"


def tuning(study: Study) -> Drawing | Nothing:
    """Draw the validation score over the learning rate, a panel for each task, model and strategy."""
    choices = study.choices
    if choices is None or not choices.choices:
        return Nothing(_TITLE, "No learning rate was tuned.")
    several = len({item.model for item in choices.choices}) > 1
    order = {subject: place for place, subject in enumerate(dict.fromkeys(map(_subject, choices.choices)))}
    tuned = sorted((item for item in choices.choices if item.multiple is None), key=lambda item: order[_subject(item)])
    subjects = [", ".join(_subject(item)[: 1 + several]) for item in tuned]
    found = grid([item.strategy for item in tuned], groups=subjects)
    for panel, item in zip(found.axes, tuned, strict=True):
        base = choices.of(item.task, item.model, study.baseline)
        if base is not None and item.strategy != study.baseline:
            _curve(panel, base, GREY, dashed=True)
        _curve(panel, item, GREY if item.strategy == study.baseline else BLUE)
        for rate in _untuned(study, item):
            panel.axvline(rate, color=INK, linewidth=1.4, linestyle=DOTTED, zorder=2)
        panel.set_xscale("log")
        plain_numbers(panel.xaxis, choices.learning_rates)
    label(found, "learning rate", [f"{subject}:\nvalidation score (%)" for subject in subjects])
    chosen = Line2D([], [], color=INK, marker="o", markersize=8, fillstyle="none", linestyle="", label="chosen")
    dashes = Line2D([], [], color=GREY, linewidth=1.3, linestyle=DASHED, label=f"{study.baseline} (baseline)")
    dots = Line2D([], [], color=INK, linewidth=1.4, linestyle=DOTTED, label="rate without tuning")
    legend(found.figure, [chosen, dots, dashes])
    seeds, budget = len(choices.seeds), len(choices.learning_rates) * len(choices.seeds)
    failed = sum(item.failed for item in choices.choices)
    failures = f" {failed} trainings did not complete." if failed else ""
    caption = (
        "Validation score over the learning rate: mean (line) and seeds (dots) of the tuning, whose texts and seeds "
        f"({counted([seeds])}) nothing else in the study uses. Every panel took the same budget of {budget} "
        "trainings. Ring: the rate that was chosen; dotted: the strategy's rate without tuning. No test "
        f"is made here, and no interval is drawn.{failures}"
    )
    return Drawing(found.figure, _TITLE, caption)


def _subject(choice: Choice) -> tuple[str, str]:
    return choice.task, choice.model


def _untuned(study: Study, choice: Choice) -> list[float]:
    """Return the learning rates of a strategy's runs that are not tuned: one, if it has runs and they are known."""
    runs = study.runs
    own = runs[(runs["task"] == choice.task) & (runs["model"] == choice.model) & (runs["strategy"] == choice.strategy)]
    return sorted({study.learning_rates[run] for run in own["run"] if run in study.learning_rates})


def _curve(axes: Axes, choice: Choice, colour: str, *, dashed: bool = False) -> None:
    """Draw the scores of one strategy over the learning rate; of the baseline behind another one, the mean alone."""
    known = [(item.learning_rate, 100 * item.mean) for item in choice.tried if item.mean is not None]
    rates, means = [rate for rate, _ in known], [mean for _, mean in known]
    if dashed:
        axes.plot(rates, means, color=colour, linewidth=1.2, linestyle=DASHED, zorder=1)
        return
    axes.plot(rates, means, color=colour, linewidth=1.6, zorder=3)
    for item in choice.tried:
        scores = [100 * score for score in item.scores]
        axes.scatter([item.learning_rate] * len(scores), scores, s=12, color=colour, linewidths=0, zorder=4)
    if choice.score is not None and choice.learning_rate is not None:
        place = [choice.learning_rate], [100 * choice.score]
        axes.plot(*place, marker="o", markersize=9, fillstyle="none", color=INK, zorder=5)
