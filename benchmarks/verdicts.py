"""How long the statistics of a large study take, and how much memory: made-up numbers of 10,000 runs by default.

    python benchmarks/verdicts.py [--runs 10000] [--examples 1000]

Four tasks, five train sizes, twenty seeds, as many strategies as it takes, 60 numbers and 1,000 outcomes for each run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

TASKS, SIZES, SEEDS = [f"task-{index}" for index in range(4)], ["200", "500", "1000", "2000", "5000"], 20
MEASURES = ["score", "accuracy", "majority_score", "loss_gap", "step_time", "peak_memory", "steps_to_score", "failed"]
MEASURES += ["matched_representation_drift", "matched_parameter_drift", "perturbation_flip_rate", "masking_flip_rate"]
MEASURES += [f"representation_drift:layer-{index}" for index in range(48)]


def names(count: int) -> list[str]:
    """Return strategies of the claims first, then others."""
    from maskbench.experiment.claims import read_claims

    arms = [arm for claim in read_claims(ROOT / "claims.yaml").claims for one in claim.contrasts for arm in one.arms]
    known = list(dict.fromkeys(["none", *(arm.strategy for arm in arms)]))
    return [*known, *(f"other-{index}" for index in range(count))][:count]


def write(folder: Path, runs: int, examples: int) -> None:
    """Write metrics.csv and outcomes.parquet of a made-up study."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    from maskbench.analysis.metrics import OUTCOME_TYPES, with_kind
    from maskbench.config.measures import measure

    rng = np.random.default_rng(0)
    strategies = names(runs // (len(TASKS) * len(SIZES) * SEEDS))
    cells = list(product(TASKS, strategies, SIZES, range(1, SEEDS + 1)))
    run = [f"{task}.m.{strategy}.single.clean.n{size}.s{seed}" for task, strategy, size, seed in cells]
    hits = (rng.random((len(run), examples)) < 0.8 + 0.02 * rng.normal(size=(len(run), 1))).astype(float)
    values = rng.uniform(0.1, 0.2, size=(len(run), len(MEASURES)))
    values[:, 0] = values[:, 1] = hits.mean(axis=1)
    task, strategy, size, seed = (np.repeat(column, len(MEASURES)) for column in zip(*cells, strict=True))
    frame = pd.DataFrame({"run": np.repeat(run, len(MEASURES)), "task": task, "model": "m", "strategy": strategy})
    frame = frame.assign(
        regime="single", condition="clean", train_size=size, seed=seed, status="completed", split="test"
    )
    frame = frame.assign(measure=np.tile(MEASURES, len(run)), value=values.ravel())
    frame["unit"] = frame["measure"].map({name: measure(name).unit for name in MEASURES})
    with_kind(frame).to_csv(folder / "metrics.csv", index=False)
    with pq.ParquetWriter(folder / "outcomes.parquet", pa.schema(OUTCOME_TYPES), compression="zstd") as writer:
        for start in range(0, len(run), 1000):
            part = hits[start : start + 1000]
            columns = {
                "run": pa.array(np.repeat(run[start : start + 1000], examples)).dictionary_encode(),
                "set": pa.array(["test"] * part.size).dictionary_encode(),
                "example": np.tile(np.arange(examples), len(part)),
                "hit": part.ravel(),
                "weight": np.ones(part.size),
            }
            writer.write_table(pa.table(columns).cast(pa.schema(OUTCOME_TYPES)))


def main() -> None:
    """Write a study and time its statistics."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # in a process of its own, so that its memory is not counted
        call = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'benchmarks')!r}]; from pathlib import Path\n"
        call += (
            f"import runpy; runpy.run_path({__file__!r})['write'](Path({name!r}), {options.runs}, {options.examples})"
        )
        subprocess.run([sys.executable, "-c", call], check=True)
        shared = ["--metrics", folder / "metrics.csv", "--outcomes", folder / "outcomes.parquet"]
        shared += ["--resamples", "2000", "--seed", "0"]
        verdicts = ["scripts/verdicts.py", *shared, "--claims", ROOT / "claims.yaml", "--results", folder]
        comparisons = folder / "comparisons.csv"
        compare = ["scripts/compare.py", *shared, "--baseline", "none", "--confidence", "0.95", "--output", comparisons]
        total = 0.0
        for command, output in ((verdicts, folder / "verdicts.csv"), (compare, comparisons)):
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, ROOT / command[0], *command[1:]], env=os.environ | {"PYTHONPATH": str(ROOT)}
            )
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            if status:
                sys.exit(f"{command[0]} failed")
            total += seconds
            rows = len(output.read_text().splitlines()) - 1
            print(f"{command[0]}: {seconds:.1f} s, {used.ru_maxrss / 2**20:.2f} GiB; {rows} rows of {output.name}")
        print(f"{options.runs} runs: {total:.1f} s")


if __name__ == "__main__":
    main()
