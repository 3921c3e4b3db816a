"""Which examples of a split a run uses; without imports of the Trainer, since probes choose the same examples.

An example has one row of an encoded split, or several next to each other: the windows of a long passage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.channels import Purpose
from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from datasets import Dataset
    from numpy.typing import NDArray


def examples(dataset: Dataset) -> int:
    """Return how many examples an encoded split has."""
    return len(_firsts(dataset))


def subset(dataset: Dataset, size: int | str | None, seed: int) -> Dataset:
    """Return `size` examples of a dataset: the first of a seeded permutation, so that smaller subsets are nested.

    Raises
    ------
    InputError
        If the dataset has fewer examples.
    """
    if size is None or size == "full":
        return dataset
    firsts = _firsts(dataset)
    if int(size) > len(firsts):
        raise InputError(f"train_sizes: {size} examples are wanted, but the training split has {len(firsts)}")
    order = np.random.default_rng([seed, Purpose.SUBSET]).permutation(len(firsts))[: int(size)]
    if len(firsts) == len(dataset):
        return dataset.select(order)
    behind = np.append(firsts[1:], len(dataset))
    return dataset.select(np.concatenate([np.arange(firsts[one], behind[one]) for one in order]))


def at_most(dataset: Dataset, size: int | None) -> Dataset:
    """Return a fixed subset of at most `size` examples, the same for every cell; None: all."""
    return dataset if size is None or size >= examples(dataset) else subset(dataset, size, 0)


def rows_of(dataset: Dataset, wanted: Iterable[int]) -> Dataset:
    """Return all rows of some examples, by their ids and in their order; those that the split lacks are left out."""
    places: dict[int, list[int]] = {}
    for row, example in enumerate(dataset["example"]):
        places.setdefault(example, []).append(row)
    return dataset.select([row for example in dict.fromkeys(wanted) for row in places.get(example, ())])


def _firsts(dataset: Dataset) -> NDArray[Any]:
    """Return the first row of each example."""
    numbers = np.asarray(dataset.with_format("numpy")["example"][:])
    return np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1])[: len(numbers)])
