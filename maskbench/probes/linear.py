"""Linear probes: how well surface properties of a text can be read from a model's features.

The properties need no labels and are known to be in pretrained encoders; they are two of the tasks of SentEval, sized
for some hundred texts.

References
----------
Conneau et al. (2018), What you can cram into a single $&!#* vector (SentLen, WC).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from maskbench.config.science import PROBE_STRENGTH, PROBED_WORDS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from maskbench.training.forward import Rows

    Classes = NDArray[np.int64]
    Word = tuple[int, ...]

_ITERATIONS = 1000
"""Steps of the solver, at most: some hundred are enough."""


def _words(row: dict[str, object]) -> list[Word]:
    """Return the words of a text, each as its subword ids."""
    found: dict[int, list[int]] = {}
    for word, token in zip(row["words"], row["input_ids"], strict=True):  # type: ignore[call-overload]
        if word >= 0:
            found.setdefault(word, []).append(token)
    return [tuple(tokens) for tokens in found.values()]


def properties(train: Rows, test: Rows) -> dict[str, list[tuple[Classes, Classes]]]:
    """Return the classes of the training and the test texts under each property.

    Returns
    -------
    dict
        `length`: quartile (of the training texts) of the number of words. `word-content`: for each of the four words
        that stand in closest to half of the training texts, whether it stands in a text. Each is a list of (classes
        of the training texts, classes of the test texts); one in which the training texts are all alike is left out.
    """
    lengths = [np.array([len(_words(row)) for row in rows]) for rows in (train, test)]
    borders = np.unique(np.quantile(lengths[0], (0.25, 0.5, 0.75)))
    contents = [[set(_words(row)) for row in rows] for rows in (train, test)]
    counts = Counter(word for content in contents[0] for word in content)
    chosen = sorted(counts, key=lambda word: (abs(counts[word] - len(train) / 2), word))[:PROBED_WORDS]
    found = {
        "length": [tuple(np.searchsorted(borders, length, side="left") for length in lengths)],
        "word-content": [
            tuple(np.array([word in content for content in side], dtype=np.int64) for side in contents)
            for word in chosen
        ],
    }
    varied = {name: [pair for pair in pairs if len(np.unique(pair[0])) > 1] for name, pairs in found.items()}
    return {name: pairs for name, pairs in varied.items() if pairs}  # type: ignore[misc]


def accuracy(train: Tensor, test: Tensor, classes: list[tuple[Classes, Classes]]) -> float:
    """Return the accuracy of logistic regression on features (N, H) and (M, H): the mean of `hits`."""
    return float(hits(train, test, classes).mean())


def hits(train: Tensor, test: Tensor, classes: list[tuple[Classes, Classes]]) -> NDArray[np.float64]:
    """Return how often logistic regression on standardised features is right about each test text, (M,).

    Parameters
    ----------
    train, test
        (N, H) and (M, H) features.
    classes
        (N,) and (M,) classes to tell apart; a text's number is the mean over them.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scale = StandardScaler().fit(train.numpy())
    fitted, tested = scale.transform(train.numpy()), scale.transform(test.numpy())
    right = [
        LogisticRegression(C=PROBE_STRENGTH, max_iter=_ITERATIONS).fit(fitted, known).predict(tested) == wanted
        for known, wanted in classes
    ]
    mean: NDArray[np.float64] = np.mean(right, axis=0)
    return mean
