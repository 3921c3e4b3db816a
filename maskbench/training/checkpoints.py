"""A run's working folder: checkpoints that a killed run goes on from, if they are whole and of this very run."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from maskbench.errors import InputError
from maskbench.io.files import read_json, sha256_files, verify, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

OWNER = "run.json"
"""Says what run a working folder is of, and how many micro-batches an update has."""

SEAL = "sha256.json"
"""Content hashes of a checkpoint's files, written last."""

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a process that was asked to end, as a shell has it."""


def seal(checkpoint: Path) -> None:
    """Mark a checkpoint as whole."""
    write_json(checkpoint / SEAL, sha256_files((path for path in checkpoint.rglob("*") if path.is_file()), checkpoint))


class Work:
    """The working folder of a run, across the processes that work on it one after the other.

    Parameters
    ----------
    folder
        The folder.
    owner
        Everything that the training depends on: parameters, code, data, versions. Must be JSON.
    micro_batches
        In an update, as configured.
    """

    def __init__(self, folder: Path, owner: dict[str, Any], micro_batches: int) -> None:
        self.folder, self.owner, self.micro_batches = folder, owner, micro_batches
        if not self._is_ours():
            self.restart(micro_batches)

    def _is_ours(self) -> bool:
        """Tell whether the folder is of this very run, and take over its number of micro-batches."""
        if not self.folder.exists():
            return False
        try:
            found = read_json(self.folder / OWNER)
            if found["owner"] != self.owner:
                raise InputError("of another configuration, code or data, or made on another kind of device")
            self.micro_batches = int(found["micro_batches"])
        except (InputError, KeyError, TypeError, ValueError) as error:
            log.warning("%s: not used: %s", self.folder, error)
            return False
        return True

    def restart(self, micro_batches: int) -> None:
        """Forget everything, and work with this many micro-batches in an update."""
        self.micro_batches = micro_batches
        self.remove()
        self.folder.mkdir(parents=True)
        write_json(self.folder / OWNER, {"owner": self.owner, "micro_batches": micro_batches})

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def last(self, along: tuple[Path, ...] = ()) -> Path | None:
        """Return the last checkpoint that can be gone on from; others after it are named and removed.

        Parameters
        ----------
        along
            Folders in which a file of every evaluation has to be, too: ``step-126.safetensors``.
        """
        found = {int(path.name.rpartition("-")[2]): path for path in self.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")}
        for step in sorted(found, reverse=True):
            try:
                _check(found[step], along)
            except InputError as error:
                log.warning("%s: not used: %s", found[step], error)
                shutil.rmtree(found[step])
            else:
                return found[step]
        return None


def _check(checkpoint: Path, along: tuple[Path, ...]) -> None:
    """Make sure that a run that goes on from a checkpoint ends as if it had never stopped.

    Raises
    ------
    InputError
        If it would not.
    """
    _check_files(checkpoint)
    state = read_json(checkpoint / "trainer_state.json")
    control = state["stateful_callbacks"]["TrainerControl"]["args"]
    if control["should_training_stop"] and state["global_step"] < state["max_steps"]:
        raise InputError("the training had been stopped early, and would go on")
    best = state["best_model_checkpoint"]
    if best is not None:
        if Path(best).absolute().parent != checkpoint.absolute().parent:
            raise InputError(f"its best checkpoint is elsewhere: {best}")
        _check_files(Path(best))
    evaluated = {row["step"] for row in state["log_history"] if "eval_score" in row}
    if missing := [
        step for step in evaluated for folder in along if not (folder / f"step-{step}.safetensors").exists()
    ]:
        raise InputError(f"the weights after update {min(missing)} are missing")


def _check_files(checkpoint: Path) -> None:
    """Make sure that a checkpoint is as it was written."""
    if not (checkpoint / SEAL).exists():
        raise InputError(f"{checkpoint.name} is not complete")
    seals = read_json(checkpoint / SEAL)
    if not isinstance(seals, dict) or "trainer_state.json" not in seals:
        raise InputError(f"{checkpoint / SEAL}: expected a hash of each file")
    verify(checkpoint, seals)


class Termination(TrainerCallback):
    """Lets a process that is asked to end by SIGTERM write a checkpoint after the update at hand, and end then."""

    def __init__(self) -> None:
        self.asked = self.training = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Heed SIGTERM in this block, where that is possible: in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _ask(self, *_: object) -> None:
        """Note the wish; outside of the training loop there is nothing to be saved."""
        self.asked = True
        if not self.training:
            _end("asked to end outside of the training loop")

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Note that updates come."""
        self.training = True

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Note that there are no more; the last checkpoint is written."""
        self.training = False
        if self.asked:
            _end("asked to end after the last update")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint."""
        control.should_save = control.should_save or self.asked

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End after it."""
        if self.asked:
            _end(f"asked to end: wrote a checkpoint after update {state.global_step} of {state.max_steps}")


def _end(why: str) -> None:
    """End the process."""
    print(f"{why}; the next call goes on from the last checkpoint", flush=True)
    raise SystemExit(TERMINATED)


def updates_done(checkpoint: Path) -> int:
    """Return how many updates a checkpoint has seen."""
    return int(read_json(checkpoint / "trainer_state.json")["global_step"])
