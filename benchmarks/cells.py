"""Cells a minute of a study through Snakemake, beside a shell loop over a script with a stock Trainer.

The study has some strategies on rt-snippets and as many seeds as it takes, each cell with its probes. Text and model
are made ready first and not counted; the archives come from MASKBENCH_CACHE. The loop starts a process for each cell,
which trains on the same examples and scores the same splits, without masks and without probes; it is timed on a few
cells. Of both the seconds on the clock and the CPU seconds of all their processes are printed: on a machine that others
use, only the latter can be compared.

    python benchmarks/cells.py --cells 48 --cores 16 --gpu 4
    python benchmarks/cells.py --cells 4 --size 100 --cores 2 --loop 1 --model bert-tiny
    python benchmarks/cells.py --cells 4 --loop 1 --more '{"training": {"learning_rate": 4e-4, "threads": 2}}'
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from one_cell import stock
from worker import MODEL, TASK

ROOT = Path(__file__).resolve().parents[1]
STRATEGIES = ["none", "random", "static", "freeze"]


def experiment(cells: int, size: int, more: dict[str, Any], strategies: int = 4, model: str = MODEL) -> dict[str, Any]:
    """Return the configuration of a study of so many cells, of `size` training texts each.

    Parameters
    ----------
    more
        Blocks of the configuration.
    strategies
        How many there are for each seed; those beyond the first four are `random` at other rates.
    model
        Preset of the model.
    """
    rates = [{"name": f"random-{rate}", "input": {"kind": "random", "rate": rate / 100}} for rate in range(1, 97)]
    half = {"preset": "freeze", "parameter": {"kind": "freeze", "layers": 1, "embeddings": True}}
    first = [half if name == "freeze" and model == "bert-tiny" else name for name in STRATEGIES]  # of its two layers
    names = [*first, *rates][: min(strategies, cells)]
    seeds = -(-cells // len(names))
    return {
        "study": "cells",
        "tasks": [{"preset": TASK, "max_validation": min(300, size), "max_test": min(1000, size)}],
        "models": [model],
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
        If it fails, or takes longer than `limit` seconds: then it and its jobs are ended.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(folder / "experiment.json"), "--quiet", "rules", *arguments]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            _end(process)
            raise RuntimeError(f"Snakemake took more than {limit:.0f} s") from None
        if status:
            log.seek(0)
            raise RuntimeError("".join([*log.readlines()[-20:], *_ends_of_logs(folder)]))
    return time.perf_counter() - began


def _ends_of_logs(folder: Path) -> Iterator[str]:
    """Yield the last line of the log of each job that has not left its index."""
    for path in sorted(folder.glob("results/cells/logs/jobs/*.log")):
        if not (folder / f"results/cells/jobs/{path.stem}.json").exists():
            yield from path.read_text().splitlines(keepends=True)[-1:]


def _end(process: subprocess.Popen[Any]) -> None:
    """End a process and all that it started, within a few seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(3)


def ready(folder: Path, config: dict[str, Any], cores: int, limit: float | None = None) -> float:
    """Fetch, prepare and encode what a study (`experiment`) in a folder needs; returns the seconds that it took."""
    from maskbench.config.conditions import CLEAN, SHIFTED
    from maskbench.experiment.layout import Layout

    (folder / "experiment.json").write_text(json.dumps(config))
    layout = Layout(Path("results/cells"))
    files = [layout.prepared(TASK, SHIFTED), *(layout.encoded(TASK, model, CLEAN.name) for model in config["models"])]
    return snakemake(folder, "--cores", str(cores), "--", *map(str, files), limit=limit)


def study(folder: Path, config: dict[str, Any], cores: int, gpu: int, limit: float | None = None) -> dict[str, Any]:
    """Run a study (`experiment`) in a folder, and return how many cells a minute it gets through."""
    end = None if limit is None else time.monotonic() + limit
    before = ready(folder, config, cores, limit)
    arguments = ["--cores", str(cores), *(["--resources", f"gpu={gpu}"] if gpu else [])]
    used = _cpu()
    took = snakemake(folder, *arguments, "--until", "train", limit=end and max(1.0, end - time.monotonic()))
    used = _cpu() - used
    records = [json.loads(path.read_text()) for path in folder.glob("results/cells/training/*/metrics.json")]
    statuses = Counter(record["status"] for record in records)
    done = statuses["completed"]
    return {
        "cells": done,
        "statuses": dict(statuses),
        "stacked": sum(bool(record.get("stack")) for record in records),
        "jobs": len(list(folder.glob("results/cells/jobs/*.json"))),
        "seconds": took,
        "cpu_seconds": used,
        "ready_s": before,
        "cells_per_minute": 60 * done / took,
        "cells_per_cpu_minute": 60 * done / used,
    }


def _cpu() -> float:
    """Return the CPU seconds of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def loop(folder: Path, cells: int, size: int, threads: int, model: str = MODEL) -> dict[str, Any]:
    """Run some cells of the study one after another by a script with a stock Trainer, each in a process of its own."""
    from maskbench.config.conditions import CLEAN
    from maskbench.experiment.layout import Layout

    layout = Layout(folder / "results/cells")
    given = {
        "kind": "stock",
        "encoded": str(layout.encoded(TASK, model, CLEAN.name).parent),
        "model": str(layout.model_source(model).parent),
        "threads": threads,
    }
    began, used = time.perf_counter(), _cpu()
    for _ in range(cells):
        script = [sys.executable, str(ROOT / "benchmarks/cells.py"), "--stock-cell", json.dumps(given)]
        subprocess.run([*script, "--size", str(size)], check=True, capture_output=True)
    took, used = time.perf_counter() - began, _cpu() - used
    return {
        "cells": cells,
        "seconds": took,
        "cpu_seconds": used,
        "cells_per_minute": 60 * cells / took,
        "cells_per_cpu_minute": 60 * cells / used,
    }


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
    parser.add_argument("--model", default=MODEL, help="preset of the model")
    parser.add_argument("--out", type=Path, help="file for what was found, as JSON")
    parser.add_argument("--loop", type=int, default=2, help="cells of the loop over a stock script")
    parser.add_argument("--more", type=json.loads, default={}, help="blocks of the configuration, as JSON")
    parser.add_argument("--stock-cell", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stock_cell:
        stock_cell(options.stock_cell, options.size)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        config = experiment(options.cells, options.size, options.more, options.strategies, options.model)
        found = study(folder, config, options.cores, options.gpu)
        print(
            f"study, with probes: {_told(found)}, {found['jobs']} jobs, {found['stacked']} cells in stacks", flush=True
        )
        beside = loop(folder, options.loop, options.size, options.cores, options.model)
    print(f"loop over a stock script, without probes: {_told(beside)}")
    ratios = [found[key] / beside[key] for key in ("cells_per_minute", "cells_per_cpu_minute")]
    print(f"study beside loop: {ratios[0]:.2f} x by the clock, {ratios[1]:.2f} x by CPU time")
    if options.out:
        options.out.write_text(json.dumps({"study": found, "loop": beside}, indent=1) + "\n")


def _told(found: dict[str, Any]) -> str:
    """Return a line about cells that were run."""
    return (
        f"{found['cells']} cells in {found['seconds']:.0f} s ({found['cells_per_minute']:.1f} a minute), "
        f"{found['cpu_seconds']:.0f} CPU s ({found['cells_per_cpu_minute']:.1f} a CPU minute)"
    )


if __name__ == "__main__":
    main()
