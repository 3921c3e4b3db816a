"""Data that make no sense: what stops a study, and what is told in manifest, log and report."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.model_selection import train_test_split

from maskbench.data.cutting import cut
from maskbench.data.examine import FEW
from maskbench.errors import InputError
from maskbench.kinds.files import Place
from tests.helpers.tasks import make_source, make_tagging, make_task
from tests.unit.data.test_prepare import THREE, THREE_TAGGED, refusal, rows, run


def told(manifest):
    """Return the first finding of each kind."""
    return {finding.about: finding.message for finding in reversed(manifest.findings)}


def sentences(count, start=0, tag="B-PER"):
    return "".join(f"was O\nAnna {tag}\n{number} O\n\n" for number in range(start, start + count))


def two(count, start=0, labels=("neg", "pos")):
    return [(f"text {number} is here", labels[number % 2]) for number in range(start, start + count)]


# --- labels are values


def test_numbers_in_test_are_no_indices_into_words_of_training(tmp_path):
    files = {
        "train.csv": rows(*two(40, labels=("real", "fake"))),
        "test.csv": rows(*two(20, 100, labels=("0", "1"))),
    }
    task = make_task(files={"train": "train.csv", "test": "test.csv"})
    assert refusal(tmp_path, files, task) == (
        "my-data/test.csv:2: label '0' is not among the labels of the training split (fake, real); if numbers count "
        "the labels from 0, list them in that order with labels"
    )


def test_numbers_are_indices_if_labels_are_listed(tmp_path):
    files = {
        "train.csv": rows(*two(40, labels=("real", "fake"))),
        "test.csv": rows(*two(20, 100, labels=("0", "1"))),
    }
    task = make_task(files={"train": "train.csv", "test": "test.csv"}, labels=["real", "fake"])
    manifest, splits = run(tmp_path, files, task)
    assert [row["label"] for row in splits["test"]] == [0, 1] * 10
    assert told(manifest)["numbers"] == (
        "my-data/train.csv, my-data/test.csv: labels '0', '1' count those of the configuration, some of them and some "
        "by name"
    )


def test_one_and_one_point_zero_are_one_class_and_numbers_sort_as_numbers(tmp_path):
    count = 12
    files = {
        "train.csv": rows(*((f"text {number}", f"{number % count}.0") for number in range(20 * count))),
        "test.csv": rows(*((f"test {number}", str(number % count)) for number in range(2 * count))),
    }
    task = make_task(files={"train": "train.csv", "test": "test.csv"})
    manifest, splits = run(tmp_path, files, task)
    assert manifest.labels == [str(number) for number in range(count)]
    assert [row["label"] for row in splits["test"]] == [number % count for number in range(2 * count)]
    assert "label '0' is written '0', '0.0', and 11 more in such ways" in told(manifest)["spelling"]


def test_floats_and_integers_in_one_file(tmp_path):
    written = ["0", "1", "0.0", "1.0"]
    content = rows(*((f"text {number}", written[number % 4]) for number in range(60)))
    manifest, _ = run(tmp_path, {"train.csv": content}, make_task(cut={"test": 0.2, "validation": 0.2}))
    assert manifest.labels == ["0", "1"]
    assert {split: info.labels for split, info in manifest.splits.items()} == {
        "train": {"0": 18, "1": 18},
        "validation": {"0": 6, "1": 6},
        "test": {"0": 6, "1": 6},
    }
    assert "spelling" in told(manifest)


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        (["2.5", "10.0", "-1", "1e1"], ["-1", "2.5", "10"]),
        (["007", "7", "07"], ["007", "07", "7"]),  # codes are no numbers
        (["1.50", "1.5", "+2", "2."], ["1.5", "2"]),
        (["-0.0", "0", "1"], ["0", "1"]),
        (["1.0", "one"], ["1", "one"]),
    ],
)
def test_values_of_labels(tmp_path, written, labels):
    content = rows(*((f"text {number}", written[number % len(written)]) for number in range(40)))
    assert run(tmp_path, {"train.csv": content}, make_task(cut={"test": 0.2}))[0].labels == labels


def test_a_label_that_differs_in_case_is_named(tmp_path):
    files = {"train.csv": rows(*two(40)), "test.csv": rows(("x", "Neg"))}
    message = refusal(tmp_path, files, make_task(files={"train": "train.csv", "test": "test.csv"}))
    assert message.endswith("(neg, pos); write it as 'neg', which differs in case, white space or accents alone")


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("neg", "Neg", "'Neg', 'neg' differ in case, white space or accents alone"),
        ("a b", "a\u00a0b", "'a b', 'a\\xa0b' differ in case, white space or accents alone"),
        ("cafe\u0301", "caf\u00e9", "'cafe\\u0301', 'caf\u00e9' differ in case, white space or accents alone"),
        ("\ufb01ne", "fine", "'fine', '\ufb01ne' differ in case, white space or accents alone"),
        ("ne\u200bg", "neg", "'neg', 'ne\\u200bg' differ in characters that cannot be seen"),
        ("n\u00adeg", "neg", "'neg', 'n\\xadeg' differ in characters that cannot be seen"),
        ("01", "1", "'01', '1' differ in leading zeros alone"),
        ("-007", "-7", "'-007', '-7' differ in leading zeros alone"),
        ("true", "1", "'1', 'true' differ as true and 1 do"),
        ("FALSE", "0", "'0', 'FALSE' differ as true and 1 do"),
    ],
)
def test_labels_that_look_alike_are_told(tmp_path, one, other, words):
    content = rows(*two(40, labels=(one, other)))
    manifest, _ = run(tmp_path, {"train.csv": content}, make_task())
    assert told(manifest)["look-alikes"] == f"my-data/train.csv: the labels {words}"
    train, test = rows(*two(40, labels=(one, "third"))), rows(*two(20, 100, labels=(other, "third")))
    files = {"train": "train.csv", "test": "test.csv"}
    message = refusal(tmp_path / "other", {"train.csv": train, "test.csv": test}, make_task(files=files))
    assert "; write it as " in message
    assert message.endswith(f"which differs {words.split('differ ')[1]}")


@pytest.mark.parametrize("labels", [("true", "false"), ("0", "1"), ("10", "1"), ("100", "1"), ("e", "\u00e9")])
def test_labels_that_do_not_look_alike_are_not(tmp_path, labels):
    manifest, _ = run(tmp_path, {"train.csv": rows(*two(40, labels=labels))}, make_task())
    assert manifest.findings == []


def test_a_label_that_is_a_whole_file_is_cut_short(tmp_path):
    files = {"train.csv": rows(*two(40)), "test.csv": rows(("x", "a" * 5000))}
    assert len(refusal(tmp_path, files, make_task(files={"train": "train.csv", "test": "test.csv"}))) < 200


def test_a_file_of_few_rows_on_many_lines_is_told(tmp_path):
    content = rows(*two(40)) + '"a quotation mark\n' + "that nobody closed\n" * 60 + 'here it is",neg\n'
    found = told(run(tmp_path, {"train.csv": content}, make_task())[0])
    assert found["few-rows"].startswith("my-data/train.csv:42: 41 rows stand on 102 lines, this one on 62: ")


# --- cuts


def test_a_cut_keeps_two_texts_of_each_class_in_each_split(tmp_path):
    content = rows(*((f"text {number}", "rare" if number % 17 == 0 else "common") for number in range(100)))
    manifest, _ = run(tmp_path, {"train.csv": content}, make_task())  # six of a hundred
    assert {split: info.labels["rare"] for split, info in manifest.splits.items()} == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }
    assert "each split has at least 2 texts of each label;" in manifest.cut
    assert "rare" not in told(manifest)


def test_a_cut_says_that_it_cannot_keep_two(tmp_path):
    content = rows(*((f"text {number}", "rare" if number % 20 == 0 else "common") for number in range(100)))
    manifest, _ = run(tmp_path, {"train.csv": content}, make_task())  # five of a hundred
    assert all(info.labels["rare"] >= 1 for info in manifest.splits.values())
    assert "at least 2 texts of each label but 'rare', of which there are too few" in manifest.cut
    messages = [finding.message for finding in manifest.findings if finding.about == "rare"]
    assert messages[-1] == "my-data/train.csv: test has one text alone of label 'rare'"


@pytest.mark.parametrize("common", [90, 198])
def test_a_label_with_fewer_texts_than_splits_cannot_be_cut(tmp_path, common):
    content = rows(*((f"text {number}", "rare" if number < 2 else "common") for number in range(common + 2)))
    message = refusal(tmp_path, {"train.csv": content}, make_task())
    assert f"too few distinct texts ({common + 2}, 2 of the rarest label) to cut" in message


def test_a_cut_of_tags_keeps_two_sentences_of_each_type(tmp_path):
    content = sentences(94) + sentences(6, 94, "B-LOC")
    manifest, splits = run(tmp_path, {"train.txt": content}, make_tagging())
    held = {split: sum(1 in row["tags"] for row in found) for split, found in splits.items()}
    assert manifest.labels[1] == "B-LOC"
    assert min(held.values()) >= 2
    assert sum(held.values()) == 6


@pytest.mark.parametrize("stratified", [True, False])
def test_a_draw_that_keeps_two_of_each_stays_as_it_was(stratified):
    keys, labels = [f"text {number}" for number in range(200)], [number % 3 for number in range(200)]
    rest, owner = np.arange(200), {}
    for split in ("test", "validation"):
        chosen = np.array(labels)[rest] if stratified else None
        rest, owner[split] = train_test_split(rest, test_size=20, random_state=7, stratify=chosen)
    shares = {"test": 0.1, "validation": 0.1}
    types = None if stratified else [{label} for label in labels]
    parts = cut(keys, labels if stratified else None, shares, 7, Place("f"), types)
    assert {split: sorted(rows) for split, rows in owner.items()} == {split: parts[split] for split in owner}
    assert parts["train"] == sorted(rest)


# --- what stops a study

NUMBERED = "".join(f"{number},{text},{label}\n" for number, (text, label) in enumerate(two(40)))
HEADERLESS = {"header": False, "columns": ["text", "label"], "files": THREE}


@pytest.mark.parametrize(
    ("files", "keys", "line", "mend", "accept"),
    [
        pytest.param(
            {name: rows(*two(20, start)) for start, name in ((0, "train.csv"), (100, "dev.csv"), (200, "test.csv"))},
            HEADERLESS,
            "train.csv:1: the row repeats the names of the columns",
            "set header: true",
            "header-row",
            id="header-row-as-data",
        ),
        pytest.param(
            {
                name: "sentence,gold\n" + rows(*two(20, start)).partition("\n")[2]
                for start, name in ((0, "train.csv"), (100, "dev.csv"), (200, "test.csv"))
            },
            HEADERLESS,
            "train.csv:1: the first row of each file looks like names",
            "set header: true",
            "header-row",
            id="header by other names",
        ),
        pytest.param(
            {"train.csv": rows(*two(20)) + rows(*two(20, 20))},
            {},
            "train.csv:22: the row repeats the names of the columns",
            "take the line out",
            "header-row",
            id="repeated-header",
        ),
        pytest.param(
            {"train.csv": rows(*two(40, labels="01")).partition("\n")[2].replace(",", "\t")},
            {"format": "tsv", "text": 0, "label": 1},
            "train.csv:1: the first row was taken for the names of the columns, but '0' is a label",
            "set header: false",
            "header-row",
            id="first-row-eaten",
        ),
        pytest.param(
            {"train.csv": rows(*two(40)), "test.csv": rows(*two(40))},
            {"files": {"train": "train.csv", "test": "test.csv"}},
            "test.csv:2: 40 of the 40 distinct texts of test stand in the training file, too",
            "in files",
            "test-in-training",
            id="test-is-train",
        ),
        pytest.param(
            {"train.csv": rows(*two(40)), "test.csv": rows(*two(FEW, 100, labels=("neg", "neg")))},
            {"files": {"train": "train.csv", "test": "test.csv"}},
            "test.csv: all 10 texts of test have the label 'neg'",
            "in files",
            "one-label",
            id="blind test of texts",
        ),
        pytest.param(
            {"train.csv": rows(*two(40)) + '"8 inch is small,pos\nbad sound,neg\nnot the full 8",neg\n'},
            {},
            "train.csv:42: a quoted field runs over 3 lines, 2 of which look like rows",
            'set format: tsv and separator: ","',
            "swallowed-rows",
            id="quote-swallows-rows",
        ),
        pytest.param(
            {"train.csv": "id,text,label\n" + NUMBERED + '41,"8 inch is small,pos\n42,not the full 8",neg\n'},
            {"text": "text"},
            "train.csv:42: a quoted field runs over 2 lines, 1 of which look like rows",
            'set format: tsv and separator: ","',
            "swallowed-rows",
            id="a row that is swallowed in two parts, label last",
        ),
        pytest.param(
            {
                "train.csv": "label,text,id\n"
                + "".join(f"{label},{text},{number}\n" for number, (text, label) in enumerate(two(40)))
                + 'pos,"8 inch is small,41\nneg,not the full 8",42\n'
            },
            {},
            "train.csv:42: a quoted field runs over 2 lines, 1 of which look like rows",
            'set format: tsv and separator: ","',
            "swallowed-rows",
            id="a row that is swallowed in two parts, label first",
        ),
        pytest.param(
            {"train.csv": "Text,Label\n" + rows(*two(40)).partition("\n")[2]},
            {"header": False, "columns": ["text", "label"]},
            "train.csv:1: the row repeats the names of the columns",
            "set header: true",
            "header-row",
            id="a header in other letters, in one file alone",
        ),
        pytest.param(
            {"train.csv": rows(*two(40)), "dev.csv": rows(*two(20, 100)), "test.csv": rows(*two(20, 100))},
            {"files": THREE},
            "test.csv:2: 20 of the 20 distinct texts of test stand in validation, too, so that checkpoints are",
            "give other texts for validation in files, or leave it out",
            "test-is-validation",
            id="validation is test",
        ),
        pytest.param(
            {"train.csv": rows(*two(40)), "dev.csv": rows(*two(FEW, 100)), "test.csv": rows(*two(40, 90))},
            {"files": THREE},
            "dev.csv:2: 10 of the 10 distinct texts of validation stand in test, too, so that checkpoints are selected",
            "give other texts for validation in files, or leave it out",
            "test-is-validation",
            id="validation is a part of test",
        ),
        pytest.param(
            {
                "train.csv": rows(
                    *((f"text {number}", f"id-{number // 2 if number < 9 else number}") for number in range(40))
                )
            },
            {},
            "train.csv: 36 different labels of 40 texts",
            "is label the right column?",
            "label-of-its-own",
            id="label is an id",
        ),
        pytest.param(
            {
                name: rows(*((f"__label__{label} {text}", label) for text, label in two(20, start)))
                for start, name in ((0, "train.csv"), (100, "dev.csv"), (200, "test.csv"))
            },
            {"files": THREE},
            "test.csv:2: all 20 texts of test hold their own label as a word and no other one (here 'neg'), so that",
            "take the labels out of the texts",
            "label-in-text",
            id="fastText",
        ),
    ],
)
def test_what_makes_a_score_meaningless_stops(tmp_path, files, keys, line, mend, accept):
    message = refusal(tmp_path, files, make_task(**keys))
    assert message.startswith(f"my-data/{line}")
    assert mend in message
    assert message.endswith(f"; if it is meant, accept: [{accept}]")
    if len(files) > 1 or accept == "swallowed-rows":  # the others cannot be cut
        manifest, _ = run(tmp_path / "accepted", files, make_task(**keys, accept=[accept]))
        assert told(manifest)[accept].startswith(f"my-data/{line}")


def test_a_text_that_lacks_its_label_or_holds_both_is_no_label_in_the_text(tmp_path):
    for number, odd in enumerate((("as neg as pos", "neg"), ("nothing", "pos"))):
        test = [(f"{label} {text}", label) for text, label in two(20, 100)]
        files = {"train.csv": rows(*two(40)), "dev.csv": rows(*two(20, 50)), "test.csv": rows(*test, odd)}
        manifest, _ = run(tmp_path / str(number), files, make_task(files=THREE))
        assert "label-in-text" not in told(manifest)


def test_a_blind_test_of_tags(tmp_path):
    files = {"train.txt": sentences(20), "dev.txt": sentences(5, 50), "test.txt": "Lena O\nsaw O\n\nShe O\nleft O\n"}
    message = refusal(tmp_path, files, make_tagging(files=THREE_TAGGED))
    assert message.startswith("my-data/test.txt: no entity in test, every tag of its 2 sentences is O: F1 would be 0")
    manifest, _ = run(tmp_path / "accepted", files, make_tagging(files=THREE_TAGGED, accept=["no-entities"]))
    assert "no-entities" in told(manifest)


def test_an_outside_tag_that_is_not_o_stops(tmp_path):
    files = {
        "train.txt": "".join(f"Anna PER\nsaw{number} -\n\n" for number in range(20)),
        "dev.txt": sentences(5, 50),
        "test.txt": sentences(5, 70),
    }
    marked = {**files, "train.txt": files["train.txt"].replace("PER", "B-PER")}
    with pytest.raises(InputError, match=r"train\.txt:2: .*tag '-'.*write O in its place"):
        run(tmp_path / "auto", marked, make_tagging(files=THREE_TAGGED))
    files = {name: text.replace("B-", "").replace(" O", " -") for name, text in files.items()}
    message = refusal(tmp_path / "io", files, make_tagging(files=THREE_TAGGED, scheme="io"))
    assert message.startswith("my-data/train.txt: no tag of the 20 sentences of train is O, so that every word is part")
    assert message.endswith("accept: [no-outside]")


@pytest.mark.parametrize("labels", [["B-PER", "I-PER"], ["O", "B-PER", "B-PER"]])
def test_labels_that_leave_out_o_or_name_a_tag_twice_are_refused(labels):
    with pytest.raises(ValidationError, match=r"labels: expected (all tags|each label once)"):
        make_tagging(labels=labels)


def test_a_carriage_return_in_a_quoted_field_is_no_crash(tmp_path):
    body = rows(*two(40))
    run(tmp_path, {"train.csv": body + '"one\rtwo\nthree",neg\n'}, make_task())


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ('text,label\n"two\nlines, and more",neg\n', {}),
        ('label,text\nneg,"two\nlines, and more"\n', {}),
        ('label,text,id\nneg,"pos\nneg, of three\nmore",1\n', {}),
        ("0,1\n", {"text": 0, "label": 1}),  # pandas, columns without names
        ("neg,pos\n", {"text": "neg", "label": "pos"}),
        ("stars,2024\n", {"text": 0, "label": 1}),
    ],
)
def test_what_is_meant_does_not_stop(tmp_path, content, keys):
    body = rows(*two(40)).partition("\n")[2]
    if content.startswith("label,text"):
        more = ",9" if ",id" in content else ""
        body = "".join(f"{label},{text}{more}\n" for text, label in two(40))
    run(tmp_path, {"train.csv": content + body}, make_task(**keys))


def test_few_texts_may_be_alike_by_accident(tmp_path):
    content = rows(*two(FEW - 1))
    manifest, _ = run(tmp_path, dict.fromkeys(THREE.values(), content), make_task(files=THREE))
    assert "9 of the 9 distinct texts of test stand in train, too" in told(manifest)["shared-texts"]


# --- what is told


@pytest.mark.parametrize(
    ("more", "about", "words"),
    [
        ([("a\x07b", "neg")], "control-characters", "train.csv:42: 1 text of train with control characters"),
        ([("x" + " word" * 900, "neg")], "long-texts", "train.csv:42: 1 text of train far longer than the rest"),
        ([("x", "neg")], "short-texts", "train.csv:42: 1 text of train of one character"),
        ([("...", "neg")], "no-letters", "train.csv:42: 1 text of train without a letter or digit"),
        (
            [("caf\u00c3\u00a9", "neg")],
            "broken-characters",
            "train.csv:42: 1 text of train with characters that another",
        ),
        ([("a &amp; b", "neg")], "escaped-characters", "train.csv:42: 1 text of train with characters as HTML escapes"),
        (
            [(str(number), "neg") for number in range(41)],
            "no-letters",
            "train.csv:42: 41 texts of train without a letter",
        ),
        ([("text 1 is  HERE", "neg")], "contradictions", "train.csv:42: 1 text of train also earlier"),
        ([("text 0 is here", "neg")] * 5, "repeated-texts", "train.csv: 5 of the 45 texts of train repeat another"),
        ([("odd", "other")], "rare", "train.csv: train has one text alone of label 'other'"),
        (
            [("odd", "other")],
            "missing",
            "dev.csv: validation has no text of label 'other' ('other' in one split alone)",
        ),
    ],
)
def test_what_is_odd_is_told_with_its_line(tmp_path, capsys, more, about, words):
    files = {"train.csv": rows(*two(40), *more), "dev.csv": rows(*two(6, 50)), "test.csv": rows(*two(6, 60))}
    manifest, _ = run(tmp_path, files, make_task(files=THREE))
    assert told(manifest)[about].startswith(f"my-data/{words}")
    assert f"about the data: my-data/{words}" in capsys.readouterr().out


def test_plain_data_are_not_talked_about(tmp_path, capsys):
    manifest, _ = run(tmp_path, {"train.csv": rows(*two(60))}, make_task())
    assert manifest.findings == []
    assert capsys.readouterr().out == ""


def test_types_that_differ_in_case_and_validation_without_entities(tmp_path):
    files = {
        "train.txt": sentences(20) + sentences(20, 20, "B-Per"),
        "dev.txt": "a O\nb O\n",
        "test.txt": sentences(3, 70) + sentences(3, 80, "B-Per"),
    }
    found = told(run(tmp_path, files, make_tagging(files=THREE_TAGGED))[0])
    assert "the entity types 'PER', 'Per' differ in case" in found["look-alikes"]
    assert found["no-entities"].startswith("my-data/dev.txt: no entity in validation")


# --- what max_length cuts off


def test_every_entity_behind_max_length_stops_and_truncated_is_recorded(tmp_path):
    from maskbench.data.encode import encode, load_encoded
    from maskbench.data.manifests import EncodedManifest
    from tests.helpers.models import make_model

    behind = "".join(f"{'was O' + chr(10)}" * 20 + f"Anna B-PER\n{number} O\n\n" for number in range(4))
    files = {"train.txt": sentences(20), "dev.txt": sentences(5, 50), "test.txt": behind}
    task = make_tagging(files=THREE_TAGGED, max_length=16)
    model = make_model(tmp_path / "model")
    run(tmp_path, files, task)
    with pytest.raises(InputError) as error:
        encode(task, tmp_path / "prepared", model, tmp_path / "encoded")
    assert "max_length: 16 tokens" in str(error.value)
    assert "cut off 32 of the 88 words of test, and with them all 4 entities: F1 can only be 0" in str(error.value)
    assert str(error.value).endswith("accept: [entities-cut-off]")
    assert not (tmp_path / "encoded").exists()
    swapped = {"train.txt": behind, "dev.txt": files["dev.txt"], "test.txt": files["train.txt"]}
    run(tmp_path / "train", swapped, task)
    with pytest.raises(InputError, match="all 4 entities: nothing is left to learn from; raise max_length"):
        encode(task, tmp_path / "train" / "prepared", model, tmp_path / "train" / "encoded")

    task = make_tagging(files=THREE_TAGGED, max_length=16, accept=["entities-cut-off"])
    encode(task, tmp_path / "prepared", model, tmp_path / "encoded")
    made = EncodedManifest.read(tmp_path / "encoded")
    assert {finding.about for finding in made.findings} == {"entities-cut-off", "unknown-tokens"}  # the numbers
    info = made.splits["test"]
    assert (info.words, info.truncated_words, info.entities, info.truncated_entities) == (88, 32, 4, 4)
    assert load_encoded(tmp_path / "encoded")["test"]["truncated"][:] == [8] * 4
    assert sum(load_encoded(tmp_path / "encoded")["train"]["truncated"]) == 0


# --- what a tokenizer does not know


@pytest.mark.parametrize("language", ["train", "test"])
def test_texts_of_unknown_tokens_alone_stop_and_many_are_told(tmp_path, language):
    from maskbench.data.encode import encode
    from maskbench.data.manifests import EncodedManifest
    from tests.helpers.models import make_model

    def told_by(folder, words, **keys):
        contents = {name: "good film" if name != language else words for name in THREE}
        files = {
            THREE[name]: rows(*((f"{text} {number}", "ab"[number % 2]) for number in range(start, start + 20)))
            for start, (name, text) in zip((0, 100, 200), contents.items(), strict=True)
        }
        task = make_task(files=THREE, max_length=16, **keys)
        run(folder, files, task)
        encode(task, folder / "prepared", make_model(folder / "model"), folder / "encoded")
        return EncodedManifest.read(folder / "encoded")

    with pytest.raises(InputError) as error:
        told_by(tmp_path / "none", "\u043f\u043b\u043e\u0445\u043e \u043e\u0447\u0435\u043d\u044c")
    assert f"{language}: 60 of 60 tokens (100 %) are unknown to the tokenizer of " in str(error.value)
    assert str(error.value).endswith("choose a model for this language; if it is meant, accept: [unknown-tokens]")
    assert not (tmp_path / "none/encoded").exists()
    accepted = told_by(tmp_path / "accepted", "\u043e\u0447\u0435\u043d\u044c", accept=["unknown-tokens"])
    assert any("40 of 40 tokens (100 %)" in finding.message for finding in accepted.findings)
    some = told_by(tmp_path / "some", "good film good film")
    assert (some.splits[language].text_tokens, some.splits[language].unknown_tokens) == (100, 20)
    assert {finding.about for finding in some.findings} == {"unknown-tokens"}
    assert any(f"{language}: 20 of 100 tokens (20 %) are unknown" in finding.message for finding in some.findings)


def test_texts_of_which_a_tokenizer_makes_nothing_stop(tmp_path):
    """No word would have a label, and a loss is a sum over labels, divided by how many there are."""
    from maskbench.data import examine
    from maskbench.data.manifests import EncodedSplit

    split = EncodedSplit(rows=12, words=12, truncated_examples=0, truncated_words=0, words_without_tokens=12, tokens=24)
    with pytest.raises(InputError, match=r"prepared: validation: the tokenizer of .*model makes no token of any text;"):
        examine.encoded(make_tagging(), tmp_path / "model", tmp_path / "prepared", {"validation": split})


def test_the_report_has_a_box_about_the_data(tmp_path):
    from maskbench.analysis.about_data import Use, about_data
    from maskbench.report.page import _about, _findings

    (tmp_path / "data" / "tasks" / "mine").mkdir(parents=True)
    content = rows(*two(40), ("<b>odd</b>\x07", "neg"))
    source = make_source(tmp_path / "source", {"train.csv": content})
    from maskbench.data.prepare import prepare

    prepare(make_task(), source, tmp_path / "data" / "tasks" / "mine" / "clean")
    uses = [
        Use("mine", "tiny", "full", None, 2),
        Use("elsewhere", "tiny", "full", None, None),
        Use("mine", "tiny", "20", 100, 2),
    ]
    (task,) = about_data(tmp_path, uses)
    assert task["used"] == {"train": [20, 33], "validation": [4], "test": [2]}
    assert any("control characters" in finding for finding in task["findings"])
    assert task["splits"]["train"]["rows"] == 33
    shown = _about(task)
    assert dict(shown["labels"]).keys() == {"neg", "pos"}
    assert shown["used"] == "Of these, a run uses 20 or 33 for training, 4 for validation and 2 for testing."
    assert _about({key: value for key, value in task.items() if key != "used"})["used"] == ""
    assert _findings({"about_data": [shown]}) == "1 thing"
