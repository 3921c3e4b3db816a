"""A content hash of the code behind a stage, so that changed code reruns its stage and nothing else.

What counts are single definitions: those that a script uses, directly or not, wherever they live. A module of which
only one function is used counts with that function, what it uses, and what the module does when it is imported.

Most of what the configuration says reaches a job as resolved parameters, which are compared by themselves. So the
fields of its blocks are left out, unless a job makes such a block by itself or asks for a field's default. Validators
and properties count: they compute what a job works with.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path

from maskbench.io.files import sha256_file, write_json
from maskbench.io.source import Definition, Piece, SourceFile, read
from maskbench.io.uses import CALLED, ITSELF, Import, Uses, field_of

ROOT = Path(__file__).resolve().parents[2]
"""Folder at the top of the repository."""

_PARAMETERS = ("maskbench.config", "maskbench.experiment", "maskbench.masks.strategy")
"""Where blocks live whose fields reach a job as parameters."""
_READERS = ("maskbench.analysis", "maskbench.report")
_TABLES = {
    ("maskbench.config.measures", "MEASURES"),
    ("maskbench.config.measures", "_ENTRIES"),
    ("maskbench.masks.strategy", "TWINS"),
}
"""What jobs look into only to refuse something: unknown measures are not recorded, and twins were made before.

It counts for readers, who show what it says.
"""
_KINDS = "maskbench.kinds"
"""A part of a kind of task (kinds/<part>.py) is imported by its name, from the folder of a kind that is known when the
program runs: who imports the part is taken to import that of every kind."""
_PASSED = "model_validate_json"
"""The way in which a block is read that arrives as a parameter."""
_MAKING = {ITSELF, CALLED, "model_construct", "model_fields", "model_validate"}
"""Ways to use a block that may read the defaults of its fields."""
_LOADS = "id 'Package" + "Loader'"
"""How the syntax tree of code that loads data files of its package has it; this text itself has it not."""
_BLOCKS, _ENUMS = {"BaseModel", "ConfigBlock"}, {"Enum", "IntEnum", "StrEnum"}


@cache
def _file(module: str) -> Path | None:
    """Return the file of a module of this project."""
    if not _is_in(module, ("maskbench",)):
        return None
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _is_in(module: str, rooms: tuple[str, ...]) -> bool:
    """Tell whether a module is in one of some packages, or is one of them."""
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


class _Closure:
    """The definitions that a script needs.

    Parameters
    ----------
    script
        File that everything starts from; all of it counts.
    """

    def __init__(self, script: Path) -> None:
        self.modules: dict[str, Path] = {}
        """Modules that have a part in it."""
        self.parts: dict[tuple[str, int, str], str] = {}
        """Code by module, place in it, and what is counted of the statement there."""
        self._seen: dict[tuple[str, str], set[str]] = {}
        source = read(script)
        every = (*source.bound.values(), *source.uses.imports)
        self._reads = any(_is_in(item.module, _READERS) for item in every)
        self._touch("", script)
        self._use("", source, source.uses)

    def extended(self, names: tuple[str, ...]) -> _Closure:
        """Return a copy with more modules, or definitions in modules, and all that they need."""
        other = copy(self)
        other.modules, other.parts = dict(self.modules), dict(self.parts)
        other._seen = {key: set(ways) for key, ways in self._seen.items()}
        for name in names:
            module, _, last = name.rpartition(".")
            if _file(name) is not None:
                other._all(name)
            elif _file(module) is not None:
                other._need(module, last, {_PASSED})
            else:
                raise FileNotFoundError(f"{name}: expected a module of this project, or a name in one")
        return other

    def _touch(self, module: str, file: Path) -> SourceFile:
        """Add what counts of a module whatever is used of it: what it imports for no name, and what it does."""
        source = read(file)
        if module in self.modules:
            return source
        if module:
            self.modules[module] = file
            for item in source.definitions:
                mentions = {(module, name) for name in item.whole.uses.values} if item.runs else set()
                if item.runs and (self._reads or not mentions & _TABLES):
                    self._add(module, source, item, "", item.whole)
        for idle in source.idle:
            self._follow(idle, {ITSELF})
        for name in (*filter(_file, source.dotted), *_of_kinds(module)):
            self._all(name)
        package = module.rpartition(".")[0]
        if (above := _file(package)) is not None:
            self._touch(package, above)
        return source

    def _follow(self, item: Import, ways: set[str], *, typed: bool = False, given: bool = False) -> None:
        """Add what an import names.

        Parameters
        ----------
        ways
            How it is used.
        typed
            It is the type of a field alone.
        given
            The field is one of the configuration: what lives elsewhere is a value there.
        """
        inner = item.module if item.name is None else f"{item.module}.{item.name}"
        is_module = _file(inner) is not None and not _defines(item.module, item.name)
        module = inner if is_module else item.module
        if _file(module) is None or (typed and given and not _is_in(module, _PARAMETERS[:2])):
            return
        if not is_module and item.name is not None:
            self._need(module, item.name, ways, typed=typed)
        elif ways & {ITSELF, CALLED}:
            self._all(module)
        else:
            for name in ways:
                self._need(module, name, {ITSELF})

    def _all(self, module: str) -> None:
        """Add every definition of a module."""
        file = _file(module)
        assert file is not None
        for name in sorted(self._touch(module, file).local):
            self._need(module, name, {ITSELF})

    def _need(self, module: str, name: str, ways: set[str], *, typed: bool = False) -> None:
        """Add a definition and all that it needs."""
        file, wanted = _file(module), {"(type)"} if typed else ways
        seen = self._seen.setdefault((module, name), set())
        if file is None or wanted <= seen or ((module, name) in _TABLES and not self._reads):
            return
        seen |= wanted
        source = self._touch(module, file)
        for item in source.definitions if name in source.local else ():
            if name in item.names:
                for part, piece in self._pieces(module, item, ways, typed):
                    self._add(module, source, item, part, piece)
                for base in item.bases:  # has a part of the fields
                    self._use_name(module, source, base, ways, typed=typed)
        if name in source.bound:
            self._follow(source.bound[name], ways, typed=typed, given=_is_in(module, _PARAMETERS))

    def _add(self, module: str, source: SourceFile, item: Definition, part: str, piece: Piece) -> None:
        """Add a piece of a module and all that it uses."""
        key = (module, item.place, f"{item.title}.{part}" if part else item.title)
        if key not in self.parts:
            self.parts[key] = piece.text
            self._use(module, source, piece.uses)

    def _use(self, module: str, source: SourceFile, uses: Uses) -> None:
        """Add what code in a module uses."""
        for item in uses.imports:
            self._follow(item, uses.values.get(item.bound) or {ITSELF})
        for name, ways, typed in _names(uses):
            self._use_name(module, source, name, ways, typed=typed)

    def _use_name(self, module: str, source: SourceFile, name: str, ways: set[str], *, typed: bool) -> None:
        """Add what a name in a module stands for."""
        if name in source.local and module:
            self._need(module, name, ways, typed=typed)
        elif name in source.bound:
            self._follow(source.bound[name], ways, typed=typed, given=_is_in(module, _PARAMETERS))

    def _pieces(self, module: str, item: Definition, ways: set[str], typed: bool) -> Iterator[tuple[str, Piece]]:
        """Yield the parts of a definition that count, each with a name."""
        if not item.is_class:
            yield ("type", item.alias) if typed and item.alias is not None else ("", item.whole)
        elif _derived(module, item, _ENUMS):
            if ways <= item.members.keys():
                yield "rest", item.rest
                yield from ((name, item.members[name]) for name in sorted(ways))
            elif not typed:
                yield "", item.whole
        elif _is_in(module, _PARAMETERS) and _derived(module, item, _BLOCKS):
            if "model_serializer" in item.behaviour.text or (not typed and ways & _MAKING):
                yield "", item.whole
                return
            yield "behaviour", item.behaviour
            asked = ways | item.behaviour.uses.values.get(item.title, set())
            yield from ((name, piece) for name, piece in item.fields.items() if field_of(name) in asked)
        else:
            yield "", item.whole


def _defines(module: str, name: str | None) -> bool:
    """Tell whether a module has a name by itself, so that a module of this name in its folder is not meant."""
    file = _file(module)
    source = read(file) if file is not None and name is not None else None
    return source is not None and (name in source.local or name in source.bound)


def _of_kinds(module: str) -> list[str]:
    """Return the modules of all kinds of task that belong to a part of a kind."""
    package, _, part = module.rpartition(".")
    if package != _KINDS:
        return []
    files = ROOT.joinpath(*_KINDS.split(".")).glob(f"*/{part}.py")
    return sorted(f"{_KINDS}.{file.parent.name}.{part}" for file in files)


def _derived(module: str, item: Definition, roots: set[str]) -> bool:
    """Tell whether a class is derived from one of some classes, or is one of them."""
    if {*item.bases, *item.names} & roots:
        return True
    file = _file(module)
    source = read(file) if file is not None else None
    for base in item.bases if source is not None else ():
        bound = source.bound.get(base)  # type: ignore[union-attr]
        there, name = (module, base) if bound is None else (bound.module, bound.name)
        file = _file(there)
        for other in read(file).definitions if file is not None else ():
            if name in other.names and other is not item and _derived(there, other, roots):
                return True
    return False


def _names(uses: Uses) -> Iterator[tuple[str, set[str], bool]]:
    """Yield the names that code uses, how, and whether as types alone."""
    for name, ways in uses.values.items():
        yield name, ways, False
    for name, ways in uses.types.items():
        if name not in uses.values:
            yield name, ways, True


def _entry(script: str) -> Path:
    """Return the file of a script."""
    return ROOT / script if "/" in script else ROOT / "scripts" / script


@cache
def _closure(script: str) -> _Closure:
    """Return the code of a script."""
    return _Closure(_entry(script))


def imported(script: str) -> dict[str, Path]:
    """Return the modules of this project that have a part in a script of scripts/, by name."""
    return dict(_closure(script).modules)


def counted(script: str, *names: str) -> dict[str, str]:
    """Return the code that a script's hash rests on beside the script, by module and name: ``module:name``.

    Parameters
    ----------
    script
        File name in scripts/, such as ``train.py``; or a file by its path from the top of the repository.
    names
        Modules, or definitions such as ``maskbench.experiment.cell.Cell``, that its imports do not show.

    Raises
    ------
    FileNotFoundError
        If there is no such script, or no such module.
    """
    found = _closure(script)
    found = found.extended(names) if names else found
    code: dict[str, str] = {}
    for (module, _, part), text in sorted(found.parts.items()):
        key = f"{module}:{part}"
        code[key] = f"{code[key]}\n{text}" if key in code else text
    return code


def _data_files(code: dict[str, str]) -> Iterator[Path]:
    """Yield the files that are no code, such as templates, of packages whose code loads some."""
    packages = {key.partition(":")[0].rpartition(".")[0] for key, text in code.items() if _LOADS in text}
    for package in sorted(packages):
        files = (path for path in ROOT.joinpath(*package.split(".")).rglob("*") if path.is_file())
        yield from sorted(path for path in files if path.suffix != ".py" and path.parent.name != "__pycache__")


@cache
def code_hash(script: str, *names: str) -> str:
    """Return a hash of a script, of all project code that it needs and of the data files that this loads.

    Comments, docstrings, annotations of functions' types and layout do not count.

    Parameters
    ----------
    script, names
        As `counted` takes them.

    Returns
    -------
    str
        Sixteen hexadecimal digits.
    """
    asked = " ".join([script, sha256_file(_entry(script)), *names])
    if asked not in (known := _known()):
        known[asked] = _hash_of(script, names)
        _keep(known)
    return known[asked]


def _hash_of(script: str, names: tuple[str, ...]) -> str:
    """Find a hash by reading the code, which takes seconds."""
    digest = hashlib.sha256(read(_entry(script)).text.encode())
    code = counted(script, *names)
    for key, text in code.items():
        digest.update(f"\n{key}\n{text}".encode())
    for data in _data_files(code):
        digest.update(f"\n{data.relative_to(ROOT)}\n{sha256_file(data)}".encode())
    return digest.hexdigest()[:16]


@cache
def _contents() -> str:
    """Return a hash of every file that a hash of code can rest on, beside the script that it starts from."""
    digest = hashlib.sha256()
    for folder in ("maskbench", "scripts"):
        for path in sorted(ROOT.joinpath(folder).rglob("*")):
            if path.is_file() and path.parent.name != "__pycache__":
                digest.update(f"{path.relative_to(ROOT)} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _kept() -> Path:
    """Return the file of the hashes that were found: beside what Python keeps of this module, by the same rules."""
    own = Path(cache_from_source(str(ROOT / "maskbench" / "io" / "code.py")))
    return own.with_name(f"hashes.{sys.implementation.cache_tag}.json")


@cache
def _known() -> dict[str, str]:
    """Return the hashes that an earlier process found in the same files, by what they are of."""
    with suppress(OSError, ValueError, TypeError, KeyError):  # not there, or cut short: they are found again
        kept = json.loads(_kept().read_text(encoding="utf-8"))
        if kept["contents"] == _contents():
            return {str(asked): str(found) for asked, found in kept["hashes"].items()}
    return {}


def _keep(known: dict[str, str]) -> None:
    """Write them for the next process, where Python may write what it compiled."""
    if not sys.dont_write_bytecode:
        with suppress(OSError):
            _kept().parent.mkdir(parents=True, exist_ok=True)
            write_json(_kept(), {"contents": _contents(), "hashes": known})


def forget() -> None:
    """Forget what was read, as a new process would: for programs that change code while they run."""
    for function in (read, _file, _closure, code_hash, _contents, _known):
        function.cache_clear()
