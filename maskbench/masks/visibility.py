"""How a visibility reaches a model for a while: through transformers' mask and attention interfaces, or its own."""

from __future__ import annotations

import inspect
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from maskbench.errors import InputError
from maskbench.masks.passes import still, tables_of
from maskbench.models.anatomy import base_of, states_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel
    from transformers.utils.generic import GeneralInterface

IMPLEMENTATIONS = ("eager", "sdpa")
"""Attention implementations whose masks have a value for each pair of tokens."""
_PAIRS = "attention_mask"
_OWN = {"xlnet": ("", "perm_mask"), "deberta": ("encoder", _PAIRS), "deberta-v2": ("encoder", _PAIRS)}
"""By type, models that take a mask of pairs without transformers' interface: the part of the base, and its argument."""
_LEAK = 1e-6
"""Gradient at hidden tokens, relative to that at visible ones, that rounding may leave."""


class WidthError(ValueError):
    """A visibility is shown to a pass over texts of another width."""


@contextmanager
def showing(model: PreTrainedModel, visible: Tensor, tally: Tensor | None = None) -> Iterator[None]:
    """Let every query of the model see only what `visible` says, itself, and nothing that the model hides anyway.

    The model is given its ordinary two-dimensional mask, from which it asks for the mask of its attention; what it
    gets is its own (padding, GPT-2's future, ModernBERT's far tokens) without the hidden pairs. It lasts for
    backward passes as well: gradient checkpointing repeats the attention there.

    Parameters
    ----------
    visible
        (B, 1, T, T) or (1, 1, T, T) bool, True where a query (row) may see a key (column).
    tally
        (2,) int64 on the model's device, to which the first mask that the model asks for adds its numbers of hidden
        pairs and of pairs of a real query and another real key that the model itself shows.

    Raises
    ------
    InputError
        If the model's attention implementation has no such masks, or, at the end, if the model did not ask for one.
    """
    view = _View(visible, tally)
    with ExitStack() as stack:
        if model.config.model_type in _OWN:
            stack.enter_context(_own_way(model, view))
        else:
            name = implementation(model)
            mask = view.masks(ALL_MASK_ATTENTION_FUNCTIONS[name])
            stack.enter_context(overridden(ALL_MASK_ATTENTION_FUNCTIONS, name, mask))
        yield
    if not view.asked:
        kind = type(model).__name__
        raise InputError(
            f"attention mask: {kind} does not build its attention mask through transformers' mask interface"
        )


def implementation(model: PreTrainedModel) -> str:
    """Return the name of the model's attention implementation.

    Raises
    ------
    InputError
        If its masks do not have a value for each pair of tokens.
    """
    name = model.config._attn_implementation
    if name not in IMPLEMENTATIONS:
        raise InputError(
            f"attention mask: expected an attention implementation of {', '.join(IMPLEMENTATIONS)}, found {name}"
        )
    return str(name)


def require_reach(model: PreTrainedModel, inputs: Mapping[str, Any]) -> None:
    """Make sure, by passes over one text, that a visibility reaches the model and that what it hides is hidden.

    Tokens at even places see each other, and so do those at odd places: what is computed at the ones, through all
    layers, must have no gradient to the others, and must have one to a neighbour of its kind. What mixes tokens outside
    of attention (convolutions, pooling) fails.

    Parameters
    ----------
    inputs
        Of a text; the longest one that there is, since some models attend to long texts in another way.

    Raises
    ------
    InputError
        If it does not reach the model, or does not hide.
    """
    given = {name: value for name, value in inputs.items() if name != "labels"}
    place = torch.arange(inputs["input_ids"].shape[1], device=inputs["input_ids"].device)
    with still(model):
        apart = (place[:, None] - place) % 2 == 0
        kind = type(model).__name__
        try:
            with torch.enable_grad(), _looked_up(model) as embedded, showing(model, apart[None, None]):
                outputs = model(**given, output_hidden_states=True)
        except WidthError:
            raise InputError(f"attention mask: {kind} computes with texts that it fills up or pools") from None
        if outputs.get("decoder_hidden_states") is not None:
            raise InputError(f"attention mask: {kind} reads its text twice, in the decoder shifted by one place")
        states = states_of(outputs)[-1]
        if states.shape[1] != len(place):
            raise InputError(f"attention mask: {kind} pools its tokens")
        _require_apart(kind, partial(_slope, states, embedded[0], model), inputs["attention_mask"][0].bool())


def _require_apart(kind: str, slope: Callable[[list[int]], Tensor], real: Tensor) -> None:
    """Make sure that real tokens at even and at odd places do not notice each other, and that neighbours of a kind do.

    `slope` returns (T,) how much each token changes what is computed at some places.
    """
    for first in (0, 1):
        places = [place for place in range(first, len(real), 2) if real[place]]
        others = [place for place in range(1 - first, len(real), 2) if real[place]]
        if not places or not others:
            continue
        found = slope(places)
        seen, hidden = float(found[places].max()), float(found[others].max())
        if not hidden <= _LEAK * seen:
            raise InputError(
                f"attention mask: {kind} does not hide what the mask hides: of the gradient at visible tokens, "
                f"{hidden / seen if seen else hidden:.2g} is left at hidden ones"
            )
        if len(places) > 1 and not float(slope(places[-1:])[places[-2]]) > _LEAK * seen:
            raise InputError(f"attention mask: {kind} hides from a token what the mask shows it")


def _slope(states: Tensor, embedded: Tensor, model: PreTrainedModel, places: list[int]) -> Tensor:
    """Return (T,) how much each looked-up token changes what is computed of one text at some places."""
    weights = torch.linspace(-1, 1, states.shape[-1], device=states.device)  # a plain sum is constant behind a norm
    (slope,) = torch.autograd.grad((states[0, places].float() @ weights).sum(), embedded, retain_graph=True)
    return (slope[:, 0] if model.config.model_type == "xlnet" else slope[0]).abs().amax(-1)


@contextmanager
def _looked_up(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Collect the token embeddings that the model looks up, as the leaves of what it computes from them."""
    found: list[Tensor] = []

    def leaf(_: Module, __: Any, tokens: Tensor) -> Tensor:
        found.append(tokens.detach().requires_grad_())
        return found[-1]

    with ExitStack() as stack:
        for _, table in tables_of(model):
            stack.callback(table.register_forward_hook(leaf).remove)
        yield found


@contextmanager
def _own_way(model: PreTrainedModel, view: _View) -> Iterator[None]:
    """Give a model that takes a mask of pairs as an argument the visible ones."""
    part, argument = _OWN[model.config.model_type]
    module = base_of(model).get_submodule(part)

    def give(module: Module, args: tuple[Any, ...], keys: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        bound = inspect.signature(module.forward).bind(*args, **keys)
        real = bound.arguments["attention_mask"].bool()
        pairs = view.pairs(real)
        bound.arguments[argument] = (~pairs).float() if argument == "perm_mask" else pairs
        return bound.args, bound.kwargs

    handle = module.register_forward_pre_hook(give, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def overridden(interface: GeneralInterface, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Put a function into an interface for a while, beside what is registered there for the whole library."""
    outer = interface.get(name)
    interface[name] = function
    try:
        yield
    finally:
        del interface[name]
        if interface.get(name) is not outer:  # there was a local one already
            interface[name] = outer


class _View:
    """What a model gets to see while a visibility is shown to it."""

    def __init__(self, visible: Tensor, tally: Tensor | None) -> None:
        self.visible = visible | torch.eye(visible.shape[-1], dtype=torch.bool, device=visible.device)
        self.tally, self.asked = tally, False

    def masks(self, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return a mask function (transformers' interface) that takes the hidden pairs out of the original's mask."""

        def mask(**keys: Any) -> Tensor:
            # nothing may be left to the kernel: None would mean that there is no mask to take pairs out of
            own = original(**keys | {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})
            if own.shape[-2:] != self.visible.shape[-2:]:
                raise WidthError(
                    f"a visibility of {tuple(self.visible.shape)} is shown in a pass with masks of {tuple(own.shape)}"
                )
            shown = own if own.dtype == torch.bool else own == 0
            if self.tally is not None and not self.asked:
                self._count(shown, keys.get("attention_mask"))
            self.asked = True
            # the diagonal once more: padding that is far from a text, or before GPT-2's, would see nothing at all
            seen = (shown & self.visible) | torch.eye(own.shape[-1], dtype=torch.bool, device=own.device)
            if own.dtype == torch.bool:
                return seen
            return torch.where(seen, torch.zeros((), dtype=own.dtype, device=own.device), torch.finfo(own.dtype).min)

        return mask

    def pairs(self, real: Tensor) -> Tensor:
        """Return (B, T, T) bool: pairs of real tokens that the visibility shows, for a model without the interface."""
        shown = (real[:, :, None] & real[:, None, :])[:, None]
        if shown.shape[-2:] != self.visible.shape[-2:]:
            raise WidthError(
                f"a visibility of {tuple(self.visible.shape)} is shown in a pass with masks of {tuple(shown.shape)}"
            )
        if self.tally is not None and not self.asked:
            self._count(shown, real)
        self.asked = True
        return (shown & self.visible)[:, 0]

    def _count(self, shown: Tensor, real: Tensor | None) -> None:
        """Add the hidden pairs and all pairs that the model shows, without a token's pair with itself."""
        pairs = shown & ~torch.eye(shown.shape[-1], dtype=torch.bool, device=shown.device)
        if real is not None:
            pairs = pairs & real.bool()[:, None, :, None]
        assert self.tally is not None
        self.tally += torch.stack([(pairs & ~self.visible).sum(), pairs.sum()])
