"""A process that holds one of the trainings of one_cell.py, and trains whenever it is asked to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any

KINDS = {
    "ours": {},
    "ours-plain": {},
    "stock": {"padding": "dynamic", "bf16": False},
    "stock-128": {"padding": "128", "bf16": False},
    "stock-bf16": {"padding": "dynamic", "bf16": True},
}
"""What is trained: `ours`, also without the passes of training/quick.py (`ours-plain`); or a stock Trainer in fp32 with
dynamic padding, with padding to 128 (as the run_glue example of transformers does), and in bf16."""
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""Cuts a processor down to AVX2; ours then trains in fp32, since torch still takes it for one with bf16."""
TASK, MODEL = "rt-snippets", "minilm-l6"
"""The presets that benchmarks train on."""
MARK = "RESULT "


class Worker:
    """A process that trains on request.

    Parameters
    ----------
    kind
        One of `KINDS`.
    encoded, model
        Folders of the encoded task and of the pretrained model.
    threads
        CPU threads.
    isa
        ``native``, or ``avx2`` to cut the processor down.
    settings
        Hyperparameters of `ours` that differ from the defaults.
    """

    def __init__(
        self,
        kind: str,
        encoded: Path,
        model: Path,
        *,
        threads: int,
        isa: str = "native",
        device: str = "auto",
        settings: dict[str, Any] | None = None,
    ) -> None:
        given = {
            "kind": kind,
            "encoded": str(encoded),
            "model": str(model),
            "threads": threads,
            "isa": isa,
            "device": device,
            "settings": ({"precision": "fp32"} if isa == "avx2" else {}) | (settings or {}),
        }
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        environment |= AVX2 if isa == "avx2" else {}
        if device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("one_cell.py")), json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )

    def ask(self, limit: float | None = None, **request: Any) -> dict[str, Any]:
        """Let the process do one thing; returns what it found.

        Parameters
        ----------
        limit
            Seconds after which the process is ended.
        request
            The action (`do`) and its arguments.

        Raises
        ------
        RuntimeError
            If what is asked for fails, or the process ends before it has answered; the message has the end of its
            traceback, or of its log.
        """
        watchdog = Timer(limit, self._process.kill) if limit is not None else None
        if watchdog is not None:
            watchdog.start()
        try:
            return self._answer(request)
        finally:
            if watchdog is not None:
                watchdog.cancel()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        for line in self._process.stdout:
            if line.startswith(MARK):
                answer: dict[str, Any] = json.loads(line[len(MARK) :])
                if "failed" in answer:
                    raise RuntimeError(answer["failed"])
                return answer
        self._log.seek(0)
        raise RuntimeError("".join(self._log.readlines()[-15:]) or "the process ended without a word")

    def close(self) -> None:
        """Close the pipe and wait until the process has ended."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._log.close()
