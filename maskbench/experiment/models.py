"""What the models of an experiment cannot do, said before anything starts, if their config.json is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskbench.config.models import Model
from maskbench.config.sources import LocalSource
from maskbench.experiment.cell import resolve
from maskbench.experiment.experiment import Experiment
from maskbench.models.refusals import refusals


def beyond_the_models(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each thing that a cell asks of a model and that the model cannot do.

    Of local models, and of others once they were fetched for the study; the jobs of a model that is fetched now say the
    same before they load anything.
    """
    for index, model in enumerate(experiment.models):
        about = _config_of(experiment.study, model)
        lines: dict[str, None] = {}
        for task, strategy in product(experiment.tasks, experiment.strategies) if about else ():
            try:
                training = resolve(experiment.training, model, task, strategy)
            except ValidationError:
                continue  # it has a line of its own
            lines |= dict.fromkeys(refusals(about, task.kind, strategy, training))
        yield from (f"models[{index}] ({model.name}): {line}" for line in lines)


def _config_of(study: str, model: Model) -> dict[str, Any]:
    """Return the content of a model's config.json; empty: it is not at hand, or broken, which others say."""
    source = model.source
    folder = (
        Path(source.local) if isinstance(source, LocalSource) else Path(f"results/{study}/data/models/{model.name}")
    )
    try:
        about = json.loads((folder.expanduser() / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}
