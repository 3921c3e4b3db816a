"""The oracle that cannot attend to a distractor: what stands there makes no difference to it."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.config.conditions import DISTRACTOR
from maskbench.probes import oracle
from maskbench.probes.errors import UnmeasuredError
from maskbench.probes.input import distractor
from tests.helpers.probed_runs import TAGS, TEXTS, Bench, cell_of


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench.make(tmp_path_factory.mktemp("bench"), count=240)


def other_words(rows, begins):
    """Return the texts with the tokens of the distractor turned round."""
    changed = []
    for row in rows:
        ids = np.array(row["input_ids"])
        places = np.flatnonzero(np.array(row["words"]) >= begins[row["example"]])
        ids[places] = ids[places][::-1]
        changed.append(row | {"input_ids": ids.tolist()})
    return changed


@pytest.mark.parametrize(("kind", "column"), [(TEXTS, "probabilities"), (TAGS, "confidence")])
def test_what_the_distractor_says_makes_no_difference_to_the_oracle(bench, kind, column):
    cell = cell_of(kind, training={"epochs": 1, "learning_rate": 5e-3, "eval_batch_size": 8})
    subject = bench.subject(cell)
    rows = subject.rows(subject.sources.shifted, DISTRACTOR)
    begins = oracle.first_words(subject.texts.test, rows)
    one, other = (oracle.blocked(subject, texts).table for texts in (rows, other_words(rows, begins)))
    # the words of the text itself; in tagging those of the distractor know themselves
    for example, first, second in zip(one["example"], one[column], other[column], strict=True):
        count = begins[example] if kind == TAGS else None
        assert np.asarray(first)[:count] == pytest.approx(np.asarray(second)[:count], abs=1e-5, nan_ok=True)
    found = {metric.measure: metric.value for metric in distractor(subject)}
    assert found["distractor_excess"] == pytest.approx(found["distractor_drop"] - found["distractor_drop_blocked"])
    assert len(subject.outcomes["distractor-blocked"]) == len(rows)


def test_a_distractor_that_the_length_cut_off_hides_nothing():
    clean = [{"example": 3, "words": [-1, 0, 1, 1, -1], "truncated": 2}, {"example": 4, "words": [-1, 0, -1],
             "truncated": 0}]  # fmt: skip
    distracted = [{"example": 4, "words": [-1, 0, 1, 2, -1]}, {"example": 3, "words": [-1, 0, 1, 1, -1]}]
    assert oracle.first_words(clean, distracted) == {4: 1, 3: 4}


def test_a_model_from_which_nothing_can_be_hidden_says_so(bench, monkeypatch):
    from maskbench.errors import InputError

    def refuse(*_):
        raise InputError("attention mask: ConvBert mixes its tokens")

    monkeypatch.setattr(oracle, "require_reach", refuse)
    cell = cell_of(TEXTS, training={"epochs": 1, "learning_rate": 5e-3, "eval_batch_size": 8})
    subject = bench.subject(cell)
    with pytest.raises(UnmeasuredError, match="ConvBert mixes its tokens"):
        oracle.blocked(subject, subject.rows(subject.sources.shifted, DISTRACTOR))
    found = {metric.measure: metric.value for metric in distractor(subject)}
    assert found["distractor_drop_blocked"] is None
    assert found["distractor_drop"] is not None
    assert any("ConvBert" in note for note in subject.notes)
