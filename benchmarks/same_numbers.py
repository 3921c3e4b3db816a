"""Compare two studies run by run: which measures have the same bits in both, and which do not.

For a change that must not change a number: run a study before and after it, on one machine, and compare the folders.
Times, memory and what follows from them differ between any two runs and are left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from maskbench.config.measures import MEASURES

OF_MACHINE = [name for name, entry in MEASURES.items() if entry.of_machine]
KEYS = ["task", "model", "strategy", "regime", "condition", "train_size", "seed", "split", "measure"]


def read(folder: Path) -> pd.Series:
    """Return the values of a study by run, split and measure, as they were written."""
    table = pd.read_csv(folder / "metrics.csv", dtype=str, keep_default_na=False)
    table = table[~table["measure"].str.partition(":")[0].isin(OF_MACHINE)]
    return table.set_index(KEYS)["value"].sort_index()


def main() -> None:
    """Print what differs; exit with 1 if anything does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="folder of the study before, results/<study>")
    parser.add_argument("after", type=Path, help="folder of the study after")
    options = parser.parse_args()
    before, after = read(options.before), read(options.after)
    both = before.index.intersection(after.index)
    changed = both[before[both].to_numpy() != after[both].to_numpy()]
    print(f"{len(both)} values in both, {len(both) - len(changed)} of them the same to the last digit")
    for name, index in (
        ("before", before.index.difference(after.index)),
        ("after", after.index.difference(before.index)),
    ):
        if len(index):
            print(f"{len(index)} only {name}: {', '.join(sorted({key[-1] for key in index}))}")
    for key in changed[:20]:
        print(f"{'.'.join(map(str, key[:-2]))} {key[-2]} {key[-1]}: {before[key]} -> {after[key]}")
    if len(changed) > 20:
        print(f"and {len(changed) - 20} more")
    sys.exit(1 if len(changed) else 0)


if __name__ == "__main__":
    main()
