"""Small panels in a grid, one for each strategy: as many strategies as there are, none of them on top of another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from maskbench.report.figures.drawing import t_interval, wrapped
from maskbench.report.style import BLUE, GREEN, PURPLE, VERMILION, canvas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"))
"""Colour and shape of each series; both tell them apart."""

MOST_PANELS = 12
"""Most panels for which every task has one for each strategy; beyond, tasks are averaged."""


def grid(names: Sequence[str], height: float = 2.2) -> tuple[Figure, list[Axes], int]:
    """Return a figure with a panel for each name, on shared axes, and how many stand side by side."""
    columns = min(len(names), 4 if len(names) > 4 else 3)
    columns = 2 if len(names) == 4 else columns
    lines = math.ceil(len(names) / columns)
    width = {1: 6.5, 2: 9.0, 3: 11.0}.get(columns, 12.0)
    figure, axes = canvas((width, lines * height + 1.1), lines, columns, share=True)
    for spare in axes[len(names) :]:
        spare.set_axis_off()
    for place, (panel, name) in enumerate(zip(axes, names, strict=False)):
        panel.set_title(wrapped(name), fontsize=9.5)
        panel.grid(True, axis="both")
        panel.tick_params(labelbottom=place + columns >= len(names), labelleft=place % columns == 0)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    return figure, axes[: len(names)], columns


def label(axes: list[Axes], columns: int, x: str, y: str) -> None:
    """Write the names of the axes below the last panel of each column and left of the first panel of each line."""
    for place, panel in enumerate(axes):
        if place + columns >= len(axes):
            panel.set_xlabel(x)
        if place % columns == 0:
            panel.set_ylabel(y)


def curve(
    axes: Axes,
    points: Mapping[float, pd.Series[float]],
    colour: str,
    marker: str,
    confidence: float,
    *,
    baseline: bool = False,
) -> None:
    """Draw the mean over seeds at each place, with its interval; that of the baseline is dashed, without."""
    places = sorted(points)
    means = [points[place].mean() for place in places]
    if baseline:
        alone: dict[str, Any] = {"marker": "_", "markersize": 16, "markeredgewidth": 1.6} if len(places) == 1 else {}
        axes.plot(places, means, color=colour, linewidth=1.2, linestyle=(0, (4, 2.5)), alpha=0.75, zorder=2, **alone)
        return
    axes.plot(places, means, color=colour, linewidth=1.6, marker=marker, markersize=4.5, zorder=4)
    for place in places:
        if interval := t_interval(points[place], confidence):
            axes.plot([place, place], interval, color=colour, linewidth=1.2, alpha=0.8, zorder=3)


def plain_numbers(axis: mpl.axis.Axis, places: Sequence[float], write: Callable[[float], str] = "{:g}".format) -> None:
    """Put ticks at given places, written as plain numbers."""
    axis.set_major_locator(mpl.ticker.FixedLocator(list(places)))
    axis.set_minor_locator(mpl.ticker.NullLocator())
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: write(value)))
