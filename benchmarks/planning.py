"""Time that Snakemake takes to plan a study of 10,000 cells, from the command to the list of jobs.

python benchmarks/planning.py --cells 10000 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Plan, and print seconds of wall clock for each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-probes", action="store_true", help="one job for each cell, not two")
    options = parser.parse_args()
    rates = [{"name": f"random-{rate}", "input": {"kind": "random", "rate": rate / 20}} for rate in range(1, 10)]
    experiment = {
        "study": "planning",
        "tasks": ["rt-snippets", "conll2003"],
        "models": ["minilm-l6"],
        "strategies": ["none", *rates],
        "seeds": list(range(options.cells // 20)),
        "probes": {"measure": [] if options.no_probes else "all"},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiment.json"
        path.write_text(json.dumps(experiment))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", folder]
        command += ["--configfile", str(path), "--cores", "2", "--dry-run", "--quiet"]
        for number in range(options.rounds):
            start = time.perf_counter()
            subprocess.run([*command, "rules", "progress"], check=True, capture_output=True)
            print(f"round {number + 1}: {time.perf_counter() - start:.1f} s for {options.cells} cells")


if __name__ == "__main__":
    main()
