"""How figures look, and how they are written so that the same numbers give the same bytes."""

from __future__ import annotations

import contextlib
import textwrap
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font

from maskbench.io.files import atomic
from maskbench.report import text
from maskbench.report.compact import small_svg, write_png

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
    size: tuple[float, float], rows: int, columns: int, *, heights: list[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure of a size in inches with rows × columns panels; heights are relative."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False, height_ratios=heights).flat)


def panels(count: int, rows: float, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels, each with room for `rows` lines, at most `columns` side by side."""
    counts = [min(columns, count - start) for start in range(0, count, columns)]
    figure, grid = ragged(counts, [rows] * len(counts))
    return figure, [axes for line in grid for axes in line]


def ragged(counts: list[int], rows: Sequence[float]) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with so many panels side by side in each of its lines, with room for so many lines of words."""
    columns = max(counts)
    # more than a dozen lines stand closer, but never so close that their words touch
    rooms = [max(0.34 * min(max(number, 2), 12), 0.2 * number) for number in rows]
    size = ({1: 7.0, 2: 10.0, 3: 12.0}.get(columns, 14.0), sum(rooms) + 0.95 * len(counts) + 0.75)
    figure, axes = canvas(size, len(counts), columns, heights=rooms)
    grid = [axes[start : start + columns] for start in range(0, len(axes), columns)]
    for line, count in zip(grid, counts, strict=True):
        for spare in line[count:]:
            spare.set_axis_off()
    return figure, [line[:count] for line, count in zip(grid, counts, strict=True)]


def uneven(sizes: Sequence[Sequence[tuple[float, float]]]) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with lines of panels of given widths and heights in inches; `fit` puts them into place."""
    figure = Figure(figsize=(10.0, 10.0))
    FigureCanvasAgg(figure)
    return figure, [[figure.add_axes((0.0, 0.0, wide / 10, high / 10)) for wide, high in line] for line in sizes]


def fit(figure: Figure, grid: Sequence[Sequence[Axes]], gap: float = 0.15) -> None:
    """Put panels beside and below each other, so that each has its size and the words around it have room."""
    rooms = {axes: _Room.of(axes) for line in grid for axes in line}
    indent = max(rooms[line[0]].left for line in grid)
    down, right, corners = gap, 0.0, {}
    for line in grid:
        down += max(rooms[axes].above for axes in line)
        across = gap + indent - rooms[line[0]].left
        for axes in line:
            room = rooms[axes]
            corners[axes] = across + room.left, down
            across += room.left + room.width + room.right + gap
        down += max(rooms[axes].height + rooms[axes].below for axes in line) + gap
        right = max(right, across)
    figure.set_size_inches(right, down)
    for axes, (across, top) in corners.items():
        wide, high = rooms[axes].width, rooms[axes].height
        axes.set_position((across / right, 1 - (top + high) / down, wide / right, high / down))


class _Room(NamedTuple):
    """How much room a panel and the words around it take, in inches."""

    width: float
    height: float
    left: float
    right: float
    above: float
    below: float

    @classmethod
    def of(cls, axes: Axes) -> _Room:
        """Measure a panel in which all is drawn."""
        renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
        box, words, dpi = axes.get_window_extent(), axes.get_tightbbox(renderer), axes.figure.dpi
        assert words is not None
        ends = (box.x0 - words.x0, words.x1 - box.x1, words.y1 - box.y1, box.y0 - words.y0)
        return cls(*(max(0.0, float(value)) / dpi for value in (box.width, box.height, *ends)))


def name_panel(axes: Axes, words: str) -> None:
    """Write a title above a panel, in as many lines as its width asks for."""
    grid = axes.get_subplotspec().get_gridspec()  # type: ignore[union-attr]
    width = (axes.figure.get_figwidth() - 2.2) / grid.ncols  # type: ignore[union-attr]
    axes.set_title(textwrap.fill(legible(words), int(width / 0.09), break_long_words=False))


MANY_LINES = 30
"""Lines of a panel beyond which its numbers stand above it, too."""


def strategy_axis(axes: Axes, names: list[str], labelled: bool) -> None:
    """Put one strategy on each line, the first on top."""
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    axes.tick_params(axis="y", length=0)
    if len(names) > MANY_LINES:
        axes.tick_params(axis="x", labeltop=True)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    sns.despine(ax=axes, left=True)


def beside(axes: Axes, line: float, words: str, colour: str = INK, bold: bool = False, points: float = 8.0) -> None:
    """Write words to the right of a panel, so many points from its edge, on the line of a strategy."""
    axes.annotate(
        words,
        (1.0, line),
        (points, 0.0),
        axes.get_yaxis_transform(),
        "offset points",
        va="center",
        fontsize=8.5,
        color=colour,
        fontweight="bold" if bold else "normal",
        annotation_clip=False,
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
            small_svg(temporary)
        figure.set_dpi(160)
        with atomic(folder / f"{name}.png") as temporary:
            write_png(FigureCanvasAgg(figure), temporary)
