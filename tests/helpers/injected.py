"""Faults that tests inject, counted: each test notes what it did and what became of it, and a table is made of that.

A test says ``injected("SIGKILL of a training job", times=1, recovery_s=...)`` after its assertions, so that only what
was survived is noted. Where ``INJECTED_FAULTS`` names a file, each note is a line of JSON there, and
``python -m tests.helpers.injected FILE`` prints docs/reliability.md from them (``make reliability``).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

VARIABLE = "INJECTED_FAULTS"

PAGE = """# Reliability

Written by `make reliability`, which runs the tests that inject faults and counts what they injected. A fault is counted
after the test's own assertions, and the page is written only if all tests pass: a result that was lost, changed or
half-written is a failed test and no page. *Time to recover* is that of the call that finishes what the fault broke, on
tiny models: the median, and the longest in brackets; – where nothing was to be finished or nobody took the time. With
Snakemake it is that of the whole call; under SLURM from the fault to the end of the job's next attempt, with the waits
in between (docs/slurm.md); of a single training job without its imports, which take about 8 s.

`make reliability ARGS=--long` injects more of some. What was not injected: the failure of a GPU (docs/gpus.md).

| fault | times injected | results lost | time to recover (s) | test |
|---|---|---|---|---|
{rows}
"""


def note(fault: str, times: int = 1, *, lost: int = 0, recovery_s: float | None = None, test: str = "") -> None:
    """Append one line to the file that the environment names, if it names one; whole lines, whoever else writes."""
    if path := os.environ.get(VARIABLE):
        line = {"fault": fault, "times": times, "lost": lost, "recovery_s": recovery_s, "test": test}
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, (json.dumps(line) + "\n").encode())
        finally:
            os.close(handle)


def table(notes: Iterable[dict[str, Any]]) -> str:
    """Return the rows of the table, one for each fault, in the order of their names."""
    by_fault: dict[str, list[dict[str, Any]]] = {}
    for item in notes:
        by_fault.setdefault(item["fault"], []).append(item)
    rows = []
    for fault, items in sorted(by_fault.items()):
        times = [item["recovery_s"] for item in items if item["recovery_s"] is not None]
        recovery = f"{median(times):.1f} ({max(times):.1f})" if times else "–"
        tests = ", ".join(f"`{name}`" for name in sorted({item["test"] for item in items}))
        counts = (sum(item[key] for item in items) for key in ("times", "lost"))
        rows.append(" | ".join(["", *(str(cell) for cell in (fault, *counts, recovery, tests)), ""]).strip())
    return "\n".join(rows)


def main() -> None:
    """Print the page."""
    notes = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    if not notes:
        sys.exit(f"{sys.argv[1]}: no test noted a fault")
    print(PAGE.format(rows=table(notes)), end="")


if __name__ == "__main__":
    main()
