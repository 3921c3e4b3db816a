"""Archives of finished cells: what is packed, what is refused, and that nothing is merged where something is."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from maskbench.data.manifests import PreparedManifest
from maskbench.errors import InputError
from maskbench.experiment.finished import finished
from maskbench.experiment.layout import Layout
from maskbench.io.files import canonical, read_json, sha256_file, sha256_text, write_json
from maskbench.recorded.archive import LIST, files_of, pack, unpacked
from maskbench.recorded.merge import Merging
from maskbench.records.run import Record
from tests.helpers.studies import Study

RUN = "texts.tiny.{}.single.clean.full.s{}"
RECORD, PROBES = f"training/{RUN.format('none', 1)}/metrics.json", f"probes/{RUN.format('none', 1)}/metrics.json"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study of two strategies and two seeds, and the archive of its cells."""
    made = Study(tmp_path_factory.mktemp("archive") / "study", seeds=[1, 2], training={"epochs": 1.0})
    made.run()
    made.archive = made.layout.folder.with_name("cells.zip")
    pack(made.archive, made.jobs, made.layout, finished(made.jobs, made.layout))
    return made


@pytest.fixture
def empty(study, tmp_path):
    """The study's text and model in another folder, without a run."""
    layout = Layout(tmp_path / "other")
    for part in ("data", "probes/reference"):
        shutil.copytree(study.layout.folder / part, layout.folder / part)
    return layout


def merge(study, archive, target):
    """Check an archive and move its cells; returns the runs that were new."""
    with unpacked(archive, target.folder) as (contents, source):
        merging = Merging(archive, contents, source, study.jobs, target)
        new = merging.check(set(finished(study.jobs, target)))
        merging.move(new)
    return new


def changed(study, path, edit):
    """Write an archive whose files `edit` has changed, by name, with the hashes that they have then."""
    with zipfile.ZipFile(study.archive) as source:
        files = {name: source.read(name) for name in source.namelist()}
    edit(files)
    folder = path.with_suffix("")
    for name, content in files.items():
        if name != LIST:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    about = json.loads(files[LIST])
    for cell in about["cells"]:
        cell["files"] = {name: sha256_file(folder / name) for name in cell["files"]}
    with zipfile.ZipFile(path, "w") as target:
        for name, content in (files | {LIST: json.dumps(about).encode()}).items():
            target.writestr(name, content)
    return path


def edited(name, **values):
    """Return an edit of a record in an archive."""

    def edit(files):
        record = json.loads(files[name])
        for key, value in values.items():
            inside = record
            *path, last = key.split("__")
            for step in path:
                inside = inside[step]
            inside[last] = value
        files[name] = json.dumps(record).encode()

    return edit


def test_cells_are_finished_where_they_are_merged_and_have_the_same_bytes(study, empty):
    new = merge(study, study.archive, empty)
    assert sorted(new) == sorted(study.jobs.cells) == sorted(finished(study.jobs, empty))
    for run in new:
        for one, other in zip(files_of(run, study.layout), files_of(run, empty), strict=True):
            assert one.read_bytes() == other.read_bytes()
    again = study.archive.with_name("again.zip")
    pack(again, study.jobs, empty, finished(study.jobs, empty))
    assert again.read_bytes() == study.archive.read_bytes()
    assert merge(study, study.archive, empty) == []  # they are there already
    assert not list(empty.folder.glob(".merging-*"))


def without_texts(files):
    """An edit that leaves an archive as those were before they had hashes of prepared text."""
    files[LIST] = json.dumps(json.loads(files[LIST]) | {"texts": {}}).encode()


def written_otherwise(layout, change=lambda table: table):
    """Write prepared text in other bytes, as other versions of libraries do, and say so in what is encoded of it."""
    for manifest in layout.folder.glob("data/tasks/*/*/manifest.json"):
        about, folder = PreparedManifest.read(manifest.parent), manifest.parent
        for split in about.splits:
            pq.write_table(
                change(pq.read_table(folder / f"{split}.parquet")), folder / f"{split}.parquet", version="1.0"
            )
        hashes = {split: sha256_file(folder / f"{split}.parquet") for split in about.splits}
        splits = {split: info.model_copy(update={"sha256": hashes[split]}) for split, info in about.splits.items()}
        digest = sha256_text(canonical({"kind": about.kind, "labels": about.labels, "splits": hashes}))
        about.model_copy(update={"splits": splits, "hash": digest}).write(folder)
        for encoded in layout.folder.glob(f"data/encoded/*.{folder.name}/manifest.json"):
            write_json(encoded, read_json(encoded) | {"prepared": digest})


def test_text_that_other_versions_of_libraries_wrote_is_the_same(study, empty, tmp_path):
    """Their files have other bytes, and so have the keys; its content is the same."""
    written_otherwise(empty)
    with pytest.raises(InputError, match="differs in parameters or data"):
        merge(study, changed(study, tmp_path / "before.zip", without_texts), empty)
    new = merge(study, study.archive, empty)
    assert sorted(new) == sorted(study.jobs.cells) == sorted(finished(study.jobs, empty))
    (there,) = {
        PreparedManifest.read(path.parent).hash for path in empty.folder.glob("data/tasks/*/clean/manifest.json")
    }
    for run in new:
        assert Record.read(empty.record(run)).data.prepared == there
        assert Record.read(study.layout.record(run)).data.prepared != there
        assert empty.predictions(run).read_bytes() == study.layout.predictions(run).read_bytes()
    assert merge(study, study.archive, empty) == []


def test_other_text_is_refused_although_it_is_encoded_alike(study, empty):
    """Words that a tokenizer does not know, and case, are lost on the way; probes see them."""
    written_otherwise(empty, lambda table: table.set_column(0, table.column_names[0], pc.add(table.column(0), 1)))
    with pytest.raises(InputError, match="differs in parameters or data"):
        merge(study, study.archive, empty)


def test_text_that_is_encoded_otherwise_is_refused(study, empty):
    for manifest in empty.folder.glob("data/encoded/*/manifest.json"):
        write_json(manifest, read_json(manifest) | {"hash": "ab" * 32})
    with pytest.raises(InputError, match="differs in parameters or data"):
        merge(study, study.archive, empty)


def test_text_that_no_cell_of_an_archive_looks_at_is_not_asked_for(study, empty, tmp_path):
    """As a folder that an earlier version left, or of a task that is no longer in the configuration."""
    merge(study, study.archive, empty)
    (empty.folder / "data/encoded/old.old.clean").mkdir()
    (empty.folder / "data/encoded/old.old.clean/manifest.json").write_text("{}")
    pack(tmp_path / "again.zip", study.jobs, empty, finished(study.jobs, empty))
    assert (tmp_path / "again.zip").read_bytes() == study.archive.read_bytes()


def listed(content):
    """Return an archive's bytes with another list."""

    def write(archive, path):
        with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                target.writestr(name, content(source.read(name)) if name == LIST else source.read(name))

    return write


def added(name):
    """Return an archive with one more file."""

    def write(archive, path):
        shutil.copy(archive, path)
        with zipfile.ZipFile(path, "a") as target:
            target.writestr(name, b"x")

    return write


def outside(content):
    """Let a cell list a file outside of the study."""
    about = json.loads(content)
    about["cells"][0]["files"]["../../outside"] = "0" * 64
    return json.dumps(about).encode()


def renamed(content):
    """Let a cell have a name that is a path."""
    return content.replace(b'"run":"texts.tiny.none', b'"run":"../x.tiny.none')


DAMAGED = {
    "truncated": (lambda archive, path: path.write_bytes(archive.read_bytes()[:-500]), "not a zip file"),
    "garbled": (
        lambda archive, path: path.write_bytes(archive.read_bytes().replace(b"PAR1", b"PAR2")),
        "expected an archive of cells that can be read",
    ),
    "no archive": (lambda archive, path: path.write_text("hello"), "not a zip file"),
    "not there": (lambda archive, path: None, "No such file"),
    "no list": (lambda archive, path: zipfile.ZipFile(path, "w").close(), "found none in it"),
    "list that is no JSON": (listed(lambda content: b"{"), "cells.json: "),
    "path outside, not listed": (added("../../outside"), r"see '../../outside'"),
    "path outside, listed": (listed(outside), r"expected its own files, got '../../outside'"),
    "name that is a path": (listed(renamed), "cells.json: cells"),
    "file of nobody": (added("data/x"), "see 'data/x'"),
    "file twice": (added(f"training/{RUN.format('none', 1)}/metrics.json"), "once and no other"),
    "other content": (
        listed(
            lambda content: content.replace(json.loads(content)["cells"][0]["files"].popitem()[1].encode(), b"0" * 64)
        ),
        "expected the content that cells.json says",
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_no_archive_of_cells_ends_in_one_line(study, empty, tmp_path, kind):
    write, words = DAMAGED[kind]
    path = tmp_path / "bad.zip"
    write(study.archive, path)
    with pytest.raises(InputError, match=rf"^{path}: [^\n]*{words}[^\n]*$"):
        merge(study, path, empty)
    assert not (empty.folder / "training").exists()
    assert not (tmp_path.parent / "outside").exists()


OTHERS = {
    "code": (edited(RECORD, code="0123456789abcdef"), "the code that trains: archive 0123456789abcdef, here "),
    "data": (edited(RECORD, key="0123456789abcdef"), r"parameters or data \(key of the training\)"),
    "code of the probes": (edited(PROBES, code="0123456789abcdef"), "the code that probes: archive 0123456789abcdef"),
    "key of the probes": (edited(PROBES, key="0123456789abcdef"), r"settings or data of the probes \(key\)"),
    "another run": (edited(RECORD, run=RUN.format("none", 2)), "run: expected"),
    "no record": (lambda files: files.update({RECORD: b"{}"}), "not a run record of schema 1"),
    "devices of a seed": (
        edited(RECORD, environment__device="cuda", environment__device_name="H100"),
        "runs of one seed would be on different kinds of device: H100, fp32",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_cells_that_would_be_others_here_are_refused_and_nothing_is_merged(study, empty, tmp_path, kind):
    edit, words = OTHERS[kind]
    path = changed(study, tmp_path / "changed.zip", edit)
    with pytest.raises(InputError, match=rf"^{path}: [^\n]*{words}[^\n]*; nothing was merged$"):
        merge(study, path, empty)
    assert not (empty.folder / "training").exists()


def test_another_result_of_a_cell_that_is_there_is_refused(study, empty, tmp_path):
    merge(study, study.archive, empty)
    path = changed(study, tmp_path / "changed.zip", edited(RECORD, timings__wall_s=12345.0))
    with pytest.raises(InputError, match=r"is in [^\n]* already, with another result; nothing was merged$"):
        merge(study, path, empty)


def test_a_seed_that_is_half_there_on_another_kind_of_device_is_not_completed(study, empty, tmp_path):
    merge(study, study.archive, empty)
    shutil.rmtree(empty.folder / "training" / RUN.format("random", 1))
    there = empty.record(RUN.format("none", 1))
    record = read_json(there)
    record["environment"] |= {"device": "cuda", "device_name": "H100"}
    write_json(there, record)
    rest = tmp_path / "rest.zip"
    pack(rest, study.jobs, study.layout, [RUN.format("random", 1)])
    with pytest.raises(InputError, match=r"different kinds of device: H100, fp32 \(texts\.tiny\.none"):
        merge(study, rest, empty)
    record["environment"] |= {"device": "cpu", "device_name": "another processor"}
    write_json(there, record)
    assert merge(study, rest, empty) == [RUN.format("random", 1)]


def test_the_list_names_what_an_archive_has_and_no_model_is_in_it(study):
    with zipfile.ZipFile(study.archive) as found:
        names = found.namelist()
    assert {Path(name).name for name in names} == {LIST, "metrics.json", "predictions.parquet", "outcomes.parquet"}
    assert len(names) == 1 + 4 * len(study.jobs.cells)
