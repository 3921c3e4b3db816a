"""Cells a minute of a study through Snakemake, beside a shell loop over a script with a stock Trainer.

The study has some strategies on rt-snippets and as many seeds as it takes, each cell with its probes. Text and model
are made ready first and not counted; the archives come from MASKBENCH_CACHE. The loop starts a process for each cell,
which trains on the same examples and scores the same splits, without masks and without probes; it is timed on a few
cells.

    python benchmarks/cells.py --cells 48 --cores 16 --gpu 4
    python benchmarks/cells.py --cells 4 --size 100 --cores 2 --loop 1
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from one_cell import stock
from worker import MODEL, TASK

ROOT = Path(__file__).resolve().parents[1]
STRATEGIES = ["none", "random", "static", "freeze"]


def experiment(cells: int, size: int, more: dict[str, Any], strategies: int = 4) -> dict[str, Any]:
    """Return the configuration of a study of so many cells, of `size` training texts each.

    Parameters
    ----------
    more
        Blocks of the configuration.
    strategies
        How many there are for each seed; those beyond the first four are `random` at other rates.
    """
    rates = [{"name": f"random-{rate}", "input": {"kind": "random", "rate": rate / 100}} for rate in range(1, 97)]
    names = [*STRATEGIES, *rates][: min(strategies, cells)]
    seeds = -(-cells // len(names))
    return {
        "study": "cells",
        "tasks": [{"preset": TASK, "max_validation": min(300, size), "max_test": min(1000, size)}],
        "models": [MODEL],
        "strategies": names,
        "seeds": list(range(1, seeds + 1)),
        "train_sizes": [size],
        "training": {"learning_rate": 4e-4},
        "probes": {"examples": min(128, size)},
    } | more


def snakemake(folder: Path, *arguments: str, limit: float | None = None) -> float:
    """Run Snakemake in a folder; returns the seconds that it took.

    Raises
    ------
    RuntimeError
        If it fails, or takes longer than `limit` seconds: then it is ended.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(folder / "experiment.json"), "--quiet", "rules", *arguments]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
            raise RuntimeError(f"the study took more than {limit:.0f} s") from None
        if status:
            log.seek(0)
            raise RuntimeError("".join(log.readlines()[-20:]))
    return time.perf_counter() - began


def study(folder: Path, config: dict[str, Any], cores: int, gpu: int, limit: float | None = None) -> dict[str, Any]:
    """Run a study (`experiment`) in a folder, and return how many cells a minute it gets through."""
    (folder / "experiment.json").write_text(json.dumps(config))
    arguments = ["--cores", str(cores), *(["--resources", f"gpu={gpu}"] if gpu else [])]
    ready = snakemake(folder, *arguments, "--until", "encode", "shift", "fetch_model", limit=limit)
    took = snakemake(folder, *arguments, "--until", "train", limit=limit and limit - ready)
    records = [json.loads(path.read_text()) for path in folder.glob("results/cells/training/*/metrics.json")]
    done = sum(record["status"] == "completed" for record in records)
    return {"cells": done, "seconds": took, "ready_s": ready, "cells_per_minute": 60 * done / took}


def loop(folder: Path, cells: int, size: int, threads: int) -> dict[str, Any]:
    """Run some cells of the study one after another by a script with a stock Trainer, each in a process of its own."""
    data = folder / "results/cells/data"
    given = {
        "kind": "stock",
        "encoded": str(data / f"encoded/{TASK}.{MODEL}.clean"),
        "model": str(data / f"models/{MODEL}"),
        "threads": threads,
    }
    began = time.perf_counter()
    for _ in range(cells):
        script = [sys.executable, str(ROOT / "benchmarks/cells.py"), "--stock-cell", json.dumps(given)]
        subprocess.run([*script, "--size", str(size)], check=True, capture_output=True)
    took = time.perf_counter() - began
    return {"cells": cells, "seconds": took, "cells_per_minute": 60 * cells / took}


def stock_cell(given: dict[str, Any], size: int) -> None:
    """Train and score one cell by a stock Trainer: two epochs, and the three splits as the project scores them."""
    from maskbench.data.encode import load_encoded
    from maskbench.training.subsets import at_most

    trainer = stock(given, size, num_train_epochs=2, learning_rate=4e-4)
    trainer.train()
    splits = load_encoded(Path(given["encoded"]))
    for split, most in (("train", size), ("validation", min(300, size)), ("test", min(1000, size))):
        rows = at_most(splits[split], most)
        kept = ("input_ids", "labels")
        trainer.predict(rows.remove_columns([name for name in rows.column_names if name not in kept]))


def main() -> None:
    """Run the study and the loop, and print cells a minute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=48)
    parser.add_argument("--size", type=int, default=1000, help="training texts of a cell")
    parser.add_argument("--strategies", type=int, default=4, help="of each seed: a card stacks those of a job")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--gpu", type=int, default=0, help="jobs at once on the cards; 0: as many as there are cores")
    parser.add_argument("--loop", type=int, default=2, help="cells of the loop over a stock script")
    parser.add_argument("--more", type=json.loads, default={}, help="blocks of the configuration, as JSON")
    parser.add_argument("--stock-cell", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stock_cell:
        stock_cell(options.stock_cell, options.size)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        config = experiment(options.cells, options.size, options.more, options.strategies)
        found = study(folder, config, options.cores, options.gpu)
        print(f"study: {found['cells']} cells in {found['seconds']:.0f} s, {found['cells_per_minute']:.1f} a minute")
        beside = loop(folder, options.loop, options.size, options.cores)
        print(f"loop over a stock script: {beside['cells_per_minute']:.1f} a minute, without probes")
        print(f"ratio: {found['cells_per_minute'] / beside['cells_per_minute']:.2f}")


if __name__ == "__main__":
    main()
