"""Labels needed for a fixed score: read off learning curves, for both arms of a contrast at the same score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from maskbench.analysis.metrics import Array
    from maskbench.config.contrast import Contrast

LEAST_SIZES = 3
"""Train sizes that it takes: one at which the score is fixed, a smaller one and a larger one."""


def fixed_at(sizes: list[int], contrast: Contrast) -> int | None:
    """Return the train size at which the second arm's score is the fixed one; None if these sizes do not have it.

    Parameters
    ----------
    sizes
        Those of a block, sorted.
    contrast
        Names a size (`at`), or leaves it open: then it is the middle one, of an even number the larger of the two.
    """
    if len(sizes) < LEAST_SIZES:
        return None
    if contrast.at is None:
        return sizes[len(sizes) // 2]
    return contrast.at if contrast.at in sizes[1:-1] else None


def lacking(sizes: list[int], contrast: Contrast) -> str | None:
    """Say in one sentence which train sizes are missing for the labels that a fixed score takes; None if none is."""
    if len(sizes) < LEAST_SIZES:
        return f"Labels for a fixed score take {LEAST_SIZES} train sizes with a number."
    if fixed_at(sizes, contrast) is None:
        return f"Labels for the score at {contrast.at} texts take this train size, a smaller one and a larger one."
    return None


def reached(place: Array, curve: Array, level: Array) -> tuple[Array, Array]:
    """Return where learning curves first reach a level, linear between two points, and which side is not known.

    Parameters
    ----------
    place
        (P,) places of the points, rising.
    curve
        (..., P) scores at them.
    level
        (...,) of each curve.

    Returns
    -------
    tuple
        (...,) the place, at the first or the last point where it is not known; and (...,) −1 where the curve has the
        level at its first point already, 1 where it never reaches it, else 0.
    """
    there = curve >= level[..., None]
    first = np.where(there.any(axis=-1), there.argmax(axis=-1), len(place))
    side: Array = np.where(first == 0, -1.0, np.where(first == len(place), 1.0, 0.0))
    right = np.clip(first, 1, len(place) - 1)
    low, high = (np.take_along_axis(curve, index[..., None], axis=-1)[..., 0] for index in (right - 1, right))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip((level - low) / (high - low), 0.0, 1.0)
    share = np.where(side == 0, share, (side > 0).astype(float))
    between = place[right - 1] + share * (place[right] - place[right - 1])
    found: Array = np.where(side < 0, place[0], np.where(side > 0, place[-1], between))
    return found, side


class Curves:
    """The learning curves of a contrast: block by block, for each arm and seed the runs at all train sizes.

    Parameters
    ----------
    table
        Runs, as `contrasts.terms` gives them; the first arm has a weight above 0.
    contrast
        Of the kind labels.
    seeds
        Those of the evidence, in its order.
    """

    def __init__(self, table: pd.DataFrame, contrast: Contrast, seeds: list[int]) -> None:
        place = {seed: index for index, seed in enumerate(seeds)}
        self.blocks: list[tuple[Array, int, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]] = []
        numbers = table.assign(row=np.arange(len(table)))
        for _, block in numbers.groupby("block", sort=False):
            sizes = sorted({int(size) for size in block["train_size"]})
            at = fixed_at(sizes, contrast)
            rows = np.full((2, len(seeds), len(sizes)), -1, dtype=np.int64)
            arms = (block["weight"] < 0).astype(int)
            columns = [sizes.index(int(size)) for size in block["train_size"]]
            rows[arms, block["seed"].map(place), columns] = block["row"]
            self.blocks.append((np.log(np.array(sizes, dtype=float)), sizes.index(at) if at else -1, rows))

    def _of_block(self, values: Array, number: int) -> tuple[Array, Array]:
        """Return (..., 2, seeds) log labels of either arm, and which side is not known; NaN where a run is missing."""
        place, at, rows = self.blocks[number]
        curve = np.where(rows >= 0, values[..., rows], np.nan)
        whole: Array = np.isfinite(curve.sum(axis=-1))
        other = np.where(whole[..., 1, :], curve[..., 1, :, at], 0.0)
        level = other.sum(axis=-1) / np.maximum(whole[..., 1, :].sum(axis=-1), 1)
        found, side = reached(place, np.nan_to_num(curve), np.broadcast_to(level[..., None, None], whole.shape))
        return np.where(whole, found, np.nan), np.where(whole, side, 0.0)

    def differences(self, values: Array) -> Array:
        """Return (..., blocks, seeds) log labels that the second arm needs less those of the first.

        NaN where a run of either curve is missing, and where the labels of one are not known.

        Parameters
        ----------
        values
            (..., terms) scores of the runs, NaN for none.
        """
        parts = []
        for number in range(len(self.blocks)):
            found, side = self._of_block(values, number)
            known = (side == 0).all(axis=-2)
            parts.append(np.where(known, found[..., 1, :] - found[..., 0, :], np.nan))
        return np.stack(parts, axis=-2)

    def drawn(self, values: Array) -> Array:
        """Return the same on resamples of the texts; where a resample's labels are not known, at the curve's end."""
        parts = [self._of_block(values, number)[0] for number in range(len(self.blocks))]
        return np.stack([found[..., 1, :] - found[..., 0, :] for found in parts], axis=-2)

    def censored(self, values: Array) -> Array:
        """Return (terms,) −1 or 1 at the first run of each curve whose labels are not known, else 0."""
        result = np.zeros(values.shape[-1])
        for number, (_, _, rows) in enumerate(self.blocks):
            side = self._of_block(values, number)[1]
            own = rows[..., 0]
            result[own[side != 0]] = side[side != 0]
        return result
