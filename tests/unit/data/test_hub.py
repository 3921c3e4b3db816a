"""The hub path, through the real script, against a server on the loopback."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.hub_server import COMMIT, HubServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
SPLITS: dict[str, dict[str, list[Any]]] = {
    "train": {"sentence": ["good", "bad", "fine", "awful"], "label": [1, 0, 1, 0]},
    "validation": {"sentence": ["nice", "poor"], "label": [1, 0]},
}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "fine", "awful"]

Fetch = Callable[..., subprocess.CompletedProcess[str]]


def parquet(columns: dict[str, list[Any]]) -> bytes:
    """Write a split as the hub keeps it, with class labels."""
    import datasets

    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["negative", "positive"])}
    )
    stream = io.BytesIO()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(stream)
    return stream.getvalue()


@pytest.fixture(scope="session")
def dataset_files() -> dict[str, bytes]:
    names = {split: f"data/{split}-00000-of-00001.parquet" for split in SPLITS}
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    card += "".join(f"  - split: {split}\n    path: data/{split}-*\n" for split in SPLITS) + "---\ntiny\n"
    return {"README.md": card.encode()} | {names[split]: parquet(SPLITS[split]) for split in SPLITS}


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("model")
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files | {
        "vocab.txt": "\n".join(VOCABULARY).encode(),
        "tokenizer_config.json": b'{"tokenizer_class": "BertTokenizer", "do_lower_case": true}',
        "modeling_evil.py": b"raise SystemExit('remote code ran')",
        "pytorch_model.bin": b"pickled",
        "onnx/model.json": b"{}",
    }


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    """Run scripts/fetch.py as a rule would, with a home and a cache of its own."""

    # The hub's client waits 23 s in all between its retries: not under test.
    (tmp_path / "impatient").mkdir()
    (tmp_path / "impatient" / "sitecustomize.py").write_text("import time\ntime.sleep = lambda seconds: None\n")

    def call(
        kind: str, spec: dict[str, Any], destination: str, endpoint: str, **more: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE"))}
        environment |= {"HF_ENDPOINT": endpoint, "MASKBENCH_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}
        environment |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        environment |= {"PYTHONPATH": os.pathsep.join([str(tmp_path / "impatient"), str(ROOT)])} | more
        command = [sys.executable, str(ROOT / "scripts" / "fetch.py"), kind, "--spec", json.dumps(spec)]
        command += ["--destination", str(tmp_path / destination)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)

    return call


def task(hub: str = "owner/tiny", revision: str = COMMIT, **splits: str) -> dict[str, Any]:
    source = {"hub": hub, "revision": revision, "splits": splits or {"train": "train", "test": "validation"}}
    return {
        "name": "tiny",
        "kind": "sequence-classification",
        "source": source,
        "text": "sentence",
        "label": "label",
    }


def model(hub: str = "owner/bert", revision: str = COMMIT) -> dict[str, Any]:
    return {"name": "tiny-bert", "source": {"hub": hub, "revision": revision}}


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check for exit status 1 and one line that names what it should."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "thrown while requesting" not in line and "Retry" not in line]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_dataset_is_fetched_once_and_offline_from_then_on(
    hub: HubServer, fetch: Fetch, dataset_files: dict[str, bytes], tmp_path: Path
) -> None:
    import pandas as pd

    hub.repositories["datasets", "owner/tiny"] = dataset_files
    done = fetch("task", task(), "first", hub.url)
    assert done.returncode == 0, done.stderr
    first = tmp_path / "first"
    assert sorted(path.name for path in first.iterdir()) == ["source.json", "test.parquet", "train.parquet"]
    assert pd.read_parquet(first / "train.parquet").to_dict("list") == SPLITS["train"]
    assert pd.read_parquet(first / "test.parquet").to_dict("list") == SPLITS["validation"]
    record = json.loads((first / "source.json").read_text())
    assert record["features"] == {"label": ["negative", "positive"]}
    assert record["source"]["revision"] == COMMIT
    assert set(record["files"]) == {"train.parquet", "test.parquet"}

    again = fetch("task", task(), "second", hub.url)
    assert again.returncode == 0, again.stderr
    assert hub.downloads(".parquet") == len(SPLITS), hub.requests

    hub.stop()
    offline = fetch("task", task(), "third", hub.url)
    assert offline.returncode == 0, offline.stderr
    for name in ("train.parquet", "test.parquet", "source.json"):
        assert (tmp_path / "third" / name).read_bytes() == (first / name).read_bytes()
    assert (tmp_path / "cache" / "hub").is_dir()
    assert not (tmp_path / ".cache" / "huggingface" / "hub").exists()


def test_another_commit_is_not_served_from_the_cache(
    hub: HubServer, fetch: Fetch, dataset_files: dict[str, bytes], tmp_path: Path
) -> None:
    """Datasets alone would take the latest cached version, whatever its commit."""
    hub.repositories["datasets", "owner/tiny"] = dataset_files
    assert fetch("task", task(), "first", hub.url).returncode == 0
    done = fetch("task", task(revision="f" * 40), "second", hub.url)
    refused(done, "tiny", "owner/tiny", f"no commit {'f' * 40}")
    assert not (tmp_path / "second").exists()


def test_a_dataset_that_cannot_be_had(hub: HubServer, fetch: Fetch, dataset_files: dict[str, bytes]) -> None:
    hub.repositories["datasets", "owner/tiny"] = dataset_files
    hub.repositories["datasets", "owner/closed"] = dataset_files
    hub.gated.add("owner/closed")
    hub.repositories["datasets", "owner/scripted"] = {"README.md": b"no data", "scripted.py": b"raise SystemExit(3)"}
    refused(fetch("task", task(train="training"), "a", hub.url), "task tiny", "training", "local:", "HF_ENDPOINT")
    refused(fetch("task", task("owner/none"), "b", hub.url), "owner/none", "no such repository", "package:")
    refused(fetch("task", task("owner/scripted"), "c", hub.url), "owner/scripted", "loading script", "parquet")
    refused(fetch("task", task("owner/closed"), "d", hub.url), "owner/closed", "gated", "hf auth login")


def test_a_folder_with_the_name_of_a_dataset_is_not_taken_for_it(
    hub: HubServer, fetch: Fetch, dataset_files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.repositories["datasets", "owner/tiny"] = dataset_files
    shadow = tmp_path / "owner" / "tiny"
    shadow.mkdir(parents=True)
    (shadow / "train.csv").write_text("sentence,label\nwrong,0\n")
    assert fetch("task", task(train="train"), "out", hub.url).returncode == 0
    assert json.loads((tmp_path / "out" / "source.json").read_text())["features"]


def test_a_model_is_fetched_once_and_offline_from_then_on(
    hub: HubServer, fetch: Fetch, model_files: dict[str, bytes], tmp_path: Path
) -> None:
    from transformers import AutoModel, AutoTokenizer

    hub.repositories["models", "owner/bert"] = model_files
    done = fetch("model", model(), "first", hub.url)
    assert done.returncode == 0, done.stderr
    first = tmp_path / "first"
    wanted = {"config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"}
    assert {path.name for path in first.iterdir()} == wanted | {"source.json"}
    assert not any(path.is_symlink() for path in first.iterdir())
    assert set(json.loads((first / "source.json").read_text())["files"]) == wanted
    inputs = AutoTokenizer.from_pretrained(first)("good bad", return_tensors="pt")
    assert AutoModel.from_pretrained(first)(**inputs).last_hidden_state.shape == (1, 4, 8)

    assert fetch("model", model(), "second", hub.url).returncode == 0
    assert hub.downloads("model.safetensors") == 1
    assert (
        hub.downloads("pytorch_model.bin") == hub.downloads("modeling_evil.py") == hub.downloads("onnx/model.json") == 0
    )

    hub.stop()
    offline = fetch("model", model(), "third", hub.url)
    assert offline.returncode == 0, offline.stderr
    assert (tmp_path / "third" / "source.json").read_bytes() == (first / "source.json").read_bytes()


def test_a_model_that_cannot_be_had(
    hub: HubServer, fetch: Fetch, model_files: dict[str, bytes], tmp_path: Path
) -> None:
    pickled = {name: content for name, content in model_files.items() if name != "model.safetensors"}
    hub.repositories["models", "owner/pickled"] = pickled
    hub.repositories["models", "owner/pointer"] = model_files | {"model.safetensors": b"version https://git-lfs"}
    hub.repositories["models", "owner/bert"] = model_files
    refused(
        fetch("model", model("owner/pickled"), "a", hub.url), "model tiny-bert", "owner/pickled", "safetensors", ".bin"
    )
    refused(fetch("model", model("owner/pointer"), "b", hub.url), "model.safetensors", "whole safetensors file")
    refused(fetch("model", model("owner/none"), "c", hub.url), "owner/none", "no such repository")
    refused(fetch("model", model(revision="e" * 40), "d", hub.url), "owner/bert", "no commit")
    assert hub.downloads("pytorch_model.bin") == 0
    assert not list(tmp_path.glob("[a-d]"))
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(("kind", "spec"), [("task", task()), ("model", model())])
def test_an_unreachable_hub_is_one_clear_line(kind: str, spec: dict[str, Any], fetch: Fetch) -> None:
    endpoint = closed_port()
    done = fetch(kind, spec, "out", endpoint)
    ways = ("local:", "package:", "HF_ENDPOINT", "HF_HUB_CACHE")
    refused(done, spec["name"], spec["source"]["hub"], endpoint, "cannot be reached", *ways)
    refused(fetch(kind, spec, "out", endpoint, HF_HUB_OFFLINE="1"), spec["name"], "HF_HUB_OFFLINE", "local:")


def test_a_garbled_cache_is_fetched_again(
    hub: HubServer, fetch: Fetch, dataset_files: dict[str, bytes], model_files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.repositories["datasets", "owner/tiny"] = dataset_files
    hub.repositories["models", "owner/bert"] = model_files
    assert fetch("task", task(), "task-1", hub.url).returncode == 0
    assert fetch("model", model(), "model-1", hub.url).returncode == 0
    (kept,) = (tmp_path / "cache" / "datasets").glob("*/train.parquet")
    kept.write_bytes(b"garbled")
    (weights,) = (tmp_path / "cache" / "hub").rglob("snapshots/*/model.safetensors")
    garbled = bytearray(weights.read_bytes())
    garbled[-1] ^= 1
    weights.resolve().write_bytes(garbled)

    for kind, spec, name in (("task", task(), "train.parquet"), ("model", model(), "model.safetensors")):
        done = fetch(kind, spec, f"{kind}-2", hub.url)
        assert done.returncode == 0, done.stderr
        assert "garbled" in done.stderr
        assert name in done.stderr
        assert (tmp_path / f"{kind}-2" / name).read_bytes() == (tmp_path / f"{kind}-1" / name).read_bytes()
    assert hub.downloads("model.safetensors") == 2


def test_the_place_that_a_user_chose_for_the_hub_s_cache_is_kept(
    hub: HubServer, fetch: Fetch, model_files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.repositories["models", "owner/bert"] = model_files
    assert fetch("model", model(), "out", hub.url, HF_HUB_CACHE=str(tmp_path / "mine")).returncode == 0
    assert (tmp_path / "mine" / "models--owner--bert").is_dir()
    assert not (tmp_path / "cache" / "hub").exists()


def test_a_wrong_spec_is_one_clear_line(fetch: Fetch) -> None:
    refused(fetch("model", model(revision="main"), "out", closed_port()), "--spec", "revision")
