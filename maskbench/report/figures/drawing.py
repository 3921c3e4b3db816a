"""What all figures share: the type of a figure, the marks in its panels, and phrases of captions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from scipy import stats

from maskbench.report import text
from maskbench.report.style import BLUE, GREY, INK, ORANGE, canvas, legible, ragged, strategy_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.patches import Patch

    from maskbench.analysis.metrics import Array
    from maskbench.report.blocks import Block
    from maskbench.report.study import Study

DASHED, DOTTED = (0, (5, 3)), (0, (1, 1.5))

LEAST_FOR_T = 3
"""Seeds from which on the interval of a mean is drawn; with two, a t interval is twelve times as long as their SD."""


@dataclass(frozen=True)
class Drawing:
    """A figure and what is written below it."""

    figure: Figure
    title: str
    caption: str


@dataclass(frozen=True)
class Nothing:
    """A figure that the study has no data for."""

    title: str
    why: str
    """Why there is nothing to draw, as one sentence."""


def line(nothing: Nothing) -> Figure:
    """Return a picture of the line that says why there is no figure."""
    figure, (axes,) = canvas((9.0, 0.6), 1, 1)
    axes.set_axis_off()
    axes.text(0.5, 0.5, f"{nothing.title}: {nothing.why}", ha="center", va="center", fontsize=8.5)
    return figure


def t_interval(values: pd.Series[float] | Array, confidence: float) -> tuple[float, float] | None:
    """Return the t interval of the mean of values (n,), or None with too few values for one."""
    found = np.asarray(values, dtype=float)
    if len(found) < LEAST_FOR_T or found.std() == 0:
        return None
    half = stats.t.ppf((1 + confidence) / 2, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found))
    return float(found.mean() - half), float(found.mean() + half)


@dataclass(frozen=True)
class Panel:
    """A panel with a strategy on each of its lines."""

    axes: Axes
    names: list[str]
    """The strategies, the first on top."""


SIDE_BY_SIDE = 12
"""Most lines for which two panels stand side by side; of more, three do, so that the figure is not much too high."""


def in_lines(own: Sequence[Sequence[str]], widths: Sequence[float], room: float) -> list[list[int]]:
    """Return which panels stand side by side: those whose strategies are much the same, as far as there is room.

    Panels side by side have the same lines, so that a task that few strategies ran on has a short panel for itself.

    Parameters
    ----------
    own
        The strategies of each panel.
    widths
        How wide each panel is.
    room
        How wide a line of panels is at most.
    """
    lines: list[list[int]] = []
    for index, names in enumerate(own):
        for line in lines:
            there = {name for member in line for name in own[member]}
            wide = widths[index] + sum(widths[member] for member in line)
            if wide <= room and 2 * len(there & set(names)) >= len(there | set(names)):
                line.append(index)
                break
        else:
            lines.append([index])
    return lines


def strategy_panels(
    study: Study, own: Sequence[Sequence[str]], columns: int | None = None
) -> tuple[Figure, list[Panel]]:
    """Return a figure with a panel for each list of strategies, and side by side those that share most (`in_lines`)."""
    most = columns or (2 if max(map(len, own)) <= SIDE_BY_SIDE else 3)
    lines = in_lines(own, [1.0] * len(own), most)
    rows = [[name for name in study.strategies if any(name in own[index] for index in line)] for line in lines]
    figure, grid = ragged([len(line) for line in lines], [len(names) for names in rows])
    found = {}
    for line, axes_of_line, names in zip(lines, grid, rows, strict=True):
        for place, (index, axes) in enumerate(zip(line, axes_of_line, strict=True)):
            strategy_axis(axes, names, labelled=place == 0)
            found[index] = Panel(axes, names)
    return figure, [found[index] for index in range(len(own))]


def absent(study: Study, block: Block, name: str) -> str | None:
    """Say why a strategy has nothing to show in a block."""
    if name not in study.strategies_of(block):
        return "not run"
    if failed := study.failed(block, name):
        return f"all {failed} failed" if failed == len(study.arm(block, name)) else None
    return None


def interval_words(study: Study, what: str = "line") -> str:
    """Return what the interval of a mean over seeds is, for captions."""
    if max(len(study.arm(block, name)) for block in study.blocks for name in study.strategies_of(block)) < LEAST_FOR_T:
        return f"no intervals, which need at least {LEAST_FOR_T} seeds"
    return f"{what}: {100 * study.confidence:g} % t interval of the mean over seeds (from {LEAST_FOR_T} seeds on)"


def seed_words(study: Study, blocks: Sequence[Block]) -> str:
    """Return a sentence on seeds that not all strategies have, with a blank before it; nothing if all are alike."""

    def seeds(block: Block, name: str) -> set[int]:
        return set(study.values(block, name, "test", "score").index)

    alike = all(
        seeds(block, name) == seeds(block, study.baseline) for block in blocks for name in study.strategies_of(block)
    )
    return "" if alike else f" Where a strategy has other seeds than {study.baseline}, only paired differences compare."


def failure_words(study: Study) -> str:
    """Return a sentence on runs that did not complete, with a blank before it; nothing if all did."""
    failed = len(study.failures)
    return f" {failed} of {text.count(len(study.runs), 'run')} did not complete." if failed else ""


def counted(counts: list[int], noun: str = "seeds") -> str:
    """Write ``n = 5 seeds`` or ``n = 3 to 5 seeds``."""
    low, high = min(counts), max(counts)
    return f"n = {low} {noun}" if low == high else f"n = {low} to {high} {noun}"


def margins(axes: Axes, include: list[float]) -> None:
    """Leave some room on both sides of the data; a single point gets a range around it."""
    low, high = axes.dataLim.intervalx
    low, high = min([low, *include]), max([high, *include])
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 1.0
    room = 0.07 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_xlim(low - room, high + room)


def _log_ratio(change: Array) -> Array:
    return np.log1p(np.maximum(change, -99.9) / 100.0)


def _change_of(log_ratio: Array) -> Array:
    return 100.0 * np.expm1(log_ratio)


def ratio_axis(axes: Axes) -> None:
    """Show differences in per cent as ratios, with zero among them: half as much is as far away as twice as much.

    Where nothing is twice as much as something else, ticks are at round numbers, elsewhere at halves and doubles.
    """
    ends = _log_ratio(np.asarray(axes.dataLim.intervalx))
    low, high = min(float(ends[0]), 0.0), max(float(ends[1]), 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 0.1
    room = 0.07 * (high - low) or 0.05
    low, high = low - room, high + room
    axes.set_xscale("function", functions=(_log_ratio, _change_of))
    axes.set_xlim(*map(float, _change_of(np.array([low, high]))))
    if high - low > math.log(2):
        step = 1 if high - low < math.log(8) else 2
        powers = range(-10, 11, step)
        axes.xaxis.set_major_locator(FixedLocator([100.0 * (2.0**power - 1) for power in powers]))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def _tick(change: float) -> str:
    """Write a difference at an axis with as many decimals as it has, at most two."""
    decimals = next((number for number in (0, 1) if abs(change - round(change, number)) < 1e-6), 2)
    return text.signed(change, decimals)


def legend(figure: Figure, entries: Sequence[Line2D | Patch]) -> Legend:
    """Put a legend below all panels, in as many columns as fit the width."""

    # a column is as wide as its widest entry
    def width(columns: int) -> float:
        words = [len(str(entry.get_label())) for entry in entries]
        lines = -(-len(words) // columns)
        return sum(0.078 * max(words[start : start + lines]) + 0.62 for start in range(0, len(words), lines))

    fitting = [number for number in range(len(entries), 0, -1) if width(number) <= figure.get_figwidth()]
    return figure.legend(
        handles=list(entries),
        loc="outside lower left",
        ncols=(fitting or [1])[0],
        frameon=False,
        fontsize=9,
    )


def baseline_line(study: Study, words: str) -> Line2D:
    """Return the legend's entry for the dashed grey line of the baseline."""
    return Line2D([], [], color=GREY, linewidth=1.3, linestyle=DASHED, label=f"{words}{study.baseline} (baseline)")


def colour_of(study: Study, name: str) -> str:
    """Return the colour of a strategy: the baseline is grey."""
    return GREY if name == study.baseline else BLUE


def tint_of_words(failed: int) -> str:
    """Return the colour of words beside a line: those that tell of failures stand out."""
    return ORANGE if failed else INK


def plain_blocks(study: Study) -> list[Block]:
    """Return the blocks of a task alone on clean data."""
    return [block for block in study.blocks if block.plain]


def wrapped(name: str, width: int = 26) -> str:
    """Break a long name at a hyphen or blank, into at most two lines; what is longer still is cut."""
    name = legible(name)
    if len(name) <= width:
        return name
    places = [place for place, letter in enumerate(name[: width + 1]) if letter in "- "]
    place = places[-1] + 1 if places else width
    rest = name[place:]
    return f"{name[:place]}\n{rest if len(rest) <= width else rest[: width - 1] + '…'}"
