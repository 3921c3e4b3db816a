"""Hashes of the code behind single cells: the core, and the masks that a cell's own strategy is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from maskbench.io.code import code_hash, counted
from maskbench.masks.base import Mask

if TYPE_CHECKING:
    from maskbench.config.probes import Probes
    from maskbench.experiment.pretraining import Pretrain
    from maskbench.masks import Strategy

TRAINING, PROBING = "maskbench/runner/train.py", "maskbench/runner/probe.py"
"""What trains and what probes a cell, by paths from the top of the repository."""
_GIVEN = (
    *("maskbench.experiment.cell.Cell", "maskbench.masks.slots", "maskbench.masks.strategy.Strategy"),
    *("maskbench.slots.device.choose", "maskbench.training.state.Inputs"),
)
"""What makes a cell of the JSON that a job gets, what chooses its device, and what opens its text."""


def training_code(strategy: Strategy) -> str:
    """Return the hash of the code that trains a cell: it changes with the core and with the strategy's own masks.

    The hash of the core alone comes first, so that runs of different strategies can be seen to have the same one: that
    is all for a strategy without masks; else a hyphen and eight digits follow, for core and masks together. Planning
    asks for each cell; what a set of masks comes to is computed once.
    """
    return _of(TRAINING, mask_modules(strategy))


def counted_for_training(strategy: Strategy) -> dict[str, str]:
    """Return the code that trains a cell, by what it is called (io/code.py)."""
    return counted(TRAINING, *_GIVEN, *mask_modules(strategy))


def core_of(code: str) -> str:
    """Return the hash of the core in what `training_code` or `probe_code` returned."""
    return code.partition("-")[0]


def probe_code(strategy: Strategy, probes: Probes) -> str:  # noqa: ARG001 (probes are counted together so far)
    """Return the hash of the code that probes a cell, written as `training_code` writes it.

    Of the strategy only an attention mask that is part of the model counts: it is what probes see of the masks.

    Parameters
    ----------
    strategy
        Of the cell.
    probes
        What is measured.
    """
    attention = strategy.attention
    seen = attention is not None and attention.apply and attention.at == "always"
    return _of(PROBING, tuple(sorted(set(_modules(attention)))) if seen else ())


def pretraining_code(recipe: Pretrain) -> str:
    """Return the hash of the code that pretrains a model: it changes with the core and with the recipe's own mask."""
    return code_hash("pretrain.py", "maskbench.masks.slots", *sorted(set(_modules(recipe.input))))


def _of(script: str, modules: tuple[str, ...]) -> str:
    """Return the hash of a script and of what a cell adds to it."""
    core = code_hash(script, *_GIVEN)
    return f"{core}-{code_hash(script, *_GIVEN, *modules)[:8]}" if modules else core


def mask_modules(strategy: Strategy) -> tuple[str, ...]:
    """Return the modules of a strategy's masks, masks inside masks included, sorted."""
    return tuple(sorted({module for _, mask in strategy.masks() for module in _modules(mask)}))


def _modules(value: Any) -> Iterator[str]:
    """Yield the module of a mask, and those of the masks inside it; nothing for any other value."""
    if isinstance(value, Mask):
        yield type(value).__module__
        for name in type(value).model_fields:
            yield from _modules(getattr(value, name))
