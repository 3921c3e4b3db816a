"""The runs behind a number, written so that twenty seeds do not take twenty names."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def in_short(runs: Iterable[str]) -> str:
    """Write ids of runs, those that differ in their seed as one: ``a.s{1..10} b.s3``, which a shell writes out.

    Parameters
    ----------
    runs
        Ids, which end in the seed, such as ``.s12``. What follows on the same id but for the seed is put together.
    """
    found = []
    for stem, group in groupby(map(_parts, runs), key=lambda parts: parts[0]):
        found.append(stem + _braces(sorted(seed for _, seed in group if seed is not None)))
    return " ".join(found)


def _parts(run: str) -> tuple[str, int | None]:
    """Return what stands before the seed, and the seed; the id alone if it has none."""
    stem, mark, seed = run.rpartition(".s")
    return (stem + mark, int(seed)) if mark and seed.isdecimal() else (run, None)


def _braces(seeds: list[int]) -> str:
    """Write seeds in ascending order as the shell's braces; a single one as it is."""
    spans: list[list[int]] = []
    for seed in seeds:
        if spans and seed == spans[-1][-1] + 1:
            spans[-1].append(seed)
        else:
            spans.append([seed])
    words = [f"{{{span[0]}..{span[-1]}}}" if len(span) > 1 else str(span[0]) for span in spans]
    return "".join(words) if len(words) < 2 else f"{{{','.join(words)}}}"
