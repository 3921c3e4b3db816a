"""How splits are cut where rows belong together: no group, and no text, stands in two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maskbench.channels import Purpose
from maskbench.data.cutting import floors, of_texts
from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from maskbench.config.tasks import Split
    from maskbench.kinds.files import Place

    Whole = NDArray[np.int64]
    Shares = NDArray[np.float64]

DRAWS = 20
"""So many permutations are tried, until one of them is close enough; the closest one is taken."""
CLOSE = 0.001
"""A cut is close enough if no more than this share of all texts would have to change their split."""
RARE = 4
"""A label in fewer than so many groups for each split is given out first."""


@dataclass(frozen=True)
class Joined:
    """The groups that cannot be parted, since a text of one of them is also a text of the other."""

    numbers: dict[str, int]
    """Number of each group, by its name; groups that are joined have the same one."""
    of_text: list[int]
    """Number of the group of each distinct text, in the order of the rows; -1 where none is known."""

    @property
    def count(self) -> int:
        """How many there are, those that are joined counted once."""
        return len(set(self.numbers.values()))


def joined(keys: Sequence[str], names: Sequence[Sequence[str]]) -> Joined:
    """Join the groups that share a text.

    Parameters
    ----------
    keys
        One for each row; rows with the same key are the same text.
    names
        The groups of each row.
    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = name = above[above[name]]
        return name

    one: dict[str, str] = {}
    for key, found in zip(keys, names, strict=True):
        for name in found:
            above[top(name)] = top(one.setdefault(key, name))
    tops = {name: number for number, name in enumerate(dict.fromkeys(map(top, above)))}
    numbers = {name: tops[top(name)] for name in above}
    return Joined(numbers, [numbers[one[key]] if key in one else -1 for key in dict.fromkeys(keys)])


@dataclass
class _Left:
    """What is left for the splits that are still to come."""

    texts: Whole
    """How many texts of each label are left."""
    groups: Whole
    """Groups with each label; those without a group count as one."""

    def spares(self, more: Whole, later: int, least: Whole) -> bool:
        """Tell whether enough of each label is left for so many splits without a group that has so many texts."""
        texts = self.texts - more >= later * least
        groups = self.groups - 1 >= later * np.minimum(least, 1)
        return bool((texts & groups)[more > 0].all())

    def take(self, more: Whole) -> None:
        """Take the texts of a group away."""
        self.texts = self.texts - more
        self.groups = self.groups - (more > 0)


@dataclass(frozen=True)
class _Wanted:
    """What the splits should have: texts of each label, or (in tagging) texts and texts with each entity type."""

    counts: Whole
    """Texts of each group (rows) with each label (columns)."""
    ungrouped: Whole
    """The same of the texts without a group, which stay in training."""
    targets: Shares
    """How many of them each split to cut should have."""
    least: Whole
    """How many every split should have at the least."""

    def order(self, draw: Whole) -> Whole:
        """Return groups in the order in which they are given out: as drawn, those with a rare label first."""
        having = (self.counts > 0).sum(axis=0)
        rare = np.where(having < RARE * (1 + len(self.targets)), having, len(self.counts))
        rarest = np.where(self.counts > 0, rare, len(self.counts)).min(axis=1)
        return draw[np.argsort(rarest[draw], kind="stable")]

    def owner(self, order: Whole) -> Whole:
        """Give the groups to the splits to cut, in their order; return the split of each group, -1 for training."""
        owner = np.full(len(self.counts), -1)
        left = _Left(self.counts.sum(axis=0) + self.ungrouped, (self.counts > 0).sum(axis=0) + (self.ungrouped > 0))
        smallest = np.argsort(self.counts.sum(axis=1), kind="stable")
        for split, target in enumerate(self.targets):
            has = np.zeros_like(self.ungrouped)
            later = len(self.targets) - split  # the splits that are still to come, training among them
            for by_need, groups in ((False, order), (True, smallest)):
                for group in groups[owner[groups] < 0]:
                    more = self.counts[group]
                    if by_need:
                        wanted = ((has < self.least) & (more > 0)).any()
                    else:
                        wanted = np.abs(target - has - more).sum() < np.abs(target - has).sum()
                    if wanted and left.spares(more, later, self.least):
                        owner[group] = split
                        has = has + more
                        left.take(more)
        return owner

    def texts(self, owner: Whole) -> Whole:
        """Return how many texts of each label (columns) the splits have: those that are cut, and training, the last."""
        has = np.stack([self.counts[owner == split].sum(axis=0) for split in (*range(len(self.targets)), -1)])
        has[-1] += self.ungrouped
        return has

    def cost(self, owner: Whole) -> tuple[int, float]:
        """Return how many texts of a label splits lack, and how far the splits are from their targets, in texts."""
        has = self.texts(owner)
        return int(np.maximum(self.least - has, 0).sum()), float(np.abs(has[:-1] - self.targets).sum())


def cut_groups(
    keys: Sequence[str],
    groups: Joined,
    labels: Sequence[int] | None,
    shares: Mapping[Split, float],
    seed: int,
    place: Place,
    types: Sequence[Collection[int]] | None = None,
) -> dict[Split, list[int]]:
    """Cut rows into splits of whole groups; rows without a group stay in training.

    For each split in turn, groups are taken in the order of a seeded permutation, each if the split comes nearer to its
    share of every label with it; then, if the split has too few texts of a label, the smallest groups that have it. Of
    several permutations the one is taken with which the splits come nearest.

    Parameters
    ----------
    keys, labels, shares, seed, place, types
        As in `cutting.cut`.
    groups
        The groups of these rows.

    Returns
    -------
    dict
        Positions of the rows of each split, in the order of the file.

    Raises
    ------
    InputError
        If there are too few groups, or too few with one of the labels.
    """
    number = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    strata, kinds = of_texts(keys, number, labels, types)
    wanted = _wanted(kinds, groups, shares, tagged=strata is None)
    _enough_groups(wanted, shares, place, labelled=strata is not None)
    rng = np.random.default_rng([seed, Purpose.CUT])
    best: tuple[tuple[int, float], Whole] | None = None
    for _ in range(DRAWS):
        owner = wanted.owner(wanted.order(rng.permutation(len(wanted.counts))))
        cost = wanted.cost(owner)
        if best is None or cost < best[0]:
            best = cost, owner
        if cost[0] == 0 and cost[1] <= CLOSE * len(kinds):
            break
    assert best is not None
    if not wanted.texts(best[1])[:, slice(None) if strata is not None else [-1]].all():
        raise InputError(
            f"{place.file}: cut.group: no way was found to cut {' and '.join(shares)} from the {groups.count} groups "
            "such that each split has texts of each label; give files for them, or another column"
        )
    splits: list[Split] = [*shares, "train"]  # owner -1: the last
    parts: dict[Split, list[int]] = {split: [] for split in ("train", *shares)}
    for position, key in enumerate(keys):
        group = groups.of_text[number[key]]
        parts[splits[best[1][group] if group >= 0 else -1]].append(position)
    return parts


def _wanted(
    kinds: Sequence[Collection[int]], groups: Joined, shares: Mapping[Split, float], *, tagged: bool
) -> _Wanted:
    """Count the texts of each group by label, and say what the splits should have of them."""
    least = floors(kinds, 1 + len(shares))
    columns = {kind: column for column, kind in enumerate(least)}
    table = np.zeros((groups.count + 1, len(columns) + tagged), dtype=np.int64)  # the last row: without a group
    for group, found in zip(groups.of_text, kinds, strict=True):
        table[group, [columns[kind] for kind in found]] += 1
        if tagged:
            table[group, -1] += 1
    floor = np.array([*least.values(), *[1] * tagged], dtype=np.int64)
    targets = np.maximum(np.outer(list(shares.values()), table.sum(axis=0)), floor)
    return _Wanted(table[:-1], table[-1], targets, floor)


def _enough_groups(wanted: _Wanted, shares: Mapping[Split, float], place: Place, *, labelled: bool) -> None:
    """Refuse what no cut can bring about: a group for each split and, of labels, one with each of them."""
    splits, one = 1 + len(shares), bool(wanted.ungrouped.any())
    names = " and ".join(shares)
    if len(wanted.counts) + one < splits:
        raise InputError(
            f"{place.file}: cut.group: {len(wanted.counts)} groups are too few to cut {names} from them; give files "
            "for them, or another column"
        )
    having = (wanted.counts > 0).sum(axis=0) + (wanted.ungrouped > 0)
    if labelled and having.min() < splits:
        raise InputError(
            f"{place.file}: cut.group: a label stands in {having.min()} of the {len(wanted.counts)} groups, too few "
            f"for train, {' and '.join(shares)} to have it; give files for {names}, or another column"
        )
