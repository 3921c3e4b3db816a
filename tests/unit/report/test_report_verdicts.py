"""The reader of what the statistics write: right files pass, each mistake is named."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from maskbench.errors import InputError
from maskbench.report import claims, tables
from maskbench.report.along import read_along
from maskbench.report.study import Study
from tests.helpers import reports as report_samples


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    strategies = {name: report_samples.STRATEGIES[name] for name in ("none", "random", "freeze")}
    report_samples.write_all(folder, ["rt-snippets", "conll2003"], strategies, 3, full=False)
    return folder


@pytest.fixture
def copied(recorded, tmp_path):
    shutil.copytree(recorded, tmp_path / "copy")
    return tmp_path / "copy"


def test_everything_is_read(recorded):
    evidence = Study.read(recorded).evidence
    assert [claim["id"] for claim in evidence.claims] == ["C01", "C02", "C05", "C16", "C23", "C26"]
    assert evidence.verdicts["estimate"].notna().sum() == (evidence.verdicts["verdict"] != "not tested").sum() > 5
    assert set(evidence.pairs["claim"]) == {"C01", "C02", "C16", "C23"}
    assert evidence.gates["n_seeds"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("verdicts.csv", ",inconclusive,", ",maybe,", r"verdicts\.csv: line \d+: verdict: expected one of supported,"),
        ("verdicts.csv", ",0.0234,", ",1.5,", r"line 2: p_holm: expected a number from 0 to 1 or nothing, got '1\.5'"),
        ("verdicts.csv", ",loss_gap,", ",los_gap,", r"line 2: measure: expected a measure of docs/measures"),
        ("verdicts.csv", report_samples.HASH, "another", r"verdicts\.csv: claims_hash: expected c1a1m5c1a1m5"),
        ("verdicts.csv", "C02,", "C99,", r"verdicts\.csv: no row for claim C02 of .*claims\.json"),
        (
            "verdicts.csv",
            ",conll2003,",
            ",rt-snippets,",
            r"scope: expected each claim, contrast, measure and scope once",
        ),
        ("analysis/pairs.csv", ".s2,", ".s9,", r"pairs\.csv: run \S+\.s9 is not in \S+metrics\.csv"),
        ("analysis/pairs.csv", ",2,", ",two,", r"pairs\.csv: line \d+: seed: expected a whole number, got 'two'"),
        ("analysis/gates.csv", ",passed,", ",fine,", r"gates\.csv: line 2: outcome: expected one of passed, failed,"),
        ("analysis/sensitivity.csv", ",IQM,", ",median,", r"sensitivity\.csv: line 3: method: expected one of mixed"),
        ("analysis/claims.json", '"hash"', '"hush"', r"claims\.json: expected file, hash, changed and claims"),
    ],
)
def test_a_mistake_is_named(copied, file, old, new, message):
    path = copied / file
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Study.read(copied)


def test_a_verdict_without_a_number_is_refused(copied):
    path = copied / "verdicts.csv"
    content = path.read_text(encoding="utf-8").replace(",not tested,", ",supported,", 1)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="estimate: expected a number beside such a verdict, got ''"):
        Study.read(copied)


def test_the_kind_of_a_contrast_is_its_own_or_its_claims(copied):
    path = copied / "analysis" / "claims.json"
    content = json.loads(path.read_text())
    content["claims"][0] |= {"kind": "paired", "contrasts": [{"name": "random vs none", "kind": "curve"}]}
    content["claims"][1] |= {"kind": "trend", "contrasts": [{"name": "random vs none"}]}
    path.write_text(json.dumps(content))
    kinds = Study.read(copied).evidence.verdicts.drop_duplicates("claim").set_index("claim")["kind"]
    assert kinds[["C01", "C02", "C05"]].tolist() == ["curve", "trend", ""]


def test_along_is_read_and_its_mistakes_are_named(copied):
    table = read_along(copied / "along.csv")
    assert set(table["measure"]) == {"validation_score"}
    path = copied / "along.csv"
    path.write_text(re.sub(",20,", ",early,", path.read_text(), count=1))
    with pytest.raises(
        InputError, match=r"along\.csv: line 2: step: expected a whole number of at least 0, got 'early'"
    ):
        read_along(path)


def test_a_verdict_without_its_controls_is_called_unguarded_on_the_page_and_in_the_table(copied):
    """In the row, in the answer, in the words and in the table of the verdicts."""
    path = copied / "verdicts.csv"
    frame = pd.read_csv(path, keep_default_na=False)
    told = frame["estimate"] != ""
    frame = frame.assign(verdict=frame["verdict"].mask(told, "supported"), unguarded=np.where(told, "hot: not run", ""))
    frame.to_csv(path, index=False)
    study = Study.read(copied)
    answers = frame[frame["verdict"].isin(claims.ANSWERS)]
    lead, _ = claims.lead(study)
    assert "unguarded: controls of the measures were not run" in lead
    rows = [row for claim in claims.shown(study) for group in claim.groups for row in group.rows]
    assert sum(row.unguarded == "hot: not run" for row in rows) == len(answers) > 0
    assert sum("Unguarded: of the controls" in row.sentence for row in rows) == len(answers)
    shown = tables.verdicts(study).shown["verdict"]
    assert shown.str.endswith(", unguarded").sum() == len(answers)
