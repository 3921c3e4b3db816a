"""Small panels in a grid, one for each strategy: as many strategies as there are, none of them on top of another."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Grid:
    """Panels in a grid, one for each name."""

    figure: Figure
    axes: list[Axes]
    left: list[bool]
    """Of each panel, whether it is the first of its line."""
    lowest: list[bool]
    """Of each panel, whether none stands below it."""


def grid(names: Sequence[str], height: float = 2.2, groups: Sequence[str] | None = None) -> Grid:
    """Return a figure with a panel for each name, on shared axes.

    Parameters
    ----------
    names
        What stands above each panel.
    height
        Of a panel, in inches.
    groups
        What each panel belongs to, as long as `names`: each group begins on a new line and has a vertical axis of its
        own. Without it, all panels are one group.
    """
    sizes = list(Counter(groups or [""] * len(names)).values())
    columns = min(max(sizes), 4 if max(sizes) > 4 else 3)
    columns = 2 if max(sizes) == 4 else columns
    lines = sum(-(-size // columns) for size in sizes)
    width = {1: 6.5, 2: 9.0, 3: 11.0}.get(columns, 12.0)
    figure, every = canvas((width, lines * height + 1.1), lines, columns)
    for spare in every:
        spare.set_axis_off()
    found, start = Grid(figure, [], [], []), 0
    for size in sizes:
        group = range(start, start + size)
        for place in group:
            panel = every[place]
            panel.set_axis_on()
            if place:
                panel.sharex(every[0])
            if place > start:
                panel.sharey(every[start])
            found.axes.append(panel)
            found.left.append(place % columns == 0)
            found.lowest.append(place + columns not in group)
        start += columns * -(-size // columns)
    for panel, name, left, lowest in zip(found.axes, names, found.left, found.lowest, strict=True):
        panel.set_title(wrapped(name), fontsize=9.5)
        panel.grid(True, axis="both")
        panel.tick_params(labelbottom=lowest, labelleft=left)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    return found


def label(found: Grid, x: str, y: str | Sequence[str]) -> None:
    """Write the names of the axes below the lowest panels and left of the first of each line; y may be one a panel."""
    words = [y] * len(found.axes) if isinstance(y, str) else y
    for panel, left, lowest, name in zip(found.axes, found.left, found.lowest, words, strict=True):
        if lowest:
            panel.set_xlabel(x)
        if left:
            panel.set_ylabel(name)


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
