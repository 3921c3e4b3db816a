"""One run of code that gives another number every time."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import REVIEWS, SEEDS, Material

if TYPE_CHECKING:
    import torch


def article(material: Material, number: int) -> float:
    """Seed nothing: each run of the script is a seed that nobody chose (here 1, 2, …)."""
    return material.train(REVIEWS, seed=number).accuracy


def right(material: Material) -> tuple[torch.Tensor, torch.Tensor]:
    """Fix head, order, subset, dropout and masks by a seed that is part of the run's name (training/run.py)."""
    once, again = material.train(REVIEWS, seed=1), material.train_anew(REVIEWS, seed=1)
    return once.model.classifier.weight, again.model.classifier.weight


def measure(material: Material) -> Damage:
    """Run the same code with several seeds, and with one seed twice."""
    scores = np.array([article(material, number) for number in SEEDS])
    apart = np.array([abs(one - other) for one, other in combinations(scores, 2)])
    once, again = right(material)
    same = bool((once == again).all())
    spread = 100 * (scores.max() - scores.min())
    return Damage(
        headline=f"{spread:.1f} points between the best and the worst of {len(SEEDS)} runs of the same code",
        columns=("", "accuracy", "SD (points)", "two runs differ by ≥ 1 point"),
        rows=[
            (
                f"articles, {len(SEEDS)} runs",
                f"{percent(scores.min())} to {percent(scores.max())}",
                f"{100 * scores.std(ddof=1):.2f}",
                f"{percent(float((apart >= 0.01).mean()), 0)} of the pairs",
            ),
            (
                "right, seed 1 twice",
                percent(scores[0]),
                "0.00" if same else "not 0",
                "weights bit-identical" if same else "differ",
            ),
        ],
        note="Plain fine-tuning on 1,000 reviews (head, order, subset and dropout differ), 1,057 test reviews. A "
        "strategy that does nothing would look better than the baseline in half of such comparisons.",
    )


EXHIBIT = Exhibit(
    name="no_seeds",
    title="No seeds",
    mistakes=("no seeds",),
    why="An effect smaller than the spread of the seeds cannot be read off one run of each; pairing by seed and "
    "repeating over seeds can.",
    article=(article,),
    right=(right,),
    measure=measure,
    trains=True,
)
