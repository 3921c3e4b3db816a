"""Two-level designs: which strategies tell the effect of a factor, and of two factors together."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Column = tuple[int, ...]


class Effect(NamedTuple):
    """An effect of a design, as a weighted sum over its strategies."""

    name: str
    """Such as ``dropout vs no dropout``; of two factors ``dropout × early stopping``, with what cannot be told apart
    from it behind a plus."""
    weights: dict[str, float]
    """The weight of each strategy: the mean over half of them less the mean over the other half."""
    main: bool
    """Whether it is of one factor."""


def effects(factors: Mapping[str, Sequence[str]], base: str) -> list[Effect]:
    """Return the main effects of a two-level design, then the two-way interactions that its strategies tell.

    The main effect of a factor is the mean over the strategies in which it is at work less that over the others. The
    interaction of two is the mean over the strategies in which both or neither of them are at work less that over the
    others: half of the difference between the effect of one beside the other and its effect without it. In a half
    fraction of four factors two interactions have the same strategies on either side: their sum is one effect.

    Parameters
    ----------
    factors
        By name of each factor, the strategies in which it is at work.
    base
        The strategy in which none is.

    Raises
    ------
    ValueError
        If the effects of these strategies cannot be told apart.

    References
    ----------
    Box, Hunter & Hunter (2005), Statistics for Experimenters.
    """
    cells = list(dict.fromkeys([base, *(name for names in factors.values() for name in names)]))
    columns: dict[Column, list[str]] = {}
    for factor, names in factors.items():
        columns.setdefault(tuple(1 if cell in names else -1 for cell in cells), []).append(factor)
    mains = {names[0]: column for column, names in columns.items()}
    if base in {name for names in factors.values() for name in names}:
        raise ValueError(f"factors: in {base}, which `against` names, no factor is at work")
    for one, other in combinations(mains, 2):
        column = tuple(a * b for a, b in zip(mains[one], mains[other], strict=True))
        columns.setdefault(column, []).append(f"{one} × {other}")
    if problem := _confounded(columns, list(factors)):
        raise ValueError(
            f"factors: {problem}; a full factorial has effects that can, and so has a half fraction of four factors"
        )
    return list(_named(columns, set(factors), cells))


def _confounded(columns: Mapping[Column, Sequence[str]], factors: Sequence[str]) -> str | None:
    """Say which effects cannot be told apart; None if all can, but for interactions with each other."""
    for column, names in columns.items():
        if names[0] in factors and len(names) > 1:
            return f"{names[0]} and {names[1]} cannot be told apart by these strategies"
        if sum(column):
            return f"{names[0]} cannot be told from the mean of all by these strategies"
    for (one, named), (other, also) in combinations(columns.items(), 2):
        if sum(a * b for a, b in zip(one, other, strict=True)):
            return f"{named[0]} and {also[0]} cannot be told apart by these strategies"
    return None


def _named(columns: Mapping[Column, Sequence[str]], factors: set[str], cells: Sequence[str]) -> Iterator[Effect]:
    """Yield the effects with their names and weights; the weights above 0 add up to 1."""
    for column, names in columns.items():
        weights = {cell: 2 * level / len(cells) for cell, level in zip(cells, column, strict=True)}
        main = names[0] in factors
        yield Effect(f"{names[0]} vs no {names[0]}" if main else " + ".join(names), weights, main)
