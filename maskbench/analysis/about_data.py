"""What was found of the data of a study: from the manifests of its prepared and encoded tasks, for the report."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from maskbench.config.conditions import OUT_OF_DOMAIN
from maskbench.data.manifests import NAME, EncodedManifest, PreparedManifest, in_order
from maskbench.kinds import reading

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Use(NamedTuple):
    """What a run takes of a task's texts."""

    task: str
    model: str
    train_size: str
    """A number of texts, or ``full``."""
    max_validation: int | None
    """Most texts that it is validated on; None: all."""
    max_test: int | None


def about_data(results: Path, uses: Iterable[Use]) -> list[dict[str, Any]]:
    """Gather what the report says about the data.

    Parameters
    ----------
    results
        Folder of the study, which holds data/.
    uses
        What the runs were made of.

    Returns
    -------
    list of dict
        For each task whose data are still there: `task`; `splits`, each with its number of `rows` and how often each
        label stands there (tagging: how many entities of each type), the sets from elsewhere among them; how many texts
        of each split the runs `used`, all numbers that occur; the rule of the `cut`; what was `dropped`; `findings`, in
        sentences.

    Raises
    ------
    InputError
        If a manifest is not valid.
    """
    of_task: dict[str, list[Use]] = {}
    for use in dict.fromkeys(uses):
        of_task.setdefault(use.task, []).append(use)
    found = []
    for task, own in of_task.items():
        folder = results / "data" / "tasks" / task / "clean"
        if not (folder / NAME).exists():
            continue
        about = PreparedManifest.read(folder)
        sets = _sets(folder.with_name(OUT_OF_DOMAIN))
        findings = [finding.message for part in (about, sets) if part for finding in part.findings]
        for model, variant in product(dict.fromkeys(use.model for use in own), ("clean", OUT_OF_DOMAIN)):
            encoded = results / "data" / "encoded" / f"{task}.{model}.{variant}"
            if (encoded / NAME).exists():
                findings += [finding.message for finding in EncodedManifest.read(encoded).findings]
        found.append(
            {
                "task": task,
                "splits": _splits(about) | (_elsewhere(sets) if sets else {}),
                "used": _used(about, own),
                "cut": about.cut,
                "dropped": about.dropped,
                "findings": findings,
            }
        )
    return found


def _sets(folder: Path) -> PreparedManifest | None:
    """Return the manifest of a task's texts from elsewhere; None if it has none."""
    return PreparedManifest.read(folder) if (folder / NAME).exists() else None


def _elsewhere(sets: PreparedManifest) -> dict[str, dict[str, Any]]:
    """Return the rows of each set from elsewhere, and how often each label stands there."""
    return {f"{name} (out of domain)": about for name, about in _splits(sets).items()}


def _used(about: PreparedManifest, uses: Iterable[Use]) -> dict[str, list[int]]:
    """Return of how many texts of each split the scores are: each number that some run has, in order of size."""
    rows = {split: info.rows for split, info in about.splits.items()}
    numbers: dict[str, set[int]] = {"train": set(), "validation": set(), "test": set()}
    for use in uses:
        numbers["train"].add(rows["train"] if use.train_size == "full" else int(use.train_size))
        for split, most in (("validation", use.max_validation), ("test", use.max_test)):
            numbers[split].add(rows[split] if most is None else min(most, rows[split]))
    return {split: sorted(found) for split, found in numbers.items()}


def _splits(about: PreparedManifest) -> dict[str, dict[str, Any]]:
    """Return the rows of each split, and how often each label stands there; in tagging the entities of each type."""
    counted = {}
    for split in in_order(about.splits):
        labels = reading.of(about.kind).counted(about.splits[split].labels)
        counted[split] = {"rows": about.splits[split].rows, "labels": labels}
    return counted
