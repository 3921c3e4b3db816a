"""docs/findings.md and the answer in README.md: written from the record alone, and never stronger than its verdicts."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil

import pandas as pd
import pytest
import yaml

from maskbench.errors import InputError
from maskbench.experiment.claims import read_claims
from maskbench.experiment.recorded import NEEDED, RECORD, record_files
from maskbench.report import text
from maskbench.report.claims import PROPERTIES
from maskbench.report.findings import claims, figure, readme, write
from maskbench.report.findings.page import NOTHING
from maskbench.report.findings.record import Record
from maskbench.report.findings.source import Source, own_number
from tests.helpers import reports as report_samples
from tests.unit.report.test_reference import TASKS, WANTED, change
from tests.unit.report.test_report import ROOT

SOURCE = {
    "answer": [
        {"title": "The score", "row": "C02 | random vs none | score"},
        {"title": "Overfitting", "row": "C01 | random vs none | loss_gap"},
        {"title": "Interpretation", "row": "C26 | attribution-twin vs none | score"},
    ],
    "practice": {
        "C02": {"equivalent": "It changes less than {margin}: {effect} with {seeds} and {runs} on {tasks}."},
        "C16": {"supported": "It pays, by {size} on {measure}.", "contradicted": "It does not pay."},
    },
    "otherwise": dict.fromkeys(("inconclusive", "supported", "contradicted", "equivalent"), "Nothing follows."),
    "elsewhere": "This is about {contrast} on {measure}.",
    "partly": "Undecided. But {others}.",
    "surprises": [],
    "limits": ["The models are small."],
    "scores": [
        {
            "task": "conll2003",
            "model": "minilm-l6",
            "number": "91.5",
            "of": "test",
            "source": "a page",
            "differs": "Why.",
        }
    ],
    "effects": [
        {
            "what": "a",
            "rows": ["C02 | random vs none | score", "2000 texts | freeze | score | conll2003"],
            "number": "+1",
            "source": "a work",
            "differs": "Other models.",
        }
    ],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkout's page, source and README, and the record of a made-up study that was tuned."""
    top = tmp_path_factory.mktemp("top")
    record = top / "record"
    strategies = {name: report_samples.STRATEGIES[name] for name in ("none", "random", "freeze")}
    report_samples.write_all(record, TASKS, strategies, 8, full=False)
    report_samples.write_evidence(record, wanted=WANTED)
    change(record, ("C16", "freeze vs none", "step_time"), verdict="supported", unguarded="")
    numbers = {"estimate": "0.1", "ci_low": "-0.2", "ci_high": "0.4", "n_seeds": "8", "unguarded": "hot: not run"}
    change(record, ("C02",), verdict="equivalent", **numbers)
    change(
        record,
        ("C01", "random vs none", "loss_gap"),
        verdict="inconclusive",
        mde="0.07",
        note="29 seeds find an effect of 1.5 δ with 80 % power.",
    )
    tuned = record / "tuning"
    (tuned / "analysis").mkdir(parents=True)
    for name in NEEDED:
        shutil.copy(record / name, tuned / name)
    change(tuned, ("C02",), verdict="inconclusive")
    _manifest(record)
    pd.read_csv(record / "metrics.csv", dtype={"train_size": str}).to_parquet(record / "metrics.parquet")
    (record / "metrics.csv").unlink()
    (top / "docs" / "images").mkdir(parents=True)
    (top / "docs" / "findings.yaml").write_text(yaml.safe_dump(SOURCE))
    (top / "README.md").write_text("# Top\n\n<!-- answer -->\nold\n<!-- /answer -->\n\nThe rest.\n")
    return top


def _manifest(record):
    """Write the manifest of a study that is half run, one of whose runs failed."""
    runs = pd.read_csv(record / "metrics.csv", keep_default_na=False)["run"].unique()
    entry = {
        **{"strategy": "none", "status": "completed", "error": None, "notes": [], "parameters_hash": "a"},
        **{"code": "b", "device": "cpu", "device_name": "A machine", "gpu_uuid": None, "precision": "bf16"},
        **{"attention": "eager", "threads": 1, "probes": None, "data": {"prepared": "a", "encoded": "b", "model": "c"}},
        "timings": {"started": "2026-11-27T10:00:00+00:00", "wall_s": 5.0, "train_s": 4.0},
    }
    content = {
        **{"schema": 1, "study": "reference", "runs": 2, "statuses": {}, "packages": {}, "packages_that_differ": {}},
        **{"first_start": "2026-11-27T10:00:00+00:00", "last_start": "2026-11-27T11:00:00+00:00", "wall_s": 7000.0},
        **{"train_s": 8.0, "probed": 0, "probe_s": 300.0, "about_data": [], "models": [], "planned": 1200},
        "records": [
            {**entry, "run": run, "status": "completed" if index else "crashed"} for index, run in enumerate(runs)
        ],
    }
    (record / "manifest.json").write_text(json.dumps(content))


@pytest.fixture
def top(made, tmp_path):
    shutil.copytree(made, tmp_path / "top")
    return tmp_path / "top"


def page(top):
    return write.texts(top, top / "record")["docs/findings.md"]


def edit(top, **changes):
    (top / "docs" / "findings.yaml").write_text(yaml.safe_dump({**SOURCE, **changes}))


def test_the_page_begins_with_the_answer(made):
    content = page(made)
    assert re.findall(r"^## (.*)$", content, flags=re.MULTILINE) == [
        "Should I mask?",
        "What it rests on",
        "What each mask changes, and what it costs",
        "Claim by claim",
        "What could not be decided, and what it would take",
        "Limits",
        "Beside published numbers",
    ]
    assert (
        "**Random masks: no reason found so far (of 3 reasons tested, 1 without a difference that matters, 2 "
        "undecided).** No difference "
        "that matters: a higher score (at tuned rates inconclusive; unguarded); undecided: less overfitting, "
        "robustness (1 other row without a difference that matters)." in content
    )
    assert (
        "- **The score**: = equivalent, unguarded. With random, the score came out 0.10 points higher than with none: "
        "any difference is smaller than the margin of 0.50 points. Unguarded: of the controls of this measure, not all "
        "were passed (hot: not run). (+0.10 points [−0.20 to +0.40], random vs none, score, 8 seeds, 32 runs, "
        "rt-snippets and conll2003, minilm-l6; at tuned learning rates inconclusive, +0.10 points [−0.20 to +0.40], "
        "8 seeds, 32 runs)" in content
    )
    assert "- **Interpretation**: – not tested. Attribution-twin has no runs with score" in content


def test_each_mask_has_a_row_with_what_it_changes_and_costs(made):
    content = page(made)
    part = content[content.index("## What each mask changes") : content.index("## Claim by claim")]
    rows = [line.split(" | ") for line in part.splitlines() if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == ["| random", "| freeze"]  # the better score first; twins and `none` are left out
    table = pd.read_csv(made / "record" / "analysis" / "comparisons.csv")
    for name, score, alone, gap, time, *about in rows:
        own = table[(table["strategy"] == name[2:]) & (table["task"] == "(all tasks)") & (table["regime"] == "single")]
        known = own[own["condition"] == "clean"].set_index("measure")["estimate"]
        assert score.startswith(text.change(known["score"], "points"))
        by_task = table[(table["strategy"] == name[2:]) & (table["measure"] == "score") & (table["regime"] == "single")]
        by_task = by_task[by_task["condition"] == "clean"].set_index("task")["estimate"]
        for task, part in zip(TASKS, alone.split("\\], "), strict=True):
            assert part.startswith(f"{task} {text.change(by_task[task], 'points')} ")
        assert gap.startswith(text.change(known["loss_gap"], "nats"))
        assert time.startswith(text.change(known["step_time"], "per cent"))
        assert about == ["8", "32", "rt-snippets, conll2003; minilm-l6 |"]
    assert "a run learns from 2\u202f000 texts, in 3 passes and batches of 32, at a learning rate of 0.001" in content
    assert "`random` hides 15 % of the tokens" in content
    assert "with more and fewer training texts" not in content


def other_sizes(record):
    """Add comparisons of `random` with 500 and with all texts to a record."""
    path = record / "analysis" / "comparisons.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    own = table[(table["strategy"] == "random") & (table["regime"] == "single") & (table["condition"] == "clean")]
    numbers = {"estimate": "-3.5", "ci_low": "-4", "ci_high": "-3", "n_seeds": "4"}
    more = [own.assign(train_size=size, **numbers) for size in ("full", "500")]
    pd.concat([table, *more]).to_csv(path, index=False)


def test_numbers_of_training_texts_are_told_apart(top):
    other_sizes(top / "record")
    content = page(top)
    part = content[content.index("with more and fewer training texts") : content.index("## Claim by claim")]
    rows = [line.split(" | ") for line in part.splitlines() if line.startswith("| random")]
    assert [row[1] for row in rows] == ["500", "2 000", "all"]
    assert rows[0][2] == "−3.50 points \\[−4.00 to −3.00\\]"
    assert rows[0][6:8] == ["4", "16"]
    said = "500 texts −3.50 points [−4.00 to −3.00] (4 seeds, 16 runs)"
    assert f"  - With more or fewer training texts, without a verdict: {said}" in content
    main = content[content.index("## What each mask changes") : content.index("with more and fewer")]
    assert "−3.50" not in main


def test_verdicts_on_single_tasks_are_listed_where_they_differ(top):
    path = top / "record" / "verdicts.csv"
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    own = (table["claim"] == "C02") & (table["contrast"] == "random vs none")
    table.loc[own & (table["scope"] == "conll2003"), "verdict"] = "contradicted"
    table.loc[own & (table["scope"] == "rt-snippets"), "verdict"] = "equivalent"
    table.to_csv(path, index=False)
    lines = page(top).splitlines()
    said = next(line for line in lines if line.startswith("On single tasks: random vs none on score: "))
    assert re.search(
        r"rt-snippets equivalent \(.*, 8 seeds, 16 runs\), conll2003 contradicted \(.*, 8 seeds, 16 runs\)", said
    )
    assert "  - On single tasks: rt-snippets equivalent" in "\n".join(lines)
    table.loc[own, "verdict"] = "inconclusive"
    table.to_csv(path, index=False)
    assert "On single tasks: random vs none on score" not in page(top)
    table.loc[own & (table["scope"] == "pooled"), "verdict"] = "supported"  # which neither task alone decides
    table.to_csv(path, index=False)
    lines = page(top).splitlines()
    said = next(line for line in lines if line.startswith("On single tasks: random vs none on score: "))
    assert re.search(r"rt-snippets inconclusive \(.*\), conll2003 inconclusive \(", said)


def test_a_claim_has_its_verdict_its_numbers_and_what_they_mean(made):
    content = page(made)
    part = content[content.index("### C02 ·") : content.index("### C05 ·") if "### C05 ·" in content else None]
    part = part[: part.index("### C16 ·")]
    assert (
        "**= equivalent** (at tuned rates inconclusive; unguarded). With random, the score came out 0.10 points higher"
        in part
    )
    assert (
        "In practice: It changes less than 0.50 points: +0.10 points [−0.20 to +0.40] with 8 seeds and 32 runs on "
        "rt-snippets and conll2003." in part
    )
    assert (
        "| random vs none | score | = equivalent, unguarded | +0.10 points \\[−0.20 to +0.40\\] | ? inconclusive, "
        "+0.10 points \\[−0.20 to +0.40\\], 8 seeds | 8 | 32 | rt-snippets, conll2003; minilm-l6 |" in part
    )
    assert "Expected before: mixed" in part


def test_every_row_that_was_tested_is_on_the_page_with_seeds_and_runs(made):
    content, record = page(made), Record.read(made / "record")
    rows = [row for claim in record.claims for row in claims.tested(record.reference.shared, claim["id"])]
    assert len(rows) > 5
    for row in rows:
        start = content.index(f"### {row['claim']} ·")
        line = next(
            one
            for one in content[start:].splitlines()
            if one.startswith(f"| {row['contrast']} | {claims.named(row['measure'])} |")
        )
        assert (
            re.search(r"\| \d+ \| \d+ \| rt-snippets, conll2003; minilm-l6 \|$", line) or row["verdict"] in PROPERTIES
        )


def test_a_study_that_is_not_finished_says_so(made):
    content = page(made)
    assert (
        "48 of 1\u202f200 planned cells have run: everything here is about these cells alone, and "
        "what has not run is not tested. Of them, 1 cell did not complete." in content
    )
    assert "- 1\u202f152 planned cells have not run yet." in content
    assert "- C26 · Masking changes how a model can be interpreted. Attribution-twin has no runs" in content


def test_what_is_decided_beside_an_undecided_first_row_is_said(top):
    record = top / "record"
    change(record, ("C23", "random vs none", "perturbation_drop:swap-10"), verdict="contradicted", unguarded="")
    content = page(top)
    part = content[content.index("### C23") :]
    assert part.splitlines()[2].startswith("**? inconclusive** (1 other row contradicted")
    assert re.search(
        r"^In practice: Undecided\. But random vs none on perturbation drop.* is contradicted "
        r"\([+−]\S+ points \[.*?\], 8 seeds, 32 runs: with random, .* than with none\)",
        part,
        flags=re.MULTILINE,
    )


def test_what_is_undecided_says_what_it_takes(made):
    line = next(one for one in page(made).splitlines() if one.startswith("| C01 | random vs none | generalisation gap"))
    assert line.endswith("| 8 seeds | 32 | 0.070 nats | 29 seeds find an effect of 1.5 δ with 80 % power. |")
    row = {"note": "The differences are skewed (0.3). 15 pretraining seeds show with 80 % power that it is. So."}
    assert claims.needed(row) == "15 pretraining seeds show with 80 % power that it is."
    row = {"note": "refused: 3 of 8 seeds are lost; what is left may be biased. 9 runs failed."}
    why = "It was refused, whatever the number of seeds: 3 of 8 seeds are lost; what is left may be biased."
    assert claims.needed(row) == why
    assert claims.with_symbol(row | {"verdict": "inconclusive", "unguarded": ""}) == "? inconclusive, refused"
    assert claims.with_symbol({"verdict": "inconclusive", "unguarded": "", "note": "So."}) == "? inconclusive"


def test_scores_stand_beside_published_ones(made):
    content = page(made)
    line = next(one for one in content.splitlines() if one.startswith("| conll2003 | minilm-l6 | 2000 |"))
    assert re.search(r"\| 7\d\.\d ± \d\.\d \| 8 \| 0\.0 \| 91\.5 \(test; a page\) \| Why\. \|$", line)
    line = next(one for one in content.splitlines() if one.startswith("| a | +1 (a work) |"))
    assert "equivalent, unguarded: +0.10 points" in line
    assert re.search(r"; score on conll2003: [+−].*, freeze vs none, 8 seeds, 16 runs \|", line)
    line = next(one for one in content.splitlines() if one.startswith("| rt-snippets | minilm-l6 | 2000 |"))
    assert line.endswith("| – | None is known to us for a model of this size. |")


def test_the_readme_has_the_answer_between_its_markers(top):
    write.write(top, top / "record")
    content = (top / "README.md").read_text()
    assert content.startswith("# Top\n\n<!-- answer -->\n**Should I mask? Random masks: no reason found so far (")
    assert content.endswith("with verdicts](docs/images/answer.png)\n<!-- /answer -->\n\nThe rest.\n")
    assert "48 runs of 1\u202f200 planned" in content
    first = [(top / name).read_bytes() for name in ("docs/findings.md", "README.md", "docs/images/answer.png")]
    write.write(top, top / "record")
    assert first == [(top / name).read_bytes() for name in ("docs/findings.md", "README.md", "docs/images/answer.png")]


SHORT = {
    "verdicts": {"C02 | random vs none | score": "equivalent", "record-2 | C02 | random vs none | score": "supported"},
    "text": "Hardly: {C02 | random vs none | score: effect}.",
    "points": [
        "On names {C02 | random vs none | score | conll2003: runs}, elsewhere "
        "{record-2 | C02 | random vs none | score: effect} with {models}; {remain}, and {record-2 | remain}.",
        "With {texts} freezing changed it by {2000 texts | freeze | score: seeds}.",
    ],
}


def test_the_answer_in_short_is_bound_to_verdicts_and_numbers_of_all_studies(top):
    shutil.copytree(top / "record", top / "record-2")
    change(top / "record-2", ("C02",), verdict="supported", estimate="0.7", ci_low="0.5", ci_high="0.9", unguarded="")
    edit(top, further=[FURTHER], short=SHORT)
    found = write.texts(top, top / "record")
    said = (
        "Hardly: +0.10 points [−0.20 to +0.40].\n\n- On names 16 runs, elsewhere +0.70 points [+0.50 to +0.90] with "
        "minilm-l6; 0 of 2 rows, and 0 of 3 rows.\n- With 2\u202f000 texts freezing changed it by 8 seeds.\n"
    )
    assert f"## Should I mask?\n\n{said}\nCounted over the claims" in found["docs/findings.md"]
    assert f"<!-- answer -->\n{said}- **Evidence**: 48 runs of 1\u202f200 planned" in found["README.md"]
    change(top / "record-2", ("C02",), verdict="inconclusive")
    with pytest.raises(InputError, match=r"short\.verdicts: record-2 \| C02 .* written for supported, but the record"):
        page(top)
    shutil.rmtree(top / "record-2")
    with pytest.raises(InputError, match=r"short\.verdicts: record-2 .*: record-2 has no record yet"):
        page(top)


@pytest.mark.parametrize(
    "where", ["C02 | random vs none | score | mnli", "9 texts | random | score", "9 texts | random"]
)
def test_a_place_that_there_is_not_is_named(top, where):
    edit(top, limits=[f"It is {{{where}: effect}}."])
    with pytest.raises(InputError, match=r"limits\[0\]: (.*the record has no such row|expected CLAIM \| CONTRAST)"):
        page(top)


def test_the_answer_says_what_remains_over_all_claims_together(top):
    path = top / "record" / "verdicts.csv"
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    decided = table["scope"].eq("pooled") & table["verdict"].isin(("supported", "contradicted"))
    assert decided.sum() == 2
    for q, words in (("0.04", "2 of 2 supported or contradicted rows remain."), ("0.06", "0 of 2 supported or")):
        table.loc[decided, "q"] = q
        table.to_csv(path, index=False)
        assert words in page(top)


def test_markers_that_are_missing_are_named():
    with pytest.raises(InputError, match=r"README\.md: expected <!-- answer --> and then <!-- /answer -->, each once"):
        readme.with_answer("<!-- answer -->", "said", "README.md")


def test_each_reason_with_a_number_is_drawn(made):
    lines = figure.lines(Record.read(made / "record"))
    assert [(masks, row is not None) for masks, _, row in lines] == [("Random masks", True)] * 3 + [
        ("Other masks", True)
    ]
    assert lines[0][1] == "a higher score  C02\nscore"


def test_a_verdict_that_nobody_wrote_a_sentence_for_is_an_error(top):
    change(top / "record", ("C16", "freeze vs none", "step_time"), verdict="invalid")
    with pytest.raises(InputError, match=r"practice\.C16: no sentence for the verdict invalid, which the record has"):
        page(top)


@pytest.mark.parametrize(
    ("contrast", "measures", "said", "right"),
    [
        ("freeze vs none", ["step_time"], "It pays.", True),
        ("freeze vs none", ["forgetting", "step_time"], "It pays.", False),
        ("freeze vs none", ["forgetting", "step_time"], "It pays on {measure}.", True),
        ("freeze vs random", ["step_time"], "It pays.", False),
        ("freeze vs random", ["step_time"], "It pays in {contrast}.", True),
    ],
)
def test_a_sentence_is_about_the_first_contrast_and_measure(top, contrast, measures, said, right):
    path = top / "record" / "analysis" / "claims.json"
    content = json.loads(path.read_text())
    claim = next(claim for claim in content["claims"] if claim["id"] == "C16")
    claim |= {"contrasts": [{"name": contrast, "measures": measures}]}
    path.write_text(json.dumps(content))
    edit(top, practice={"C16": {"supported": said}})
    assert ("In practice: This is about freeze vs none on time per update." in page(top)) == (not right)
    assert ("In practice: It pays" in page(top)) == right


def test_a_number_that_the_record_lacks_is_an_error(top):
    change(top / "record", ("C02",), delta="")
    with pytest.raises(
        InputError, match=r"practice\.C02\.equivalent: \{margin\}: the record has no such number; there"
    ):
        page(top)


FURTHER = {"study": "record-2", "title": "Elsewhere", "text": "By {C02 | random vs none | score: effect} above."}


NOTE = {
    "title": "It was faster.",
    "verdicts": {"C16 | freeze vs none | step_time": "supported"},
    "text": "By {C16 | freeze vs none | step_time: size}.",
    "check": "{C16 | freeze vs none | step_time | tuned: effect} at tuned rates.",
}


def test_a_surprise_is_bound_to_its_verdict(top):
    edit(top, surprises=[NOTE])
    assert re.search(
        r"\*\*It was faster\.\*\* By \d+\.\d %\. Checked: \+\d+\.\d % \[.*\] at tuned rates\.\n", page(top)
    )
    change(top / "record", ("C16", "freeze vs none", "step_time"), verdict="inconclusive")
    with pytest.raises(
        InputError,
        match=r"\[0\]\.verdicts: C16 \| freeze vs none \| step_time: written for supported, but the record says inc",
    ):
        page(top)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"limits": ["There are 4 models."]},
            r"limits\[0\]: expected a placeholder such as \{effect\} in the place of '4'",
        ),
        ({"practice": {"C02": {"proven": "Yes."}}}, r"practice\.C02: expected one of supported, .*, got 'proven'"),
        (
            {"surprises": [NOTE | {"verdicts": {}}]},
            r"surprises\[0\]\.verdicts: expected the verdict of at least one row",
        ),
        ({"surprises": [NOTE | {"verdict": "supported"}]}, r"unknown key verdict; did you mean verdicts\?"),
        (
            {"surprises": [NOTE | {"text": "By {C16 | freeze vs none | score_: size}."}]},
            r"surprises\[0\]\.text: C16 \| freeze vs none \| score_: the record has no such row",
        ),
        (
            {"surprises": [NOTE | {"text": "By {size}."}]},
            r"surprises\[0\]\.text: \{size\}: the record has no such number",
        ),
        (
            {"further": [FURTHER | {"text": "By 3 points."}]},
            r"further\[0\]\.text: expected a placeholder such as \{effect\} in the place of .3.",
        ),
        ({"limits": ["See {C16: size}."]}, r"limits\[0\]: expected CLAIM \| CONTRAST \| MEASURE or .* got 'C16'"),
    ],
)
def test_what_people_wrote_is_checked(top, changes, message):
    edit(top, **changes)
    with pytest.raises(InputError, match=message):
        page(top)


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ("C06 gains {effect} (Liu et al. 2019, `n = 3`)", True),
        ("It gains 0.4 points", False),
        ("It gains {effect}, or 4 %", False),
        ("It gains five whole points", False),
        ("Half a nat is lost; Twenty per cent of that", False),
        ("Ten times the rate, by the mean of two seeds, gains {effect}", True),
    ],
)
def test_numbers_come_from_the_record(said, good):
    assert (own_number(said) is None) == good


def test_a_record_is_read_gzipped_as_it_is_committed(top):
    """A clone has manifest and pairs gzipped alone; where both forms are there, the newer one is read."""
    content, record = page(top), top / "record"
    for name in ("manifest.json", "analysis/pairs.csv", "tuning/analysis/pairs.csv"):
        path = record / name
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert page(top) == content
    assert record / "analysis" / "pairs.csv.gz" in record_files("mine", record)
    (record / "manifest.json").write_text("{}")
    os.utime(record / "manifest.json", (1, 1))
    assert page(top) == content
    (record / "analysis" / "pairs.csv.gz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"pairs\.csv\.gz: expected a file that gzip has packed"):
        page(top)


def test_a_record_in_which_nothing_is_tested_yet(top):
    """As a study that has just begun; and one that is tested at the shared rate, but not yet at tuned ones."""
    for folder in (top / "record" / "tuning", top / "record"):
        table = pd.read_csv(folder / "verdicts.csv", keep_default_na=False, dtype=str).assign(verdict="not tested")
        numbers = ["estimate", "ci_low", "ci_high", "p", "p_holm", "n_seeds", "mde", "delta"]
        table.assign(**dict.fromkeys(numbers, "")).to_csv(folder / "verdicts.csv", index=False)
        pairs = folder / "analysis" / "pairs.csv"
        pairs.write_text(pairs.read_text().splitlines()[0] + "\n")
        assert "at tuned" not in page(top)
        assert ("Random masks: not tested." in page(top)) == (folder.name == "record")
    write.write(top, top / "record")
    content = (top / "README.md").read_text()
    assert "**Should I mask? Random masks: not tested. Other masks: not tested.**" in content
    assert "48 runs of 1\u202f200 planned: rt-snippets and conll2003; minilm-l6; up to 0 seeds a contrast" in content


def test_without_a_record_the_page_says_so(top):
    found = write.texts(top, top / "nowhere")
    assert found["docs/findings.md"] == NOTHING
    assert "No reference study is recorded yet" in found["README.md"]


@pytest.mark.parametrize("name", ["metrics.parquet", "manifest.json", "experiment.json"])
def test_a_record_that_lacks_a_file_is_named(top, name):
    (top / "record" / name).unlink()
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        page(top)


def test_every_claim_has_a_sentence_for_every_verdict_that_says_something():
    source = Source.read(ROOT / write.SOURCE)
    for claim in read_claims(ROOT / "claims.yaml").claims:
        wanted = PROPERTIES if claim.kind == "property" else ("supported", "contradicted", "equivalent")
        assert set(source.practice[claim.id]) >= set(wanted), claim.id
    assert set(source.otherwise) == {"inconclusive", "invalid", "invalid: at the price of the score"}


def test_page_and_readme_are_those_of_the_record(tmp_path):
    """What `make findings` writes from the committed record, or from none, is what is committed, byte for byte."""
    for name, content in write.texts(ROOT, RECORD).items():
        assert (ROOT / name).read_text(encoding="utf-8") == content, f"{name}: run `make findings`"
    if (RECORD / NEEDED[0]).is_file():
        write.draw(RECORD, tmp_path, "answer")
        for ending in ("png", "svg"):
            assert (tmp_path / f"answer.{ending}").read_bytes() == (ROOT / f"{write.FIGURE}.{ending}").read_bytes()


def test_a_further_study_stands_beside_the_reference_study(top):
    edit(top, further=[FURTHER])
    assert "## Elsewhere\n\nBy +0.10 points [−0.20 to +0.40] above.\n\nIt has not been run yet.\n" in page(top)
    shutil.copytree(top / "record", top / "record-2")
    change(top / "record-2", ("C02",), verdict="supported", estimate="0.7", ci_low="0.5", ci_high="0.9", unguarded="")
    content = page(top)
    assert "\n  - Elsewhere: ✓ supported, +0.70 points [+0.50 to +0.90], 8 seeds, 32 runs.\n" in content
    decided = "random vs none on score is supported (+0.70 points [+0.50 to +0.90], 8 seeds, 32 runs"
    found = "with random, the score came out 0.70 points higher than with none"
    assert f"\n\nDecided in other studies: Elsewhere: {decided}: {found}).\n\n" in content
    part = content[content.index("## Elsewhere") : content.index("## What could not be decided")]
    assert "48 runs of 1\u202f200 planned, 1 run did not complete: rt-snippets and conll2003; minilm-l6" in part
    assert (
        "| C02 | random vs none | score | ✓ supported | +0.70 points \\[+0.50 to +0.90\\] | 8 | 32 | = equivalent, "
        "unguarded, +0.10 points \\[−0.20 to +0.40\\] |" in part
    )
    assert re.search(r"\| rt-snippets \| minilm-l6 \| 2000 \| \d+\.\d ± \d\.\d \| 8 \| \d+\.\d \|", part)


def test_what_is_said_of_a_further_study_is_bound_to_its_own_verdicts(top):
    row = "C02 | random vs none | score"
    said = {"found": f"By {{{row}: effect}}.", "verdicts": {row: "supported"}}
    edit(top, further=[FURTHER | said])
    shutil.copytree(top / "record", top / "record-2")
    change(top / "record-2", ("C02",), verdict="supported", estimate="0.7", ci_low="0.5", ci_high="0.9", unguarded="")
    assert "\n\nBy +0.70 points [+0.50 to +0.90].\n\n" in page(top)
    change(top / "record-2", ("C02",), verdict="inconclusive")
    with pytest.raises(InputError, match=r"further\[0\]\.verdicts: C02 .* written for supported, but the record says"):
        page(top)
    edit(top, further=[FURTHER | {"found": "Nothing."}])
    with pytest.raises(InputError, match=r"further\[0\]: expected found and verdicts, both or neither"):
        page(top)


def test_a_claim_that_only_a_further_study_tested_says_so(top):
    edit(top, further=[FURTHER])
    shutil.copytree(top / "record", top / "record-2")
    untested = "- C26 · Masking changes how a model can be interpreted. Attribution-twin has no runs"
    assert untested in page(top)
    assert "Tested in another study" not in page(top)
    change(top / "record-2", ("C26",), verdict="supported", estimate="0.1", ci_low="0.05", ci_high="0.2", unguarded="")
    line = next(one for one in page(top).splitlines() if one.startswith(untested))
    assert "Tested in another study: Elsewhere. Decided in other studies: Elsewhere: " in line
    assert "is supported (+0.10 points [+0.05 to +0.20]" in line


def test_a_further_study_without_a_claim_of_the_same_words_has_nothing_beside_it(top):
    edit(top, further=[FURTHER])
    shutil.copytree(top / "record", top / "record-2")
    path = top / "record-2" / "analysis" / "claims.json"
    path.write_text(path.read_text().replace('"claim": "Random masking', '"claim": "Otherwise random masking'))
    content = page(top)
    assert "  - Elsewhere: " not in content
    own = content[content.index("### C02") :]
    assert "Decided in other studies" not in own[: own.index("###", 4)]
    part = content[content.index("## Elsewhere") : content.index("## What could not be decided")]
    line = next(one for one in part.splitlines() if one.startswith("| C02 | random vs none | score |"))
    assert line.endswith("| – |")


def test_what_a_further_study_found_at_tuned_rates_stands_where_the_reference_study_has_nothing(top):
    shutil.copytree(top / "record", top / "record-2")
    edit(top, further=[FURTHER | {"rates": "tuned"}])
    row = ("C16", "freeze vs none", "step_time")
    change(top / "record" / "tuning", row, verdict="not tested")
    numbers = {"estimate": "7", "ci_low": "5", "ci_high": "9", "unguarded": "", "verdict": "supported"}
    for wanted in (row, ("C02",)):
        change(top / "record-2" / "tuning", wanted, **numbers)
    content = page(top)
    found = r"✓ supported, \+7\.0 % \\\[\+5\.0 to \+9\.0\\\], 8 seeds ‡ \|"
    assert re.search(rf"\| freeze vs none \| time per update \| [^|]*\| [^|]*\| {found}", content)
    own = next(line for line in content.splitlines() if line.startswith("| random vs none | score |"))
    assert "‡ marks rows of record-2 (below)." in content
    assert "? inconclusive, +0.10 points" in own  # which the reference study has tested itself
    part = content[content.index("## Elsewhere") : content.index("## What could not be decided")]
    assert "the reference study's own verdict at the shared learning rate." in part
    line = next(line for line in part.splitlines() if line.startswith("| C02 | random vs none | score |"))
    assert "| ✓ supported | +7.00 points" in line  # its own section has all that it found there
    assert line.endswith("| = equivalent, unguarded, +0.10 points \\[−0.20 to +0.40\\] |")
    change(top / "record-2" / "tuning", row, delta="9.5")  # another margin, another verdict
    assert not re.search(rf"\| freeze vs none \| time per update \| [^|]*\| [^|]*\| {found}", page(top))
    shutil.rmtree(top / "record" / "tuning")
    change(top / "record-2" / "tuning", row, delta="5")
    content = page(top)
    assert re.search(rf"\| freeze vs none \| time per update \| [^|]*\| [^|]*\| {found}", content)
    path = top / "record-2" / "tuning" / "analysis" / "claims.json"
    path.write_text(path.read_text().replace('"claim": "Freezing', '"claim": "Otherwise freezing'))
    assert not re.search(rf"\| freeze vs none \| time per update \| [^|]*\| [^|]*\| {found}", page(top))
    shutil.rmtree(top / "record-2" / "tuning")
    assert "## Elsewhere\n\nBy +0.10 points [−0.20 to +0.40] above.\n\nIt has not been run yet.\n" in page(top)


def damaged(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def test_a_record_without_verdicts_does_not_erase_the_answer(top):
    shutil.copy(top / "record" / "verdicts.csv", top / "kept.csv")
    (top / "record" / "verdicts.csv").unlink()
    with pytest.raises(InputError, match=r"verdicts\.csv: expected a file, as for manifest\.json, which is there"):
        page(top)
    edit(top, further=[FURTHER | {"study": "other"}])
    (top / "other").mkdir()
    (top / "other" / "experiment.json").write_text("{}")  # that study has begun, and has no record
    shutil.copytree(top / "record", top / "whole")
    restored(top / "whole", top)
    assert "It has not been run yet." in write.texts(top, top / "whole")["docs/findings.md"]
    (top / "other" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"other/verdicts\.csv: expected a file, as for manifest\.json"):
        write.texts(top, top / "whole")


def restored(folder, top):
    (folder / "verdicts.csv").write_text((top / "kept.csv").read_text())
    return folder


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("manifest.json", '"planned": 1200', '"planned": 3', r"planned: expected at least its \d+ runs, got 3"),
        ("manifest.json", '"planned": 1200', '"planned": -5', r"planned: .*greater than or equal to 0"),
        ("manifest.json", '"schema": 1', '"schema": 2', r"not a manifest of schema 1"),
        ("manifest.json", '.s1"', '.s999"', r"\.s1: expected the runs of the metrics|s999: expected the runs"),
        (
            "analysis/claims.json",
            '"claims": [{',
            '"claims": [{"contrasts": [5], ',
            r"claims\.json: expected file, hash",
        ),
        ("analysis/claims.json", '"claims": [{', '"claims": [{"contrasts": "abc", ', r"claims\.json: expected file"),
        ("experiment.json", "{", "[{", r"experiment\.json"),
    ],
)
def test_the_files_of_a_record_are_of_one_study(top, name, old, new, message):
    damaged(top / "record" / name, old, new)
    with pytest.raises(InputError, match=message):
        page(top)


def test_a_manifest_of_another_study_is_named(top):
    path = top / "record" / "experiment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"study": "another"}))
    with pytest.raises(InputError, match=r"manifest\.json: study: expected another, got reference"):
        page(top)


def test_numbers_of_the_runs_are_there_once(top):
    path = top / "record" / "metrics.parquet"
    table = pd.read_parquet(path)
    pd.concat([table, table]).to_parquet(path)
    with pytest.raises(InputError, match=r"metrics\.parquet: .*: expected each number once"):
        page(top)
    table.astype({"value": str}).assign(value="much").to_parquet(path)
    with pytest.raises(InputError, match=r"metrics\.parquet: expected a table with"):
        page(top)


@pytest.mark.parametrize("content", ["null", "5", "[1]"])
def test_an_experiment_that_is_no_mapping_is_named(top, content):
    (top / "record" / "experiment.json").write_text(content)
    with pytest.raises(InputError, match=r"experiment\.json: expected the design of a study as `snakemake` writes it"):
        page(top)


def test_what_does_not_fit_names_its_file(top):
    edit(top, practice={"C99": {"supported": "Yes."}})
    with pytest.raises(InputError, match=r"docs/findings\.yaml: practice\.C99: expected one of C01, C02"):
        page(top)
    edit(top, further=[FURTHER | {"title": "By {effect}"}])
    with pytest.raises(InputError, match=r"further\[0\]\.title: expected words without placeholders"):
        page(top)
    edit(top, further=[FURTHER, FURTHER])
    with pytest.raises(InputError, match=r"further: expected each study once, got record-2 again"):
        page(top)
    edit(top, answer=[])
    with pytest.raises(InputError, match=r"answer: expected at least one entry"):
        page(top)
    edit(top, limits=["Small.\n\n## More"])
    with pytest.raises(InputError, match=r"limits\[0\]: expected a text without line breaks"):
        page(top)
    edit(top, limits=["  "])
    with pytest.raises(InputError, match=r"limits\[0\]"):
        page(top)
    edit(top)
    (top / "README.md").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"README\.md: expected text in UTF-8"):
        page(top)
