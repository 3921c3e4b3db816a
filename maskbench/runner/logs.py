"""Output of a job: it goes into the log of each cell, and one line for each cell goes to the terminal."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from maskbench.experiment.layout import Layout
from maskbench.io import environment
from maskbench.io.script import announce

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def log_to(path: Path, *, append: bool = False) -> Iterator[None]:
    """Send everything that this process and its libraries print in the block to a new file.

    The file descriptors themselves are changed, so the output of compiled code goes there, too.

    Parameters
    ----------
    append
        The file is there, and is added to.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab" if append else "wb") as stream:
        _flush()
        before = [os.dup(number) for number in (1, 2)]
        try:
            for number in (1, 2):
                os.dup2(stream.fileno(), number)
            if not append:
                announce()
            yield
        finally:
            with suppress(OSError):  # a full disk has been reported before
                _flush()
            for number, kept in zip((1, 2), before, strict=True):
                os.dup2(kept, number)
                os.close(kept)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _since(folder: Path, started: float) -> int:
    """Count the runs in a folder whose records were written after a moment."""
    done = 0
    with suppress(FileNotFoundError), os.scandir(folder) as runs:  # no cell was recorded yet
        for run in runs:
            with suppress(OSError):
                done += os.stat(f"{run.path}/metrics.json").st_mtime >= started  # noqa: PTH116 (10,000 at once)
    return done


def progress(layout: Layout) -> str | None:
    """Say how many cells of this call are done, how many are left, and about how long they will take.

    The call says in MASKBENCH_CELLS how many cells it trains, and in MASKBENCH_STARTED since when. None if it does not,
    as on a cluster, or if it trains none.
    """
    cells, started = int(os.environ.get(environment.CELLS, "0")), float(os.environ.get(environment.STARTED, "0"))
    if not cells:
        return None
    study = Layout(layout.above or layout.folder)
    done = min(cells, sum(_since(each.folder / "training", started) for each in (study, study.tuning)))
    minutes = (time.time() - started) / max(1, done) * (cells - done) / 60
    left = f"{cells - done} left" + (f", about {minutes:.0f} min" if done < cells else "")
    return f"cells: {done} of {cells} done, {left}"
