"""Time per update with each mask beside plain fine-tuning, paired update by update on the same batches.

MiniLM is trained on an encoded task that a study has left in its results. Plain fine-tuning and the strategy take
turns; a seed fixes the batches, so update i of one is compared with update i of the other. The ratio is the median over
updates and rounds. Collating is the same for all and not part of it; the time to fit a mask is given apart.

    python benchmarks/mask_overhead.py --results results/quickstart --task rt-snippets random span child-f freeze
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def durations(options: argparse.Namespace, strategy: Any) -> tuple[list[float], float]:
    """Train a strategy for some updates; returns the seconds of each, and of fitting its masks."""
    from transformers import AutoTokenizer

    from maskbench.config.training import Training
    from maskbench.data.manifests import EncodedManifest
    from maskbench.experiment.cell import Cell
    from maskbench.training.device import choose
    from maskbench.training.run import Inputs, Run

    encoded = options.results / f"data/encoded/{options.task}.{options.model}"
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
    with tempfile.TemporaryDirectory() as work:
        model = options.results / f"data/models/{options.model}"
        run = Run(cell, Inputs(encoded, model, Path(work)), choose(cell.training))
        trainer = run.prepare(AutoTokenizer.from_pretrained(model, local_files_only=True))
        trainer.args.eval_strategy = trainer.args.save_strategy = "no"
        trainer.args.load_best_model_at_end = False
        trainer.train()
    return trainer.clock.durations[1:], run.fit_time  # the first update also warms up


def main() -> None:
    """Take turns with plain fine-tuning, and print one line for each strategy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("strategies", nargs="+", help="names of presets (docs/config.md)")
    parser.add_argument("--results", type=Path, default=ROOT / "results/quickstart", help="a finished study")
    parser.add_argument("--task", default="rt-snippets")
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--updates", type=int, default=16, help="updates of 32 examples in each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from maskbench.experiment.experiment import presets
    from maskbench.masks import Strategy

    print(f"{'strategy':24} {'ratio':>6}  {'middle half':>13}  {'ms':>5}  {'fit s':>5}")
    for name in options.strategies:
        ratios, times, fits = [], [], []
        for turn in range(options.rounds):
            found = {}
            for which in ("none", name) if turn % 2 == 0 else (name, "none"):
                strategy = Strategy.model_validate({"name": which, **presets()["strategies"][which]})
                found[which], fit = durations(options, strategy)
                fits += [fit] if which == name else []
            times += found[name]
            ratios += [mine / other for mine, other in zip(found[name], found["none"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:24} {middle:6.3f}  {low:5.3f} – {high:5.3f}  {1000 * statistics.median(times):5.0f}"
            f"  {statistics.median(fits):5.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
