"""What was found of the data of a study: from the manifests of its prepared and encoded tasks, for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskbench.data.manifests import NAME, EncodedManifest, PreparedManifest, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def about_data(results: Path, pairs: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Gather what the report says about the data.

    Parameters
    ----------
    results
        Folder of the study, which holds data/.
    pairs
        The tasks and models that runs were made of.

    Returns
    -------
    list of dict
        For each task whose data are still there: `task`; `splits`, each with its number of `rows` and how often each
        label stands there (tagging: how many entities of each type); the rule of the `cut`; what was `dropped`;
        `findings`, in sentences.

    Raises
    ------
    InputError
        If a manifest is not valid.
    """
    models: dict[str, list[str]] = {}
    for task, model in dict.fromkeys(pairs):
        models.setdefault(task, []).append(model)
    found = []
    for task in models:
        folder = results / "data" / "tasks" / task / "clean"
        if not (folder / NAME).exists():
            continue
        about = PreparedManifest.read(folder)
        findings = [finding.message for finding in about.findings]
        for model in models[task]:
            encoded = results / "data" / "encoded" / f"{task}.{model}.clean"
            if (encoded / NAME).exists():
                findings += [finding.message for finding in EncodedManifest.read(encoded).findings]
        found.append(
            {
                "task": task,
                "splits": _splits(about),
                "cut": about.cut,
                "dropped": about.dropped,
                "findings": findings,
            }
        )
    return found


def _splits(about: PreparedManifest) -> dict[str, dict[str, Any]]:
    """Return the rows of each split, and how often each label stands there; in tagging the entities of each type."""
    counted = {}
    for split in in_order(about.splits):
        labels = about.splits[split].labels
        if about.kind == "token-classification":
            labels = {label[2:]: count for label, count in labels.items() if label.startswith("B-")}
        counted[split] = {"rows": about.splits[split].rows, "labels": labels}
    return counted
