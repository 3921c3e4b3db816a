"""Shows a model only some pairs of tokens: through transformers' mask and attention interfaces, or its own."""

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
"""Model types that take a mask of pairs without transformers' interface: the part of the base and its argument."""
_LEAK = 1e-6
"""Largest gradient at hidden tokens, relative to that at visible ones, that counts as rounding."""


class WidthError(ValueError):
    """A visibility (B, 1, T, T) meets a pass over texts of another width than T."""


@contextmanager
def showing(model: PreTrainedModel, visible: Tensor, tally: Tensor | None = None) -> Iterator[None]:
    """In the block, let each query see itself and, of the keys that the model shows, only those in `visible`.

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


@contextmanager
def always_masked(model: PreTrainedModel) -> Iterator[None]:
    """In the block, let the model build its attention mask for every batch.

    Otherwise transformers looks whether a batch has any padding, and leaves the mask out if not; for that look the host
    waits for the card.
    """
    name = model.config._attn_implementation
    original = ALL_MASK_ATTENTION_FUNCTIONS.get(name)
    if original is None:
        yield
        return
    with overridden(ALL_MASK_ATTENTION_FUNCTIONS, name, partial(_never_left_out, original)):
        yield


def _never_left_out(original: Callable[..., Tensor], **keys: Any) -> Tensor:
    """Return the mask that a function of transformers' interface makes, whatever may be left to the kernel."""
    return original(**keys | {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})


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


def require_reach(model: PreTrainedModel, inputs: Mapping[str, Any]) -> float:
    """Make sure, by passes over one text, that a visibility reaches the model and that what it hides is hidden.

    In this test tokens at even places see only each other, and so do tokens at odd places. What is computed at tokens
    of one kind, through all layers, must have no gradient to tokens of the other kind, and must have one to neighbours
    of its own kind. Models that mix tokens outside of attention (convolutions, pooling) fail.

    Parameters
    ----------
    inputs
        The model's inputs for one text: the longest one, since some models attend to long texts in another way.

    Returns
    -------
    float
        The largest gradient at a token of the other kind, as a share of the largest one at a token of its own.

    Raises
    ------
    InputError
        If the visibility does not reach the model, or does not hide what it should.
    """
    given = {name: value for name, value in inputs.items() if name != "labels"}
    place = torch.arange(inputs["input_ids"].shape[1], device=inputs["input_ids"].device)
    with still(model):
        apart = (place[:, None] - place) % 2 == 0
        kind = type(model).__name__
        try:
            with torch.enable_grad(), looked_up(model) as embedded, showing(model, apart[None, None]):
                outputs = model(**given, output_hidden_states=True)
        except WidthError:
            raise InputError(f"attention mask: {kind} computes with texts that it fills up or pools") from None
        if outputs.get("decoder_hidden_states") is not None:
            raise InputError(f"attention mask: {kind} reads its text twice, in the decoder shifted by one place")
        states = states_of(outputs)[-1]
        if states.shape[1] != len(place):
            raise InputError(f"attention mask: {kind} pools its tokens")
        return _require_apart(kind, partial(slope, states, embedded[0], model), inputs["attention_mask"][0].bool())


def _require_apart(kind: str, slope: Callable[[list[int]], Tensor], real: Tensor) -> float:
    """Make sure that no gradient links tokens at even and at odd places, and that one links neighbours of a kind.

    `slope` returns (T,) how much each token changes what is computed at the given places. Returns the largest gradient
    between the two kinds, as a share of the largest one within a kind.
    """
    worst = 0.0
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
        worst = max(worst, hidden / seen if seen else 0.0)
    return worst


def slope(states: Tensor, embedded: Tensor, model: PreTrainedModel, places: list[int], row: int = 0) -> Tensor:
    """Return (T,) how much each looked-up token changes what is computed of one text at some places.

    Parameters
    ----------
    states
        (B, T, H) what is computed.
    embedded
        The token embeddings that it was computed from, as `looked_up` collects them.
    model
        The model.
    places
        At which tokens it is computed.
    row
        Which text of the batch.
    """
    # different weights, since after a layer norm a plain sum would be constant
    weights = torch.linspace(-1, 1, states.shape[-1], device=states.device)
    (moved,) = torch.autograd.grad((states[row, places].float() @ weights).sum(), embedded, retain_graph=True)
    of_text: Tensor = moved[:, row] if model.config.model_type == "xlnet" else moved[row]
    return of_text.abs().amax(-1)


@contextmanager
def looked_up(model: PreTrainedModel) -> Iterator[list[Tensor]]:
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
    """In the block, replace one function of an interface; the library's own registration stays as it is."""
    outer = interface.get(name)
    interface[name] = function
    try:
        yield
    finally:
        del interface[name]
        if interface.get(name) is not outer:  # there was a local one already
            interface[name] = outer


def count_hidden(tally: Tensor, visible: Tensor, own: Tensor, real: Tensor | None) -> None:
    """Add to a tally the hidden pairs and all pairs that the model shows, without a token's pair with itself.

    Parameters
    ----------
    tally
        (2,) int64, changed in place.
    visible
        (B, 1, T, T) or (1, 1, T, T) bool: what the attention mask shows.
    own
        (B, 1, T, T) the model's own mask: bool, or what it adds to the scores (0 where it shows a pair).
    real
        (B, T) which queries are real tokens; None: all.
    """
    shown = own if own.dtype == torch.bool else own == 0
    pairs = shown & ~torch.eye(shown.shape[-1], dtype=torch.bool, device=shown.device)
    if real is not None:
        pairs = pairs & real.bool()[:, None, :, None]
    tally += torch.stack([(pairs & ~visible).sum(), pairs.sum()])


class _View:
    """The pairs that a model sees while a visibility is shown to it."""

    def __init__(self, visible: Tensor, tally: Tensor | None) -> None:
        self.visible = visible | torch.eye(visible.shape[-1], dtype=torch.bool, device=visible.device)
        self.tally, self.asked = tally, False

    def masks(self, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return a mask function (transformers' interface) that takes the hidden pairs out of the original's mask."""

        def mask(**keys: Any) -> Tensor:
            # the interface must not skip the mask and leave it to the kernel: pairs are taken out of the mask
            own = _never_left_out(original, **keys)
            if own.shape[-2:] != self.visible.shape[-2:]:
                raise WidthError(
                    f"a visibility of {tuple(self.visible.shape)} is shown in a pass with masks of {tuple(own.shape)}"
                )
            shown = own if own.dtype == torch.bool else own == 0
            if self.tally is not None and not self.asked:
                self._count(shown, keys.get("attention_mask"))
            self.asked = True
            # the diagonal is added again: otherwise some padding (far from a text, or left of GPT-2's) would see no key
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
        """Add to the tally what is hidden of the pairs that the model shows."""
        assert self.tally is not None
        count_hidden(self.tally, self.visible, shown, real)
