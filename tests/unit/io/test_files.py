"""Files are written whole or not at all, and read with a check."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from maskbench.errors import InputError
from maskbench.io.files import (
    atomic,
    canonical,
    read_json,
    sha256_file,
    sha256_files,
    sha256_text,
    verify,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_complete_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "x.txt"
    with atomic(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["x.txt"]


def test_an_error_in_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_killed_process_leaves_nothing_under_the_final_name(tmp_path: Path, root: Path, old: str | None) -> None:
    path = tmp_path / "x.txt"
    if old is not None:
        path.write_text(old)
    code = textwrap.dedent(f"""
        import time
        from maskbench.io.files import atomic
        with atomic({str(path)!r}) as temporary:
            stream = temporary.open("w")
            stream.write("half")
            stream.flush()
            print("written", flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (path.read_text() if path.exists() else None) == old
    # what is left has another name, which no reader looks for, and does not hinder the next try
    assert [name for name in names(tmp_path) if name != "x.txt" and not name.startswith(".x.txt.")] == []
    write_text(path, "new")
    assert path.read_text() == "new"


def test_content_is_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the rename must not leave an empty file: fsync of the file, rename, fsync of the folder."""
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(handle: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def spy_replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    write_text(tmp_path / "x.txt", "x")
    assert order == ["file", "rename", "folder"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_others_may_read_what_the_umask_lets_them(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "x.txt", "x")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.txt").stat().st_mode) == 0o666 & ~umask


def test_two_writers_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    with atomic(path) as one, atomic(path) as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one"


def test_json_is_the_same_text_for_the_same_value(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None, "é"]})
    write_json(tmp_path / "b.json", {"a": [1.5, None, "é"], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"a": [1.5, None, "é"], "b": 1}
    assert canonical({"b": 1, "a": "é"}) == '{"a":"é","b":1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_without_numbers_that_json_lacks(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"x": value})
    assert names(tmp_path) == []
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(value)


@pytest.mark.parametrize(
    "content", [b"", b'{"a": 1', b"\xff\xfe", b"[1,]", b"[" * 100_000], ids=["empty", "cut", "bytes", "comma", "deep"]
)
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path}: not valid JSON (")
    assert str(error.value).endswith("; delete it and run again")
    assert "\n" not in str(error.value)


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.json: cannot be read: No such file or directory$"):
        read_json(tmp_path / "absent.json")


def test_hashes_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"b" * 1_000_000)
    (tmp_path / "a").write_text("ä")
    assert sha256_file(tmp_path / "sub" / "b") == hashlib.sha256(b"b" * 1_000_000).hexdigest()
    assert sha256_text("ä") == sha256_file(tmp_path / "a")
    hashes = sha256_files([tmp_path / "sub" / "b", tmp_path / "a"], tmp_path)
    assert list(hashes) == ["a", "sub/b"]
    verify(tmp_path, hashes)


def test_changed_and_missing_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    hashes = json.loads(json.dumps(sha256_files(tmp_path.iterdir(), tmp_path)))
    (tmp_path / "b").write_text("B")
    with pytest.raises(InputError, match=r"/b: content differs from its manifest; delete .* and run again$"):
        verify(tmp_path, hashes)
    (tmp_path / "b").unlink()
    with pytest.raises(InputError, match=r"/b: listed in the manifest but missing; delete .* and run again$"):
        verify(tmp_path, hashes)
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match=r"/b: listed in the manifest but missing"):
        verify(tmp_path, hashes)


def test_an_input_error_ends_a_script_in_one_line(root: Path) -> None:
    code = textwrap.dedent("""
        from maskbench.errors import InputError
        from maskbench.io.script import run
        def main():
            raise InputError("x.csv: line 3: expected two columns")
        run(main)
    """)
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "x.csv: line 3: expected two columns\n")
    assert re.fullmatch(r"maskbench [\d.]+, -c, Python [\d.]+ on \S+ \(\w+\), [\dT:+-]+\n", done.stdout)
