"""Compares the ratios of the benchmarks with those that were recorded on a machine of this kind: `make bench-check`.

A ratio fails if its median is below the recorded one by more than noise: the larger of a tenth and twice the spread
that was recorded. `--record` writes what is found here into benchmarks/recorded.json instead. About five minutes on two
cores; other work on the machine makes it fail sooner, so run it alone.

    python benchmarks/check.py --results results/minilm
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

from training_speed import measured
from worker import MODEL, TASK

ROOT = Path(__file__).resolve().parents[1]
RECORDED = ROOT / "benchmarks/recorded.json"
LEAST = 0.1
"""Smallest relative loss that is more than noise."""


def machine() -> str:
    """Return the kind of machine, as far as it matters for speed: the card, or what the processor multiplies with."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    kinds = {"amx": torch.cpu._is_amx_tile_supported(), "avx512-bf16": torch.cpu._is_avx512_bf16_supported()}
    return next((name for name, there in kinds.items() if there), torch.backends.cpu.get_cpu_capability().lower())


def ratios(results: Path, examples: int, rounds: int) -> dict[str, list[float]]:
    """Return the ratios of each round, by name."""
    encoded, model = results / f"data/encoded/{TASK}.{MODEL}.clean", results / f"data/models/{MODEL}"
    found: dict[str, list[float]] = {}
    for isa in ("native", "avx2"):
        stocks = ("stock", "stock-128") if isa == "native" else ("stock",)
        result = measured(encoded, model, examples=examples, rounds=rounds, threads=1, isa=isa, stocks=stocks)
        found |= {f"training beside {name}, {isa}": values for name, values in result["ratios"].items()}
    return found


def verdicts(found: dict[str, list[float]], recorded: dict[str, list[float]]) -> list[tuple[str, bool]]:
    """Return a line for each recorded ratio, and whether it holds."""
    lines = []
    for name, before in recorded.items():
        middle = statistics.median(before)
        noise = max(LEAST, 2 * (max(before) - min(before)) / middle)
        if name not in found:
            lines.append((f"{name}: was not measured", False))
            continue
        now = statistics.median(found[name])
        lines.append((f"{name}: {now:.2f}, recorded {middle:.2f} ± {100 * noise:.0f} %", now >= middle * (1 - noise)))
    return lines


def main() -> None:
    """Measure and compare; the exit status is 1 if a ratio fell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results/minilm", help="a finished study")
    parser.add_argument("--examples", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write what is found here")
    options = parser.parse_args()
    if not options.results.exists():
        sys.exit(f"{options.results}: expected a finished study on {TASK}; run make first, or name one by --results")
    kind = machine()
    recorded = json.loads(RECORDED.read_text())
    if kind not in recorded and not options.record:
        sys.exit(f"{RECORDED}: nothing was recorded on a machine with {kind}; --record does")
    found = ratios(options.results, options.examples, options.rounds)
    if options.record:
        rounded = {name: [round(value, 3) for value in values] for name, values in found.items()}
        RECORDED.write_text(json.dumps(recorded | {kind: rounded}, indent=1, sort_keys=True) + "\n")
        return
    lines = verdicts(found, recorded[kind])
    for line, holds in lines:
        print(f"{'holds' if holds else 'FELL '}  {line}")
    if not all(holds for _, holds in lines):
        sys.exit(1)


if __name__ == "__main__":
    main()
