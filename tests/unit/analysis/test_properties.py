"""Properties: judged by the worst run of a study, with the number, and not tested where nothing was measured."""

from __future__ import annotations

import pytest

from maskbench.analysis.findings import read_verdicts
from maskbench.analysis.metrics import write_csv
from maskbench.analysis.verdicts import judge
from maskbench.experiment.claims import read_claims
from maskbench.io.code import ROOT
from maskbench.report.claims import headline, row_in_words
from tests.unit.analysis.test_verdicts import claims, row, study


def leaking(worst=3e-9):
    """Return a study in which one run of the strategy x leaves some attention on hidden keys."""

    def values(task, seed, size, place):
        hidden = worst if seed == 7 else 1e-9
        plain = {"score": 0.8, "padding_mass": 0.0, "padding_gradient": 2e-8, "multiplied_mass": 0.4 + seed / 100}
        return {"none": plain, "x": {**plain, "hidden_mass": hidden}}

    return study(values, tasks=("a",))


def property_of(strategy="x", bound=1e-6):
    return {"name": f"{strategy} hides", "kind": "property", "of": strategy, "bound": bound}


@pytest.mark.parametrize(("worst", "verdict"), [(3e-9, "holds"), (1e-6, "holds"), (0.2, "false")])
def test_the_worst_run_decides_and_its_number_is_told(worst, verdict, tmp_path):
    found = judge(leaking(worst), None, claims(property_of(), measures=["hidden_mass"]), digest="d").verdicts
    only = row(found, scope="pooled")
    assert (only["verdict"], only["estimate"], only["delta"], only["n_seeds"]) == (verdict, worst, 1e-6, 10)
    assert f"of 10 runs is {worst:.2g}" in only["note"]
    assert "m x 1e-09" in only["note"]
    write_csv(found, tmp_path / "verdicts.csv")
    words = row_in_words(read_verdicts(tmp_path / "verdicts.csv").assign(kind="property").iloc[0].to_dict())
    assert words.effect == f"{worst:.2g}"
    assert words.strength is None
    assert "attention to hidden keys" in words.sentence


def test_runs_without_a_number_are_told():
    """A model whose attention cannot be recorded says nothing about the property, and the verdict says so."""
    metrics = leaking()
    metrics = metrics[~((metrics["measure"] == "padding_mass") & (metrics["strategy"] == "x") & (metrics["seed"] < 4))]
    file = claims(property_of("*"), measures=["padding_mass"])
    only = row(judge(metrics, None, file).verdicts, scope="pooled")
    assert only["verdict"] == "holds"
    assert only["note"].endswith("Nothing is said about 3 runs without such a number (m).")
    assert "Nothing is said" not in row(judge(leaking(), None, file).verdicts, scope="pooled")["note"]


def test_a_study_without_the_mask_or_the_number_says_so():
    file = claims(property_of("causal"), property_of("none"), measures=["hidden_mass"])
    found = judge(leaking(), None, file).verdicts
    assert set(found["verdict"]) == {"not tested"}
    assert found["note"].tolist() == ["The study has no strategy causal.", "No run has a number of hidden_mass."]


def test_a_claim_with_one_false_property_is_false():
    file = claims(property_of("none"), property_of("x"), measures=["padding_gradient", "hidden_mass"])
    table = judge(leaking(0.2), None, file).verdicts
    assert headline(table)["verdict"] == "false"
    assert headline(table[table["verdict"] != "false"])["verdict"] == "holds"


def test_padding_is_judged_in_every_study_and_multiplying_is_no_masking():
    """The claims that come with maskbench, on a study without an attention mask."""
    table = judge(leaking(), None, read_claims(ROOT / "claims.yaml")).verdicts
    assert headline(table[table["claim"] == "C14"])["verdict"] == "holds"
    multiplied = row(table, claim="C15")
    assert (multiplied["verdict"], multiplied["estimate"]) == ("false", pytest.approx(0.5))
    assert "The study has no strategy causal." in set(table[table["claim"] == "C14"]["note"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bound": None}, "bound and the kind property go together"),
        ({"against": "none"}, "expected the arm `of` alone"),
        ({"kind": "paired"}, "bound and the kind property go together"),
    ],
)
def test_a_property_has_one_arm_and_a_bound(change, message):
    with pytest.raises(ValueError, match=message):
        claims({key: value for key, value in {**property_of(), **change}.items() if value is not None})
