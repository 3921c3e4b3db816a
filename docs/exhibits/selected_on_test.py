"""The best of several on the test split is better than it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import REVIEWS, SEEDS, Material

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPLITS = 4000


def article(test: NDArray[np.float64]) -> float:
    """Keep the checkpoint that is best on test (K models, N sentences), and report its test score."""
    scores = test.mean(1)
    return float(scores[scores.argmax()])


def right(validation: NDArray[np.float64], test: NDArray[np.float64]) -> float:
    """Keep the one that is best on validation; test is read once."""
    return float(test[validation.mean(1).argmax()].mean())


def optimism(hits: NDArray[np.float64], size: int, models: int, splits: int = SPLITS) -> dict[str, float]:
    """Resample the splits and return what each way reports beyond what the chosen model scores on fresh sentences.

    Parameters
    ----------
    hits
        (K, N) right or wrong.
    size
        Sentences in validation and in test each; all others are fresh.
    models
        Number of candidates.
    """
    rng, found = np.random.default_rng(1), []
    for _ in range(splits):
        candidates = hits[rng.choice(len(hits), models, replace=False)]
        order = rng.permutation(hits.shape[1])
        validation, test, fresh = np.split(candidates[:, order], [size, 2 * size], axis=1)
        on_test, on_validation = test.mean(1).argmax(), validation.mean(1).argmax()
        found.append(
            (
                article(test) - fresh[on_test].mean(),
                right(validation, test) - fresh[on_validation].mean(),
                article(test) > right(validation, test),
            )
        )
    wrong, proper, better = np.mean(found, axis=0)
    return {"article": float(wrong), "right": float(proper), "better": float(better)}


def luck(models: int, size: int, accuracy: float = 0.8) -> float:
    """Return the optimism where all candidates are equally good and err independently."""
    draws = np.random.default_rng(1).binomial(size, accuracy, (SPLITS, models)) / size
    return float(draws.max(1).mean() - accuracy)


def measure(material: Material) -> Damage:
    """Choose among models that differ by their seed alone."""
    hits = np.stack([material.train(REVIEWS, seed=seed).test.table["hit"].to_numpy() for seed in SEEDS])
    rows = []
    for size in (100, 300):
        for models in (2, len(SEEDS)):
            seen = optimism(hits, size, models)
            independent = luck(models, size)
            cells = [f"{100 * value:+.2f}" for value in (seen["article"], seen["right"], independent)]
            rows.append((f"best of {models}, {size} test reviews", *cells, percent(seen["better"], 0)))
    return Damage(
        headline=f"{rows[1][1]} points of accuracy that are not there (best of {len(SEEDS)} on 100 reviews), "
        f"{rows[3][1]} on 300",
        columns=(
            "",
            "articles: reported − real (points)",
            "right: reported − real",
            "articles, equally good models",
            "articles report more",
        ),
        rows=rows,
        note=f"{len(SEEDS)} runs of one configuration with different seeds; {SPLITS:,} resampled splits of the "
        f"{hits.shape[1]:,} test reviews into validation, test and fresh reviews, which give the real score. Fourth "
        "column: candidates that are all right on 80 %, independently of each other. Last: share of the splits in "
        "which the articles' number is higher than the honest one.",
    )


EXHIBIT = Exhibit(
    name="selected_on_test",
    title="Models chosen on the test split",
    mistakes=("the test split used for model selection",),
    why="The highest of several noisy scores is high partly by luck, and luck does not come along to new text. The "
    "more candidates (checkpoints, seeds, rates) and the fewer sentences, the more of it.",
    article=(article,),
    right=(right,),
    measure=measure,
    trains=True,
)
