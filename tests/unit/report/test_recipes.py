"""The table of pretraining recipes: scores, what they vary by, and the loss on held-out text."""

from __future__ import annotations

import pytest

from maskbench.records.manifest import ModelEntry
from maskbench.report.limits import _seeds
from maskbench.report.recipes import recipes
from maskbench.report.study import Study
from maskbench.report.tables import scores
from tests.unit.analysis.test_between_models import study


def shown(metrics, models=()):
    return recipes(Study(metrics, None, "none", None, None, {}, models))


def test_a_recipe_has_one_row_with_its_loss_and_what_its_score_varies_by():
    """Pretraining seeds 1, 2, 3 add 1, 2, 3 points, fine-tuning seeds 0, 2, 4; one run failed."""

    def value(recipe, strategy, pretraining, seed):
        return 0.7 + 0.01 * pretraining + 0.02 * (seed - 1)

    metrics = study(value, seeds=(1, 2, 3), recipes=("a",), failed={("a-p2", 3)})
    models = [
        ModelEntry(model=f"a-p{seed}", recipe="a", pretraining_seed=seed, held_out_loss=3.0 + seed, unigram_loss=6.5)
        for seed in (1, 2, 3)
    ]
    table = shown(metrics, models)
    (row,) = table.data.to_dict("records")
    assert (row["recipe"], row["n_pretraining"], row["n"], row["n_failed"]) == ("a", 3, 8, 1)
    assert row["held_out_loss"] == pytest.approx(5.0)
    assert row["mean"] == pytest.approx((73 + 73 + 75) / 3)  # of a-p2 the mean of 72 and 74
    assert (row["pretraining_sd"], row["fine_tuning_sd"]) == pytest.approx((1.0, 2.0), rel=0.1)  # 1 and 2 without gaps
    assert row["rest_sd"] == pytest.approx(0.0, abs=1e-6)
    assert [words.rpartition(".s")[2] for words in row["runs"].split()] == ["{1..3}", "{1..2}", "{1..3}"]
    (line,) = table.shown.to_dict("records")
    assert (line["held-out loss, nats"], line["loss of frequencies, nats"]) == ("5.00", "6.50")
    assert line["runs"] == "8 (1 failed)"


def test_models_that_were_not_pretrained_here_have_no_row():
    table = shown(study(lambda *_: 0.8, recipes=(), fetched=("m",)))
    assert table.data.empty
    assert table.shown.empty


def several(strategies=("none",)):
    metrics = study(lambda *_: 0.8, seeds=(1, 2, 3), recipes=("a", "b"), fetched=("m",), strategies=strategies)
    return Study(metrics, None, "none", None, None, {})


def test_figures_show_the_first_model_of_a_recipe_and_tables_all():
    found = several()
    assert [block.model for block in found.main_blocks] == ["a-p1", "b-p1", "m"]
    assert found.main_words.endswith("of each pretraining recipe the model of its first seed")
    assert len(scores(found).data) == 7
    alone = Study(study(lambda *_: 0.8, recipes=(), fetched=("m", "n")), None, "none", None, None, {})
    assert ([block.model for block in alone.main_blocks], alone.main_words) == (
        ["m", "n"],
        "a task alone on clean data",
    )


def test_limits_are_about_pretraining_seeds():
    lines = _seeds(several())
    assert "There are 3 pretraining seeds. Between pretraining recipes no test can reject" in lines[0]
    assert lines[1] == "Only the baseline none was run: this study says nothing of masking in fine-tuning."
    assert "There are 3 seeds." in _seeds(several(("none", "x")))[1]
