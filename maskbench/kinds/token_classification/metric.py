"""Entity-level scores of tagging, as a metric module of Hugging Face evaluate."""

from __future__ import annotations

import datasets
import evaluate
from seqeval.metrics import accuracy_score, classification_report
from seqeval.scheme import IOB2

from maskbench.kinds.token_classification.iob2 import as_iob2

_DESCRIPTION = "Entity precision, recall and F1 in seqeval's strict IOB2 mode, per type and averaged; token accuracy."


class Entities(evaluate.Metric):
    """Entity-level precision / recall / F1; an entity counts if both its words and its type are right.

    ``compute(predictions=, references=, types=[names])`` takes tags as text, one list per sentence; predictions need
    not be valid IOB2 and are read as conlleval reads them. Token accuracy compares the tags as they are.
    """

    def _info(self) -> evaluate.MetricInfo:
        """Return the description that `evaluate` asks for: inputs, output and source."""
        tags = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="Tjong Kim Sang & De Meulder (2003), Introduction to the CoNLL-2003 shared task; "
            "Nakayama (2018), seqeval",
            inputs_description="predictions and references: lists of tags; types: names of the entity types",
            features=datasets.Features({"predictions": tags, "references": tags}),
        )

    def _compute(self, predictions: list[list[str]], references: list[list[str]], types: list[str]) -> dict[str, float]:
        """Return the measures by their names in the registry; types that do not occur have F1 0 and support 0."""
        report = _report([as_iob2(tags) for tags in predictions], references)
        micro = report.get("micro avg", {})
        scores = {
            "entity_precision": micro.get("precision", 0.0),
            "entity_recall": micro.get("recall", 0.0),
            "entity_f1": micro.get("f1-score", 0.0),
            "token_accuracy": accuracy_score(references, predictions),
        }
        for average in ("macro", "weighted"):
            row = report.get(f"{average} avg", {})
            for name in ("precision", "recall", "f1"):
                scores[f"{name}_{average}"] = row.get("f1-score" if name == "f1" else name, 0.0)
        for kind in types:
            row = report.get(kind, {})
            scores |= {
                f"precision:{kind}": row.get("precision", 0.0),
                f"recall:{kind}": row.get("recall", 0.0),
                f"f1:{kind}": row.get("f1-score", 0.0),
                f"support:{kind}": row.get("support", 0),
            }
        return {name: float(value) for name, value in scores.items()}


def _report(predictions: list[list[str]], references: list[list[str]]) -> dict[str, dict[str, float]]:
    """Return seqeval's report; empty where neither side has any entity (seqeval raises there)."""
    if not any(tag != "O" for side in (predictions, references) for tags in side for tag in tags):
        return {}
    report: dict[str, dict[str, float]] = classification_report(
        references, predictions, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
    )
    return report
