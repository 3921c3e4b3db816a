"""The stage of pretraining: what a call says of it, what pretrains again, what a recipe tells beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from maskbench.errors import InputError
from maskbench.experiment.code import pretraining_code
from maskbench.experiment.jobs import Jobs
from maskbench.experiment.layout import Layout
from maskbench.experiment.load import load
from maskbench.experiment.planned import Planned

if TYPE_CHECKING:
    from pathlib import Path

    from maskbench.experiment.experiment import Experiment

BASE: dict[str, Any] = {"study": "x", "tasks": ["rt-snippets"], "strategies": ["none"], "seeds": [1]}


def loaded(pretrain: dict[str, Any], **changes: Any) -> Experiment:
    """Return an experiment with one recipe."""
    return load(
        BASE | {"models": ["bert-tiny", {"name": "mine", "pretrain": {"corpora": ["tasks"]} | pretrain}]} | changes
    )


def test_a_call_says_how_many_models_it_pretrains(tmp_path: Path) -> None:
    experiment = loaded({"seeds": [1, 2, 3]})
    jobs, layout = Jobs(experiment), Layout(tmp_path)
    made = {layout.model_source(name) for name in ("mine-p1", "mine-p3")}
    plan = Planned.of(jobs, layout, list(jobs.by_id), made, pretrained=["mine-p3", "mine-p1"])
    assert plan.lines[0] == "of 3 models of the study's own, 2 to pretrain: mine-p1, mine-p3"
    assert Planned.of(jobs, layout, [], set()).lines == ()


def test_cells_start_from_a_pretrained_model_as_from_a_fetched_one(tmp_path: Path) -> None:
    jobs, layout = Jobs(loaded({"seeds": [2]})), Layout(tmp_path)
    for model in ("bert-tiny", "mine-p2"):
        (job,) = (job for job in jobs.by_id.values() if job.id.model == model)
        assert layout.model_source(model) in jobs.inputs(job, layout)
    cell = next(cell for cell in jobs.cells.values() if cell.model == "mine-p2")
    assert "pretrain" not in cell.model_dump_json()  # its content counts, not its recipe


def test_what_does_not_change_a_model_is_no_part_of_its_recipe() -> None:
    def recipe(**changes: Any) -> str:
        (_, model) = loaded({"updates": 5}, **changes).models
        assert model.pretrain is not None
        return model.pretrain.content().as_argument() + pretraining_code(model.pretrain)

    plain = recipe()
    assert recipe(strategies=["none", "random"], seeds=[1, 2], training={"learning_rate": 0.1}) == plain
    other = loaded({"updates": 6}).models[1].pretrain
    assert other is not None
    assert other.content().as_argument() not in plain


def test_the_code_of_a_pretraining_is_its_core_and_its_own_mask() -> None:
    def code(kind: str) -> str:
        model = loaded({"input": {"kind": kind}}).models[1]
        assert model.pretrain is not None
        return pretraining_code(model.pretrain)

    assert code("random") == code("random") != code("span")


def test_a_model_from_scratch_is_refused_what_a_bert_is_refused(tmp_path: Path) -> None:
    local = {"name": "given", "source": {"local": str(tmp_path)}}
    (tmp_path / "config.json").write_text('{"model_type": "funnel"}')
    strategies = [{"name": "none"}, {"name": "causal", "attention": {"kind": "causal"}}]
    loaded({}, strategies=strategies)
    with pytest.raises(
        InputError, match=r"models\[1\] \(mine\): strategies \(causal\)\.attention: nothing can be hidden"
    ):
        loaded({"continues": local}, strategies=strategies)
