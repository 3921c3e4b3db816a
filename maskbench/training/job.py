"""The frame around training: runs are trained, recorded whatever happens, and their models kept if wanted."""

from __future__ import annotations

import shutil
import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import datasets
from transformers.utils import logging as transformers_logging

from maskbench.errors import InputError
from maskbench.io.files import canonical, disk_error, sha256_files, sha256_text, write_json, write_text
from maskbench.models.fetched import model_hash
from maskbench.records.run import Data, Record, Timings, number
from maskbench.slots import determinism
from maskbench.slots.device import is_out_of_memory
from maskbench.training.along import ALONG
from maskbench.training.checkpoints import Work
from maskbench.training.clock import DivergedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from maskbench.kinds.score import Outcome
    from maskbench.training.state import State
    from maskbench.training.trainer import MaskedTrainer

_SAME_DEVICE = {"device", "device_name", "precision", "attention", "threads", "packages"}
"""Fields of the environment in which a checkpoint and the run that resumes from it must agree."""


class StartError(RuntimeError):
    """The run that this one starts from has no model."""


@dataclass(frozen=True)
class Before:
    """What was done for a run before its own work began, such as its training in a stack.

    Attributes
    ----------
    started
        Since when.
    seconds
        The run's share of the time.
    """

    started: datetime
    seconds: float


def carried_out(
    runs: Sequence[State],
    fit: Callable[[Work], Sequence[Outcome]],
    *,
    code: str,
    command: str,
    gpu_uuid: str | None,
    more: Any = None,
    before: Before | None = None,
) -> list[tuple[Record, Outcome | None]]:
    """Call `fit`, which trains all runs at once, and return the record and the outcome of each.

    `maskbench.training.run.run_cell` says which failures are recorded and which are raised.

    Parameters
    ----------
    runs
        The runs that are trained together.
    fit
        Trains them in a working folder and returns the outcome of each.
    code, command, gpu_uuid
        What the records say about the code, the command and the card.
    more
        Whatever else the training depends on beside the cells; it must be JSON.
    before
        What was done for the runs before this call, if anything was.
    """
    quieten()
    determinism.begin()
    began, clock = before or Before(datetime.now(UTC), 0.0), time.perf_counter()
    outcomes: Sequence[Outcome | None] = [None] * len(runs)
    status, message = "completed", None
    _forget_attempts(runs)
    work = work_of(runs, code, more)
    try:
        outcomes = fit(work)
    except (InputError, OSError):
        raise
    except DivergedError as error:
        status, message = "diverged", str(error)
    except StartError as error:
        status, message = "crashed", str(error)
        _keep_traceback(runs)
    except Exception as error:
        if disk_error(error):
            raise  # an error of the disk: safetensors and torch have classes of their own for it
        traceback.print_exc()
        _keep_traceback(runs)
        status, message = ("oom" if is_out_of_memory(error) else "crashed"), f"{type(error).__name__}: {error}"
    work.remove()
    for run in runs:
        run.notes += determinism.notes()
    wall = time.perf_counter() - clock + began.seconds
    environment = runs[0].device.environment(gpu_uuid)
    shared = {"status": status, "error": message, "code": code, "environment": environment, "command": command}
    started = began.started.isoformat(timespec="seconds")
    return [(_record(run, started, wall, **shared), outcome) for run, outcome in zip(runs, outcomes, strict=True)]


def _forget_attempts(runs: Sequence[State]) -> None:
    """Remove what earlier attempts left, checkpoints aside: tracebacks and kept models."""
    for run in runs:
        run.inputs.traceback.unlink(missing_ok=True)
        if run.inputs.keep_model is not None:
            _empty(run.inputs.keep_model)


def quieten() -> None:
    """Keep progress bars of libraries out of the log."""
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()


def work_of(runs: Sequence[State], code: str, more: Any = None) -> Work:
    """Return the working folder of runs that are trained together; `carried_out` says what the parameters are."""
    return Work(runs[0].inputs.work, _owner(runs, code, more), runs[0].cell.training.gradient_accumulation)


def _keep_traceback(runs: Sequence[State]) -> None:
    """Write the traceback of the error that is being handled into the folder of each run."""
    for run in runs:
        write_text(run.inputs.traceback, traceback.format_exc())


def _owner(runs: Sequence[State], code: str, more: Any) -> dict[str, Any]:
    """Return everything that the training of runs depends on, as JSON."""
    made_by = runs[0].device.environment(None)
    first = runs[0].inputs
    start = first.start / "model" if first.start is not None else None
    return {
        "cells": [run.cell.model_dump(mode="json") for run in runs],
        "data": [run.manifest["hash"] for run in runs],
        "model": model_hash(first.model),
        "lexicons": first.words,
        "start": None if start is None else sha256_files(start.glob("*.safetensors"), start),
        "code": code,
        "along": first.along,
        "more": more,
        "device": made_by.model_dump(mode="json", include=_SAME_DEVICE),
    }


def _record(run: State, started: str, wall: float, **shared: Any) -> Record:
    """Return the record of a run; `shared` has the fields that are the same for all runs of a job."""
    cell, parameters = run.cell, run.cell.model_dump(mode="json")
    train_s = next((item.value for item in run.metrics if item.measure == "train_time"), None)
    return Record(
        run=cell.run,
        task=cell.task,
        model=cell.model,
        strategy=cell.strategy.name,
        regime=cell.regime_name,
        condition=cell.condition.name,
        train_size=str(cell.train_size),
        seed=cell.seed,
        metrics=[*run.metrics, number("run", "wall_time", wall)],
        history=run.history,
        conflict=run.conflict,
        notes=run.notes,
        stack=run.stack,
        parameters=parameters,
        parameters_hash=sha256_text(canonical(parameters)),
        data=Data(
            prepared=run.manifest["prepared"],
            encoded=run.manifest["hash"],
            model=model_hash(run.inputs.model),
            lexicons=run.inputs.words,
        ),
        timings=Timings(started=started, wall_s=wall, train_s=train_s),
        **shared,
    )


def keep(
    run: State,
    trainer: MaskedTrainer,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    state: dict[str, Tensor] | None = None,
) -> None:
    """Write the trained model to the folder that the cell names, if any; it appears there only when it is complete.

    Parameters
    ----------
    state
        The weights to write; None: all that the model has.
    """
    if run.inputs.keep_model is None:
        return
    model.save_pretrained(run.left, state_dict=state)
    tokenizer.save_pretrained(run.left)
    along = [row.step for row in run.history if (run.left / ALONG / f"step-{row.step}.safetensors").exists()]
    write_json(run.left / "maskbench.json", {"run": run.cell.run, "step": best_update(trainer), "along": along})
    run.left.replace(_empty(run.inputs.keep_model))


def best_update(trainer: MaskedTrainer) -> int:
    """Return after how many updates the chosen (best) checkpoint was written."""
    chosen = trainer.state.best_global_step if trainer.args.load_best_model_at_end else None
    return chosen or trainer.state.global_step


def _empty(folder: Path) -> Path:
    """Make an empty folder; what was there before is removed. Return the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
