"""A file of one's own with nothing kept back."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import REVIEWS, SENTENCES, Material
from maskbench.config.tasks import Task
from maskbench.data.prepare import load_prepared, prepare
from maskbench.data.sources import fetch_task

if TYPE_CHECKING:
    from collections.abc import Sequence


def article(file: Path) -> dict[str, list[str]]:
    """Load the file; the training rows are all there is to score on."""
    texts = list(pd.read_csv(file)["text"])
    return {"train": texts, "test": texts}


def right(file: Path, work: Path) -> dict[str, list[str]]:
    """Cut what is missing by distinct text, once for all runs, and write down how (data/prepare.py)."""
    task = Task.model_validate(
        {
            "name": "mine",
            "kind": "sequence-classification",
            "source": {"local": str(file.parent)},
            "format": "csv",
            "files": {"train": file.name},
            "text": "text",
            "label": "label",
        }
    )
    fetch_task(task, work / "source", work / "cache")
    prepare(task, work / "source", work / "prepared")
    return {split: table["text"].to_pylist() for split, table in load_prepared(work / "prepared")[1].items()}


def write(file: Path, texts: Sequence[str]) -> None:
    """Write texts as a CSV, every tenth of them twice, as files of one's own have it."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        rows = [(text, ("negative", "positive")[number % 2]) for number, text in enumerate(texts)]
        csv.writer(stream).writerows([("text", "label"), *rows, *rows[::10]])


def both(texts: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Return the splits that each way makes of one CSV."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mine" / "reviews.csv"
        file.parent.mkdir()
        write(file, texts)
        return {"articles": article(file), "right": right(file, Path(folder))}


def overlap(splits: dict[str, list[str]]) -> float:
    """Return the share of test texts that were trained on."""
    trained = set(splits["train"])
    return sum(text in trained for text in splits["test"]) / len(splits["test"])


def measure(material: Material) -> Damage:
    """Cut a CSV, and compare the score on the rows that were trained on with that on new ones."""
    made, trained = both(material.texts("train", 1000)), material.train(REVIEWS)
    scores = {"articles": trained.train_score, "right": trained.accuracy}
    rows = [
        (
            name,
            *(f"{len(splits.get(part, ())):,}" for part in ("train", "validation", "test")),
            percent(overlap(splits)),
        )
        for name, splits in made.items()
    ]
    rows = [(*row, percent(scores[row[0]])) for row in rows]
    gap = 100 * (scores["articles"] - scores["right"])
    return Damage(
        headline=f"accuracy {rows[0][5]} reported, {rows[1][5]} on new reviews: {gap:.1f} points too many",
        columns=(
            "",
            "train rows",
            "validation rows",
            "test rows",
            "test texts trained on",
            "accuracy that is reported",
        ),
        rows=rows,
        note="A CSV of 1,000 reviews, 100 of them twice; the accuracies are those of one model trained on "
        f"{SENTENCES:,} reviews (`rt-snippets`), on these and on its test split.",
    )


EXHIBIT = Exhibit(
    name="no_test_split",
    title="A CSV without a test split",
    mistakes=("a CSV loader with no test split",),
    why="A model knows the rows that it was trained on; with nothing kept back, remembering looks like understanding.",
    article=(article,),
    right=(right,),
    measure=measure,
    trains=True,
)
