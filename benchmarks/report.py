"""Time of `snakemake --cores 1 figures` on a study of recorded metrics alone, in which importing torch is an error.

python benchmarks/report.py --seeds 10
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def _digests(results: Path) -> dict[str, str]:
    """Return the hash of every table and figure."""
    files = sorted([*results.glob("tables/*"), *results.glob("figures/*")])
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    """Write a study, draw it twice, and print wall and CPU time of each call and whether the bytes are the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="100 runs for each")
    options = parser.parse_args()
    from tests.helpers import reports as report_samples

    strategies = list(report_samples.STRATEGIES.items())
    strategies.append(("keyword", {"input": {"kind": "keyword", "rate": 0.15}}))
    tasks = ["rt-snippets", "conll2003"]
    experiment = {
        **{"study": "drawn", "tasks": tasks, "models": ["minilm-l6"], "baseline": "none"},
        "strategies": [{"name": name, **settings} for name, settings in strategies],
        **{"regimes": ["single", "sequential", "joint"], "conditions": ["clean", "cue:0.95", "label-noise:0.3"]},
        **{"train_sizes": [2000], "seeds": list(range(1, options.seeds + 1))},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results, blocked = folder / "results" / "drawn", folder / "blocked"
        results.mkdir(parents=True)
        blocked.mkdir()
        for module in ("torch", "transformers", "datasets", "evaluate"):
            (blocked / f"{module}.py").write_text(f"raise ImportError('{module} was imported')\n")
        report_samples.write_metrics(results, tasks, dict(strategies), options.seeds)
        (folder / "experiment.json").write_text(json.dumps(experiment))
        shutil.copy(ROOT / "claims.yaml", folder)
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", name]
        command += ["--configfile", str(folder / "experiment.json"), "--cores", "1", "--quiet", "rules", "progress"]
        found = []
        for number in (1, 2):
            for part in ("tables", "figures", "analysis", "verdicts.csv"):
                path = results / part
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([*command, "--", "figures"], check=True, env=os.environ | {"PYTHONPATH": str(blocked)})
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"call {number}: {time.perf_counter() - start:.1f} s, {cpu:.1f} s of CPU, {100 * options.seeds} runs")
            found.append(_digests(results))
        print(f"{len(found[0])} files, {'the same bytes' if found[0] == found[1] else 'DIFFERENT BYTES'} again")


if __name__ == "__main__":
    main()
