"""Time that Snakemake takes to plan a study of 10,000 cells, from the command to the list of jobs.

python benchmarks/planning.py --cells 10000 --rounds 3 --cells-per-job all
"""

from __future__ import annotations

import argparse
import json
import resource
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
    parser.add_argument("--no-probes", action="store_true", help="nothing is measured on the trained models")
    parser.add_argument("--cells-per-job", default="auto", help="a number, auto, or all (the study has ten strategies)")
    parser.add_argument("--snakefile", type=Path, default=ROOT / "Snakefile", help="of another checkout, to compare")
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
    if options.cells_per_job != "auto":
        number = options.cells_per_job
        experiment["resources"] = {"cells_per_job": int(number) if number.isdecimal() else number}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiment.json"
        path.write_text(json.dumps(experiment))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(options.snakefile), "--directory", folder]
        command += ["--configfile", str(path), "--cores", "2", "--dry-run", "--quiet"]
        for number in range(options.rounds):
            start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([*command, "rules", "progress"], check=True, capture_output=True)
            took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"round {number + 1}: {took:.1f} s, {cpu:.1f} s of CPU, for {options.cells} cells", flush=True)


if __name__ == "__main__":
    main()
