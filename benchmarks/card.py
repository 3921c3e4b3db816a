"""Everything about a card in one call of at most four minutes, without a network: one table, and a file.

    python benchmarks/card.py --out card.json
    python benchmarks/card.py --only "one cell" compiled peak --out compiled.json     # some parts alone

Text and model come from the archives in MASKBENCH_CACHE, or from a finished study (`--results`). A stock Trainer and
the project take turns. Each part may take so long (`LIMITS`) and is ended then; one that fails, or that there is no
time for, has a line in the table that says so, and the others go on. The file is written after each part. `--device
cpu --quick` runs the same code without a card, on a smaller model and a few examples.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cells
from card_table import TABLE, table
from worker import MODEL, TASK, Worker

LIMITS = {
    "about": 30,
    "data": 45,
    "one cell": 50,
    "stacks": 55,
    "cells": 75,
    "peak": 12,
    "scored": 12,
    "waits": 12,
    "busy": 15,
    "repeats": 15,
    "compiled": 90,
    "wide cells": 75,
}
"""Seconds that each part may take on a card, in the order in which they run. From the speeds that a card had they
should take about 8, 20, 30, 30, 45, 4, 4, 4, 6, 6, 50 and 40: 207 in all without the last."""
LEAST = 4
"""A part is left out if fewer seconds than this are left for all."""
SLOWER = 20
"""How many times as long each part may take without a card."""
ONE_LENGTH = (17, 32)
"""Tokens of the texts that compiled passes are compared on: all are padded to one length, and so take one graph."""


class Budget:
    """The seconds that a call may take; parts that do not fit are left out, and those that fail are noted.

    Parameters
    ----------
    seconds
        All of them.
    limits
        Seconds that each part may take.
    keep
        Is given all that was found so far, after each part.
    """

    def __init__(
        self, seconds: float, limits: dict[str, float], keep: Callable[[dict[str, Any]], None] = lambda _: None
    ) -> None:
        self.end, self._part_end = time.monotonic() + seconds, 0.0
        self._limits, self._keep = limits, keep
        self.found: dict[str, Any] = {}

    @property
    def left(self) -> float:
        """How many seconds are left for the part that is at work, or else for all of them; at least one."""
        return max(1.0, min(self.end, self._part_end or self.end) - time.monotonic())

    def part(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """Do something if there is time for it; what comes of it is kept under `name`."""
        if self.left < LEAST:
            self.found[name] = {"left_out": "no time was left"}
            return
        began = time.monotonic()
        self._part_end = began + self._limits[name]
        try:
            result = work()
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            result = {"failed": lines[-1], "log": lines[-15:]}
        self._part_end = 0.0
        took = time.monotonic() - began
        self.found[name] = result | {"took_s": took}
        self._keep(self.found)
        print(f"{name}: {took:.0f} s, {self.left:.0f} s left", file=sys.stderr, flush=True)


def turns(ways: dict[str, Callable[[], dict[str, Any]]], rounds: int) -> dict[str, Any]:
    """Let some ways of training take turns.

    Returns
    -------
    dict
        Examples per second of each in each round, the median ratios to the way `stock`, and what the last round told;
        a way that fails takes no part in what follows.
    """
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    told: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for name, train in ways.items():
            if name in failed:
                continue
            try:
                answer = train()
            except RuntimeError as error:
                failed[name] = str(error).strip().splitlines()[-1]
                continue
            speeds[name].append(answer["examples_per_second"])
            told[name] = {key: answer[key] for key in ("precision", "attention", "notes") if key in answer}
    ratios = {
        name: statistics.median(a / b for a, b in zip(found, speeds["stock"], strict=False))
        for name, found in speeds.items()
        if found and speeds["stock"]
    }
    if not any(speeds.values()):
        raise RuntimeError("; ".join(f"{name}: {line}" for name, line in failed.items()))
    kept = {name: found for name, found in speeds.items() if found}
    return {"examples_per_second": kept, "beside_stock": ratios, "told": told, "ways_failed": failed}


class Card:
    """The parts.

    Parameters
    ----------
    options
        Of the command line.
    folder
        To work in.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        slower = 1 if options.device == "auto" else SLOWER
        self.budget = Budget(60 * options.minutes, {name: slower * limit for name, limit in LIMITS.items()}, self.keep)
        self.workers = dict[str, Worker]()
        self.examples, self.warm, self.rounds = (96, 1, 1) if options.quick else (3200, 20, 2)
        results = options.results or folder / "results/cells"
        self.encoded = options.encoded or results / f"data/encoded/{TASK}.{options.model}.clean"
        self.source = options.source or results / f"data/models/{options.model}"

    def run(self) -> dict[str, Any]:
        """Go through all parts; returns what was found."""
        few = self.examples // 4
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "about": lambda: self.ask("ours", do="about"),
            "data": self.data,
            "one cell": self.one_cell,
            "stacks": self.stacks,
            "cells": lambda: self.cells(4),
            "peak": lambda: self.ask("ours", do="peak", size=256 if self.options.quick else 8192),
            "scored": lambda: self.ask("ours", do="score", examples=self.examples),
            "waits": lambda: self.ask("ours", do="waits", examples=few + 128),
            "busy": lambda: self.ask("ours", do="busy", examples=few),
            "repeats": self.repeats,
            "compiled": self.compiled,
            "wide cells": lambda: self.cells(16),
        }
        if self.encoded.exists():
            del parts["data"]
        if not self.options.cells:
            del parts["cells"], parts["wide cells"]
        if self.options.quick:
            parts.pop("wide cells", None)
        try:
            for name in ("ours", "stock", "stock-bf16"):  # they import while the data are made ready
                self.worker(name)
            for name, work in parts.items():
                if name in ("about", "data") or self.options.only is None or name in self.options.only:
                    self.budget.part(name, work)
        finally:
            for worker in self.workers.values():
                worker.close()
        return self.budget.found

    def keep(self, found: dict[str, Any]) -> None:
        """Write what was found so far."""
        if self.options.out:
            self.options.out.write_text(json.dumps(found, indent=1) + "\n")

    def worker(self, name: str) -> Worker:
        """Return the process of a way to train; one that ended is started anew."""
        if name not in self.workers or not self.workers[name].alive:
            kind, threads = name.removesuffix("-compiled").removesuffix("-stacked"), self.options.threads
            self.workers[name] = Worker(kind, self.encoded, self.source, threads=threads, device=self.options.device)
        return self.workers[name]

    def ask(self, name: str, **request: Any) -> dict[str, Any]:
        """Let such a process do something within the time of the part that is at work."""
        return self.worker(name).ask(limit=self.budget.left, **request)

    def train(self, name: str, **more: Any) -> Callable[[], dict[str, Any]]:
        """Return a function that trains a cell in such a process."""
        return lambda: self.ask(name, do="train", **{"examples": self.examples, "warm": self.warm} | more)

    def data(self) -> dict[str, Any]:
        """Fetch, prepare and encode from the archives."""
        config = cells.experiment(4, 1000, {}, model=self.options.model)
        return {"seconds": cells.ready(self.folder, config, cores=4, limit=self.budget.left)}

    def one_cell(self) -> dict[str, Any]:
        """Train one cell by each way, in turns; `ours-eager` is what a study does whose cells may be stacked."""
        ways = {name: self.train(name) for name in ("stock", "stock-bf16", "ours")}
        if self.options.device == "auto":
            ways["ours-eager"] = self.train("ours", settings={"attention": "eager"})
        for train in ways.values():
            with suppress(RuntimeError):  # to warm up; what fails here fails again where it is told of
                train()
        about = self.ask("ours", do="tokens", examples=self.examples)
        found = turns(ways, self.rounds)
        return found | {"weights": about["weights"], "tokens_per_example": about["tokens"] / self.examples}

    def stacks(self) -> dict[str, Any]:
        """Train stacks of some sizes, beside a stock Trainer that trains one cell."""
        on_card, quick = self.options.device == "auto", self.options.quick
        more = {"settings": {"attention": "eager"}, "updates": 2 if quick else 40, "warm": 1 if quick else 5}
        more |= {} if on_card else {"batched": True}
        sizes = {f"stack of {size}": {"cells": size, **more} for size in ((2,) if quick else (8, 32))}
        if on_card:
            sizes["stack of 8, sdpa"] = {"cells": 8, **more, "settings": {"attention": "sdpa"}}
        ways: dict[str, Callable[[], dict[str, Any]]] = {"stock": self.train("stock")}
        for name, request in sizes.items():
            ways[name] = lambda request=request: self.ask("ours-stacked", do="stack", **request)  # type: ignore[misc]
        return turns(ways, 1)

    def compiled(self) -> dict[str, Any]:
        """Compare compiled passes with others on texts that are padded to one length, after all that they compile."""
        texts = {"lengths": ONE_LENGTH, "examples": self.examples // 2}
        on = {"settings": {"compile": "on"}}
        began = time.monotonic()
        self.train("ours-compiled", **texts, **on)()
        first = time.monotonic() - began
        ways = {"stock": self.train("stock", **texts), "ours": self.train("ours", **texts)}
        ways["ours-compiled"] = self.train("ours-compiled", **texts, **on)
        found = turns(ways, self.rounds) | {"first_s": first}
        same = texts | {"do": "weights", "file": str(self.folder / "plain.npy")}
        self.ask("ours", **same, settings={"dropout": 0.0})
        graphs = self.ask("ours-compiled", **same, settings={"dropout": 0.0, "compile": "on"})
        return found | {"apart": graphs["apart"], "notes": graphs["notes"]}

    def repeats(self) -> dict[str, Any]:
        """Train the same cell twice: whether all weights are the same."""
        same = {"do": "weights", "examples": self.examples // 2, "file": str(self.folder / "same.npy")}
        one, again = (self.ask("ours", **same) for _ in range(2))
        return {"same_bits": one["hash"] == again["hash"], "notes": one["notes"]}

    def cells(self, strategies: int) -> dict[str, Any]:
        """Run a study through Snakemake, with its probes: a job for each seed, which stacks its strategies."""
        options = self.options
        for name in ("training", "probes", "jobs"):  # of the study before
            shutil.rmtree(self.folder / "results/cells" / name, ignore_errors=True)
        on_card, jobs = options.device == "auto", min(options.jobs, -(-options.cells // strategies))
        more: dict[str, Any] = {"resources": {"cells_per_job": "all"}}
        if on_card:
            more["resources"]["slots_per_gpu"] = jobs
        else:
            more["training"] = {"learning_rate": 4e-4, "stack": strategies}
        size = 60 if options.quick else 1000
        config = cells.experiment(options.cells, size, more, strategies, options.model)
        cores = max(os.cpu_count() or 1, jobs)
        return cells.study(self.folder, config, cores, jobs if on_card else 0, limit=self.budget.left)


def main() -> None:
    """Measure, print the table, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="file for all that was found, as JSON")
    parser.add_argument("--minutes", type=float, help="that it may take; without a card 60, else 3.8")
    parser.add_argument("--only", nargs="+", choices=list(TABLE), help="these parts alone")
    parser.add_argument(
        "--device", choices=["auto", "cpu"], default="auto", help="cpu: run the same code without a card"
    )
    parser.add_argument("--quick", action="store_true", help="a few examples, on bert-tiny: to try the code")
    parser.add_argument("--model", choices=["minilm-l6", "bert-tiny"], help="preset of the model")
    parser.add_argument("--results", type=Path, help="a finished study on rt-snippets, to take text and model from")
    parser.add_argument("--encoded", type=Path, help="folder of an encoded task, instead")
    parser.add_argument("--source", type=Path, help="folder of the model that it is encoded for")
    parser.add_argument("--cells", type=int, help="cells of the study through Snakemake; default 48, quick 8; 0: none")
    parser.add_argument("--jobs", type=int, default=12, help="its jobs at once on the card")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.minutes = options.minutes or (3.8 if options.device == "auto" else 60)
    options.model = options.model or ("bert-tiny" if options.quick else MODEL)
    options.cells = (8 if options.quick else 48) if options.cells is None else options.cells
    import torch

    if options.device == "auto" and not torch.cuda.is_available():
        sys.exit("no card: torch sees no CUDA device here (--device cpu --quick runs the same code without one)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        found = Card(options, Path(place)).run()
    print(table(found))
    if any("failed" in result or result.get("ways_failed") for result in found.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
