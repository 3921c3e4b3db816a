"""Scores of text classification, as a metric module of Hugging Face evaluate."""

from __future__ import annotations

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, matthews_corrcoef, precision_recall_fscore_support

_DESCRIPTION = "Accuracy, MCC and precision, recall and F1: micro, macro, weighted and per class (scikit-learn)."


class Classification(evaluate.Metric):
    """Accuracy, MCC, and precision / recall / F1 per class and averaged.

    ``compute(predictions=, references=, labels=[names])`` takes class indices; classes that occur in neither have
    F1 0 and support 0, and count in the macro average as scikit-learn counts them.
    """

    def _info(self) -> evaluate.MetricInfo:
        """Return the description that `evaluate` asks for: inputs, output and source."""
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="Pedregosa et al. (2011), Scikit-learn, JMLR 12",
            inputs_description="predictions and references: class indices; labels: names of the classes in order",
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions: list[int], references: list[int], labels: list[str]) -> dict[str, float]:
        """Return the measures by their names in the registry."""
        classes = np.arange(len(labels))
        scores = {
            "accuracy": float(accuracy_score(references, predictions)),
            "mcc": float(matthews_corrcoef(references, predictions)),
        }
        for average in ("micro", "macro", "weighted"):
            precision, recall, f1, _ = precision_recall_fscore_support(
                references, predictions, labels=classes, average=average, zero_division=0
            )
            scores |= {f"precision_{average}": precision, f"recall_{average}": recall, f"f1_{average}": f1}
        per_class = precision_recall_fscore_support(references, predictions, labels=classes, zero_division=0)
        for index, label in enumerate(labels):
            for name, values in zip(("precision", "recall", "f1", "support"), per_class, strict=True):
                scores[f"{name}:{label}"] = values[index]
        return {name: float(value) for name, value in scores.items()}
