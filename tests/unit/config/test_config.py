"""Configurations: what is accepted, and the one line that every kind of mistake gets."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic_core import to_jsonable_python

from maskbench.config.block import ConfigBlock
from maskbench.config.corpora import Corpus, Packing
from maskbench.config.kinds import TASK_KINDS
from maskbench.config.measures import MEASURES, measure
from maskbench.config.tasks import Task
from maskbench.config.training import Training, TrainingOverrides, TrainingPlan
from maskbench.errors import InputError
from maskbench.experiment import catalogue, document
from maskbench.experiment.cell import Cell, cells
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.load import load, load_file, read_yaml
from maskbench.experiment.presets import presets
from maskbench.kinds import score
from maskbench.masks.base import FAMILIES, Mask
from maskbench.masks.registry import find, kinds
from tests.helpers.questions import make_questions

SMALL: dict[str, Any] = {
    "study": "small",
    "tasks": ["conll2003"],
    "models": ["minilm-l6"],
    "strategies": ["none"],
    "seeds": [1],
}
CONLL = {"preset": "conll2003"}
SNIPPETS = {"preset": "rt-snippets"}
OWN = {"name": "own", "kind": "sequence-classification"}
HUB = {"hub": "someone/something", "revision": "0" * 40, "splits": {"train": "train"}}
KEYS = ", ".join(Experiment.model_fields)


def known(family: str) -> str:
    """The kinds of a family, as messages list them."""
    return ", ".join(kinds(family))  # type: ignore[arg-type]


def strategy(**slots: Any) -> dict[str, Any]:
    return {"strategies": ["none", {"name": "mine", **slots}]}


MISTAKES: dict[str, tuple[dict[Any, Any], str]] = {
    "unknown key, near one that exists": ({"sedes": [2]}, "(top level): unknown key sedes; did you mean seeds?"),
    "unknown key": ({"colour": 1}, f"(top level): unknown key colour; expected one of {KEYS}"),
    "key that is no text": ({7: 1}, f"(top level): unknown key 7; expected one of {KEYS}"),
    "unknown key in a block": (
        {"training": {"lerning_rate": 1}},
        "training: unknown key lerning_rate; did you mean learning_rate?",
    ),
    "unknown key of a mask": (
        strategy(input={"kind": "random", "rte": 0.1}),
        "strategies[1] (mine).input: unknown key rte; did you mean rate?",
    ),
    "text for a number": ({"training": {"batch_size": "32"}}, "training.batch_size: expected a whole number, got '32'"),
    "fraction for a count": (
        {"training": {"batch_size": 3.5}},
        "training.batch_size: expected a whole number, got 3.5",
    ),
    "quoted decimal": ({"training": {"warmup": "0.5"}}, "training.warmup: expected a number, got '0.5'"),
    "truth value for a number": ({"training": {"epochs": True}}, "training.epochs: expected a number, got true"),
    "number for text": ({"study": 5}, "study: expected text, got 5"),
    "text for a truth value": ({"keep_models": "yes"}, "keep_models: expected true or false, got 'yes'"),
    "nothing": ({"question": None}, "question: expected text, got nothing"),
    "scalar for a list": ({"tasks": "conll2003"}, "tasks: expected a list, got 'conll2003'"),
    "list for a block": ({"training": [1]}, "training: expected a mapping, got [1]"),
    "number for an entry": ({"tasks": [5]}, "tasks[0]: expected the name of a preset, or a mapping, got 5"),
    "NaN": ({"training": {"learning_rate": float("nan")}}, "training.learning_rate: expected a finite number, got nan"),
    "infinity": ({"training": {"epochs": float("inf")}}, "training.epochs: expected a finite number, got inf"),
    "zero learning rate": (
        {"training": {"learning_rate": 0}},
        "training.learning_rate: expected a number above 0.0, got 0",
    ),
    "unknown task": (
        {"tasks": ["sst"]},
        "tasks[0] (sst): expected one of the presets conll2003, newsgroups20, r8, rt-snippets, "
        "rt-snippets-random, sst2, got 'sst'",
    ),
    "unknown model": (
        {"models": ["bert"]},
        "models[0] (bert): expected one of the presets bert-base-uncased, bert-tiny, bert-tiny-mlm, minilm-l6, "
        "got 'bert'",
    ),
    "unknown kind of mask": (
        strategy(input={"kind": "rondom"}),
        f"strategies[1] (mine).input: expected kind to be one of the input masks {known('input')}, "
        "got {'kind': 'rondom'}",
    ),
    "kind that is no text": (
        strategy(input={"kind": ["random"]}),
        f"strategies[1] (mine).input: expected kind to be one of the input masks {known('input')}, "
        "got {'kind': ['random']}",
    ),
    "mask of another family": (
        strategy(parameter="static"),
        f"strategies[1] (mine).parameter: expected kind to be one of the parameter masks {known('parameter')}, "
        "got 'static'",
    ),
    "no tasks": ({"tasks": []}, "tasks: expected at least one entry"),
    "no models": ({"models": []}, "models: expected at least one entry"),
    "no strategies": ({"strategies": []}, "strategies: expected at least one entry"),
    "no seeds": ({"seeds": []}, "seeds: expected at least one entry"),
    "no train sizes": ({"train_sizes": []}, "train_sizes: expected at least one entry"),
    "task twice": ({"tasks": ["conll2003", CONLL]}, "tasks: expected each entry once, found conll2003 twice"),
    "strategy twice": (
        {"strategies": ["none", "static", {"name": "static"}]},
        "strategies: expected each entry once, found static twice",
    ),
    "one cue": ({"cue": {"words": ["limestone"]}}, "cue.words: expected at least 2 entries"),
    "seed twice": ({"seeds": [1, 2, 1]}, "seeds: expected each entry once, found 1 twice"),
    "rate above 1": (
        strategy(input={"kind": "random", "rate": 1.5}),
        "strategies[1] (mine).input.rate: expected a number of at most 1.0, got 1.5",
    ),
    "rate below 0": (
        strategy(input={"kind": "static", "rate": -0.1}),
        "strategies[1] (mine).input.rate: expected a number of at least 0.0, got -0.1",
    ),
    "negative layers": (
        strategy(parameter={"kind": "freeze", "layers": -1}),
        "strategies[1] (mine).parameter.layers: expected a number of at least 0, got -1",
    ),
    "name that leaves the folder": (
        {"study": "../x"},
        "study: expected lower-case letters, digits and single hyphens, got '../x'",
    ),
    "name with a line break": (
        {"study": "x\n"},
        "study: expected lower-case letters, digits and single hyphens, got 'x\\n'",
    ),
    "name with a dot": (
        {"strategies": [{"preset": "none", "name": "a.b"}]},
        "strategies[0] (a.b).name: expected lower-case letters, digits and single hyphens, got 'a.b'",
    ),
    "long name": ({"study": "x" * 41}, f"study: expected at most 40 characters, got '{'x' * 41}'"),
    "baseline that is not there": (
        {"baseline": "zero"},
        "(top level): baseline is 'zero', which is not among the strategies none",
    ),
    "unknown choice": (
        {"training": {"precision": "fp8"}},
        "training.precision: expected 'auto', 'fp32' or 'bf16', got 'fp8'",
    ),
    "unknown regime": ({"regimes": ["all"]}, "regimes[0] (all): expected 'single', 'sequential' or 'joint', got 'all'"),
    "train size of zero": (
        {"train_sizes": [0]},
        "train_sizes[0]: expected a whole number of at least 1, or full, got 0",
    ),
    "train size in words": (
        {"train_sizes": ["all"]},
        "train_sizes[0] (all): expected a whole number of at least 1, or full, got 'all'",
    ),
    "negative seed": ({"seeds": [-1]}, "seeds[0]: expected a number of at least 0, got -1"),
    "seed that NumPy refuses": ({"seeds": [2**32]}, "seeds[0]: expected a number below 4294967296, got 4294967296"),
    "batches that do not divide": (
        {"training": {"batch_size": 32, "gradient_accumulation": 3}},
        "training: batch_size 32 must be divisible by gradient_accumulation 3",
    ),
    "batches of a task that do not divide": (
        {"tasks": [CONLL | {"training": {"batch_size": 30}}], "training": {"gradient_accumulation": 4}},
        "training of task conll2003 and model minilm-l6 together: "
        "batch_size 30 must be divisible by gradient_accumulation 4",
    ),
    "batches of a strategy that do not divide": (
        strategy(training={"batch_size": 30}) | {"training": {"gradient_accumulation": 4}},
        "training of strategy mine, task conll2003 and model minilm-l6 together: "
        "batch_size 30 must be divisible by gradient_accumulation 4",
    ),
    "more texts than tuning leaves": (
        {
            "tasks": [OWN | {"source": {"synthetic": "classification", "train": 100}}],
            "train_sizes": [60],
            "tune": {"learning_rates": [0.1, 1.0], "seeds": [2], "train_size": 30, "validation_size": 20},
        },
        "train_sizes[0]: the task own has at most 100 training texts, of which 50 are set apart for tuning, got 60",
    ),
    "tracker that is no name": (
        {"training": {"report_to": ["W&B"]}},
        "training.report_to[0] (W&B): expected 'clearml', 'codecarbon', 'comet_ml', 'dvclive', 'mlflow', 'neptune', "
        "'swanlab', 'tensorboard', 'trackio' or 'wandb', got 'W&B'",
    ),
    "tracker that is not installed": (
        {"training": {"report_to": ["neptune"]}},
        "training.report_to[0] (neptune): expected an installed package; pip install neptune",
    ),
    "confidence of 1": ({"analysis": {"confidence": 1.0}}, "analysis.confidence: expected a number below 1.0, got 1.0"),
    "no kind of source": (
        {"tasks": [CONLL | {"source": {"path": "x"}}]},
        "tasks[0] (conll2003).source: expected a source with one of the keys package, local, hub or synthetic, "
        "got {'path': 'x'}",
    ),
    "source that is a word": (
        {"tasks": [CONLL | {"source": "here"}]},
        "tasks[0] (conll2003).source: expected a source with one of the keys package, local, hub or synthetic, "
        "got 'here'",
    ),
    "synthetic model": (
        {"models": [{"name": "m", "source": {"synthetic": "tagging"}}]},
        "models[0] (m).source: expected a source with one of the keys package, local or hub, "
        "got {'synthetic': 'tagging'}",
    ),
    "synthetic text of another kind": (
        {"tasks": [{"name": "t", "kind": "token-classification", "source": {"synthetic": "classification"}}]},
        "tasks[0] (t): source.synthetic: classification is no token-classification task",
    ),
    "synthetic text from files": (
        {"tasks": [CONLL | {"source": {"synthetic": "tagging"}}]},
        "tasks[0] (conll2003): source.synthetic writes files of its own; leave format and files out",
    ),
    "synthetic text of nine classes": (
        {"tasks": [{"name": "t", "kind": "token-classification", "source": {"synthetic": "tagging", "classes": 9}}]},
        "tasks[0] (t).source.classes: expected a number of at most 8, got 9",
    ),
    "short hash": (
        {"tasks": [CONLL | {"source": {"package": "p", "version": "1", "sha256": "abc"}}]},
        "tasks[0] (conll2003).source.sha256: expected a SHA-256 of 64 hexadecimal digits, got 'abc'",
    ),
    "no hash": (
        {"tasks": [CONLL | {"source": {"package": "p", "version": "1"}}]},
        "tasks[0] (conll2003).source.sha256: this key is missing",
    ),
    "branch for a commit": (
        {"models": [{"name": "m", "source": {"hub": "a/b", "revision": "main"}}]},
        "models[0] (m).source.revision: expected a commit hash of 40 hexadecimal digits, got 'main'",
    ),
    "hub source without a training split": (
        {"tasks": [OWN | {"source": HUB | {"splits": {"test": "test"}}}]},
        "tasks[0] (own): source.splits needs an entry for train",
    ),
    "no format": (
        {"tasks": [OWN | {"source": {"local": "."}}]},
        "tasks[0] (own): format is needed for files: csv, tsv, jsonl, json or conll",
    ),
    "no training file": (
        {"tasks": [OWN | {"source": {"local": "."}, "format": "csv", "files": {"test": "x.csv"}}]},
        "tasks[0] (own): files needs an entry for train",
    ),
    "unknown split": (
        {"tasks": [OWN | {"source": HUB, "files": {"dev": "x.csv"}}]},
        "tasks[0] (own).files.dev: expected 'train', 'validation' or 'test', got 'dev'",
    ),
    "format of another kind of task": (
        {"tasks": [OWN | {"source": {"local": "."}, "format": "conll", "files": {"train": "x"}}]},
        "tasks[0] (own): format conll does not hold a sequence-classification task",
    ),
    "no header, no names": (
        {"tasks": [OWN | {"source": {"local": "."}, "format": "csv", "header": False, "files": {"train": "x"}}]},
        "tasks[0] (own): header: false needs columns, the names of the columns in order",
    ),
    "CoNLL columns by name": (
        {"tasks": [CONLL | {"text": "word"}]},
        "tasks[0] (conll2003): format conll needs the indices of two columns, such as text: 0 and label: -1",
    ),
    "column that is neither name nor index": (
        {"tasks": [SNIPPETS | {"text": 1.5}]},
        "tasks[0] (rt-snippets).text: expected the name of a column, or its index, got 1.5",
    ),
    "labels that YAML reads as truth values": (
        {"tasks": [SNIPPETS | {"labels": [False, "yes"]}]},
        "tasks[0] (rt-snippets).labels[0]: expected text, got false",
    ),
    "cut that takes everything": (
        {"tasks": [SNIPPETS | {"cut": {"validation": 0.5, "test": 0.5}}]},
        "tasks[0] (rt-snippets).cut: validation 0.5 and test 0.5 leave nothing to train on",
    ),
    "folder that is not there": (
        {"tasks": [CONLL | {"source": {"local": "/no/such/folder"}}]},
        "tasks[0] (conll2003).source.local: expected an existing file, /no/such/folder does not exist "
        f"(relative paths start at {Path.cwd()})",
    ),
    "model folder that is not there": (
        {"models": [{"name": "m", "source": {"local": "/no/such"}}]},
        "models[0] (m).source.local: expected an existing file, /no/such/config.json does not exist "
        f"(relative paths start at {Path.cwd()})",
    ),
    "long value": (
        {"study": ["y" * 100]},
        f"study: expected text, got ['{'y' * 55}...",
    ),
}


@pytest.mark.parametrize(("change", "line"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_gets_one_line(change: dict[Any, Any], line: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(SMALL | change))
    with pytest.raises(InputError) as error:
        load_file(file)
    assert str(error.value) == f"{file}: {line}"


def test_each_of_several_mistakes_gets_its_line() -> None:
    with pytest.raises(InputError) as error:
        load(SMALL | {"seeds": [-1], "training": {"epochs": 0, "batch_size": 0}, "models": []})
    places = [line.split(": ")[1] for line in str(error.value).splitlines()]
    assert places == ["models", "seeds[0]", "training.epochs", "training.batch_size"]


def test_missing_keys_are_named() -> None:
    with pytest.raises(InputError) as error:
        load({})
    lines = [f"configuration: {key}: this key is missing" for key in SMALL]
    assert str(error.value).splitlines() == lines


def test_missing_file_of_a_split_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("EU B-ORG\n")
    (tmp_path / "valid.txt").write_text("EU B-ORG\n")
    with pytest.raises(InputError, match=r"^[^\n]*/test\.txt does not exist[^\n]*$"):
        load(SMALL | {"tasks": [CONLL | {"source": {"local": str(tmp_path)}}]})
    (tmp_path / "test.txt").write_text("EU B-ORG\n")
    load(SMALL | {"tasks": [CONLL | {"source": {"local": str(tmp_path)}}]})


PLAIN = "; write a number without leading zeros or colons, text in quotes"
BROKEN_YAML = {
    "key twice": ("study: a\nseeds: [1]\nstudy: b\n", "line 3: not valid YAML: key 'study' stands twice"),
    "key twice, deep": (
        "training:\n  epochs: 1\n  warmup: 0\n  epochs: 2\n",
        "line 4: not valid YAML: key 'epochs' stands twice",
    ),
    "list as a key": ("? [a, b]\n: 1\n", "line 1: not valid YAML: a key must be plain text"),
    "two documents": ("study: a\n---\nstudy: b\n", "line 2: not valid YAML: but found another document"),
    "no closing bracket": (
        "seeds: [1, 2\nstudy: a\n",
        "line 2: not valid YAML: expected ',' or ']', but got ':'",
    ),
    "tab": ("training:\n\tepochs: 1\n", "line 2: not valid YAML: found character '\\t' that cannot start any token"),
    "undefined alias": ("study: *a\n", "line 1: not valid YAML: found undefined alias 'a'"),
    "python object": (
        "study: !!python/object/apply:os.system [ls]\n",
        "line 1: not valid YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system'",
    ),
    "month 13": ("study: 2020-13-01\n", "not valid YAML: a value cannot be read (month must be in 1..12)"),
    "truth value that is none": ("study: !!bool maybe\n", "not valid YAML: a value does not fit its tag (!!...)"),
    "octal": ("study: a\nseeds: [1, 010]\n", f"line 2: not valid YAML: 010 would be 8{PLAIN}"),
    "a code": ("study: 007\n", f"line 1: not valid YAML: 007 would be 7{PLAIN}"),
    "a time": ("labels: [1:30]\n", f"line 1: not valid YAML: 1:30 would be 90{PLAIN}"),
    "half a minute": ("rate: 1:30.5\n", f"line 1: not valid YAML: 1:30.5 would be 90.5{PLAIN}"),
    "nested too deeply": ("study: " + "[" * 5000, "not valid YAML: nested too deeply"),
    "empty": ("", "expected a mapping of keys, found nothing"),
    "only a comment": ("# study: a\n", "expected a mapping of keys, found nothing"),
    "a list": ("- study\n", "expected a mapping of keys, found ['study']"),
    "a word": ("study\n", "expected a mapping of keys, found 'study'"),
}


@pytest.mark.parametrize(("text", "line"), BROKEN_YAML.values(), ids=BROKEN_YAML)
def test_broken_yaml_gets_one_line(text: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        load_file(file)
    assert str(error.value) == f"{file}: {line}"


def test_unreadable_files_get_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"study: caf\xe9\n")
    (tmp_path / "nul.yaml").write_bytes(b"study: a\0b\n")
    (tmp_path / "big.yaml").write_text("study: " + "9" * 5000)
    for name, expectation in {
        "absent.yaml": "cannot be read: No such file or directory",
        "latin.yaml": "expected UTF-8 text",
        "nul.yaml": "not valid YAML: unacceptable character #x0000: special characters are not allowed",
        "big.yaml": "not valid YAML: a value cannot be read (Exceeds the limit",
    }.items():
        with pytest.raises(InputError) as error:
            load_file(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: {expectation}")
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="Is a directory"):
        load_file(tmp_path)
    (tmp_path / "hex.yaml").write_text(yaml.safe_dump(SMALL | {"seeds": [1]}).replace("- 1\n", f"- 0x{'f' * 9000}\n"))
    with pytest.raises(InputError, match=r"seeds\[0\]: expected .* got something unprintable \(int\)$"):
        load_file(tmp_path / "hex.yaml")


def test_the_key_that_stands_twice_is_found_behind_a_merged_config(tmp_path: Path) -> None:
    """Snakemake has already merged the files when `load` sees them; the doubled key is only in the file."""
    (tmp_path / "x.yaml").write_text("seeds: [1]\nseeds: [2]\n")
    with pytest.raises(InputError, match="line 2: not valid YAML: key 'seeds' stands twice"):
        load(SMALL, [tmp_path / "x.yaml"])


def test_merge_keys_override_without_being_doubled_keys(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: {q: &b {<<: &a {x: 1, y: 1}, x: 2}}\nc: {<<: *b, x: 3}\nd: {<<: [*a, *b]}\n")
    assert read_yaml(file) == {"a": {"q": {"x": 2, "y": 1}}, "c": {"x": 3, "y": 1}, "d": {"x": 1, "y": 1}}


def test_exponents_without_a_dot_are_numbers() -> None:
    config = SMALL | yaml.safe_load("training: {learning_rate: 5e-5, weight_decay: 1E+1}")
    training = load(config).training
    assert (training.learning_rate, training.weight_decay) == (5e-5, 10.0)


def test_an_empty_block_has_its_defaults() -> None:
    assert load(SMALL | {"training": None, "analysis": None, "resources": None}) == load(SMALL)


def test_presets_are_valid_and_can_be_changed() -> None:
    known = presets()
    plain = load(SMALL | {kind: list(known[kind]) for kind in ("tasks", "models")})
    assert [task.name for task in plain.tasks] == list(known["tasks"])
    # some masks need a masked-LM head, some gold mentions, one rows of two texts
    names = [name for name in known["strategies"] if name != "question-words"]
    masked = {"tasks": ["conll2003"], "models": ["bert-base-uncased"], "strategies": names}
    assert [strategy.name for strategy in load(SMALL | masked).strategies] == names
    asked = {"tasks": [make_questions().model_dump(mode="json")], "strategies": ["none", "question-words"]}
    assert load(SMALL | asked, runs_here=False).strategies[1].input.kind == "segment"
    changed = load(SMALL | {"tasks": [CONLL | {"name": "short", "max_length": 32}]}).tasks[0]
    whole = load(SMALL).tasks[0]
    assert changed.name == "short"
    assert changed.model_copy(update={"name": whole.name, "max_length": whole.max_length}) == whole
    corpora = [Corpus.model_validate({"name": name, **entry}) for name, entry in known["corpora"].items()]
    assert Packing(corpora=corpora, vocabulary=8000).length == 128


def test_blocks_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(SMALL).seeds = [2]  # type: ignore[misc]


# --- cells


def test_cells_are_the_product_in_order_with_unique_names() -> None:
    experiment = load(
        SMALL
        | {
            "tasks": ["conll2003", "rt-snippets"],
            "strategies": ["none", "random"],
            "train_sizes": [100, "full"],
            "seeds": [3, 1],
        }
    )
    names = [cell.run for cell in cells(experiment)]
    assert len(names) == len(set(names)) == 16
    assert names[0] == "conll2003.minilm-l6.none.single.clean.n100.s3"
    assert names[-1] == "rt-snippets.minilm-l6.random.single.clean.full.s1"


def test_hyperparameters_are_resolved_model_then_task_then_strategy() -> None:
    config = SMALL | {
        "training": {"epochs": 1.0, "batch_size": 8, "learning_rate": 1e-3, "warmup": 0.5},
        "models": [{"preset": "minilm-l6", "training": {"epochs": 2.0, "batch_size": 16, "learning_rate": 2e-3}}],
        "tasks": [CONLL | {"training": {"epochs": 3.0, "learning_rate": 3e-3}}],
        "strategies": ["none", {"name": "slow", "training": {"learning_rate": 4e-3, "early_stopping": 2}}],
    }
    none, slow = (cell.training for cell in cells(load(config)))
    assert (none.epochs, none.batch_size, none.learning_rate, none.warmup) == (3.0, 16, 3e-3, 0.5)
    assert slow == none.model_copy(update={"learning_rate": 4e-3, "early_stopping": 2})


def test_hyperparameters_of_a_preset_are_changed_one_by_one() -> None:
    entries = ({}, {"weight_decay": 0.1}, {"learning_rate": 5e-4}, {"learning_rate": None, "dropout": 0.0})
    lora = [{"preset": "lora", "name": f"lora-{place}", "training": entry} for place, entry in enumerate(entries)]
    config = SMALL | {"training": {"learning_rate": 3e-4}, "strategies": ["none", *lora]}
    plain, own, decayed, slower, shared = (cell.training for cell in cells(load(config)))
    assert plain.learning_rate == 3e-4
    assert own == plain.model_copy(update={"learning_rate": 1e-3})
    assert decayed == own.model_copy(update={"weight_decay": 0.1})
    assert slower == plain.model_copy(update={"learning_rate": 5e-4})
    assert shared == plain.model_copy(update={"dropout": 0.0})


def test_a_strategy_and_its_twins_take_every_override() -> None:
    """A strategy may differ from the baseline in hyperparameters alone; a factorial is made of such ones."""
    own = {
        **{"epochs": 4.0, "batch_size": 16, "gradient_accumulation": 2, "eval_batch_size": 4, "learning_rate": 3e-3},
        **{"scheduler": "cosine", "warmup": 0.3, "weight_decay": 0.2, "max_grad_norm": 0.5, "dropout": 0.4},
        **{"evaluations_per_epoch": 3, "selection": "last", "early_stopping": 2, "attention": "eager"},
        "gradient_checkpointing": True,
    }
    assert set(own) == set(TrainingOverrides.model_fields)
    singles = [{"name": key.replace("_", "-"), "training": {key: value}} for key, value in own.items()]
    all_of_them = {"name": "all", "input": {"kind": "random"}, "training": own, "twins": ["noise-twin"]}
    experiment = load(SMALL | {"strategies": ["none", *singles, all_of_them], "seeds": [1]})
    none, *found = (cell.training for cell in cells(experiment))
    expected = [*({key: value} for key, value in own.items()), own, own]  # the last one is the twin's
    assert found == [none.model_copy(update=update) for update in expected]


def test_a_cell_survives_json(root: Path) -> None:
    """A job gets its cell as JSON on the command line; masks of a subclass must not lose their parameters."""
    for cell in cells(load_file(root / "config.yaml")):
        text = cell.model_dump_json()
        assert Cell.model_validate_json(text) == cell
        assert json.loads(text)["strategy"]["name"] == cell.strategy.name
    frozen = next(cell for cell in cells(load(SMALL | strategy(parameter="freeze"))) if cell.strategy.parameter)
    assert json.loads(frozen.model_dump_json())["strategy"]["parameter"]["layers"] == 3


def test_what_does_not_change_a_tasks_text_leaves_its_jobs_alone() -> None:
    one = load(SMALL).tasks[0]
    other = one.model_copy(update={"training": TrainingOverrides(epochs=9.0), "citation": "x", "max_test": 5})
    assert one.content() == other.content()
    shorter = one.model_copy(update={"max_length": 7})
    assert shorter.content() == one.content()
    assert shorter.content(max_length=True) != one.content(max_length=True)
    assert one.model_copy(update={"label": 1}).content() != one.content()


def test_ten_thousand_cells_are_made_quickly() -> None:
    experiment = load(SMALL | {"strategies": ["none", "random", "static", "freeze"], "seeds": list(range(2500))})
    assert len({cell.run for cell in cells(experiment)}) == 10_000


# --- what is generated


def test_generated_files_say_what_the_code_says(root: Path) -> None:
    assert document.outdated(root) == [], "run `make schema`"


def _blocks(block: type[ConfigBlock] = ConfigBlock) -> list[type[ConfigBlock]]:
    return [kind for child in block.__subclasses__() for kind in (child, *_blocks(child))]


def test_every_key_of_every_block_has_a_docstring() -> None:
    inherited = {TrainingOverrides: set(TrainingOverrides.model_fields), Cell: set(Cell.model_fields)}
    bare = [
        f"{block.__name__}.{key}"
        for block in _blocks()
        if block.__module__.startswith("maskbench.")
        for key, field in block.model_fields.items()
        if not field.description
        and key not in inherited.get(block, set())
        and not (issubclass(block, Mask) and key == "kind")
    ]
    assert bare == []


def _documented(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Read a documented default again: key → (comment above it, value), for the keys at one depth."""
    found: dict[str, tuple[str, str]] = {}
    comment: list[str] = []
    for line in lines:
        bare = line.removeprefix("# ")
        key = bare.split(":")[0]
        if line and comment and key.isidentifier() and not bare.startswith(" "):
            found[key] = (" ".join(comment), bare.removeprefix(f"{key}:").strip())
            comment = []
        elif line.startswith("# "):
            comment.append(bare)
    return found


@pytest.mark.parametrize(("block", "key"), [(Experiment, None), (TrainingPlan, "training")], ids=["top", "training"])
def test_the_default_has_every_key_under_its_docstring(root: Path, block: type[ConfigBlock], key: str | None) -> None:
    """Checked from the text alone, without the code that writes it."""
    text = (root / "config.yaml").read_text().split("\n\n", 1)[1]
    lines = text.splitlines()
    if key is not None:
        start = lines.index(f"{key}:") + 1
        end = lines.index("", start)
        lines = [line.removeprefix("  ") for line in lines[start:end]]
    documented = _documented(lines)
    assert list(documented) == list(block.model_fields)
    written = yaml.safe_load(text)
    written = (written[key] or {}) if key else written
    for name, field in block.model_fields.items():
        comment, value = documented[name]
        assert comment == " ".join((field.description or "").split())
        default = field.get_default(call_default_factory=True)
        if name not in written and not isinstance(default, ConfigBlock):
            assert yaml.safe_load(value) == to_jsonable_python(default)


def test_the_default_is_written_back_as_it_is_read(root: Path) -> None:
    long = {"preset": "sst2", "name": "n" * 40, "citation": "c" * 80}
    values = SMALL | {"tasks": [long], "training": {"epochs": 1.0}}
    text = document.default_config(values)
    read = yaml.safe_load(text)
    assert read == values | dict.fromkeys(("cue", "probes", "analysis", "resources"))
    assert document.default_config(read) == text
    assert all(len(line) <= 120 for line in text.splitlines() if not line.startswith("  - {"))


def test_a_key_without_a_docstring_is_refused() -> None:
    class Bare(ConfigBlock):
        key: int = 1

    with pytest.raises(ValueError, match=r"key Bare\.key has no docstring"):
        list(document._lines(Bare, {}))


def test_overrides_are_training_made_optional() -> None:
    everything = {**Training.model_json_schema()["properties"]}
    for key, entry in TrainingOverrides.model_json_schema()["properties"].items():
        own = [option for option in entry["anyOf"] if option != {"type": "null"}]
        whole = {
            name: item for name, item in everything[key].items() if name not in ("default", "description", "title")
        }
        assert own == [option for option in whole.get("anyOf", [whole]) if option != {"type": "null"}]
    shared_by_all = {"compile", "group_by_length", "precision", "threads", "report_to"}
    assert set(Training.model_fields) - set(TrainingOverrides.model_fields) == shared_by_all


# --- the schema for editors


@pytest.fixture(scope="module")
def editor() -> jsonschema.Draft202012Validator:
    schema = json.loads(document.schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_accepts_the_experiments(editor: jsonschema.Draft202012Validator, root: Path) -> None:
    files = [root / "config.yaml", *sorted((root / "experiments").glob("*.yaml"))]
    assert len(files) > 1
    for file in files:
        assert [error.message for error in editor.iter_errors(read_yaml(file))] == []
        # these read a folder of the user's own: nothing of it is here
        load(read_yaml(file), [file], runs_here=file.stem not in ("questions", "reference-sst2"))
        first = file.read_text().splitlines()[0]
        target = first.removeprefix("# yaml-language-server: $schema=")
        assert (file.parent / target).resolve() == root / "config.schema.json"


def test_the_schema_accepts_every_way_to_write_an_entry(editor: jsonschema.Draft202012Validator) -> None:
    config = SMALL | {
        "tasks": ["conll2003", SNIPPETS | {"name": "b"}, OWN | {"source": HUB}],
        "models": [
            "minilm-l6",
            {"preset": "minilm-l6", "name": "again"},
            {"name": "m", "source": HUB | {"splits": {}}},
        ],
        "strategies": [
            "none",
            {"name": "a", "input": "random"},
            *strategy(parameter={"kind": "freeze"})["strategies"][1:],
        ],
        "train_sizes": [5, "full"],
        "training": None,
    }
    assert [error.message for error in editor.iter_errors(config)] == []
    load(config)


# What only the whole can tell (duplicates, names that refer to each other, files on disk) is left to `load`.
LEFT_TO_LOAD = {
    "task twice",
    "strategy twice",
    "seed twice",
    "baseline that is not there",
    "NaN",
    "infinity",
    "batches that do not divide",
    "batches of a task that do not divide",
    "batches of a strategy that do not divide",
    "more texts than tuning leaves",
    "hub source without a training split",
    "no format",
    "no training file",
    "format of another kind of task",
    "no header, no names",
    "CoNLL columns by name",
    "synthetic text of another kind",
    "synthetic text from files",
    "cut that takes everything",
    "folder that is not there",
    "model folder that is not there",
    "tracker that is not installed",
    # `$` matches before a line break in Python's regular expressions, not in an editor's
    "name with a line break",
}


@pytest.mark.parametrize("name", sorted(set(MISTAKES) - LEFT_TO_LOAD))
def test_the_schema_refuses_the_mistakes(editor: jsonschema.Draft202012Validator, name: str) -> None:
    assert not editor.is_valid(SMALL | MISTAKES[name][0])


# --- the registry of measures


def test_measures_are_known_by_name_and_by_class() -> None:
    assert measure("f1:PER") == MEASURES["f1"]
    assert all(name == entry.name for name, entry in MEASURES.items())
    with pytest.raises(KeyError):
        measure("f2")


def test_every_measure_is_defined_on_the_page(root: Path) -> None:
    page = (root / "docs" / "measures.md").read_text(encoding="utf-8")
    for entry in MEASURES.values():
        assert entry.definition.endswith("."), entry.name
        assert entry.source is None or any(letter.isdigit() for letter in entry.source), f"{entry.name}: no year"
        definition = entry.definition.replace("|", "\\|")
        assert f"**{entry.title}**: {definition}" in page
    assert measure("gradient_cosine:layer-3").by == "layer"
    assert MEASURES["negative_transfer"].by is None


def test_every_task_kind_has_a_score() -> None:
    kinds = Task.model_json_schema()["properties"]["kind"]["enum"]
    assert kinds == list(TASK_KINDS)
    assert {score.of(kind).measure for kind in TASK_KINDS} <= set(MEASURES)


# --- the command line


def maskbench(*arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "maskbench", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)


def test_the_command_line_validates(root: Path, tmp_path: Path) -> None:
    good = maskbench("validate", "experiments/sst2-conll-gpu.yaml", root=root)
    count = sum(1 for _ in cells(load_file(root / "experiments/sst2-conll-gpu.yaml")))
    assert (good.returncode, good.stderr) == (0, "")
    assert f" valid, {count} cells (" in good.stdout
    (tmp_path / "x.yaml").write_text("seeds: 1\n")
    bad = maskbench("validate", str(tmp_path / "x.yaml"), root=root)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert len(bad.stderr.splitlines()) == 5
    assert "Traceback" not in bad.stderr
    (tmp_path / "x.yaml").write_text(json.dumps(SMALL | {"claims": str(tmp_path / "none.yaml")}))
    lacking = maskbench("validate", str(tmp_path / "x.yaml"), root=root)
    assert lacking.returncode == 1
    assert lacking.stderr == f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory\n"


def test_the_command_line_lists_the_registries(root: Path) -> None:
    listed = maskbench("masks", root=root).stdout
    for family in FAMILIES:
        for kind in kinds(family):
            assert f"{kind} ({family})" in listed
    assert listed.count("    Source: ") == sum(len(kinds(family)) for family in FAMILIES)
    measures = [line.split()[1] for line in maskbench("measures", root=root).stdout.splitlines()]
    assert [name.split("[")[0] for name in measures] == list(MEASURES)


def test_every_mask_names_its_parameters_and_its_source() -> None:
    for entry in catalogue.masks():
        assert entry.summary.endswith(".")
        ours = "this project" in entry.source or "articles under test" in entry.source
        assert ours or any(letter.isdigit() for letter in entry.source), f"{entry.kind}: References need a year"
        assert set(entry.parameters) <= set(find(entry.family, entry.kind).model_fields)


def test_stale_files_are_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "config.yaml").write_text((root / "config.yaml").read_text())
    assert document.outdated(tmp_path) == ["config.schema.json", "docs/config.md", "docs/masks.md", "docs/measures.md"]
    document.write(tmp_path)
    assert document.outdated(tmp_path) == []
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("# Passes over", "# Rounds over"))
    assert document.outdated(tmp_path) == ["config.yaml"]


HEAVY = {"numpy", "pandas", "pyarrow", "scipy", "torch", "transformers", "datasets", "evaluate", "matplotlib"}


@pytest.mark.parametrize("arguments", [["validate", "config.yaml"], ["masks"], ["measures"], ["schema", "--check"]])
def test_looking_things_up_imports_nothing_heavy(root: Path, arguments: list[str]) -> None:
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['maskbench', *{arguments!r}]\n"
        "runpy.run_module('maskbench', run_name='__main__')\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(ast.literal_eval(done.stdout.splitlines()[-1]))
    assert loaded & HEAVY == set()
    assert {"maskbench", "pydantic"} <= loaded


def test_planning_imports_nothing_heavy(root: Path) -> None:
    """What rules/common.smk does on every call of snakemake, the hash of the code included."""
    code = (
        "import sys\n"
        "from maskbench.experiment.load import load_file\n"
        "from maskbench.experiment.finished import void\n"
        "from maskbench.experiment.jobs import Jobs\n"
        "from maskbench.experiment.layout import Layout\n"
        "from maskbench.experiment.planned import Planned\n"
        "jobs, layout = Jobs(load_file('config.yaml')), Layout.of('x')\n"
        "for job in jobs.by_id.values(): jobs.key(job), jobs.inputs(job, layout)\n"
        "assert not list(void(jobs, layout)) and Planned.of(jobs, layout, jobs.by_id, ()).cells\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert set(ast.literal_eval(done.stdout)) & HEAVY == set()


def test_the_first_cells_need_no_list_of_all() -> None:
    assert len(list(islice(cells(load(SMALL | {"seeds": list(range(5000))})), 3))) == 3


# --- what masks cannot do without

AUXILIARY = [{"name": "none"}, {"name": "aux", "objective": "mlm-auxiliary"}]
NEEDS = "configuration: strategies[1] (aux).objective: mlm-auxiliary needs a masked-LM head"


def model_entry(tmp_path: Path, head: bool | None, architecture: str | None) -> dict[str, Any]:
    """A local model that may say what it is, in the configuration or in its own folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": architecture and [architecture]}))
    return {"name": "mine", "source": {"local": str(folder)}, "masked_lm": head}


@pytest.mark.parametrize(
    ("head", "architecture", "line"),
    [
        (None, "BertForMaskedLM", None),
        (True, "BertModel", None),
        (True, None, None),
        (None, "BertModel", "{NEEDS}, and the model mine has none; leave one of them out"),
        (False, "BertForMaskedLM", "{NEEDS}, and the model mine has none; leave one of them out"),
        (None, None, "{NEEDS}, and the model mine has none; leave one of them out"),
    ],
)
def test_a_masked_lm_head_is_asked_for_before_anything_starts(
    tmp_path: Path, head: bool | None, architecture: str | None, line: str | None
) -> None:
    config = SMALL | {"models": [model_entry(tmp_path, head, architecture)], "strategies": AUXILIARY}
    if line is None:
        assert load(config, runs_here=False).strategies[1].objective is not None
        return
    with pytest.raises(InputError) as error:
        load(config, runs_here=False)
    assert str(error.value) == line.format(NEEDS=NEEDS)


def test_a_remote_model_has_to_say_whether_it_has_a_head() -> None:
    remote = {"name": "far", "source": {"hub": "someone/something", "revision": "0" * 40}}
    with pytest.raises(InputError) as error:
        load(SMALL | {"models": [remote], "strategies": AUXILIARY})
    assert str(error.value) == f"{NEEDS}: expected masked_lm: true or false at the model far"
    assert load(SMALL | {"models": [remote | {"masked_lm": True}], "strategies": AUXILIARY})


def test_masks_inside_masks_are_asked_what_they_need(tmp_path: Path) -> None:
    generated = {"kind": "generated", "by": "model"}
    config = SMALL | {"models": [model_entry(tmp_path, False, None)]}
    for slots in (
        {"input": generated},
        {"objective": {"kind": "consistency", "mask": generated}},
        {"objective": {"kind": "augment", "mask": generated}},
    ):
        with pytest.raises(InputError, match="needs a masked-LM head, and the model mine has none"):
            load(config | {"strategies": ["none", {"name": "x", **slots}]}, runs_here=False)
    unigram = {"name": "x", "input": generated | {"by": "unigram"}}
    assert load(config | {"strategies": ["none", unigram]}, runs_here=False)


def test_gold_mentions_need_a_tagging_task() -> None:
    config = SMALL | {"strategies": ["none", {"name": "names", "input": {"kind": "entity", "by": "gold"}}]}
    assert load(config)
    with pytest.raises(InputError) as error:
        load(config | {"tasks": ["conll2003", "rt-snippets"]})
    assert str(error.value) == (
        "configuration: strategies[1] (names).input: entity needs gold mentions, but the task rt-snippets has none; "
        "expected a tagging task"
    )


@pytest.mark.parametrize("family", ["input", "objective"])
def test_a_mask_of_the_planted_cue_inside_another_has_to_mask_all_of_it(family: str) -> None:
    oracle = {"kind": "oracle-cue", "cues": ["limestone", "walnut"]}
    outer = {"input": {"kind": "rate-twin", "of": oracle}, "objective": {"kind": "augment", "mask": oracle}}[family]
    config = SMALL | {"strategies": ["none", {"name": "x", family: outer}], "conditions": ["clean", "cue:0.95"]}
    assert load(config | {"cue": {"words": ["limestone", "walnut"]}})
    with pytest.raises(InputError, match=rf"strategies\[1\] \(x\)\.{family}: oracle-cue needs all of cue\.words"):
        load(config | {"cue": {"words": ["limestone", "granite"]}})


def test_a_mask_of_the_planted_cue_has_to_mask_all_of_it() -> None:
    config = SMALL | {"strategies": ["none", "oracle-cue"], "conditions": ["clean", "cue:0.95"]}
    assert load(config)
    planted = config | {"cue": {"words": ["limestone", "granite"]}}
    with pytest.raises(InputError) as error:
        load(planted)
    assert str(error.value) == (
        "configuration: strategies[1] (oracle-cue).input: oracle-cue needs all of cue.words in its cues; "
        "expected 'granite' among them"
    )
    assert load(planted | {"conditions": ["clean"]})
