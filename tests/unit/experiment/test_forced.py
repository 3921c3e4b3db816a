"""Which jobs a call of Snakemake forces, and that they are forced once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maskbench.experiment.forced import Forced, forced_jobs
from maskbench.experiment.layout import Layout

LAYOUT = Layout(Path("results/mine"))
ONE, OTHER = "texts.tiny.single.clean.full.s1.0", "texts.tiny.single.clean.full.s2.0"


def forced(**flags: Any) -> set[str]:
    """Return which of two jobs some options force."""
    known = {"forceall": False, "forcerun": set(), "forcetargets": False, "targets": set()}
    return forced_jobs([ONE, OTHER], LAYOUT, SimpleNamespace(**known | flags))


@pytest.mark.parametrize(
    ("flags", "jobs"),
    [
        ({}, set()),
        ({"forceall": True}, {ONE, OTHER}),
        ({"forcerun": {"train"}}, {ONE, OTHER}),
        ({"forcerun": {"reference", "collect"}}, set()),
        ({"forcerun": {f"./results/mine/jobs/{ONE}.json"}}, {ONE}),
        ({"forcerun": {f"results/mine/jobs/{OTHER}.models"}}, {OTHER}),
        ({"forcetargets": True, "targets": {str(LAYOUT.index(ONE))}}, {ONE}),
        ({"forcetargets": True, "targets": {"results/mine/metrics.csv"}}, set()),
        ({"targets": {str(LAYOUT.index(ONE))}}, set()),
    ],
)
def test_what_a_call_forces(flags: dict[str, Any], jobs: set[str]) -> None:
    assert forced(**flags) == jobs


def test_a_job_is_forced_until_it_has_begun_or_another_call_starts(tmp_path: Path) -> None:
    known = Forced(Layout(tmp_path))
    assert ONE not in known
    known.replace([ONE, OTHER])
    assert ONE in known
    assert OTHER in known
    known.begun(ONE)
    assert ONE not in known
    assert OTHER in Forced(Layout(tmp_path))  # as another process sees it
    known.replace([ONE])
    assert ONE in known
    assert OTHER not in known
