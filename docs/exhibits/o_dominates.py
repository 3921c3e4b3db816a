"""Most words are no entity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from docs.exhibits.exhibit import Damage, Exhibit, percent
from docs.exhibits.material import NEWS, Material
from maskbench.kinds.token_classification.iob2 import as_iob2
from maskbench.kinds.token_classification.metric import Entities

Tags = Sequence[Sequence[str]]


def article(predicted: Tags, gold: Tags) -> float:
    """Count right tags, of which nearly all are O."""
    pairs = [pair for found, wanted in zip(predicted, gold, strict=True) for pair in zip(found, wanted, strict=True)]
    return float(np.mean([found == wanted for found, wanted in pairs]))


def two_labels(tags: Tags) -> list[list[str]]:
    """Return what `num_labels=2` leaves of the tags: a name, or not."""
    return [["O" if tag == "O" else "NAME" for tag in sentence] for sentence in tags]


def right(predicted: Tags, gold: Tags) -> float:
    """Count an entity if all of its words and its type are right (maskbench/kinds/token_classification/metric.py)."""
    types = ["LOC", "MISC", "ORG", "PER"]
    scores = Entities(keep_in_memory=True).compute(predictions=predicted, references=gold, types=types)
    return float(scores["entity_f1"])


def best_of_two_labels(gold: Tags) -> list[list[str]]:
    """Return what a *perfect* two-label tagger lets one say: its names, all of the most frequent type."""
    starts = [tag[2:] for sentence in gold for tag in sentence if tag.startswith("B-")]
    most = max(set(starts), key=starts.count)
    return [as_iob2([f"I-{most}" if tag == "NAME" else "O" for tag in sentence]) for sentence in two_labels(gold)]


def measure(material: Material) -> Damage:
    """Score a tagger that finds nothing, one that knows two labels, and a trained one."""
    names = np.array(material.names(NEWS))
    trained = material.train(NEWS).test.table
    gold = [list(names[tags]) for tags in trained["label"]]
    found = {
        "finds nothing (all O)": [["O"] * len(tags) for tags in gold],
        "trained on 1,000 sentences, 9 tags": [list(names[tags]) for tags in trained["prediction"]],
        "perfect on 2 labels": best_of_two_labels(gold),
    }
    rows = []
    for name, tags in found.items():
        two = article(two_labels(tags), two_labels(gold))
        rows.append((name, percent(article(tags, gold)), percent(two), f"{right(tags, gold):.3f}"))
    return Damage(
        headline=f"a tagger that finds nothing has {rows[0][1]} token accuracy and entity F1 {rows[0][3]}; a perfect "
        f"two-label tagger has F1 {rows[2][3]} at best",
        columns=("tagger", "articles: token accuracy", "articles: the same, 2 labels", "right: entity F1"),
        rows=rows,
        note=f"{len(gold):,} test sentences of CoNLL-2003. The perfect two-label tagger knows every name; its "
        "names are given the most frequent type, and names that touch become one.",
    )


EXHIBIT = Exhibit(
    name="o_dominates",
    title="NER with two labels, scored by token accuracy",
    mistakes=("NER with 2 labels", "token accuracy, which the O class dominates"),
    why="Four words of five are no entity, so that finding none looks like a good score, and two labels cannot say "
    "what a name is, or where one ends and the next begins.",
    article=(article, two_labels),
    right=(right,),
    measure=measure,
    trains=True,
)
