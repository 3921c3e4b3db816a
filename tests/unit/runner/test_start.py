"""What a job imports before its first update: all of it is a wait for every job, and for the card that it holds."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING

import pytest

from maskbench.io.imports import uncollected
from tests.conftest import ROOT
from tests.helpers.models import make_cell, make_encoded, make_model

if TYPE_CHECKING:
    from pathlib import Path

NEEDED = {"torch", "transformers", "datasets", "tokenizers", "accelerate", "pandas", "pyarrow", "pydantic"}
"""Large packages that a job's first update cannot be without."""
LATER = {
    "evaluate", "matplotlib", "peft", "scipy", "seaborn", "seqeval", "sklearn", "snakemake", "statsmodels",
    "torchjd", "torchmetrics",
}  # fmt: skip
"""Packages of this project that scores, probes, other masks or the analysis import, when they need them; transformers
would import two of them by itself (`maskbench.models.optional`)."""
MODULES = 3400
"""Modules of the process, at most: what comes on top is seen here before it is felt."""
CODE = """
import os, sys
from pathlib import Path
from maskbench.experiment.cell import Cell
from maskbench.slots.job import on_slot

cell, encoded, model, work = Cell.model_validate_json(sys.argv[1]), *map(Path, sys.argv[2:])
with on_slot("a job", cell.training, model) as place:
    from maskbench.runner.train import train
    from maskbench.training.state import Inputs
    from maskbench.training.trainer import MaskedTrainer

    def report(*_):
        Path("modules").write_text("\\n".join(sys.modules))
        os._exit(0)

    MaskedTrainer.training_step = report
    train([cell], [Inputs(encoded, model, work)], [work], place.device, keys=[None], points=1, code="c", command="c")
"""


def test_a_job_imports_little_before_its_first_update(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    encoded = make_encoded(tmp_path / "texts", model, "token-classification")
    cell = make_cell("token-classification", {"input": {"kind": "random", "rate": 0.15}})
    arguments = [cell.model_dump_json(), str(encoded), str(model), str(tmp_path / "work")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", CODE, *arguments], check=True, cwd=tmp_path, env=environment)
    found = (tmp_path / "modules").read_text().split()
    roots = {name.partition(".")[0] for name in found}
    assert roots >= NEEDED
    assert not roots & LATER
    assert LATER - set(packages_distributions()) == set(), (
        "a package that is not installed cannot be imported too early"
    )
    assert len(found) <= MODULES


def test_imports_are_not_looked_at_by_the_garbage_collector() -> None:
    import gc

    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


def test_a_job_begins_with_its_imports_frozen(tmp_path: Path) -> None:
    """Each training begins with two full collections, which look at all that is not."""
    code = """
import gc
from pathlib import Path
from maskbench.config.training import Training
from maskbench.io.imports import uncollected
from maskbench.slots.job import on_slot
with on_slot("a job", Training()):
    with uncollected():
        from maskbench.runner.train import train
    print(len(gc.get_objects()), gc.get_freeze_count())
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    looked_at, frozen = map(int, done.stdout.splitlines()[-1].split())
    assert looked_at < frozen / 20
