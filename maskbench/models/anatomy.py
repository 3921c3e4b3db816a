"""Where a transformers model keeps its parts: the stack of layers, what comes before it, and the task's head."""

from __future__ import annotations

import math
import re
from itertools import chain
from typing import TYPE_CHECKING, Any

from torch.nn import Embedding, Linear, Module, ModuleList, Parameter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

_EMBEDDING = re.compile(r"(^|[._])(emb|embed|embeddings?|wte|wpe|project_in)([._]|$)")
"""Names of modules that make the layers' input, beside all tables: BERT's norm, OPT's and ELECTRA's projections."""
_OF_POSITIONS = {"deberta-v2": ("encoder.LayerNorm.",)}
"""By model type, what belongs to the embeddings under another name: the norm of DeBERTa's relative positions."""


def base_of(model: Module) -> Module:
    """Return the encoder or decoder under a task head."""
    return getattr(model, getattr(model, "base_model_prefix", ""), model)


def _stacks(module: Module, prefix: str = "") -> Iterator[tuple[str, ModuleList]]:
    """Yield the outermost lists of modules with their names, in the order of registration."""
    for name, part in module.named_children():
        if isinstance(part, ModuleList):
            yield f"{prefix}{name}", part
        else:
            yield from _stacks(part, f"{prefix}{name}.")


def _flat(stack: Iterable[Module]) -> Iterator[Module]:
    """Yield the layers of a stack; Funnel's is one of blocks, which are lists themselves."""
    for part in stack:
        if isinstance(part, ModuleList):
            yield from _flat(part)
        else:
            yield part


def layers_of(model: Module) -> list[Module]:
    """Return the layers with weights of their own, from the input upward.

    Of an encoder-decoder (T5, BART) those of the encoder come first, then those of the decoder; so do the layers that
    Funnel puts on top to spread its pooled tokens out again. ALBERT's layers share their weights, so what is returned
    are its groups: one, as a rule.

    Raises
    ------
    ValueError
        If there is no stack of as many layers as the configuration states, or more than one beside a decoder's.
    """
    config: Any = model.config
    count = config.num_hidden_layers
    stated = getattr(config, "num_hidden_groups", count)
    stacks = {name: list(_flat(stack)) for name, stack in _stacks(base_of(model))}
    decoders = [name for name in stacks if name.startswith("decoder.")] if len(stacks) > 1 else []
    encoders = [name for name in stacks if name not in decoders and len(stacks[name]) == stated]
    if len(encoders) != 1:
        raise ValueError(f"{type(model).__name__}: expected one stack of {count} layers, found {len(encoders)}")
    return list(chain.from_iterable(stacks[name] for name in [*encoders, *decoders]))


def embeddings_of(model: Module) -> Iterator[Parameter]:
    """Yield the parameters of all embeddings (tokens, positions, segments), their norms and their projections.

    Positions are meant wherever they enter: those that DeBERTa and MPNet add to the attention of every layer are
    tables beside the stack, so they belong here; T5's lie in its first layer and belong to that. What follows the
    layers (a last norm, a pooler, OPT's projection back) does not.
    """
    base = base_of(model)
    seen = {id(parameter) for layer in layers_of(model) for parameter in layer.parameters()}
    more = _OF_POSITIONS.get(getattr(model.config, "model_type", ""), ())
    for path, part in base.named_modules():
        for name, parameter in part.named_parameters(prefix=path, recurse=False):
            ours = isinstance(part, Embedding) or _EMBEDDING.search(name) or name.startswith(more)
            if ours and id(parameter) not in seen:
                seen.add(id(parameter))  # T5's table has a name in the encoder and in the decoder, too
                yield parameter


def mark_fresh(model: Module, names: Iterable[str]) -> None:
    """Mark the parameters that the pretrained model lacks, given by name: the head's, and perhaps a pooler's."""
    parameters = dict(model.named_parameters())
    for name in names:
        if name in parameters:
            parameters[name].fresh = True  # type: ignore[attr-defined]


def pretrained_of(model: Module) -> Iterator[tuple[str, Parameter]]:
    """Yield the pretrained parameters, by their names in the whole model: all that is below the fresh head.

    These are the base model's, BERT's pooler included, unless they are marked as fresh.
    """
    base = {id(parameter) for parameter in base_of(model).parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) in base and not getattr(parameter, "fresh", False):
            yield name, parameter


def linears_of(model: Module, first: int = 0) -> Iterator[tuple[str, Module]]:
    """Yield the linear modules of the layers from `first` (counted from 0) upward, by their names in the model.

    GPT-2's Conv1D is one, too: a linear map whose weight is stored the other way round. XLNet's queries, keys, values
    and outputs are bare parameters, no modules, so of XLNet these are the feed-forward maps alone.
    """
    from transformers.pytorch_utils import Conv1D

    layers = {id(part) for layer in layers_of(model)[first:] for part in layer.modules()}
    for name, part in model.named_modules():
        if id(part) in layers and isinstance(part, (Linear, Conv1D)):
            yield name, part


def states_of(outputs: Any) -> tuple[Tensor, ...]:
    """Return the L + 1 hidden states (B, T, H) of the text's tokens: those of the encoder, if there is a decoder.

    Its decoder reads the text shifted by one place.
    """
    states = outputs.get("hidden_states")
    found: tuple[Tensor, ...] = outputs["encoder_hidden_states"] if states is None else states
    return found


def at_tokens(states: tuple[Tensor, ...], width: int) -> tuple[Tensor, ...]:
    """Return (B, T, H) hidden states with a place for each of T = `width` tokens: Funnel's pooled ones are repeated.

    They are repeated as its own upsampling does it (transformers' FunnelDecoder): the first place is that of the first
    token alone.
    """
    import torch

    spread = []
    for state in states:
        if (count := state.shape[1]) < width:
            stride = 2 ** round(math.log2(width / count))
            place = (1 + (torch.arange(width, device=state.device) - 1).div(stride, rounding_mode="floor")).clamp(
                0, count - 1
            )
            state = state[:, place]
        spread.append(state)
    return tuple(spread)
