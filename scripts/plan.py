"""Say before running which claims an experiment can decide, how many seeds that takes, and how long it will run."""

from __future__ import annotations

import argparse
from pathlib import Path

import checkout  # noqa: F401

from maskbench.io.script import run


def main() -> None:
    """Parse the command line and print the plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, default=Path("config.yaml"), help="the experiment (config.yaml)")
    parser.add_argument("--from", dest="recorded", type=Path, help="results/STUDY of a study that tells SDs and times")
    options = parser.parse_args()
    from maskbench.analysis.plan import Recorded, plan
    from maskbench.experiment.claims import claims_file, read_claims
    from maskbench.experiment.load import load_file

    experiment = load_file(options.configfile)
    claims = read_claims(claims_file(experiment))
    recorded = Recorded.read(options.recorded, claims) if options.recorded else None
    print(plan(experiment, claims, recorded), end="")


if __name__ == "__main__":
    run(main, log=False)
