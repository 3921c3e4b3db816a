"""Which training texts are set apart for tuning: no other cell of the study trains, chooses or is tested on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskbench.data import group_cutting
from maskbench.data.cutting import cut
from maskbench.errors import InputError
from maskbench.kinds import reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maskbench.config.tasks import Split, Task
    from maskbench.config.tuning import Reserve
    from maskbench.kinds.rows import Rows


def set_apart(task: Task, rows: Mapping[Split, Rows], wanted: Reserve) -> tuple[Rows, dict[Split, Rows]]:
    """Set texts of the training split apart, as missing splits are cut: by text, by label, in whole groups.

    A text that also stands in the validation or the test split of the study is never among them.

    Parameters
    ----------
    task
        Its cut has the seed, and says what groups are.
    rows
        The splits of the study.
    wanted
        How many texts; where groups are large, as near as whole groups come to it.

    Returns
    -------
    tuple
        The rows that are left to the study's training split; and the splits of the tuning, `train` and `validation`.

    Raises
    ------
    InputError
        If there are too few texts, or too few of one label.
    """
    train, kind = rows["train"], reading.of(task.kind)
    texts = len(set(train.keys))
    sizes = f"train_size {wanted.train_size} and validation_size {wanted.validation_size}"
    if wanted.train_size + wanted.validation_size >= texts:
        raise InputError(
            f"{train.place.file}: tune: {sizes} are to be set apart, but the training split has {texts} distinct texts"
        )
    # what is cut off first and second; names of splits, as cutting takes them
    shares: dict[Split, float] = {"validation": wanted.validation_size / texts, "test": wanted.train_size / texts}
    types = None if kind.stratified else [kind.classes_of(target) for target in train.targets]
    labels = train.targets if kind.stratified else None
    try:
        if train.groups is None:
            parts = cut(train.keys, labels, shares, task.cut.seed, train.place, types)
        else:
            joined = group_cutting.joined(train.keys, train.groups)
            parts = group_cutting.cut_groups(train.keys, joined, labels, shares, task.cut.seed, train.place, types)
    except InputError:
        raise InputError(
            f"{train.place.file}: tune: {sizes} cannot be set apart such that each part has texts of each label and "
            "groups stay whole; take fewer, or give the task more training texts"
        ) from None
    seen = {key for split in shares for key in rows[split].keys}
    back = [place for split in shares for place in parts[split] if train.keys[place] in seen]
    left = train.take(sorted([*parts["train"], *back]))
    names: dict[Split, Split] = {"train": "test", "validation": "validation"}
    apart = {
        split: train.take(place for place in parts[name] if train.keys[place] not in seen)
        for split, name in names.items()
    }
    if not all(part.inputs for part in apart.values()):
        raise InputError(
            f"{train.place.file}: tune: all texts that could be set apart also stand in validation or test"
        )
    return left, apart


def words(apart: Mapping[Split, Rows]) -> str:
    """Say how many texts were set apart, in a sentence."""
    train, validation = (len(apart[split].inputs) for split in ("train", "validation"))
    return (
        f"Of the training split, {train} texts to train on and {validation} to choose by were then set apart for the "
        "tuning of learning rates."
    )
