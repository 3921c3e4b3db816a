"""Where a transformers model keeps its parts: the stack of layers, what comes before it, and the task's head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import Linear, Module, ModuleList, Parameter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def base_of(model: Module) -> Module:
    """Return the encoder or decoder under a task head."""
    return getattr(model, getattr(model, "base_model_prefix", ""), model)


def layers_of(model: Module) -> ModuleList:
    """Return the stack of layers, from the input upward.

    The stack is the one list of modules whose length is the number of layers that the configuration states.

    Raises
    ------
    ValueError
        If there is no such list, or more than one.
    """
    count = model.config.num_hidden_layers  # type: ignore[union-attr]
    stacks = [part for part in base_of(model).modules() if isinstance(part, ModuleList) and len(part) == count]
    if len(stacks) != 1:
        raise ValueError(f"{type(model).__name__}: expected one stack of {count} layers, found {len(stacks)}")
    return stacks[0]


def embeddings_of(model: Module) -> Iterator[Parameter]:
    """Yield the parameters of all embeddings (tokens, positions, segments), their norm and their projection.

    These are the parameters that the base model registers before its stack of layers; GPT-2 has no single module
    for them, and ELECTRA keeps a projection beside it.
    """
    in_stack = {id(parameter) for parameter in layers_of(model).parameters()}
    for parameter in base_of(model).parameters():
        if id(parameter) in in_stack:
            return
        yield parameter


def mark_fresh(model: Module, names: Iterable[str]) -> None:
    """Note which parameters the pretrained model lacks, by name: the head's, and perhaps a pooler's."""
    parameters = dict(model.named_parameters())
    for name in names:
        if name in parameters:
            parameters[name].fresh = True  # type: ignore[attr-defined]


def pretrained_of(model: Module) -> Iterator[tuple[str, Parameter]]:
    """Yield the pretrained parameters, by their names in the whole model: what a fresh head is put on.

    These are the base model's, BERT's pooler included, unless they are marked as fresh.
    """
    base = {id(parameter) for parameter in base_of(model).parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) in base and not getattr(parameter, "fresh", False):
            yield name, parameter


def linears_of(model: Module, first: int = 0) -> Iterator[tuple[str, Module]]:
    """Yield the linear modules of the layers from `first` (counted from 0) upward, by their names in the model.

    GPT-2's Conv1D is one, too: a linear map whose weight is stored the other way round.
    """
    from transformers.pytorch_utils import Conv1D

    layers = {id(part) for layer in list(layers_of(model))[first:] for part in layer.modules()}
    for name, part in model.named_modules():
        if id(part) in layers and isinstance(part, (Linear, Conv1D)):
            yield name, part
