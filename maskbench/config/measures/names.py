"""Names of measures that are told apart by two classes, ``confusion:TRUE>GIVEN``."""

from __future__ import annotations

import re

_SIDES = re.compile(r"((?:[^\\>]|\\.)*)>(.*)", re.DOTALL)


def pair(true: str, given: str) -> str:
    r"""Write two classes as a measure's part, ``TRUE>GIVEN``; in their names, ``\`` stands before ``\`` and ``>``."""
    return ">".join(re.sub(r"[\\>]", r"\\\g<0>", name) for name in (true, given))


def sides(part: str) -> tuple[str, str]:
    """Read what `pair` wrote.

    Raises
    ------
    ValueError
        If it holds no two classes.
    """
    found = _SIDES.fullmatch(part)
    if found is None:
        raise ValueError(f"expected TRUE>GIVEN, got {part!r}")
    true, given = (re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL) for name in found.groups())
    return true, given
