"""Curves: score over mask rate, static against dynamic masks, learning curves."""

from __future__ import annotations

import json
import math
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from maskbench.analysis.values import Scale
from maskbench.config.measures import measure, shown_in
from maskbench.report import text
from maskbench.report.figures.drawing import (
    DASHED,
    LEAST_FOR_T,
    Drawing,
    Nothing,
    baseline_line,
    counted,
    failure_words,
    interval_words,
    legend,
    margins,
    plain_blocks,
    t_interval,
    wrapped,
)
from maskbench.report.figures.grids import SERIES, curve, grid, label, plain_numbers
from maskbench.report.style import BLUE, GREY, INK, beside, name_panel, panels, strategy_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from maskbench.report.blocks import Block
    from maskbench.report.study import Study

_FAMILIES = ("input", "attention", "parameter", "objective")


def _alone(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the input mask of a strategy that has this mask alone and is no control; else None."""
    others = [settings.get(name) for name in (*_FAMILIES[1:], "twin")]
    trained = any(value is not None for value in (settings.get("training") or {}).values())
    mask = settings.get("input")
    return mask if isinstance(mask, dict) and not any(others) and not trained else None


def rated(study: Study) -> dict[str, list[str]]:
    """Return the strategies that differ in their mask rate alone, by the kind that they have in common.

    A kind needs two rates; one whose strategies differ in more than the rate has a line for each setting.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name in study.strategies:
        mask = _alone(study.settings.get(name, {}))
        if mask and isinstance(mask.get("rate"), int | float) and mask.get("apply", True):
            rest = {key: value for key, value in mask.items() if key not in ("rate", "kind")}
            groups.setdefault((str(mask["kind"]), json.dumps(rest, sort_keys=True)), []).append(name)
    found: dict[str, list[str]] = {}
    for (kind, _), names in groups.items():
        if len({study.settings[name]["input"]["rate"] for name in names}) > 1:
            # the kind's own name, or that of its first strategy where a kind has several settings
            found[kind if kind not in found else names[0]] = names
    return found


def rates(study: Study) -> Drawing | Nothing:
    """Draw the score over the mask rate that was realised in training, a line for each kind of mask."""
    title, kinds = "Score and mask rate", rated(study)
    blocks = [
        block for block in study.main_blocks if any(len(_dose(study, block, names)) > 1 for names in kinds.values())
    ]
    if not blocks:
        return Nothing(title, "A curve over the mask rate needs two rates of one kind of input mask.")
    figure, axes = panels(len(blocks), 7)
    for panel, block in zip(axes, blocks, strict=True):
        _rates_panel(panel, study, block, kinds)
        name_panel(panel, study.title(block, blocks))
    doses = [_dose(study, block, names) for block in blocks for names in kinds.values()]
    counts = [len(scores) for points in doses for scores in points.values()]
    entries = [
        Line2D([], [], color=colour, marker=marker, markersize=5, label=kind)
        for kind, (colour, marker) in zip(kinds, SERIES * 4, strict=False)
    ]
    zero = Line2D([], [], color=GREY, marker="D", linestyle=DASHED, label=f"{study.baseline} (baseline)")
    legend(figure, [*entries, zero])
    caption = (
        "Score on the test split over the share of tokens that was really masked in training, of the strategies that "
        f"differ in their rate alone, on {study.main_words} ({counted(counts, 'completed runs')} at each point). "
        f"Mark: mean; dots: seeds; {interval_words(study, 'bar')}; no test is made here, the trend is tested in the "
        f"claims. Dashed: the mean of {study.baseline}.{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _dose(study: Study, block: Block, names: list[str]) -> dict[float, pd.Series[float]]:
    """Return the scores by the realised mask rate, both in per cent."""
    found = {}
    for name in names:
        rate, score = study.values(block, name, "run", "mask_rate"), study.values(block, name, "test", "score")
        if len(rate) and len(score):
            found[100 * float(rate.mean())] = 100 * score
    return found


def _rates_panel(axes: Axes, study: Study, block: Block, kinds: dict[str, list[str]]) -> None:
    base = 100 * study.values(block, study.baseline, "test", "score")
    if len(base):
        axes.axhline(base.mean(), color=GREY, linewidth=1.3, linestyle=DASHED, zorder=1)
        axes.scatter([0.0], [base.mean()], marker="D", s=36, color=GREY, zorder=4)
    for (_, names), (colour, marker) in zip(kinds.items(), SERIES * 4, strict=False):
        points = _dose(study, block, names)
        if points:
            curve(axes, points, colour, marker, study.confidence)
        for place, scores in points.items():
            axes.scatter([place] * len(scores), scores, s=10, color=colour, alpha=0.35, linewidths=0, zorder=2)
    axes.grid(True, axis="both")
    axes.set_xlim(left=-2)
    axes.set_xlabel("tokens masked in training (%)")
    axes.set_ylabel(f"{study.score_title(block.task)} (%)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _static_pairs(study: Study) -> list[tuple[str, str]]:
    """Return the pairs of a dynamic and a static strategy with the same rate and unit of masking."""
    masks = {name: mask for name in study.strategies if (mask := _alone(study.settings.get(name, {})))}
    keys = ("rate", "whole_words", "replacement", "apply")

    def alike(name: str) -> tuple[Any, ...]:
        return tuple(json.dumps(masks[name].get(key)) for key in keys)

    dynamic = {alike(name): name for name, mask in masks.items() if mask.get("kind") == "random"}
    static = [name for name, mask in masks.items() if mask.get("kind") == "static"]
    return [(dynamic[alike(name)], name) for name in static if alike(name) in dynamic]


def dynamic(study: Study) -> Drawing | Nothing:
    """Draw dynamic minus static masks of the same rate, seed by seed, on the measures that the claim is about."""
    title, pairs = "Dynamic and static masks", _static_pairs(study)
    found = {
        (block, pair, name): values
        for block, pair, name in product(study.main_blocks, pairs, shown_in("dynamic"))
        if len(values := _advantage(study, block, pair, name))
    }
    if not found:
        why = "The comparison needs a random and a static mask of the same rate, run on the same seeds"
        return Nothing(title, f"{why}, of {study.main_words}.")
    lines = list(dict.fromkeys((block, pair) for block, pair, _ in found))
    names = [name for name in shown_in("dynamic") if any(name == key[2] for key in found)]
    blocks = [block for block, _ in lines]
    words = [
        study.title(block, blocks) + (f": {one} − {other}" if len(pairs) > 1 else "") for block, (one, other) in lines
    ]
    figure, axes = panels(len(names), len(lines), columns=3)
    for place, (panel, name) in enumerate(zip(axes, names, strict=True)):
        panel.axvline(0, color=GREY, linewidth=1.3, linestyle=DASHED, zorder=1)
        for line, (block, pair) in enumerate(lines):
            _dynamic_line(panel, study, line, found.get((block, pair, name), pd.Series(dtype="float64")), name)
        margins(panel, [0.0])
        name_panel(panel, measure(name).title)
        panel.set_xlabel(f"{pairs[0][0]} − {pairs[0][1]}, {_unit(name)}" if len(pairs) == 1 else _unit(name))
        strategy_axis(panel, [wrapped(item, 34) for item in words], labelled=place % 3 == 0)
    dot = Line2D([], [], marker="o", linestyle="", color=BLUE, alpha=0.45, markersize=5, label="one seed")
    interval = max(map(len, found.values())) >= LEAST_FOR_T
    words_of_mean = f"mean and {100 * study.confidence:g} % interval" if interval else "mean"
    mean = Line2D([], [], marker="D", linestyle="-" if interval else "", color=BLUE, markersize=6, label=words_of_mean)
    legend(figure, [dot, mean, Line2D([], [], color=GREY, linestyle=DASHED, label="no difference")])
    counts = [len(values) for values in found.values()]
    caption = (
        "Masks drawn anew in every pass (dynamic) against the same rate drawn once (static), on "
        f"{study.main_words}, paired by seed, with the sign turned where lower is better: right of zero, dynamic masks "
        "are better (a higher score, a smaller gap or drop, faster updates). Dots: seeds; diamond: mean; "
        f"{interval_words(study)}. {counted(counts, 'paired seeds')}. No test is made here: it is in the claims."
        f"{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _unit(name: str) -> str:
    """Return the unit in which an advantage is shown."""
    return "% faster" if measure(name).unit in ("ms", "s") else Scale(name).unit


def _advantage(study: Study, block: Block, pair: tuple[str, str], name: str) -> pd.Series[float]:
    """Return by seed how much better the first strategy of a pair is."""
    if Scale(name).ratio:
        return -study.paired_ratio(block, *pair, name)
    sign = 1.0 if measure(name).better == "higher" else -1.0
    return sign * study.paired(block, *pair, name, 100.0 if measure(name).unit == "fraction" else 1.0)


def _dynamic_line(axes: Axes, study: Study, line: int, values: pd.Series[float], name: str) -> None:
    if values.empty:
        beside(axes, line, "no pairs", GREY)
        return
    spread = [line + 0.3 * (place / max(1, len(values) - 1) - 0.5) for place in range(len(values))]
    axes.scatter(values, spread, s=18, color=BLUE, alpha=0.45, linewidths=0, zorder=3)
    ratio = Scale(name).ratio  # averaged between logarithms, as everywhere
    logs = np.log1p(-values / 100.0) if ratio else values

    def shown(value: float) -> float:
        return -100.0 * math.expm1(value) if ratio else value

    if interval := t_interval(logs, study.confidence):
        axes.plot([shown(end) for end in interval], [line, line], color=BLUE, linewidth=1.6, zorder=4)
    mean = shown(float(logs.mean()))
    axes.scatter([mean], [line], s=42, marker="D", color=BLUE, edgecolors="white", linewidths=0.9, zorder=5)
    beside(axes, line, text.signed(mean, 3 if measure(name).unit == "nats" else 2), INK)


def _baseline_curves(study: Study) -> dict[tuple[str, str], dict[str, pd.Series[float]]]:
    """Return, by task and model, the baseline's scores (per cent) at each train size, where there are two or more."""
    found: dict[tuple[str, str], dict[str, pd.Series[float]]] = {}
    for block in plain_blocks(study):
        if len(values := study.values(block, study.baseline, "test", "score")):
            found.setdefault((block.task, block.model), {})[block.train_size] = 100 * values
    return {subject: points for subject, points in found.items() if len(points) > 1}


class _Change(NamedTuple):
    """How the score of a strategy differs from the baseline's: in points, with its interval if there are the seeds."""

    points: float
    interval: tuple[float, float] | None
    seeds: int


def _changes(study: Study) -> dict[str, dict[tuple[str, str], dict[str, _Change]]]:
    """Return, by strategy, and by task and model, its change at each train size, where there are two or more."""
    found: dict[str, dict[tuple[str, str], dict[str, _Change]]] = {}
    for block in plain_blocks(study):
        rows: list[dict[Any, Any]] = study.compared(block, "score").to_dict("records")
        for row in rows:
            if not math.isnan(row["estimate"]):
                interval = (row["ci_low"], row["ci_high"]) if row["n_seeds"] >= LEAST_FOR_T else None
                subjects = found.setdefault(row["strategy"], {})
                change = _Change(row["estimate"], interval, int(row["n_seeds"]))
                subjects.setdefault((block.task, block.model), {})[block.train_size] = change
    several = {
        name: {subject: points for subject, points in subjects.items() if len(points) > 1}
        for name, subjects in found.items()
    }
    return {name: several[name] for name in study.others if several.get(name)}


def _change_panel(axes: Axes, changes: Sequence[Mapping[float, _Change]]) -> None:
    """Draw the changes of a strategy over the number of texts, a line for each task, side by side."""
    axes.axhline(0, color=GREY, linewidth=1.3, linestyle=DASHED, zorder=1)
    for place, (points, (colour, marker)) in enumerate(zip(changes, SERIES * 3, strict=False)):
        aside = 1.05 ** (place - (len(changes) - 1) / 2)
        at = {aside * size: points[size] for size in sorted(points)}
        axes.plot(list(at), [change.points for change in at.values()], color=colour, marker=marker, markersize=4.5)
        for size, change in at.items():
            if change.interval:
                axes.plot([size, size], change.interval, color=colour, linewidth=1.2, alpha=0.8, zorder=3)


def learning(study: Study) -> Drawing | Nothing:
    """Draw the baseline's score over the number of training texts, and how each other strategy differs from it."""
    title, curves, changes = "Learning curves", _baseline_curves(study), _changes(study)
    if not curves:
        return Nothing(title, f"A learning curve needs a task on which {study.baseline} ran at two train sizes.")
    sampled = {float(size) for points in curves.values() for size in points if size != "full"}
    most = max(sampled)
    # the full set is drawn as twice the largest sample
    sizes = {size: 2 * most if size == "full" else float(size) for points in curves.values() for size in points}
    found = grid([study.baseline, *changes], 2.4, ["score", *["difference"] * len(changes)])
    for points, (colour, marker) in zip(curves.values(), SERIES * 3, strict=False):
        at = {sizes[size]: values for size, values in points.items()}
        curve(found.axes[0], at, colour, marker, study.confidence)
    for panel, subjects in zip(found.axes[1:], changes.values(), strict=True):
        rows = [subjects.get(subject, {}) for subject in curves]
        _change_panel(panel, [{sizes[size]: change for size, change in row.items()} for row in rows])
    for panel in found.axes:
        panel.set_xscale("log")
        plain_numbers(panel.xaxis, sorted(sizes.values()), lambda value: "full" if value > most else f"{value:g}")
    label(found, "training texts", ["score (%)", *[f"difference to {study.baseline}\n(points)"] * len(changes)])
    several = len({model for _, model in curves}) > 1
    entries = [
        Line2D([], [], color=colour, marker=marker, label=" · ".join(subject if several else subject[:1]))
        for subject, (colour, marker) in zip(curves, SERIES * 3, strict=False)
    ]
    legend(found.figure, [*entries, *([baseline_line(study, "")] if changes else [])])
    return Drawing(found.figure, title, _learning_words(study, curves, changes))


def _learning_words(
    study: Study,
    curves: Mapping[tuple[str, str], Mapping[str, pd.Series[float]]],
    changes: Mapping[str, Mapping[tuple[str, str], Mapping[str, _Change]]],
) -> str:
    """Return the caption of the learning curves."""
    counts = [len(values) for points in curves.values() for values in points.values()]
    pairs = [one.seeds for subjects in changes.values() for points in subjects.values() for one in points.values()]
    others = (
        " The other panels: score minus that of the baseline on the same texts, paired by seed "
        f"({counted(pairs, 'paired seeds')} at each point); above zero is a higher score; bar: {study.interval_words}, "
        "not adjusted for the number of comparisons. Marks of several tasks stand side by side."
        if pairs
        else ""
    )
    left = "" if len(changes) >= len(study.others) else " Strategies without a panel ran at one train size alone."
    return (
        f"Over the number of training texts, on a logarithmic scale. First panel: score of {study.baseline} on the "
        f"test split, of each task its own ({counted(counts, 'completed runs')} at each point); mark: mean; "
        f"{interval_words(study, 'bar')}."
        f"{others} No test is made here: the claims test what more texts change.{left}{failure_words(study)}"
    )
