"""Where a transformers model keeps its parts: the stack of layers and the embeddings."""

from __future__ import annotations

from torch.nn import Module, ModuleList


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


def embeddings_of(model: Module) -> Module:
    """Return the module of all embeddings (tokens, positions, segments), or that of the tokens alone."""
    base = base_of(model)
    embeddings = getattr(base, "embeddings", None)
    return embeddings if isinstance(embeddings, Module) else base.get_input_embeddings()  # type: ignore[operator]
