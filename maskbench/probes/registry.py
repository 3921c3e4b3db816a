"""The registry of probes: each has a name in the configuration, and yields metrics of a subject."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from maskbench.config.probes import ProbeName
    from maskbench.probes.subject import Subject, Wanted
    from maskbench.records.run import Metric

    Measured = Iterator[Metric]
    Reads = Callable[[Subject], Iterable[Wanted]]

Result = TypeVar("Result")

REGISTRY: dict[ProbeName, Callable[[Subject], Measured]] = {}
"""Every probe by its name in the configuration; a probe yields its metrics, none if the run has no use for it."""

AT_EVALUATIONS: set[ProbeName] = set()
"""Probes that the probe `trajectory` calls again for each evaluation of the training."""

READS: dict[ProbeName, Reads] = {}
"""Which sets of texts probes will ask for: one pass over all of them serves all probes."""


def texts_of(subject: Subject, names: Iterable[ProbeName]) -> list[Wanted]:
    """Return the sets of texts that probes will ask a subject for."""
    return [texts for name in names if name in READS for texts in READS[name](subject)]


def probe(
    name: ProbeName, *, along: bool = False, reads: Reads | None = None
) -> Callable[[Callable[[Subject], Measured]], Callable[[Subject], Measured]]:
    """Enter a function in the registry of probes.

    Parameters
    ----------
    name
        Its name in the configuration.
    along
        Whether it is measured along the training, too.
    reads
        Returns the sets of texts that it will ask the subject for; None: it asks for none, or passes over texts on its
        own. It may name none that it needs only sometimes: what was not passed over before is when it is asked for.
    """

    def enter(function: Callable[[Subject], Measured]) -> Callable[[Subject], Measured]:
        if REGISTRY.setdefault(name, function) is not function:
            raise TypeError(f"two probes are called {name!r}")
        if along:
            AT_EVALUATIONS.add(name)
        if reads is not None:
            READS[name] = reads
        return function

    return enter


def once(function: Callable[[Subject], Result]) -> Callable[[Subject], Result]:
    """Make a function of a subject compute its result once; the subject has it, so that it goes when the subject goes.

    A cache of the function itself would keep the models of all cells of a job in memory.
    """

    @wraps(function)
    def computed(subject: Subject) -> Result:
        if function not in subject.computed:
            subject.computed[function] = function(subject)
        return cast("Result", subject.computed[function])

    return computed
