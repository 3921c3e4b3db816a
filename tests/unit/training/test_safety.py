"""What comes from outside cannot run code, leave its folder or break a line; secrets stay in the environment."""

from __future__ import annotations

import ast
import io
import json
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from maskbench.analysis.collect import collect
from maskbench.analysis.compare import Settings, compare_files, read_comparisons
from maskbench.config.models import FetchedModel
from maskbench.config.training import Training
from maskbench.data.archives import open_archive
from maskbench.data.encode import encode, load_encoded
from maskbench.data.prepare import load_prepared, prepare
from maskbench.data.sources import fetch_model
from maskbench.errors import LONGEST, InputError
from maskbench.experiment.cell import cells
from maskbench.experiment.load import load, load_file
from maskbench.experiment.presets import presets
from maskbench.io.files import read_json, write_json
from maskbench.models import masked_lm
from maskbench.models.loading import build_model, start_from
from maskbench.probes import reference
from maskbench.probes.trained import load_model
from maskbench.records.manifest import Claimed, Timed, read_entries, read_manifest
from maskbench.report.along import read_along
from maskbench.report.figures import FIGURES
from maskbench.report.page import write_page
from maskbench.slots.device import choose
from tests.helpers import reports as report_samples
from tests.helpers import run_folders as synthetic
from tests.helpers.models import conll_of_sentences, make_cell, make_encoded, make_model
from tests.helpers.tasks import make_source, make_tagging

ROOT = Path(__file__).resolve().parents[3]
CODE = sorted([*ROOT.glob("maskbench/**/*.py"), *ROOT.glob("scripts/*.py")])

# --- code from outside


def calls():
    """Yield file, line, name and keywords of every call in the package and the scripts."""
    for file in CODE:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                yield f"{file.relative_to(ROOT)}:{node.lineno}", name, {item.arg: item.value for item in node.keywords}


def test_weights_are_loaded_as_safetensors_or_as_weights_only():
    """Configurations and tokenizers are JSON; all other `from_pretrained` must ask for safetensors."""
    seen = set()
    for where, name, keys in calls():
        if name == "torch.load":
            assert getattr(keys.get("weights_only"), "value", None) is True, where
            seen.add("torch")
        if name.endswith(".from_pretrained") and not name.startswith(("AutoConfig", "AutoTokenizer")):
            assert getattr(keys.get("use_safetensors"), "value", None) is True, where
            seen.add("transformers")
        if name.endswith("from_pretrained"):
            assert getattr(keys.get("local_files_only"), "value", None) is True, where
        assert getattr(keys.get("trust_remote_code"), "value", False) is False, where
        assert getattr(keys.get("allow_pickle"), "value", False) is False, where
        assert getattr(keys.get("shell"), "value", False) is False, where
        assert name not in ("eval", "exec", "os.system", "pickle.load", "pickle.loads", "joblib.load"), where
    assert seen == {"torch", "transformers"}


class Malicious:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def pickled(tmp_path):
    """A model whose only weights are a pickle that runs code."""
    folder = make_model(tmp_path / "model", head=True)
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Malicious(tmp_path / "executed")}, folder / "pytorch_model.bin")
    return folder


def test_a_pickle_is_neither_fetched_nor_loaded(pickled, tmp_path):
    model = FetchedModel.model_validate({"name": "mine", "source": {"local": str(pickled)}})
    with pytest.raises(InputError, match="pickled weights"):
        fetch_model(model, tmp_path / "out", tmp_path / "cache")
    device = choose(Training(epochs=1, precision="fp32"))
    kind = "sequence-classification"
    keys = {"seed": 1, "dropout": None, "attention": device.attention}
    with pytest.raises(OSError, match="safetensors"):
        build_model(pickled, kind, ["a", "b"], **keys)
    good = build_model(make_model(tmp_path / "good"), kind, ["a", "b"], **keys)
    for read in (
        lambda: start_from(good, pickled),
        lambda: masked_lm.pretrained(pickled, good),
        lambda: load_model(pickled, "sequence-classification", device),
        lambda: reference.start(pickled, "sequence-classification", 2, device.attention, 0),
    ):
        with pytest.raises(OSError, match="safetensors"):
            read()
    assert not (tmp_path / "executed").exists()
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        torch.load(pickled / "pytorch_model.bin", weights_only=True)
    assert not (tmp_path / "executed").exists()
    torch.load(pickled / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "executed").exists()  # so it would have run


def test_archives_and_commits_are_pinned():
    """Every preset, and every experiment that comes with the project, names content, not a moving version."""
    entries = [entry for kind in ("tasks", "models", "corpora", "lexicons") for entry in presets()[kind].values()]
    sources = [entry["source"] for entry in entries if "pretrain" not in entry]
    for path in [ROOT / "config.yaml", *(ROOT / "experiments").glob("*.yaml")]:
        listed = yaml.safe_load(path.read_text())
        sources += [item["source"] for kind in ("tasks", "models") for item in listed[kind] if "source" in item]
    assert len(sources) > 4
    for source in sources:
        if "package" in source:
            assert re.fullmatch("[0-9a-f]{64}", source["sha256"]), source
            assert re.fullmatch(r"([0-9]+:)?[0-9][0-9a-z.-]*", source["version"]), source
        if "hub" in source:
            assert re.fullmatch("[0-9a-f]{40}", source["revision"]), source


# --- names


PLACES = {
    "study": lambda config, name: config.update(study=name),
    "task": lambda config, name: config["tasks"].append({"preset": "rt-snippets", "name": name}),
    "model": lambda config, name: config["models"].append({"preset": "minilm-l6", "name": name}),
    "strategy": lambda config, name: config["strategies"].append({"name": name}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["..", "../x", "/x", "a/b", "a\\b", "a b", "$HOME", "~", "x\n", "a.b", "-x", ""])
def test_a_name_cannot_leave_the_results(place, name):
    config = {"study": "s", "tasks": ["rt-snippets"], "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1]}
    load(config)
    PLACES[place](config, name)
    with pytest.raises(InputError, match="expected"):
        load(config)


def test_a_run_id_is_one_plain_folder():
    experiment = load_file(ROOT / "config.yaml")
    for cell in cells(experiment):
        assert re.fullmatch(r"[a-z0-9.-]+", cell.run)
        assert Path(cell.run).name == cell.run


# --- secrets


SECRETS = {
    "HF_TOKEN": "hf_marmaladesecret1",
    "WANDB_API_KEY": "wandbmarmaladesecret2",
    "AWS_SECRET_ACCESS_KEY": "awsmarmaladesecret3",
    "MADE_UP_PASSWORD": "mademarmaladesecret4",
}


def test_secrets_of_the_environment_reach_no_file(tmp_path, monkeypatch):
    """Through training, collecting, comparing and the page; a run that fails is among them."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASKBENCH_GPUS", "")
    model = make_model(tmp_path / "model", head=True)
    encoded = make_encoded(tmp_path / "texts", model, "sequence-classification")
    results, runs = tmp_path / "results", []
    for name, rate, status in (("none", 1e-3, "completed"), ("random", 1e30, "diverged")):
        cell = make_cell(strategy={"name": name}, training={"learning_rate": rate, "max_grad_norm": 0.0})
        runs.append(cell.run)
        command = [sys.executable, "tests/helpers/one_cell.py", "--cell", cell.model_dump_json(), "--model", str(model)]
        command += ["--encoded", str(encoded), "--output", str(results / "training" / cell.run), "--code", "c"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{status} in" in done.stdout, done.stdout
        (results / f"{status}.log").write_text(done.stdout + done.stderr)
    collect("mine", results, runs, results)
    compare_files(results / "metrics.csv", None, results / "analysis/comparisons.csv", Settings("none", 20, 0.95, 0))
    report_samples.write_design(results, {"none": {}, "random": {}})
    report_samples.write_evidence(results)
    write_json(results / "figures/captions.json", {name: {"title": "t", "why": "no data"} for name in FIGURES})
    write_page(results, synthetic.experiment(["rt-snippets"], ["none", "random"]), "snakemake")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"metrics.json", "manifest.json", "report.html", "completed.log"} <= {path.name for path in files}
    for path in files:
        assert b"marmaladesecret" not in path.read_bytes(), path
    assert b"learning_rate" in (results / "training" / runs[0] / "metrics.json").read_bytes()  # it can be found


def test_a_password_in_the_address_of_an_index_is_not_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:marmaladesecret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    source = {"package": "nothing-at-all", "version": "1.0", "sha256": "0" * 64}
    with pytest.raises(InputError) as error:
        fetch_model(FetchedModel.model_validate({"name": "m", "source": source}), tmp_path / "out", tmp_path / "cache")
    assert "marmaladesecret" not in str(error.value)


# --- what the fuzz test found (tests/property/test_mangled.py)


def test_a_message_is_one_line_whatever_it_quotes():
    assert str(InputError("a\nb\x1b[31m\u202ec", "d")) == "a b [31m c\nd"
    long = str(InputError("begin " + "x" * 9000 + " end"))
    assert len(long) <= LONGEST
    assert long.startswith("begin x")
    assert long.endswith("x end")


def test_a_long_name_is_cut_in_messages():
    config = {"study": "s", "tasks": ["x" * 5000], "models": ["minilm-l6"], "strategies": ["none"], "seeds": [1]}
    with pytest.raises(InputError) as error:
        load(config)
    assert len(str(error.value)) < 600


def test_half_a_surrogate_pair_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": "\\ud800"}')
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(path)
    path.write_text('{"a": "\\ud83d\\ude00"}')
    assert read_json(path) == {"a": "\U0001f600"}


def test_a_number_that_no_column_holds_is_refused(tmp_path):
    (tmp_path / "along.csv").write_text(f"run,step,measure,value\na,{10**30},validation_score,1\n")
    with pytest.raises(InputError, match=r"along\.csv: line 2: step: expected a whole number"):
        read_along(tmp_path / "along.csv")


def test_comparisons_are_whole(tmp_path):
    runs = synthetic.write_study(tmp_path, ["rt-snippets"], ["none", "random"], 2, examples=20)
    collect("s", tmp_path, runs, tmp_path)
    path = tmp_path / "comparisons.csv"
    compare_files(tmp_path / "metrics.csv", None, path, Settings("none", 20, 0.95, 0))
    lines = path.read_text().splitlines()
    for changed, message in ((lines[:-1], "a row for each of"), ([*lines, lines[-1]], "once")):
        path.write_text("\n".join(changed) + "\n")
        with pytest.raises(InputError, match=rf"comparisons\.csv: line .*{message}"):
            read_comparisons(path)


def test_a_manifest_is_checked_by_all_who_read_it(tmp_path):
    runs = synthetic.write_study(tmp_path, ["rt-snippets"], ["none"], 2, examples=20)
    collect("s", tmp_path, runs, tmp_path)
    path = tmp_path / "manifest.json"
    content = read_json(path)
    assert [entry["run"] for entry in read_entries(path, Timed)] == runs
    assert [entry["claims"] for entry in read_entries(path, Claimed)] == [None, None]
    assert [entry["run"] for entry in read_manifest(path)["records"]] == runs
    content["records"][1]["timings"]["wall_s"] = "x"
    write_json(path, content)
    for read in (read_manifest, lambda where: read_entries(where, Timed)):
        with pytest.raises(InputError, match=r"not a manifest of schema 1 \(records\.1\.timings\.wall_s"):
            read(path)
    write_json(path, {"records": [{"run": "a.b", "timings": {"wall_s": 1.0, "train_s": 1.0}, "probes": None}]})
    with pytest.raises(InputError, match=r"records\.0\.run"):
        read_entries(path, Timed)
    write_json(path, {"records": 3})
    with pytest.raises(InputError, match="records"):
        read_entries(path, Claimed)


def test_a_damaged_archive_is_one_line(tmp_path):
    """One whose directory says that a file begins before the archive does."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x", b"content")
    content = bytearray(stream.getvalue())
    content[-6:-2] = struct.pack("<I", len(content))  # where the directory is said to begin
    unknown = bytearray(stream.getvalue())
    unknown[unknown.index(b"PK\x01\x02") + 10] = 99  # the number of a compression that nobody knows
    for changed in (content, unknown):
        path = tmp_path / "a.zip"
        path.write_bytes(changed)
        opening = pytest.raises(InputError, match=r"a\.zip: the archive is damaged")
        with opening, open_archive(path, str(path)) as opened:
            opened.copy("x", tmp_path / "x")


@pytest.mark.parametrize("content", ["{}", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 1}}', "\udcff"])
def test_a_damaged_index_of_weights_is_one_line(tmp_path, content):
    folder = make_model(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    model = FetchedModel.model_validate({"name": "mine", "source": {"local": str(folder)}})
    with pytest.raises(InputError, match=r"model mine: .*index\.json: expected JSON with a weight_map"):
        fetch_model(model, tmp_path / "out", tmp_path / "cache")


def test_a_changed_manifest_of_a_prepared_task_is_refused(tmp_path):
    task = make_tagging(max_length=16)
    source = make_source(tmp_path / "source", {"train.txt": conll_of_sentences(40)})
    prepare(task, source, tmp_path / "prepared")
    model = make_model(tmp_path / "model")
    encode(task, tmp_path / "prepared", model, tmp_path / "encoded")
    path = tmp_path / "prepared/manifest.json"
    path.write_text(path.read_text().replace('"I-PER"', '"I-PXR"'))
    with pytest.raises(InputError, match="labels or splits differ from its hash"):
        load_prepared(tmp_path / "prepared")
    path = tmp_path / "encoded/manifest.json"
    content = json.loads(path.read_text())
    content["splits"]["other"] = content["splits"].pop("test")
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="files: expected those of other"):
        load_encoded(tmp_path / "encoded")
    record = json.loads((source / "source.json").read_text())
    (source / "source.json").write_text(json.dumps(record | {"features": True}))
    with pytest.raises(InputError, match="features: expected lists of names"):
        prepare(task, source, tmp_path / "again")


def test_a_tokenizer_that_panics_is_one_line(tmp_path):
    task = make_tagging(max_length=16)
    prepare(task, make_source(tmp_path / "source", {"train.txt": conll_of_sentences(40)}), tmp_path / "prepared")
    model = make_model(tmp_path / "model")
    (model / "source.json").unlink()
    path = model / "tokenizer.json"
    content = json.loads(path.read_text())
    content["post_processor"]["special_tokens"].pop("[CLS]")
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="the tokenizer cannot be loaded"):
        encode(task, tmp_path / "prepared", model, tmp_path / "encoded")
