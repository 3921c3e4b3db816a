"""Training speed of one cell beside a stock Trainer, on the same examples.

All train on the same sentences of an encoded task that a study has left in its results. The project and each stock
Trainer (fp32 with dynamic padding; fp32 padded to 128, as the run_glue example of transformers does; bf16) take turns,
so that the ratios hold on a noisy machine; of one thread its own time on the processor is taken. Also printed are the
shares of the machine's GEMM peak that the useful work of training (6 FLOP per weight and real token, also of those
that the last layer leaves out; no padding, no attention) and of scoring (2 FLOP) comes to.

    python benchmarks/training_speed.py --results results/minilm --task conll2003 --examples 640 --rounds 3
    python benchmarks/training_speed.py --isa avx2 --beside stock ours-plain     # cut down to AVX2 and fp32
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from worker import KINDS, Worker

ROOT = Path(__file__).resolve().parents[1]


def measured(
    encoded: Path,
    model: Path,
    *,
    examples: int,
    rounds: int,
    threads: int,
    isa: str = "native",
    stocks: tuple[str, ...] = ("stock", "stock-128", "stock-bf16"),
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the speeds of each round, and the ratio of the project's to each stock Trainer's, round by round."""
    common: dict[str, Any] = {"threads": threads, "isa": isa}
    workers = {name: Worker(name, encoded, model, **common) for name in stocks}
    workers["ours"] = Worker("ours", encoded, model, **common, settings=settings)
    about = workers["ours"].ask(do="tokens", examples=examples)
    peaks: list[dict[str, float]] = []
    for worker in workers.values():
        worker.ask(do="train", examples=64)  # imports, memory and caches
    speeds: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(rounds):
        for name, worker in workers.items():
            size = max(96, examples // 4) if name == "stock-128" else examples  # four times as long for each example
            found = worker.ask(do="train", examples=size)
            speeds[name].append(found["examples_per_second"])
            if name == "ours":
                about |= {key: found[key] for key in ("precision", "attention", "notes")}
        peaks.append(workers["ours"].ask(do="peak"))  # of each round: one alone may fall into a slow moment
        line = ", ".join(f"{name} {found[-1]:.1f}/s" for name, found in speeds.items())
        print(f"round {number + 1}: {line}", flush=True)
    scored = workers["ours"].ask(do="score", examples=examples)
    for worker in workers.values():
        worker.close()
    ratios = {name: [a / b for a, b in zip(speeds["ours"], speeds[name], strict=True)] for name in stocks}
    about["peak"] = {kind: max(found[kind] for found in peaks) for kind in peaks[0]}
    work = 6 * about["weights"] * about["tokens"] / examples
    share = statistics.median(speeds["ours"]) * work / about["peak"][about["precision"]]
    scoring = scored["flops_per_second"] / about["peak"][scored["precision"]]
    shares = {"training": share, "scoring": scoring}
    return {"about": about, "speeds": speeds, "ratios": ratios, "shares_of_peak": shares}


def main() -> None:
    """Take turns, and print the median ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results/minilm", help="a finished study of it")
    parser.add_argument("--task", default="rt-snippets")
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--examples", type=int, default=640)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--isa", choices=["native", "avx2"], default="native", help="avx2: cut the processor down")
    others = [name for name in KINDS if name != "ours"]
    parser.add_argument("--beside", nargs="+", choices=others, default=["stock", "stock-128"])
    parser.add_argument("--settings", type=json.loads, default={}, help="hyperparameters of ours, as JSON")
    parser.add_argument("--out", type=Path, help="file for what was found, as JSON")
    options = parser.parse_args()
    found = measured(
        options.results / f"data/encoded/{options.task}.{options.model}.clean",
        options.results / f"data/models/{options.model}",
        examples=options.examples,
        rounds=options.rounds,
        threads=options.threads,
        isa=options.isa,
        stocks=tuple(options.beside),
        settings=options.settings,
    )
    for name, ratios in found["ratios"].items():
        print(f"beside {name}: median {statistics.median(ratios):.2f} x ({min(ratios):.2f} – {max(ratios):.2f})")
    for stage, share in found["shares_of_peak"].items():
        print(f"useful work of {stage}: {100 * share:.0f} % of the {found['about']['precision']} GEMM peak")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
