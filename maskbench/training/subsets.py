"""Which examples of a split a run uses; without imports of the Trainer, since probes choose the same examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from maskbench.channels import Purpose
from maskbench.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset


def subset(dataset: Dataset, size: int | str | None, seed: int) -> Dataset:
    """Return `size` examples of a dataset: the first of a seeded permutation, so that smaller subsets are nested.

    Raises
    ------
    InputError
        If the dataset has fewer examples.
    """
    if size is None or size == "full":
        return dataset
    if int(size) > len(dataset):
        raise InputError(f"train_sizes: {size} examples are wanted, but the training split has {len(dataset)}")
    order = np.random.default_rng([seed, Purpose.SUBSET]).permutation(len(dataset))
    return dataset.select(order[: int(size)])


def at_most(dataset: Dataset, size: int | None) -> Dataset:
    """Return a fixed subset of at most `size` examples, the same for every cell; None: all."""
    return dataset if size is None or size >= len(dataset) else subset(dataset, size, 0)
