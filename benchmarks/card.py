"""Everything about a card in one call of at most four minutes, without a network: one table, and a file.

    python benchmarks/card.py --out card.json

Text and model come from the archives in MASKBENCH_CACHE, or from a finished study (`--results`). A stock Trainer and
the project take turns. What there is no time for is said to be left out. `--device cpu --quick` runs the same code
without a card, on a few examples.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
from worker import MODEL, TASK, Worker


class Budget:
    """The seconds that a call may take; stages that do not fit are left out, and those that fail are noted.

    Parameters
    ----------
    seconds
        All of them.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.found: dict[str, Any] = {}

    @property
    def left(self) -> float:
        """Return how many seconds of the budget are left."""
        return self._end - time.monotonic()

    def stage(self, name: str, needs: float, work: Callable[[], Any]) -> Any:
        """Do something if `needs` seconds are left; what comes of it is kept under `name`."""
        if self.left < needs:
            self.found[name] = {"left_out": f"{self.left:.0f} s were left, it takes about {needs:.0f}"}
            return None
        began = time.monotonic()
        try:
            result = work()
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self.found[name] = {"failed": lines[-1], "log": lines[-15:]}
            return None
        self.found[name] = result
        print(f"{name}: {time.monotonic() - began:.0f} s, {self.left:.0f} s left", file=sys.stderr, flush=True)
        return result


def about() -> dict[str, Any]:
    """Return what the numbers were found on."""
    import torch
    import transformers

    card = torch.cuda.is_available()
    return {
        "card": torch.cuda.get_device_name(0) if card else None,
        "memory_gib": torch.cuda.get_device_properties(0).total_memory / 2**30 if card else None,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": transformers.__version__,
    }


def turns(workers: dict[str, Worker], examples: int, warm: int, rounds: int, limit: float) -> dict[str, Any]:
    """Let workers train in turns; returns examples per second of each, and the median ratios to `stock`."""
    speeds: dict[str, list[float]] = {name: [] for name in workers}
    notes: dict[str, list[str]] = {}
    end = time.monotonic() + limit
    for _ in range(rounds):
        for name, worker in workers.items():
            answer = worker.ask(limit=max(1.0, end - time.monotonic()), do="train", examples=examples, warm=warm)
            speeds[name].append(answer["examples_per_second"])
            notes[name] = answer.get("notes", [])
    ratios = {
        name: statistics.median(a / b for a, b in zip(found, speeds["stock"], strict=True))
        for name, found in speeds.items()
    }
    return {"examples_per_second": speeds, "beside_stock": ratios, "notes": notes}


class Card:
    """The stages.

    Parameters
    ----------
    options
        Of the command line.
    folder
        To work in.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.budget, self.workers = Budget(60 * options.minutes), dict[str, Worker]()
        self.examples, self.warm, self.rounds = (96, 1, 1) if options.quick else (3200, 20, 2)
        results = options.results or folder / "results/cells"
        self.encoded = options.encoded or results / f"data/encoded/{TASK}.{MODEL}.clean"
        self.model = options.source or results / f"data/models/{MODEL}"

    def run(self) -> dict[str, Any]:
        """Go through all stages; returns what was found."""
        stage = self.budget.stage
        stage("about", 0, about)
        if not self.encoded.exists():
            stage("data", 5, self.data)
        stage("one cell", 30, self.one_cell)
        stage("peak", 10, lambda: self.ask("ours", do="peak", size=256 if self.options.quick else 8192))
        stage("scored", 10, lambda: self.ask("ours", do="score", examples=self.examples))
        stage("waits", 10, lambda: self.ask("ours", do="waits", examples=self.examples // 4))
        stage("busy", 10, lambda: self.ask("ours", do="busy", examples=self.examples // 4))
        stage("repeats", 15, self.repeats)
        self.close()
        if self.options.cells:
            stage("cells", 45, self.cells)
        return self.budget.found

    def data(self) -> dict[str, Any]:
        """Fetch, prepare and encode from the archives."""
        (self.folder / "experiment.json").write_text(json.dumps(cells.experiment(4, 1000, {})))
        took = cells.snakemake(
            self.folder, "--cores", "4", "--until", "encode", "shift", "fetch_model", limit=self.budget.left
        )
        return {"seconds": took}

    def worker(self, name: str, kind: str, settings: dict[str, Any] | None = None) -> Worker:
        """Start a process that trains."""
        self.workers[name] = Worker(
            kind,
            self.encoded,
            self.model,
            threads=self.options.threads,
            device=self.options.device,
            settings=settings,
        )
        return self.workers[name]

    def one_cell(self) -> dict[str, Any]:
        """Train one cell by each way, in turns."""
        ways = {"stock": ("stock", {}), "stock-bf16": ("stock-bf16", {}), "ours": ("ours", {"compile": "off"})}
        ways["ours-compiled"] = ("ours", {"compile": "on"})
        for name, (kind, settings) in ways.items():
            self.worker(name, kind, settings)
        for name in list(self.workers):
            try:
                self.workers[name].ask(limit=self.budget.left / 2, do="train", examples=self.examples, warm=self.warm)
            except RuntimeError as error:
                self.budget.found[f"{name} alone"] = {"failed": str(error).strip().splitlines()[-1]}
                self.workers.pop(name).close()
        found = turns(self.workers, self.examples, self.warm, self.rounds, self.budget.left)
        about = self.ask("ours", do="tokens", examples=self.examples)
        return found | {"weights": about["weights"], "tokens_per_example": about["tokens"] / self.examples}

    def ask(self, name: str, **request: Any) -> dict[str, Any]:
        """Let a process that one_cell started do something."""
        return self.workers[name].ask(limit=max(1.0, self.budget.left), **request)

    def repeats(self) -> dict[str, Any]:
        """Train the same cell twice: whether all weights are the same, and how far compiled ones are from them."""
        few = self.examples // 4
        one, again = (self.ask("ours", do="weights", examples=few) for _ in range(2))
        found = {"same_bits": one["hash"] == again["hash"], "notes": one["notes"]}
        if "ours-compiled" in self.workers:
            compiled = self.ask("ours-compiled", do="weights", examples=few)
            found["norm_compiled"] = abs(compiled["norm"] / one["norm"] - 1)
        return found

    def close(self) -> None:
        """End the processes, so that the card is free."""
        for worker in self.workers.values():
            worker.close()

    def cells(self) -> dict[str, Any]:
        """Run a study through Snakemake, with its probes."""
        options, place = self.options, self.folder / "study"
        place.mkdir()
        gpu = 0 if options.device == "cpu" else options.jobs
        # all strategies of a seed in one job, which stacks them
        more = {"resources": {"slots_per_gpu": options.jobs, "cells_per_job": "all"}} if gpu else {}
        config = cells.experiment(options.cells, 60 if options.quick else 1000, more, strategies=16)
        return cells.study(place, config, os.cpu_count() or 1, gpu, limit=self.budget.left)


Rows = list[tuple[str, str]]


def _about(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    return [("on", f"{result['card'] or 'no card'}, torch {result['torch']}, Python {result['python']}")]


def _one_cell(result: dict[str, Any], found: dict[str, Any]) -> Rows:
    middle = {way: statistics.median(speeds) for way, speeds in result["examples_per_second"].items()}
    ratios = result["beside_stock"]
    rows = [(f"one cell, {way}", f"{speed:.0f} examples/s, {ratios[way]:.2f} x stock") for way, speed in middle.items()]
    peak = found.get("peak", {}).get("bf16")
    for way in ("ours", "ours-compiled"):
        if peak and way in middle:
            done = 6 * result["weights"] * result["tokens_per_example"] * middle[way]
            rows.append(
                (f"useful work, {way}", f"{done / 1e12:.3g} TFLOP/s, {100 * done / peak:.2g} % of the bf16 peak")
            )
    return rows


def _scored(result: dict[str, Any], found: dict[str, Any]) -> Rows:
    line = f"{result['examples_per_second']:.0f} examples/s"
    peak = found.get("peak", {}).get("bf16")
    if peak:
        line += f", {100 * result['flops_per_second'] / peak:.2g} % of the bf16 peak"
    return [("scoring, ours", line)]


def _peak(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    return [("GEMM peak", ", ".join(f"{kind} {speed / 1e12:.3g} TFLOP/s" for kind, speed in result.items()))]


def _waits(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    return [("host waits for the card", f"{sum(result['waits'].values())} times in {result['updates']} updates")]


def _busy(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    card = "" if result["card_ms"] is None else f", the card computes {result['card_ms']:.2f} ms of it"
    return [("an update under the profiler", f"{result['update_ms']:.2f} ms{card}")]


def _repeats(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    rows = [("the same cell twice", "the same bits" if result["same_bits"] else "OTHER BITS")]
    if "norm_compiled" in result:
        rows.append(("weights, compiled", f"their norm differs by {result['norm_compiled']:.1e}"))
    return rows


def _cells(result: dict[str, Any], _: dict[str, Any]) -> Rows:
    line = f"{result['cells']} in {result['seconds']:.0f} s: {result['cells_per_minute']:.1f} a minute"
    return [("cells through Snakemake", line)]


TABLE: dict[str, Callable[[dict[str, Any], dict[str, Any]], Rows]] = {
    "about": _about,
    "one cell": _one_cell,
    "scored": _scored,
    "peak": _peak,
    "waits": _waits,
    "busy": _busy,
    "repeats": _repeats,
    "cells": _cells,
}
"""How each stage's result reads in the table."""


def table(found: dict[str, Any]) -> str:
    """Return what was found as a table of plain text."""
    rows: Rows = []
    for name, result in found.items():
        if "left_out" in result:
            rows.append((name, f"left out: {result['left_out']}"))
        elif "failed" in result:
            rows.append((name, f"FAILED: {result['failed']}"))
        elif name in TABLE:
            rows += TABLE[name](result, found)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {line}" for name, line in rows)


def main() -> None:
    """Measure, print the table, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="file for all that was found, as JSON")
    parser.add_argument("--minutes", type=float, default=3.8)
    parser.add_argument(
        "--device", choices=["auto", "cpu"], default="auto", help="cpu: run the same code without a card"
    )
    parser.add_argument("--quick", action="store_true", help="a few examples only: to try the code")
    parser.add_argument("--results", type=Path, help="a finished study on rt-snippets, to take text and model from")
    parser.add_argument("--encoded", type=Path, help="folder of an encoded task, instead")
    parser.add_argument("--source", type=Path, help="folder of the model that it is encoded for")
    parser.add_argument("--cells", type=int, default=48, help="cells of the study through Snakemake; 0: none")
    parser.add_argument("--jobs", type=int, default=4, help="its jobs at once on the card")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    import torch

    if options.device == "auto" and not torch.cuda.is_available():
        sys.exit("no card: torch sees no CUDA device here (--device cpu --quick runs the same code without one)")
    with tempfile.TemporaryDirectory() as place:
        found = Card(options, Path(place)).run()
    print(table(found))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    if any("failed" in result for result in found.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
