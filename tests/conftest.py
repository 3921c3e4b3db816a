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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests that are marked `long`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that note faults, leave out the long ones, and arrange the others for two workers.

    With `--dist loadgroup` a worker takes all tests of a group, and any other test by itself. Files whose tests share a
    study, a scheduler or a browser are a group; they come first, since what takes minutes must not begin when all else
    is done. Within the rest the order is that of the files, so that what a file prepares is made once in each worker.
    """
    for item in items:
        if "injected" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.fault)
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        if long:
            config.hook.pytest_deselected(items=long)
            items[:] = [item for item in items if not item.get_closest_marker("long")]
    for item in items:
        if share := item.get_closest_marker("share"):
            item.add_marker(pytest.mark.xdist_group(share.args[0] if share.args else item.path.stem))
    order = ("slurm", "workflow", "share")
    items.sort(key=lambda item: next((n for n, name in enumerate(order) if item.get_closest_marker(name)), len(order)))


@pytest.fixture
def mask_kind() -> Iterator[None]:
    """Forget the masks that a test defines."""
    from maskbench.masks.base import Mask

    before = {family: dict(kinds) for family, kinds in Mask.registry.items()}
    yield
    for family, kinds in before.items():
        Mask.registry[family].clear()
        Mask.registry[family].update(kinds)
