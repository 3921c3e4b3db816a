"""The table of pretraining recipes: held-out loss beside the score after fine-tuning, and what the score varies by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maskbench.analysis.components import components
from maskbench.analysis.metrics import values_of
from maskbench.report import text
from maskbench.report.behind import in_short
from maskbench.report.formats import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskbench.report.study import Study

_BLOCK = ["task", "recipe", "strategy", "regime", "condition", "train_size"]
_COLUMNS = (
    *(*_BLOCK, "score", "unit", "mean", "pretraining_sd", "fine_tuning_sd", "rest_sd", "n_pretraining", "n"),
    *("n_failed", "held_out_loss", "held_out_accuracy", "unigram_loss", "runs"),
)


def _held_out(study: Study, recipe: str) -> dict[str, float]:
    """Return the means over pretraining seeds of what the models of a recipe did with held-out text; NaN if unknown."""
    own = [model for model in study.models if model.recipe == recipe]
    found = {}
    for name in ("held_out_loss", "held_out_accuracy", "unigram_loss"):
        known = [value for model in own if (value := getattr(model, name)) is not None]
        found[name] = float(np.mean(known)) if known else math.nan
    return found


def _rows(study: Study) -> Iterator[dict[str, Any]]:
    """Yield a row for each recipe that has pretraining seeds, on each task, strategy and kind of training."""
    scores = 100 * values_of(study.metrics, "test", "score")
    runs = study.runs[study.runs["pretraining_seed"].notna()]
    for key, own in runs.groupby(_BLOCK, sort=False):
        known = own.assign(value=scores.reindex(own.index))
        table = known.set_index(["pretraining_seed", "seed"])["value"].unstack("seed").to_numpy(dtype=float)  # noqa: PD010
        means = [np.nanmean(row) for row in table if np.isfinite(row).any()]
        found = components(table)
        cell = dict(zip(_BLOCK, map(str, key), strict=True))
        sds = {"pretraining_sd": found.pretraining, "fine_tuning_sd": found.fine_tuning, "rest_sd": found.rest}
        yield {
            **cell,
            "score": study.score_title(cell["task"]),
            "unit": "per cent",
            "mean": float(np.mean(means)) if means else math.nan,
            **{name: math.sqrt(variance) for name, variance in sds.items()},
            "n_pretraining": found.n,
            "n": int(np.isfinite(table).sum()),
            "n_failed": int((own["status"] != "completed").sum()),
            **_held_out(study, cell["recipe"]),
            "runs": in_short(known.dropna(subset=["value"])["run"]),
        }


def _number(value: float, decimals: int) -> str:
    return text.DASH if math.isnan(value) else text.plain(value, decimals)


def recipes(study: Study) -> Table:
    """Return the score after fine-tuning of every pretraining recipe beside its loss on held-out text."""
    rows = list(_rows(study))
    shown = [
        {
            "task": row["task"],
            "recipe": row["recipe"],
            "strategy": row["strategy"],
            "training": ", ".join(row[name] for name in ("regime", "condition", "train_size")),
            "held-out loss, nats": _number(row["held_out_loss"], 2),
            "loss of frequencies, nats": _number(row["unigram_loss"], 2),
            "score, %": _number(row["mean"], 2),
            "SD of pretraining seeds": _number(row["pretraining_sd"], 2),
            "SD of fine-tuning seeds": _number(row["fine_tuning_sd"], 2),
            "SD of the rest": _number(row["rest_sd"], 2),
            "pretraining seeds": str(row["n_pretraining"]),
            "runs": str(row["n"]) + (f" ({row['n_failed']} failed)" if row["n_failed"] else ""),
        }
        for row in rows
    ]
    names = ["task", "recipe", "strategy", "training", "held-out loss, nats", "loss of frequencies, nats", "score, %"]
    names += [f"SD of {what}" for what in ("pretraining seeds", "fine-tuning seeds", "the rest")]
    names += ["pretraining seeds", "runs"]
    caption = (
        "Models that the study pretrained, by recipe: the loss at masked places of held-out text, mean over "
        "pretraining seeds, beside what the tokens' frequencies alone lose at the same places; "
        "and the score on the test split after fine-tuning, the mean of each pretraining seed counting the same. "
        "SDs in points, by the analysis of variance: between pretraining seeds, between fine-tuning seeds in "
        "what they do to all pretraining seeds alike, and of what is left of a run. Runs of one model are not "
        "independent: contrasts between recipes are paired by pretraining seed (verdicts, components.csv)."
    )
    data = pd.DataFrame(rows, columns=list(_COLUMNS))
    return Table("recipes", "Pretraining recipes", caption, data, pd.DataFrame(shown, columns=names), names=4)
