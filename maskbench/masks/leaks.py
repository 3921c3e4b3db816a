"""What attention leaves on keys that it should not see: measured on the model that a run trains, before it trains."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert import modeling_bert

from maskbench.masks.passes import still
from maskbench.masks.visibility import IMPLEMENTATIONS, looked_up, overridden, showing, slope
from maskbench.models.anatomy import states_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from transformers import PreTrainedModel

    from maskbench.masks.batch import Batch

_OTHERWISE = ("softcap", "s_aux", "position_bias")
"""Arguments that make attention weights something else than the softmax of scores and mask."""


class Leaks(NamedTuple):
    """What was left on keys that a pass should not see; None where it was not measured."""

    mass: float | None
    """The largest weight that a query has on all hidden keys together, over all texts, heads and layers."""
    gradient: float | None
    """The largest gradient at a hidden token, as a share of the largest one at a visible token."""
    multiplied: float | None
    """The mean weight that every second key keeps if its scores are multiplied with 0 instead."""


def leaks(model: PreTrainedModel, batch: Batch, visible: Tensor | None = None) -> Leaks:
    """Measure what a model sees of what it should not see: padding, and what a visibility hides.

    Parameters
    ----------
    model
        The model, whose weights and generators stay as they are.
    batch
        Texts, the first of which has no padding that the others lack.
    visible
        (B, 1, T, T) or (1, 1, T, T) bool, True where a query (row) may see a key (column); None: nothing is hidden but
        padding.
    """
    real = batch.padding
    shown = real[:, None, None, :]
    if visible is not None:
        shown = shown & (visible | torch.eye(real.shape[1], dtype=torch.bool, device=real.device))
    hidden = real[:, None, :, None] & ~shown
    view = nullcontext() if visible is None else showing(model, visible)
    with still(model), torch.enable_grad(), looked_up(model) as embedded, _recorded(model, hidden, real) as found, view:
        outputs = model(**batch.inputs(), output_hidden_states=True)
    states = states_of(outputs)[-1]
    mass = float(torch.stack(found.largest).max()) if hidden.any() and found.largest else None
    multiplied = float(torch.stack(found.left).mean()) if found.left else None
    gradient = None
    # models that fill texts up, or pool their tokens, have other shapes
    if embedded and states.shape[:2] == real.shape and embedded[0].shape[:2] in (real.shape, real.T.shape):
        gradient = _gradient(model, states, embedded[0], shown.expand(len(real), 1, -1, -1)[:, 0], real)
    return Leaks(mass, gradient, multiplied)


def _gradient(model: PreTrainedModel, states: Tensor, embedded: Tensor, shown: Tensor, real: Tensor) -> float | None:
    """Return the gradient at tokens that no chain of visible ones reaches, as `Leaks.gradient`; None without such."""
    worst: float | None = None
    width = real.shape[1]
    for row in range(len(real)):
        # from a query, through all layers: what it sees, what that sees, ...
        reach = torch.eye(width, dtype=torch.bool, device=real.device) | shown[row].expand(width, width)
        while not torch.equal(further := (reach.float() @ reach.float()) > 0, reach):
            reach = further
        lost = ~reach & real[row][:, None]
        place = int(lost.sum(1).argmax())
        if not lost[place].any():
            continue
        found = slope(states, embedded, model, [place], row)
        seen = float(found[reach[place]].max())
        share = float(found[lost[place]].max()) / seen if seen > 0 else 0.0
        worst = share if worst is None else max(worst, share)
    return worst


class _Recorder:
    """Stands in the place of a model's attention function: calls it, and notes where its weights are.

    Parameters
    ----------
    original
        What it stands for; None: the function that the model's own module has (eager attention).
    hidden
        (B, 1, T, T) bool: keys (columns) that a query (row) should not see.
    real
        (B, T) bool: real tokens.
    """

    def __init__(self, original: Any, hidden: Tensor, real: Tensor) -> None:
        self.original, self.hidden, self.text = original, hidden, real[0]
        self.largest: list[Tensor] = []
        """Of each layer, the largest weight that the hidden keys have together."""
        self.left: list[Tensor] = []
        """Of each layer, the mean weight on every second key of the first text if its scores are multiplied with 0."""

    def __call__(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None, **keys: Any
    ) -> Any:
        eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        attend = self.original or eager or modeling_bert.eager_attention_forward
        outputs = attend(module, query, key, value, attention_mask, **keys)
        width = self.hidden.shape[-1]
        if any(keys.get(name) is not None for name in _OTHERWISE) or (query.shape[-2], key.shape[-2]) != (width, width):
            return outputs
        with torch.no_grad():
            scaling = query.shape[-1] ** -0.5 if keys.get("scaling") is None else keys["scaling"]
            wide = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)  # heads may share their keys
            scores = (query @ wide.transpose(-1, -2)).float() * scaling
            weights = _softmax(scores, attention_mask) if outputs[1] is None else outputs[1].float()
            self.largest.append((weights * self.hidden).sum(-1).amax())
            self.left.append(self._multiplied(scores[0]))
        return outputs

    def _multiplied(self, scores: Tensor) -> Tensor:
        """Return the mean weight on keys of the other parity than their query's, after their scores became 0."""
        scores = scores[:, self.text][:, :, self.text]
        place = torch.arange(scores.shape[-1], device=scores.device)
        other = (place[:, None] - place) % 2 == 1
        return ((scores * ~other).softmax(-1) * other).sum(-1).mean()


def _softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Return the weights of scores under the mask that an attention function was given."""
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1).nan_to_num()


@contextmanager
def _recorded(model: PreTrainedModel, hidden: Tensor, real: Tensor) -> Iterator[_Recorder]:
    """In the block, note where the model's attention weights are, if it asks transformers' interface for attention."""
    name = model.config._attn_implementation
    recorder = _Recorder(ALL_ATTENTION_FUNCTIONS.get(name), hidden, real)
    if name not in IMPLEMENTATIONS:
        yield recorder
        return
    with overridden(ALL_ATTENTION_FUNCTIONS, name, recorder):
        yield recorder
