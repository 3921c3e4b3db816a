"""What a model cannot do of what a cell asks of it, before anything is loaded or trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from maskbench.kinds import traits
from maskbench.models.families import (
    NO_ATTENTIONS,
    NO_CHECKPOINTING,
    NO_LINEAR,
    NO_TEXT_PAIRS,
    NO_TOKEN_HEAD,
    READ_TWICE,
    TWICE,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from maskbench.config.kinds import TaskKind
    from maskbench.config.training import Training


_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Names under which a config.json says how many layers a model has."""


class Asked(Protocol):
    """What a mask strategy asks of a model: its masks, None where it has none of a family."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def input(self) -> Any: ...  # noqa: D102
    @property
    def attention(self) -> Any: ...  # noqa: D102
    @property
    def parameter(self) -> Any: ...  # noqa: D102
    @property
    def objective(self) -> Any: ...  # noqa: D102


def within(mask: Any) -> Iterator[Any]:
    """Yield a mask and the masks inside it: a twin has the mask that it is a twin of, an objective one of its own."""
    while mask is not None:
        yield mask
        mask = getattr(mask, "of", None) or getattr(mask, "mask", None)


def refusals(about: Mapping[str, Any], kind: TaskKind, strategy: Asked, training: Training) -> Iterator[str]:
    """Yield what a model cannot do of what is asked of it, each as the key that asks and the reason.

    Parameters
    ----------
    about
        Content of the model's config.json.
    kind
        Of the task.
    strategy, training
        Of the cell.
    """
    model = str(about.get("model_type", ""))
    pooled = not traits.of(kind).per_token
    if not pooled and model in NO_TOKEN_HEAD:
        yield f"kind: transformers has no head for tagging on a model of type {model}; expected classification"
    if training.gradient_checkpointing and model in NO_CHECKPOINTING:
        yield f"training.gradient_checkpointing: transformers has none for the type {model}; expected false"
    twice = model in READ_TWICE and pooled
    attention = strategy.attention
    if attention is not None and (why := TWICE if twice else NO_TEXT_PAIRS.get(model)):
        yield f"strategies ({strategy.name}).attention: nothing can be hidden from a model of type {model}: {why}"
    if twice and strategy.objective is not None and strategy.objective.kind in ("consistency", "mlm-auxiliary"):
        yield (
            f"strategies ({strategy.name}).objective: {strategy.objective.kind} compares hidden states, and a model of "
            f"type {model} has two for a token: {TWICE}"
        )
    if twice or model in NO_ATTENTIONS:
        for mask in (*within(strategy.input), *within(strategy.objective)):
            if getattr(mask, "place", None) != "attention":
                continue
            yield (
                f"strategies ({strategy.name}): {mask.kind} with place attention needs one attention weight for each "
                f"pair of tokens, which a model of type {model} does not give"
            )
    parameter = strategy.parameter
    if parameter is not None and model in NO_LINEAR and parameter.kind in ("lora", "adalora", "learned-weights"):
        yield f"strategies ({strategy.name}).parameter: {parameter.kind} needs linear maps, and {model} has none"
    yield from _layers(about, strategy)
    if parameter is not None and parameter.kind == "adalora" and model == "longformer":
        yield (
            f"strategies ({strategy.name}).parameter: adalora needs a gradient at every linear map, and {model} leaves "
            "those of its global attention aside"
        )


def _layers(about: Mapping[str, Any], strategy: Asked) -> Iterator[str]:
    """Yield what a strategy asks of layers that the model lacks, where config.json says how many it has."""
    count = next((about[name] for name in _LAYERS if isinstance(about.get(name), int)), None)
    if count is None or about.get("model_type") in {*READ_TWICE, "albert", "funnel"}:  # counted otherwise
        return
    for mask in within(strategy.parameter):
        if mask.kind == "freeze" and mask.layers > count:
            yield f"strategies ({strategy.name}).parameter: freeze: layers is {mask.layers}, but the model has {count}"
        if mask.kind == "learned-weights" and mask.from_layer >= count:
            yield (
                f"strategies ({strategy.name}).parameter: learned-weights: from_layer is {mask.from_layer}, but the "
                f"model has layers 0 to {count - 1}"
            )
