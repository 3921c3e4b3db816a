"""Which operations of a training have no deterministic implementation on a card: told once, not in every update."""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any

_SAID = re.compile(r"(.+?) (?:does not have a deterministic implementation|defaults to a non-deterministic algorithm)")
_FOUND: list[str] = []
"""Operations that torch has warned of since `begin`."""
_TOLD: set[str] = set()
"""Operations that the process's log has a line for."""


def tell_once() -> None:
    """Let torch's warnings of such operations through once each, as a line on standard error; others stay as they are.

    Torch warns at every call, and Python forgets what it has shown whenever a filter changes.
    """
    shown: Any = warnings.showwarning
    if getattr(shown, "tells_once", False):
        return

    def show(message: Warning | str, category: type[Warning], *args: Any, **keys: Any) -> None:
        said = _SAID.match(str(message))
        if said is None:
            shown(message, category, *args, **keys)
            return
        name = said[1]
        if name not in _FOUND:
            _FOUND.append(name)
        if name not in _TOLD:
            _TOLD.add(name)
            print(
                f"{name} is not deterministic on this card: a run may repeat itself to rounding only", file=sys.stderr
            )

    show.tells_once = True  # type: ignore[attr-defined]
    warnings.showwarning = show
    warnings.filterwarnings("always", message=".*(deterministic implementation|non-deterministic algorithm)")


def begin() -> None:
    """Forget which operations were met: another cell begins."""
    _FOUND.clear()


def notes() -> list[str]:
    """Return the note for a cell's record: none, or the operations that it used and that are not deterministic."""
    return [f"not deterministic on this card: {', '.join(sorted(_FOUND))}"] if _FOUND else []
