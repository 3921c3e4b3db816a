"""Whether the score of a cell depends on its stack: seeds trained in stacks and alone, on the same texts.

For each seed the strategies are trained in one stack, as on a card (`training.stack`), and then one by one. A score may
differ by rounding alone: the mean difference has to be below a tenth of the standard deviation over seeds.

The text and the model are those of a study that has encoded them (its configuration needs no more than one cell):

    snakemake --cores 2 --configfile study.yaml --until encode
    python benchmarks/stacked_scores.py --results results/<study> --task rt-snippets --model bert-tiny
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def cells(options: argparse.Namespace, seed: int) -> list[Any]:
    """Return the cells of a seed, one for each strategy."""
    from maskbench.config.training import Training
    from maskbench.data.manifests import EncodedManifest
    from maskbench.experiment.cell import Cell
    from maskbench.experiment.experiment import presets
    from maskbench.masks import Strategy

    manifest = EncodedManifest.read(encoded(options))
    known = presets()["strategies"]
    rate = options.learning_rate
    return [
        Cell(
            task=manifest.task,
            kind=manifest.kind,
            model="benchmark",
            strategy=Strategy.model_validate({"name": name, **known[name]}),
            regime="single",
            train_size=options.examples,
            seed=seed,
            training=Training(epochs=options.epochs, learning_rate=rate, precision="fp32", threads=options.threads),
            max_validation=200,
            max_test=options.test,
        )
        for name in options.strategies
    ]


def encoded(options: argparse.Namespace) -> Path:
    """Return the folder of the encoded task."""
    return Path(options.results / f"data/encoded/{options.task}.{options.model}.clean")


def scores(options: argparse.Namespace, seed: int, work: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return the test scores of a seed's strategies, trained in a stack and alone."""
    from maskbench.slots.device import choose
    from maskbench.training.run import run_cell
    from maskbench.training.stack.together import Together, Wanted
    from maskbench.training.state import Inputs

    folder = options.results / f"data/models/{options.model}"
    wanted = [
        Wanted(cell, Inputs(encoded(options), folder, work / f"{seed}-{place}"), "benchmark", place)
        for place, cell in enumerate(cells(options, seed))
    ]
    device = choose(wanted[0].cell.training)
    about: dict[str, Any] = {"command": "benchmarks/stacked_scores.py", "gpu_uuid": None}
    stacked, alone = {}, {}
    for place, ended in Together(device, **about).train(wanted):
        record, outcome = ended()
        assert outcome is not None, record.error
        assert len(record.stack) == len(wanted), record.notes
        stacked[options.strategies[place]] = outcome.score
    for item in wanted:
        record, outcome = run_cell(item.cell, item.inputs, device, code="benchmark", **about)
        assert outcome is not None, record.error
        alone[item.cell.strategy.name] = outcome.score
    return stacked, alone


def main() -> None:
    """Print the spread and the differences of each strategy's scores; exit with 1 if a mean is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="folder of a study with the encoded text")
    parser.add_argument("--task", default="rt-snippets")
    parser.add_argument("--model", default="bert-tiny")
    parser.add_argument("--strategies", nargs="+", default=["none", "random"], help="names of presets")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--test", type=int, default=500, help="test examples")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from transformers.utils import logging

    logging.set_verbosity_error()
    found, began = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        for seed in range(1, options.seeds + 1):
            found.append(scores(options, seed, Path(work)))
            print(f"seed {seed}: stacked {found[-1][0]}, alone {found[-1][1]}", flush=True)
    print(f"{options.seeds} seeds in {time.perf_counter() - began:.0f} s")
    print(f"{'strategy':16} {'mean':>7} {'seed SD':>8} {'mean difference':>16} {'largest':>8} {'of a seed SD':>13}")
    far = False
    for name in options.strategies:
        stacked, alone = ([side[name] for side in sides] for sides in zip(*found, strict=True))
        apart = [one - other for one, other in zip(stacked, alone, strict=True)]
        spread, mean = statistics.stdev(alone), statistics.fmean(apart)
        far |= abs(mean) > 0.1 * spread
        print(
            f"{name:16} {statistics.fmean(alone):7.4f} {spread:8.4f} {mean:16.5f} {max(map(abs, apart)):8.4f}"
            f" {abs(mean) / spread:13.3f}"
        )
    sys.exit(far)


if __name__ == "__main__":
    main()
