"""Curves: score over mask rate, static against dynamic masks, learning curves, robustness."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from maskbench.analysis.values import Scale
from maskbench.config.conditions import LEVELS
from maskbench.config.measures import measure, shown_in
from maskbench.report import text
from maskbench.report.figures.drawing import (
    DASHED,
    Drawing,
    Nothing,
    counted,
    failure_words,
    interval_words,
    legend,
    margins,
    plain_blocks,
    t_interval,
    wrapped,
)
from maskbench.report.figures.grids import MOST_PANELS, SERIES, curve, grid, label, plain_numbers
from maskbench.report.style import BLUE, GREY, INK, beside, panels, strategy_axis

if TYPE_CHECKING:
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
    entries = [
        Line2D([], [], color=colour, marker=marker, markersize=5, label=kind)
        for kind, (colour, marker) in zip(kinds, SERIES * 4, strict=False)
    ]
    zero = Line2D([], [], color=GREY, marker="D", linestyle=DASHED, label=f"{study.baseline} (baseline)")
    legend(figure, [*entries, zero])
    caption = (
        "Score on the test split over the share of tokens that was really masked in training, of the strategies that "
        f"differ in their rate alone, on {study.main_words} ({study.count(blocks)} completed runs at each point). "
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
    axes.set_title(study.title(block))
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
    blocks, names = study.main_blocks, []
    for name in shown_in("dynamic"):
        if any(len(_advantage(study, block, pair, name)) for block in blocks for pair in pairs):
            names.append(name)
    if not names:
        return Nothing(
            title, "The comparison needs a random and a static mask of the same rate, run on the same seeds."
        )
    lines = [(block, pair) for block in blocks for pair in pairs]
    words = [study.title(block) + (f": {one} − {other}" if len(pairs) > 1 else "") for block, (one, other) in lines]
    figure, axes = panels(len(names), len(lines), columns=3)
    for place, (panel, name) in enumerate(zip(axes, names, strict=True)):
        panel.axvline(0, color=GREY, linewidth=1.3, linestyle=DASHED, zorder=1)
        for line, (block, pair) in enumerate(lines):
            _dynamic_line(panel, study, line, _advantage(study, block, pair, name), name)
        margins(panel, [0.0])
        panel.set_title(measure(name).title)
        panel.set_xlabel(f"{pairs[0][0]} − {pairs[0][1]}, {_unit(name)}" if len(pairs) == 1 else _unit(name))
        strategy_axis(panel, [wrapped(item, 34) for item in words], labelled=place % 3 == 0)
    dot = Line2D([], [], marker="o", linestyle="", color=BLUE, alpha=0.45, markersize=5, label="one seed")
    mean = Line2D([], [], marker="D", linestyle="", color=BLUE, markersize=6, label="mean")
    legend(figure, [dot, mean, Line2D([], [], color=GREY, linestyle=DASHED, label="no difference")])
    counts = [len(_advantage(study, *line, name)) for line in lines for name in names]
    caption = (
        "Masks drawn anew in every pass (dynamic) against the same rate drawn once (static), paired by seed, with the "
        "sign turned where lower is better: right of zero, dynamic masks are better (a higher score, a smaller gap or "
        f"drop, faster updates). Dots: seeds; diamond: mean; {interval_words(study)}. "
        f"{counted(counts, 'paired seeds')}. No test is made here: it is in the claims.{failure_words(study)}"
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


def _size(block: Block, largest: float) -> float:
    """Return a train size as a number; the full set is drawn as twice the largest sample."""
    return 2 * largest if block.train_size == "full" else float(block.train_size)


def learning(study: Study) -> Drawing | Nothing:
    """Draw the score over the number of training examples, a panel for each strategy, the baseline in each."""
    title, blocks = "Learning curves", plain_blocks(study)
    if len({block.train_size for block in blocks}) < 2:
        return Nothing(title, "A learning curve needs at least two train sizes.")
    samples = [float(block.train_size) for block in blocks if block.train_size != "full"]
    largest = max(samples)
    sizes = sorted({_size(block, largest) for block in blocks})
    subjects = list(dict.fromkeys((block.task, block.model) for block in blocks))
    several = len({model for _, model in subjects}) > 1
    names = study.others or [study.baseline]
    figure, axes, columns = grid(names, 2.4)
    for panel, name in zip(axes, names, strict=True):
        for subject, (colour, marker) in zip(subjects, SERIES * 3, strict=False):
            own = [block for block in blocks if (block.task, block.model) == subject]
            for strategy in dict.fromkeys((study.baseline, name)):
                points = {
                    _size(block, largest): 100 * values
                    for block in own
                    if len(values := study.values(block, strategy, "test", "score"))
                }
                dashed = strategy == study.baseline and name != study.baseline
                if points:
                    curve(panel, points, colour, marker, study.confidence, baseline=dashed)
        panel.set_xscale("log")
        plain_numbers(panel.xaxis, sizes, lambda value: "full" if value > largest else f"{value:g}")
    label(axes, columns, "training examples", "score (%)")
    entries = [
        Line2D([], [], color=colour, marker=marker, label=" · ".join(subject if several else subject[:1]))
        for subject, (colour, marker) in zip(subjects, SERIES * 3, strict=False)
    ]
    dashes = Line2D([], [], color=GREY, linestyle=(0, (4, 2.5)), label=f"{study.baseline} (baseline)")
    legend(figure, [*entries, *([dashes] if study.others else [])])
    caption = (
        f"Score on the test split over the number of training examples, on a logarithmic scale ({study.count(blocks)} "
        f"completed runs at each point); a panel for each strategy, the dashed lines are the baseline {study.baseline} "
        f"on the same task. Mark: mean; {interval_words(study, 'bar')}; no test is made here: the area below the "
        f"curves is tested in the claims.{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


_PERTURBATIONS = {
    "swap": "letters swapped",
    "delete": "letters deleted",
    "drop": "words dropped",
    "mask": "words masked",
}


def robustness(study: Study) -> Drawing | Nothing:
    """Draw the drop in score over the level of a perturbation, a panel for each strategy."""
    title, blocks = "Robustness to perturbed text", study.main_blocks
    tasks = list(dict.fromkeys(block.task for block in blocks))
    names = study.others or [study.baseline]
    apart = len(tasks) > 1 and len(tasks) * len(names) <= MOST_PANELS
    wanted = [(name, [task] if task else tasks) for task in (tasks if apart else [""]) for name in names]
    # the baseline on the blocks of the strategy: limits may leave it fewer tasks and models than the baseline has
    own = [
        [block for block in blocks if block.task in some and name in study.strategies_of(block)]
        for name, some in wanted
    ]
    found = [_drops(study, blocks, name) for blocks, (name, _) in zip(own, wanted, strict=True)]
    if not any(found):
        return Nothing(title, "No run was tested on perturbed text (probe: perturbation).")
    shown = [(*of, blocks, drops) for of, blocks, drops in zip(wanted, own, found, strict=True) if drops]
    titles = [f"{name} · {some[0]}" if apart else name for name, some, _, _ in shown]
    of_baseline = cache(lambda blocks: _drops(study, list(blocks), study.baseline))
    figure, axes, columns = grid(titles, 2.4)
    for panel, (_, _, blocks, drops) in zip(axes, shown, strict=True):
        base = _of_seeds(of_baseline(tuple(blocks)), drops)
        panel.axhline(0, color=GREY, linewidth=0.9, zorder=1)
        for (kind, _), (colour, marker) in zip(_PERTURBATIONS.items(), SERIES, strict=True):
            if study.others and kind in base:
                curve(panel, base[kind], colour, marker, study.confidence, baseline=True)
            if kind in drops:
                curve(panel, drops[kind], colour, marker, study.confidence)
        plain_numbers(panel.xaxis, LEVELS)
        panel.set_xlim(0, 1.1 * max(LEVELS))
    label(axes, columns, "letters or words changed (%)", "drop in score (points)")
    marks = [
        Line2D([], [], color=colour, marker=marker, label=words)
        for (kind, words), (colour, marker) in zip(_PERTURBATIONS.items(), SERIES, strict=True)
        if any(kind in drops for drops in found)
    ]
    dashes = Line2D([], [], color=GREY, linestyle=(0, (4, 2.5)), label=f"{study.baseline} (baseline)")
    legend(figure, [*marks, *([dashes] if study.others else [])])
    averaged = (
        " Mean over the tasks of the strategy, since there would be too many panels."
        if len(tasks) > 1 and not apart
        else ""
    )
    caption = (
        "How much the score on the test split falls when its text is perturbed, over the share of letters or words "
        f"that are changed; lower is more robust ({study.count(study.main_blocks)} completed runs). A panel for each "
        f"strategy; dashed: the baseline {study.baseline} on the same tasks and seeds. Masked words are what input "
        "masks train for, and are no evidence of robustness to anything else. Mark: mean; "
        f"{interval_words(study, 'bar')}; no test is made here.{averaged}"
        f"{failure_words(study)}"
    )
    return Drawing(figure, title, caption)


def _of_seeds(
    base: dict[str, dict[float, pd.Series[float]]], drops: dict[str, dict[float, pd.Series[float]]]
) -> dict[str, dict[float, pd.Series[float]]]:
    """Return the drops of the baseline with the seeds that the strategy has; as they are where it has none of them."""
    found = {}
    for kind, levels in base.items():
        seeds = {seed for values in drops.get(kind, {}).values() for seed in values.index}
        found[kind] = {
            level: values[values.index.isin(seeds)] if values.index.isin(seeds).any() else values
            for level, values in levels.items()
        }
    return found


def _drops(study: Study, blocks: list[Block], strategy: str) -> dict[str, dict[float, pd.Series[float]]]:
    """Return the drop in score by kind of perturbation and level, the mean over blocks by seed."""
    found: dict[str, dict[float, pd.Series[float]]] = {}
    for kind in _PERTURBATIONS:
        stem = "masking_drop" if kind == "mask" else "perturbation_drop"
        for level in LEVELS:
            parts = [study.values(block, strategy, "test", f"{stem}:{kind}-{level}") for block in blocks]
            parts = [part for part in parts if len(part)]
            values = pd.DataFrame(dict(enumerate(parts))).dropna().mean(axis=1) if parts else pd.Series(dtype="float64")
            if len(values) and not math.isnan(values.mean()):
                found.setdefault(kind, {})[float(level)] = values
    return found
