"""What stands in a source file: its code without words for readers, and what each of its statements uses.

Nothing is imported or run: files are parsed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

ITSELF, CALLED, COMPARED = "", "()", "(isinstance)"
"""Ways to use a name beside those of its attributes: as it is, by a call, and to ask what something is."""
_BOUNDS = ("Field", "StringConstraints")
"""Calls in a type that refuse values and change none."""

Ways = dict[str, set[str]]
"""Names, and how each is used: `ITSELF`, `CALLED`, `COMPARED`, `field(name)`, or the names of its attributes."""


@dataclass(frozen=True)
class Import:
    """A name that an import binds."""

    module: str
    """Module that is named."""
    name: str | None
    """What is taken from it; None: the module itself."""
    bound: str
    """What it is called here."""


@dataclass
class Uses:
    """What a piece of code uses."""

    values: Ways = field(default_factory=dict)
    """Names whose values are used."""
    types: Ways = field(default_factory=dict)
    """Names in the types of fields; other annotations do nothing."""
    imports: list[Import] = field(default_factory=list)
    """What is imported where it is used."""

    def __iadd__(self, other: Uses) -> Uses:
        """Add what another piece of code uses."""
        for mine, theirs in ((self.values, other.values), (self.types, other.types)):
            for name, ways in theirs.items():
                mine.setdefault(name, set()).update(ways)
        self.imports += other.imports
        return self


@dataclass(frozen=True)
class Piece:
    """One part of a statement that counts by itself."""

    text: str
    uses: Uses


@dataclass(frozen=True)
class Definition:
    """One statement at the top of a module."""

    place: int
    names: tuple[str, ...]
    """What it binds."""
    whole: Piece
    bases: tuple[str, ...] = ()
    """Of a class: what it is derived from."""
    behaviour: Piece | None = None
    """Of a class: all but the annotated names in its body, whose types are still used as types."""
    fields: dict[str, Piece] = field(default_factory=dict)
    """Of a class: the annotated names in its body."""
    members: dict[str, Piece] = field(default_factory=dict)
    """Of a class: what is assigned in its body, by name."""
    rest: Piece | None = None
    """Of a class: all but what is assigned in its body."""
    alias: Piece | None = None
    """Of the name of a type: what changes values of that type."""

    @property
    def title(self) -> str:
        """The names that it binds, in one text."""
        return ", ".join(self.names)


@dataclass(frozen=True)
class Source:
    """A source file."""

    tree: ast.Module
    """Code without comments, docstrings and what only type checkers read."""
    imports: tuple[Import, ...]
    """Everywhere in the file."""
    is_package: bool
    """Whether it is the file of a package, which passes on what it imports."""
    bound: dict[str, Import]
    """Names that the file has from elsewhere."""
    body: tuple[ast.stmt, ...]
    """The other statements at its top."""

    @cached_property
    def text(self) -> str:
        """The code as text in one layout."""
        return ast.unparse(self.tree)

    @cached_property
    def uses(self) -> Uses:
        """What the code uses."""
        return _uses([self.tree])

    @cached_property
    def definitions(self) -> tuple[Definition, ...]:
        """The other statements at its top, read."""
        return tuple(_definition(place, node) for place, node in enumerate(self.body))

    @cached_property
    def local(self) -> frozenset[str]:
        """Names that the file defines."""
        return frozenset(name for item in self.definitions for name in item.names)

    @property
    def modules(self) -> Iterator[str]:
        """Names that may be modules which are imported."""
        for item in self.imports:
            yield item.module
            if item.name is not None:
                yield f"{item.module}.{item.name}"


def _bare(body: list[ast.stmt], imports: list[Import]) -> list[ast.stmt]:
    """Return statements without what changes no result: docstrings, docs of attributes, what only type checkers read.

    Parameters
    ----------
    body
        Statements, which are changed.
    imports
        Where all that is imported is noted.
    """
    kept: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            kept += _bare(node.orelse, imports)
            continue
        imports += _imported(node)
        for part in (node, *getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            for name in ("body", "orelse", "finalbody"):
                if inner := getattr(part, name, None):
                    bare = _bare(inner, imports)
                    setattr(part, name, bare or ([ast.Pass()] if name == "body" else []))
        kept.append(node)
    return kept


@cache
def read(file: Path) -> Source:
    """Read a file; later changes of it are not seen."""
    tree, imports = ast.parse(file.read_text(encoding="utf-8")), list[Import]()
    tree.body = _bare(tree.body, imports)
    bound = {item.bound: item for node in tree.body for item in _imported(node)}
    body = tuple(node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom))
    return Source(tree, tuple(imports), file.name == "__init__.py", bound, body)


def _imported(node: ast.AST) -> Iterator[Import]:
    """Yield what an import statement binds."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, None, alias.asname or alias.name.partition(".")[0])
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            yield Import(node.module, alias.name, alias.asname or alias.name)


def field_of(name: str) -> str:
    """Return the way to use a class that asks for one of its fields."""
    return f"field({name})"


class _Visitor(ast.NodeVisitor):
    """Collects what code uses."""

    def __init__(self) -> None:
        self.found = Uses()

    def _use(self, name: str, way: str) -> None:
        self.found.values.setdefault(name, set()).add(way)

    def visit_Name(self, node: ast.Name) -> None:
        """Note a name."""
        if isinstance(node.ctx, ast.Load):
            self._use(node.id, ITSELF)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Note an attribute of a name."""
        if isinstance(node.value, ast.Name):
            self._use(node.value.id, node.attr)
        else:
            self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Note a field that is asked for by name: ``Task.model_fields["labels"]``."""
        owner = (
            node.value.value if isinstance(node.value, ast.Attribute) and node.value.attr == "model_fields" else None
        )
        if isinstance(owner, ast.Name) and isinstance(node.slice, ast.Constant):
            self._use(owner.id, field_of(str(node.slice.value)))
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Note a call of a name."""
        asks = isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass")
        if isinstance(node.func, ast.Name):
            self._use(node.func.id, CALLED)
        else:
            self.visit(node.func)
        for place, part in enumerate((*node.args, *node.keywords)):
            if asks and place == 1:
                for item in ast.walk(part):
                    if isinstance(item, ast.Name):
                        self._use(item.id, COMPARED)
            else:
                self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Note the types of fields."""
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        for item in node.body:
            if isinstance(item, ast.AnnAssign):
                self.found += _of_type(item.annotation).uses
            self.visit(item)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Note a value apart from its type."""
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Note what a function does, apart from the types of what it takes and returns."""
        arguments = node.args
        defaults = [item for item in (*arguments.defaults, *arguments.kw_defaults) if item is not None]
        for part in (*node.decorator_list, *defaults, *node.body):
            self.visit(part)

    def visit_Import(self, node: ast.Import) -> None:
        """Note an import inside the code."""
        self.found.imports += _imported(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Note an import inside the code."""
        self.found.imports += _imported(node)


def _uses(nodes: Iterable[ast.AST]) -> Uses:
    """Return what some code uses."""
    visitor = _Visitor()
    for node in nodes:
        visitor.visit(node)
    return visitor.found


def _of_type(node: ast.expr) -> Piece:
    """Return what a type does to values: what it calls, bounds left out; all other names in it are types."""
    texts, uses, todo = [], Uses(), [node]
    while todo:
        item = todo.pop()
        if isinstance(item, ast.Call):
            if not (isinstance(item.func, ast.Name) and item.func.id in _BOUNDS):
                texts.append(ast.unparse(item))
                uses += _uses([item])
        elif isinstance(item, ast.Name):
            uses.types.setdefault(item.id, set()).add(ITSELF)
        else:
            todo += [part for part in ast.iter_child_nodes(item) if isinstance(part, ast.expr)]
    return Piece("\n".join(sorted(texts)), uses)


def _piece(*nodes: ast.AST) -> Piece:
    """Return some code as one piece."""
    return Piece("\n".join(map(ast.unparse, nodes)), _uses(nodes))


def _definition(place: int, node: ast.stmt) -> Definition:
    """Read a statement at the top of a module."""
    if isinstance(node, ast.ClassDef):
        return _class(place, node)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return Definition(place, (node.name,), _piece(node))
    stored = [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    is_alias = isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp)
    alias = _of_type(node.value) if isinstance(node, ast.Assign) and is_alias else None
    return Definition(place, tuple(stored), _piece(node), alias=alias)


def _class(place: int, node: ast.ClassDef) -> Definition:
    """Read a class."""
    head = ast.ClassDef(node.name, node.bases, node.keywords, [ast.Pass()], node.decorator_list)
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and not _of_class(part)]
    others = [part for part in node.body if part not in fields]
    behaviour = _piece(head, *others)
    for item in fields:
        kind = _of_type(item.annotation)
        uses = behaviour.uses
        uses += kind.uses
        behaviour = Piece("\n".join(filter(None, (behaviour.text, kind.text))), uses)
    declared = {part.target.id: _piece(part) for part in fields if isinstance(part.target, ast.Name)}
    assigned = [part for part in node.body if isinstance(part, ast.Assign)]
    names = {part.targets[0].id: _piece(part) for part in assigned if isinstance(part.targets[0], ast.Name)}
    rest = _piece(head, *(part for part in node.body if part not in assigned))
    bases = tuple(base.id for base in node.bases if isinstance(base, ast.Name))
    return Definition(place, (node.name,), _piece(node), bases, behaviour, declared, names, rest)


def _of_class(node: ast.AnnAssign) -> bool:
    """Tell whether an annotated name is the class's own, not a field."""
    return "ClassVar" in ast.unparse(node.annotation)
