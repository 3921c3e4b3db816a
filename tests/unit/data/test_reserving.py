"""Texts that are set apart for tuning: no other split has any of them, and groups stay whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from maskbench.config.tuning import Reserve
from maskbench.data.prepare import prepare
from maskbench.errors import InputError
from tests.helpers.models import csv_of_texts
from tests.helpers.tasks import make_source, make_tagging, make_task

if TYPE_CHECKING:
    from pathlib import Path

SPLITS = ("train", "validation", "test")


def column(folder: Path, split: str, name: str) -> list[Any]:
    return [str(value) for value in pq.read_table(folder / f"{split}.parquet")[name].to_pylist()]


def sentences(count: int) -> str:
    """Return CoNLL columns of sentences of which no two are the same."""
    return "".join(f"In O\nw{number} O\nAnna B-PER\nsaw O\nRome B-LOC\n\n" for number in range(count))


@pytest.mark.parametrize("kind", ["texts", "sentences"])
def test_what_is_set_apart_stands_nowhere_else(tmp_path: Path, kind: str) -> None:
    text, task = (csv_of_texts(480), make_task()) if kind == "texts" else (sentences(480), make_tagging())
    name = "text" if kind == "texts" else "tokens"
    source = make_source(tmp_path / "source", {next(iter(task.files.values())): text})
    prepare(task, source, tmp_path / "ever")
    assert "set apart" not in json.loads((tmp_path / "ever/manifest.json").read_text())["cut"]
    prepare(task, source, tmp_path / "own", (Reserve(train_size=64, validation_size=40), tmp_path / "apart"))
    every = {split: set(column(tmp_path / "ever", split, name)) for split in SPLITS}
    own = {split: set(column(tmp_path / "own", split, name)) for split in SPLITS}
    apart = {split: set(column(tmp_path / "apart", split, name)) for split in SPLITS}
    assert (own["validation"], own["test"]) == (every["validation"], every["test"])
    assert apart["train"] | apart["validation"] == every["train"] - own["train"]
    assert apart["test"] == apart["validation"]  # the study's own test split is out of reach
    assert not apart["train"] & apart["validation"]
    assert not (own["train"] | own["validation"] | own["test"]) & (apart["train"] | apart["validation"])
    if kind == "texts":
        assert {split: len(found) for split, found in apart.items()} == {"train": 64, "validation": 40, "test": 40}
        sentence = "Of the training split, 64 texts to train on and 40 to choose by were then set apart"
        assert sentence in json.loads((tmp_path / "own/manifest.json").read_text())["cut"]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", {"train.csv": csv_of_texts(100)})
    for name in ("one", "two"):
        wanted = Reserve(train_size=20, validation_size=10), tmp_path / name / "apart"
        prepare(make_task(), source, tmp_path / name / "own", wanted)
    for file in ("own/manifest.json", "apart/manifest.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_text_that_also_stands_in_test_is_not_set_apart(tmp_path: Path) -> None:
    lines = csv_of_texts(60).splitlines()
    files = {"train.csv": "\n".join(lines) + "\n", "test.csv": "\n".join(lines[:41]) + "\n"}
    source = make_source(tmp_path / "source", files)
    task = make_task(files={"train": "train.csv", "test": "test.csv"}, accept=["test-in-training"])
    prepare(task, source, tmp_path / "own", (Reserve(train_size=30, validation_size=10), tmp_path / "apart"))
    apart = {text for split in SPLITS for text in column(tmp_path / "apart", split, "text")}
    assert apart
    assert not apart & set(column(tmp_path / "own", "test", "text"))


def test_groups_are_not_parted(tmp_path: Path) -> None:
    rows = [f"{line},film-{number % 40}" for number, line in enumerate(csv_of_texts(480).splitlines()[1:])]
    source = make_source(tmp_path / "source", {"train.csv": "\n".join(["text,label,film", *rows]) + "\n"})
    wanted = Reserve(train_size=60, validation_size=40), tmp_path / "apart"
    prepare(make_task(cut={"group": "film"}), source, tmp_path / "own", wanted)
    film = {line.split(",")[0]: line.split(",")[2] for line in rows}
    parts = [column(tmp_path / "own", split, "text") for split in SPLITS]
    parts += [column(tmp_path / "apart", split, "text") for split in ("train", "validation")]
    films = [{film[text] for text in part} for part in parts]
    assert sum(map(len, films)) == len(set.union(*films)) == 40


RARE = "".join(f"rare {number},odd\n" for number in range(4))


@pytest.mark.parametrize(
    ("more", "sizes", "line"),
    [
        ("", (900, 200), "train_size 900 and validation_size 200 are to be set apart, but .* has 80 distinct texts"),
        (
            RARE,
            (20, 10),
            "train_size 20 and validation_size 10 cannot be set apart such that each part has texts of each",
        ),
    ],
)
def test_texts_that_are_not_there_cannot_be_set_apart(
    tmp_path: Path, more: str, sizes: tuple[int, int], line: str
) -> None:
    source = make_source(tmp_path / "source", {"train.csv": csv_of_texts(100) + more})
    wanted = Reserve(train_size=sizes[0], validation_size=sizes[1]), tmp_path / "apart"
    with pytest.raises(InputError, match=f"train.csv: tune: {line}"):
        prepare(make_task(), source, tmp_path / "own", wanted)
    assert not (tmp_path / "own").exists()
