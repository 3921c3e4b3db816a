"""Tables and the page, from recorded metrics and verdicts alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maskbench.analysis.collect import collect
from maskbench.analysis.compare import ALL_TASKS, Settings, compare_files
from maskbench.config.measures import shown_in
from maskbench.errors import InputError
from maskbench.experiment.resolved import read_experiment
from maskbench.masks import Strategy
from maskbench.report import claims
from maskbench.report.behind import in_short
from maskbench.report.figures import FIGURES, write_figures
from maskbench.report.formats import latex, markdown
from maskbench.report.limits import limits
from maskbench.report.page import strategy_in_words, write_page
from maskbench.report.study import Study
from maskbench.report.tables import NAMES, comparisons, cost, interference, scores, sensitivity, write_tables
from maskbench.report.text import amount, chance, mean_and_spread, plain, signed
from tests.helpers import reports as report_samples
from tests.helpers import run_folders as synthetic

ROOT = Path(__file__).resolve().parents[3]
COMMAND = "snakemake --cores all"
TASKS, STRATEGIES = ["rt-snippets", "conll2003"], ["none", "random", "static", "freeze"]


def analysed(folder: Path, outcomes: bool = True) -> Study:
    """Compare what metrics.csv holds, and return the study."""
    path = folder / "outcomes.parquet" if outcomes else None
    comparisons = folder / "analysis" / "comparisons.csv"
    compare_files(folder / "metrics.csv", path, comparisons, Settings("none", 300, 0.95, 0))
    report_samples.write_design(folder, report_samples.STRATEGIES)
    report_samples.write_evidence(folder)
    return Study.read(folder)


def make(folder: Path, tasks=TASKS, strategies=STRATEGIES, seeds=2, **options) -> Study:
    """Write, collect and compare a synthetic study."""
    runs = synthetic.write_study(folder, tasks, strategies, seeds, examples=options.pop("examples", 120), **options)
    collect("synthetic", folder, runs, folder)
    return analysed(folder)


def make_mixed(folder: Path, strategies=STRATEGIES, seeds=2) -> Study:
    """Write, collect and compare a study with every regime, every kind of condition and probes."""
    runs = synthetic.write_mixed(folder, TASKS, strategies, seeds, examples=80)
    collect("synthetic", folder, runs, folder, probed=True)
    return analysed(folder)


def report(folder: Path, study: Study, command: str = COMMAND, *, draw: bool = True, **changes) -> str:
    """Write tables, figures (unless those that are there will do) and the page, and return the page."""
    write_tables(study, folder / "tables")
    if draw:
        write_figures(study, folder / "figures")
    tasks = list(study.runs["task"].unique())
    write_page(folder, synthetic.experiment(tasks, changes.pop("named", study.strategies), **changes), command)
    return (folder / "report.html").read_text(encoding="utf-8")


class Text(HTMLParser):
    """Reads a page: its tags, their attributes and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(page)
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words += data


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    folder = tmp_path_factory.mktemp("usual")
    study = make(folder)
    return folder, study, report(folder, study)


def test_the_table_of_scores(usual):
    folder, study, _ = usual
    table = pd.read_csv(folder / "tables" / "scores.csv", keep_default_na=False)
    row = table[(table["task"] == "conll2003") & (table["strategy"] == "static")].iloc[0]
    values = 100 * study.metrics.query("task == 'conll2003' and strategy == 'static' and measure == 'score'")["value"]
    assert float(row["mean"]) == pytest.approx(values.mean())
    assert float(row["sd"]) == pytest.approx(values.std(ddof=1))
    assert (row["n"], row["score"], float(row["majority_class"])) == (2, "entity F1", 0.0)
    shown = scores(study).shown
    assert shown[["task", "strategy"]].to_numpy().tolist() == [[task, name] for task in TASKS for name in STRATEGIES]
    assert shown.iloc[6].tolist() == [
        *("conll2003", "entity F1", "static", f"{values.mean():.2f} ± {values.std(ddof=1):.2f}", "2", "0.0")
    ]
    assert shown.iloc[0, 5] == "50.3"


def in_full(runs):
    """Return the ids of runs whose seeds stand in braces."""
    found = []
    for words in runs.split():
        stem, brace, seeds = words.partition("{")
        for span in seeds.replace("{", "").replace("}", "").split(","):
            first, _, last = span.partition("..")
            found += [f"{stem}{seed}" for seed in range(int(first), int(last or first) + 1)] if brace else [stem]
    return found


def test_runs_that_differ_in_their_seed_are_written_as_a_shell_writes_them_out():
    runs = ["a.s1", "a.s2", "b.s3", "other", *(f"b.s{seed}" for seed in (9, 10, 11, 1, 4))]
    short = in_short(runs)
    assert short == "a.s{1..2} b.s3 other b.s{1,4,{9..11}}"
    written = subprocess.run(["bash", "-c", f"echo {short}"], capture_output=True, text=True, check=True).stdout
    assert written.split() == in_full(short)
    assert sorted(in_full(short)) == sorted(runs)


def test_the_runs_beside_a_number_are_those_that_it_is_of(mixed):
    folder, study, _ = mixed
    values = study.metrics.set_index(["run", "measure"])["value"]

    def mean(runs, name):
        return values.loc[[(run, name) for run in in_full(runs)]].mean()

    tables = {name: pd.read_csv(folder / f"tables/{name}.csv") for name in NAMES}
    for row in tables["scores"].to_dict("records"):
        assert 100 * mean(row["runs"], "score") == pytest.approx(row["mean"])
    for row in tables["cost"].to_dict("records"):
        assert mean(row["runs"], "step_time") == pytest.approx(row["step_time_mean"])
    for row in tables["per_class"].to_dict("records"):
        assert 100 * mean(row["runs"], f"f1:{row['class']}") == pytest.approx(row["mean"])
    for row in tables["interference"].to_dict("records"):
        runs = in_full(row["runs"])
        assert len(runs) == row["n"]
        if (runs[0], row["measure"]) in values.index:
            assert mean(row["runs"], row["measure"]) == pytest.approx(row["mean"])
    for row in tables["comparisons"].query("measure == 'score_gap'").to_dict("records"):
        of, against = np.split(np.array(in_full(row["runs"])), 2)
        assert all(f".{row['strategy']}." in run for run in of)
        assert mean(" ".join(of), "score_gap") - mean(" ".join(against), "score_gap") == pytest.approx(row["estimate"])


def test_the_intervals_of_each_compared_measure_are_named(usual):
    """Texts contribute to a gap of losses, and none to a time."""
    _, study, _ = usual
    over = {name: "seeds" if name == "step_time" else "seeds × texts" for name in shown_in("comparisons")}
    told = Study(
        study.metrics,
        study.comparisons.assign(interval=study.comparisons["measure"].map(over)),
        study.baseline,
        study.evidence,
        study.along,
        study.settings,
    )
    caption = comparisons(told).caption
    assert "over seeds × texts (examples: 300 resamples); " in caption
    assert caption.count("t intervals over seeds. ") == 1
    assert caption.index("gap") < caption.index("seeds × texts") < caption.index("t intervals over seeds. ")


def test_a_cost_of_runs_on_several_kinds_of_machines_says_so(usual):
    _, study, _ = usual
    runs = study.runs.reset_index(drop=True)
    kinds = study.metrics.drop_duplicates("run").assign(measure="machine", split="run", value=1.0, unit="")
    other = (kinds["strategy"] == "random") & (kinds["seed"] == runs["seed"].min())
    metrics = pd.concat([study.metrics, kinds.assign(value=kinds["value"] + other)], ignore_index=True)
    found = cost(Study(metrics, study.comparisons, study.baseline, study.evidence, study.along, study.settings))
    assert found.data.set_index("strategy")["machines"].groupby(level=0).max().to_dict() == {
        name: 2 if name == "random" else 1 for name in STRATEGIES
    }
    assert set(found.shown.set_index("strategy").loc["random", "n"]) == {"2 (2 kinds of machines)"}
    assert set(found.shown.set_index("strategy").loc["none", "n"]) == {"2"}


def test_every_table_has_three_forms(usual):
    folder, _, _ = usual
    for name in NAMES:
        lines = (folder / "tables" / f"{name}.md").read_text(encoding="utf-8").splitlines()
        table = [line for line in lines if line.startswith("|")]
        assert len(table) > 2
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
        tex = (folder / "tables" / f"{name}.tex").read_text(encoding="utf-8")
        rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in rows}) == 1
        assert [tex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
        assert tex.isascii()
        # only a study that pretrains has recipes, and only one that tunes has tuned rates
        absent = ("recipes", "tuning", "tuned")
        assert (len(pd.read_csv(folder / "tables" / f"{name}.csv")) > 0) == (name not in absent)


def test_markup_of_names_is_escaped(tmp_path):
    study = make(tmp_path, ["rt-snippets"], ["none"], 1)
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text().replace("rt-snippets", "a_b|50%&<i>"))
    table = scores(analysed(tmp_path, outcomes=False))
    assert study.blocks[0].task == "rt-snippets"
    assert r"a\_b\|50%&\<i\>" in markdown(table)
    assert r"a\_b|50\%\&\textless{}i\textgreater{}" in latex(table)


def test_figures_and_tables_are_the_same_bytes_again(usual, tmp_path):
    folder, study, _ = usual
    assert study.blocks
    write_figures(Study.read(folder), tmp_path / "figures")
    write_tables(Study.read(folder), tmp_path / "tables")
    names = [f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png", "rst")]
    names += [
        "figures/captions.json",
        *(f"tables/{name}.{suffix}" for name in NAMES for suffix in ("csv", "md", "tex")),
    ]
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_the_page_needs_no_other_file(usual):
    _, _, page = usual
    content = Text(page)
    assert content.tags.count("script") == 1
    assert content.tags.count("img") == page.count('<figure id="figure-') > 5
    addresses = [value for name, value in content.attributes if name in ("src", "href", "srcset", "action")]
    assert all(value.startswith(("data:", "#")) for value in addresses)
    assert not re.search(r"@import|url\(", page)
    assert "https:" not in page


def test_the_page_answers_and_says_how_it_was_made(usual):
    _, _, page = usual
    words = Text(page).words
    for part in (
        "Does masking reduce interference",
        "Of 6 claims, this study tests 3: 3 are inconclusive",
        "There are 2 seeds. Intervals over so few are wide, and no test can reject",
        "Freeze has no runs with forgetting beside those of none",
        "A mask at rate 0 gives the same bits as none.",
        "rt-snippets.minilm-l6.random.single.clean.n2000.s1",
        "torch 2.13.0",
        "0123456789abcdef",
        "cpu, Intel Xeon, bf16, eager attention, 1 thread (16 runs)",
        "snakemake --cores all",
        "input: random (rate 0.15)",
        "plain fine-tuning, no mask",
        "Tjong Kim Sang & De Meulder (2003), Introduction to the CoNLL-2003 shared task",
        "a" * 64,
    ):
        assert part in words, part


def test_the_page_is_the_same_bytes_again(usual):
    folder, _, page = usual
    write_page(folder, synthetic.experiment(TASKS, STRATEGIES), COMMAND)
    assert (folder / "report.html").read_text(encoding="utf-8") == page


@pytest.fixture
def copied(usual, tmp_path):
    """A copy of the usual study, figures included, that a test may change."""
    shutil.copytree(usual[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_what_runs_note_is_said_once_with_its_strategies(copied):
    note = "evaluated with its attention mask (at: always)"
    for path in (copied / "training").glob("*.static.*/metrics.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"notes": [note]}))
    runs = [path.parent.name for path in sorted((copied / "training").glob("*/metrics.json"))]
    collect("synthetic", copied, runs, copied)
    assert report(copied, Study.read(copied), draw=False).count(f"static: {note}") == 1


def test_from_metrics_alone(tmp_path):
    make(tmp_path)
    (tmp_path / "manifest.json").unlink()
    study = analysed(tmp_path, outcomes=False)
    words = Text(report(tmp_path, study)).words
    assert "The run records (manifest.json) are not at hand" in words
    assert "95 % t intervals over seeds" in words


def test_everything_from_outside_is_escaped(tmp_path):
    failed = {("rt-snippets", "random", 1): "crashed"}
    make(tmp_path, ["rt-snippets"], ["none", "random"], 2, failed=failed)
    evil = "<script>alert(1)</script>"
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text().replace("rt-snippets.minilm-l6.random.single.clean.n2000.s1", evil))
    path.write_text(path.read_text().replace(",random,", ",$x_1$<img onerror=alert(2)>,"))
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace("loss is not finite", "<b onclick=alert(3)>"))
    study = analysed(tmp_path, outcomes=False)
    question = "</title><script>alert(4)</script> {{ 7 * 7 }}"
    page = report(tmp_path, study, question=question, command="'\"><iframe>", named=STRATEGIES)
    content = Text(page)
    assert not {"iframe", "b"} & set(content.tags)
    assert content.tags.count("script") == 1
    assert content.tags.count("img") == page.count('<figure id="figure-')
    assert not [name for name, _ in content.attributes if name.startswith("on")]
    assert evil in content.words
    assert question in content.words
    assert "<b onclick=alert(3)>" in content.words
    svg = (tmp_path / "figures" / "scores.svg").read_text(encoding="utf-8")
    assert "<img" not in svg


def test_what_was_found_of_the_data_stands_in_a_box(copied):
    manifest = copied / "manifest.json"
    content = json.loads(manifest.read_text())
    counts = {"rows": 1234, "labels": {"<b>pos</b>": 1200, "neg": 34}}
    about = {"task": "rt-snippets", "splits": {"train": counts}, "cut": None, "dropped": {"comment": 2}}
    about["used"] = {"train": [100, 1234], "validation": [30], "test": [60]}
    finding = "my.csv:3: 60 of the 60 distinct texts of test stand in <i>train</i>, too"
    manifest.write_text(json.dumps(content | {"about_data": [about | {"findings": [finding]}]}))
    page = report(copied, Study.read(copied), draw=False)
    words = " ".join(Text(page).words.split())
    for part in (
        "About the data",
        finding,
        "2 (comment)",
        "1\N{NARROW NO-BREAK SPACE}234 texts in train. Of these, a run uses 100 or 1\N{NARROW NO-BREAK SPACE}234 for "
        "training, 30 for validation and 60 for testing.",
        "<b>pos</b>1\N{NARROW NO-BREAK SPACE}200",  # two cells
        "1 thing to know",
    ):
        assert " ".join(part.split()) in words, part
    assert not {"b", "i"} & set(Text(page).tags)


def test_only_the_baseline(tmp_path):
    study = make(tmp_path, strategies=["none"])
    words = Text(report(tmp_path, study)).words
    assert "This study tests none of the 6 claims: only none was run." in words
    assert "Only the baseline none was run, so this study cannot say what masking does." in words
    assert "Profile of interference compared with none: Only none was run; there is nothing to compare" in words
    assert "nothing to show here" in words


def test_one_seed_and_one_task(tmp_path):
    study = make(tmp_path, ["conll2003"], ["none", "random"], 1)
    words = Text(report(tmp_path, study)).words
    assert "There is one seed: no difference can be told from chance" in words
    assert "There is one task" in words
    assert "Differences on one scale need a measure with at least two seeds" in words


def test_failed_cells_are_shown(tmp_path):
    failed = {("rt-snippets", "freeze", seed): "oom" for seed in (1, 2, 3)} | {("conll2003", "none", 1): "diverged"}
    study = make(tmp_path, seeds=3, failed=failed)
    words = Text(report(tmp_path, study)).words
    assert "4 of 24 runs did not complete (3 out of memory and 1 diverged)" in words
    assert "0 (3 failed)" in words
    assert "loss is not finite at step 40" in words
    assert "rt-snippets.minilm-l6.freeze.single.clean.n2000.s1" in words


def test_a_study_in_which_everything_failed(tmp_path):
    failed = {("rt-snippets", name, 1): "crashed" for name in ("none", "random")}
    study = make(tmp_path, ["rt-snippets"], ["none", "random"], 1, failed=failed)
    words = Text(report(tmp_path, study)).words
    assert "This study tests none of the 6 claims: it does not have what any of them needs." in words
    assert "2 of 2 runs did not complete (2 crashed)" in words


def test_train_sizes_are_told_apart(tmp_path):
    runs = []
    for size in ("2000", "full"):
        runs += synthetic.write_study(tmp_path, TASKS, ["none", "random"], 2, size=size, examples=60)
    collect("s", tmp_path, runs, tmp_path)
    study = analysed(tmp_path)
    titles = [study.title(block) for block in study.blocks]
    assert titles[0] == "rt-snippets, 2000 examples"
    assert titles[2] == "rt-snippets, full train set"
    assert [block.train_size for block in study.main_blocks] == ["full", "full"]
    report(tmp_path, study)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    study = make_mixed(folder)
    return folder, study, report(folder, study)


def test_regimes_and_conditions_are_named_in_words(mixed):
    _, study, page = mixed
    assert [study.title(block) for block in study.blocks[:5]] == [
        "rt-snippets",
        "rt-snippets, cue right in 95 %",
        "rt-snippets, 30 % of labels flipped",
        "rt-snippets after conll2003",
        "rt-snippets with conll2003",
    ]
    pooled = [study.title(block) for block in study.comparison_blocks() if block.task == ALL_TASKS]
    assert pooled[0] == "(all tasks)"
    assert pooled[-2:] == ["(all tasks) after another task", "(all tasks) with another task"]
    words = Text(page).words
    assert "conll2003 after rt-snippets" in words
    assert "5 kinds of training" in words
    assert "freeze, none, random, static: mlm_forgetting: the model has no masked-LM head" in words
    assert "16.7 min to probe the trained models" in words


def test_a_study_without_a_task_alone_still_reports(tmp_path):
    runs = synthetic.write_study(tmp_path, ["rt-snippets"], ["none", "random"], 2, condition="cue-95", examples=40)
    collect("s", tmp_path, runs, tmp_path)
    study = analysed(tmp_path)
    assert study.main_blocks == study.blocks
    assert "rt-snippets, cue right in 95 %" in Text(report(tmp_path, study)).words


def test_the_table_of_interference(mixed):
    folder, study, _ = mixed
    table = pd.read_csv(folder / "tables" / "interference.csv", keep_default_na=False)
    metrics = study.metrics.query("task == 'conll2003' and strategy == 'static' and condition == 'clean'")

    def found(measure, regime="single"):
        where = "task == 'conll2003' and strategy == 'static' and condition == 'clean' and measure == @measure"
        return table.query(f"{where} and regime == @regime")

    for measure, regime in (("distractor_drop", "single"), ("negative_transfer", "with-rt-snippets")):
        values = metrics.query("measure == @measure and regime == @regime")["value"]
        row = found(measure, regime).iloc[0]
        assert float(row["mean"]) == pytest.approx(values.mean())
        assert float(row["sd"]) == pytest.approx(values.std(ddof=1))
        assert (row["n"], row["better"]) == (2, "lower")
    parts = metrics[metrics["measure"].str.startswith("perturbation_drop:") & (metrics["regime"] == "single")]
    by_seed = parts.groupby("seed")["value"].mean()
    assert float(found("perturbation_drop").iloc[0]["mean"]) == pytest.approx(by_seed.mean())
    assert float(found("perturbation_drop").iloc[0]["sd"]) == pytest.approx(by_seed.std(ddof=1))
    assert found("negative_transfer").empty
    assert found("mlm_forgetting").empty
    shown = interference(study).shown
    assert shown.columns.tolist() == ["task", "family", "measure", *STRATEGIES]
    assert "forgetting of the first task, points ↓" in set(shown["measure"])
    assert r"$\downarrow$" in (folder / "tables" / "interference.tex").read_text()


def test_failed_runs_count_in_the_table_of_interference(tmp_path):
    study = make(tmp_path, ["rt-snippets"], ["none", "random"], 4, failed={("rt-snippets", "random", 2): "oom"})
    shown = interference(study).shown.set_index("measure")
    assert shown.loc["failed runs (hardly above the majority class), fraction ↓", "random"] == "0.250"
    assert shown.loc["failed runs (hardly above the majority class), fraction ↓", "none"] == "0.000"


def test_comparisons_of_another_study_are_refused(usual, tmp_path):
    folder, _, _ = usual
    make(tmp_path, ["rt-snippets"], ["none", "random"], 1)
    experiment = tmp_path / "experiment.json"
    experiment.write_text(experiment.read_text().replace('"baseline": "none"', '"baseline": "base"'))
    with pytest.raises(InputError, match="expected the baseline base among none, random"):
        Study.read(tmp_path)
    experiment.write_text('{"strategies": []}')
    with pytest.raises(InputError, match=r"experiment\.json: expected baseline and strategies"):
        Study.read(tmp_path)
    shutil.copytree(folder, tmp_path / "copy")
    shutil.copy(tmp_path / "analysis" / "comparisons.csv", tmp_path / "copy" / "analysis")
    with pytest.raises(InputError, match="does not belong to"):
        Study.read(tmp_path / "copy")


@pytest.mark.parametrize("changed", [None, "claims.yaml is not what it was when 3 runs were made."])
def test_what_changed_in_the_claims_is_said(copied, changed):
    report_samples.write_evidence(copied, changed=changed)
    words = Text(report(copied, Study.read(copied), draw=False)).words
    assert ("The claims changed: claims.yaml is not what it was" in words) == (changed is not None)
    assert ("They have not changed since the runs were made" in words) == (changed is None)


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decided")
    return report_samples.write_all(folder, TASKS, report_samples.STRATEGIES, 6)


def test_a_claim_is_headed_by_its_first_tested_row(decided):
    shown = {claim.id: claim for claim in claims.shown(decided)}
    rows = decided.evidence.verdicts.set_index(["claim", "measure", "scope"])
    freeze = shown["C16"]
    assert [row.scope for row in freeze.headlines] == ["all tasks", *TASKS]
    estimate = rows.loc[("C16", "forgetting", "pooled"), "estimate"]
    assert freeze.headlines[0].effect == f"{signed(estimate, 2)} points"
    assert freeze.headlines[0].verdict == "supported"
    assert freeze.headlines[0].strength == pytest.approx(estimate / 0.5)
    assert freeze.headlines[0].sentence == (
        f"With freeze, the forgetting of the first task came out {plain(estimate, 2)} points lower than with none: "
        "at least the margin of 0.50 points."
    )
    assert shown["C05"].headlines[0].sentence.endswith("lower than with none: the opposite of what the claim says.")
    assert [group.measure for group in freeze.groups] == [*("forgetting of the first task", "time per update", "score")]
    assert shown["C26"].headlines[0].effect == ""


def test_every_number_of_a_claim_has_its_runs(decided):
    for claim in claims.shown(decided):
        for group in claim.groups:
            tested = any(row.verdict != "not tested" for row in group.rows)
            assert bool(group.pairs) == tested
            assert {pair["of"].split(".")[6] for pair in group.pairs} == {
                pair["against"].split(".")[6] for pair in group.pairs
            }
    listed = [pair for claim in claims.shown(decided) for group in claim.groups for pair in group.pairs]
    assert len(listed) == len(decided.evidence.pairs)


def test_the_answer_counts_the_claims(decided):
    lead, named = claims.lead(decided)
    heads = claims.headlines(decided.evidence)["verdict"]
    assert lead.startswith("Of 6 claims, this study tests 5: ")
    assert f"{(heads == 'contradicted').sum()} is contradicted" in lead
    assert dict(named)["Contradicted"] == [("C05", "too high a mask rate hurts")]


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("inconclusive", "With a, the score came out 0.40 points higher than with b, which does not settle it."),
        (
            "invalid",
            "With a, the score came out 0.40 points higher than with b, but a control of this measure failed, so that",
        ),
        ("invalid: at the price of the score", "than with b, but it may have been bought with the score."),
        ("equivalent", "than with b: any difference is smaller than the margin of 0.50 points."),
        ("not tested", "Because."),
    ],
)
def test_a_sentence_says_no_more_than_the_verdict(verdict, words):
    row = dict.fromkeys(("ci_low", "ci_high", "p", "p_holm", "mde"), float("nan"))
    row |= {
        "contrast": "a vs b",
        "measure": "score",
        "scope": "pooled",
        "estimate": 0.4,
        "delta": 0.5,
        "unit": "points",
    }
    row |= {"verdict": verdict, "note": "because", "n_seeds": 6.0, "kind": "paired", "unguarded": ""}
    assert words in claims.sentence(row)
    assert "lower than with b" in claims.sentence(row | {"estimate": -0.4, "verdict": "inconclusive"})
    # b takes 45.4 % more time than a, which is what the table says
    time = row | {"measure": "step_time", "unit": "per cent", "verdict": "inconclusive"}
    assert "With b, the time per update came out 45.4 % higher than with a" in claims.sentence(
        time | {"estimate": 45.4}
    )
    assert "With b, the time per update came out 31.2 % lower than with a" in claims.sentence(
        time | {"estimate": -31.2}
    )
    refused = claims.row_in_words(row | {"estimate": float("nan"), "verdict": "inconclusive", "note": "refused: why."})
    assert (refused.sentence, refused.note) == ("Refused: why.", "")  # the page says it once
    trend = claims.sentence(row | {"contrast": "trend over rates", "verdict": "inconclusive"})
    assert trend.startswith("Trend over rates: score, +0.40 points in favour of the claim")


def test_the_table_of_sensitivity_has_units(decided):
    shown = sensitivity(decided).shown
    assert set(shown["method"]) == {"mixed model", "IQM", "ROPE"}
    assert shown["effect and interval"].str.contains("points|nats|%").all()


def test_what_a_study_cannot_say(decided, usual):
    # too few seeds for a test after its correction, cells of the tuning that failed, and one model
    assert len(limits(decided)) == 3
    assert any("nor of other tasks" in line for line in limits(usual[1]))


def test_numbers_in_words():
    assert [plain(-0.04, 1), plain(-1234.5, 1), signed(0.0004, 2), signed(0.5, 2)] == [
        "0.0",
        "\N{MINUS SIGN}1\N{NARROW NO-BREAK SPACE}234.5",
        "0.00",
        "+0.50",
    ]
    assert mean_and_spread(1.0, float("nan")) == "1.0"
    assert [chance(0.0002), chance(0.0312), chance(0.5), chance(float("nan"))] == [
        "p < 0.001",
        "p = 0.031",
        "p = 0.50",
        "",
    ]
    assert [amount(-0.4, "points"), amount(0.0123, "coefficient"), amount(3.21, "per cent")] == [
        "0.40 points",
        "0.012",
        "3.2 %",
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "plain fine-tuning, no mask"),
        ({"input": "random"}, "input: random (rate 0.15)"),
        ({"input": {"kind": "static", "whole_words": True}}, "input: static (rate 0.15, whole words true)"),
        (
            {"input": {"kind": "random", "rate": 0.4, "apply": False}, "parameter": {"kind": "freeze", "layers": 2}},
            "input: random (apply false, rate 0.4); parameter: freeze (layers 2)",
        ),
        ({"input": "random", "training": {"learning_rate": 5e-5}}, "input: random (rate 0.15); learning rate 5e-05"),
    ],
)
def test_strategies_in_words(entry, words):
    assert strategy_in_words(Strategy.model_validate({"name": "x", **entry})) == words


def test_a_twin_says_whose_it_is():
    twin = list(Strategy.model_validate({"name": "x", "input": "random", "twins": ["noise-twin"]}).expanded())[1]
    assert strategy_in_words(twin) == "input: random (replacement noise, rate 0.15); noise-twin of x"


def test_a_damaged_experiment_is_named(tmp_path):
    path = tmp_path / "experiment.json"
    for content, message in (("{", "Invalid JSON"), ('{"study": "s"}', "tasks: Field required")):
        path.write_text(content)
        with pytest.raises(InputError, match=rf"experiment\.json: .*{message}"):
            read_experiment(path)


def test_a_missing_figure_and_a_foreign_manifest_are_named(tmp_path):
    report(tmp_path, make(tmp_path, ["rt-snippets"], ["none"], 1))
    experiment = synthetic.experiment(["rt-snippets"], ["none"])
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json: not a manifest"):
        write_page(tmp_path, experiment, COMMAND)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "figures" / "scores.svg").unlink()
    with pytest.raises(InputError, match=r"scores\.svg: cannot be read"):
        write_page(tmp_path, experiment, COMMAND)


@pytest.mark.parametrize("seeds", [2, pytest.param(10, marks=pytest.mark.long)])
def test_two_hundred_runs_take_seconds_and_no_torch(tmp_path, seeds):
    """The command lines, each in a process of its own that says what it imported; forty runs at every change."""
    strategies = [*STRATEGIES, *(f"s{index}" for index in range(6))]
    runs = synthetic.write_study(tmp_path, TASKS, strategies, seeds, examples=100)
    assert len(runs) == 20 * seeds
    experiment = synthetic.experiment(TASKS, strategies, seeds)
    described = ["--experiment", str(synthetic.write_experiment(tmp_path / "experiment.json", experiment))]
    folder, numbers = str(tmp_path), ["--metrics", str(tmp_path / "metrics.csv")]
    compared = str(tmp_path / "analysis" / "comparisons.csv")
    settings = ["--baseline", "none", "--resamples", "300", "--confidence", "0.95", "--seed", "0", "--output", compared]
    judged = [
        "--claims",
        str(ROOT / "claims.yaml"),
        "--outcomes",
        str(tmp_path / "outcomes.parquet"),
        "--resamples",
        "300",
    ]
    calls = {
        "collect": ["--results", folder, *described],
        "compare": [*numbers, "--outcomes", str(tmp_path / "outcomes.parquet"), *settings],
        "verdicts": [*numbers, *judged, "--resamples", "300", "--seed", "0", "--results", folder],
        "tables": ["--results", folder, "--output-dir", str(tmp_path / "tables")],
        "figures": ["--results", folder, "--output-dir", str(tmp_path / "figures")],
        "page": ["--results", folder, *described, "--command", COMMAND],
    }
    heavy = "sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'transformers', 'datasets', 'evaluate'})"
    start = time.monotonic()
    for name, arguments in calls.items():
        script = ROOT / "scripts" / f"{name}.py"
        code = (
            f"import runpy, sys; sys.argv = {[str(script), *arguments]!r}; sys.path.insert(0, {str(script.parent)!r})\n"
        )
        code += f"runpy.run_path(sys.argv[0], run_name='__main__')\nprint({heavy})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]", name
    assert time.monotonic() - start < 120
    assert (tmp_path / "report.html").stat().st_size > 100_000
