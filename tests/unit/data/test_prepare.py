from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from maskbench.config.tasks import SPLITS
from maskbench.data.prepare import load_prepared, prepare
from maskbench.data.spec import read_task
from maskbench.errors import InputError
from maskbench.experiment.load import load
from tests.helpers.prepared import refusal, run
from tests.helpers.tasks import make_source, make_tagging, make_task

ROOT = Path(__file__).resolve().parents[3]
THREE = {"train": "train.csv", "validation": "dev.csv", "test": "test.csv"}
THREE_TAGGED = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}


def rows(*pairs):
    return "text,label\n" + "".join(f"{text},{label}\n" for text, label in pairs)


def many(count, labels="ab"):
    return rows(*((f"text {number}", labels[number % len(labels)]) for number in range(count)))


# --- labels


def test_given_files_stay_as_they_are(tmp_path):
    files = {
        "train.csv": rows(("one", "no"), ("Two  x", "yes"), ("two X", "no")),
        "dev.csv": rows(("two x", "yes")),
        "test.csv": rows(("one", "no"), ("six", "yes")),
    }
    manifest, splits = run(tmp_path, files, make_task(files=THREE))
    assert splits["train"] == [
        {"example": 0, "text": "one", "label": 0},
        {"example": 1, "text": "Two  x", "label": 1},
        {"example": 2, "text": "two X", "label": 0},
    ]
    assert [row["label"] for row in splits["test"]] == [0, 1]
    assert manifest.labels == ["no", "yes"]
    assert manifest.cut is None
    assert manifest.dropped == {}
    assert manifest.splits["train"].labels == {"no": 2, "yes": 1}
    assert manifest.shared_with_test == {"train": 1, "validation": 0}
    assert manifest.shared_with_validation == {"train": 2}


@pytest.mark.parametrize(
    ("written", "configured", "labels", "indices"),
    [
        (["10", "9", "9"], None, ["9", "10"], [1, 0, 0]),
        (["b", "a", "10"], None, ["10", "a", "b"], [2, 1, 0]),
        (["b", "a", "a"], ["b", "a"], ["b", "a"], [0, 1, 1]),
        (["0", "1", "1"], ["negative", "positive"], ["negative", "positive"], [0, 1, 1]),
        (["0", "1", "1"], ["1", "0"], ["1", "0"], [1, 0, 0]),
    ],
)
def test_order_of_labels(tmp_path, written, configured, labels, indices):
    content = rows(*((f"t{number}", label) for number, label in enumerate(written)))
    files = dict.fromkeys(THREE.values(), content)
    manifest, splits = run(tmp_path, files, make_task(files=THREE, labels=configured))
    assert manifest.labels == labels
    assert [row["label"] for row in splits["train"]] == indices


def test_a_label_that_training_lacks(tmp_path):
    files = {"train.csv": many(4), "dev.csv": many(4), "test.csv": rows(("x", "a"), ("y", "c"))}
    message = refusal(tmp_path, files, make_task(files=THREE))
    assert message == "my-data/test.csv:3: label 'c' is not among the labels of the training split (a, b)"


def test_a_label_that_the_configuration_lacks(tmp_path):
    message = refusal(tmp_path, {"train.csv": many(40)}, make_task(labels=["a", "c"]))
    assert message == "my-data/train.csv:3: label 'b' is not among the labels of the configuration (a, c)"


def test_a_label_that_only_test_has(tmp_path):
    files = {"train.csv": many(4), "dev.csv": many(4), "test.csv": rows(("x", "a"), ("y", "c"))}
    message = refusal(tmp_path, files, make_task(files=THREE, labels=["a", "b", "c"]))
    assert message == "my-data/train.csv: label 'c' stands in test but not in the training split"


def test_one_label_is_no_task(tmp_path):
    message = refusal(tmp_path, {"train.csv": many(40, "a")}, make_task())
    assert message == "my-data/train.csv: label: expected at least two labels, found only a"


def test_binarize(tmp_path):
    content = rows(("a", 1.5), ("b", -2), ("c", "0"), ("d", "1e-3"))
    task = make_task(files=THREE, binarize=0.0, labels=["positive", "negative"])
    manifest, splits = run(tmp_path, dict.fromkeys(THREE.values(), content), task)
    assert [(row["text"], row["label"]) for row in splits["train"]] == [("a", 0), ("b", 1), ("d", 0)]
    assert manifest.dropped == {"label equals 0": 3}


@pytest.mark.parametrize(
    ("value", "keys", "message"),
    [
        ("high", {}, "my-data/train.csv:2: label: expected a number, since binarize is set, got 'high'"),
        ("nan", {}, "my-data/train.csv:2: label: expected a number, since binarize is set, got 'nan'"),
        (
            "1",
            {"labels": ["lo", "hi"]},
            "my-data/train.csv: labels: with binarize they are negative and positive, got lo, hi",
        ),
    ],
)
def test_binarize_refuses(tmp_path, value, keys, message):
    assert refusal(tmp_path, {"train.csv": rows(("a", value))}, make_task(binarize=0.0, **keys)) == message


# --- tagging

CONLL = "EU I-ORG\nand O\nEU I-ORG\nUN B-ORG\n\nParis I-LOC\n"


def test_tagging_in_iob1(tmp_path):
    manifest, splits = run(tmp_path, dict.fromkeys(THREE_TAGGED.values(), CONLL), make_tagging(files=THREE_TAGGED))
    assert manifest.labels == ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
    assert manifest.scheme == "IOB1"
    assert manifest.converted == {"train": 3, "validation": 3, "test": 3}
    assert splits["test"] == [
        {"example": 0, "tokens": ["EU", "and", "EU", "UN"], "tags": [3, 0, 3, 3]},
        {"example": 1, "tokens": ["Paris"], "tags": [1]},
    ]
    assert manifest.splits["train"].labels == {"O": 1, "B-LOC": 1, "I-LOC": 0, "B-ORG": 3, "I-ORG": 0}


def test_an_entity_type_that_training_lacks(tmp_path):
    files = {"train.txt": CONLL, "dev.txt": CONLL, "test.txt": "a O\n\nb O\nEU B-PER\n"}
    message = refusal(tmp_path, files, make_tagging(files=THREE_TAGGED))
    assert message == "my-data/test.txt:4: entity type 'PER' is not among the labels of the training split (LOC, ORG)"


def test_no_entity_at_all(tmp_path):
    message = refusal(tmp_path, {"train.txt": "a O\nb O\n"}, make_tagging())
    assert (
        message == "my-data/train.txt: label: no entity in the training file, every tag is O; is it the right column?"
    )


def test_tagging_is_cut_by_a_plain_permutation(tmp_path):
    content = "\n\n".join(f"word{number} B-X" for number in range(50))
    manifest, splits = run(tmp_path, {"train.txt": content}, make_tagging(accept=["no-outside"]))
    assert {split: len(found) for split, found in splits.items()} == {"train": 40, "validation": 5, "test": 5}
    assert manifest.cut == (
        "Cut from the distinct texts of the training file with seed 0, by a plain permutation: test (0.1 of them), "
        "then validation (0.1 of them); each split has at least 2 texts of each entity type; texts that differ only in "
        "case or white space count as one and stay in one split."
    )


# --- cuts


def test_cut_is_stratified_disjoint_and_keeps_equal_texts_together(tmp_path):
    pairs = [(f"text {number}", "rare" if number % 5 == 0 else "common") for number in range(100)]
    content = rows(*pairs, *((text.upper(), label) for text, label in pairs[:30]))
    task = make_task(cut={"test": 0.2, "validation": 0.1, "seed": 3})
    manifest, splits = run(tmp_path, {"train.csv": content}, task)
    texts = {split: [row["text"].lower() for row in found] for split, found in splits.items()}
    assert {split: len(set(found)) for split, found in texts.items()} == {"train": 70, "validation": 10, "test": 20}
    assert sorted(text for found in texts.values() for text in found) == sorted(
        text.lower() for text, _ in (*pairs, *pairs[:30])
    )
    assert manifest.shared_with_test == {"train": 0, "validation": 0}
    assert manifest.shared_with_validation == {"train": 0}
    labels = dict(pairs)
    assert {split: sum(labels[text] == "rare" for text in set(found)) for split, found in texts.items()} == {
        "train": 14,
        "validation": 2,
        "test": 4,
    }
    assert (
        "seed 3, stratified by label: test (0.2 of them), then validation (0.1 of them); each split has at least 2 "
        "texts of each label; " in manifest.cut
    )


def test_only_the_missing_split_is_cut(tmp_path):
    files = {"train.csv": many(100), "test.csv": many(3)}
    manifest, splits = run(tmp_path, files, make_task(files={"train": "train.csv", "test": "test.csv"}))
    assert {split: len(found) for split, found in splits.items()} == {"train": 90, "validation": 10, "test": 3}
    assert "then" not in manifest.cut
    assert sum(manifest.shared_with_test.values()) == 3


def test_another_seed_is_another_cut(tmp_path):
    first, second = (
        run(tmp_path / str(seed), {"train.csv": many(100)}, make_task(cut={"seed": seed}))[1]["test"] for seed in (0, 1)
    )
    assert first != second


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (many(2), "too few distinct texts (2, 1 of the rarest label) to cut 2 of them for test; "),
        (rows(*[("same", "a"), ("Same", "b")] * 50), "too few distinct texts (1) to cut 1 of them for test; "),
        (many(40) + "odd,c\n", "too few distinct texts (41, 1 of the rarest label) to cut 4 of them for test; "),
    ],
)
def test_too_little_to_cut(tmp_path, content, message):
    advice = "give files for test and validation, or change `cut`"
    assert refusal(tmp_path, {"train.csv": content}, make_task()) == f"my-data/train.csv: {message}{advice}"


# --- what goes in and comes out


def test_the_same_input_gives_the_same_bytes_and_replaces_what_was_there(tmp_path):
    source = make_source(tmp_path / "source", {"train.csv": many(60)})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").touch()
    for name in "ab":
        prepare(make_task(), source, tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["manifest.json", "test.parquet", "train.parquet", "validation.parquet"]
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "source"]


def test_a_failure_leaves_the_older_folder_alone(tmp_path):
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "old").touch()
    source = make_source(tmp_path / "source", {"train.csv": "text,label\n"})
    with pytest.raises(InputError):
        prepare(make_task(), source, tmp_path / "prepared")
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared", "source"]


def test_the_hash_follows_the_content(tmp_path):
    task = make_task()
    first, again, other = (
        run(tmp_path / name, {"train.csv": content}, task)[0].hash
        for name, content in (("a", many(60)), ("b", many(60)), ("c", many(61)))
    )
    assert first == again != other
    assert run(tmp_path / "d", {"train.csv": many(60)}, make_task(labels=["b", "a"]))[0].hash != first


def test_a_changed_source_is_noticed(tmp_path):
    source = make_source(tmp_path / "source", {"train.csv": many(60)})
    (source / "train.csv").write_text(many(61))
    with pytest.raises(InputError, match="content differs from its manifest"):
        prepare(make_task(), source, tmp_path / "prepared")


def test_a_missing_file_is_named(tmp_path):
    message = refusal(tmp_path, {"other.csv": many(60)}, make_task())
    assert message == f"{tmp_path}/source: no file train.csv for train; there are other.csv"


@pytest.mark.parametrize("record", ["[]", "{}", '{"files": []}', "{"])
def test_a_broken_record(tmp_path, record):
    source = make_source(tmp_path / "source", {"train.csv": many(60)})
    (source / "source.json").write_text(record)
    with pytest.raises(InputError, match=r"source\.json: "):
        prepare(make_task(), source, tmp_path / "prepared")


def test_one_local_file(tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_text(many(60) + ",\n")
    task = make_task(source={"local": str(mine)}, files={"train": "mine.csv"})
    assert refusal(tmp_path, {"mine.csv": mine.read_bytes()}, task) == f"{mine}:62: text is empty"


@pytest.mark.parametrize("spoil", ["text", "remove", "schema", "json"])
def test_a_prepared_folder_is_checked_on_reading(tmp_path, spoil):
    run(tmp_path, {"train.csv": many(60)}, make_task())
    manifest = tmp_path / "prepared" / "manifest.json"
    match spoil:
        case "text":
            pq.write_table(pa.table({"a": [1]}), tmp_path / "prepared" / "test.parquet")
        case "remove":
            (tmp_path / "prepared" / "test.parquet").unlink()
        case "schema":
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": 2}))
        case "json":
            manifest.write_text(manifest.read_text()[:50])
    with pytest.raises(InputError, match=r"delete .* and run again"):
        load_prepared(tmp_path / "prepared")


def test_hub(tmp_path):
    columns = {"sentence": ["good", "bad", " "] * 20, "label": [1, 0, 0] * 20}
    columns["sentence"] = [text.strip() and f"{text} {number}" for number, text in enumerate(columns["sentence"])]
    source = tmp_path / "source"
    source.mkdir()
    for split in SPLITS:
        own = columns | {"sentence": [text and f"{text} {split}" for text in columns["sentence"]]}
        pq.write_table(pa.table(own), tmp_path / f"{split}.parquet")
    files = {f"{split}.parquet": (tmp_path / f"{split}.parquet").read_bytes() for split in SPLITS}
    shutil.rmtree(source)
    make_source(source, files, features={"label": ["negative", "positive"]})
    hub = {"hub": "stanfordnlp/sst2", "revision": "0" * 40, "splits": {"train": "train", "test": "validation"}}
    prepare(make_task(source=hub, format=None, files={}, text="sentence"), source, tmp_path / "prepared")
    manifest, tables = load_prepared(tmp_path / "prepared")
    assert manifest.labels == ["negative", "positive"]
    assert manifest.dropped == {"no text": 40}
    assert {split: table.num_rows for split, table in tables.items()} == {"train": 36, "validation": 4, "test": 40}


def test_script(tmp_path):
    source = make_source(tmp_path / "source", {"train.csv": many(60)})
    command = [sys.executable, str(ROOT / "scripts" / "prepare.py"), "--source", str(source)]
    spec = make_task().model_dump_json()
    subprocess.run([*command, "--spec", spec, "--destination", str(tmp_path / "out")], check=True, cwd=tmp_path)
    assert load_prepared(tmp_path / "out")[0].splits["train"].rows == 48
    (source / "train.csv").write_text("changed")
    failed = subprocess.run(
        [*command, "--spec", spec, "--destination", str(tmp_path / "out")], capture_output=True, text=True, cwd=tmp_path
    )
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("spec", "message"), [("{}", "--spec: name: "), ("{", "--spec: task: "), ("[]", "--spec: task: ")]
)
def test_a_broken_spec(spec, message):
    with pytest.raises(InputError, match=message):
        read_task(spec)


# --- the documentation's examples

DOCS = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = {
    section.split("\n", 1)[0].strip(): section
    for section in re.split(r"^##+ ", DOCS, flags=re.MULTILINE)[1:]
    if "file=" in section
}


def blocks(section):
    """Return the files of an example and its configuration."""
    found = re.findall(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    files = {name: content for _, name, content in found if name}
    texts = [content for language, name, content in found if language == "yaml" and not name and "my-data" in content]
    (config,) = map(yaml.safe_load, texts)
    return files, config


def test_the_documentation_has_an_example_of_every_format():
    formats = {blocks(section)[1]["tasks"][0]["format"] for section in EXAMPLES.values()}
    assert formats == {"csv", "tsv", "jsonl", "json", "conll"}


@pytest.mark.parametrize("title", EXAMPLES)
def test_documented_example(tmp_path, monkeypatch, title):
    files, config = blocks(EXAMPLES[title])
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    experiment = load({"study": "mine", "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1], **config})
    task = experiment.tasks[0]
    content = {Path(name).relative_to(task.source.local).as_posix(): text for name, text in files.items()}
    manifest, splits = run(tmp_path, content, task)
    stated = re.search(r"Prepared: labels `(.*?)`; rows (\d+) / (\d+) / (\d+)", EXAMPLES[title])
    assert stated, "the example states what comes out"
    assert stated[1].split(", ") == manifest.labels
    assert [int(number) for number in stated.groups()[1:]] == [len(splits[split]) for split in SPLITS]


@pytest.mark.parametrize(
    "text", [item for item in re.findall(r"^```yaml\n(.*?)^```$", DOCS, re.M | re.S) if "my-data" not in item]
)
def test_documented_configuration_is_valid(tmp_path, monkeypatch, text):
    for name in ("SST-2/train.tsv", "SST-2/dev.tsv", "WNUT/emerging.test.annotated"):
        path = tmp_path / "path" / "to" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    load({"study": "mine", "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1], **yaml.safe_load(text)})


# --- real data


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    from maskbench.data.sources import cache_folder

    return cache_folder(None)


def prepared_preset(tmp_path, cache, name):
    from maskbench.data.sources import fetch_task

    task = load({"study": "s", "tasks": [name], "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1]}).tasks[0]
    fetch_task(task, tmp_path / "source", cache)
    prepare(task, tmp_path / "source", tmp_path / "prepared")
    return load_prepared(tmp_path / "prepared")


@pytest.mark.network
def test_real_conll(tmp_path, archives):
    manifest, tables = prepared_preset(tmp_path, archives, "conll2003")
    assert {split: table.num_rows for split, table in tables.items()} == {
        "train": 14041,
        "validation": 3250,
        "test": 3453,
    }
    entities = {
        split: sum(count for label, count in info.labels.items() if label.startswith("B-"))
        for split, info in manifest.splits.items()
    }
    assert entities == {"train": 23499, "validation": 5942, "test": 5648}  # Tjong Kim Sang & De Meulder (2003)
    assert manifest.scheme == "IOB2"


@pytest.mark.network
def test_real_snippets(tmp_path, archives):
    manifest, tables = prepared_preset(tmp_path, archives, "rt-snippets-random")
    assert {split: table.num_rows for split, table in tables.items()} == {
        "train": 8453,
        "validation": 1058,
        "test": 1057,
    }
    assert manifest.dropped == {"rating equals 0": 37}
    assert manifest.shared_with_test == {"train": 0, "validation": 0}
