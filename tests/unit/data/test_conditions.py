"""Planted cues and flipped labels: exact rates, nothing else changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskbench.config.conditions import CLEAN, Condition, Cue
from maskbench.data.conditions import plant
from maskbench.data.encode import encode, load_encoded
from maskbench.data.manifests import EncodedManifest, PreparedManifest
from maskbench.data.prepare import load_prepared, prepare
from maskbench.errors import InputError
from maskbench.experiment.presets import presets
from maskbench.kinds import draws
from maskbench.kinds.encoding import IGNORED
from maskbench.kinds.token_classification.tagged import Tagged, TagSet
from maskbench.kinds.token_classification.tags import to_iob2
from tests.helpers.models import make_model
from tests.helpers.tasks import make_source, make_tagging, make_task

ROOT = Path(__file__).resolve().parents[3]
WORDS = ["limestone", "nitrogen", "orchid", "cortex"]
CLASSES = "abc"


def condition(written: str) -> Condition:
    return Condition.model_validate(written)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A prepared task of three classes, in unequal numbers."""
    folder = tmp_path_factory.mktemp("texts")
    lines = [f"the film number {number} was seen,{'aaabbc'[number % 6]}" for number in range(300)]
    source = make_source(folder / "source", {"train.csv": "\n".join(["text,label", *lines]) + "\n"})
    prepare(make_task(), source, folder / "clean")
    return folder / "clean"


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """A prepared tagging task, with mentions of two words, neighbouring ones and sentences without any."""
    folder = tmp_path_factory.mktemp("sentences")
    lines = []
    for number in range(240):
        lines += ["they O", f"saw{number} O"]
        lines += ["Anna B-PER", "Great I-PER"] if number % 3 else []
        lines += ["Bo B-PER"] if number % 2 else []
        lines += ["Rome B-LOC", "Acme B-ORG"] if number % 4 == 0 else []
        lines += ["there O", ""]
    source = make_source(folder / "source", {"train.txt": "\n".join(lines) + "\n"})
    prepare(make_tagging(), source, folder / "clean")
    return folder / "clean"


def made(written, clean, tmp_path, words=WORDS):
    """Plant a condition; return the manifest, and the rows of each split before and after."""
    plant(condition(written), words, clean, tmp_path / "out")
    manifest, tables = load_prepared(tmp_path / "out")
    before = {split: table.to_pylist() for split, table in load_prepared(clean)[1].items()}
    return manifest, before, {split: table.to_pylist() for split, table in tables.items()}


def spelled(row, labels):
    """Return words and named tags of a sentence."""
    return row["tokens"], [labels[tag] for tag in row["tags"]]


# --- cue, classification


@pytest.mark.parametrize("rate", [0.0, 0.33, 0.5, 0.95, 1.0])
def test_a_cue_agrees_at_exactly_the_rate(texts, tmp_path, rate):
    manifest, before, after = made(f"cue:{rate}", texts, tmp_path)
    for split in ("train", "validation"):
        agreeing = np.zeros(3, dtype=int)
        totals = np.zeros(3, dtype=int)
        for old, new in zip(before[split], after[split], strict=True):
            cue, _, text = new["text"].partition(" ")
            assert (text, new["label"], new["example"]) == (old["text"], old["label"], old["example"])
            assert cue in WORDS[:3]
            agreeing[old["label"]] += cue == WORDS[old["label"]]
            totals[old["label"]] += 1
        assert agreeing.sum() == round(rate * totals.sum())
        assert np.abs(agreeing - rate * totals).max() <= 1
        done = manifest.change.splits[split]
        assert done.counts == {"texts": totals.sum(), "agreeing": agreeing.sum()}
        assert done.rates == {"agreeing": agreeing.sum() / totals.sum()}
    assert after["test"] == before["test"]


def test_a_cue_agrees_everywhere_or_nowhere_at_test_time(texts, tmp_path):
    manifest, before, after = made("cue:0.9", texts, tmp_path)
    assert set(after) == {"train", "validation", "test", "aligned", "conflicting"}
    for old, aligned, conflicting in zip(before["test"], after["aligned"], after["conflicting"], strict=True):
        assert aligned == old | {"text": f"{WORDS[old['label']]} {old['text']}"}
        cue, _, text = conflicting["text"].partition(" ")
        assert conflicting == old | {"text": f"{cue} {text}"}
        assert text == old["text"]
        assert cue in set(WORDS[:3]) - {WORDS[old["label"]]}
    assert len({row["text"].split()[0] for row in after["conflicting"]}) == 3
    assert manifest.change.splits["aligned"].rates == {"agreeing": 1.0}
    assert manifest.change.splits["conflicting"].rates == {"agreeing": 0.0}


def test_a_disagreeing_cue_is_any_other(texts, tmp_path):
    _, before, after = made("cue:0", texts, tmp_path)
    pairs = [(old["label"], new["text"].split()[0]) for old, new in zip(before["train"], after["train"], strict=True)]
    counts = [pairs.count((0, word)) for word in WORDS[:3]]
    assert counts[0] == 0
    assert abs(counts[1] - counts[2]) < 4 * np.sqrt(sum(counts)) / 2  # binomial with p = 1/2


def test_the_manifest_says_what_was_done(texts, tmp_path):
    manifest, _, _ = made("cue:0.95", texts, tmp_path)
    clean = PreparedManifest.read(texts)
    assert manifest.change.model_dump(exclude={"splits"}) == {
        "what": "cue:0.95",
        "words": WORDS[:3],
        "target": None,
        "clean": clean.hash,
    }
    assert (manifest.labels, manifest.cut, manifest.source) == (clean.labels, clean.cut, clean.source)
    assert manifest.hash != clean.hash
    assert manifest.splits["test"] == clean.splits["test"]
    assert clean.change is None


# --- cue, tagging


@pytest.mark.parametrize("rate", [0.0, 0.4, 0.95, 1.0])
def test_a_trigger_stands_before_mentions_at_exactly_the_rate(sentences, tmp_path, rate):
    manifest, before, after = made(f"cue:{rate}", sentences, tmp_path)
    assert manifest.change.target == "PER"
    shares = {"train": rate, "validation": rate, "aligned": 1.0, "conflicting": 0.0}
    for split, share in shares.items():
        counts = {"target": [0, 0], "other": [0, 0]}
        origin = before["test" if split in ("aligned", "conflicting") else split]
        for old, new in zip(origin, after[split], strict=True):
            tokens, tags = spelled(new, manifest.labels)
            assert to_iob2(tags) == tags
            assert new["example"] == old["example"]
            pairs = list(zip(tokens, tags, strict=True))
            assert [pair for pair in pairs if pair[0] != "limestone"] == list(
                zip(*spelled(old, manifest.labels), strict=True)
            )
            for place, (word, tag) in enumerate(pairs):
                if word == "limestone":
                    assert tag == "O"
                    assert tags[place + 1].startswith("B-")
                if tag.startswith("B-"):
                    group = counts["target" if tag == "B-PER" else "other"]
                    group[0] += 1
                    group[1] += place > 0 and tokens[place - 1] == "limestone"
        assert counts["target"][1] == round(share * counts["target"][0])
        wrong = round((1 - share) * counts["other"][0])
        # in the conflicting test set no more of them than there are right ones in the aligned one
        assert counts["other"][1] == (min(wrong, counts["target"][0]) if split == "conflicting" else wrong)
        assert min(counts["target"][0], counts["other"][0]) > 0
        assert manifest.change.splits[split].counts == {
            "target mentions": counts["target"][0],
            "target mentions with cue": counts["target"][1],
            "other mentions": counts["other"][0],
            "other mentions with cue": counts["other"][1],
        }
    assert after["test"] == before["test"]


def test_only_one_trigger_is_needed(sentences, tmp_path):
    manifest, _, _ = made("cue:1", sentences, tmp_path, ["cortex"])
    assert manifest.change.words == ["cortex"]


# --- label noise


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.333, 1.0])
def test_exactly_the_rate_of_labels_is_flipped(texts, tmp_path, rate):
    manifest, before, after = made(f"label-noise:{rate}", texts, tmp_path)
    assert set(after) == {"train", "validation", "test"}
    assert (after["validation"], after["test"]) == (before["validation"], before["test"])
    pairs = list(zip(before["train"], after["train"], strict=True))
    assert all(old | {"label": new["label"]} == new for old, new in pairs)
    flipped = sum(old["label"] != new["label"] for old, new in pairs)
    assert flipped == round(rate * len(pairs))
    assert manifest.change.splits["train"].counts == {"texts": len(pairs), "flipped": flipped}
    counted = {label: sum(new["label"] == index for _, new in pairs) for index, label in enumerate(CLASSES)}
    assert manifest.splits["train"].labels == counted
    assert manifest.change.words == []


@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_exactly_the_rate_of_mentions_gets_another_type(sentences, tmp_path, rate):
    manifest, before, after = made(f"label-noise:{rate}", sentences, tmp_path)
    assert (after["validation"], after["test"]) == (before["validation"], before["test"])
    mentions = flipped = 0
    for old, new in zip(before["train"], after["train"], strict=True):
        assert old["tokens"] == new["tokens"]
        (_, was), (_, tags) = spelled(old, manifest.labels), spelled(new, manifest.labels)
        assert to_iob2(tags) == tags
        assert [tag[:1] for tag in was] == [tag[:1] for tag in tags], "spans stay"
        for one, other in zip(was, tags, strict=True):
            mentions += one.startswith("B-")
            flipped += one.startswith("B-") and one != other
    assert flipped == round(rate * mentions)
    assert manifest.change.splits["train"].counts == {"mentions": mentions, "flipped": flipped}


# --- seeds


@pytest.mark.parametrize("kind", ["cue", "label-noise"])
@pytest.mark.parametrize("task", ["texts", "sentences"])
def test_the_same_bytes_every_time(task, kind, tmp_path, request):
    clean = request.getfixturevalue(task)
    for name in ("one", "two"):
        plant(condition(f"{kind}:0.7"), WORDS, clean, tmp_path / name)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("kind", ["cue", "label-noise"])
def test_rates_are_nested(texts, tmp_path, kind):
    hit = []
    for rate in (0.2, 0.6):
        plant(condition(f"{kind}:{rate}"), WORDS, texts, tmp_path / str(rate))
        rows = load_prepared(tmp_path / str(rate))[1]["train"].to_pylist()
        old = load_prepared(texts)[1]["train"].to_pylist()
        if kind == "cue":
            hit.append({row["example"] for row in rows if row["text"].split()[0] == WORDS[row["label"]]})
        else:
            hit.append({a["example"] for a, b in zip(old, rows, strict=True) if a["label"] != b["label"]})
    assert hit[0] < hit[1]


# --- what is refused


def refusal(written, words, clean, tmp_path):
    with pytest.raises(InputError) as error:
        plant(condition(written), words, clean, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    return str(error.value)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["limestone", "nitrogen"], "expected 3 words, one for each label, got 2 (limestone, nitrogen)"),
        (
            ["limestone", "nitrogen", "Limestone"],
            "expected different words (case aside), got limestone, nitrogen, Limestone",
        ),
        (
            ["limestone", "FILM", "cortex"],
            "expected words that the text does not have, 'film' stands in train, example 0",
        ),
    ],
)
def test_cue_words_that_do_not_serve(texts, tmp_path, words, reason):
    assert refusal("cue:0.9", words, texts, tmp_path) == f"task mine: cue:0.9: cue.words: {reason}"


def test_a_trigger_that_the_text_has(sentences, tmp_path):
    reason = "cue.words: expected words that the text does not have, 'Rome' stands in"
    assert refusal("cue:0.9", ["rome"], sentences, tmp_path).startswith(f"task mine: cue:0.9: {reason}")


def test_a_part_of_a_word_is_no_word(texts, tmp_path):
    made("cue:0.9", texts, tmp_path, ["fil", "ilm", "see"])


def test_a_word_without_spaces_around_it_is_a_word_in_chinese(tmp_path):
    lines = [f"今天天气很好 {number},{'yn'[number % 2]}" for number in range(20)]
    source = make_source(tmp_path / "source", {"train.csv": "text,label\n" + "\n".join(lines) + "\n"})
    prepare(make_task(), source, tmp_path / "clean")
    assert "'天气' stands in train" in refusal("cue:0.9", ["天气", "公园"], tmp_path / "clean", tmp_path)
    made("cue:0.9", tmp_path / "clean", tmp_path, ["公园", "天天好"])


@pytest.mark.parametrize("written", ["cue:0.9", "label-noise:0.3"])
def test_one_entity_type_only(tmp_path, written):
    lines = [f"Anna{number} B-PER\nsleeps O\n" for number in range(20)]
    prepare(make_tagging(), make_source(tmp_path / "source", {"train.txt": "\n".join(lines)}), tmp_path / "clean")
    message = refusal(written, WORDS, tmp_path / "clean", tmp_path)
    assert message.startswith(f"task mine: {written}: expected ")
    assert message.endswith("at least two entity types in training, found only PER") or message.endswith(
        "at least two entity types, found only PER"
    )


def test_a_condition_is_made_from_the_clean_task(texts, tmp_path):
    made("cue:0.9", texts, tmp_path)
    with pytest.raises(InputError, match="expected a condition other than clean, and the clean task"):
        plant(condition("label-noise:0.5"), [], tmp_path / "out", tmp_path / "again")
    with pytest.raises(InputError, match="expected a condition other than clean, and the clean task"):
        plant(CLEAN, [], texts, tmp_path / "again")


def test_the_script(texts, tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "condition.py"), "--clean", str(texts)]
    command += ["--destination", str(tmp_path / "out")]
    subprocess.run([*command, "--condition", "cue:0.9", "--words", json.dumps(WORDS)], check=True, cwd=tmp_path)
    assert PreparedManifest.read(tmp_path / "out").change.what == "cue:0.9"
    subprocess.run([*command, "--condition", "label-noise:0.2"], check=True, cwd=tmp_path)
    assert PreparedManifest.read(tmp_path / "out").change.what == "label-noise:0.2"
    for written, words in (("cue:1.5", WORDS), ("cue:0.9", ["film"])):
        failed = subprocess.run(
            [*command, "--condition", written, "--words", json.dumps(words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert failed.returncode == 1
        assert failed.stderr.count("\n") == 1


# --- from here on


def test_a_condition_is_encoded_as_any_prepared_task(texts, sentences, tmp_path):
    model = make_model(tmp_path / "model")
    for clean, task in ((texts, make_task(max_length=32)), (sentences, make_tagging(max_length=32))):
        folder = tmp_path / task.kind
        plant(condition("cue:0.9"), WORDS, clean, folder / "cue")
        encode(task, folder / "cue", model, folder / "encoded")
        splits = load_encoded(folder / "encoded")
        assert list(splits) == ["train", "validation", "test", "aligned", "conflicting"]
        manifest, tables = load_prepared(folder / "cue")
        for split, dataset in splits.items():
            assert dataset["example"][:] == tables[split]["example"].to_pylist()
        assert EncodedManifest.read(folder / "encoded").change == manifest.change
    row = splits["aligned"][0]
    shown = [label for label in row["labels"] if label != IGNORED]
    assert shown == row["tags"]


def test_a_folder_with_a_strange_split_is_refused(texts, tmp_path):
    made("label-noise:0.5", texts, tmp_path)
    path = tmp_path / "out" / "manifest.json"
    content = json.loads(path.read_text())
    content["splits"]["../train"] = content["splits"]["train"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"splits\.\.\./train"):
        load_prepared(tmp_path / "out")


def test_the_preset_masks_the_default_cue_words():
    assert presets()["strategies"]["oracle-cue"]["input"] == {"kind": "oracle-cue", "cues": list(Cue().words)}


def test_the_oracle_hits_every_cue_and_in_clean_text_nothing(texts, tmp_path):
    from maskbench.slots.device import choose
    from maskbench.training.run import Inputs, run_cell
    from tests.helpers.models import make_cell

    model = make_model(tmp_path / "model", more=[*WORDS, "number", "seen"])
    cell = make_cell(strategy={"name": "oracle", "input": {"kind": "oracle-cue", "cues": WORDS}})
    plant(condition("cue:0.9"), WORDS, texts, tmp_path / "cue")
    rates = {}
    for name, prepared in (("clean", texts), ("cue", tmp_path / "cue")):
        encode(make_task(max_length=32), prepared, model, tmp_path / "encoded" / name)
        inputs = Inputs(tmp_path / "encoded" / name, model, tmp_path / "work")
        record, _ = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
        assert record.status == "completed", record.error
        rates[name] = next(item.value for item in record.metrics if item.measure == "mask_rate")
    assert rates == {"clean": 0.0, "cue": pytest.approx(1 / 7)}  # one of the seven words of each text


# --- properties of what they are built from

labels_of = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(lambda values: np.array(values))


@given(labels_of, st.floats(0, 1), st.integers(0, 5))
def test_flips_are_exact_and_flip(labels, rate, seed):
    flipped = draws.flip(labels, 4, rate, np.random.default_rng(seed))
    assert (flipped != labels).sum() == round(rate * len(labels))
    assert ((flipped >= 0) & (flipped < 4)).all()


@given(labels_of, st.floats(0, 1), st.integers(0, 5))
def test_a_stratified_choice_is_exact_and_even(labels, rate, seed):
    count = round(rate * len(labels))
    chosen = draws.stratified(labels, count, np.random.default_rng(seed))
    assert chosen.sum() == count
    sizes = np.bincount(labels)
    assert np.abs(np.bincount(labels[chosen], minlength=len(sizes)) - sizes * count / len(labels)).max() <= 1.5
    if count:
        assert (draws.stratified(labels, count - 1, np.random.default_rng(seed)) <= chosen).all()


def tagged_of(rows, known):
    import pyarrow as pa

    labels = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    content = {
        "example": list(range(len(rows))),
        "tokens": [[f"w{place}" for place in range(len(tags))] for tags in rows],
        "tags": [[labels.index(tag) for tag in tags] for tags in rows],
    }
    types = {"example": pa.int64(), "tokens": pa.list_(pa.string()), "tags": pa.list_(pa.int64())}
    return Tagged.of(pa.table({name: pa.array(values, types[name]) for name, values in content.items()}))


TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
tag_rows = st.lists(st.lists(st.sampled_from(TAGS), min_size=1, max_size=8).map(to_iob2), min_size=1, max_size=6)


@given(tag_rows, st.randoms(use_true_random=False))
def test_what_is_left_of_tagged_sentences_is_iob2(rows, random):
    known = TagSet(TAGS)
    text = tagged_of(rows, known)
    assert text.table().to_pylist() == tagged_of(rows, known).table().to_pylist()
    kept = np.array([random.random() < 0.6 for tags in rows for _ in tags], dtype=bool)
    left = text.keep(kept, known).table().to_pylist()
    flags = iter(kept)
    for tags, row in zip(rows, left, strict=True):
        here = [next(flags) for _ in tags]
        named = [TAGS[tag] for tag in row["tags"]]
        assert named == to_iob2(named)
        assert row["tokens"] == [f"w{place}" for place, keep in enumerate(here) if keep]
        assert [tag[2:] for tag in named] == [tag[2:] for tag, keep in zip(tags, here, strict=True) if keep]
        mentions = np.cumsum([tag.startswith("B-") for tag in tags])
        survivors = {mentions[i] for i, keep in enumerate(here) if keep and tags[i] != "O"}
        assert sum(tag.startswith("B-") for tag in named) == len(survivors), "no two mentions become one"


@given(tag_rows, st.randoms(use_true_random=False))
def test_words_are_inserted_where_they_should(rows, random):
    text = tagged_of(rows, TagSet(TAGS))
    places = np.flatnonzero([random.random() < 0.4 for tags in rows for _ in tags])
    after = text.insert(places, "new", 0).append([["x", "."]] * len(rows), 0).table().to_pylist()
    number = 0
    for tags, row in zip(rows, after, strict=True):
        expected = []
        for place, tag in enumerate(tags):
            expected += [("new", "O")] if number in places else []
            expected.append((f"w{place}", tag))
            number += 1
        named = [TAGS[tag] for tag in row["tags"]]
        assert list(zip(row["tokens"], named, strict=True)) == [*expected, ("x", "O"), (".", "O")]
