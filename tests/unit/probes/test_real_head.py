"""What needs a masked-LM head, on a real one: forgetting, `generated` masks and `mlm-auxiliary`, on real sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from maskbench.config.tasks import Task
from maskbench.data.encode import encode
from maskbench.data.prepare import prepare
from maskbench.data.sources import cache_folder, fetch_task
from maskbench.experiment.presets import presets
from maskbench.probes import reference
from maskbench.probes.run import probe_run
from maskbench.probes.sources import Sources
from maskbench.records.pretraining import PretrainingRecord
from maskbench.slots.device import choose
from maskbench.training.run import Inputs, run_cell
from tests.helpers.models import make_cell
from tests.helpers.probed_runs import DRIFT, settings, values
from tests.helpers.real_head import bert_tiny_mlm

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.network

STRATEGIES: dict[str, dict[str, Any]] = {
    "none": {},
    "fast": {"training": {"learning_rate": 1e-2}},
    "generated": {"input": {"kind": "generated", "by": "model"}},
    "mlm-auxiliary": {"objective": {"kind": "mlm-auxiliary", "weight": 0.5}},
}


@pytest.fixture(scope="module")
def model() -> Path:
    """Folder of BERT-tiny with a masked-LM head that works."""
    return bert_tiny_mlm()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Folder with some hundred real sentences, encoded, and what was measured of the model on them."""
    folder = tmp_path_factory.mktemp("real-head")
    preset = presets()["tasks"]["rt-snippets"] | {"out_of_domain": []}
    fetch_task(Task.model_validate({"name": "rt-snippets", **preset}), folder / "whole", cache_folder(None))
    (name,) = preset["files"].values()
    lines = (folder / "whole" / name).read_text(encoding="utf-8").splitlines(keepends=True)[:900]
    (folder / "some").mkdir()
    (folder / "some" / name).write_text("".join(lines), encoding="utf-8")
    task = Task.model_validate({"name": "rt-snippets", **preset, "source": {"local": str(folder / "some")}})
    fetch_task(task, folder / "source", folder / "cache")
    prepare(task, folder / "source", folder / "clean")
    encode(task, folder / "clean", model, folder / "encoded")
    device = choose(make_cell().training)
    keys = {"max_test": None, "examples": 64, "batch_size": 32, **DRIFT}
    reference.make(folder / "encoded", model, folder / "reference", device=device, code="c", **keys)
    return folder


@pytest.fixture(scope="module")
def forgetting(bench: Path, model: Path) -> dict[str, float]:
    """Masked-LM forgetting of each strategy, in nats."""
    found = {}
    for name, parts in STRATEGIES.items():
        training = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3} | parts.get("training", {})
        masks = {key: value for key, value in parts.items() if key != "training"}
        cell = make_cell(task="rt-snippets", strategy={"name": name, **masks}, train_size=320, training=training)
        run = bench / "training" / cell.run
        device = choose(cell.training)
        inputs = Inputs(bench / "encoded", model, run / "work", run / "model")
        record, outcome = run_cell(cell, inputs, device, code="c", command="x")
        assert record.status == "completed", record.error
        assert outcome is not None
        outcome.table.to_parquet(run / "predictions.parquet", index=False)
        record.write(run / "metrics.json")
        sources = Sources(run, model, bench / "reference", bench / "encoded", bench / "encoded", bench / "clean")
        probed, _ = probe_run(cell, sources, settings(examples=64, measure=["masked-lm"]), device, code="c")
        value = values(probed)["mlm_forgetting"]
        assert value is not None, probed.notes
        found[name] = value
    return found


def test_the_head_predicts_masked_words(model: Path) -> None:
    record = PretrainingRecord.read(model / "pretraining.json")
    last = record.held_out[-1]
    assert last.loss < record.unigram_loss - 2
    assert last.accuracy > 0.25


def test_forgetting_is_measured_under_every_strategy_that_needs_the_head(forgetting: dict[str, float]) -> None:
    assert forgetting.keys() == STRATEGIES.keys()
    assert 0 < forgetting["none"] < 3
    assert forgetting["mlm-auxiliary"] < forgetting["none"]  # it goes on to learn masked words, on these texts


def test_ten_times_the_learning_rate_forgets_more(forgetting: dict[str, float]) -> None:
    assert forgetting["fast"] > forgetting["none"] + 0.1
