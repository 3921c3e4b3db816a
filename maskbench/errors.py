"""The one exception that a user is meant to read."""

from __future__ import annotations

LONGEST = 2000
"""Most characters of a line; of a longer one the middle is left out."""


def one_line(text: str) -> str:
    """Return a text as one line of at most `LONGEST` characters: line breaks and control characters become spaces."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[: half - 3]} ... {line[-half + 2 :]}"


class InputError(Exception):
    """Something the user gave is wrong: one clear line that names the place and what was expected.

    Parameters
    ----------
    lines
        One for each mistake. They may quote anything: `one_line` is what a user sees of them.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)

    def __str__(self) -> str:
        """Return the lines of the message, one under the other."""
        return "\n".join(map(one_line, self.args))
