"""What a user names at the command line and in a configuration: files, values, sizes, the program itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from maskbench.config.sources import LocalSource
from maskbench.data.prepare import prepare
from maskbench.data.sources import fetch_task
from maskbench.errors import InputError
from maskbench.experiment.call import Call, check_files, read_arguments, read_call
from maskbench.experiment.claims import claims_file, read_claims
from maskbench.experiment.load import load
from maskbench.experiment.user_files import model_content, task_content
from maskbench.io.files import fingerprint, sha256_file

TEXT = "text,label\n" + "".join(f"film {number},{'up' if number % 2 else 'down'}\n" for number in range(40))


def small(source: str, name: str, **keys: Any) -> dict[str, Any]:
    """Return an experiment on a file."""
    task = {
        "name": "mine",
        "kind": "sequence-classification",
        "source": {"local": source},
        "format": "csv",
        "files": {"train": name},
    }
    return {"study": "s", "tasks": [task], "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1], **keys}


# --- names of files


@pytest.mark.parametrize(
    "name", ["reviews[1].csv", "{task}.csv", "<results>.csv", "*.csv", "~x.csv", "a b.csv", "ü.csv"]
)
def test_a_name_is_taken_literally(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(TEXT)
    (tmp_path / "1.csv").write_text("another file")
    (task,) = load(small(str(tmp_path), name)).tasks
    assert isinstance(task.source, LocalSource)
    assert task.source.file(name) == (name, tmp_path / name)
    fetch_task(task, tmp_path / "out", tmp_path / "cache")
    assert (tmp_path / "out" / name).read_text() == TEXT


@pytest.mark.parametrize("where", ["absolute", "home", "name at home", "file at home", "relative"])
def test_a_name_may_be_absolute_or_begin_at_home(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.csv").write_text(TEXT)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    source, name = {
        "absolute": (str(tmp_path / "data"), str(tmp_path / "data/train.csv")),
        "home": ("~/data", "train.csv"),
        "name at home": ("~/data", "~/data/train.csv"),
        "file at home": ("~/data/train.csv", "train.csv"),
        "relative": ("./data/../data", "./train.csv"),
    }[where]
    (task,) = load(small(source, name)).tasks
    assert isinstance(task.source, LocalSource)
    assert task.source.file(name) == ("train.csv", tmp_path / "data/train.csv")
    fetch_task(task, tmp_path / "out", tmp_path / "cache")
    prepare(task, tmp_path / "out", tmp_path / "prepared")
    assert (tmp_path / "prepared/train.parquet").is_file()


@pytest.mark.parametrize("name", ["../x.csv", "/etc/hostname", "", "source.json", "a\nb.csv", "a\\b.csv"])
def test_a_name_outside_of_the_folder_is_told_before_anything_starts(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tasks\[0\] \(mine\)\.files\.train: expected [^\n]*$"):
        load(small(str(tmp_path), name))
    with pytest.raises(InputError, match=r"files\.train: expected a name inside"):
        load(small(str(tmp_path), str(tmp_path)))


def test_claims_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "train.csv").write_text(TEXT)
    assert claims_file(load(small(str(tmp_path), "train.csv", claims="~/my.yaml"))) == tmp_path / "my.yaml"


def test_a_user_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(InputError, match=r"source\.local: expected an existing file, ~nobody-here/data does not exist"):
        load(small("~nobody-here/data", "train.csv"))


def test_a_change_of_a_file_is_seen(tmp_path: Path) -> None:
    files = {"a": tmp_path / "a[1]{x}.csv", "b": tmp_path / "none.csv", "c": tmp_path}
    files["a"].write_text("one")
    known = tmp_path / "known.json"
    assert fingerprint(files, known) == {"a": sha256_file(files["a"]), "b": None, "c": None}
    files["a"].write_text("two")  # as long, and perhaps at the same tick of the clock
    assert fingerprint(files, known)["a"] == sha256_file(files["a"])


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, known = tmp_path / "a.csv", tmp_path / "known.json"
    file.write_text("one")
    later = time.time() + 60
    monkeypatch.setattr("maskbench.io.files.time.time", lambda: later)
    first = fingerprint({"a": file}, known)
    monkeypatch.setattr("maskbench.io.files.sha256_file", lambda path: pytest.fail("read again"))
    assert fingerprint({"a": file}, known) == first
    monkeypatch.undo()
    os.utime(file, ns=(1, 1))
    assert fingerprint({"a": file}, known) == first
    known.write_text("[broken")
    assert fingerprint({"a": file}, known) == first


# --- values and files at the command line


@pytest.mark.parametrize(
    "command",
    [["--configfile", "a.yaml", "--configfile", "b.yaml"], ["--configfile=a.yaml", "--configfiles", "b.yaml"]],
)
def test_an_option_that_stands_twice_is_refused(tmp_path: Path, command: list[str]) -> None:
    """Snakemake keeps the last one without a word."""
    (tmp_path / "b.yaml").write_text("study: b\n")
    with pytest.raises(
        SystemExit, match=r"^--configfile: expected one file, got the option 2 times: [^\n]*never merged"
    ):
        check_files([tmp_path / "b.yaml"], command)
    check_files([tmp_path / "b.yaml"], command[-2:])


def test_a_typed_key_of_that_name_is_no_crash() -> None:
    assert read_arguments(["maskbench=1"]) == {"maskbench": 1}


def test_two_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("study: a\ntraining: {epochs: 1}\n")
    with pytest.raises(
        InputError, match=r"^--configfile: expected one file, got a\.yaml, b\.yaml: [^\n]*--config KEY=V"
    ):
        read_call([tmp_path / "a.yaml", tmp_path / "b.yaml"], [])
    assert read_call([tmp_path / "a.yaml"], ["training={batch_size: 4}"]) == (
        {"study": "a", "training": {"batch_size": 4}},
        Path("a.yaml"),
    )
    with pytest.raises(InputError, match=r"^config\.yaml: cannot be read: No such file"):
        read_call([], [])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["seeds=[1"], r"--config seeds: line 1: not valid YAML: "),
        (["seeds"], r"--config: expected KEY=VALUE, got 'seeds'"),
        (["seeds=[1]", "seeds=[2]"], r"--config: expected each key once, got seeds twice"),
    ],
)
def test_arguments_that_cannot_be_read_are_one_line(arguments: list[str], line: str) -> None:
    with pytest.raises(InputError, match=f"^{line}[^\n]*$"):
        read_arguments(arguments)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"study": "a",\n}', r"line 2: not valid JSON: "),
        ('{"study": "a", "study": "b"}', r"not valid JSON: key 'study' stands twice"),
        ("[" * 100_000, r"not valid JSON: "),
    ],
)
def test_json_is_read_as_json(text: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(InputError, match=rf"^{file}: {line}[^\n]*$"):
        read_call([file], [])
    file.write_text(json.dumps({"question": "\U0001f600\t{x}"}))
    assert read_call([file], [])[0] == {"question": "\U0001f600\t{x}"}


# --- the call as a whole


def a_call(*files: str, **keys: Any) -> tuple[Call, list[str]]:
    """Read a call of the folder's config.yaml, and return what it says."""
    said: list[str] = []
    known: dict[str, Any] = {"arguments": [], "slots": None, "nodes": None, "is_job": False}
    return Call.read(list(files), say=said.append, **known | keys), said


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which Snakemake would run, with a configuration and its data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.csv").write_text(TEXT)
    (tmp_path / "config.yaml").write_text(json.dumps(small(".", "train.csv")))
    return tmp_path


def test_the_command_names_what_the_call_named(folder: Path) -> None:
    plain, said = a_call()
    assert (plain.command, plain.handed_on, said) == (["snakemake", "--cores", "all"], [], [])
    (folder / "other").mkdir()
    (folder / "config.yaml").rename(folder / "other/mine.yaml")
    call, _ = a_call(str(folder / "other/mine.yaml"), arguments=["seeds=[1, 2]", "question=a b"])
    options = ["--configfile", "other/mine.yaml", "--config", "seeds=[1, 2]", "question=a b"]
    assert call.command == ["snakemake", "--cores", "all", *options]
    assert len(call.jobs.cells) == 2
    (packed,) = call.handed_on
    again, _ = a_call(str(folder / "other/mine.yaml"), arguments=[f"'{packed}'"])
    assert again == call


def test_a_mistake_in_an_option_is_told_of_the_option(folder: Path) -> None:
    arguments = ["seeds=[-1]", "train_sizes=[100000]"]
    for argument in arguments:
        with pytest.raises(InputError, match=rf"^--config: {argument.partition('=')[0]}\[0\]: [^\n]*$"):
            a_call(arguments=[argument])
    (folder / "config.yaml").write_text(json.dumps(small(".", "train.csv") | {"seeds": [-1]}))
    with pytest.raises(InputError, match=r"^config\.yaml: seeds\[0\]: [^\n]*$"):
        a_call(arguments=["question=why"])


def test_a_folder_in_the_place_of_a_file_is_told(folder: Path) -> None:
    (folder / "train.csv").unlink()
    (folder / "train.csv").mkdir()
    with pytest.raises(InputError, match=r"source\.local: expected a file, [^\n]*train\.csv is a folder$"):
        a_call()


@pytest.mark.parametrize(
    ("content", "line"), [('{"model_type": ', "not valid JSON: "), ("[]", "expected a JSON object")]
)
def test_a_local_model_without_a_sound_config_is_told_by_the_plan(folder: Path, content: str, line: str) -> None:
    (folder / "broken").mkdir()
    (folder / "broken/config.json").write_text(content)
    models = [{"name": "m", "source": {"local": "broken"}}]
    (folder / "config.yaml").write_text(json.dumps(small(".", "train.csv") | {"models": models}))
    where = r"config\.yaml: models\[0\] \(m\)\.source\.local: broken/config\.json"
    with pytest.raises(InputError, match=rf"^{where}: {line}[^\n]*$"):
        a_call()


def test_a_study_that_is_there_as_metrics_alone_trains_nothing(folder: Path) -> None:
    (folder / "train.csv").unlink()  # what training needs may be elsewhere
    (folder / "results/s").mkdir(parents=True)
    (folder / "results/s/metrics.csv").touch()
    call, said = a_call()
    assert call.recorded
    assert said == ["results/s: metrics.csv without runs: analysis and report only; to train, remove metrics.csv"]
    assert call.collected("outcomes.parquet") == []
    (folder / "results/s/outcomes.parquet").touch()
    assert call.collected("outcomes.parquet") == [Path("results/s/outcomes.parquet")]
    (folder / "results/s/training").mkdir()
    with pytest.raises(InputError, match=r"train\.csv does not exist"):
        a_call()
    (folder / "train.csv").write_text(TEXT)
    call, said = a_call()
    assert (call.recorded, said, len(call.collected("nothing.csv"))) == (False, [], 1)


def test_a_record_is_unpacked_and_keeps_verdicts_that_cannot_be_made_from_it(folder: Path) -> None:
    results = folder / "results/s"
    (results / "analysis").mkdir(parents=True)
    for name in ("metrics.parquet", "manifest.json.gz", "analysis/pairs.csv.gz"):
        (results / name).touch()
    call, _ = a_call()
    assert (call.recorded, call.judged) == (True, False)  # verdicts over seeds alone can be made
    assert [path.name for path in call.packed] == ["metrics.csv", "manifest.json"]
    assert call.collected("manifest.json") == [Path("results/s/manifest.json")]
    assert call.collected("along.csv") == []
    for about, judged in (('{"outcomes": false}', False), ("{}", False), ('{"outcomes": true}', True)):
        (results / "analysis/claims.json").write_text(about)
        for name in ("verdicts.csv", "analysis/comparisons.csv", "analysis/gates.csv", "analysis/sensitivity.csv"):
            if judged:
                (results / name).unlink(missing_ok=True)
                with pytest.raises(InputError, match=rf"claims\.json: .*: expected {name} beside them, found none"):
                    a_call()
            (results / name).touch()
        call, said = a_call()
        assert call.judged == judged
    assert said[1] == "results/s: verdicts as they are: outcomes.parquet, which they rest on, is not here"
    assert [path.name for path in call.packed] == ["metrics.csv", "manifest.json", "pairs.csv"]
    (results / "outcomes.parquet").touch()
    assert not a_call()[0].judged


def test_slots_are_checked_where_jobs_run_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKBENCH_GPUS", "0,1")
    monkeypatch.setenv("MASKBENCH_LEASES", str(folder / "leases"))
    with pytest.raises(InputError, match=r"^--resources gpu=3: there are 2 slots here"):
        a_call(slots=3)
    here, _ = a_call(slots=2)
    assert (here.submits, here.at_once, here.grown(5, 3)) == (False, 2, 5)
    for keys in ({"nodes": 32}, {"is_job": True}):
        there, _ = a_call(slots=3, **keys)
        assert (there.submits, there.at_once, there.grown(5, 3)) == (True, 3, 15)
    assert a_call(nodes=32)[0].at_once == 32


def test_mistakes_in_the_claims_are_told_before_anything_starts(folder: Path) -> None:
    (folder / "my.yaml").write_text("[]")
    with pytest.raises(InputError, match=r"^my\.yaml: expected a mapping with margins, claims and gates$"):
        a_call(arguments=["claims=my.yaml"])


def test_jobs_are_told_what_must_not_run_them_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/mine")
    call, _ = a_call(arguments=["cache=~/x", "resources={slots_per_gpu: 2}"])
    found = call.environment("/checkout")
    assert found == {
        "PATH": f"{Path(sys.executable).parent}:/mine",
        "MASKBENCH": "/checkout",
        "MASKBENCH_CLAIMS": sha256_file(claims_file(call.experiment))[:16],
        "MASKBENCH_SLOTS_PER_GPU": "2",
        "MASKBENCH_EXPERIMENT": ".snakemake/maskbench-experiment-s.json",
        "MASKBENCH_CACHE": str(Path("~/x").expanduser().resolve()),
    }
    assert "MASKBENCH_CACHE" not in a_call()[0].environment("/checkout")
    call.write_resolved()
    resolved = json.loads((folder / found["MASKBENCH_EXPERIMENT"]).read_text())
    assert resolved["study"] == "s"
    assert "cache" not in resolved


@pytest.mark.parametrize(
    ("is_job", "locked", "left"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_indexes_without_records_go_unless_another_call_works_here(
    folder: Path, is_job: bool, locked: bool, left: bool
) -> None:
    call, _ = a_call(is_job=is_job)
    (name,) = call.jobs.by_id
    index = call.layout.index(name)
    index.parent.mkdir(parents=True)
    index.write_text("{}")
    (folder / "locks").mkdir()
    if locked:
        (folder / "locks/0.input.lock").touch()
    call.remove_void(folder / "locks")
    assert index.exists() == left


def test_the_users_own_files_are_told_by_their_content(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model/config.json").write_text("{}")
    models = [{"name": "mine", "source": {"local": "model"}}, "minilm-l6"]
    experiment = load(
        small(".", "train.csv", models=models) | {"tasks": [*small(".", "train.csv")["tasks"], "conll2003"]}
    )
    assert json.loads(task_content(experiment.tasks[0])) == {"train.csv": sha256_file(folder / "train.csv")}
    assert task_content(experiment.tasks[1]) == ""
    assert json.loads(model_content(experiment.models[0])) == {"config.json": sha256_file(folder / "model/config.json")}
    assert model_content(experiment.models[1]) == ""


# --- sizes that a task cannot have


@pytest.mark.parametrize(
    ("keys", "content", "most"),
    [
        ({"format": "csv"}, TEXT, 40),
        ({"format": "csv", "header": False, "columns": ["text", "label"]}, TEXT, 41),
        ({"format": "csv"}, TEXT.replace("\n", "\r"), 40),
        ({"format": "jsonl"}, '{"text": "a", "label": "b"}\n\n' * 7, 7),
        (
            {"format": "conll", "kind": "token-classification", "text": 0, "label": 1},
            "\nAnna B-PER\nsaw O\n\n\nRome B-LOC\n",
            2,
        ),
    ],
)
def test_a_training_size_above_the_data_is_told_by_the_plan(
    keys: dict[str, Any], content: str, most: int, tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_text(content, newline="")
    config = small(str(tmp_path), "train.csv", train_sizes=["full", most, most + 1])
    config["tasks"][0].update(keys)
    others = {"validation": "train.csv", "test": "train.csv"}
    config["tasks"][0]["files"] |= others  # nothing is cut off
    with pytest.raises(
        InputError, match=rf"^configuration: train_sizes\[2\]: the task mine has at most {most} tr[^\n]*$"
    ):
        load(config)
    load({**config, "train_sizes": [most]})


@pytest.mark.parametrize(
    ("keys", "content", "cut", "most"),
    [
        ({}, TEXT, 8, 32),
        ({"cut": {"test": 0.25, "validation": 0.25}}, TEXT, 20, 20),
        ({"files": {"train": "train.csv", "test": "train.csv"}}, TEXT, 4, 36),
        ({}, TEXT + TEXT.partition("\n")[2].upper() * 2, 8, 112),  # 40 distinct texts, three times each
        ({}, "text,label\n" + "one,a\n" * 20 + '"two\nlines",b\n' * 20, 2, 58),
        ({"format": "jsonl"}, "".join(f'{{"text": "a {n}", "label": "b"}}\n' for n in range(30)), 6, 24),
        (
            {"format": "conll", "kind": "token-classification", "text": 0, "label": 1},
            "".join(f"Anna B-PER\nsaw{number} O\n\n" for number in range(20)),
            4,
            16,
        ),
    ],
)
def test_what_is_cut_off_the_training_file_is_no_training_text(
    keys: dict[str, Any], content: str, cut: int, most: int, tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_text(content)
    config = small(str(tmp_path), "train.csv", train_sizes=[most, most + 1])
    config["tasks"][0].update(keys)
    with pytest.raises(InputError) as error:
        load(config)
    assert str(error.value) == (
        f"configuration: train_sizes[1]: the task mine has at most {most} training texts beside the {cut} that are cut "
        f"off for splits without a file, got {most + 1}"
    )
    load({**config, "train_sizes": [most]})


def test_a_training_file_that_cannot_be_read_is_no_matter_of_sizes(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("other,names\n" + "a,b\n" * 20)
    load(small(str(tmp_path), "train.csv", train_sizes=[20]))


def test_a_synthetic_task_knows_its_size() -> None:
    task = {"name": "made", "kind": "sequence-classification", "source": {"synthetic": "classification", "train": 50}}
    config = small(".", "x") | {"tasks": [task]}
    load(config | {"train_sizes": [50]})
    with pytest.raises(InputError, match="the task made has at most 50 training texts, got 51"):
        load(config | {"train_sizes": [51]})


# --- the program itself


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The package as pip would install it: without what lies beside it in the repository."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(root / "maskbench", site / "maskbench", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def call(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on an installed package, in a folder of the user's."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run([sys.executable, *arguments], cwd=site, env=environment, capture_output=True, text=True)


def test_the_version_is_told(root: Path) -> None:
    done = call(root, "-m", "maskbench", "--version")
    assert (done.returncode, done.stdout) == (0, "maskbench 0.1.0\n")


def test_an_installed_package_writes_no_schema(installed: Path) -> None:
    for arguments in ([], ["--check"]):
        done = call(installed, "-m", "maskbench", "schema", *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("schema: expected a checkout")
    assert [path.name for path in installed.iterdir()] == ["maskbench"]


def test_the_claims_are_part_of_the_package(installed: Path, root: Path) -> None:
    code = (
        "from maskbench.experiment.claims import claims_file, claims_hash, read_claims\n"
        "from types import SimpleNamespace\n"
        "path = claims_file(SimpleNamespace(claims=None)); read_claims(path); print(claims_hash(path))"
    )
    done = call(installed, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == sha256_file(root / "claims.yaml")[:16]
    assert "claims.yaml" in {path.name for path in (root / "maskbench/config").glob("*.yaml")}  # what is packaged
    assert read_claims(root / "maskbench/config/claims.yaml") == read_claims(root / "claims.yaml")
