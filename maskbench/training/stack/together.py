"""Trains the cells of a job in stacks: from the first update to what becomes of each."""

from __future__ import annotations

import gc
import time
import traceback
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoTokenizer

from maskbench.slots.device import is_out_of_memory
from maskbench.training.job import Before, carried_out, quieten, work_of
from maskbench.training.run import Run
from maskbench.training.stack.checkpoints import Kept
from maskbench.training.stack.loop import stacked_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from maskbench.experiment.cell import Cell
    from maskbench.kinds.score import Outcome
    from maskbench.records.run import Record
    from maskbench.slots.device import Device
    from maskbench.training.checkpoints import Work
    from maskbench.training.forward import Rows
    from maskbench.training.stack.loop import StackedCell
    from maskbench.training.state import Inputs

    Ended = Callable[[], tuple[Record, Outcome | None]]
    """Scores a cell whose training has ended, and returns its record and its outcome on the test split."""

_STACKED = {"stacked": True}
"""What a checkpoint says that it is of: a run alone does not go on from that of a stack, whose format is another."""


@dataclass
class Wanted:
    """A cell that is to be trained in a stack.

    Attributes
    ----------
    cell
        The cell.
    inputs
        Where its inputs are, and where it works.
    code
        Content hash of its code.
    place
        Its number in the call.
    notes
        What its record has to say of earlier attempts.
    """

    cell: Cell
    inputs: Inputs
    code: str
    place: int
    notes: list[str] = field(default_factory=list)


class Together:
    """Trains cells in stacks.

    Parameters
    ----------
    device
        What to compute on.
    command, gpu_uuid
        What the records say about the command and the card.
    """

    def __init__(self, device: Device, *, command: str, gpu_uuid: str | None) -> None:
        self.device, self._about = device, {"command": command, "gpu_uuid": gpu_uuid}
        self._rows: dict[str, Rows] = {}

    def train(self, wanted: Sequence[Wanted]) -> Iterator[tuple[int, Ended]]:
        """Train cells that may share a stack; yield each, by its number, when its training ends, with what scores it.

        Out of memory, the stack is halved, and both halves are trained from their first update. A stack that fails
        otherwise is taken apart: its cells are trained one by one, so that the one that fails says so by itself.
        """
        if len(wanted) == 1:
            yield wanted[0].place, partial(self._alone, wanted[0])
            return
        quieten()
        left = {item.place: item for item in wanted}
        try:
            for place, ended in self._stack(wanted):
                del left[place]
                yield place, ended
            return
        except Exception as error:
            short = is_out_of_memory(error)
            traceback.print_exc()
            what = f"out of memory in a stack of {len(left)}" if short else f"a stack failed ({type(error).__name__})"
        # only here, outside the handler: until then the error keeps the tensors on the card alive
        self._rows = {}
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        rest = list(left.values())
        half = -(-len(rest) // 2) if short else 1
        print(f"{what}: its cells are trained {f'in stacks of {half}' if half > 1 else 'one by one'}", flush=True)
        for item in rest:
            item.notes.append(what)
        for start in range(0, len(rest), half):
            yield from self.train(rest[start : start + half])

    def _alone(self, item: Wanted) -> tuple[Record, Outcome | None]:
        """Train and score a cell by itself."""
        run = Run(item.cell, item.inputs, self.device)
        run.notes += [f"{note}: trained alone" for note in item.notes[-1:]]
        (found,) = carried_out([run], lambda work: [run.fit(work)], code=item.code, **self._about)  # type: ignore[arg-type]
        return found

    def _stack(self, wanted: Sequence[Wanted]) -> Iterator[tuple[int, Ended]]:
        """Train a stack; a cell that cannot even begin is yielded at once."""
        started, began = datetime.now(UTC), time.perf_counter()
        members: list[StackedCell] = []
        works: list[Work] = []
        places: dict[str, tuple[Wanted, PreTrainedTokenizerBase]] = {}
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            wanted[0].inputs.model, local_files_only=True
        )
        for item in wanted:
            own = deepcopy(tokenizer)
            try:
                one, work = self._member(item, own)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                # alone it fails in the same way, and is recorded or refused as any cell is
                yield item.place, partial(self._alone, item)
                continue
            members.append(one)
            works.append(work)
            places[item.cell.run] = item, own
        if not members:
            return
        for one in members:
            self._note(one, members)
        loop = Kept(members, works)
        waited, count = 0.0, len(members)
        for one, diverged in loop.train():
            item, own = places[one.run.cell.run]
            before = Before(started, (time.perf_counter() - began - waited) / count)
            paused = time.perf_counter()
            yield item.place, partial(self._ended, one, own, item.code, before, diverged)
            waited += time.perf_counter() - paused

    def _member(self, item: Wanted, tokenizer: PreTrainedTokenizerBase) -> tuple[StackedCell, Work]:
        """Return a cell that is ready for its first update, and its working folder."""
        run = _Sharing(item.cell, item.inputs, self.device, self._rows)
        run.notes += item.notes[-1:]
        run.require_start()
        work = work_of([run], item.code, _STACKED)
        return stacked_cell(run, run.prepare(tokenizer)), work

    def _note(self, one: StackedCell, members: Sequence[StackedCell]) -> None:
        """Say in the record of a cell with whom it was trained."""
        one.run.stack = [other.run.cell.run for other in members]
        one.run.notes.append(
            f"trained in a stack of {len(members)} cells: its training time is a share of the stack's, and time per "
            "update and peak memory are not its own (training.stack: 1 measures them)"
        )

    def _ended(
        self, one: StackedCell, tokenizer: PreTrainedTokenizerBase, code: str, before: Before, error: Exception | None
    ) -> tuple[Record, Outcome | None]:
        """Score a cell whose training has ended, keep its model, and return its record and outcome."""

        def fit(_: Work) -> Sequence[Outcome]:
            if error is not None:
                raise error
            return [one.run.ended(one.trainer, tokenizer)]

        about: dict[str, Any] = {"code": code, **self._about}
        (found,) = carried_out([one.run], fit, more=_STACKED, before=before, **about)
        return found


class _Sharing(Run):
    """A run that reads the examples of its splits once with all runs of its stack."""

    def __init__(self, cell: Cell, inputs: Inputs, device: Device, rows: dict[str, Rows]) -> None:
        super().__init__(cell, inputs, device)
        self._read = rows
