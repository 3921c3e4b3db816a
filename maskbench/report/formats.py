"""A table for people and papers, as Markdown and as LaTeX."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskbench.report import text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """One table of the report, in the form that every format is written from."""

    name: str
    """Name of its files, without their endings."""
    title: str
    """What the figure shows, as its title has it."""
    caption: str
    """Units, n and what the intervals are."""
    data: pd.DataFrame
    """Tidy numbers, for the CSV file."""
    shown: pd.DataFrame
    """The same as text, for people; the first columns name the row."""
    names: int = 1
    """How many columns name the row."""


def markdown_cell(value: str) -> str:
    """Escape what Markdown, or HTML or a formula in Markdown, would read as markup."""
    value = re.sub(r"[\\|<>*_`\[\]#~]", r"\\\g<0>", text.visible(value)).replace("$", "&#36;")
    return re.sub(r"&(?=#?\w+;)(?!#36;)", "&amp;", " ".join(value.split()))


def markdown(table: Table) -> str:
    """Return a table as Markdown (GitHub's), with title and caption."""
    frame = table.shown

    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rule = ["---"] * table.names + ["---:"] * (len(frame.columns) - table.names)
    rows = [line([markdown_cell(str(cell)) for cell in row]) for row in frame.itertuples(index=False, name=None)]
    header = line([markdown_cell(column) for column in frame.columns])
    body = [header, line(rule), *(rows or [line(["(none)"] + [""] * (len(frame.columns) - 1))])]
    return "\n".join([f"**{markdown_cell(table.title)}**", "", *body, "", markdown_cell(table.caption), ""])


_APART = "\0"
"""Between characters that LaTeX would join; no text has it, once all in it is visible."""

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
        _APART: "{}",
        "'": r"\textquotesingle{}",
        "`": r"\textasciigrave{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        text.MINUS: "$-$",
        text.DASH: "--",
        "\N{NARROW NO-BREAK SPACE}": r"\,",
    }
)


def _latex(value: str) -> str:
    """Escape what LaTeX would read as a command, or join to another character (``--`` to a dash)."""
    apart = re.sub(r"([-,])(?=\1)|([?!])(?=`)", rf"\g<0>{_APART}", text.visible(value))
    return apart.translate(_LATEX)


def latex(table: Table) -> str:
    """Return a table as LaTeX; it needs the package booktabs."""
    frame = table.shown

    def line(cells: list[str]) -> str:
        return " & ".join(map(_latex, cells)) + r" \\"

    align = "l" * table.names + "r" * (len(frame.columns) - table.names)
    rows = [line([str(cell) for cell in row]) for row in frame.itertuples(index=False, name=None)]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(table.title)}. {_latex(table.caption)}}}",
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


_RST = re.compile(r"([^\w\s.,;{}]|_)|([{}])")


def rst(words: str) -> str:
    """Write a paragraph as a template of reStructuredText, so that Snakemake's report shows these very words."""
    escaped = _RST.sub(lambda found: f"\\{found[1]}" if found[1] else f"{{{{ '{found[2]}' }}}}", words)
    return f"\\ {' '.join(escaped.split())}\n"
