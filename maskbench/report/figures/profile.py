"""The profile of interference: every strategy and every family, on one scale."""

from __future__ import annotations

from itertools import groupby, product
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from maskbench.analysis.metrics import BLOCK
from maskbench.config.measures import MEASURES
from maskbench.report import text
from maskbench.report.blocks import size_words
from maskbench.report.figures.drawing import Drawing, Nothing, counted, failure_words, t_interval, wrapped
from maskbench.report.interference import drawn, homes, standardised
from maskbench.report.style import GREY, INK, canvas

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from maskbench.analysis.metrics import Array
    from maskbench.report.blocks import Block
    from maskbench.report.study import Study

SIGNED = LinearSegmentedColormap.from_list("signed", ["#B35806", "#F1A340", "#F7F7F7", "#67A9CF", "#2166AC"])
"""Orange is worse, blue is better; people with any colour vision tell them apart."""

STUCK = " \N{DAGGER}"
"""Mark after the name of a strategy if some of its runs learned nothing."""

LIMIT = 3.0
"""Difference in SDs at which the scale of colours ends."""

PANELS_APART = 12
"""Most strategies for which every task has a panel of its own beside that of all tasks."""


def heat(axes: Axes, values: Array, limit: float, bold: Array, decimals: int = 1) -> None:
    """Draw signed numbers (rows, columns) as coloured cells with the number in each; NaN leaves a dot on grey."""
    axes.imshow(np.nan_to_num(values), cmap=SIGNED, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color="#ECEEEF", linewidth=0))
            axes.text(column, row, "·", ha="center", va="center", fontsize=8, color=GREY)
            continue
        colour = "white" if abs(value) > 0.72 * limit else INK
        weight = "bold" if bold[row, column] else "normal"
        words = text.signed(float(value), decimals)
        axes.text(column, row, words, ha="center", va="center", fontsize=8, color=colour, fontweight=weight)
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
    axes.grid(False, which="major")
    axes.grid(True, which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="both", length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _families(axes: Axes, names: Sequence[str]) -> None:
    """Write the families above their columns, with a line between them."""
    start = 0
    for family, members in groupby(names, key=lambda name: MEASURES[name].family):
        end = start + len(list(members))
        axes.text((start + end - 1) / 2, -0.62, family, ha="center", va="bottom", fontsize=8.5, color=GREY)
        if start:
            axes.axvline(start - 0.5, color=INK, linewidth=1.1)
        start = end


def profile(study: Study) -> Drawing | Nothing:
    """Draw, for every strategy, each measure's paired difference to the baseline in SDs between seeds."""
    title = f"Profile of interference compared with {study.baseline}"
    if not study.others:
        return Nothing(title, f"Only {study.baseline} was run; there is nothing to compare it with.")
    homes_of = {name: _homes(study, name) for name in drawn(study)}
    tasks = list(dict.fromkeys(block.task for block in study.blocks))
    scopes: list[str | None] = [None, *(tasks if len(tasks) > 1 and len(study.others) <= PANELS_APART else [])]
    found = {scope: _scope(study, homes_of, scope) for scope in scopes}
    counts = [len(values) for values in found[None].values() if len(values)]
    if not counts:
        return Nothing(title, "Differences on one scale need a measure with at least two seeds whose values differ.")
    rows = [one for one in study.others if any(len(found[None][one, name]) for name in homes_of)]
    alike = [name for name in homes_of if not any(len(found[None][one, name]) for one in rows)]
    names = [name for name in homes_of if name not in alike]
    shown = list(dict.fromkeys(block for name in names for block in homes_of[name]))
    stuck = _stuck(study, shown) & {*rows}
    height = len(rows) * 0.3 + 0.55
    figure, grid = canvas((2.6 + 0.62 * len(names), len(scopes) * height + 1.75), len(scopes), 1)
    for place, (axes, scope) in enumerate(zip(grid, scopes, strict=True)):
        _panel(axes, study, rows, names, found[scope])
        axes.set_yticks(range(len(rows)), [wrapped(name, 34) + (STUCK if name in stuck else "") for name in rows])
        labels = [MEASURES[name].label if place == len(scopes) - 1 else "" for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=40, ha="right", rotation_mode="anchor", fontsize=8.5)
        words = scope or ("all tasks" if len(tasks) > 1 else tasks[0])
        axes.set_title(words, pad=20)
    caption = (
        f"Every strategy minus {study.baseline}, paired by seed, with the sign turned where lower is better: positive "
        "and blue is less interference (or a higher score), negative and orange is more. One scale for all: the "
        "difference is divided by the SD between seeds of the same measure, pooled over the strategies of a block; so "
        f"+1 is one SD better. Colours end at {LIMIT:g} SDs. {counted(counts, 'paired seeds')}. Bold: the "
        f"{100 * study.confidence:g} % t interval of the mean over seeds leaves out zero (from 3 seeds on), not "
        "adjusted for the number of measures: a profile; no test is made here. Each measure is of the training that "
        "it is about: forgetting after another task; negative transfer and gradients together with another task; cue "
        f"reliance and memorisation on changed data; all others of a task alone on clean data.{_sizes(study, shown)} "
        "A dot: not measured, or the same in all seeds. Natural units: the table of interference."
        f"{failure_words(study)}"
    )
    if alike:
        caption += f" Left out, the same in all seeds: {', '.join(MEASURES[name].label for name in alike)}."
    if stuck:
        caption += (
            f"{STUCK}: some of its runs did hardly better than the majority class; such a run has little to lose."
        )
    return Drawing(figure, title, caption)


def _homes(study: Study, name: str) -> list[Block]:
    """Return the blocks that a measure is about, of the train size at which claims are judged, if it is one."""
    blocks = homes(study, name)
    return [block for block in blocks if block.train_size == study.train_size] or blocks


def _sizes(study: Study, blocks: Sequence[Block]) -> str:
    """Say of which train sizes the numbers are, for the caption; nothing in a study of one size."""
    if len({block.train_size for block in study.blocks}) == 1:
        return ""
    sizes = {block.train_size for block in blocks}
    return f" With {size_words(sizes)}{', or the mean over them' if len(sizes) > 1 else ''}."


def _stuck(study: Study, blocks: Sequence[Block]) -> set[str]:
    """Return the strategies of which runs in these blocks learned nothing."""
    runs = study.runs.loc[study.stuck]
    keys = {block.key for block in blocks}
    there = [key in keys for key in runs[BLOCK].astype(str).itertuples(index=False, name=None)]
    return set(runs.loc[there, "strategy"])


def _scope(study: Study, wanted: dict[str, list[Block]], task: str | None) -> dict[tuple[str, str], pd.Series[float]]:
    """Return the standardised differences of one task, or of all, by strategy and measure."""
    found = {}
    for name, every in wanted.items():
        blocks = [block for block in every if task in (None, block.task)]
        for strategy in study.others:
            found[strategy, name] = standardised(study, blocks, strategy, name)
    return found


def _panel(
    axes: Axes, study: Study, rows: list[str], names: list[str], found: dict[tuple[str, str], pd.Series[float]]
) -> None:
    shape = (len(rows), len(names))
    values, bold = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    for (row, strategy), (column, name) in product(enumerate(rows), enumerate(names)):
        by_seed = found[strategy, name]
        if len(by_seed):
            values[row, column] = by_seed.mean()
            interval = t_interval(by_seed, study.confidence)
            bold[row, column] = interval is not None and not interval[0] <= 0.0 <= interval[1]
    heat(axes, values, LIMIT, bold)
    _families(axes, names)
