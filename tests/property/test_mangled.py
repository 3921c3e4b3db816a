"""Whatever is in a file, a reader takes it or refuses it in one clear line: never another exception."""

from __future__ import annotations

import copy
import io
import json
import shutil
import tarfile
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from maskbench.analysis.collect import collect
from maskbench.analysis.compare import Settings, compare_files
from maskbench.analysis.plan import Recorded, plan
from maskbench.analysis.verdict_files import write_verdicts
from maskbench.config.models import FetchedModel
from maskbench.data.archives import open_archive
from maskbench.data.encode import encode, load_encoded
from maskbench.data.prepare import load_prepared, prepare
from maskbench.data.shifted import shift
from maskbench.data.sources import fetch_model
from maskbench.errors import LONGEST, InputError
from maskbench.experiment.claims import read_claims
from maskbench.experiment.load import load_file
from maskbench.experiment.resolved import read_experiment
from maskbench.report.figures import FIGURES
from maskbench.report.page import write_page
from tests.helpers import run_folders as synthetic
from tests.helpers.injected import note
from tests.helpers.models import conll_of_sentences, csv_of_texts, make_model
from tests.helpers.tasks import make_source, make_tagging, make_task

pytestmark = pytest.mark.fault

ROOT = Path(__file__).resolve().parents[2]
COUNTS: Counter[str] = Counter()
CLAIMS = ROOT / "claims.yaml"

# --- what is done to a file

LEAVES = [
    *(None, True, 0, 1, -1, 0.5, -0.0, 1e300, float("nan"), float("inf"), 10**30, 2**63, 10**400),
    *("", " ", "none", "x", "a\nb", "\x1b[31m", "\u202e", "\ud800", "../x", "/x", "nan", "1e400", "9" * 5000, "{0}"),
    *([], {}, [[]], [None], [1, "a"], {"a": 1}, {"name": None}, [{"id": 1}], {"a": {"b": []}}),
]
PIECES = [
    *(b"", b"\n", b"\r", b"\t", b",", b'"', b"'", b":", b"{", b"}", b"[", b"]", b"- ", b"&a ", b"*a", b"!!x ", b"#"),
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\x1b[31m", b"\xe2\x80\xa8", b"\\ud800", b"null", b"NaN", b"-1", b"1e999"),
    *(b"9" * 30, b"9" * 5000, b"\xd9\xa3", b"1_0", b"nan", b"inf", b"<script>", b"../x", b"%s", b"{0}"),
]
spots = st.floats(0, 1, exclude_max=True)
edits = st.lists(st.tuples(spots, st.integers(0, 12), st.sampled_from(PIECES)), min_size=1, max_size=3)
changes = st.lists(
    st.tuples(spots, st.sampled_from(["value", "key", "gone", "more"]), st.sampled_from(LEAVES)), min_size=1, max_size=2
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to all parts of a tree but its root."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [
        *((*path, key) for key, _ in items),
        *(place for key, item in items for place in places(item, (*path, key))),
    ]


def with_changes(tree: Any, wanted: list[tuple[float, str, Any]]) -> Any:
    """Return a copy of a tree with values replaced, keys renamed, entries gone or added."""
    tree = json.loads(json.dumps(tree))
    for spot, how, leaf in wanted:
        value, found = copy.deepcopy(leaf), places(tree)
        if not found:
            return value
        *path, key = found[int(spot * len(found))]
        here = tree
        for step in path:
            here = here[step]
        if how == "gone":
            del here[key]
        elif how == "key" and isinstance(here, dict):
            here[str(value)[:20]] = here.pop(key)
        elif how == "more":
            here.append(value) if isinstance(here, list) else here.update({str(value)[:20]: value})
        else:
            here[key] = value
    return tree


def with_edits(content: bytes, wanted: list[tuple[float, int, bytes]]) -> bytes:
    """Return bytes with pieces replaced."""
    for spot, removed, piece in wanted:
        start = int(spot * (len(content) + 1))
        content = content[:start] + piece + content[start + removed :]
    return content


def with_cells(content: bytes, wanted: list[tuple[float, str, Any]]) -> bytes:
    """Return a CSV file with cells replaced, columns renamed, rows gone or twice."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    for spot, how, value in wanted:
        row = rows[int(spot * len(rows))]
        text = '"' + str(value).encode("utf-8", "replace").decode().replace('"', '""') + '"'
        column = int(spot * 997) % len(row)
        if how == "value":
            row[column] = text
        elif how == "key":
            rows[0][column % len(rows[0])] = text
        elif how == "gone":
            rows = [other for other in rows if other is not row] or [[text]]
        else:
            rows.append(list(row))
    return "\n".join(",".join(row) for row in rows).encode() + b"\n"


def with_columns(path: Path, wanted: list[tuple[float, str, Any]]) -> bytes:
    """Return a parquet file with a column of other values, of another name, gone, or with rows twice."""
    frame = pd.read_parquet(path)
    for spot, how, value in wanted:
        if not len(frame.columns):
            break
        column = frame.columns[int(spot * len(frame.columns))]
        if how == "value":
            values = frame[column].astype(object).tolist()
            values[int(spot * 997) % len(values)] = value
            frame[column] = values
        elif how == "key":
            frame = frame.rename(columns={column: "other"})
        elif how == "gone":
            frame = frame.drop(columns=column) if spot < 0.5 else frame.iloc[:-1]
        else:
            frame = pd.concat([frame, frame.iloc[:1]], ignore_index=True)
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return sink.getvalue()


def refusal(call: Any) -> str | None:
    """Call a reader; return what it refused its file with, if it did."""
    try:
        call()
    except InputError as error:
        return str(error)
    return None


@pytest.fixture(autouse=True, scope="module")
def counted():
    """Note what was mangled, once all of it was survived."""
    COUNTS.clear()
    yield
    for what, times in COUNTS.items():
        note(f"mangled bytes or content of {what}", times, test="property/test_mangled.py")


def check(call: Any, folder: Path, what: str, many: bool = False) -> None:
    """Call a reader of something: it succeeds or raises an InputError of one printable line that names a file."""
    COUNTS[what] += 1
    if (message := refusal(call)) is None:
        return
    lines = message.split("\n")
    assert many or len(lines) == 1, lines
    for line in lines:
        assert line.isprintable(), repr(line)
        assert len(line) <= LONGEST, line[:200]
        assert str(folder) in line, line


class Mangled:
    """Files of a folder, one of which is changed for a moment."""

    def __init__(self, path: Path) -> None:
        self.path, self.content = path, path.read_bytes()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.path.write_bytes(self.content)

    def write(self, how: tuple[str, Any]) -> None:
        """Change the file by bytes, or by what it holds."""
        kind, wanted = how
        if kind == "bytes":
            content = with_edits(self.content, wanted)
        elif kind == "cut":
            content = self.content[: int(wanted * len(self.content))]
        else:
            content = self._of_kind(wanted)
        self.path.write_bytes(content)

    def _of_kind(self, wanted: Any) -> bytes:
        match self.path.suffix:
            case ".json":
                return json.dumps(with_changes(json.loads(self.content), wanted)).encode()
            case ".yaml":
                text = yaml.safe_dump(with_changes(yaml.safe_load(self.content), wanted), allow_unicode=False)
                return text.encode("utf-8", "surrogatepass")
            case ".csv":
                return with_cells(self.content, wanted)
            case ".parquet":
                try:
                    return with_columns(self.path, wanted)
                except Exception:  # pandas or pyarrow will not write such a column
                    return with_edits(self.content, [(spot, 1, b"\xff") for spot, *_ in wanted])
        return with_edits(self.content, [(spot, 1, str(value).encode("utf-8", "replace")) for spot, _, value in wanted])


hows = st.one_of(
    st.tuples(st.just("bytes"), edits),
    st.tuples(st.just("cut"), spots),
    st.tuples(st.just("content"), changes),
    st.tuples(st.just("content"), changes),
)

# --- configurations and claims


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mangled")


@settings(max_examples=60)
@given(st.sampled_from([ROOT / "config.yaml", *sorted((ROOT / "experiments").glob("*.yaml"))]), hows)
def test_configurations(folder, original, how):
    path = folder / "study.yaml"
    shutil.copyfile(original, path)
    mangled = Mangled(path)
    mangled.write(how)
    check(partial(load_file, path), path, "a configuration", many=True)


@settings(max_examples=60)
@given(hows)
def test_claims(folder, how):
    path = folder / "claims.yaml"
    shutil.copyfile(CLAIMS, path)
    Mangled(path).write(how)
    check(partial(read_claims, path), path, "claims", many=True)


# --- what runs leave, and what is made of it


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A whole study: records, probes, metrics, verdicts, figures."""
    folder = tmp_path_factory.mktemp("study")
    tasks, strategies = ["rt-snippets", "conll2003"], ["none", "random"]
    runs = [
        synthetic.write_run(folder, task, strategy, seed, examples=12, regime=regime, probes=True, status=status)
        for task, regime in zip(tasks, ["single", "after-rt-snippets"], strict=True)
        for strategy in strategies
        for seed, status in ((1, "completed"), (2, "crashed" if strategy == "random" else "completed"))
    ]
    collect("synthetic", folder, runs, folder, probed=True)
    outcomes = pd.read_parquet(folder / "outcomes.parquet")  # its made-up test-time sets do not add up to the records
    outcomes[outcomes["set"] == "test"].to_parquet(folder / "outcomes.parquet", index=False)
    compare_files(folder / "metrics.csv", None, folder / "analysis/comparisons.csv", Settings("none", 20, 0.95, 0))
    synthetic.write_experiment(folder / "experiment.json", synthetic.experiment(tasks, strategies, 2))
    claims = yaml.safe_load(CLAIMS.read_text())
    few = {"claims": [claim for claim in claims["claims"] if claim["id"] == "C02"], "gates": claims["gates"][:1]}
    (folder / "claims.yaml").write_text(yaml.safe_dump(claims | few))
    verdicts(folder, folder)
    captions = {name: {"title": name, "why": "no data"} for name in FIGURES}
    first = next(iter(FIGURES))
    captions[first] = {"title": "a", "caption": "b"}
    (folder / "figures").mkdir()
    (folder / "figures/captions.json").write_text(json.dumps(captions))
    (folder / f"figures/{first}.svg").write_text('<svg width="10pt" height="10pt"></svg>')
    return folder, runs


def verdicts(folder, output):
    """Make the verdicts of a study."""
    made = [folder / name for name in ("metrics.csv", "outcomes.parquet", "manifest.json", "claims.yaml")]
    write_verdicts(*made, output, resamples=20, seed=0)


def gather(folder, runs):
    """Collect a study into another folder."""
    collect("synthetic", folder, runs, folder / "again", probed=True)


def page(folder, runs):
    """Write the page, tables included."""
    write_page(folder, read_experiment(folder / "experiment.json"), "snakemake")


def decide(folder, runs):
    """Compare, and judge, into another folder."""
    outcomes, comparisons = folder / "outcomes.parquet", folder / "again/comparisons.csv"
    compare_files(folder / "metrics.csv", outcomes, comparisons, Settings("none", 20, 0.95, 0))
    verdicts(folder, folder / "again")


def forecast(folder, runs):
    """Plan a study with what this one recorded."""
    claims = read_claims(folder / "claims.yaml")
    recorded = Recorded.read(folder, claims, resamples=20)
    plan(synthetic.experiment(["rt-snippets"], ["none", "random"], 2), claims, recorded)


LEFT = [f"{stage}/*/metrics.json" for stage in ("training", "probes")]
LEFT += ["training/*/predictions.parquet", "probes/*/outcomes.parquet"]


@settings(max_examples=80)
@given(st.sampled_from(LEFT), spots, hows)
def test_what_runs_leave(study, pattern, spot, how):
    folder, runs = study
    paths = sorted(folder.glob(pattern))
    mangled = Mangled(paths[int(spot * len(paths))])
    with mangled:
        mangled.write(how)
        check(partial(gather, folder, runs), folder, "a run's metrics.json or outcomes")


RESULTS = (
    *("metrics.csv", "along.csv", "outcomes.parquet", "manifest.json", "verdicts.csv", "experiment.json"),
    *("analysis/comparisons.csv", "analysis/pairs.csv", "analysis/gates.csv", "analysis/sensitivity.csv"),
    *("analysis/claims.json", "figures/captions.json"),
)


@settings(max_examples=45)
@given(st.sampled_from(RESULTS), hows)
def test_what_a_study_is_reported_from(study, name, how):
    folder, runs = study
    mangled = Mangled(folder / name)
    with mangled:
        mangled.write(how)
        check(partial(page, folder, runs), folder, "a study's results")


@settings(max_examples=20)
@given(st.sampled_from(["metrics.csv", "outcomes.parquet", "manifest.json", "analysis/pairs.csv"]), hows)
def test_what_a_study_is_judged_from(study, name, how):
    folder, runs = study
    mangled = Mangled(folder / name)
    with mangled:
        mangled.write(how)
        check(partial(decide, folder, runs), folder, "a study's results")
        check(partial(forecast, folder, runs), folder, "a study's results")


# --- data, models and archives


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Fetched, prepared and encoded tasks of both kinds, and a model."""
    folder = tmp_path_factory.mktemp("data")
    tasks = {"texts": (make_task(max_length=16), "train.csv", csv_of_texts(40))}
    tasks["names"] = (make_tagging(max_length=16), "train.txt", conll_of_sentences(40))
    model = make_model(folder / "model")
    for name, (task, file, content) in tasks.items():
        make_source(folder / name / "source", {file: content})
        prepare(task, folder / name / "source", folder / name / "prepared")
        encode(task, folder / name / "prepared", model, folder / name / "encoded")
    return folder, {name: task for name, (task, *_) in tasks.items()}


def again(folder, tasks, name):
    """Prepare, shift, encode and read a task again."""
    here, out = folder / name, folder / "again"
    prepare(tasks[name], here / "source", out / "prepared")
    shift(["distractor", "swap-10"], here / "prepared", out / "shifted")
    load_prepared(here / "prepared")
    load_encoded(here / "encoded")


FILES = ["source/*", "prepared/manifest.json", "prepared/*.parquet", "encoded/manifest.json", "encoded/**/*.arrow"]


@settings(max_examples=60)
@given(st.sampled_from(["texts", "names"]), st.sampled_from(FILES), spots, hows)
def test_data(data, name, pattern, spot, how):
    folder, tasks = data
    paths = sorted(folder.glob(f"{name}/{pattern}"))
    mangled = Mangled(paths[int(spot * len(paths))])
    with mangled:
        mangled.write(how)
        check(partial(again, folder, tasks, name), folder, "fetched, prepared or encoded text")


INDEX = {"metadata": {"total_size": 1}, "weight_map": {"a": "model.safetensors"}}


@settings(max_examples=35)
@given(st.sampled_from(["config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json"]), hows)
def test_models(data, name, how):
    folder, tasks = data
    local = shutil.copytree(folder / "model", folder / "local", dirs_exist_ok=True)
    (local / "model.safetensors.index.json").write_text(json.dumps(INDEX))
    (local / "source.json").unlink(missing_ok=True)
    Mangled(local / name).write(how)
    model = FetchedModel.model_validate({"name": "mine", "source": {"local": str(local)}})
    check(partial(fetch_model, model, folder / "fetched", folder), local, "a model")
    shutil.rmtree(folder / "fetched", ignore_errors=True)
    call = partial(encode, tasks["texts"], folder / "texts/prepared", local, folder / "again/encoded")
    check(call, folder, "a model")


def archive(form: str) -> bytes:
    """Return an archive of a few files."""
    stream, files = io.BytesIO(), {"a/x.csv": b"text,label\n" * 20, "a/y.json": b"{}", "z": b""}
    if form == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, content in files.items():
                opened.writestr(name, content)
    else:
        with tarfile.open(fileobj=stream, mode=f"w:{form}") as opened_tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                opened_tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


ARCHIVES = {form: archive(form) for form in ("zip", "", "gz", "bz2", "xz")}


@settings(max_examples=400)
@given(st.sampled_from(sorted(ARCHIVES)), st.one_of(edits, spots))
def test_archives(folder, form, how):
    content, path = ARCHIVES[form], folder / "archive"
    path.write_bytes(content[: int(how * len(content))] if isinstance(how, float) else with_edits(content, how))
    out = folder / "unpacked"

    def unpack():
        with open_archive(path, str(path)) as opened:
            for name in opened.below("a"):
                opened.copy(f"a/{name}", out / name)

    check(unpack, path, "an archive")
    beside = {item.name for item in folder.iterdir()} - {"archive", "unpacked", "study.yaml", "claims.yaml"}
    assert not beside
