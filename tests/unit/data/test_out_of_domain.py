"""Texts from elsewhere: read as configured, with the task's labels, without what the task was trained on."""

from __future__ import annotations

import re

import pytest
import yaml
from pydantic import ValidationError

from maskbench.config.tasks import Task
from maskbench.data.encode import encode, load_encoded
from maskbench.data.out_of_domain import prepare_sets
from maskbench.data.prepare import load_prepared, prepare
from maskbench.data.sources import cache_folder, fetch_task
from maskbench.errors import InputError
from maskbench.experiment.load import load
from maskbench.io.files import read_json
from tests.helpers.models import make_model
from tests.unit.data.test_prepare import EXAMPLES

REVIEWS = {
    "train.tsv": "1\t2.0\tA fine film.\n2\t-1.0\tA dull film.\n3\t1.0\tGo and see it.\n4\t-2.0\tStay at home.\n",
    "dev.tsv": "5\t1.0\tRather good.\n6\t-1.0\tRather bad.\n",
    "test.tsv": "7\t3.0\tPerfect.\n8\t-3.0\tAwful.\n",
    "phones.tsv": "1\t1.0\ta  FINE film.\n2\t-0.5\tThe battery is dead.\n3\t0.0\tIt is a phone.\n4\t2\tIt rings.\n"
    "5\t-1\tRather bad.\n",
}
TEXTS = {
    "kind": "sequence-classification",
    "format": "tsv",
    "header": False,
    "columns": ["id", "rating", "text"],
    "files": {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"},
    "label": "rating",
    "binarize": 0.0,
}
NEWS = {
    "train.conll": "Ada B-PER\nsat O\n\nRome B-LOC\nwaits O\n",
    "dev.conll": "Bo B-PER\nsat O\n",
    "test.conll": "Cy B-PER\nsat O\n",
    "tweets.conll": "Dee B-person\nbought O\na O\nNew B-product\nPhone I-product\n\n"
    "Eve B-person\nleft O\nOslo B-location\n",
}
TAGS = {
    "kind": "token-classification",
    "format": "conll",
    "files": {"train": "train.conll", "validation": "dev.conll", "test": "test.conll"},
    "text": 0,
    "label": -1,
    "labels": ["PER", "LOC"],
}
RELABEL = {"person": "PER", "location": "LOC", "product": None}


def task_of(folder, keys, *sets):
    given = {"name": "mine", "source": {"local": str(folder / "own")}, **keys, "out_of_domain": list(sets)}
    return Task.model_validate(given)


def made(folder, files, keys, *sets):
    """Fetch and prepare a task and its sets; returns the manifest of the sets and their rows."""
    for name, text in files.items():
        (folder / "own").mkdir(exist_ok=True)
        (folder / "own" / name).write_text(text, encoding="utf-8")
    task = task_of(folder, keys, *sets)
    fetch_task(task, folder / "source", folder / "cache")
    prepare(task, folder / "source", folder / "clean")
    prepare_sets(task, folder / "source", folder / "clean", folder / "made")
    manifest, tables = load_prepared(folder / "made")
    return manifest, {name: table.to_pylist() for name, table in tables.items()}


def refused(folder, files, keys, *sets):
    with pytest.raises(InputError) as error:
        made(folder, files, keys, *sets)
    assert not (folder / "made").exists()
    return str(error.value)


def test_a_set_is_read_as_the_task_and_lacks_what_the_task_learned(tmp_path):
    manifest, rows = made(tmp_path, REVIEWS, TEXTS, {"name": "phones", "file": "phones.tsv"})
    assert [(row["text"], row["label"]) for row in rows["phones"]] == [("The battery is dead.", 0), ("It rings.", 1)]
    assert [row["example"] for row in rows["phones"]] == [0, 1]
    assert manifest.labels == ["negative", "positive"]
    counts = manifest.change.splits["phones"].counts
    assert counts == {"texts": 4, "in train": 1, "in validation": 1, "kept": 2}
    assert manifest.change.splits["phones"].rates == {"left out": 0.5}
    assert manifest.dropped == {"phones: rating equals 0": 1}
    assert [finding.about for finding in manifest.findings] == ["out-of-domain"]
    assert "of the 4 texts of the set phones, 1 in train and 1 in validation" in manifest.findings[0].message
    # the task itself is as it is without sets: nothing of it is made anew
    plain = task_of(tmp_path, TEXTS)
    prepare(plain, tmp_path / "source", tmp_path / "plain")
    assert read_json(tmp_path / "plain/manifest.json")["hash"] == read_json(tmp_path / "clean/manifest.json")["hash"]
    assert task_of(tmp_path, TEXTS, {"name": "phones", "file": "phones.tsv"}).content() == plain.content()


PARTS = "12_1\t1.0\tThe battery lasts.\n12_2\t-1\tThe case broke\n7_1\t2\tIt rings.\n12_3\t1\tWell done.\n9\t1\tFine.\n"


def test_texts_of_one_group_have_one_document(tmp_path):
    one = {"name": "phones", "file": "parts.tsv", "group": "id", "group_before": "_"}
    manifest, rows = made(tmp_path, REVIEWS | {"parts.tsv": PARTS}, TEXTS, one)
    assert [row["document"] for row in rows["phones"]] == [0, 0, 1, 0, 2]
    assert manifest.change.splits["phones"].counts["groups"] == 3
    task = task_of(tmp_path, TEXTS | {"max_length": 32})
    encode(task, tmp_path / "made", make_model(tmp_path / "model"), tmp_path / "encoded")
    assert load_encoded(tmp_path / "encoded")["phones"]["document"][:] == [0, 0, 1, 0, 2]


def test_a_column_may_be_the_group_itself_and_texts_that_are_kept_stay_in_theirs(tmp_path):
    one = {"name": "phones", "file": "parts.tsv", "group": "rating", "max_examples": 3}
    _, rows = made(tmp_path, REVIEWS | {"parts.tsv": PARTS.replace("\t1.0\t", "\t1\t")}, TEXTS, one)
    document = {row["text"]: row["document"] for row in rows["phones"]}
    assert len(document) == 3
    same = {"The battery lasts.", "Well done.", "Fine."} & set(document)  # rated 1
    assert len(same) > 0
    assert len({document[text] for text in same}) == 1
    assert len(set(document.values())) == 1 + 3 - len(same)


def test_documents_of_a_file_in_columns_are_kept(tmp_path):
    text = "-DOCSTART- O\n\n" + NEWS["tweets.conll"].replace("\n\n", "\n\n-DOCSTART- O\n\n")
    one = {"name": "tweets", "file": "tweets.conll", "relabel": RELABEL}
    _, rows = made(tmp_path, NEWS | {"tweets.conll": text}, TAGS, one)
    assert [row["document"] for row in rows["tweets"]] == [0, 1]


def test_sets_with_a_form_a_source_and_names_of_their_own(tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "shop.csv").write_text("stars;said\nup;It works.\ndown;It broke.\nnone;I have not tried it.\n")
    relabel = {"up": "positive", "down": "negative", "none": None}
    form = {"format": "csv", "separator": ";", "text": "said", "label": "stars", "relabel": relabel}
    shop = {"name": "shop", "source": {"local": str(other)}, "file": "shop.csv", **form}
    manifest, rows = made(tmp_path, REVIEWS, TEXTS, {"name": "phones", "file": "phones.tsv"}, shop)
    assert [(row["text"], row["label"]) for row in rows["shop"]] == [("It works.", 1), ("It broke.", 0)]
    assert manifest.dropped["shop: no label of the task"] == 1
    assert set(rows) == {"phones", "shop"}


def test_entities_are_called_as_in_the_task_and_others_are_outside(tmp_path):
    manifest, rows = made(tmp_path, NEWS, TAGS, {"name": "tweets", "file": "tweets.conll", "relabel": RELABEL})
    assert manifest.labels == ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    assert [row["tags"] for row in rows["tweets"]] == [[1, 0, 0, 0, 0], [1, 0, 3]]
    task = task_of(tmp_path, TAGS | {"max_length": 32})
    encode(task, tmp_path / "made", make_model(tmp_path / "model"), tmp_path / "encoded")
    assert load_encoded(tmp_path / "encoded")["tweets"]["tags"][1] == [1, 0, 3]


def test_a_synthetic_set_has_the_texts_of_its_own_seed(tmp_path):
    source = {"synthetic": "classification", "train": 50, "validation": 20, "test": 30}
    keys = {"kind": "sequence-classification", "source": source}
    _, rows = made(
        tmp_path, {}, keys, {"name": "against", "source": source | {"conflict": 1.0, "seed": 3}, "max_examples": 7}
    )
    assert len(rows["against"]) == 7


def test_at_most_so_many_texts_are_kept_and_the_same_ones_again(tmp_path):
    text = "".join(f"{number}\t{(-1) ** number}\tText number {number}.\n" for number in range(50))
    few = [
        made(folder, REVIEWS | {"many.tsv": text}, TEXTS, {"name": "many", "file": "many.tsv", "max_examples": 9})
        for name in "ab"
        if (folder := tmp_path / name).mkdir() is None
    ]
    assert few[0][0].hash == few[1][0].hash
    assert len(few[0][1]["many"]) == 9
    assert [row["text"] for row in few[0][1]["many"]] != [f"Text number {number}." for number in range(9)]
    assert few[0][0].change.splits["many"].counts["kept"] == 9


@pytest.mark.parametrize(
    ("one", "message"),
    [
        ({"file": "phones.tsv", "label": "id", "binarize": None}, "label '1' is not among the labels of the training"),
        ({"file": "gone.tsv"}, "expected the file"),
        ({"file": "train.tsv"}, "no text is left: of 4, 4 stand in the training split and 0 in the validation split"),
        ({"file": "phones.tsv", "relabel": {"good": "positive"}}, "relabel: no label 'good'; there are negative, pos"),
        ({"file": "phones.tsv", "relabel": {"negative": "bad"}}, "relabel: 'bad' is not among the labels (negative,"),
        ({"file": "phones.tsv", "group": "id", "group_before": "_"}, "group_before: '_' stands nowhere in the"),
        ({"file": "phones.tsv", "group": "shop"}, "no column 'shop'; the columns are id, rating, text"),
        ({"file": "phones.tsv", "text": "review"}, "text: no column 'review'; the columns are id, rating, text"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_file(tmp_path, one, message):
    found = refused(tmp_path, REVIEWS, TEXTS, {"name": "phones", **one})
    assert message in found
    assert one["file"] in found


def test_an_entity_type_that_the_task_lacks_is_refused_with_its_line(tmp_path):
    found = refused(
        tmp_path, NEWS, TAGS, {"name": "tweets", "file": "tweets.conll", "relabel": {"person": "PER", "product": None}}
    )
    assert "tweets.conll:7: entity type 'location' is not among the labels" in found


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([{"name": "s"}], "out_of_domain (s): file is needed"),
        ([{"name": "s", "file": "y", "format": "conll"}], "out_of_domain (s): format conll does not hold"),
        ([{"name": "test", "file": "y"}], "out_of_domain (test): test is a split of the task"),
        ([{"name": "s", "file": "y"}] * 2, "out_of_domain: expected each name once, got s twice"),
        ([{"name": "s", "file": "y", "labels": ["a"]}], "out_of_domain (s): labels are for files whose labels"),
        ([{"name": "s", "file": "y", "scheme": "io"}], "out_of_domain (s): scheme is for tags"),
        ([{"name": "s", "fiel": "y"}], "unknown key fiel; did you mean file?"),
        ([{"name": "s", "source": {"hub": "a/b", "revision": "0" * 40}}], "source.splits needs an entry for test"),
        ([{"name": "s", "source": {"synthetic": "classification"}, "file": "y"}], "file is for packages and folders"),
        ([{"name": "s", "file": "y", "group_before": "_"}], "out_of_domain (s): group_before needs group"),
        (
            [{"name": "s", "source": {"synthetic": "classification"}, "group": "id"}],
            "group is a column of the file",
        ),
        ([{"name": "s", "source": {"synthetic": "tagging"}}], "out_of_domain (s): source.synthetic: tagging is no"),
    ],
)
def test_mistakes_in_the_configuration(tmp_path, sets, message):
    with pytest.raises(ValidationError) as error:
        task_of(tmp_path, TEXTS, *sets)
    assert message in str(error.value)


def test_what_a_set_takes_from_the_task_is_written_out_once(tmp_path):
    task = task_of(tmp_path, TEXTS, {"name": "phones", "file": "phones.tsv"})
    assert task.out_of_domain[0].columns == ["id", "rating", "text"]
    assert Task.model_validate_json(task.content(elsewhere=True).as_argument()).out_of_domain == task.out_of_domain


def test_the_example_in_the_documentation(tmp_path, monkeypatch):
    section = EXAMPLES["Texts from elsewhere"]
    found = re.findall(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    for name, content in ((name, content) for _, name, content in found if name):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    config = next(yaml.safe_load(content) for language, _, content in found if language == "yaml")
    monkeypatch.chdir(tmp_path)
    (task,) = load({"study": "mine", "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1], **config}).tasks
    fetch_task(task, tmp_path / "source", tmp_path / "cache")
    prepare(task, tmp_path / "source", tmp_path / "clean")
    prepare_sets(task, tmp_path / "source", tmp_path / "clean", tmp_path / "made")
    _, tables = load_prepared(tmp_path / "made")
    stated = re.search(r"out of domain: (.*)\.", section)[1]
    assert stated == ", ".join(f"{name} {table.num_rows}" for name, table in tables.items())


@pytest.mark.network
def test_sets_of_the_snippets(tmp_path):
    (task,) = load(
        {"study": "s", "tasks": ["rt-snippets"], "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1]}
    ).tasks
    fetch_task(task, tmp_path / "source", cache_folder(None))
    prepare(task, tmp_path / "source", tmp_path / "clean")
    prepare_sets(task, tmp_path / "source", tmp_path / "clean", tmp_path / "made")
    manifest, tables = load_prepared(tmp_path / "made")
    assert {name: table.num_rows for name, table in tables.items()} == dict.fromkeys(
        ("amazon", "editorials", "tweets"), 1000
    )
    counts = {name: changed.counts for name, changed in manifest.change.splits.items()}
    assert {name: count["texts"] for name, count in counts.items()} == {
        "amazon": 3610,
        "editorials": 4946,
        "tweets": 4196,
    }
    assert {name: count["in train"] for name, count in counts.items()} == {"amazon": 1, "editorials": 0, "tweets": 0}
