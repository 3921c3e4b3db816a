"""Settings that all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Set before any test imports a library that reads them.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("MPLBACKEND", "agg")
# Tiny models: threads would only wait for each other, thirty times as long on a machine that does other things, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run, so that a failure on one machine is one everywhere; `--hypothesis-profile=explore`
# looks for new ones.
SLOW = [HealthCheck.too_slow]
settings.register_profile("maskbench", deadline=None, derandomize=True, print_blob=True, suppress_health_check=SLOW)
settings.register_profile("explore", deadline=None, max_examples=2000, suppress_health_check=SLOW)
settings.load_profile("maskbench")


@pytest.fixture(scope="session")
def root() -> Path:
    """Top of the repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def injected(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Note a fault that the test injected and that was survived, for docs/reliability.md: fault, times, recovery_s."""
    from tests.injected import note

    place = f"{request.path.parent.name}/{request.path.name}"
    return partial(note, test=f"{place}::{getattr(request.node, 'originalname', request.node.name)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that note faults, which `make reliability` runs; put those first that take minutes.

    Workers take file after file: what is long must not begin when all else is done.
    """
    for item in items:
        if "injected" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.fault)
    items.sort(key=lambda item: not any(item.get_closest_marker(name) for name in ("workflow", "slurm")))


@pytest.fixture
def mask_kind() -> Iterator[None]:
    """Forget the masks that a test defines."""
    from maskbench.masks.base import Mask

    before = {family: dict(kinds) for family, kinds in Mask.registry.items()}
    yield
    for family, kinds in before.items():
        Mask.registry[family].clear()
        Mask.registry[family].update(kinds)
