"""What readers of files hand to a kind of task: where a row stands, and what was seen beside the rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from maskbench.errors import InputError

if TYPE_CHECKING:
    from maskbench.config.tasks import Task


@dataclass(frozen=True, slots=True)
class Place:
    """The file that messages name, and what its rows are counted in."""

    file: str
    unit: str = "line"

    def at(self, line: int) -> str:
        """Name a row, counted from 1."""
        return f"{self.file}:{line}" if self.unit == "line" else f"{self.file}: {self.unit} {line}"

    def error(self, line: int, reason: str) -> InputError:
        """Return the error to raise for a row, counted from 1."""
        return InputError(f"{self.at(line)}: {reason}")


class Spanning(NamedTuple):
    """A field of a CSV file that runs over several lines."""

    line: int
    """Line at which its row starts."""
    height: int
    """How many lines the row has."""
    column: int
    """Index of the field in its row."""
    parts: list[str]
    """The lines of the field."""


@dataclass
class Seen:
    """What was seen of a file beside its rows, for data/examine.py to judge."""

    first: tuple[int, str, str] | None = None
    """Line of the row that named the columns, and its cells of text and label; None if there was none, or if it names
    them by their indices."""
    by_index: bool = False
    """Whether text and label are given by their index, so that a header is not needed to find them."""
    like_header: list[int] = field(default_factory=list)
    """Lines of rows that repeat the names of the columns."""
    spanning: list[Spanning] = field(default_factory=list)
    """CSV: fields of several lines."""
    shape: tuple[str, int, int] = ("", 0, 0)
    """CSV: the separator, how many columns there are, and which of them is the label."""
    marks: list[int] = field(default_factory=list)
    """Lines inside the file that begin with a byte order mark, which was left out."""
    dropped: Counter[str] = field(default_factory=Counter)
    """What was left out, by reason."""
    groups: dict[int, str] = field(default_factory=dict)
    """What the column of groups says of each row, by the line that the row starts on."""
    numbered: int = 0
    """Tags that are numbers, whose names the configuration gives."""


@dataclass(frozen=True)
class File:
    """A file that is being read, as a kind of task sees it."""

    task: Task
    place: Place
    seen: Seen
    hub: bool
    """Whether it is from a hub's dataset, which users cannot repair: rows without text are counted, not refused."""
    names: list[str] | None
    """Hub datasets: what the numbers in the column of labels stand for."""

    def named(self, value: Any, number: int) -> Any:
        """Return the name that a number in a hub's column of labels stands for; anything else as it is."""
        if self.names is None or not isinstance(value, int):
            return value
        if not 0 <= value < len(self.names):
            hint = "; the labels of this split are not public" if value == -1 else ""
            raise self.place.error(number, f"label {value} is outside 0 ... {len(self.names) - 1}{hint}")
        return self.names[value]


@dataclass(frozen=True)
class FileTable:
    """All rows of one file."""

    place: Place
    rows: list[Any] = field(default_factory=list)
    """What the kind's `Reading.row` made of each row."""
    seen: Seen = field(default_factory=Seen)
    """What was seen beside them; among what it counts as dropped are rows of a hub dataset that hold no text, which
    in a user's own file are an error."""
