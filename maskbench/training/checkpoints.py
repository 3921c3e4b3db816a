"""A run's working folder: a killed run resumes from its checkpoints if they are complete and belong to the same run."""

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
"""File that says which run a working folder belongs to, and how many micro-batches an update has."""

SEAL = "sha256.json"
"""File with the content hashes of a checkpoint's files; it is written last."""

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a process that SIGTERM has ended, as a shell reports it (128 + 15)."""


def seal(checkpoint: Path) -> None:
    """Mark a checkpoint as complete: write the hashes of its files beside them."""
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
        Number of micro-batches in an update, as configured.
    """

    def __init__(self, folder: Path, owner: dict[str, Any], micro_batches: int) -> None:
        self.folder, self.owner, self.micro_batches = folder, owner, micro_batches
        if not self._is_ours():
            self.restart(micro_batches)

    def _is_ours(self) -> bool:
        """Tell whether the folder belongs to this run; if so, use the number of micro-batches that it states."""
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
        """Empty the folder, and from now on split each update into this many micro-batches."""
        self.micro_batches = micro_batches
        self.remove()
        self.folder.mkdir(parents=True)
        write_json(self.folder / OWNER, {"owner": self.owner, "micro_batches": micro_batches})

    def remove(self) -> None:
        """Remove the folder with all checkpoints, once the run has a result."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def last(self, along: tuple[Path, ...] = ()) -> Path | None:
        """Return the last checkpoint that the run can resume from; None if there is none.

        Later checkpoints, from which it cannot resume, are named in a warning and removed.

        Parameters
        ----------
        along
            Folders that must also have a file for every evaluation so far: ``step-126.safetensors``.
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
    """Make sure that a run that resumes from a checkpoint ends exactly as if it had never stopped.

    Raises
    ------
    InputError
        If it would end otherwise; the message says why.
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
    """Make sure that a checkpoint is complete and that its files have the hashes they were written with."""
    if not (checkpoint / SEAL).exists():
        raise InputError(f"{checkpoint.name} is not complete")
    seals = read_json(checkpoint / SEAL)
    if not isinstance(seals, dict) or "trainer_state.json" not in seals:
        raise InputError(f"{checkpoint / SEAL}: expected a hash of each file")
    verify(checkpoint, seals)


class Termination(TrainerCallback):
    """On SIGTERM, finishes the current update, writes a checkpoint and then ends the process."""

    def __init__(self) -> None:
        self.asked = self.training = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Handle SIGTERM inside this block; only the main thread of a process can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _ask(self, *_: object) -> None:
        """Note that the process has to end; outside the training loop end at once, since there is nothing to save."""
        self.asked = True
        if not self.training:
            _end("asked to end outside of the training loop")

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Note that the training loop runs, so SIGTERM has to wait for a checkpoint."""
        self.training = True

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Note that the training loop is over; if SIGTERM has come, end now: the last checkpoint is written."""
        self.training = False
        if self.asked:
            _end("asked to end after the last update")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """After an update, ask the Trainer for a checkpoint if SIGTERM has come."""
        control.should_save = control.should_save or self.asked

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End the process after a checkpoint is written, if SIGTERM has come."""
        if self.asked:
            _end(f"asked to end: wrote a checkpoint after update {state.global_step} of {state.max_steps}")


def _end(why: str) -> None:
    """End the process with the status `TERMINATED`, after a line in the log that says why."""
    print(f"{why}; the next call continues from the last checkpoint", flush=True)
    raise SystemExit(TERMINATED)


def updates_done(checkpoint: Path) -> int:
    """Return how many updates the training had made when a checkpoint was written."""
    return int(read_json(checkpoint / "trainer_state.json")["global_step"])
