"""The figures: which are drawn, what they show, what their captions say, and that names do not overlap."""

from __future__ import annotations

import json
import re
from html import unescape
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from docutils.core import publish_parts
from jinja2 import Environment
from matplotlib.text import Text
from PIL import Image

from maskbench.analysis.compare import ALL_TASKS
from maskbench.report.compact import small_svg
from maskbench.report.figures import FIGURES, functions, write_figures
from maskbench.report.figures.contrasts import cost, differences
from maskbench.report.figures.curves import dynamic, learning, rated, rates
from maskbench.report.figures.drawing import Drawing, Nothing, ratio_axis, wrapped
from maskbench.report.figures.profile import profile
from maskbench.report.figures.robustness import robustness
from maskbench.report.figures.runs import gaps, scores
from maskbench.report.figures.tasks import _beats, _cosines, forgetting
from maskbench.report.figures.tuning import tuning
from maskbench.report.formats import rst
from maskbench.report.interference import drawn, homes, improvement, noise, standardised
from maskbench.report.limits import limits
from maskbench.report.study import Study
from maskbench.report.style import canvas, save, style
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


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A study of which two strategies ran at all train sizes, the others at the one of the claims.

    Of the third task there are two strategies alone.
    """
    tasks, sizes = [*TASKS, "topics"], ["250", "1000", "4000"]
    study = report_samples.write_all(
        tmp_path_factory.mktemp("limited"), tasks, report_samples.STRATEGIES, 3, sizes=sizes, full=False
    )
    metrics, comparisons = (table[_ran(table)] for table in (study.metrics, study.comparisons))
    return Study(metrics, comparisons, study.baseline, study.evidence, study.along, study.settings, train_size="1000")


def _ran(table):
    at_size = (table["train_size"] == "1000") | table["strategy"].isin(["none", "random"])
    topics = (table["task"] != "topics") | (
        table["strategy"].isin(["none", "random-60"]) & (table["train_size"] == "1000")
    )
    both = (table["task"] != ALL_TASKS) | (table["strategy"] != "span")
    return at_size & topics & both & ((table["task"] != "conll2003") | (table["strategy"] != "span"))


def at(study, size, metrics=None):
    """Return the same study with claims that are judged at another train size."""
    metrics = study.metrics if metrics is None else metrics
    about = (study.comparisons, study.baseline, study.evidence, study.along, study.settings)
    return Study(metrics, *about, train_size=size)


def panels_of(drawing):
    """Return the panels of a drawing by their titles."""
    return {axes.get_title(loc="left"): axes for axes in drawing.figure.axes if axes.axison}


def names_of(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


@pytest.mark.parametrize(("size", "shown"), [("1000", "1000"), (None, "1000"), ("4000", "4000"), ("7", "1000")])
def test_figures_show_the_train_size_of_the_claims_or_the_one_at_which_most_ran(limited, size, shown):
    sizes = {block.task: block.train_size for block in at(limited, size).main_blocks}
    # of the third task there is no other size
    assert sizes == {"rt-snippets": shown, "conll2003": shown, "topics": "1000"}
    words = (
        "1\N{NARROW NO-BREAK SPACE}000 or 4\N{NARROW NO-BREAK SPACE}000"
        if shown == "4000"
        else "1\N{NARROW NO-BREAK SPACE}000"
    )
    assert at(limited, size).main_words == f"a task alone on clean data, with {words} training texts"


def test_of_sizes_at_which_as_many_ran_the_largest_is_shown(rich, limited):
    assert {block.train_size for block in rich[0].main_blocks} == {"2000"}
    two = limited.metrics[limited.metrics["strategy"].isin(["none", "random"]) & (limited.metrics["task"] != "topics")]
    assert {block.train_size for block in at(limited, None, two).main_blocks} == {"4000"}


def test_the_train_size_of_the_claims_is_read(tmp_path):
    report_samples.write_all(tmp_path, ["conll2003"], {"none": {}, "random": {}}, 2, sizes=["500", "2000"], full=False)
    design = json.loads((tmp_path / "experiment.json").read_text(encoding="utf-8"))
    assert {block.train_size for block in Study.read(tmp_path).main_blocks} == {"2000"}
    design["analysis"]["train_size"] = 500
    (tmp_path / "experiment.json").write_text(json.dumps(design), encoding="utf-8")
    assert {block.train_size for block in Study.read(tmp_path).main_blocks} == {"500"}


@pytest.mark.parametrize("draw", [scores, differences, gaps, cost, robustness, dynamic, rates])
def test_figures_of_a_limited_study_show_what_ran_and_say_at_which_size(limited, draw):
    with style():
        drawing = draw(limited)
    assert isinstance(drawing, Drawing)
    assert "with 1\N{NARROW NO-BREAK SPACE}000 training texts" in drawing.caption
    assert not any("examples" in title for title in panels_of(drawing))  # all panels are of one size
    labels = {label for axes in panels_of(drawing).values() for label in names_of(axes)}
    assert "span-30" in labels or draw in (dynamic, rates, robustness)


def test_a_task_that_few_strategies_ran_on_has_a_short_panel(limited):
    with style():
        panels = panels_of(scores(limited))
    assert names_of(panels["topics"]) == ["none", "random-60"]
    assert names_of(panels["rt-snippets"]) == limited.strategies
    said = {title: [words.get_text() for words in axes.texts].count("not run") for title, axes in panels.items()}
    assert said == {"rt-snippets": 0, "conll2003": 1, "topics": 0}


def test_what_ran_on_one_task_alone_is_not_called_missing_from_all_tasks_together(limited, monkeypatch):
    monkeypatch.setattr("maskbench.report.figures.drawing.SIDE_BY_SIDE", 1)
    with style():
        panels = panels_of(differences(limited))
    words = [words.get_text() for words in panels["all tasks together"].texts]
    assert (words.count("one task only"), words.count("not run")) == (1, 0)


def test_captions_say_where_strategies_have_other_seeds_than_the_baseline(limited):
    """Two runs of the same seeds are as good as each other, and their means over other seeds are not."""
    fewer = limited.metrics[(limited.metrics["strategy"] != "freeze") | (limited.metrics["seed"] < 3)]
    with style():
        for draw in (scores, gaps):
            said = [draw(study).caption for study in (limited, at(limited, "1000", fewer))]
            assert ["only paired differences compare" in caption for caption in said] == [False, True]


def test_learning_curves_are_of_strategies_with_several_sizes(limited, rich):
    with style():
        few, all_of_them = learning(limited), learning(rich[0])
    assert list(panels_of(few)) == ["none", "random"]
    assert "ran at one train size alone" in few.caption
    assert list(panels_of(all_of_them)) == rich[0].strategies
    assert len([line for line in panels_of(few)["none"].get_lines() if len(line.get_xdata()) == 3]) == 2


def test_learning_curves_show_the_differences_that_the_table_has(limited):
    with style():
        panel = panels_of(learning(limited))["random"]
    lines = [line for line in panel.get_lines() if len(line.get_xdata()) == 3]
    for task, line in zip(["rt-snippets", "conll2003"], lines, strict=True):
        sizes = sorted(
            (block for block in limited.blocks if block.task == task and block.plain),
            key=lambda one: int(one.train_size),
        )
        expected = [limited.compared(block, "score").loc["random", "estimate"] for block in sizes]
        assert line.get_ydata() == pytest.approx(expected)
        assert line.get_xdata() == pytest.approx([float(block.train_size) for block in sizes], rel=0.06)


@pytest.mark.parametrize(
    ("changes", "ticks"),
    [
        ([-80.0, 150.0], ["−75", "0"]),
        ([-40.0, 120.0], ["0", "+100"]),
        ([-5.0, 11.0], ["−5", "0", "+5", "+10"]),
        ([-0.2, 0.3], ["−0.2", "0", "+0.2"]),
    ],
)
def test_half_the_time_is_as_far_from_the_same_as_twice_the_time(changes, ticks):
    figure, (axes,) = canvas((4.0, 2.0), 1, 1)
    axes.scatter(changes, [0, 1])
    ratio_axis(axes)
    low, high = axes.get_xlim()
    assert low < changes[0] < 0 < changes[1] < high
    at = [axes.transData.transform((change, 0.0))[0] for change in (-50.0, 0.0, 100.0)]
    assert at[1] - at[0] == pytest.approx(at[2] - at[1])
    figure.draw_without_rendering()
    shown = [tick.get_text() for tick in axes.get_xticklabels() if low <= tick.get_position()[0] <= high]
    assert shown == ticks


def test_the_profile_is_at_the_train_size_of_the_claims(limited):
    with style():
        drawings = [profile(at(limited, size)) for size in ("1000", None)]
    said = [re.search("With (.*?)\\.", drawing.caption)[1] for drawing in drawings]
    assert said[0] == "1\N{NARROW NO-BREAK SPACE}000 training texts"
    assert said[1].endswith("training texts, or the mean over them")
    block = next(block for block in homes(limited, "loss_gap") if block.key[::4] == ("conll2003", "1000"))
    found = standardised(limited, [block], "random", "loss_gap").mean()
    panel = next(axes for title, axes in panels_of(drawings[0]).items() if title == "conll2003")
    rows, columns = names_of(panel), [label.get_text() for label in drawings[0].figure.axes[-1].get_xticklabels()]
    cell = next(
        words for words in panel.texts if words.get_position() == (columns.index("gap in loss"), rows.index("random"))
    )
    assert float(cell.get_text().replace("\N{MINUS SIGN}", "-")) == pytest.approx(found, abs=0.051)


def test_one_level_of_perturbation_is_drawn_line_by_line(limited):
    one = limited.metrics[~limited.metrics["measure"].str.contains("-5$|-20$")]
    with style():
        drawing = robustness(at(limited, "1000", one))
    panels = panels_of(drawing)
    assert len(panels) == 3 * 4
    assert names_of(panels["topics: letters swapped"]) == ["none", "random-60"]
    assert "10 % of its letters or words changed" in drawing.caption


def test_learning_rates_of_each_task_have_a_scale_of_their_own(rich):
    with style():
        drawing = tuning(rich[0])
        drawing.figure.draw_without_rendering()
    labels = [axes.get_ylabel() for axes in drawing.figure.axes if axes.axison and axes.get_ylabel()]
    assert [label.partition(":")[0] for label in labels] == [task for task in TASKS for _ in range(3)]
    first, second = (drawing.figure.axes[place] for place in (0, 12))
    assert first.get_shared_y_axes().joined(first, drawing.figure.axes[1])
    assert not first.get_shared_y_axes().joined(first, second)


def test_all_points_of_a_dozen_strategies_are_named(tmp_path):
    strategies = {"none": {}, **{f"mask-{number}": {} for number in range(13)}}
    study = report_samples.write_all(tmp_path, TASKS, strategies, 3)
    with style():
        drawing = forgetting(study)
    for axes in drawing.figure.axes:
        assert {words.get_text().replace("\n", "") for words in axes.texts} == set(strategies)


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_titles_and_names_of_axes_overlap_nothing(rich, name):
    with style():
        figure = functions()[name](rich[0]).figure
        figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    found = [words for axes in figure.axes for words in (axes.title, axes._left_title, axes._right_title)]
    found += [words for axes in figure.axes for words in (axes.xaxis.label, axes.yaxis.label)]
    found += [words for box in figure.legends for words in box.get_texts()]
    found = [words for words in found if words.get_text() and (words.axes is None or words.axes.axison)]
    edges = [words.get_window_extent(renderer) for words in found]
    for place, one in enumerate(edges):
        for other, words in zip(edges[place + 1 :], found[place + 1 :], strict=True):
            assert not one.padded(-1).overlaps(other.padded(-1)), (found[place].get_text(), words.get_text())
        assert one.x0 >= 0
        assert one.x1 <= figure.bbox.x1 + 1


def test_a_far_majority_class_stands_below_its_panel_and_not_on_the_title(rich):
    with style():
        panels = panels_of(scores(rich[0]))
    below = panels["conll2003"].get_xlabel().split("\n")
    assert below == ["entity F1 on the test split (%)", "\N{LEFTWARDS ARROW} majority class at 0.0 %"]
    assert not any(axes.get_title(loc="right") for axes in panels.values())


def test_pictures_are_small_and_whole(rich, tmp_path):
    with style():
        figure = scores(rich[0]).figure
    save(figure, tmp_path, "scores")
    with Image.open(tmp_path / "scores.png") as picture:
        assert picture.mode == "P"
        assert picture.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
        assert picture.size == pytest.approx(160 * figure.get_size_inches(), abs=1)
    figure.set_dpi(72)
    figure.savefig(tmp_path / "large.svg", format="svg")
    large, small = ((tmp_path / f"{name}.svg").read_text(encoding="utf-8") for name in ("large", "scores"))
    assert len(small) < 0.6 * len(large)
    tree = ET.fromstring(small)
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    used = re.findall(r'href="#(\w+)"|url\(#(\w+)\)', small)
    assert len(ids) == len(set(ids))
    assert {one or other for one, other in used} == set(ids)
    marks = f"{{{tree.tag[1:].partition('}')[0]}}}use"
    assert len(list(tree.iter(marks))) == large.count("<use ")


def test_numbers_of_a_picture_are_rounded_to_hundredths(tmp_path):
    path = tmp_path / "a.svg"
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="7.125pt"><g id="g"><path d="M 1.23456 -0.001 \nL 2 3 \nz\n"/>'
        '<g transform="translate(1.5 2.34567) scale(0.015625)"><text>1.23456</text></g></g></svg>',
        encoding="utf-8",
    )
    small_svg(path)
    found = path.read_text(encoding="utf-8")
    assert 'd="M1.23 0L2 3z"' in found
    assert 'transform="translate(1.5 2.35) scale(0.015625)"' in found
    assert "<text>1.23456</text>" in found
    assert 'id="g"' not in found
