"""A table for people and papers, as Markdown and as LaTeX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskbench.report import text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """One table."""

    name: str
    """Name of its files."""
    title: str
    """What it shows."""
    caption: str
    """Units, n and what the intervals are."""
    data: pd.DataFrame
    """Tidy numbers, for the CSV file."""
    shown: pd.DataFrame
    """The same as text, for people; the first columns name the row."""
    names: int = 1
    """How many columns name the row."""


def _markdown_cell(value: str) -> str:
    """Escape what Markdown, or HTML in Markdown, would read as markup."""
    for character in "\\|<>*_`[]#":
        value = value.replace(character, f"\\{character}")
    return " ".join(value.split())


def markdown(table: Table) -> str:
    """Return a table as Markdown (GitHub's), with title and caption."""
    frame = table.shown

    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rule = ["---"] * table.names + ["---:"] * (len(frame.columns) - table.names)
    rows = [line([_markdown_cell(str(cell)) for cell in row]) for row in frame.itertuples(index=False, name=None)]
    header = line([_markdown_cell(column) for column in frame.columns])
    body = [header, line(rule), *(rows or [line(["(none)"] + [""] * (len(frame.columns) - 1))])]
    return "\n".join([f"**{_markdown_cell(table.title)}**", "", *body, "", _markdown_cell(table.caption), ""])


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "[": "{[}",
        "]": "{]}",
        "\n": " ",
        "±": r"$\pm$",
        "×": r"$\times$",
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        text.MINUS: "$-$",
        text.DASH: "--",
        "\N{NARROW NO-BREAK SPACE}": r"\,",
    }
)


def latex(table: Table) -> str:
    """Return a table as LaTeX; it needs the package booktabs."""
    frame = table.shown

    def line(cells: list[str]) -> str:
        return " & ".join(cell.translate(_LATEX) for cell in cells) + r" \\"

    align = "l" * table.names + "r" * (len(frame.columns) - table.names)
    rows = [line([str(cell) for cell in row]) for row in frame.itertuples(index=False, name=None)]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{table.title.translate(_LATEX)}. {table.caption.translate(_LATEX)}}}",
            rf"\label{{tab:{table.name.replace('_', '-')}}}",
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            line(list(frame.columns)),
            r"\midrule",
            *(rows or [line(["(none)"] + [""] * (len(frame.columns) - 1))]),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
