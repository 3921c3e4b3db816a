"""How figures look, and how they are written so that the same numbers give the same bytes."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font

from maskbench.io.files import atomic
from maskbench.report import text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes

BLUE, ORANGE, GREY, INK = "#0072B2", "#B34700", "#5F6368", "#1B1F23"
VERMILION, GREEN, PURPLE = "#D55E00", "#009E73", "#CC79A7"
"""Colours that people with any colour vision tell apart; what they mean is always said by place or word as well."""

TINT = "#EDF4F8"
"""Background of the better side of a panel."""

_RC: Any = {
    "svg.hashsalt": "maskbench",
    "svg.fonttype": "path",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": "#9AA0A6",
    "grid.color": "#E3E6E8",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    # Names come from the user: a dollar sign in a name does not start a formula.
    "text.parse_math": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.09,
    "figure.constrained_layout.w_pad": 0.06,
}


_FURTHER = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Noto Sans",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)
"""Fonts for letters that DejaVu Sans (which comes with matplotlib) lacks, where the machine has them."""


@cache
def _families() -> list[str]:
    """Return the fonts that figures are written in; a letter is taken from the first that has it."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _FURTHER if name in installed)]


@cache
def _letters() -> frozenset[int]:
    """Return the code points that the fonts have."""
    return frozenset(code for name in _families() for code in get_font(findfont(name)).get_charmap())


def legible(words: str) -> str:
    r"""Return a text from outside as a figure can show it: what no font here has is written as ``\u6b63``."""
    letters = _letters()
    return "".join(letter if ord(letter) in letters else text.escaped(letter) for letter in text.visible(words))


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw with the project's style; matplotlib's global settings stay as they were."""
    with mpl.rc_context(), sns.axes_style("whitegrid", rc={"axes.grid.axis": "x"}):
        mpl.rcParams.update(_RC | {"font.family": _families()})
        yield


def canvas(
    size: tuple[float, float],
    rows: int,
    columns: int,
    *,
    widths: list[float] | None = None,
    heights: list[float] | None = None,
    share: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Return a figure of a size in inches with rows × columns panels; widths and heights are relative."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        rows, columns, squeeze=False, width_ratios=widths, height_ratios=heights, sharex=share, sharey=share
    )
    return figure, list(grid.flat)


def panels(count: int, rows: float, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels, each with room for `rows` lines, at most `columns` side by side."""
    columns = min(count, columns)
    lines = -(-count // columns)
    # more than a dozen lines stand closer, but never so close that their words touch
    room = max(0.34 * min(max(rows, 2), 12), 0.2 * rows)
    size = ({1: 7.0, 2: 10.0}.get(columns, 12.0), lines * (0.95 + room) + 0.75)
    figure, axes = canvas(size, lines, columns)
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def strategy_axis(axes: Axes, names: list[str], labelled: bool) -> None:
    """Put one strategy on each line, the first on top."""
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    sns.despine(ax=axes, left=True)


def beside(axes: Axes, line: float, words: str, colour: str = INK, bold: bool = False) -> None:
    """Write words to the right of a panel, on the line of a strategy."""
    axes.text(
        1.02,
        line,
        words,
        transform=axes.get_yaxis_transform(),
        va="center",
        ha="left",
        fontsize=8.5,
        color=colour,
        fontweight="bold" if bold else "normal",
    )


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as SVG and PNG, without dates and with fixed ids."""
    with style():
        # Place everything once, and not again for each format.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        # The formats' own writers: savefig would draw each figure twice.
        figure.set_dpi(72)
        with atomic(folder / f"{name}.svg") as temporary:
            FigureCanvasSVG(figure).print_svg(temporary, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
        figure.set_dpi(160)
        with atomic(folder / f"{name}.png") as temporary:
            FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})  # type: ignore[no-untyped-call]
