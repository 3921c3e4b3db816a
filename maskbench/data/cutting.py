"""How splits that no file holds are cut from the training file: disjoint by text, with every label in each of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from maskbench.channels import Purpose
from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from maskbench.config.tasks import Split
    from maskbench.kinds.files import Place

    Whole = NDArray[np.int64]
    Kinds = Sequence[Collection[int]]
    """Labels of each distinct text: one in classification, its types of entities in tagging."""

LEAST = 2
"""Texts of each label that every split should have."""


def cut(
    keys: Sequence[str],
    labels: Sequence[int] | None,
    shares: Mapping[Split, float],
    seed: int,
    place: Place,
    types: Sequence[Collection[int]] | None = None,
) -> dict[Split, list[int]]:
    """Cut rows into splits by a seeded permutation; rows with the same key stay together.

    Each split, the rest for training among them, gets at least two distinct texts of each label or entity type; of
    those that have too few for that, one, if there are as many as splits. The permutation is drawn first as it always
    was, and kept where it does that by itself.

    Parameters
    ----------
    keys
        One for each row.
    labels
        Label of each row, to draw each split in the proportions of the labels (the first row with a key speaks for
        all); None: draw from all alike.
    shares
        Share of the distinct keys for each split to cut, in the order in which they are cut; what is left is `train`.
    seed
        Seed of the permutations.
    place
        The file that messages name.
    types
        Tagging: the entity types of each row.

    Returns
    -------
    dict
        Positions of the rows of each split, in the order of the file.

    Raises
    ------
    InputError
        If there are too few distinct keys, or fewer of one label than splits.
    """
    group = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    strata, kinds = of_texts(keys, group, labels, types)
    least = floors(kinds, 1 + len(shares))
    owner = _drawn(strata, len(group), shares, seed)
    if owner is None or lacking(owner, kinds, least, shares) or (strata is not None and not all(least.values())):
        if strata is not None:
            owner = _by_label(strata, least, shares, seed, place)
        elif owner is None:
            raise _too_few(len(group), "", max(1, round(next(iter(shares.values())) * len(group))), shares, place)
        else:
            _move(owner, kinds, least, shares, seed)
    parts: dict[Split, list[int]] = {split: [] for split in ("train", *shares)}
    for position, key in enumerate(keys):
        parts[owner.get(group[key], "train")].append(position)
    return parts


def of_texts(
    keys: Sequence[str],
    group: Mapping[str, int],
    labels: Sequence[int] | None,
    types: Sequence[Collection[int]] | None,
) -> tuple[Whole | None, list[set[int]]]:
    """Return the label of each distinct text, None without labels, and the labels or types that it counts for.

    The first row with a text speaks for all.
    """
    kinds: list[set[int]] = [set() for _ in group]
    for key, found in zip(reversed(keys), reversed(types or [()] * len(keys)), strict=True):
        kinds[group[key]] = set(found)
    if labels is None:
        return None, kinds
    strata = np.zeros(len(group), dtype=np.int64)
    for key, label in zip(reversed(keys), reversed(labels), strict=True):
        strata[group[key]] = label
    return strata, [{int(label)} for label in strata]


def floors(kinds: Kinds, splits: int) -> dict[int, int]:
    """Return how many distinct texts of each label every split can have: two, one, or none if they are too rare."""
    counts = Counter(kind for found in kinds for kind in found)
    return {kind: min(LEAST, count // splits) for kind, count in sorted(counts.items())}


def lacking(
    owner: Mapping[int, Split], kinds: Kinds, least: Mapping[int, int], shares: Mapping[Split, float]
) -> list[tuple[Split, int, int]]:
    """Return the splits that have too few texts of a label, the label, and how many they lack."""
    counts: dict[Split, Counter[int]] = {split: Counter() for split in ("train", *shares)}
    for number, found in enumerate(kinds):
        counts[owner.get(number, "train")].update(found)
    return [
        (split, kind, number - counts[split][kind])
        for split in counts
        for kind, number in least.items()
        if counts[split][kind] < number
    ]


def _drawn(strata: Whole | None, count: int, shares: Mapping[Split, float], seed: int) -> dict[int, Split] | None:
    """Draw the splits by scikit-learn's permutations; None if it cannot."""
    from sklearn.model_selection import train_test_split  # a second that only this needs

    owner: dict[int, Split] = {}
    rest = np.arange(count)
    classes = 1 if strata is None else len(np.unique(strata))
    for split, share in shares.items():
        size = max(round(share * count), classes)
        try:
            rest, taken = train_test_split(
                rest, test_size=size, random_state=seed, stratify=None if strata is None else strata[rest]
            )
        except ValueError:
            return None
        owner |= {int(number): split for number in taken}
    return owner


def _by_label(
    strata: Whole, least: Mapping[int, int], shares: Mapping[Split, float], seed: int, place: Place
) -> dict[int, Split]:
    """Draw from each label by itself: its share, and no less than every split should have of it."""
    counts = Counter(strata.tolist())
    if len(strata) < len(counts) * (1 + len(shares)) or not all(least.values()):
        size = max(round(next(iter(shares.values())) * len(strata)), len(counts))
        rarest = f", {min(counts.values())} of the rarest label" if len(counts) > 1 else ""
        raise _too_few(len(strata), rarest, size, shares, place)
    owner: dict[int, Split] = {}
    for label, count in sorted(counts.items()):
        order = np.random.default_rng([seed, Purpose.CUT, label]).permutation(np.flatnonzero(strata == label))
        left = count
        for done, (split, share) in enumerate(shares.items(), 1):
            others = (1 + len(shares) - done) * least[label]
            size = min(max(round(share * count), least[label]), left - others)
            owner |= {int(number): split for number in order[count - left : count - left + size]}
            left -= size
    return owner


def _move(
    owner: dict[int, Split], kinds: Kinds, least: Mapping[int, int], shares: Mapping[Split, float], seed: int
) -> None:
    """Move texts from the splits that can spare them to those that lack a type, as far as that goes."""
    order = np.random.default_rng([seed, Purpose.CUT]).permutation(len(kinds)).tolist()
    counts: dict[Split, Counter[int]] = {split: Counter() for split in ("train", *shares)}
    for number, found in enumerate(kinds):
        counts[owner.get(number, "train")].update(found)
    for split, kind, _ in lacking(owner, kinds, least, shares):
        for number in order:
            giver = owner.get(number, "train")
            if counts[split][kind] >= least[kind]:
                break
            spare = all(counts[giver][other] > least[other] for other in kinds[number])
            if giver != split and kind in kinds[number] and spare:
                counts[giver].subtract(kinds[number])
                counts[split].update(kinds[number])
                owner[number] = split


def _too_few(count: int, rarest: str, size: int, shares: Mapping[Split, float], place: Place) -> InputError:
    split = next(iter(shares))
    return InputError(
        f"{place.file}: too few distinct texts ({count}{rarest}) to cut {size} of them for {split}; "
        f"give files for {' and '.join(shares)}, or change `cut`"
    )
