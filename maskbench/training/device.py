"""What a run computes on, and the settings that follow from it."""

from __future__ import annotations

import os
import platform
import resource
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import torch

from maskbench.training.record import Environment

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


@dataclass(frozen=True)
class Device:
    """The device of a run and how it computes there."""

    kind: Literal["cuda", "mps", "cpu"]
    precision: Literal["fp32", "bf16"]
    attention: Literal["eager", "sdpa"]
    threads: int

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

    def peak_memory(self) -> float:
        """Return the peak memory so far in MiB: the card's on CUDA, the process's elsewhere."""
        if self.kind == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


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


def choose(training: Training) -> Device:
    """Return the device by availability (CUDA, MPS, CPU), and set threads and determinism accordingly."""
    kind: Literal["cuda", "mps", "cpu"] = (
        "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    )
    precision: Literal["fp32", "bf16"] = (
        ("bf16" if _computes_bf16(kind) else "fp32") if training.precision == "auto" else training.precision
    )
    attention: Literal["eager", "sdpa"] = (
        ("eager" if kind == "cpu" else "sdpa") if training.attention == "auto" else training.attention
    )
    torch.set_num_threads(training.threads)
    if kind == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    return Device(kind, precision, attention, training.threads)
