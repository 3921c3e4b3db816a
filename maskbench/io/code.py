"""A content hash of the code behind a stage, so that changed code reruns its stage and nothing else.

What a script imports counts, directly or not, wherever it lives. Of most modules all of it counts. The configuration
is different: nearly every job touches it, and most of what it says reaches a job as resolved parameters, which are
compared by themselves. So of its modules single definitions count: those that the job's code uses. The fields of a
block are left out (they arrive as parameters) unless the job makes such a block by itself or asks for their defaults;
validators and properties count, since they compute what a job works with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from copy import copy
from functools import cache
from pathlib import Path

from maskbench.io.files import sha256_file
from maskbench.io.source import CALLED, ITSELF, Definition, Import, Piece, Source, Uses, field_of, read

ROOT = Path(__file__).resolve().parents[2]
"""Top of the repository."""

IN_PARTS = ("maskbench.config", "maskbench.experiment", "maskbench.channels", "maskbench.masks.strategy")
"""Modules of which single definitions count."""
_READERS = ("maskbench.analysis", "maskbench.report")
_TABLES = {
    ("maskbench.config.measures", "MEASURES"),
    ("maskbench.config.measures", "_ENTRIES"),
    ("maskbench.masks.strategy", "TWINS"),
}
"""What jobs look into only to refuse something: unknown measures are not recorded, and twins were made before.

It counts for readers, who show what it says.
"""
_PASSED = "model_validate_json"
"""The way in which a block is read that arrives as a parameter."""
_MAKING = {ITSELF, CALLED, "model_construct", "model_fields", "model_validate"}
"""Ways to use a block that may read the defaults of its fields."""
_BLOCKS, _ENUMS = {"BaseModel", "Block"}, {"Enum", "IntEnum", "StrEnum"}


@cache
def _file(module: str) -> Path | None:
    """Return the file of a module of this project."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _is_in(module: str, rooms: tuple[str, ...]) -> bool:
    """Tell whether a module is in one of some packages, or is one of them."""
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


class _Closure:
    """Code that a script needs, whole modules and single definitions.

    Parameters
    ----------
    script
        File that everything starts from.
    """

    def __init__(self, script: Path) -> None:
        self.whole: dict[str, Path] = {}
        self.parts: dict[tuple[str, int, str], str] = {}
        """Code by module, place in it, and what is counted of the statement there."""
        self._seen: dict[tuple[str, str], set[str]] = {}
        source = read(script)
        self._reads = any(_is_in(module, _READERS) for module in source.modules)
        self._follow_all(source)

    def extended(self, names: tuple[str, ...]) -> _Closure:
        """Return a copy with more modules, or definitions in modules, and all that they need."""
        other = copy(self)
        other.whole, other.parts = dict(self.whole), dict(self.parts)
        other._seen = {key: set(ways) for key, ways in self._seen.items()}
        for name in names:
            module, _, last = name.rpartition(".")
            if _file(name) is not None:
                other._module(name)
            elif _file(module) is not None:
                other._need(module, last, {_PASSED})
            else:
                raise FileNotFoundError(f"{name}: expected a module of this project, or a name in one")
        return other

    def _follow_all(self, source: Source) -> None:
        """Add all that a file imports."""
        for item in source.imports:
            if not _is_in(item.module, ("maskbench",)):
                continue
            if not _is_in(item.module if item.name is None else f"{item.module}.{item.name}", IN_PARTS):
                self._follow(item, {ITSELF})  # all of a module counts, however it is used
                continue
            ways = source.uses.values.get(item.bound, set())
            if ways or item.bound not in source.uses.types:
                self._follow(item, ways or ({ITSELF} if source.is_package else set()))
            else:
                self._follow(item, {ITSELF}, typed=True)

    def _follow(self, item: Import, ways: set[str], *, typed: bool = False, within: bool = False) -> None:
        """Add what an import names.

        Parameters
        ----------
        ways
            How it is used.
        typed
            It stands in annotations alone.
        within
            The import is one of the configuration: the type of a field that lives elsewhere is a value there.
        """
        inner = item.module if item.name is None else f"{item.module}.{item.name}"
        module = inner if _file(inner) is not None else item.module
        if not _is_in(module, ("maskbench",)) or _file(module) is None:
            return
        if not _is_in(module, IN_PARTS):
            if not (within and typed):
                self._module(module)
        elif not ways:
            return  # it stands in annotations of functions alone, which do nothing
        elif module != inner and item.name is not None:
            self._need(module, item.name, ways, typed=typed)
        elif ways & {ITSELF, CALLED}:
            self._all(module)
        else:
            for name in ways:
                self._need(module, name, {ITSELF})

    def _module(self, module: str) -> None:
        """Add a module, its packages, and all that they import."""
        file = _file(module)
        if file is None or module in self.whole:
            return
        if _is_in(module, IN_PARTS):
            self._all(module)
            return
        self.whole[module] = file
        self._follow_all(read(file))
        package = module.rpartition(".")[0]
        if package:
            self._module(package)

    def _all(self, module: str) -> None:
        """Add every definition of a module of which single ones count."""
        file = _file(module)
        for name in {name for item in read(file).definitions for name in item.names} if file else ():
            self._need(module, name, {ITSELF})

    def _need(self, module: str, name: str, ways: set[str], *, typed: bool = False) -> None:
        """Add a definition and all that it needs."""
        file, wanted = _file(module), {"(type)"} if typed else ways
        seen = self._seen.setdefault((module, name), set())
        if file is None or wanted <= seen or ((module, name) in _TABLES and not self._reads):
            return
        seen |= wanted
        source = read(file)
        for item in source.definitions:
            if name in item.names:
                for part, piece in self._pieces(module, item, ways, typed):
                    self._add(module, source, item.place, f"{item.title}.{part}" if part else item.title, piece)
            elif not item.names and (
                self._reads or not any((module, used) in _TABLES for used in item.whole.uses.values)
            ):
                self._add(module, source, item.place, item.title, item.whole)
        if name in source.bound:
            self._follow(source.bound[name], ways, typed=typed, within=True)

    def _add(self, module: str, source: Source, place: int, part: str, piece: Piece) -> None:
        """Add a piece of a module and all that it uses."""
        if (module, place, part) in self.parts:
            return
        self.parts[module, place, part] = piece.text
        for item in piece.uses.imports:
            self._follow(item, piece.uses.values.get(item.bound) or {ITSELF}, within=True)
        for name, ways, typed in _names(piece.uses):
            if name in source.local:
                self._need(module, name, ways, typed=typed)
            elif name in source.bound:
                self._follow(source.bound[name], ways, typed=typed, within=True)

    def _pieces(self, module: str, item: Definition, ways: set[str], typed: bool) -> Iterator[tuple[str, Piece]]:
        """Yield the parts of a definition that count, each with a name."""
        if item.behaviour is None or item.rest is None:
            yield ("type", item.alias) if typed and item.alias is not None else ("", item.whole)
        elif self._derived(module, item, _ENUMS):
            if typed:
                return
            if ways <= item.members.keys():
                yield "rest", item.rest
                yield from ((name, item.members[name]) for name in sorted(ways))
            else:
                yield "", item.whole
        elif self._derived(module, item, _BLOCKS):
            if "model_serializer" in item.behaviour.text or (not typed and ways & _MAKING):
                yield "", item.whole
                return
            yield "behaviour", item.behaviour
            asked = ways | item.behaviour.uses.values.get(item.names[0], set())
            yield from ((name, piece) for name, piece in item.fields.items() if field_of(name) in asked)
        else:
            yield "", item.whole

    def _derived(self, module: str, item: Definition, bases: set[str]) -> bool:
        """Tell whether a class is derived from one of some classes."""
        if set(item.bases) & bases or set(item.names) & bases:
            return True
        file = _file(module)
        source = read(file) if file is not None else None
        for base in item.bases if source is not None else ():
            bound = source.bound.get(base)  # type: ignore[union-attr]
            there, name = (module, base) if bound is None else (bound.module, bound.name)
            file = _file(there)
            found = read(file).definitions if file is not None and _is_in(there, ("maskbench",)) else ()
            if any(name in other.names and self._derived(there, other, bases) for other in found):
                return True
        return False


def _names(uses: Uses) -> Iterator[tuple[str, set[str], bool]]:
    """Yield the names that code uses, how, and whether as types alone."""
    for name, ways in uses.values.items():
        yield name, ways, False
    for name, ways in uses.types.items():
        if name not in uses.values:
            yield name, ways, True


@cache
def _closure(script: str) -> _Closure:
    """Return the code of a script."""
    return _Closure(ROOT / script if "/" in script else ROOT / "scripts" / script)


def imported(script: str) -> dict[str, Path]:
    """Return the modules of this project that count as a whole for a script of scripts/, by name."""
    return dict(_closure(script).whole)


def _data_files(package: Path) -> list[Path]:
    """Return the files of a package that are no code, such as templates."""
    files = (path for path in package.rglob("*") if path.is_file())
    return sorted(path for path in files if path.suffix not in (".py", ".pyc"))


def counted(script: str, *names: str) -> dict[str, str]:
    """Return the code that a script's hash rests on, by module, or by module and name for single definitions.

    Parameters
    ----------
    script
        File name in scripts/, such as ``train.py``; or a file by its path from the top of the repository.
    names
        More modules, or definitions such as ``maskbench.experiment.cell.Cell``, that its imports do not show.

    Raises
    ------
    FileNotFoundError
        If there is no such script, or no such module.
    """
    found = _closure(script)
    found = found.extended(names) if names else found
    code = {module: read(file).text for module, file in found.whole.items()}
    for (module, _, part), text in sorted(found.parts.items()):
        key = f"{module}:{part}"
        code[key] = f"{code[key]}\n{text}" if key in code else text
    return code


@cache
def code_hash(script: str, *names: str) -> str:
    """Return a hash of a script, of all project code that it needs and of the data files beside it.

    Comments, docstrings and layout do not count.

    Parameters
    ----------
    script, names
        As `counted` takes them.

    Returns
    -------
    str
        Sixteen hexadecimal digits.
    """
    entry = ROOT / script if "/" in script else ROOT / "scripts" / script
    digest = hashlib.sha256(read(entry).text.encode())
    for key, text in sorted(counted(script, *names).items()):
        digest.update(f"\n{key}\n{text}".encode())
        file = _file(key)
        if file is not None and file.name == "__init__.py" and _is_in(key, _READERS):
            for data in _data_files(file.parent):
                digest.update(f"\n{data.relative_to(ROOT)}\n{sha256_file(data)}".encode())
    return digest.hexdigest()[:16]


def forget() -> None:
    """Forget what was read, as a new process would: for programs that change code while they run."""
    for function in (read, _file, _closure, code_hash):
        function.cache_clear()
