"""What the models of an experiment cannot do, said before anything starts, if their config.json is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

from pydantic import ValidationError

from maskbench.config.sources import LocalSource
from maskbench.experiment.cell import resolve
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.layout import Layout
from maskbench.experiment.model import Model
from maskbench.models.refusals import refusals


def beyond_the_models(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each thing that a cell asks of a model and that the model cannot do.

    Of local models, and of others once they were fetched for the study; the jobs of a model that is fetched now say the
    same before they load anything.
    """
    for index, model in enumerate(experiment.models):
        about, broken = _config_of(experiment.study, model)
        if broken is not None:
            key = "source" if model.start is None else "pretrain.continues.source"
            yield f"models[{index}] ({model.name}).{key}.local: {broken}"
        lines: dict[str, None] = {}
        trained = [strategy for strategy in experiment.strategies if model.takes(strategy.name)]
        for task, strategy in product(experiment.tasks, trained) if about else ():
            try:
                training = resolve(experiment.training, model, task, strategy)
            except ValidationError:
                continue  # it has a line of its own
            lines |= dict.fromkeys(refusals(about, task.kind, strategy, training))
        yield from (f"models[{index}] ({model.name}): {line}" for line in lines)


def _config_of(study: str, model: Model) -> tuple[dict[str, Any], str | None]:
    """Return the content of a model's config.json, empty if it is not at hand, and what is wrong with a local one.

    A model that the study pretrains is of the type of the model that it continues, or of the one that the recipe makes.
    """
    if model.pretrain is not None and model.start is None:
        return {"model_type": model.pretrain.made}, None  # of a model that is made from scratch, the recipe says it
    layout = Layout.of(study)
    source = model.source if model.start is None else model.start.source
    fetched = layout.model_source(model.name) if model.start is None else layout.start_source(model.start.id)
    local = isinstance(source, LocalSource)
    file = (source.path if isinstance(source, LocalSource) else fetched.parent) / "config.json"
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        return {}, None  # it has a line of its own, or is fetched later
    except ValueError as error:
        return {}, f"{file}: not valid JSON: {' '.join(str(error).split())}" if local else None
    if not isinstance(about, dict):
        return {}, f"{file}: expected a JSON object" if local else None
    return about, None


def _has_head(model: Model) -> bool | None:
    """Tell whether a model's weights hold a masked-LM head; None if that is not known before they are fetched."""
    if model.masked_lm is not None or not isinstance(model.source, LocalSource):
        return model.masked_lm
    try:
        architectures = json.loads((model.source.path / "config.json").read_text()).get("architectures")
    except (OSError, ValueError, AttributeError):
        return None  # a missing or broken file has a line of its own
    names = [str(name) for name in architectures or [] if name != "ElectraForPreTraining"]  # a discriminator
    return any(name.endswith(("ForMaskedLM", "ForPreTraining")) for name in names)


def headless(experiment: Experiment) -> Iterator[str]:
    """Yield one line for each mask that asks for a masked-LM head that a model does not have."""
    for index, strategy in enumerate(experiment.strategies):
        for family, mask in strategy.masks():
            place = f"strategies[{index}] ({strategy.name}).{family}: {mask.kind} needs"
            for model in experiment.models if "a masked-LM head" in mask.needs() else ():
                if not model.takes(strategy.name):
                    continue
                head = _has_head(model)
                if head is None:
                    yield f"{place} a masked-LM head: expected masked_lm: true or false at the model {model.name}"
                elif not head:
                    yield f"{place} a masked-LM head, and the model {model.name} has none; leave one of them out"
