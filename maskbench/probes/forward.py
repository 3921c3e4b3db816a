"""Forward passes over fixed texts: what is read of them is reduced batch by batch, so that little is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from maskbench.kinds import score
from maskbench.masks.batch import Batch
from maskbench.models.anatomy import at_tokens, states_of
from maskbench.probes.errors import UnmeasuredError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from torch.nn import Module

    from maskbench.config.kinds import TaskKind
    from maskbench.kinds.head import Head
    from maskbench.kinds.score import Outcome
    from maskbench.slots.device import Device
    from maskbench.training.collate import Collator

    Rows = Sequence[dict[str, Any]]
    """Encoded examples (data/encode.py)."""
    Shown = Callable[[Any, Batch], AbstractContextManager[None]]


@dataclass(frozen=True)
class Passed:
    """What is kept of one pass over N texts, in their order."""

    reduced: list[tuple[NDArray[Any], ...]]
    """For each text what `Head.reduce` gives, without padding; empty if no head was asked for."""
    pooled: Tensor | None
    """(N, H) mean of the last hidden states over a text's own tokens: no padding, no special ones."""
    states: Tensor | None
    """(L + 1, P, H) hidden states of the embeddings and of each layer at the P places that were asked for."""


class Forward:
    """A model that is evaluated: in eval mode, without gradients, in the precision of its training.

    Parameters
    ----------
    model
        With or without a task's head.
    collate
        Pads texts as training does.
    device
        What to compute on.
    batch_size
        Texts in a pass.
    mask_id
        Token id that stands for [MASK].
    shown
        What an attention mask that belongs to the model shows of a batch (`Masking.showing`); None: all.
    """

    def __init__(
        self,
        model: Module,
        collate: Collator,
        device: Device,
        batch_size: int,
        mask_id: int,
        shown: Shown | None = None,
    ) -> None:
        self.model = model.to(device.kind).eval()
        self.collate, self.device, self.batch_size = collate, device, batch_size
        self.mask_id, self.shown = mask_id, shown

    def batches(self, rows: Rows) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Yield (B,) the places of a batch's rows, and the batch, from the longest texts to the shortest."""
        order = np.argsort([-len(row["input_ids"]) for row in rows], kind="stable")
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            columns: dict[str, Any] = {
                name: value.to(self.device.kind) for name, value in self.collate([rows[i] for i in chosen]).items()
            }
            yield (
                chosen,
                Batch(
                    padding=columns.pop("attention_mask").bool(),
                    token_types=columns.pop("token_type_ids", None),
                    epoch=0,
                    mask_id=self.mask_id,
                    **columns,
                ),
            )

    @torch.no_grad()
    def __call__(self, batch: Batch, *, model: Module | None = None, hidden: bool = False) -> Any:
        """Return the outputs for one batch, of another module (the bare encoder) if one is given."""
        called = self.model if model is None else model
        with torch.autocast(self.device.kind, dtype=torch.bfloat16, enabled=self.device.precision == "bf16"):
            if self.shown is None:
                return called(**batch.inputs(), output_hidden_states=hidden)
            with self.shown(called, batch):
                return called(**batch.inputs(), output_hidden_states=hidden)

    def read(
        self, rows: Rows, places: NDArray[np.int64] | None = None, *, hidden: bool = False, head: Head | None = None
    ) -> Passed:
        """Pass over texts once and return everything that is read of them.

        Parameters
        ----------
        rows
            Encoded texts.
        places
            (P, 2) row and token of the hidden states to keep.
        hidden
            Read hidden states, too (places need it).
        head
            What is kept of what the model's head says; None: nothing.

        Raises
        ------
        UnmeasuredError
            If a number is not finite.
        """
        reduced: list[Any] = [None] * len(rows)
        pooled: list[Any] = [None] * len(rows)
        states: list[tuple[NDArray[np.int64], Tensor]] = []
        for chosen, batch in self.batches(rows):
            outputs = self(batch, hidden=hidden)
            if head is not None:
                _reduce(head, chosen, batch, outputs["logits"], reduced)
            if not hidden:
                continue
            layers = at_tokens(states_of(outputs), batch.input_ids.shape[1])
            _require_finite(layers[-1][batch.padding], "hidden states")
            own = batch.maskable.float()[..., None]
            means = (layers[-1].float() * own).sum(1) / own.sum(1).clamp(min=1)
            for row, mean in zip(chosen, means.cpu(), strict=True):
                pooled[row] = mean
            if places is not None:
                states.append(_at(layers, batch, chosen, places))
        return Passed(
            reduced=[parts for parts in reduced if parts is not None],
            pooled=torch.stack(pooled) if hidden else None,
            states=_in_order(states) if states else None,
        )


def _reduce(head: Head, chosen: NDArray[np.int64], batch: Batch, logits: Tensor, reduced: list[Any]) -> None:
    """Keep what scores are made of, text by text and without the padding."""
    assert batch.labels is not None
    whole = batch.labels.dim() == 1
    _require_finite(logits if whole else logits[batch.padding], "logits")
    parts = [part.cpu().numpy() for part in head.reduced(logits, batch.labels)]
    real = batch.padding.cpu().numpy()
    for row, place in enumerate(chosen):
        reduced[place] = tuple(part[row] if whole else part[row][real[row]] for part in parts)


def _require_finite(values: Tensor, what: str) -> None:
    if not torch.isfinite(values).all():
        raise UnmeasuredError(f"the model's {what} are not finite")


def _at(
    layers: Sequence[Tensor], batch: Batch, chosen: NDArray[np.int64], places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Tensor]:
    """Return which of the places are in a batch, and the (L + 1, ., H) hidden states there."""
    in_batch = {row: index for index, row in enumerate(chosen)}
    here = np.array([index for index, (row, _) in enumerate(places) if row in in_batch], dtype=np.int64)
    rows = torch.tensor([in_batch[places[index, 0]] for index in here], dtype=torch.int64)
    # the first real token of each row: not 0 where padding is on the left
    start = batch.padding.long().argmax(1).cpu()
    tokens = torch.as_tensor(places[here, 1]) + start[rows]
    device = layers[0].device
    found = [layer[rows.to(device), tokens.to(device)].float().cpu() for layer in layers]
    # some OPT models have narrower last states; they are filled up with zeros, which change no similarity
    width = max(state.shape[-1] for state in found)
    return here, torch.stack([torch.nn.functional.pad(state, (0, width - state.shape[-1])) for state in found])


def _in_order(states: list[tuple[NDArray[np.int64], Tensor]]) -> Tensor:
    """Put hidden states of several batches into the order of the places."""
    order = np.argsort(np.concatenate([here for here, _ in states]), kind="stable")
    return torch.cat([found for _, found in states], dim=1)[:, torch.as_tensor(order)]


def outcome(kind: TaskKind, labels: Sequence[str], rows: Rows, passed: Passed) -> Outcome:
    """Return what a model did with each text, as the evaluation of a run does it."""
    columns: Any = {name: [row[name] for row in rows] for name in rows[0]}
    reduced, gold = score.of(kind).padded(list(zip(*passed.reduced, strict=True)), columns["labels"])
    return score.outcome_of(kind, labels, columns, reduced, gold)
