"""The figures: which are drawn, what they show, what their captions say, and that names do not overlap."""

from __future__ import annotations

import json
import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
from docutils.core import publish_parts
from jinja2 import Environment
from matplotlib.text import Text

from maskbench.report.figures import FIGURES, functions, write_figures
from maskbench.report.figures.curves import rated, robustness
from maskbench.report.figures.drawing import Drawing, Nothing, wrapped
from maskbench.report.figures.profile import profile
from maskbench.report.figures.tasks import _beats, _cosines, forgetting
from maskbench.report.formats import rst
from maskbench.report.interference import drawn, homes, improvement, noise, standardised
from maskbench.report.limits import limits
from maskbench.report.study import Study
from maskbench.report.style import style
from tests.helpers import reports as report_samples

TASKS = ["rt-snippets", "conll2003"]
MANY = report_samples.STRATEGIES | {
    f"a-strategy-with-a-rather-long-name-{number}": {
        "input": {"kind": "keyword", "rate": 0.15, "statistic": str(number)}
    }
    for number in range(26)
}


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rich")
    study = report_samples.write_all(folder, TASKS, report_samples.STRATEGIES, 3, sizes=["500", "2000"])
    write_figures(study, folder / "figures")
    return study, json.loads((folder / "figures" / "captions.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FIGURES)
def test_a_study_with_everything_has_every_figure_and_its_caption_says_n_interval_and_test(rich, name):
    caption = rich[1][name]["caption"]
    assert "n = " in caption
    assert "interval" in caption
    assert " test " in caption or "Test:" in caption


@pytest.mark.parametrize(
    "words",
    [
        "*a* `b` |c| d_ e__ [1]_ <k> a:: \\n",
        "{x} {{ y }} {% z %} {# k #}",
        "- a",
        "1. a",
        ".. note:: x",
        "https://a.b/c",
    ],
)
def test_captions_reach_snakemakes_report_as_they_are(words):
    page = publish_parts(Environment().from_string(rst(words)).render(), writer="html")["body"]
    assert unescape(re.sub("<.*?>", "", page)).strip() == words


def test_each_figure_has_a_function():
    assert functions().keys() == FIGURES.keys()


def test_figures_without_data_say_why_in_a_line(tmp_path):
    report_samples.write_all(tmp_path, ["conll2003"], {"none": {}}, 1, full=False)
    write_figures(Study.read(tmp_path), tmp_path / "figures")
    captions = json.loads((tmp_path / "figures" / "captions.json").read_text(encoding="utf-8"))
    why = {name: words["why"] for name, words in captions.items() if "why" in words}
    assert set(why) == set(FIGURES) - {"scores", "gaps", "robustness", "confusions"}
    assert all(words.endswith(".") and "\n" not in words for words in why.values())
    assert (tmp_path / "figures" / "forgetting.png").stat().st_size < 20_000
    assert "<svg" in (tmp_path / "figures" / "forgetting.svg").read_text(encoding="utf-8")


def test_what_learned_nothing_is_marked(rich):
    study, captions = rich
    run = study.runs.index[study.runs["strategy"] == "random"][0]
    metrics = study.metrics.copy()
    metrics.loc[(metrics["run"] == run) & (metrics["measure"] == "score"), "value"] = 0.0
    stuck = Study(metrics, study.comparisons, study.baseline, study.evidence, study.along, study.settings)
    assert stuck.stuck == [run]
    assert "majority class (random). What learned nothing" in " ".join(limits(stuck))
    with style():
        drawing = profile(stuck)
    labels = {label.get_text() for axes in drawing.figure.axes for label in axes.get_yticklabels()}
    assert {label for label in labels if label.endswith("\N{DAGGER}")} == {"random \N{DAGGER}"}
    assert "did hardly better than the majority class" in drawing.caption
    assert "majority class" not in captions["profile"]["caption"]


def test_improvements_are_signed_and_paired(rich):
    study, _ = rich
    block = next(block for block in homes(study, "loss_gap") if block.task == "conll2003")
    rows = study.metrics[(study.metrics["measure"] == "loss_gap") & (study.metrics["task"] == "conll2003")]
    rows = rows[
        (rows["regime"] == "single") & (rows["condition"] == "clean") & (rows["train_size"] == block.train_size)
    ]
    table = rows.pivot_table(index="seed", columns="strategy", values="value")
    assert improvement(study, block, "freeze", "loss_gap").to_dict() == pytest.approx(
        (table["none"] - table["freeze"]).to_dict()
    )
    assert (improvement(study, block, "random-60", "score") < 0).all()
    assert noise(study, block, "loss_gap") == pytest.approx(np.sqrt(table.var(ddof=1).mean()))
    found = standardised(study, [block], "freeze", "loss_gap")
    expected = (table["none"] - table["freeze"]) / np.sqrt(table.var(ddof=1).mean())
    assert found.to_dict() == pytest.approx(expected.to_dict())


def test_each_measure_is_of_the_training_that_it_is_about(rich):
    study, _ = rich
    assert {block.regime for block in homes(study, "forgetting")} == {"after-conll2003", "after-rt-snippets"}
    assert {block.condition for block in homes(study, "cue_reliance")} == {"cue-95"}
    assert all(block.plain for block in homes(study, "representation_drift"))
    assert "mlm_forgetting" not in drawn(study)


def test_only_the_rate_differs_on_a_curve(rich):
    study, _ = rich
    assert rated(study) == {
        "random": ["random", "random-05", "random-30", "random-60"],
        "span": ["span", "span-30"],
    }


def test_no_strategy_on_the_front_is_beaten():
    assert _beats((1.0, 80.0), (2.0, 80.0))
    assert not _beats((1.0, 79.0), (2.0, 80.0))
    assert not _beats((1.0, 80.0), (1.0, 80.0))


def test_gradients_of_a_pair_are_counted_once(rich):
    study, _ = rich
    table = _cosines(study)
    assert set(table["pair"]) == {"conll2003 with rt-snippets"}
    assert len(table) == 9 * 3 * 6 * 8  # strategies, seeds, steps, the encoder and its layers
    assert not table.duplicated(["strategy", "seed", "step", "layer"]).any()


def boxes(figure):
    """Return the boxes of all words of a figure that are seen, in pixels."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    texts = [item for axes in figure.axes for item in axes.texts if item.get_text().strip()]
    texts += [item for axes in figure.axes if axes.axison for item in axes.get_yticklabels() if item.get_text()]
    # of an annotation the words alone, without the line to its point
    return [(item.get_text(), Text.get_window_extent(item, renderer)) for item in texts if item.get_visible()]


@pytest.mark.parametrize("name", ["claims", "profile", "forgetting", "scores"])
def test_no_words_overlap_with_thirty_five_strategies(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp() / "many"
    if not folder.exists():
        report_samples.write_all(folder, TASKS, MANY, 2)
    with style():
        drawing = functions()[name](Study.read(folder))
        assert isinstance(drawing, Drawing)
        found = boxes(drawing.figure)
    corners = np.array([[box.x0 + 1, box.y0 + 2, box.x1 - 1, box.y1 - 2] for _, box in found])
    one, other = corners[:, None, :], corners[None, :, :]
    apart = (one[..., 2] <= other[..., 0]) | (other[..., 2] <= one[..., 0])
    apart |= (one[..., 3] <= other[..., 1]) | (other[..., 3] <= one[..., 1])
    clash = np.argwhere(~apart & ~np.eye(len(found), dtype=bool))
    assert [(found[first][0], found[second][0]) for first, second in clash] == []
    assert len(found) > 5


def test_long_names_are_broken_once():
    assert wrapped("a-strategy-with-a-rather-long-name") == "a-strategy-with-a-rather-\nlong-name"
    assert wrapped("x" * 70).split("\n") == ["x" * 26, "x" * 25 + "…"]


def test_nothing_is_said_of_forgetting_where_none_was_measured(tmp_path):
    study = report_samples.write_all(tmp_path, TASKS, {"none": {}, "random": {}}, 2, full=False)
    assert isinstance(forgetting(study), Nothing)
    assert pd.isna(noise(study, study.blocks[0], "forgetting"))


def test_a_strategy_of_one_task_stands_beside_the_baseline_on_that_task(tmp_path):
    """With many strategies tasks are averaged, and limits leave some strategies one task alone."""
    study = report_samples.write_all(tmp_path, TASKS, MANY, 3)
    metrics, drop = study.metrics, "perturbation_drop:swap-10"
    metrics = metrics[~((metrics["strategy"] == "freeze") & (metrics["task"] == "rt-snippets"))]
    metrics = metrics[~((metrics["strategy"] == "freeze") & (metrics["seed"] == 3))]
    limited = Study(metrics, study.comparisons, study.baseline, study.evidence, study.along, study.settings)
    with style():
        drawing = robustness(limited)
    panel = next(axes for axes in drawing.figure.axes if axes.get_title(loc="left") == "freeze")
    own = metrics[(metrics["measure"] == drop) & (metrics["task"] == "conll2003") & metrics["seed"].isin([1, 2])]
    own = own[own["regime"].eq("single") & own["condition"].eq("clean")]
    points = [place for line in panel.get_lines() for place in zip(line.get_xdata(), line.get_ydata(), strict=True)]
    drawn_at = [y for x, y in points if x == 10]
    for strategy in ("none", "freeze"):
        assert any(np.isclose(drawn_at, own.loc[own["strategy"] == strategy, "value"].mean()))
