"""Forward passes over texts without gradients: large batches of similar length, and each text once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from maskbench.kinds import score
from maskbench.masks.batch import Batch
from maskbench.models.anatomy import at_tokens, states_of
from maskbench.slots.device import TOKENS, is_out_of_memory

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
    """Encoded examples as data/encode.py writes them."""
    Shown = Callable[[Any, Batch], AbstractContextManager[None]]
    Places = NDArray[np.int64]


@dataclass(frozen=True)
class Passed:
    """What is kept of one pass over N texts, in their order."""

    reduced: list[tuple[NDArray[Any], ...]]
    """For each text what `Head.reduce` gives, without padding; empty if no head was asked for."""
    finite: NDArray[np.bool_]
    """(N, 2) whether a text's logits are finite, and whether its last hidden states are; True if not asked for."""
    pooled: Tensor | None
    """(N, H) mean of the last hidden states over a text's own tokens: no padding, no special ones."""
    states: Tensor | None
    """(L + 1, P, H) hidden states of the embeddings and of each layer at the P places that were asked for."""

    def part(self, rows: slice, *, hidden: bool = False, states: bool = False) -> Passed:
        """Return what was kept of some of the texts; of their hidden states only if they are wanted."""
        return replace(
            self,
            reduced=self.reduced[rows],
            finite=self.finite[rows] if hidden else self.finite[rows] | [False, True],
            pooled=self.pooled[rows] if hidden and self.pooled is not None else None,
            states=self.states if states else None,
        )


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
        Texts in a pass; ``auto``: as many as have at most `TOKENS` of the device together, padding included.
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
        batch_size: int | str,
        mask_id: int,
        shown: Shown | None = None,
    ) -> None:
        self.model = model.to(device.kind).eval()
        self.collate, self.device, self.batch_size = collate, device, batch_size
        self.mask_id, self.shown = mask_id, shown

    def batches(self, rows: Rows) -> Iterator[tuple[Places, Batch]]:
        """Yield (B,) the places of a batch's rows, and the batch, from the longest texts to the shortest."""
        for chosen in self._chunks(rows):
            yield chosen, self._batch(rows, chosen)

    def _chunks(self, rows: Rows) -> Iterator[Places]:
        """Yield (B,) the places of each batch's rows."""
        lengths = np.array([len(row["input_ids"]) for row in rows], dtype=np.int64)
        order, start = np.argsort(-lengths, kind="stable"), 0
        while start < len(order):
            width = self.collate.width(int(lengths[order[start]]))
            size = max(1, TOKENS[self.device.kind] // width) if isinstance(self.batch_size, str) else self.batch_size
            yield order[start : start + size]
            start += size

    def _batch(self, rows: Rows, chosen: Places) -> Batch:
        """Return the batch of some rows, on the device."""
        columns: dict[str, Any] = {
            name: value.to(self.device.kind) for name, value in self.collate([rows[i] for i in chosen]).items()
        }
        return Batch(
            padding=columns.pop("attention_mask").bool(),
            token_types=columns.pop("token_type_ids", None),
            epoch=0,
            mask_id=self.mask_id,
            **columns,
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
        self, rows: Rows, places: Places | None = None, *, hidden: bool = False, head: Head | None = None
    ) -> Passed:
        """Pass over texts once and return everything that is read of them.

        A text that is there several times is passed over once. A batch that does not fit into memory is halved.

        Parameters
        ----------
        rows
            Encoded texts, at least one.
        places
            (P, 2) row and token of the hidden states to keep.
        hidden
            Read hidden states, too (places need it).
        head
            What is kept of what the model's head says; None: nothing.
        """
        kept, of = _distinct(rows, apart=self.shown is not None)
        reading = _Reading(len(kept), None if places is None else np.stack([of[places[:, 0]], places[:, 1]], 1))
        distinct = [rows[row] for row in kept]
        waiting = deque(self._chunks(distinct))
        while waiting:
            chosen = waiting.popleft()
            if not self._read(distinct, chosen, reading, hidden, head):
                waiting.extendleft(reversed(np.array_split(chosen, 2)))
        return reading.passed(of)

    def _read(self, rows: Rows, chosen: Places, reading: _Reading, hidden: bool, head: Head | None) -> bool:
        """Pass over one batch, and tell whether there was memory for it."""
        try:
            batch = self._batch(rows, chosen)
            outputs = self(batch, hidden=hidden)
            reading.take(chosen, batch, outputs, hidden, head)
        except Exception as error:
            if len(chosen) == 1 or not is_out_of_memory(error):
                raise
            return False
        return True


def _distinct(rows: Rows, *, apart: bool) -> tuple[list[int], Places]:
    """Return the places of the texts that differ in what is read of them, and (N,) which of these each text is.

    Parameters
    ----------
    apart
        Examples differ though their texts are alike: what the model sees of them is drawn for each.
    """
    seen: dict[tuple[Any, ...], int] = {}
    kept: list[int] = []
    of = np.empty(len(rows), dtype=np.int64)
    for place, row in enumerate(rows):
        labels = row["labels"]
        key = (
            *(tuple(row[name]) for name in ("input_ids", "words", "token_type_ids") if name in row),
            tuple(labels) if isinstance(labels, (list, np.ndarray)) else labels,
            row["example"] if apart else None,
        )
        if key not in seen:
            seen[key] = len(kept)
            kept.append(place)
        of[place] = seen[key]
    return kept, of


class _Reading:
    """What is read of batches, kept on their device until all are done.

    Parameters
    ----------
    size
        Number of texts.
    places
        (P, 2) row and token of the hidden states to keep; None: none.
    """

    def __init__(self, size: int, places: Places | None) -> None:
        self.size, self.places = size, places
        self._rows: list[Places] = []
        self._reduced: list[tuple[tuple[Tensor, ...], Tensor | None]] = []
        self._finite: list[Tensor] = []
        self._pooled: list[Tensor] = []
        self._states: list[tuple[Places, Tensor]] = []

    def take(self, chosen: Places, batch: Batch, outputs: Any, hidden: bool, head: Head | None) -> None:
        """Keep what is read of a batch."""
        finite = torch.ones(len(chosen), 2, dtype=torch.bool, device=batch.input_ids.device)
        reduced, pooled, states = None, None, None
        if head is not None:
            assert batch.labels is not None
            logits = outputs["logits"]
            real = batch.padding if batch.labels.dim() > 1 else None  # None: a text has one label
            finite[:, 0] = _finite(logits, real)
            reduced = head.reduced(logits, batch.labels), real
        if hidden:
            layers = at_tokens(states_of(outputs), batch.input_ids.shape[1])
            finite[:, 1] = _finite(layers[-1], batch.padding)
            own = batch.maskable.float()[..., None]
            pooled = (layers[-1].float() * own).sum(1) / own.sum(1).clamp(min=1)
            states = None if self.places is None else _at(layers, batch, chosen, self.places)
        # only now, when nothing can fail any more
        self._rows.append(chosen)
        self._finite.append(finite)
        self._reduced += [] if reduced is None else [reduced]
        self._pooled += [] if pooled is None else [pooled]
        self._states += [] if states is None else [states]

    def passed(self, of: Places) -> Passed:
        """Return what was kept of all texts; `of` says for each of them which distinct one it is."""
        at = np.empty(self.size, dtype=np.int64)
        at[np.concatenate(self._rows)] = np.arange(self.size)
        order = at[of]
        reduced = [one for parts, real in self._reduced for one in _each(parts, real)]
        return Passed(
            reduced=[reduced[place] for place in order] if reduced else [],
            finite=torch.cat(self._finite).cpu().numpy()[order],
            pooled=torch.cat(self._pooled).cpu()[torch.as_tensor(order)] if self._pooled else None,
            states=_in_order(self._states) if self._states else None,
        )


def _finite(values: Tensor, padding: Tensor | None) -> Tensor:
    """Return (B,) bool: whether all values of a text are finite, (B, C) or (B, T, C) with (B, T) real tokens."""
    finite = torch.isfinite(values).all(-1)
    return finite if padding is None else (finite | ~padding).all(1)


def _each(parts: tuple[Tensor, ...], real: Tensor | None) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield what was kept of each text of a batch; of its (B, T) real tokens alone, if they are given."""
    arrays = [part.cpu().numpy() for part in parts]
    tokens = None if real is None else real.cpu().numpy()
    for row in range(len(arrays[0])):
        yield tuple(array[row] if tokens is None else array[row][tokens[row]] for array in arrays)


def _at(layers: Sequence[Tensor], batch: Batch, chosen: Places, places: Places) -> tuple[Places, Tensor]:
    """Return which of the places are in a batch, and the (L + 1, ., H) hidden states there."""
    in_batch = np.full(max(chosen.max(), places[:, 0].max(initial=0)) + 1, -1)
    in_batch[chosen] = np.arange(len(chosen))
    here = np.flatnonzero(in_batch[places[:, 0]] >= 0)
    device = layers[0].device
    rows, tokens = (torch.as_tensor(index, device=device) for index in (in_batch[places[here, 0]], places[here, 1]))
    tokens = tokens + batch.padding.long().argmax(1)[rows]  # the first real token: not 0 where padding is on the left
    found = [layer[rows, tokens].float() for layer in layers]
    # some OPT models have narrower last states; they are filled up with zeros, which change no similarity
    width = max(state.shape[-1] for state in found)
    return here, torch.stack([torch.nn.functional.pad(state, (0, width - state.shape[-1])) for state in found])


def _in_order(states: list[tuple[Places, Tensor]]) -> Tensor:
    """Put hidden states of several batches into the order of the places."""
    order = np.argsort(np.concatenate([here for here, _ in states]), kind="stable")
    found = torch.cat([found for _, found in states], dim=1)
    return found[:, torch.as_tensor(order, device=found.device)]


def outcome(kind: TaskKind, labels: Sequence[str], rows: Rows, passed: Passed) -> Outcome:
    """Return what a model did with each text of a pass."""
    columns: Any = {name: [row[name] for row in rows] for name in rows[0]}
    reduced, gold = score.of(kind).padded(list(zip(*passed.reduced, strict=True)), columns["labels"])
    return score.outcome_of(kind, labels, columns, reduced, gold)
