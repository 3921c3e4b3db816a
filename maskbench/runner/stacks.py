"""Which cells of a job are trained at once, and their training, up to the records."""

from __future__ import annotations

import shutil
import traceback
from functools import partial
from typing import TYPE_CHECKING

from maskbench.errors import InputError
from maskbench.experiment.finished import Keys
from maskbench.runner.bench import free
from maskbench.runner.logs import log_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from maskbench.experiment.cell import Cell
    from maskbench.experiment.jobs import Member
    from maskbench.records.run import Record
    from maskbench.runner.bench import Bench
    from maskbench.runner.shelf import Shelf
    from maskbench.slots.job import Allocation
    from maskbench.training.state import Inputs


class Stacks:
    """Trains cells of a job together (`training.stack`) before they are worked on one after another.

    Parameters
    ----------
    bench
        What works on the job.
    place, shelf
        The slot that it holds, and what its cells have in common.
    """

    def __init__(self, bench: Bench, place: Allocation, shelf: Shelf) -> None:
        self._bench, self._place, self._shelf = bench, place, shelf
        wanted = bench.jobs.experiment.training.stack
        self._wanted = 1 if wanted == "auto" and place.device.kind != "cuda" else wanted
        self._tried: set[str] = set()
        self._sizes: dict[tuple[str, ...], int] = {}
        self.failed: set[str] = set()
        """Runs that could not be trained for a reason that is no result, as `failed` of the bench says."""

    def train_with(self, member: Member) -> None:
        """Train the stack that a cell belongs to, if it is to be trained in one; afterwards its cells have records."""
        if self._wanted == 1 or len(member) > 1 or member[0].run in self._tried:
            return
        cells = self._group(member[0])
        if len(cells) > 1:
            self._train(cells)

    def _group(self, cell: Cell) -> dict[str, tuple[Cell, Inputs]]:
        """Return the cells of the stack that begins with a cell, by run; fewer than two: it is trained alone."""
        from maskbench.training.stack.which import alike, can_stack, dealt

        found: dict[str, tuple[Cell, Inputs]] = {}
        model, state = self._bench.layout.model_source(cell.model).parent, self._bench.state()
        for member in self._bench.job.members:
            one = member[0]
            named = self._place.device.kind == "cuda" and one.training.attention == "sdpa"  # see Bench.to_train
            if one.run in self._tried or named or not can_stack(one, model) or not state.todo(member).train:
                continue
            try:
                found[one.run] = one, self._bench.inputs(one, self._shelf)
            except InputError:
                self._tried.add(one.run)  # in its turn, alone, it says the same
        runs = list(found)
        groups = alike([found[run][0] for run in runs])
        mine = next(([runs[place] for place in group] for group in groups if cell.run == runs[group[0]]), [])
        if len(mine) < 2:
            self._tried |= {cell.run}
            return {}
        size = self._size([found[run] for run in mine])
        stack = [mine[place] for place in dealt(range(len(mine)), size)[0]]
        self._tried |= set(stack)
        return {run: found[run] for run in stack}

    def _size(self, cells: Sequence[tuple[Cell, Inputs]]) -> int:
        """Return how many cells go into a stack; a card is asked once for cells that are trained alike."""
        if self._wanted != "auto":
            return self._wanted
        from maskbench.training.stack.size import size_for

        name = tuple(sorted(cell.run for cell, _ in cells))
        known = next((size for runs, size in self._sizes.items() if set(name) <= set(runs)), None)
        if known is None:
            known = self._sizes[name] = size_for(cells, self._bench.to_train(self._place, cells[0][0]).device)
            print(f"stacks of up to {known} cells, by trial passes on the card", flush=True)
        return known

    def _train(self, cells: dict[str, tuple[Cell, Inputs]]) -> None:
        """Train a stack; what all cells share is in the log of its first one, and in each log before its own part."""
        layout, runs = self._bench.layout, list(cells)
        lead, ended, shared = layout.train_log(runs[0]), self._ended(cells), False
        while True:
            found = None
            try:
                with log_to(lead, append=shared):
                    shared = True
                    try:
                        found = next(ended, None)
                    except Exception:
                        traceback.print_exc()
            except OSError as error:  # the log itself cannot be written
                print(f"{lead}: {error}", flush=True)
            if found is None:
                free()
                return
            run, finish = runs[found[0]], found[1]
            log = layout.train_log(run)
            if log != lead:
                shutil.copyfile(lead, log)
            if not self._bench.logged(log, run, partial(self._finished, run, finish), append=True):
                self.failed.add(run)

    def _ended(self, cells: dict[str, tuple[Cell, Inputs]]) -> Iterator[tuple[int, Callable[[], Record]]]:
        """Yield each cell of a stack, by its number, when its training ends, with what scores and records it."""
        from maskbench.runner.train import train_stack

        bench = self._bench
        keys, state = Keys(bench.jobs, bench.layout), bench.state()
        print(*(f"run {run}" for run in cells), sep="\n")
        for cell, _ in cells.values():
            if (why := state.todo(bench.jobs.member_of[cell.run]).why) is None:
                bench.forget(cell)
            else:
                print(f"{cell.run}: finished before, and trained again: {why}", flush=True)
        place = bench.to_train(self._place, next(iter(cells.values()))[0])
        yield from train_stack(
            [cell for cell, _ in cells.values()],
            [inputs for _, inputs in cells.values()],
            [bench.layout.record(run).parent for run in cells],
            place.device,
            keys=[keys.training(cell) for cell, _ in cells.values()],
            codes=[bench.jobs.code_of(cell) for cell, _ in cells.values()],
            command=bench.command,
            gpu_uuid=place.slot.name,
        )

    def _finished(self, run: str, finish: Callable[[], Record]) -> None:
        """Score and record a cell."""
        print(f"run {run}")
        finish()
