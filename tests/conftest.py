"""Settings that all tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# Scripts that tests start by themselves import maskbench from here, as they do under make.
ROOT = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = str(ROOT)

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


KINDS = ("sequence-classification", "token-classification")
SHARING: dict[str, tuple[str, ...]] = {
    "tests/slurm/test_slurm.py": (),
    "tests/workflow/test_interference.py": (),
    "tests/workflow/test_pipeline.py": (),
    "tests/workflow/test_pretraining.py": (),
    "tests/workflow/test_real_text.py": (),
    "tests/browser/test_page.py": (),
    "tests/unit/masks/test_every_mask.py": KINDS,
    "tests/unit/runner/test_job_runner.py": (),
    "tests/unit/training/test_resume.py": (),
    "tests/unit/probes/test_known_truth.py": (),
    "tests/unit/probes/test_probes_run.py": (),
    "tests/unit/training/test_regimes.py": (),
    "tests/unit/training/test_faults.py": (),
    "tests/unit/recorded/test_archive.py": (),
    "tests/unit/report/test_figures.py": (),
    "tests/unit/report/test_report.py": (),
    "tests/unit/docs/test_exhibits.py": (),
    "tests/unit/training/test_training.py": (),
    "tests/unit/training/test_stack.py": (),
    "tests/unit/runner/test_stacks.py": (),
}
"""Files whose tests share something costly (a scheduler, a study, trained models, figures): one worker takes each; with
names, one worker for all tests with that name in their parameters."""


@pytest.fixture(scope="session")
def root() -> Path:
    """Top of the repository."""
    return ROOT


@pytest.fixture
def injected(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Note a fault that the test injected and that was survived, for docs/reliability.md: fault, times, recovery_s."""
    from tests.helpers.injected import note

    place = request.path.relative_to(ROOT / "tests").as_posix()
    return partial(note, test=f"{place}::{getattr(request.node, 'originalname', request.node.name)}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests that are marked `long`")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Let a worker take all tests that share something costly, and any other test by itself."""
    return Shared(config, log)


class Shared(LoadScopeScheduling):
    """What shares something costly is one unit of work (`loadgroup` of xdist 3.8 does nothing with pytest 9.2)."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file not in SHARING:
            return nodeid
        return next((part for part in SHARING[file] if part in nodeid), file)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that note faults, leave out the long ones, and put first what must not begin last.

    First come the scheduler and whole studies, then the files whose tests share something; within the rest the order is
    that of the files, so that what a file prepares is made once in each worker.
    """
    for item in items:
        if "injected" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.fault)
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        if long:
            config.hook.pytest_deselected(items=long)
            items[:] = [item for item in items if not item.get_closest_marker("long")]

    def place(item: pytest.Item) -> int:
        marks = [item.get_closest_marker(name) is not None for name in ("slurm", "workflow")]
        return (*marks, item.nodeid.partition("::")[0] in SHARING, True).index(True)

    items.sort(key=place)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Take what the tests imported out of garbage collection.

    That is half a million objects, which a job of cells would go through three times for each of its tiny cells.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def mask_kind() -> Iterator[None]:
    """Forget the masks that a test defines."""
    from maskbench.masks.base import Mask

    before = {family: dict(kinds) for family, kinds in Mask.registry.items()}
    yield
    for family, kinds in before.items():
        Mask.registry[family].clear()
        Mask.registry[family].update(kinds)
