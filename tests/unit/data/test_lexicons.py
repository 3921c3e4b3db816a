"""Lexicons: fetched by pinned hash or copied, read, and part of what a cell depends on."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from maskbench.config.lexicons import WORDS, Lexicon
from maskbench.data.lexicons import read_words, words_hash
from maskbench.data.sources import fetch_lexicon
from maskbench.errors import InputError
from maskbench.experiment.finished import Keys
from maskbench.experiment.jobs import Jobs
from maskbench.experiment.layout import Layout
from maskbench.experiment.lexicons import lexicons
from maskbench.experiment.load import load
from maskbench.experiment.user_files import lexicon_content

if TYPE_CHECKING:
    from pathlib import Path

    from maskbench.experiment.experiment import Experiment

BASE: dict[str, Any] = {"study": "x", "tasks": ["rt-snippets"], "models": ["bert-tiny"], "seeds": [1]}


def own(path: Path, **keys: Any) -> Lexicon:
    """Return a lexicon of a user's own file."""
    return Lexicon.model_validate({"name": "mine", "source": {"local": str(path)}, **keys})


def read(tmp_path: Path, content: str, **keys: Any) -> dict[str, float]:
    """Fetch a user's own file and read its words."""
    (tmp_path / "list.txt").write_text(content, encoding="utf-8")
    fetch_lexicon(own(tmp_path / "list.txt", **keys), tmp_path / "fetched", tmp_path / "cache")
    return read_words(tmp_path / "fetched")


def test_words_with_and_without_weights_are_read_in_lower_case(tmp_path: Path) -> None:
    assert read(tmp_path, "Good\n\nbad\t0.5\r\nice cream\t2e0\nodd\t0\n") == {
        "good": 1.0,
        "bad": 0.5,
        "ice cream": 2.0,
        "odd": 0.0,
    }
    record = json.loads((tmp_path / "fetched/source.json").read_text())
    assert set(record["files"]) == {"list.txt", WORDS}
    content = (tmp_path / "fetched" / WORDS).read_bytes()
    assert words_hash(tmp_path / "fetched") == record["files"][WORDS] == hashlib.sha256(content).hexdigest()


def test_vaders_weight_is_the_distance_of_the_mean_rating_from_0(tmp_path: Path) -> None:
    lines = "bad\t-2.5\t0.6\t[-2, -3]\nlol\t1.8\t1\t[1]\nlol\t2.9\t1\t[3]\nfed up\t-1.8\t1\t[-2]\n"
    assert read(tmp_path, lines, format="vader") == {"bad": 2.5, "fed up": 1.8, "lol": 2.9}


@pytest.mark.parametrize(
    ("content", "format", "line"),
    [
        ("good\nbad 0.5\n", "words", "list.txt:2: expected a tab between a word and its weight, found 'bad 0.5'"),
        ("good\nbad,0.5\n", "words", "list.txt:2: expected a tab between a word and its weight, found 'bad,0.5'"),
        ("good\t-1\n", "words", "list.txt:1: expected a word alone, or a word, a tab and a weight of at least 0"),
        ("good\tnan\n", "words", "list.txt:1: expected a word alone, or a word, a tab and a weight of at least 0"),
        ("good\t1\t2\n", "words", "list.txt:1: expected a word alone, or a word, a tab and a weight of at least 0"),
        ("good\nGood\n", "words", "list.txt:2: expected each word once, 'good' stands in line 1, too"),
        ("\t1\n", "words", "list.txt:1: expected a word before the tab, found none"),
        ("good\n", "vader", "list.txt:1: expected a word, a tab and the mean of its ratings"),
        ("good\t0\n", "words", "list.txt: expected words with a weight above 0, found none"),
        ("\n", "words", "list.txt: expected words with a weight above 0, found none"),
    ],
)
def test_a_file_that_is_no_lexicon_gets_a_line(tmp_path: Path, content: str, format: str, line: str) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, content, format=format)
    assert str(error.value) == f"{tmp_path}/{line}"
    assert not (tmp_path / "fetched").exists()


def test_a_package_is_pinned_by_its_hash(tmp_path: Path) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        info = tarfile.TarInfo("words-1.0/list.txt")
        info.size = len(b"good\n")
        archive.addfile(info, io.BytesIO(b"good\n"))
    sha = hashlib.sha256(raw.getvalue()).hexdigest()
    (tmp_path / "packages").mkdir()
    (tmp_path / f"packages/{sha}.archive").write_bytes(raw.getvalue())
    source = {"package": "words", "version": "1.0", "artefact": "sdist", "sha256": sha, "folder": "words-1.0"}
    lexicon = Lexicon.model_validate({"name": "mine", "source": source, "file": "list.txt"})
    fetch_lexicon(lexicon, tmp_path / "fetched", tmp_path)
    assert read_words(tmp_path / "fetched") == {"good": 1.0}
    with pytest.raises(InputError, match="no-such"):
        fetch_lexicon(lexicon.model_copy(update={"file": "no-such.txt"}), tmp_path / "other", tmp_path)
    with pytest.raises(ValueError, match="expected the name of the file in the package"):
        Lexicon.model_validate({"name": "mine", "source": source})


# --- in an experiment


def loaded(*strategies: Any, **keys: Any) -> Experiment:
    """Return an experiment with these strategies beside `none`."""
    return load(BASE | {"strategies": ["none", *strategies]} | keys)


def with_words(name: str, **keys: Any) -> dict[str, Any]:
    """Return a strategy whose mask takes the words of a lexicon."""
    return {"name": "mask", "input": {"kind": "keyword", "words": name}, **keys}


def test_a_study_has_the_lexicons_that_its_masks_name(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("good\n")
    mine = {"name": "mine", "source": {"local": str(tmp_path / "list.txt")}}
    assert lexicons(loaded("random", lexicons=[mine])) == {}
    assert list(lexicons(loaded("tiacbm"))) == ["vader"]
    twin = loaded(with_words("mine", twins=["rate-twin"]), lexicons=[mine])
    assert list(lexicons(twin)) == ["mine"]
    assert [strategy.lexicons for strategy in twin.strategies] == [[], ["mine"], ["mine"]]
    inner = {"name": "copy", "objective": {"kind": "augment", "mask": {"kind": "keyword", "words": "vader"}}}
    assert loaded(inner).strategies[1].lexicons == ["vader"]
    assert load(twin.model_dump(mode="json")) == twin


@pytest.mark.parametrize(
    ("lexicon", "line"),
    [
        ({"name": "other"}, "words: expected a lexicon, of `lexicons` or a preset, one of other, vader, got 'mine'"),
        ({"source": {"local": "no/such"}}, "lexicons[0] (mine).source.local: expected an existing file, no/such does"),
        ({"file": "../list.txt"}, "lexicons[0] (mine).file: expected a name inside"),
    ],
)
def test_mistakes_get_a_line(tmp_path: Path, lexicon: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as error:
        loaded(with_words("mine"), lexicons=[{"name": "mine", "source": {"local": str(tmp_path)}, **lexicon}])
    assert line in str(error.value)


@pytest.mark.parametrize(
    ("mask", "line"),
    [
        ({"input": {"kind": "keyword", "words": "vader", "statistic": "tf-idf"}}, "expected either words or statistic"),
        ({"attention": {"kind": "block-keyword", "words": "vader", "at": "always"}}, "knows no lexicon"),
    ],
)
def test_words_go_with_the_other_keys(mask: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        loaded({"name": "mask", **mask})


def test_a_cell_depends_on_the_words_of_its_own_lexicons_and_on_nothing_else_of_them(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("good\n")
    experiment = loaded(with_words("mine"), lexicons=[{"name": "mine", "source": {"local": str(path)}}])
    jobs, layout = Jobs(experiment), Layout(tmp_path / "study")
    waits = {job.cells and next(iter(job.cells)).strategy.name: jobs.inputs(job, layout) for job in jobs.by_id.values()}
    assert layout.lexicon("mine") in waits["mask"]
    assert layout.lexicon("mine") not in waits["none"]
    assert layout.parse(layout.lexicon("mine")) == ("lexicon", {"lexicon": "mine"})

    def keys() -> dict[str, str | None]:
        found = Keys(jobs, layout)
        known = {layout.encoded("rt-snippets", "bert-tiny", "clean"): "text", layout.model_source("bert-tiny"): "model"}
        found._data.update(known)
        return {cell.strategy.name: found.training(cell) for cell in jobs.cells.values()}

    assert keys()["mask"] is None
    found = []
    for content in ("good\n", "\ngood\n", "good\nbad\n"):
        path.write_text(content)
        fetch_lexicon(experiment.lexicons[0], layout.lexicon("mine").parent, tmp_path)
        found.append(keys())
    assert found[0] == found[1]
    assert found[1]["mask"] != found[2]["mask"]
    assert len({one["none"] for one in found}) == 1
    assert None not in found[2].values()


def test_a_changed_file_of_ones_own_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("good\n")
    before = lexicon_content(own(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_text("better\n")
    assert lexicon_content(own(tmp_path / "list.txt")) not in ("", before)
    assert lexicon_content(lexicons(loaded("tiacbm"))["vader"]) == ""
