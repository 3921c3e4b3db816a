"""Attempts to train: from the last checkpoint, and with smaller micro-batches if there is not enough memory."""

from __future__ import annotations

import gc
import logging
import shutil
from typing import TYPE_CHECKING, TypeVar

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from maskbench.slots.device import is_out_of_memory
from maskbench.training.along import ALONG
from maskbench.training.checkpoints import Termination, Work, updates_done
from maskbench.training.trainer import MaskedTrainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maskbench.training.state import State

log = logging.getLogger(__name__)

TrainerT = TypeVar("TrainerT", bound=MaskedTrainer)


def trained(
    runs: Sequence[State], prepare: Callable[[PreTrainedTokenizerBase], TrainerT], work: Work
) -> tuple[TrainerT, PreTrainedTokenizerBase]:
    """Train, from the last checkpoint if there is one, and with smaller micro-batches if there is not enough memory.

    With smaller micro-batches the training starts again from its first update, so the result is that of a cell that was
    configured with them.

    Parameters
    ----------
    runs
        The runs that are trained together.
    prepare
        Returns a Trainer that is ready to train.
    work
        Folder for the checkpoints.

    Returns
    -------
    tuple
        The Trainer after the training, and the tokenizer.
    """
    size = runs[0].cell.training.batch_size
    notes = [list(run.notes) for run in runs]
    while True:
        for run, kept in zip(runs, notes, strict=True):
            run.micro_batches = work.micro_batches
            run.notes[:] = [*kept, *_note_micro_batches(run)]
        try:
            return _trained_once(runs, prepare, work)
        except Exception as error:
            smaller = [count for count in range(2 * work.micro_batches, size + 1) if size % count == 0]
            if not smaller or not is_out_of_memory(error):
                raise
            what = f"out of memory with {_micro_batches(size, work.micro_batches)}"
        # only here, outside the handler: until then the error keeps the tensors on the card alive
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("%s; starting anew with %s", what, _micro_batches(size, smaller[0]))
        work.restart(smaller[0])


def _trained_once(
    runs: Sequence[State], prepare: Callable[[PreTrainedTokenizerBase], TrainerT], work: Work
) -> tuple[TrainerT, PreTrainedTokenizerBase]:
    """Train with the working folder's number of micro-batches; returns the Trainer and the tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(runs[0].inputs.model, local_files_only=True)
    trainer = prepare(tokenizer)
    checkpoint = work.last(tuple(run.left / ALONG for run in runs if run.inputs.along))
    if checkpoint is None:
        for run in runs:
            shutil.rmtree(run.left, ignore_errors=True)
    else:
        done = updates_done(checkpoint)
        print(f"continues from {checkpoint.name}", flush=True)
        for run in runs:
            run.notes.append(f"went on after update {done}: wall time and peak memory are of the last part alone")
    termination = Termination()
    trainer.add_callback(termination)
    with termination.heeded():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return trainer, tokenizer


def _note_micro_batches(run: State) -> list[str]:
    """Return a note for the record if an update has more micro-batches than configured; otherwise nothing."""
    size, wanted = run.cell.training.batch_size, run.cell.training.gradient_accumulation
    if run.micro_batches == wanted:
        return []
    instead = _micro_batches(size, run.micro_batches)
    return [f"out of memory with {_micro_batches(size, wanted)}: trained with {instead}"]


def _micro_batches(size: int, count: int) -> str:
    """Return a phrase that says into how many micro-batches a batch is split."""
    examples = f"{size // count} example{'s' if size > count else ''}"
    return f"{count} micro-batches of {examples}" if count > 1 else f"batches of {examples}"
