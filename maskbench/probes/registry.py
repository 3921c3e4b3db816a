"""The registry of probes: each has a name in the configuration, and yields metrics of a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maskbench.config.probes import ProbeName
    from maskbench.probes.subject import Subject
    from maskbench.records.run import Metric

    Measured = Iterator[Metric]

REGISTRY: dict[ProbeName, Callable[[Subject], Measured]] = {}
"""Every probe by its name in the configuration; a probe yields its metrics, none if the run has no use for it."""

AT_EVALUATIONS: set[ProbeName] = set()
"""Probes that the probe `trajectory` calls again for each evaluation of the training."""


def probe(
    name: ProbeName, *, along: bool = False
) -> Callable[[Callable[[Subject], Measured]], Callable[[Subject], Measured]]:
    """Enter a function in the registry of probes.

    Parameters
    ----------
    name
        Its name in the configuration.
    along
        Whether it is measured along the training, too.
    """

    def enter(function: Callable[[Subject], Measured]) -> Callable[[Subject], Measured]:
        if REGISTRY.setdefault(name, function) is not function:
            raise TypeError(f"two probes are called {name!r}")
        if along:
            AT_EVALUATIONS.add(name)
        return function

    return enter
