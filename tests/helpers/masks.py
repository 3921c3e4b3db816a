"""One configuration of every mask of the registry that works on both tiny tasks."""

from __future__ import annotations

from typing import Any

from maskbench.masks.base import FAMILIES
from maskbench.masks.registry import known

NEEDED: dict[str, dict[str, Any]] = {
    "fixed-positions": {"every": 2},
    "oracle-cue": {"cues": ["film", "Rome"]},
    "entity": {"by": "capitals"},
    "rate-twin": {"of": "span"},
    "segment": {"of": "random"},
    "step-twin": {"of": "child-f"},
    "consistency": {"mask": "random"},
    "window": {"width": 1},
    "freeze": {"layers": 1},
    "learned-weights": {"from_layer": 1},
}
"""Parameters of masks that have no complete defaults, or none that suit a model of two layers and short texts."""
MASKS = [(family, kind) for family in FAMILIES for kind in known(family)]


def entry(kind: str, **keys: Any) -> dict[str, Any]:
    """Return the mask as a configuration has it."""
    return {"kind": kind, **NEEDED.get(kind, {}), **keys}
