"""Contrasts over train sizes: the mean height of a learning curve, and a gain with few labels against many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from maskbench.analysis.metrics import Array
    from maskbench.config.contrast import ContrastKind

OVER_SIZES: tuple[ContrastKind, ...] = ("curve", "by-size", "labels")
"""Kinds of contrasts over all train sizes of a block."""


def weights_of(sizes: list[int], kind: ContrastKind) -> Array:
    """Return (sizes,) the weight of each of some sorted train sizes.

    Parameters
    ----------
    sizes
        At least two.
    kind
        curve: the trapezoidal rule over log(size), divided by its range; by-size: the least-squares line over log(size)
        at the smallest less that at the largest; labels: 1, since curves are read off, not summed.
    """
    if kind == "labels":
        return np.ones(len(sizes))
    place = np.log(np.array(sizes, dtype=float))
    if kind == "curve":
        steps = np.diff(place)
        area: Array = (np.append(steps, 0) + np.insert(steps, 0, 0)) / 2 / steps.sum()
        return area
    centred = place - place.mean()
    line: Array = -(place[-1] - place[0]) * centred / (centred**2).sum()
    return line


def over_sizes(found: pd.DataFrame, kind: ContrastKind) -> Array:
    """Return (runs,) the factor of each run's weight, from the sizes that its own block has."""
    factors: dict[tuple[str, str], float] = {}
    for block, sizes in found.groupby("block")["train_size"]:
        known = sorted({int(size) for size in sizes})
        values = weights_of(known, kind) if len(known) > 1 else np.array([np.nan])
        factors |= {(str(block), str(size)): float(value) for size, value in zip(known, values, strict=True)}
    return np.array([factors[key] for key in zip(found["block"], found["train_size"], strict=True)], dtype=float)


def unlike(found: pd.DataFrame) -> str | None:
    """Say which arm lacks a train size that the other has: a curve is compared with one over the same sizes alone."""
    for _, block in found.groupby("block", sort=False):
        every = set(block["train_size"])
        if len(every) < 2:
            return f"A learning curve takes two train sizes with a number; {block['task'].iloc[0]} has one."
        for _, arm in block.groupby("arm"):
            if lost := every - set(arm["train_size"]):
                where = f"{', '.join(sorted(lost, key=int))} on {block['task'].iloc[0]}"
                return (
                    f"{arm['strategy'].iloc[0]} lacks the train size {where}: curves are compared over the same sizes."
                )
    return None
