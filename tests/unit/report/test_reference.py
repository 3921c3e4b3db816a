"""The reference study's verdicts beside those of another study, and the answer on top of its page."""

from __future__ import annotations

import copy
import json

import pandas as pd
import pytest

from maskbench.analysis.rates import DIFFER
from maskbench.errors import InputError
from maskbench.experiment import recorded
from maskbench.experiment.claims import read_claims
from maskbench.report.figures import FIGURES
from maskbench.report.page import write_page
from maskbench.report.reasons import Finding, answer, reasons, remarks
from maskbench.report.reference import Half, Reference, beside, rests_on
from maskbench.report.study import Study
from tests.helpers import reports as report_samples
from tests.helpers import run_folders as synthetic
from tests.unit.report.test_report import COMMAND, ROOT, Text

TASKS = ["rt-snippets", "conll2003"]
SAID = {claim.id: claim.claim for claim in read_claims(ROOT / "claims.yaml").claims}
WANTED = tuple((name, SAID.get(name, words), *rest) for name, words, *rest in report_samples.WANTED)
"""The claims of made-up studies, in the words of claims.yaml."""


def change(folder, key, **columns):
    """Change a row of verdicts.csv, pooled over tasks."""
    path = folder / "verdicts.csv"
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    names = ["claim", "contrast", "measure", "scope"]
    rows = (table[names[: len(key)]] == list(key)).all(axis=1) & (table["scope"] == "pooled")
    assert rows.any()
    for name, value in columns.items():
        table.loc[rows, name] = value
    table.to_csv(path, index=False)


def write(folder, seeds, strategies):
    designs = {name: report_samples.STRATEGIES[name] for name in strategies}
    report_samples.write_all(folder, TASKS, designs, seeds, full=False)
    report_samples.write_evidence(folder, wanted=WANTED)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A study of three seeds without the strategy freeze; none of its figures is drawn."""
    folder = write(tmp_path_factory.mktemp("small"), 3, ["none", "random"])
    (folder / "figures").mkdir()
    nothing = {name: {"title": name, "why": "Not drawn."} for name in FIGURES}
    (folder / "figures" / "captions.json").write_text(json.dumps(nothing))
    return folder


@pytest.fixture
def record(tmp_path):
    """The record of a study of eight seeds in which random masks do not change the score, and freezing pays."""
    folder = write(tmp_path / "reference", 8, ["none", "random", "freeze"])
    numbers = {"estimate": "0.1", "ci_low": "-0.2", "ci_high": "0.4", "n_seeds": "20", "unguarded": ""}
    for claim in ("C01", "C23"):
        change(folder, (claim,), verdict="inconclusive")
    change(folder, ("C16", "freeze vs none", "score"), verdict="inconclusive")
    change(folder, ("C02",), verdict="equivalent", **numbers)
    change(folder, ("C16", "freeze vs none", "step_time"), verdict="supported", unguarded="")
    return folder


def page(small, record, **options):
    names = Study.read(small).strategies
    write_page(small, synthetic.experiment(TASKS, names, **options), COMMAND, record)
    return (small / "report.html").read_text(encoding="utf-8")


def test_the_reference_stands_beside_each_claim(small, record):
    content = page(small, record)
    words = Text(content).words
    assert (
        "Reference study: = equivalent +0.10 points [−0.20 to +0.40], random vs none, score, 20 seeds, 32 runs, "
        "rt-snippets and conll2003, minilm-l6" in words
    )
    untested = Text(content[content.index('<details id="untested"') :]).words
    start = untested.index("C16")
    assert "Reference study: ✓ supported" in untested[start : untested.index("C26")]
    # C01, C02 and C23 in each scope, and C16: C05 and C26 are not tested there
    assert content.count('class="referred"') == 3 * (1 + len(TASKS)) + 1


def test_the_answer_is_on_top_with_that_of_the_reference(small, record):
    content = page(small, record)
    words = Text(content[content.index('id="answer"') : content.index('id="claims"')]).words
    assert words.index("Should I mask?") < words.index("This study") < words.index("Reference study")
    assert words.index("Reference study") < words.index("The answer so far")
    assert "Random masks: undecided: a higher score, less overfitting, robustness." in words.replace("Undecided", "")
    other = words[words.index("Reference study") :]
    assert (
        "Random masks: no reason found so far (of 3 reasons tested, 1 without a difference that matters, 2 unde"
        in other
    )
    assert "Other masks: for some purposes (of 1 reason tested, 1 supported). ✓ supported: frozen lower layers" in other


def test_without_a_record_nothing_is_said_of_one(small):
    words = Text(page(small, None)).words
    assert "Reference study" not in words
    assert "Should I mask? This study" in words


def test_a_claim_in_other_words_is_another_claim(small, record):
    path = record / "analysis" / "claims.json"
    content = json.loads(path.read_text())
    content["claims"][1]["claim"] = "Something else."
    path.write_text(json.dumps(content))
    words = Text(page(small, record)).words
    assert "equivalent +0.10" not in words
    assert "Random masks: no reason" not in words


def test_another_contrast_under_the_same_name_is_not_compared(record):
    """The row of a contrast is shown beside one that is the same, not beside one that has its name alone."""
    reference = Reference.read(record)
    own = {**reference.claims["C01"], "contrasts": [{"name": "random vs none", "of": "another"}]}
    row = reference.shared.row("C01", "random vs none", "loss_gap")
    assert reference.like(own, row | {"measure": "cue_reliance"})["measure"] == "loss_gap"
    assert reference.like(reference.claims["C16"], reference.shared.row("C16", "freeze vs none", "step_time"))[
        "measure"
    ] == ("step_time")


def test_tuned_rates_are_said(record, tmp_path):
    (record / "tuning" / "analysis").mkdir(parents=True, exist_ok=True)
    for name in recorded.NEEDED:
        (record / "tuning" / name).write_bytes((record / name).read_bytes())
    change(record / "tuning", ("C02",), verdict="inconclusive")
    reference = Reference.read(record)
    row = reference.shared.row("C02", "random vs none", "score")
    assert beside(reference, row).endswith(
        "at tuned learning rates inconclusive, +0.10 points [−0.20 to +0.40], 20 seeds, 32 runs"
    )
    change(record / "tuning", ("C02",), note=f"{DIFFER}: a and b.", ci_low="", ci_high="")
    assert beside(Reference.read(record), row).endswith(
        "; each side at its own tuned learning rate: inconclusive, 20 seeds, 32 runs"  # no number without an interval
    )
    assert "at tuned learning rates the same verdict, +" in beside(reference, reference.shared.head("C16"))
    assert remarks(reference.shared, reference.tuned, "C02") == ["at tuned rates inconclusive"]


def test_what_speaks_against_a_verdict_is_said(record):
    change(record, ("C16", "freeze vs none", "score"), verdict="contradicted")
    change(record, ("C16", "freeze vs none", "step_time"), verdict="supported", unguarded="hot: not run")
    half = Half(Reference.read(record).shared.evidence)
    assert half.head("C16")["measure"] == "step_time"  # forgetting was not measured
    assert remarks(half, None, "C16") == ["1 other row contradicted", "unguarded"]


def test_an_interaction_between_tasks_is_about_all_tasks(record):
    """Its rows are of one task against the others, and none of them is pooled."""
    change(record, ("C16", "freeze vs none", "score"), verdict="not tested", estimate="", note="The study has no x.")
    contrast = ("C16", "freeze vs none", "step_time")
    change(record, contrast, verdict="supported", unguarded="", scope="rt-snippets vs others")
    half = Half(Reference.read(record).shared.evidence)
    head = half.head("C16")
    assert (head["measure"], head["verdict"], head["scope"]) == ("step_time", "supported", "rt-snippets vs others")
    assert half.row("C16", "freeze vs none", "step_time")["scope"] == head["scope"]
    assert head["scope"] in {row["scope"] for row in half.pooled("C16")}
    assert rests_on(half, head).startswith("freeze vs none, rt-snippets vs others, time per update, 8 seeds")


def test_a_row_that_was_refused_rests_on_no_runs(record):
    half = Half(Reference.read(record).shared.evidence)
    assert half.behind(half.head("C02")).runs == 32
    change(record, ("C02", "random vs none", "score"), n_seeds="0", verdict="inconclusive")
    half = Half(Reference.read(record).shared.evidence)
    assert half.behind(half.head("C02")).runs == 0


def test_another_contrast_that_is_undecided_is_said(record):
    change(record, ("C02", "random vs none", "score"), verdict="supported", unguarded="")
    path = record / "verdicts.csv"
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    other = table[(table["claim"] == "C02") & (table["scope"] == "pooled")]
    other = other.assign(contrast="random vs its noise twin", verdict="inconclusive")
    pd.concat([table, other]).to_csv(path, index=False)
    half = Half(Reference.read(record).shared.evidence)
    assert remarks(half, None, "C02") == ["1 other contrast undecided"]


@pytest.mark.parametrize(("changed", "there"), [("", True), ("delta", False), ("contrast", False), ("of", False)])
def test_the_same_row_has_the_same_claim_contrast_and_margin(record, changed, there):
    stated = {"name": "random vs none", "of": "random", "against": "none"}
    path = record / "analysis" / "claims.json"
    content = json.loads(path.read_text())
    next(claim for claim in content["claims"] if claim["id"] == "C02")["contrasts"] = [stated]
    path.write_text(json.dumps(content))
    reference = Reference.read(record)
    row, claim = reference.shared.head("C02"), copy.deepcopy(reference.claims["C02"])
    if changed == "of":
        claim["contrasts"][0]["of"] = "static"
    elif changed:
        row[changed] = {"delta": 0.9, "contrast": "another"}[changed]
    assert (reference.twin(claim, row) is not None) == there


def test_a_record_that_is_damaged_is_named(record):
    (record / "verdicts.csv").write_text("claim\n")
    with pytest.raises(InputError, match=r"verdicts\.csv"):
        Reference.read(record)


def found(*verdicts, remark=()):
    return [Finding(f"C{index:02}", "a reason", verdict, list(remark)) for index, verdict in enumerate(verdicts)]


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        (found("not tested", "not tested"), "not tested"),
        (found("inconclusive", "invalid", "invalid: at the price of the score", "not tested"), "undecided"),
        (
            found("equivalent", "contradicted"),
            "no reason found (of 2 reasons tested, 1 contradicted, 1 without a difference that matters)",
        ),
        (
            found("equivalent", "inconclusive"),
            "no reason found so far (of 2 reasons tested, 1 without a difference that matters, 1 undecided)",
        ),
        (
            found("equivalent", "not tested"),
            "no reason found so far (of 1 reason tested, 1 without a difference that matters)",
        ),
        (
            found("supported", "equivalent"),
            "for some purposes (of 2 reasons tested, 1 supported, 1 without a difference that matters)",
        ),
        (found("supported", "supported"), "for all of these purposes (of 2 reasons tested, 2 supported)"),
        (found("supported", "supported", "not tested"), "for some purposes (of 2 reasons tested, 2 supported)"),
        (
            found("supported", "equivalent", remark=["unguarded"]),
            "for some purposes, with reservations (of 2 reasons tested, 1 supported, 1 without a difference that "
            "matters)",
        ),
    ],
)
def test_the_answer_says_no_more_than_the_verdicts(findings, words):
    assert answer(findings) == words


def test_reasons_are_claims():
    """Each is a claim of claims.yaml, in its words."""
    every = [reason for group in reasons() for reason in group.reasons]
    assert len({reason.id for reason in every}) == len(every) > 15
    assert {reason.id: reason.claim for reason in every}.items() <= SAID.items()


def test_the_page_rests_on_the_files_of_the_record(record):
    assert recorded.record_files("mine", record) == [record / name for name in recorded.NEEDED]
    assert recorded.record_files("reference", record) == []
    assert recorded.record_files("mine", record / "nowhere") == []
    (record / "tuning").mkdir(exist_ok=True)
    (record / "tuning" / "verdicts.csv").write_text("")
    assert recorded.record_files("mine", record)[5:] == [record / name for name in recorded.TUNED]
