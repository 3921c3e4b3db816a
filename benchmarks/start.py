"""A job's start until its first update: seconds on the clock and CPU seconds, by stage.

A real job of a small study on rt-snippets is started as Snakemake starts it, and ended after its first update. Text and
model are made ready first and lie in the page cache. The stages: `plan` (Python, the experiment, what is left to do),
`torch` (the slot, torch, the device), `imports` (transformers and all that trains), `data` (the encoded text, with its
hashes), `model` (weights, head, masks, Trainer), `update` (from the Trainer's start to the end of its first update).

    python benchmarks/start.py --model minilm-l6 --repeats 5
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cells
from worker import MODEL

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("plan", "torch", "imports", "data", "model", "update")


def child(experiment: Path, results: Path, told: Path) -> None:
    """Be the first job of a study until the end of its first update; write when each stage ended, and end."""
    from maskbench.experiment.jobs import Jobs
    from maskbench.experiment.layout import Layout
    from maskbench.experiment.resolved import read_experiment
    from maskbench.runner import job as module
    from maskbench.runner.job import Runner

    marks: dict[str, tuple[float, float]] = {}

    def mark(stage: str) -> None:
        marks.setdefault(stage, (time.time(), time.process_time()))

    ordinary, train_member = module.on_slot, Runner._member

    @contextmanager
    def on_slot(*args: Any, **keys: Any) -> Iterator[Any]:
        mark("plan")
        with ordinary(*args, **keys) as place:
            mark("torch")
            yield place

    def member(self: Runner, *args: Any) -> None:
        mark("imports")
        _mark_a_training(mark, marks, told)
        train_member(self, *args)

    module.on_slot, Runner._member = on_slot, member  # type: ignore[method-assign]
    jobs = Jobs(read_experiment(experiment))
    Runner(next(iter(jobs.by_id.values())), jobs, Layout(results), "benchmarks/start.py", lambda _: None).run()


def _mark_a_training(mark: Callable[[str], None], marks: dict[str, tuple[float, float]], told: Path) -> None:
    """Let the first training of this process mark its stages, and end the process after its first update."""
    from transformers import TrainerCallback

    from maskbench.training.run import Run

    opened, prepare = Run.__init__, Run.prepare

    class Ended(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            mark("update")
            told.write_text(json.dumps({"marks": marks, "modules": len(sys.modules)}))
            os._exit(0)

    def init(self: Run, *args: Any) -> None:
        opened(self, *args)
        mark("data")

    def prepared(self: Run, tokenizer: Any) -> Any:
        trainer = prepare(self, tokenizer)
        trainer.add_callback(Ended())
        mark("model")
        return trainer

    Run.__init__, Run.prepare = init, prepared  # type: ignore[method-assign]


def started(folder: Path) -> dict[str, tuple[float, float]]:
    """Start the job once; returns the seconds and the CPU seconds of each stage."""
    told = folder / "told.json"
    told.unlink(missing_ok=True)
    results = folder / "results/cells"
    command = [
        sys.executable,
        __file__,
        "--child",
        str(folder / ".snakemake/maskbench-experiment-cells.json"),
        str(results),
        str(told),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    began = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if not told.exists():
        logs = [path.read_text() for path in sorted(results.glob("logs/train/*.log"))]
        raise RuntimeError("\n".join([done.stdout, done.stderr, *logs])[-2000:])
    marks = json.loads(told.read_text())["marks"]
    ends = [(began, 0.0), *(tuple(marks[stage]) for stage in STAGES)]
    shutil.rmtree(results / "training", ignore_errors=True)
    return {
        stage: (after[0] - before[0], after[1] - before[1])
        for stage, before, after in zip(STAGES, ends[:-1], ends[1:], strict=True)
    }


def main() -> None:
    """Print the median and the least seconds of each stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL, help="preset of the model")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="file for what was found, as JSON")
    parser.add_argument("--child", nargs=3, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cells.ready(folder, cells.experiment(4, 1000, {}, model=options.model), cores=2)
        started(folder)  # fills the page cache, and compiles what Python has not compiled yet
        found = [started(folder) for _ in range(options.repeats)]
    print(f"{'stage':8} {'seconds':>8} {'least':>6} {'CPU s':>6} {'least':>6}")
    for stage in (*STAGES, "in all"):
        rows = [one[stage] if stage in one else tuple(map(sum, zip(*one.values(), strict=True))) for one in found]
        wall, used = zip(*rows, strict=True)
        columns = (statistics.median(wall), min(wall), statistics.median(used), min(used))
        print(f"{stage:8} {columns[0]:8.2f} {columns[1]:6.2f} {columns[2]:6.2f} {columns[3]:6.2f}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
