"""Splits that are cut by group: films, authors, documents."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskbench.config.tasks import SPLITS, Task
from maskbench.data.counting import cut_off, most_rows
from maskbench.data.groups import as_documents, letters
from maskbench.data.prepare import load_prepared, prepare
from maskbench.data.sources import cache_folder, fetch_task
from maskbench.errors import InputError
from maskbench.experiment.load import load
from maskbench.experiment.user_files import task_content
from maskbench.kinds.files import Place
from maskbench.kinds.rows import Rows
from tests.helpers.prepared import refusal, run
from tests.helpers.tasks import make_tagging, make_task

THREE = {"train": "train.csv", "validation": "dev.csv", "test": "test.csv"}


def written(rows, header=("text", "label", "film")):
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue()


def films(count, texts=6, labels="ab"):
    """Rows of films of 1 to 2 * texts texts each; a film's texts lean to one of the labels."""
    rng = random.Random(0)
    for film in range(count):
        lean = rng.random()
        for number in range(rng.randint(1, 2 * texts)):
            label = labels[0] if rng.random() < lean else labels[film % (len(labels) - 1) + 1]
            yield f"text {number} of {film}", label, f"film {film}"


def film_of(text):
    return text.rsplit(maxsplit=1)[1]


def about(manifest):
    return {finding.about for finding in manifest.findings}


def test_no_film_stands_in_two_splits_and_labels_keep_their_shares(tmp_path):
    rows = list(films(120))
    manifest, splits = run(tmp_path, {"train.csv": written(rows)}, make_task(cut={"group": "film"}))
    held = {split: {film_of(row["text"]) for row in splits[split]} for split in SPLITS}
    assert sum(map(len, held.values())) == len(set.union(*held.values())) == 120
    assert manifest.groups.groups == {split: len(held[split]) for split in SPLITS}
    share = sum(label == "b" for _, label, _ in rows) / len(rows)
    for split, part in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert len(splits[split]) / len(rows) == pytest.approx(part, abs=0.01)
        assert sum(row["label"] for row in splits[split]) / len(splits[split]) == pytest.approx(share, abs=0.03)
    assert "in whole groups (film), stratified by label" in manifest.cut
    assert "no group stands in two splits" in manifest.cut
    assert not about(manifest) & {"shared-groups", "without-group", "uneven-cut"}


def test_a_film_is_a_document_whatever_split_it_is_in(tmp_path):
    """Texts of one film are resampled together; films that share a text are one, and a text without a film is alone."""
    rows = [*films(120), ("text 0 of 0", "a", "film 1"), ("text 0 of 0", "a", "film 0")]
    _, splits = run(tmp_path, {"train.csv": written(rows)}, make_task(cut={"group": "film"}))
    for split in SPLITS:
        of_film = {}
        for row in splits[split]:
            of_film.setdefault(film_of(row["text"]), set()).add(row["document"])
        assert all(len(numbers) == 1 for numbers in of_film.values())
        distinct = {number for numbers in of_film.values() for number in numbers}
        assert len(distinct) == len(of_film) - ({"0", "1"} <= set(of_film))


def test_a_text_without_a_group_is_a_document_of_its_own():
    place = Place("x.csv")
    texts = ["one", "two", "three", "two"]
    rows = Rows(texts, [0] * 4, [1, 2, 3, 4], place, groups=[("film",), (), (), ()])
    table = as_documents(pa.table({"text": texts}), rows)
    assert table["document"].to_pylist() == [0, 2, 3, 2]
    assert as_documents(pa.table({"text": texts}), replace(rows, groups=None)).column_names == ["text"]


def test_a_cut_by_group_is_one_for_each_seed(tmp_path):
    files = {"train.csv": written(films(60))}
    parts = [
        run(tmp_path / str(number), files, make_task(cut={"group": "film", "seed": seed}))[0].hash
        for number, seed in enumerate((0, 0, 1))
    ]
    assert parts[0] == parts[1] != parts[2]


def test_films_that_share_a_text_are_one(tmp_path):
    rows = [*films(40), *[("The  SAME text", "ab"[film % 2], f"film {film}") for film in range(0, 8, 2)]]
    rows.append(("the same text", "a", "another"))
    manifest, splits = run(tmp_path, {"train.csv": written(rows)}, make_task(cut={"group": "film"}))
    where = {split for split in SPLITS for row in splits[split] if film_of(row["text"]) in ("0", "2", "4", "6", "text")}
    assert len(where) == 1
    assert manifest.groups.joined == 4


def test_a_label_in_few_films_is_in_every_split(tmp_path):
    rare = [(f"rare {film} {number}", "c", f"film {film}") for film in (3, 17, 31) for number in range(3)]
    rows = [*films(60), *rare]
    for seed in range(5):
        task = make_task(cut={"group": "film", "seed": seed})
        manifest, _ = run(tmp_path / str(seed), {"train.csv": written(rows)}, task)
        assert [manifest.splits[split].labels["c"] for split in SPLITS] == [3, 3, 3]


def test_texts_of_one_label_in_too_few_films_are_refused(tmp_path):
    rows = [*films(30), *[(f"rare {film} {number}", "c", f"film {film}") for film in (1, 2) for number in range(4)]]
    message = refusal(tmp_path, {"train.csv": written(rows)}, make_task(cut={"group": "film"}))
    assert (
        "train.csv: cut.group: a label stands in 2 of the 30 groups, too few for train, test and validation" in message
    )


def test_too_few_groups_are_refused(tmp_path):
    rows = [(f"text {number}", "ab"[number % 2], number % 4 // 2) for number in range(40)]
    message = refusal(tmp_path, {"train.csv": written(rows)}, make_task(cut={"group": "film"}))
    assert "train.csv: cut.group: 2 groups are too few to cut test and validation from them" in message


def test_large_groups_are_told_to_miss_the_share(tmp_path):
    rows = [(f"text {number}", "ab"[number % 2], number // 20) for number in range(80)]
    manifest, splits = run(tmp_path, {"train.csv": written(rows)}, make_task(cut={"group": "film"}))
    assert [len(splits[split]) for split in SPLITS] == [40, 20, 20]
    told = [finding.message for finding in manifest.findings if finding.about == "uneven-cut"]
    assert "test has 20 texts where 8 were wanted, since groups (film) are not parted" in told[0]


def test_one_missing_split_is_cut_by_group(tmp_path):
    files = {
        "train.csv": written(films(60)),
        "test.csv": written([("new a", "a", "film 3"), ("new b", "b", "film 60")]),
    }
    task = make_task(files={"train": "train.csv", "test": "test.csv"}, cut={"group": "film"})
    manifest, splits = run(tmp_path, files, task)
    held = [{film_of(row["text"]) for row in splits[split]} for split in ("train", "validation")]
    assert not held[0] & held[1]
    assert manifest.groups.shared_with_test["train"] + manifest.groups.shared_with_test["validation"] == 1


def test_groups_in_several_given_files_are_counted_and_told(tmp_path):
    files = {
        "train.csv": written([("one", "a", "x"), ("two", "b", "y")]),
        "dev.csv": written([("three", "a", "y"), ("four", "b", "z")]),
        "test.csv": written([("five", "a", "x"), ("six", "b", "w"), ("seven", "a", "x")]),
    }
    manifest, splits = run(tmp_path, files, make_task(files=THREE, cut={"group": "film"}))
    assert [row["text"] for row in splits["test"]] == ["five", "six", "seven"]
    assert manifest.cut is None
    assert manifest.groups.shared_with_test == {"train": 1, "validation": 0}
    assert manifest.groups.shared_with_validation == {"train": 1}
    told = [finding.message for finding in manifest.findings if finding.about == "shared-groups"]
    assert told[0].endswith(
        "test.csv:2: 1 of the 2 groups of test (film: 'x') stand in train, too, with 2 of the 3 texts of test"
    )
    assert len(told) == 2


@pytest.mark.parametrize(
    ("content", "keys", "message"),
    [
        ("text,label,film\none,a,x\ntwo,b,\n", {}, "train.csv:3: group is empty"),
        ("text,label\none,a\n", {}, "train.csv: cut.group: no column 'film'; the columns are text, label"),
        ('{"text": "a", "label": "b"}\n', {"format": "jsonl"}, "train.csv:1: no key 'film'; the keys are text, label"),
        (
            '{"text": "a", "label": "b", "film": [1]}\n',
            {"format": "jsonl"},
            "train.csv:1: group: expected a word or a number, got [1]",
        ),
    ],
)
def test_rows_without_a_group_are_refused(tmp_path, content, keys, message):
    assert message in refusal(tmp_path, {"train.csv": content}, make_task(cut={"group": "film"}, **keys))


def test_groups_of_json_lines_may_be_numbers(tmp_path):
    lines = [{"text": f"t {number}", "label": number % 2, "film": number // 4} for number in range(80)]
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    task = make_task(format="jsonl", files={"train": "train.jsonl"}, cut={"group": "film"})
    manifest, splits = run(tmp_path, {"train.jsonl": content}, task)
    assert manifest.groups.groups == {"train": 16, "validation": 2, "test": 2}
    assert {int(row["text"][2:]) // 4 for row in splits["test"]}.isdisjoint(
        {int(row["text"][2:]) // 4 for row in splits["train"]}
    )


def test_a_row_of_a_hub_dataset_without_a_group_stays_in_training(tmp_path):
    groups = [None if number < 6 else f"g{number // 3}" for number in range(60)]
    table = pa.table({"text": [f"t {n}" for n in range(60)], "label": ["a", "b"] * 30, "film": groups})
    stream = io.BytesIO()
    pq.write_table(table, stream)
    source = {"hub": "owner/data", "revision": "0" * 40, "splits": {"train": "train"}}
    task = make_task(source=source, format=None, files={}, cut={"group": "film"})
    manifest, splits = run(tmp_path, {"train.parquet": stream.getvalue()}, task)
    assert {f"t {number}" for number in range(6)} <= {row["text"] for row in splits["train"]}
    assert manifest.groups.without == {"train": 6, "validation": 0, "test": 0}
    assert "without-group" in about(manifest)


# --- documents


def conll(documents, mark=True):
    parts = []
    for number in range(documents):
        parts += ["-DOCSTART- O\n\n"] * mark
        parts += [f"In O\nd{number} B-{'LOC' if sentence % 2 else 'PER'}\ns{sentence} O\n\n" for sentence in range(4)]
    return "".join(parts)


def test_documents_stay_whole(tmp_path):
    manifest, splits = run(tmp_path, {"train.txt": conll(30)}, make_tagging(cut={"group": "document"}))
    held = [{row["tokens"][1] for row in splits[split]} for split in SPLITS]
    assert [len(names) for names in held] == [24, 3, 3]
    assert manifest.groups.groups == {"train": 24, "validation": 3, "test": 3}
    assert len(set.union(*held)) == 30
    assert [len(splits[split]) for split in SPLITS] == [96, 12, 12]


def test_a_file_without_documents_is_refused(tmp_path):
    message = refusal(tmp_path, {"train.txt": conll(30, mark=False)}, make_tagging(cut={"group": "document"}))
    assert "train.txt: cut.group: document: no -DOCSTART- line says where documents begin" in message


# --- a file of its own


def joined(folder, rows, **keys):
    """A task whose groups stand in a file of its own."""
    (folder / "films").mkdir(parents=True)
    (folder / "films" / "films.csv.bz2").write_bytes(bz2.compress(written(rows, ("review", "movie")).encode()))
    group = {"source": {"local": str(folder / "films")}, "file": "films.csv.bz2", "text": "review", "group": "movie"}
    return make_task(source={"local": str(folder / "mine")}, cut={"group": {**group, **keys}})


def fetched(tmp_path, content, rows, **keys):
    task = joined(tmp_path, rows, **keys)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.csv").write_text(content, encoding="utf-8")
    fetch_task(task, tmp_path / "source", tmp_path / "cache")
    prepare(task, tmp_path / "source", tmp_path / "prepared")
    manifest, tables = load_prepared(tmp_path / "prepared")
    return manifest, {split: table.to_pylist() for split, table in tables.items()}


def test_groups_come_from_another_file_by_the_letters_of_the_texts(tmp_path):
    rows = list(films(60))
    content = written([(f"{text.upper()} , c'est  tout\u0301 .", label) for text, label, _ in rows], ("text", "label"))
    named = [(f"{text}, c'est tout\u0301!", film) for text, _, film in rows[20:]]
    manifest, splits = fetched(tmp_path, content, [*named, ("of another film", "else"), ("...", "dots"), ("", "empty")])
    assert manifest.groups.by == f"movie in films.csv.bz2 of {tmp_path / 'films'}"
    assert manifest.groups.without == {"train": 20, "validation": 0, "test": 0}
    held = {split: {row["text"].split()[3] for row in splits[split]} for split in SPLITS}
    assert not held["test"] & held["validation"]
    wholly_named = {film_of(text) for text, _, _ in rows[20:]} - {film_of(text) for text, _, _ in rows[:20]}
    assert not held["test"] & held["train"] & wholly_named
    told = next(finding.message for finding in manifest.findings if finding.about == "without-group")
    assert "does not say the group of every text (not of 20 of train)" in told
    record = json.loads((tmp_path / "source" / "source.json").read_text())
    assert record["groups"]["group"] == "movie"
    assert sorted(record["files"]) == [".groups/films.csv.bz2", "train.csv"]


def test_a_file_of_groups_that_names_nothing_is_refused(tmp_path):
    content = written([(text, label) for text, label, _ in films(20)], ("text", "label"))
    with pytest.raises(InputError, match=r"films\.csv\.bz2 of .*: none of its 1 texts is one of .*train\.csv; is text"):
        fetched(tmp_path, content, [("elsewhere", "x")])


def test_a_wrong_column_of_a_file_of_groups_is_refused(tmp_path):
    content = written([(text, label) for text, label, _ in films(20)], ("text", "label"))
    with pytest.raises(
        InputError, match=r"cut\.group: films.*: group: no column 'film'; the columns are review, movie"
    ):
        fetched(tmp_path, content, [("elsewhere", "x")], group="film")


def test_a_missing_file_of_groups_is_said_before_anything_starts(tmp_path):
    task = joined(tmp_path, [("a", "b")]).model_dump(exclude_unset=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.csv").write_text("text,label\n")
    before = task_content(Task.model_validate(task))
    (tmp_path / "films" / "films.csv.bz2").write_bytes(b"changed")
    assert task_content(Task.model_validate(task)) != before
    (tmp_path / "films" / "films.csv.bz2").unlink()
    content = {"study": "s", "tasks": [task], "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1]}
    with pytest.raises(
        InputError, match=r"tasks\[0\] \(mine\)\.cut\.group\.source\.local: expected an existing file, .*"
    ):
        load(content)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cut": {"group": [1]}}, ".cut.group: expected the name of a column, or its index, got [1]"),
        (
            {"cut": {"group": {"source": {"hub": "a/b"}, "file": "f"}}},
            ".cut.group.source: expected a source with one of the keys package or local",
        ),
        ({"cut": {"group": {"source": {"local": "x"}}}}, ".cut.group.file: this key is missing"),
        ({"format": "jsonl", "cut": {"group": 2}}, ": cut.group: expected the name of a key"),
        (
            {"source": {"synthetic": "classification"}, "cut": {"group": "x"}},
            ": cut.group: a synthetic source has its splits",
        ),
    ],
)
def test_a_configuration_that_names_no_groups(keys, message):
    task = {"name": "mine", "kind": "sequence-classification", "source": {"local": "x"}, "format": "csv"}
    task = {**task, "files": {"train": "train.csv"}, **keys}
    if "synthetic" in task["source"]:
        del task["format"], task["files"]
    with pytest.raises(InputError) as error:
        load({"study": "s", "tasks": [task], "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1]})
    assert f"tasks[0] (mine){message}" in str(error.value)


def test_conll_files_have_documents_alone():
    with pytest.raises(ValueError, match="sentences are grouped by document"):
        make_tagging(cut={"group": "film"})


@pytest.mark.parametrize(
    ("one", "other"),
    [("It 's a  film .", "It's a film"), ("Café", "CAFE\u0301"), ("ﬁne", "Fine"), ("co-writer", "co writer")],
)
def test_texts_with_the_same_letters_are_the_same(one, other):
    assert letters(one) == letters(other) != ""


def test_texts_with_other_letters_are_not_the_same():
    assert letters("Película 2") != letters("Película 3")


# --- compressed files, and lines that are skipped


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_compressed_files_are_read_as_others(tmp_path, pack):
    content = written(films(20)).encode()
    plain, packed = (
        run(tmp_path / name, {"train.csv": data}, make_task()) for name, data in (("a", content), ("b", pack(content)))
    )
    assert packed[1] == plain[1]
    path = tmp_path / "b" / "source" / "train.csv"
    assert most_rows(make_task(), path) == content.count(b"\n") - 1
    assert cut_off(make_task(), path, 10**6) == cut_off(make_task(), tmp_path / "a" / "source" / "train.csv", 10**6) > 0


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_damaged_compressed_file_is_one_line(tmp_path, pack):
    packed = bytearray(pack(written(films(20)).encode()))
    packed[len(packed) // 2] ^= 255
    assert "my-data/train.csv: cannot be read: " in refusal(tmp_path, {"train.csv": bytes(packed[:-9])}, make_task())


def test_text_that_begins_like_bzip2_is_text(tmp_path):
    content = "BZh9,label\nBZh91,a\nBZh92,b\n" + "".join(f"t {n},{'ab'[n % 2]}\n" for n in range(20))
    _, splits = run(tmp_path, {"train.csv": content}, make_task(text="BZh9"))
    assert sum(map(len, splits.values())) == 22


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_at_the_top_are_skipped_and_others_keep_their_numbers(tmp_path, end):
    lines = ["Category\tText", "d\tstring", "class\t", *(f"{'ab'[number % 2]}\tt {number}" for number in range(20))]
    keys = {"format": "tsv", "header": False, "columns": ["label", "text"], "skip_lines": 3}
    manifest, splits = run(tmp_path / "a", {"train.csv": end.join([*lines, ""])}, make_task(**keys))
    assert manifest.labels == ["a", "b"]
    assert sum(map(len, splits.values())) == 20
    assert most_rows(make_task(**keys), tmp_path / "a" / "source" / "train.csv") == 20
    message = refusal(tmp_path / "b", {"train.csv": end.join([*lines, "a"])}, make_task(**keys))
    assert "train.csv:24: expected 2 fields (label, text), found 1" in message


def test_a_header_may_stand_behind_skipped_lines(tmp_path):
    content = 'an "unfinished preamble\n' + written(films(20))
    _, splits = run(tmp_path, {"train.csv": content}, make_task(skip_lines=1))
    assert sum(map(len, splits.values())) == len(list(films(20)))


def test_a_file_of_skipped_lines_alone_has_no_rows(tmp_path):
    message = refusal(tmp_path, {"train.csv": "a,b\nc,d\n"}, make_task(skip_lines=9))
    assert message.endswith("train.csv: no rows: expected at least one")


# --- real data


def preset(name: str) -> Task:
    content = {"study": "s", "tasks": [name], "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1]}
    return load(content).tasks[0]


def prepared(tmp_path: Path, name: str):
    task = preset(name)
    fetch_task(task, tmp_path / "source", cache_folder(None))
    prepare(task, tmp_path / "source", tmp_path / "prepared")
    return load_prepared(tmp_path / "prepared")


@pytest.mark.network
def test_no_film_of_the_real_snippets_stands_in_two_splits(tmp_path):
    manifest, tables = prepared(tmp_path, "rt-snippets")
    assert {split: table.num_rows for split, table in tables.items()} == {
        "train": 8438,
        "validation": 1069,
        "test": 1061,
    }
    assert manifest.groups.without == {"train": 152, "validation": 0, "test": 0}
    with bz2.open(
        tmp_path / "source" / ".groups" / "rotten_tomatoes_corpus_full.csv.bz2", "rt", encoding="utf-8"
    ) as file:
        films = {letters(row["text"]): row["movie_name"] for row in csv.DictReader(file)}
    held = [
        {films[letters(text)] for text in tables[split]["text"].to_pylist() if letters(text) in films}
        for split in SPLITS
    ]
    assert all(not held[one] & held[other] for one, other in ((0, 1), (0, 2), (1, 2)))
    for info in manifest.splits.values():
        assert info.labels["positive"] / info.rows == pytest.approx(0.5, abs=0.005)


@pytest.mark.network
def test_the_presets_of_topics_hold_what_they_say(tmp_path):
    manifest, tables = prepared(tmp_path, "r8")
    assert [tables[split].num_rows for split in SPLITS] == [4940, 545, 2189]
    assert manifest.labels == ["acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade"]
    assert manifest.shared_with_test == {"train": 3, "validation": 2}

    task = preset("newsgroups20")  # fetched alone: to prepare 27 MB of text takes too long for a test
    fetch_task(task, tmp_path / "newsgroups", cache_folder(None))
    rows = {split: most_rows(task, tmp_path / "newsgroups" / name) for split, name in task.files.items()}
    assert rows == {"train": 11293, "test": 7528}
