"""Trainings and jobs in processes of their own, with faults: forked from a server that has imported everything."""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["maskbench.runner.train", "maskbench.runner.probe", "tests.helpers.faults"])


def train(arguments: list[str], log: Path, **fault: Any) -> int:
    """Train (one_cell.py) in a process of its own; returns its exit status, negative: of the last signal."""
    return _carried_out("tests/helpers/one_cell.py", arguments, log, fault)


def job(arguments: list[str], log: Path, **fault: Any) -> int:
    """Run scripts/train.py in a process of its own; returns its exit status, negative: of the signal that ended it."""
    return _carried_out("scripts/train.py", arguments, log, fault)


def _carried_out(script: str, arguments: list[str], log: Path, fault: dict[str, Any]) -> int:
    process = _SERVER.Process(target=_process, args=(script, arguments, str(log), fault))
    process.start()
    process.join(120)
    assert process.exitcode is not None, log.read_text()
    return process.exitcode


def _process(script: str, arguments: list[str], log: str, fault: dict[str, Any]) -> None:
    """Do so, in that process."""
    gc.freeze()  # what the server has imported
    with open(log, "ab") as stream:  # noqa: PTH123
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.environ["MASKBENCH_GPUS"] = ""
    for name, value in fault.items():
        globals()[f"_{name}"](value)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(ROOT / "scripts"))
    runpy.run_path(str(ROOT / script), run_name="__main__")


def _signal_in_step(number: int, step: int, run: str | None = None) -> None:
    """Send a signal to this process while it does an update, of a run if one is named."""
    from maskbench.training.trainer import Clock

    original = Clock.on_step_begin

    def on_step_begin(self: Clock, args: Any, state: Any, control: Any, **keys: Any) -> None:
        if state.global_step + 1 == step and run in (None, args.run_name):
            os.kill(os.getpid(), number)
        original(self, args, state, control, **keys)

    Clock.on_step_begin = on_step_begin  # type: ignore[method-assign]


def _killed_in_step(step: int) -> None:
    _signal_in_step(signal.SIGKILL, step)


def _killed_in_step_of(where: tuple[str, int]) -> None:
    run, step = where
    _signal_in_step(signal.SIGKILL, step, run)


def _terminated_in_step_of(where: tuple[str, int]) -> None:
    run, step = where
    _signal_in_step(signal.SIGTERM, step, run)


def _killed_before(run: str) -> None:
    """End this process when it begins with a run."""
    from maskbench.runner.job import Runner

    original = Runner._member

    def member(self: Runner, cells: Any, *keys: Any) -> None:
        if cells[0].run == run:
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, cells, *keys)

    Runner._member = member  # type: ignore[method-assign]


def _terminated_in_step(step: int) -> None:
    _signal_in_step(signal.SIGTERM, step)


def _signal_in_stack(number: int, update: int) -> None:
    """Send a signal to this process when its stack begins with an update, counted from 1; checkpoints are frequent."""
    from maskbench.training.stack.loop import Loop

    _frequent_checkpoints()
    original = Loop.update

    def one(self: Loop) -> None:
        if self.done + 1 == update:
            os.kill(os.getpid(), number)
        original(self)

    Loop.update = one  # type: ignore[method-assign]


def _frequent_checkpoints() -> None:
    """Let a stack write checkpoints after each evaluation."""
    from maskbench.training.stack import checkpoints

    checkpoints.EVERY_S = 0.0


def _killed_in_stack(update: int) -> None:
    _signal_in_stack(signal.SIGKILL, update)


def _terminated_in_stack(update: int) -> None:
    _signal_in_stack(signal.SIGTERM, update)


def _killed_before_recording(run: str) -> None:
    """End this process when a run of a stack would be scored."""
    from maskbench.training.run import Run

    _frequent_checkpoints()
    original = Run.ended

    def ended(self: Run, *keys: Any) -> Any:
        if self.cell.run == run:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *keys)

    Run.ended = ended  # type: ignore[method-assign]


def _killed_while_saving(step: int) -> None:
    """End this process when the checkpoint after an update has its weights, but not all else."""
    from transformers import Trainer

    original = Trainer._save_optimizer_and_scheduler

    def save(self: Trainer, folder: str) -> None:
        if self.state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, folder)

    Trainer._save_optimizer_and_scheduler = save  # type: ignore[method-assign]


def _killed_while_scoring(_: bool) -> None:
    """End this process when it scores the trained model."""
    from maskbench.training.run import Run

    Run.outcomes = lambda self, trainer: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]


def _memory_for(examples: int) -> None:
    """Let the allocator fail in the forward pass of a training batch of more examples."""
    import torch

    from maskbench.training.trainer import MaskedTrainer

    original = MaskedTrainer._masked_loss

    def loss(self: MaskedTrainer, model: Any, inputs: dict[str, Any], *more: Any) -> Any:
        if len(inputs["input_ids"]) > examples:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return original(self, model, inputs, *more)

    MaskedTrainer._masked_loss = loss  # type: ignore[method-assign]


def garble(path: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
