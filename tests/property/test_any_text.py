"""Every text of a configuration reaches rules, tables, figures and the page as it is, whatever characters it has."""

from __future__ import annotations

import html
import json
import re
import shlex
import subprocess
import tempfile
import warnings
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import Environment, PackageLoader
from snakemake.utils import format as snakemake_format

from maskbench.analysis.metrics import ALONG_COLUMNS, CheckedTable, write_csv
from maskbench.config.measures import measure, pair, sides
from maskbench.errors import InputError
from maskbench.experiment.call import packed, read_arguments, unpacked
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.load import load
from maskbench.kinds.score import Outcome
from maskbench.report import formats, page, text
from maskbench.report.figures.drawing import wrapped
from maskbench.report.style import canvas, legible, save, style

NASTY = [
    *(
        "{masking}",
        "{{a}}",
        "{",
        "{0}",
        "{wildcards.task}",
        "<results>",
        "<x>",
        "[1]",
        "*",
        "%s",
        "50 %",
        "a&b",
        "&amp;",
    ),
    *(
        "$HOME",
        "$x_1$",
        "$(ls)",
        "`ls`",
        "it's",
        'say "no"',
        "a\\b",
        "a\\>b",
        "x>y",
        "a--b",
        "-x",
        "--x",
        "#",
        "~",
        "~a~",
    ),
    *(
        "@misc{lee, title={A Study}, year={2021}}",
        "a,b",
        "a\tb",
        "a\nb",
        "a\rb",
        "a\0b",
        "\x07",
        "\x7f",
        "\x85",
        "\u2028",
    ),
    *(
        "שלום",
        "مرحبا",
        "\u202eabc",
        "e\u0301",
        "क्षि",
        "正面",
        "👩\u200d🔬",
        "\ufffe",
        "a|b",
        "_x_",
        ":smile:",
        "<script>",
        "]]>",
    ),
    *("null", "true", "1e5", "007", "yes", "2021-01-01", "a: b", "- a", "?", "!x", "'", '"', "a;b", "a=b", "%(x)s"),
]
texts = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
"""Half surrogates cannot be encoded; the configuration refuses them."""


def configuration(words: str) -> dict[str, Any]:
    """Return a configuration with a text in every place that takes any."""
    task = {
        "name": "mine",
        "kind": "sequence-classification",
        "source": {"local": f"data {words}"},
        "format": "csv",
        "files": {"train": f"train {words}.csv", "test": words},
        "text": f"text {words}",
        "label": f"label {words}",
        "header": False,
        "columns": [f"text {words}", f"label {words}"],
        "separator": words,
        "labels": [words, f"not {words}"],
        "licence": words,
        "citation": words,
    }
    other = {"package": "p", "version": "1", "sha256": "0" * 64, "inner": words, "folder": words}
    hub = {"hub": "a/b", "revision": "0" * 40, "config": words, "splits": {"train": words}}
    strategies = ["none", {"name": "cue", "input": {"kind": "oracle-cue", "cues": [words, f"{words}2"]}}]
    return {
        "study": "any",
        "question": words,
        "tasks": [task, {**task, "name": "second", "source": other}, {**task, "name": "third", "source": hub}],
        "models": [{"name": "m", "source": {"local": words}, "licence": words, "citation": words}],
        "strategies": strategies,
        "conditions": ["clean", "cue:0.9"],
        "cue": {"words": [words, f"{words}2"]},
        "claims": words,
        "cache": words,
        "seeds": [1],
    }


def through_a_rule(value: Any) -> str:
    """Return what a job's command line gets of a parameter that a function of a rule returns, without the shell."""
    command = snakemake_format("python x.py --spec {params.value:q}", params=SimpleNamespace(value=value))
    return shlex.split(command)[3]


@given(texts)
def test_every_text_of_a_configuration_reaches_a_job(words: str) -> None:
    refused = ""
    try:
        experiment = load(configuration(words), runs_here=False)
    except InputError as error:
        refused = str(error)
    if refused:  # some words cannot be planted or looked for
        assert all(re.search(r"\.(words|cues|separator|columns)\b", line) for line in refused.splitlines()), refused
        return
    for block in (experiment, *experiment.tasks, *experiment.models):
        argument = block.as_argument()
        assert argument.isascii()
        assert type(block).model_validate_json(through_a_rule(argument)) == block
    assert json.loads(through_a_rule(json.dumps(experiment.cue.words))) == experiment.cue.words
    assert experiment.question == words
    assert Experiment.model_validate_json(through_a_rule(experiment.as_argument())).tasks[0].citation == words


def test_the_shell_hands_on_what_snakemake_quotes() -> None:
    argument = json.dumps(NASTY)
    command = snakemake_format("printf %s {params.value:q}", params=SimpleNamespace(value=argument))
    for locale in ("C", "C.UTF-8"):
        found = subprocess.run(["bash", "-c", command], env={"LC_ALL": locale}, capture_output=True, check=True).stdout
        assert json.loads(found) == NASTY


# --- values behind --config


@given(st.lists(texts, max_size=3))
def test_arguments_reach_the_jobs_of_a_scheduler(words: list[str]) -> None:
    arguments = [f"key{number}={word}" for number, word in enumerate(words)]
    assert unpacked([packed(arguments)]) == arguments
    assert re.fullmatch(r"maskbench=[\w=-]*", packed(arguments))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ('question="123"', "123"),
        ("question=it is 5", "it is 5"),
        ("question='true'", "true"),
        (
            "tasks=[{name: a, separator: '|', text: \"1\", label: 1}]",
            [{"name": "a", "separator": "|", "text": "1", "label": 1}],
        ),
        ('tasks=[{citation: "null", licence: null}]', [{"citation": "null", "licence": None}]),
        ("training={learning_rate: 3.0e-4}", {"learning_rate": 3e-4}),
        ('tasks=[{files: {train: "train.csv #2"}}]', [{"files": {"train": "train.csv #2"}}]),
        ("cache=", None),
        ("seeds=[1, 2]", [1, 2]),
    ],
)
def test_an_argument_is_yaml_once(argument: str, value: object) -> None:
    assert list(read_arguments([argument]).values()) == [value]
    assert list(read_arguments([packed([argument])]).values()) == [value]


# --- what is written and shown


@given(texts, texts)
@example("a\\", ">b")
@example("a>", "b")
def test_two_classes_are_told_apart(true: str, given: str) -> None:
    assert sides(pair(true, given)) == (true, given)
    assert measure(f"confusion:{pair(true, given)}").name == "confusion"


def test_classes_with_a_sign_in_their_names_are_counted_apart() -> None:
    labels = ("a", "a>b", "b>c", "c")
    table = pd.DataFrame({"label": [0, 1, 1], "prediction": [2, 3, 1]})
    found = Outcome("sequence-classification", labels, table).confusion()
    assert {sides(name): count for name, count in found.items()} == {
        ("a", "b>c"): 1,
        ("a>b", "c"): 1,
        ("a>b", "a>b"): 1,
    }


@given(st.lists(texts, min_size=1, max_size=4))
@example(["a\rb"])
def test_csv_is_read_as_it_was_written(words: list[str]) -> None:
    names = [f"f1:{word}" for word in words]
    frame = pd.DataFrame({"run": "r", "step": 1, "measure": names, "value": 0.5})[list(ALONG_COLUMNS)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "along.csv"
        write_csv(frame, path)
        assert list(CheckedTable(path, ALONG_COLUMNS).text["measure"]) == names


def unseen(words: str) -> str:
    """Return a text as it is shown, with runs of blanks as one."""
    return " ".join(text.visible(words).split())


def table_of(words: str) -> formats.Table:
    """Return a table with a text in every place."""
    frame = pd.DataFrame([[words, "1"], ["b", words]], columns=[words, "n"])
    return formats.Table("x", words, words, frame, frame)


@given(texts)
def test_markdown_shows_a_text(words: str) -> None:
    lines = formats.markdown(table_of(words)).splitlines()
    assert len(lines) == 8
    assert "\0" not in "".join(lines)
    for line in lines[2:6]:
        cells = re.split(r"(?<!\\)(?:\\\\)*\|", line)
        assert len(cells) == 4, line
    shown = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", re.match(r"\| (.*) \| n \|", lines[2])[1])  # type: ignore[index]
    assert html.unescape(shown) == unseen(words)
    assert "$" not in lines[2]


_COMMANDS = {
    "textbackslash{}": "\\",
    "textasciitilde{}": "~",
    "textasciicircum{}": "^",
    "textless{}": "<",
    "textgreater{}": ">",
    "textquotesingle{}": "'",
    "textasciigrave{}": "`",
}


def unlatex(words: str) -> str:
    """Return the text that LaTeX sets."""
    assert not re.search(r"--|,,|[?!]`|''|``", words)
    words = words.replace("$\\pm$", "±").replace("$\\times$", "×").replace("$-$", text.MINUS).replace("{[}", "[")
    words = words.replace("{]}", "]").replace("\\,", "\N{NARROW NO-BREAK SPACE}")
    words = words.replace("$\\downarrow$", "↓").replace("$\\uparrow$", "↑")
    pattern = r"\\(text\w+\{\})|\\([{}$&#%_])|\{\}"
    return re.sub(pattern, lambda found: _COMMANDS[found[1]] if found[1] else found[2] or "", words)


@given(texts.filter(lambda words: text.DASH not in words))
@example("a--b---c")
def test_latex_sets_a_text(words: str) -> None:
    lines = formats.latex(table_of(words)).splitlines()
    (header,) = [line for line in lines if line.endswith(r"& n \\")]
    assert unlatex(header.removesuffix(r" & n \\")) == text.visible(words)
    assert len(lines) == 14


class _Words(HTMLParser):
    def __init__(self, content: str) -> None:
        super().__init__()
        self.words, self.tags = "", []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


@given(texts)
def test_the_page_shows_a_text(words: str) -> None:
    environment = Environment(loader=PackageLoader("maskbench.report"), autoescape=True, finalize=page._seen)
    found = _Words(environment.from_string('<p title="{{ words }}">{{ words }}</p>').render(words=words))
    assert (found.words, found.tags) == (text.visible(words), ["p"])


@given(texts)
def test_what_cannot_be_seen_is_shown(words: str) -> None:
    shown = text.visible(words)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069]", shown)
    assert text.visible(shown) == shown
    if "\\" not in words:
        assert json.loads('"' + shown.replace('"', '\\"') + '"') == words


def test_figures_show_every_text(tmp_path: Path) -> None:
    with style():
        figure, (axes,) = canvas((8.0, 20.0), 1, 1)
        axes.set_yticks(range(len(NASTY)), [wrapped(words) for words in NASTY])
        axes.plot(np.zeros(len(NASTY)), range(len(NASTY)), label=legible("{a} $x_1$ \x07"))
        axes.set_title(legible("--> <!-- \0"))
        axes.legend()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as: a letter is missing in the font
        save(figure, tmp_path, "any")
    ElementTree.parse(tmp_path / "any.svg")
