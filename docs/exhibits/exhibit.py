"""What an exhibit is, and how it reads on the page."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docs.exhibits.material import Material

Code = Callable[..., Any] | type


@dataclass(frozen=True)
class Damage:
    """What a mistake costs, as measured."""

    headline: str
    """The damage in one line, for the table on top of the page."""
    columns: tuple[str, ...]
    """Heads of the table; the first column says what a row is about."""
    rows: Sequence[tuple[str, ...]]
    """Cells of the table, as they are printed."""
    note: str = ""
    """What the table does not say by itself: data, sizes, settings."""


@dataclass(frozen=True)
class Exhibit:
    """One mistake of the articles beside the right way."""

    name: str
    """Name of the module, and of the section's anchor."""
    title: str
    """Head of the section."""
    mistakes: tuple[str, ...]
    """The mistakes that it shows, in the words of `MISTAKES`."""
    why: str
    """Why it goes wrong, in a sentence."""
    article: tuple[Code, ...]
    """Functions and classes that do it as the articles do; their source is printed."""
    right: tuple[Code, ...]
    """Those that do it right."""
    measure: Callable[[Material], Damage]
    """Runs the code of both and measures."""
    trains: bool = field(default=False, kw_only=True)
    """Models are trained for it, so that its numbers move with the machine."""


def source(parts: Sequence[Code]) -> str:
    """Return the source of functions and classes as it stands in their files."""
    return "\n\n\n".join(inspect.getsource(part).rstrip() for part in parts)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers and set to the right."""
    head = f"| {' | '.join(columns)} |"
    rule = "|---|" + "--:|" * (len(columns) - 1)
    return "\n".join([head, rule, *(f"| {' | '.join(row)} |" for row in rows)])


def percent(share: float, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.{digits}f} %"


def wrapped(text: str) -> str:
    """Return a paragraph with lines of at most 120 characters."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def code_block(parts: Sequence[Code]) -> str:
    """Return a fenced block with the source of functions and classes."""
    return f"```python\n{source(parts)}\n```"


def anchor(exhibit: Exhibit) -> str:
    """Return the link target of an exhibit's section."""
    return exhibit.name.replace("_", "-")


def section(number: int, exhibit: Exhibit, damage: Damage) -> str:
    """Return the section of an exhibit."""
    parts = [
        f'<a id="{anchor(exhibit)}"></a>\n\n## {number}. {exhibit.title}',
        f"> {'; '.join(exhibit.mistakes)}",
        f"As the articles do it:\n\n{code_block(exhibit.article)}",
        f"The right way:\n\n{code_block(exhibit.right)}",
        f"Measured:\n\n{table(damage.columns, damage.rows)}",
        wrapped(damage.note),
        wrapped(f"**Why.** {exhibit.why}"),
    ]
    return "\n\n".join(part for part in parts if part)
