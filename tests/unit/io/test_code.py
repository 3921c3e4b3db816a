"""The hash of a stage's code: what counts, and for which stage and cell."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

import pytest

from maskbench.config.probes import Probes
from maskbench.experiment.code import core_of, mask_modules, probe_code, training_code
from maskbench.io import code, source
from maskbench.masks import Strategy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    code.forget()
    yield
    code.forget()


def fresh_hash(script: str, *names: str) -> str:
    """Hash as a new process would."""
    code.forget()
    return code.code_hash(script, *names)


# --- a small project


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project: two scripts, and a chain of imports below one of them."""
    files = {
        "scripts/one.py": "from maskbench.a.top import run\nrun()\n",
        "scripts/two.py": "import maskbench.b\n",
        "maskbench/__init__.py": "",
        "maskbench/a/__init__.py": "",
        "maskbench/a/top.py": "def run():\n    from maskbench.a import deep\n    return deep.value\n",
        "maskbench/a/deep.py": "from maskbench.a import top\nvalue = 1\nspare = 2\n",
        "maskbench/a/other.py": "value = 5\n",
        "maskbench/b.py": "import json\nvalue = 2\n",
        "maskbench/config/__init__.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    return tmp_path


def changes(tree: Path, name: str, old: str, new: str) -> bool:
    """Tell whether an edit changes the hash of the first script."""
    path = tree / name
    before, text = fresh_hash("one.py"), path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return fresh_hash("one.py") != before


def test_a_change_far_down_the_imports_counts_for_its_script_alone(tree: Path) -> None:
    two = fresh_hash("two.py")
    assert changes(tree, "maskbench/a/deep.py", "value = 1", "value = 3")
    assert fresh_hash("two.py") == two


def test_what_is_not_imported_does_not_count(tree: Path) -> None:
    assert not changes(tree, "maskbench/a/other.py", "5", "6")


def test_what_is_not_used_does_not_count(tree: Path) -> None:
    assert not changes(tree, "maskbench/a/deep.py", "spare = 2", "spare = 3")


def test_where_a_definition_stands_does_not_count(tree: Path) -> None:
    assert not changes(tree, "maskbench/a/deep.py", "value = 1\nspare = 2\n", "more = 0\nspare = 2\nvalue = 1\n")


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.umask(0)\nvalue = 1\n",
        "from maskbench.a import other  # noqa: F401\nvalue = 1\n",
        "import maskbench.a.other\nvalue = 1\n",
        "for _ in range(3):\n    print()\nvalue = 1\n",
    ],
    ids=["a call", "an import for what it does", "a module", "a loop"],
)
def test_what_a_module_does_when_it_is_imported_counts(tree: Path, text: str) -> None:
    assert changes(tree, "maskbench/a/deep.py", "from maskbench.a import top\nvalue = 1\n", text)


def test_what_an_import_does_counts_with_all_of_the_module(tree: Path) -> None:
    for imports in ("from maskbench.a import other  # noqa: F401", "import maskbench.a.other"):
        (tree / "maskbench/a/deep.py").write_text(f"{imports}\nvalue = 1\n")
        (tree / "maskbench/a/other.py").write_text("value = 5\n")
        assert changes(tree, "maskbench/a/other.py", "5", "6")


def test_the_package_itself_counts(tree: Path) -> None:
    before = fresh_hash("one.py")
    (tree / "maskbench/a/__init__.py").write_text("import os\nos.umask(0)\n")
    assert fresh_hash("one.py") != before


@pytest.mark.parametrize(
    "text",
    [
        "value = 1  # a comment\nspare = 2\n",
        '"""A docstring."""\n\nvalue = 1\n"""What it is."""\nspare = 2\n',
        "value = (\n    1\n)\nspare = 2\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from maskbench.a.other import value\nvalue = 1\n",
    ],
    ids=["comment", "docstrings", "layout", "types"],
)
def test_comments_docstrings_layout_and_types_do_not_count(tree: Path, text: str) -> None:
    assert not changes(tree, "maskbench/a/deep.py", "from maskbench.a import top\nvalue = 1\nspare = 2\n", text)


def test_docstrings_of_functions_do_not_count_but_strings_that_are_used_do(tree: Path) -> None:
    deep = "maskbench/a/deep.py"
    (tree / deep).write_text("def value():\n    return 'x'\n")
    assert not changes(tree, deep, "    return", "    '''Say x.'''\n    return")
    assert changes(tree, deep, "'x'", "'y'")
    (tree / deep).write_text("def value():\n    '''Only this.'''\n")
    assert not changes(tree, deep, "this", "that")


def test_two_definitions_that_swap_their_code_change_the_hash(tree: Path) -> None:
    (tree / "scripts/one.py").write_text(
        "from maskbench.a import other\nfrom maskbench import b\nother.value + b.value\n"
    )
    one = fresh_hash("one.py")
    (tree / "maskbench/a/other.py").write_text("value = 2\n")
    (tree / "maskbench/b.py").write_text("value = 5\n")
    assert fresh_hash("one.py") != one


CONFIG = """
from enum import IntEnum
from typing import Annotated, ClassVar, Literal
from pydantic import BaseModel, BeforeValidator, Field, model_serializer, model_validator

LIMIT = 3
SPARE = 4
TABLE = {"a": LIMIT}
def number(value):
    return float(value)
Size = Annotated[float, Field(ge=0), BeforeValidator(number)]
Word = Literal["x", "y"]
class ConfigBlock(BaseModel):
    pass
class Inner(ConfigBlock):
    depth: int = 1
    @model_validator(mode="after")
    def check(self):
        return self
class Settings(ConfigBlock):
    words: ClassVar = ("a",)
    size: Size = 1.0
    word: Word = "x"
    inner: Inner = Inner()
    @property
    def double(self):
        return 2 * self.size
class Other(ConfigBlock):
    key: int = 1
class Written(ConfigBlock):
    kind: str = "clean"
    @model_serializer
    def text(self):
        return self.kind
class Channel(IntEnum):
    ONE = 1
    TWO = 2
"""
PASSED = "from maskbench.config.all import Settings\nSettings.model_validate_json('{}')\n"


@pytest.mark.parametrize(
    ("script", "old", "new", "counts"),
    [
        ("from maskbench.config.all import LIMIT\nLIMIT\n", "LIMIT = 3", "LIMIT = 4", True),
        ("from maskbench.config.all import LIMIT\nLIMIT\n", "SPARE = 4", "SPARE = 5", False),
        ("from maskbench.config.all import TABLE\nTABLE\n", "LIMIT = 3", "LIMIT = 4", True),
        ("from maskbench.config import all as every\nevery.TABLE\n", "LIMIT = 3", "LIMIT = 4", True),
        ("from maskbench.config import all as every\nevery.TABLE\n", "SPARE = 4", "SPARE = 5", False),
        ("from maskbench.config.all import LIMIT\ndef f(x: LIMIT): ...\n", "LIMIT = 3", "LIMIT = 4", False),
        # fields arrive as parameters
        (PASSED, "size: Size = 1.0", "size: Size = 2.0", False),
        (PASSED, "ge=0", "ge=1", False),
        (PASSED, '"y"', '"z"', False),
        (PASSED, "depth: int = 1", "depth: int = 2", False),
        (PASSED, 'word: Word = "x"', 'word: Word = "x"\n    more: int = 1', False),
        # what computes with them does not
        (PASSED, "return 2 * self", "return 3 * self", True),
        (PASSED, "return float(value)", "return float(value) + 1", True),
        (PASSED, "return self\n", "return self or None\n", True),
        (PASSED, '("a",)', '("b",)', True),
        (PASSED, "key: int", "kay: int", False),
        # unless the job makes the block, or asks
        ("from maskbench.config.all import Settings\nSettings()\n", "size: Size = 1.0", "size: Size = 2.0", True),
        ("from maskbench.config.all import Settings\nSettings()\n", "depth: int = 1", "depth: int = 2", True),
        ("from maskbench.config.all import Settings\nf(Settings)\n", "size: Size = 1.0", "size: Size = 2.0", True),
        (f'{PASSED}Settings.model_fields["size"].default', "Size = 1.0", "Size = 2.0", True),
        (f'{PASSED}Settings.model_fields["size"].default', 'Word = "x"', 'Word = "y"', False),
        (f"{PASSED}isinstance(1, Settings)", "size: Size = 1.0", "size: Size = 2.0", False),
        ("from maskbench.config.all import Written\nWritten.model_validate_json('')\n", '"clean"', '"cue"', True),
        # members of an enumeration
        ("from maskbench.config.all import Channel\nChannel.ONE\n", "ONE = 1", "ONE = 3", True),
        ("from maskbench.config.all import Channel\nChannel.ONE\n", "TWO = 2", "TWO = 2\n    MORE = 3", False),
        ("from maskbench.config.all import Channel\nlist(Channel)\n", "TWO = 2", "TWO = 2\n    MORE = 3", True),
    ],
)
def test_of_the_configuration_counts_what_does_not_arrive_as_a_parameter(
    tree: Path, script: str, old: str, new: str, counts: bool
) -> None:
    (tree / "scripts/one.py").write_text(script)
    (tree / "maskbench/config/all.py").write_text(CONFIG)
    assert changes(tree, "maskbench/config/all.py", old, new) == counts


def test_a_function_of_a_package_is_meant_before_a_module_of_its_name(tree: Path) -> None:
    (tree / "scripts/one.py").write_text("from maskbench.a import deep\ndeep()\n")
    (tree / "maskbench/a/__init__.py").write_text("def deep():\n    return 1\n")
    assert changes(tree, "maskbench/a/__init__.py", "return 1", "return 2")
    assert not changes(tree, "maskbench/a/deep.py", "value = 1", "value = 2")


def test_a_part_of_a_kind_of_task_counts_with_that_of_every_kind(tree: Path) -> None:
    (tree / "scripts/one.py").write_text("from maskbench.kinds import head\nhead.of('texts')\n")
    for name in ("__init__", "head", "score", "texts/__init__", "texts/head", "texts/score"):
        (tree / f"maskbench/kinds/{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (tree / f"maskbench/kinds/{name}.py").write_text("def of(kind):\n    return 1\n")
    assert changes(tree, "maskbench/kinds/texts/head.py", "return 1", "return 2")
    assert not changes(tree, "maskbench/kinds/texts/score.py", "return 1", "return 2")


def test_more_modules_and_definitions_can_be_named(tree: Path) -> None:
    plain, more = fresh_hash("one.py"), fresh_hash("one.py", "maskbench.a.other")
    assert plain != more
    assert fresh_hash("one.py", "maskbench.a.other.value") == more
    (tree / "maskbench/a/other.py").write_text("value = 6\n")
    assert fresh_hash("one.py") == plain
    assert fresh_hash("one.py", "maskbench.a.other") != more
    with pytest.raises(FileNotFoundError, match=r"tests\.mine: expected a module of this project"):
        code.code_hash("one.py", "tests.mine")


def refuse(*_: object) -> str:
    """Stand in for the reading of code where nothing may be read."""
    raise AssertionError


def test_what_an_earlier_process_found_is_taken_as_long_as_every_file_is_the_same(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    found = [fresh_hash("one.py"), fresh_hash("two.py"), fresh_hash("one.py", "maskbench.a.other")]
    with monkeypatch.context() as patch:
        patch.setattr(code, "_hash_of", refuse)
        assert [fresh_hash("one.py"), fresh_hash("two.py"), fresh_hash("one.py", "maskbench.a.other")] == found
    for name in ("maskbench/a/other.py", "scripts/two.py", "maskbench/page.html"):  # also what is no code
        with (tree / name).open("a") as stream:
            stream.write("more = 1\n")
        with monkeypatch.context() as patch:
            patch.setattr(code, "_hash_of", refuse)
            with pytest.raises(AssertionError):
                fresh_hash("one.py")
        assert fresh_hash("one.py") == found[0]
    assert fresh_hash("two.py") != found[1]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"contents": 1}', '{"contents": "x", "hashes": {"one.py": "y"}}'])
def test_what_an_earlier_process_kept_is_found_again_where_it_is_damaged(
    tree: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    before = fresh_hash("one.py")
    code._kept().write_text(text)
    assert fresh_hash("one.py") == before


def test_nothing_is_kept_where_python_keeps_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    fresh_hash("one.py")
    assert not code._kept().exists()
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    code._kept().parent.parent.mkdir(parents=True)
    code._kept().parent.write_text("a file, so that nothing can be written there")
    assert fresh_hash("one.py") == fresh_hash("one.py")


def test_a_script_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        code.code_hash("absent.py")


# --- the real code, copied and edited

SCRIPTS = (
    *("fetch.py", "prepare.py", "condition.py", "shift.py", "encode.py", "reference.py"),
    *("choose.py", "collect.py", "compare.py", "verdicts.py", "tables.py", "figures.py", "page.py"),
)
STRATEGIES = {
    "none": {},
    "random": {"input": "random"},
    "span": {"input": "span"},
    "twin": {"input": {"kind": "rate-twin", "of": "span"}},
    "augment": {"objective": "augment"},
    "freeze": {"parameter": "freeze"},
    "always": {"attention": {"kind": "window", "at": "always"}},
}
TRAINS, PROBES = {f"train {name}" for name in STRATEGIES}, {"probe none", "probe always"}
Edit = Callable[[str, str, str], None]


@pytest.fixture(scope="module")
def copied(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code."""
    folder = tmp_path_factory.mktemp("code")
    for name in ("maskbench", "scripts"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def parsed() -> dict[Path, source.SourceFile]:
    """What was read of files that no test has changed."""
    return {}


@pytest.fixture
def edit(copied: Path, parsed: dict[Path, source.SourceFile], monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    """Change a file of the copy; it is as before when the test ends."""
    old: dict[Path, str | None] = {}

    @cache
    def read(file: Path) -> source.SourceFile:
        if file in old:
            return source.read.__wrapped__(file)
        if file not in parsed:
            parsed[file] = source.read.__wrapped__(file)
        return parsed[file]

    def change(name: str, before: str, after: str) -> None:
        path = copied / name
        old[path] = path.read_text() if path.exists() else None
        assert before in (old[path] or "")
        path.write_text((old[path] or "").replace(before, after, 1) if before else (old[path] or "") + after)

    monkeypatch.setattr(code, "ROOT", copied)
    monkeypatch.setattr(code, "read", read)
    yield change
    for path, text in old.items():
        if text is None:
            path.unlink()
        else:
            path.write_text(text)


def hashes() -> dict[str, str]:
    """Return the hashes of all stages, and of cells of some strategies."""
    code.forget()
    strategies = {name: Strategy.model_validate({"name": name, **entry}) for name, entry in STRATEGIES.items()}
    found = {script: code.code_hash(script) for script in SCRIPTS}
    found |= {f"train {name}": training_code(strategy) for name, strategy in strategies.items()}
    return found | {f"probe {name}": probe_code(strategies[name], Probes()) for name in ("none", "always")}


EVERY_CELL = TRAINS | PROBES
REPORT = {"tables.py", "figures.py", "page.py"}
ANALYSIS = {"collect.py", "compare.py", "verdicts.py"}
SHOW = {"choose.py"} | ANALYSIS | REPORT
"""Scripts that look into the registry of measures."""


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        # data: what is cut, read, fetched
        ("data/cutting.py", "LEAST = 2", "LEAST = 3", {"prepare.py"}),
        # a set from elsewhere is read as a task of its own, all of whose keys are there
        ("config/cutting.py", "validation: Share = 0.1", "validation: Share = 0.2", set()),
        ("config/sources.py", '"*.safetensors", "*.txt"', '"*.safetensors", "*.text"', {"fetch.py"}),
        # the score of a kind of task
        (
            "kinds/sequence_classification/score.py",
            'measure = "accuracy"',
            'measure = "mcc"',
            EVERY_CELL | ANALYSIS | REPORT,
        ),
        # what a condition means, whose fields are written as one text
        (
            "config/conditions.py",
            "float(found[2])",
            "float(found[2]) / 2",
            EVERY_CELL | {"condition.py"} | SHOW,
        ),
        ("config/conditions.py", "LEVELS = (5, 10, 20)", "LEVELS = (5, 10, 30)", {"figures.py"}),
        # training
        ("config/science.py", "CONFLICT_EXAMPLES = 64", "CONFLICT_EXAMPLES = 32", TRAINS),
        ("config/training.py", "learning_rate: Positive = 2e-4", "learning_rate: Positive = 2e-5", set()),
        (
            "experiment/cell.py",
            '"sequential": f"after-',
            '"sequential": f"behind-',
            EVERY_CELL | {"choose.py", "collect.py"},
        ),
        # masks: the core, what some share, one kind, a control that is made while planning
        ("masks/draws.py", "shifted(bits, 40)", "shifted(bits, 41)", EVERY_CELL | {"reference.py"}),
        ("masks/shared/budget.py", "< limit)", "<= limit)", {"train span", "train twin"}),
        ("masks/input/span.py", "p: Share = 0.2", "p: Share = 0.3", {"train span", "train twin"}),
        ("masks/input/random.py", "rate: Rate = 0.15", "rate: Rate = 0.2", {"train random", "train augment"}),
        ("masks/input/rate_twin.py", "Channel.TWIN_PLACE", "Channel.PLACE", {"train twin"}),
        ("masks/parameter/freeze.py", '= "bottom"', '= "top"', {"train freeze"}),
        (
            "masks/attention/window.py",
            "special: bool = True",
            "special: bool = False",
            {"train always", "probe always"},
        ),
        ("masks/strategy.py", '"rate-zero": _at_rate(0.0', '"rate-zero": _at_rate(0.1', set()),
        ("channels.py", "LENGTH = 2", "LENGTH = 4", {"train span", "train twin"}),
        ("channels.py", "LENGTH = 2", "LENGTH = 2; MORE = 4", set()),
        # probes
        ("probes/linear.py", "_ITERATIONS = 1000", "_ITERATIONS = 100", {"reference.py"} | PROBES),
        # the tuning of a study is made with probes that measure nothing
        ("config/probes.py", "= list(PERTURBATIONS)", '= ["swap"]', {"choose.py"}),
        ("config/science.py", "CALIBRATION_BINS = 15", "CALIBRATION_BINS = 10", PROBES | SHOW),
        ("config/science.py", "PROBED_WORDS = 4", "PROBED_WORDS = 5", {"reference.py"} | PROBES),
        ("config/probes.py", "smallest_group: Count = 5", "smallest_group: Count = 6", {"choose.py"}),
        # analysis and report
        ("analysis/tuning.py", "records) - len(known)", "records) + len(known)", {"choose.py"}),
        ("config/analysis.py", "matched_score: Share = 0.9", "matched_score: Share = 0.8", {"collect.py"}),
        ("config/science.py", "LEAST_LEARNED = 0.05", "LEAST_LEARNED = 0.1", ANALYSIS | REPORT),
        ("config/science.py", "WIDEST_STEP = 1.5", "WIDEST_STEP = 2.0", {"collect.py"}),
        ("config/science.py", "OUTLYING = 5.0", "OUTLYING = 3.0", {"verdicts.py"}),
        ("analysis/controls.py", "DEALS = 20_000", "DEALS = 30_000", {"verdicts.py"}),
        ("config/claims.py", "most_uneven: Count = 2", "most_uneven: Count = 3", {"verdicts.py"}),
        ("report/figures/profile.py", "rotation=40", "rotation=50", {"figures.py"}),
        ("report/templates/page.css", "{", "{ ", {"page.py"}),
        # what nobody uses
        ("io/files.py", "", "EDITED = True\n", set()),
        ("config/presets.yaml", "", "# edited\n", set()),
    ],
)
def test_an_edit_changes_exactly_these_stages_and_cells(
    edit: Edit, file: str, old: str, new: str, expected: set[str]
) -> None:
    before = hashes()
    edit(f"maskbench/{file}", old, new)
    assert {name for name, value in hashes().items() if value != before[name]} == expected


NEW_MASK = """
from typing import Literal
from maskbench.config.block import Rate
from maskbench.masks.base import InputMask


class Rare(InputMask):
    kind: Literal["rare"] = "rare"
    rate: Rate = 0.15
"""


NEW_MEASURE = """
RUN = (
    *RUN,
    Measure(
        name="extra",
        title="extra",
        unit="s",
        better="neither",
        family="run",
        definition="Another time.",
        split="run",
        of_texts=False,
    ),
)
"""


def test_a_new_mask_and_an_unrelated_measure_change_no_cell(edit: Edit) -> None:
    before = hashes()
    edit("maskbench/masks/input/rare.py", "", NEW_MASK)
    edit("maskbench/config/measures/run.py", "", NEW_MEASURE)
    after = hashes()
    assert {name: after[name] for name in EVERY_CELL} == {name: before[name] for name in EVERY_CELL}
    assert after["tables.py"] != before["tables.py"]


def test_a_measures_unit_is_for_those_who_show_it(edit: Edit) -> None:
    before = hashes()
    edit("maskbench/config/measures/run.py", 'unit="updates"', 'unit="steps"')
    changed = {name for name, value in hashes().items() if value != before[name]}
    assert changed == SHOW


def test_runs_of_different_strategies_can_be_told_to_have_the_same_core(edit: Edit) -> None:
    found = {name: value for name, value in hashes().items() if name in TRAINS}
    assert len(set(found.values())) == len(STRATEGIES)
    assert {core_of(value) for value in found.values()} == {found["train none"]}
    edit("maskbench/config/science.py", "CONFLICT_EXAMPLES = 64", "CONFLICT_EXAMPLES = 32")
    assert core_of(hashes()["train span"]) != found["train none"]


def test_masks_inside_masks_count() -> None:
    entry = {
        "name": "x",
        "input": {"kind": "rate-twin", "of": "tail"},
        "objective": {"kind": "augment", "mask": "span"},
    }
    families = {"input": ("rate_twin", "span", "tail"), "objective": ("augment",)}
    names = [f"maskbench.masks.{family}.{name}" for family, known in families.items() for name in known]
    assert mask_modules(Strategy.model_validate(entry)) == tuple(names)


def test_planning_ten_thousand_cells_computes_each_hash_once() -> None:
    strategy = Strategy.model_validate({"name": "x", "input": "span"})
    for _ in range(10_000):
        training_code(strategy)
    assert code.code_hash.cache_info().misses == 2


def test_the_hash_is_the_same_in_another_folder(edit: Edit, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = hashes()
    monkeypatch.setattr(code, "ROOT", root)
    assert hashes() == found
    assert len(set(found.values())) == len(found)
