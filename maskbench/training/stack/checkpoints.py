"""Checkpoints of a stack: each cell has its own, in its own working folder, and all are of one update."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerState
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from maskbench.io.files import read_json, write_json
from maskbench.training.along import ALONG
from maskbench.training.checkpoints import Termination, seal, updates_done
from maskbench.training.stack.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from maskbench.training.checkpoints import Work
    from maskbench.training.clock import DivergedError
    from maskbench.training.stack.loop import StackedCell

EVERY_S = 60.0
"""Seconds of training after which the next evaluation is followed by checkpoints. Those of a large stack are gigabytes,
and a stack that ends within that time has none: killed, it starts anew."""
_WEIGHTS, _BEST, _MOMENTS = "model.safetensors", "best.safetensors", "optimizer.pt"
_STATE, _MASKS, _NOTED = "trainer_state.json", "masks.pt", "noted.json"


class Kept(Loop):
    """A stack that leaves checkpoints, and continues from them.

    Parameters
    ----------
    members
        The cells.
    works
        The working folder of each.
    """

    def __init__(self, members: Sequence[StackedCell], works: Sequence[Work]) -> None:
        super().__init__(members)
        self._works = {item.run.cell.run: work for item, work in zip(members, works, strict=True)}
        self._written = time.monotonic()
        self.termination = Termination()
        if (found := self._last()) is None:
            self._empty()
        else:
            self._go_on(found)

    def train(self) -> Iterator[tuple[StackedCell, DivergedError | None]]:
        """Train on, as `Loop.train` does; on SIGTERM write checkpoints after the update at hand and end the process."""
        with self.termination.heeded():
            self.termination.on_train_begin()
            yield from super().train()

    def ended(self) -> None:
        """End the process if it was asked to."""
        self.termination.on_train_end()

    def after_update(self, evaluated: bool) -> None:
        """Write checkpoints if it is time for them, or if the process is asked to end; then it ends."""
        if not self.members:
            return
        late = evaluated and time.monotonic() - self._written >= EVERY_S
        if not (late or self.termination.asked):
            return
        self._clock.read()
        for place in range(len(self.members)):
            self._write(place)
        for item in self.members:  # only now: a process that is killed in between finds the ones before
            _remove_others(self._works[item.run.cell.run].folder, self.done)
        self._written = time.monotonic()
        first = self.members[0].trainer
        first.state.global_step = self.done
        self.termination.on_save(first.args, first.state, first.control)

    def _write(self, place: int) -> None:
        """Write the checkpoint of a cell."""
        item = self.members[place]
        folder = self._works[item.run.cell.run].folder / f"{PREFIX_CHECKPOINT_DIR}-{self.done}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        save_file(_slices(self.stacked.weights, place), folder / _WEIGHTS)
        if item.best:
            save_file(item.best, folder / _BEST)
        moments = {name: [moment[place].clone() for moment in pair] for name, pair in self.adam.moments.items()}
        torch.save({"steps": self.adam.steps, "moments": moments}, folder / _MOMENTS)
        item.masking.save(folder / _MASKS)
        write_json(folder / _NOTED, item.trainer.noted())
        state, handler = item.trainer.state, item.trainer.callback_handler
        state.global_step = self.done
        kept = cast("dict[str, Any]", state.stateful_callbacks)
        for part in (*handler.callbacks, item.trainer.control):
            if isinstance(part, ExportableState):
                kept[type(part).__name__] = part.state()
        state.save_to_json(str(folder / _STATE))
        seal(folder)

    def _last(self) -> dict[str, Path] | None:
        """Return the last checkpoint of each cell, if all have one of the same update; None otherwise."""
        found: dict[str, Path] = {}
        for item in self.members:
            along = (item.run.left / ALONG,) if item.run.inputs.along else ()
            checkpoint = self._works[item.run.cell.run].last(along)
            if checkpoint is None:
                return None
            found[item.run.cell.run] = checkpoint
        first = min(updates_done(checkpoint) for checkpoint in found.values())
        for run, checkpoint in found.items():
            if updates_done(checkpoint) > first:
                shutil.rmtree(checkpoint)
                found[run] = checkpoint.with_name(f"{PREFIX_CHECKPOINT_DIR}-{first}")
        return found if self._works and all((checkpoint / _STATE).exists() for checkpoint in found.values()) else None

    def _empty(self) -> None:
        """Remove what earlier attempts have left."""
        for item in self.members:
            work = self._works[item.run.cell.run]
            if any(work.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")):
                print(f"{work.folder}: not used: not all cells of the stack have a checkpoint of the same update")
            work.restart(work.micro_batches)

    def _go_on(self, checkpoints: Mapping[str, Path]) -> None:
        """Take over what the checkpoints hold."""
        self.done = updates_done(next(iter(checkpoints.values())))
        print(f"continues from {PREFIX_CHECKPOINT_DIR}-{self.done}", flush=True)
        for place, item in enumerate(self.members):
            folder = checkpoints[item.run.cell.run]
            self._load(place, item, folder)
            said = "wall time and peak memory are of the last part alone"
            item.run.notes.append(f"went on after update {self.done}: {said}")

    def _load(self, place: int, item: StackedCell, folder: Path) -> None:
        """Take over the checkpoint of a cell."""
        where = str(self.device)
        saved: dict[str, Any] = torch.load(folder / _MOMENTS, map_location=where, weights_only=True)
        with torch.no_grad():
            for name, value in load_file(folder / _WEIGHTS, device=where).items():
                self.stacked.weights[name][place] = value
        self.adam.steps = saved["steps"]
        for name, pair in saved["moments"].items():
            if name not in self.adam.moments:
                zeros = torch.zeros_like(self.stacked.weights[name], requires_grad=False)
                self.adam.moments[name] = zeros, zeros.clone()
            for moment, value in zip(self.adam.moments[name], pair, strict=True):
                moment[place] = value
        item.best = load_file(folder / _BEST, device=where) if (folder / _BEST).exists() else {}
        item.masking.load(folder / _MASKS)
        item.trainer.recall(read_json(folder / _NOTED))
        item.trainer.state = TrainerState.load_from_json(str(folder / _STATE))
        item.trainer._load_callback_state()


def _slices(weights: Mapping[str, Tensor], place: int) -> dict[str, Tensor]:
    """Return the weights of one cell, as tensors of their own."""
    return {name: weight.detach()[place].clone() for name, weight in weights.items()}


def _remove_others(folder: Path, done: int) -> None:
    """Remove the checkpoints of other updates."""
    for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if path.name != f"{PREFIX_CHECKPOINT_DIR}-{done}":
            shutil.rmtree(path)
