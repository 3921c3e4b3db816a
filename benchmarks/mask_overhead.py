"""Time per update with each mask beside plain fine-tuning, paired update by update on the same batches.

MiniLM is trained on an encoded task that a study has left in its results. Plain fine-tuning and the strategy train in
one process and take turns after every update; a seed fixes the batches, so update i of one is compared with update i of
the other, a moment apart. Collating is the same for all and not part of it; the time to fit a mask is given apart.

    python benchmarks/mask_overhead.py --results results/minilm --task rt-snippets random span child-f freeze
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Condition
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


class Turns:
    """Lets two threads go on one after the other."""

    def __init__(self) -> None:
        self.condition = Condition()
        self.turn, self.left = 0, {0, 1}

    def wait(self, who: int) -> None:
        """Wait until it is one's turn."""
        with self.condition:
            self.condition.wait_for(lambda: self.turn == who or len(self.left) == 1)

    def give(self, who: int) -> None:
        """Let the other go on."""
        with self.condition:
            self.turn = 1 - who
            self.condition.notify_all()

    def leave(self, who: int) -> None:
        """Take `who` out of the turns for good."""
        with self.condition:
            self.left.discard(who)
            self.condition.notify_all()


def train(options: argparse.Namespace, strategy: Any, turns: Turns, who: int) -> tuple[list[float], float]:
    """Train a strategy in turns; returns the seconds of each update, and of fitting its masks."""
    try:
        turns.wait(who)
        run, trainer = prepare(options, strategy)
        trainer.add_callback(stopwatch(turns, who))
        turns.give(who)
        trainer.train()
        return trainer.callback_handler.callbacks[-1].durations, run.fit_time
    finally:
        turns.leave(who)


def prepare(options: argparse.Namespace, strategy: Any) -> tuple[Any, Any]:
    """Return a run and its Trainer, which neither evaluates nor saves."""
    from transformers import AutoTokenizer

    from maskbench.config.training import Training
    from maskbench.data.manifests import EncodedManifest
    from maskbench.experiment.cell import Cell
    from maskbench.slots.device import choose
    from maskbench.training.run import Inputs, Run

    encoded = options.results / f"data/encoded/{options.task}.{options.model}.clean"
    model = options.results / f"data/models/{options.model}"
    manifest = EncodedManifest.read(encoded)
    cell = Cell(
        task=manifest.task,
        kind=manifest.kind,
        model="benchmark",
        strategy=strategy,
        regime="single",
        train_size=32 * options.updates,
        seed=1,
        training=Training(epochs=1, threads=options.threads),
        max_validation=32,
        max_test=32,
    )
    lexicons = {name: options.results / f"data/lexicons/{name}" for name in strategy.lexicons}
    inputs = Inputs(encoded, model, Path(tempfile.gettempdir()), lexicons=lexicons)
    run = Run(cell, inputs, choose(cell.training))
    trainer = run.prepare(AutoTokenizer.from_pretrained(model, local_files_only=True))
    trainer.args.eval_strategy = trainer.args.save_strategy = trainer.args.logging_strategy = "no"
    trainer.args.load_best_model_at_end = False
    return run, trainer


def stopwatch(turns: Turns, who: int) -> Any:
    """Return a callback that waits for its turn and measures each update."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        def __init__(self) -> None:
            self.durations: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.wait(who)
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.durations.append(time.perf_counter() - self.began)
            turns.give(who)

    return Stopwatch()


def main() -> None:
    """Compare each strategy with plain fine-tuning, and print one line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strategies", nargs="+", help="names of presets (docs/config.md)")
    parser.add_argument("--results", type=Path, default=ROOT / "results/minilm", help="a finished study")
    parser.add_argument("--task", default="rt-snippets")
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--updates", type=int, default=40, help="updates of 32 examples")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from transformers.utils import logging

    from maskbench.experiment.experiment import presets
    from maskbench.masks import Strategy

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print(f"{'strategy':24} {'ratio':>6}  {'middle half':>13}  {'ms':>5}  {'none':>5}  {'fit s':>5}")
    for name in options.strategies:
        strategies = [
            Strategy.model_validate({"name": item, **presets()["strategies"][item]}) for item in ("none", name)
        ]
        turns = Turns()
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(train, options, strategy, turns, who) for who, strategy in enumerate(strategies)]
            (none, _), (times, fit) = (job.result() for job in jobs)
        ratios = [mine / other for mine, other in zip(times[2:], none[2:], strict=True)]  # the first ones warm up
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:24} {middle:6.3f}  {low:5.3f} – {high:5.3f}  {1000 * statistics.median(times):5.0f}"
            f"  {1000 * statistics.median(none):5.0f}  {fit:5.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
