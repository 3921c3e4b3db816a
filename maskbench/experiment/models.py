"""What the models of an experiment cannot do, said before anything starts, if their config.json is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maskbench.config.sources import LocalSource
from maskbench.experiment.cell import resolve
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.layout import Layout
from maskbench.experiment.model import Model
from maskbench.experiment.pretraining import PRETRAINED_TYPE
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
    """Return the content of a model's config.json; empty: it is not at hand, or broken, which others say.

    A model that the study pretrains is of the type of the model that it continues, or of the one that the recipe makes.
    """
    if model.pretrain is not None and model.start is None:
        return {"model_type": PRETRAINED_TYPE}  # of a model that is made from scratch, the recipe says it
    layout = Layout.of(study)
    source = model.source if model.start is None else model.start.source
    fetched = layout.model_source(model.name) if model.start is None else layout.start_source(model.start.id)
    folder = Path(source.local) if isinstance(source, LocalSource) else fetched.parent
    try:
        about = json.loads((folder.expanduser() / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}
