"""Where a transformers model keeps its parts: the stack of layers and what comes before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import Module, ModuleList, Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator


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
