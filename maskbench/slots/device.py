"""What a run computes on, and the settings that follow from it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from maskbench.errors import InputError
from maskbench.io import environment
from maskbench.models.loading import takes_sdpa
from maskbench.records.run import Environment
from maskbench.slots import determinism
from maskbench.slots.memory import Memory

if TYPE_CHECKING:
    from maskbench.config.training import Training

PACKAGES = (
    "torch",
    "transformers",
    "datasets",
    "evaluate",
    "accelerate",
    "peft",
    "tokenizers",
    "numpy",
    "scikit-learn",
    "seqeval",
    "torchjd",
)
"""Packages whose versions can change a result."""


FEW_LENGTHS = 16
"""What lengths of batches are multiples of, where few lengths are faster."""

TOKENS = {"cpu": 2048, "mps": 8192, "cuda": 8192}
"""Tokens of a forward pass without gradients, padding included, by kind of device: enough to keep it busy, and so few
that they need less memory than an update does."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on a card or in main memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


@dataclass(frozen=True)
class Device:
    """The device of a run and how it computes there."""

    kind: Literal["cuda", "mps", "cpu"]
    precision: Literal["fp32", "bf16"]
    attention: Literal["eager", "sdpa"]
    threads: int
    notes: tuple[str, ...] = ()
    """What a reader of a record has to know about it."""
    multiple: int = 1
    """Lengths of batches are multiples of this: on cards, and where passes are compiled, few lengths are faster."""

    @cached_property
    def memory(self) -> Memory:
        """What counts the memory of the cell that is trained."""
        return Memory(self.kind)

    @property
    def name(self) -> str:
        """The card's or the processor's name."""
        if self.kind == "cuda":
            return torch.cuda.get_device_name(0)
        return _processor()

    def environment(self, gpu_uuid: str | None) -> Environment:
        """Return what the record says about where the run ran."""
        if self.kind == "cuda" and not (gpu_uuid or "").startswith(("GPU-", "MIG-")):
            gpu_uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        return Environment(
            python=platform.python_version(),
            platform=platform.platform(),
            device=self.kind,
            device_name=self.name,
            gpu_uuid=gpu_uuid,
            precision=self.precision,
            attention=self.attention,
            threads=self.threads,
            packages={name: version(name) for name in PACKAGES},
        )


def _processor() -> str:
    """Return the processor's model name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _computes_bf16(kind: str) -> bool:
    """Tell whether the hardware multiplies matrices in bf16 (slower than fp32 where it only emulates it)."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind == "cpu":
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return False


def require_one_process() -> None:
    """Make sure that this process trains alone, and as its configuration says.

    With n processes each of the Trainer's updates would have n batches, and with some variables of accelerate's
    another precision, another device or several batches.

    Raises
    ------
    InputError
        If a launcher (torchrun, accelerate, mpirun) started several, or several cards are visible, which the Trainer
        would use at once, or if accelerate's environment says how to train.
    """
    for name in environment.LAUNCHED:
        if (count := os.environ.get(name, "1")) not in ("", "1"):
            raise InputError(
                f"{name} is {count}: expected one process for a cell, started without torchrun, accelerate or mpirun; "
                "snakemake runs cells side by side"
            )
    for name in environment.ACCELERATED:
        if (value := os.environ.get(name, "no")).lower() not in ("", "no", "false", "0", "none"):
            if (name, value) == ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"):
                continue  # as its launcher says it by default
            raise InputError(
                f"{name} is {value}: expected it unset, since the Trainer would follow it and not the configuration "
                "(precision, batch, compilation, device); start without accelerate launch"
            )
    if torch.cuda.is_available() and (cards := torch.cuda.device_count()) > 1:
        raise InputError(
            f"expected one visible card for a cell, found {cards}: set {environment.GPUS} to the cards to use, each "
            "cell gets one of them (docs/gpus.md)"
        )


def attention_of(
    wanted: Literal["auto", "eager", "sdpa"], kind: str, model: Path | None = None
) -> tuple[Literal["eager", "sdpa"], tuple[str, ...]]:
    """Return the attention implementation, and a note if it is another than `auto` has on such a device.

    Parameters
    ----------
    wanted
        As configured.
    kind
        Of the device.
    model
        Folder of the pretrained model; None: one that has every implementation.

    Raises
    ------
    InputError
        If sdpa is asked for by name, and the model has none.
    """
    if wanted == "eager" or (wanted == "auto" and kind == "cpu"):
        return "eager", ()
    if model is None or takes_sdpa(model):
        return "sdpa", ()
    if wanted == "sdpa":
        raise InputError(
            f"training.attention: the model in {model} has no sdpa in transformers; expected auto or eager "
            "(a model's own `training` may say so)"
        )
    return "eager", ("attention is eager, since the model has no sdpa in transformers",)


def choose(training: Training, model: Path | None = None) -> Device:
    """Return the device by availability (CUDA, MPS, CPU), and set threads and determinism accordingly.

    Parameters
    ----------
    training
        Hyperparameters.
    model
        Folder of the pretrained model, which may lack the attention implementation that `auto` takes on the device.

    Raises
    ------
    InputError
        If the job is one of several processes, or sees several cards, or the model has no sdpa although it is wanted.
    """
    require_one_process()
    kind: Literal["cuda", "mps", "cpu"] = (
        "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    )
    precision: Literal["fp32", "bf16"] = (
        ("bf16" if _computes_bf16(kind) else "fp32") if training.precision == "auto" else training.precision
    )
    attention, notes = attention_of(training.attention, kind, model)
    torch.set_num_threads(training.threads)
    if kind == "cuda":
        os.environ.setdefault(environment.CUBLAS, ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        determinism.tell_once()
        torch.set_float32_matmul_precision("high")  # TF32 for what autocast leaves in fp32
    multiple = FEW_LENGTHS if kind == "cuda" or training.compile == "on" else 1
    return Device(kind, precision, attention, training.threads, notes, multiple)
