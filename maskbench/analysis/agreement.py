"""Agreement between seeds on which words of a text matter: rank correlation of their attributions."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from maskbench.analysis.derived import Predictions, RunSummary, Value
from maskbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from maskbench.analysis.metrics import Array

    Ids = np.ndarray[Any, Any]
    Keep = Callable[[str, Ids, Array, Array], None]
    """Takes a run id, its test examples, and what each adds to the two sums that the agreement is made of."""

MEASURE = "attribution_agreement"


def attribution_agreement(
    runs: Sequence[RunSummary], predictions: Predictions, folder: Path, keep: Keep | None = None
) -> Iterator[Value]:
    """Yield how much a run agrees with the other completed seeds of its cell on the order of words.

    Kendall's τ-b of the attributions of a text's words, the mean over texts and those seeds. Attributions are of the
    answer that a run gives, so a text that two seeds answer differently is left out of their pair: what speaks for
    another class speaks against this one, and the number would mostly say how often seeds disagree. A text whose words
    all have one attribution under a seed has no order there, and is left out of that pair, too. None with one seed, or
    without a text that is left. Runs that have no attributions have no row.

    Parameters
    ----------
    runs
        All runs, failed ones too.
    predictions
        Reads the predictions of a completed run.
    folder
        Where the probe records are, ``<run>/metrics.json``: for messages.
    keep
        Takes what test examples contribute.

    Raises
    ------
    InputError
        If two seeds of a cell have attributions of other texts.

    References
    ----------
    Kendall (1945), The treatment of ties in ranking problems, Biometrika.
    """
    cells: dict[Any, list[RunSummary]] = defaultdict(list)
    for run in runs:
        if run.completed and run.attributions:
            cells[(*run.block, run.strategy)].append(run)
    for cell in cells.values():
        examples, first = list(cell[0].attributions), cell[0]
        lengths = [len(words) for words in first.attributions.values()]
        for run in cell:
            if list(run.attributions) != examples or [len(words) for words in run.attributions.values()] != lengths:
                raise InputError(
                    f"{folder / run.run / 'metrics.json'}: attributions: expected those of the texts of {first.run}; "
                    "delete both runs and train them again"
                )
        codes = [_answers(predictions(run.run), np.array(examples)) for run in cell]
        hits, weights = np.zeros((2, len(cell), len(examples)))
        for column, example in enumerate(examples):
            found = tau_b(np.array([run.attributions[example] for run in cell]))
            np.fill_diagonal(found, np.nan)
            answers = np.array([one[column] for one in codes])
            found[answers[:, None] != answers] = np.nan
            hits[:, column] = np.nansum(found, axis=1)
            weights[:, column] = np.isfinite(found).sum(axis=1)
        for run, hit, weight in zip(cell, hits, weights, strict=True):
            whole = weight.sum()
            if whole and keep is not None:
                keep(run.run, np.array(examples), hit, weight)
            yield Value(run.run, MEASURE, float(hit.sum() / whole) if whole else None)


def _answers(predicted: tuple[Ids, Ids], examples: Ids) -> Ids:
    """Return (N,) the codes of the answers to N examples, from all examples, sorted, and their codes."""
    ids, codes = predicted
    found: Ids = codes[np.searchsorted(ids, examples)]
    return found


def tau_b(values: Array) -> Array:
    """Return (S, S) Kendall's τ-b of S rows of W numbers each; NaN with a row whose numbers are all alike.

    With the signs of all differences within a row, τ-b is a cosine (Kendall 1945): all pairs of rows at once.
    """
    first, second = np.triu_indices(values.shape[1], 1)
    signs = np.sign(values[:, first] - values[:, second])
    length = np.sqrt((signs**2).sum(axis=1))
    with np.errstate(invalid="ignore"):
        found: Array = (signs @ signs.T) / np.outer(length, length)
    return found
