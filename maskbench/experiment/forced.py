"""Jobs that a call of Snakemake runs again whatever is there: ``--forcerun train``, ``--forceall``, ``--force FILE``.

A job sees none of these options, and leaves out the cells that are finished. So before the call starts, it puts an
empty file beside the index of each such job. The job removes it when it has forgotten what its cells left; until then
these cells count as unfinished everywhere. A job that is killed and started again finds no such file, and goes on.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Protocol

from maskbench.experiment.layout import Layout


class Flags(Protocol):
    """What Snakemake keeps of a command line (its ``DAGSettings``), as far as it forces anything."""

    @property
    def forceall(self) -> bool:
        """Whether the call forces every rule (``--forceall``)."""

    @property
    def forcerun(self) -> Collection[str]:
        """Rules or files that the call forces (``--forcerun``)."""

    @property
    def forcetargets(self) -> bool:
        """Whether the call forces its targets (``--force``)."""

    @property
    def targets(self) -> Collection[str]:
        """Rules or files that the call asks for."""


def forced_jobs(jobs: Iterable[str], layout: Layout, flags: Flags, rule: str = "train") -> set[str]:
    """Return the jobs that a call was told to run again.

    Snakemake itself also forces jobs whose outputs are incomplete since they were killed; these are not meant.

    Parameters
    ----------
    jobs
        Those that the call runs.
    layout
        Where things are.
    flags
        What the command line says.
    rule
        The rule of these jobs.
    """
    named = [*flags.forcerun, *(flags.targets if flags.forcetargets else ())]
    wanted = {os.path.relpath(name) for name in named}
    if flags.forceall or rule in wanted:
        return set(jobs)
    return {job for job in jobs if wanted & {str(layout.index(job)), str(layout.models(job))}}


class Forced:
    """The jobs of a study that were told to run again and have not begun.

    Parameters
    ----------
    layout
        Where things are.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def __contains__(self, job: object) -> bool:
        """Tell whether a job is one of them, at this moment."""
        return self.layout.forced(str(job)).exists()

    def replace(self, jobs: Collection[str]) -> None:
        """Let these jobs be all of them; what an earlier call that was interrupted has left is withdrawn."""
        for file in self.layout.forced("x").parent.glob("*.forced"):
            file.unlink(missing_ok=True)
        for job in jobs:
            file = self.layout.forced(job)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()

    def begun(self, job: str) -> None:
        """Take a job off the list."""
        self.layout.forced(job).unlink(missing_ok=True)
