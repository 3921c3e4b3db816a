"""What stands in a source file: its statements without words for readers, and what each of them uses.

Nothing is imported or run: files are parsed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from maskbench.io.uses import Import, Uses, Visitor, called, imported

_COMPOUND = (ast.If, ast.Try, ast.With, ast.For, ast.While, ast.Match)


def written(node: ast.AST) -> str:
    """Return the syntax tree of some code as text; code that differs in comments and layout alone has the same.

    It takes a quarter of the time of `ast.unparse`. Empty parts of the tree are left out, since versions of Python have
    different ones.
    """
    parts: list[str] = []

    def write(item: Any) -> None:
        if isinstance(item, ast.AST):
            parts.append(type(item).__name__)
            parts.append("(")
            for name in item._fields:
                value = getattr(item, name, None)
                if name != "ctx" and value is not None and value != []:
                    parts.append(name)
                    write(value)
            parts.append(")")
        elif isinstance(item, list):
            parts.append("[")
            for part in item:
                write(part)
            parts.append("]")
        else:
            parts.append(repr(item))

    write(node)
    return " ".join(parts)


class Piece:
    """Some code that counts by itself; it is looked at when it is asked for.

    Parameters
    ----------
    nodes
        The code.
    types
        Types, of which only what they call is code.
    """

    def __init__(self, nodes: Iterable[ast.AST] = (), types: Iterable[ast.expr] = ()) -> None:
        self._nodes, self._types = tuple(nodes), tuple(types)

    @cached_property
    def text(self) -> str:
        """The code as `written` gives it."""
        calls = sorted(written(call) for kind in self._types for call in called(kind))
        return "\n".join([*map(written, self._nodes), *calls])

    @cached_property
    def uses(self) -> Uses:
        """The names that the code uses."""
        visitor = Visitor()
        for node in self._nodes:
            visitor.visit(node)
        for kind in self._types:
            visitor.visit_type(kind)
        return visitor.found


@dataclass(frozen=True)
class Definition:
    """One statement at the top of a module."""

    place: int
    names: tuple[str, ...]
    """Names that the statement binds."""
    node: ast.stmt

    @property
    def title(self) -> str:
        """The names that it binds, in one text."""
        return ", ".join(self.names)

    @cached_property
    def whole(self) -> Piece:
        """The code of the whole statement."""
        return Piece([self.node])

    @cached_property
    def alias(self) -> Piece | None:
        """Of the name of a type: what changes values of that type."""
        is_alias = isinstance(self.node, ast.Assign) and isinstance(self.node.value, ast.Subscript | ast.BinOp)
        return Piece(types=[self.node.value]) if isinstance(self.node, ast.Assign) and is_alias else None

    @property
    def runs(self) -> bool:
        """Whether it does something when the module is imported, beside binding names."""
        return not self.names or isinstance(self.node, _COMPOUND)

    @property
    def is_class(self) -> bool:
        """Whether it defines a class."""
        return isinstance(self.node, ast.ClassDef)

    @property
    def bases(self) -> tuple[str, ...]:
        """Of a class: what it is derived from."""
        bases = self.node.bases if isinstance(self.node, ast.ClassDef) else []
        return tuple(base.id for base in bases if isinstance(base, ast.Name))

    def _body(self, kind: type[ast.stmt], *, of_kind: bool) -> list[ast.stmt]:
        """Return the statements in a class that are of a kind, or those that are not; ClassVars are no fields."""
        body = self.node.body if isinstance(self.node, ast.ClassDef) else []
        return [item for item in body if (isinstance(item, kind) and not _of_class(item)) == of_kind]

    def _without(self, kind: type[ast.stmt]) -> ast.ClassDef:
        """Return the class without statements of a kind."""
        node = self.node
        assert isinstance(node, ast.ClassDef)
        body = self._body(kind, of_kind=False) or [ast.Pass()]
        return ast.ClassDef(node.name, node.bases, node.keywords, body, node.decorator_list)

    @cached_property
    def behaviour(self) -> Piece:
        """Of a class: all but its fields, whose types are still used as types."""
        types = [item.annotation for item in self._body(ast.AnnAssign, of_kind=True) if isinstance(item, ast.AnnAssign)]
        return Piece([self._without(ast.AnnAssign)], types)

    @cached_property
    def fields(self) -> dict[str, Piece]:
        """Of a class: its fields by name."""
        found = self._body(ast.AnnAssign, of_kind=True)
        return {_target(item): Piece([item]) for item in found}

    @cached_property
    def members(self) -> dict[str, Piece]:
        """Of a class: what is assigned in its body, by name."""
        return {_target(item): Piece([item]) for item in self._body(ast.Assign, of_kind=True)}

    @cached_property
    def rest(self) -> Piece:
        """Of a class: all but what is assigned in its body."""
        return Piece([self._without(ast.Assign)])


def _of_class(node: ast.stmt) -> bool:
    """Tell whether an annotated name is the class's own, not a field."""
    return isinstance(node, ast.AnnAssign) and "ClassVar" in ast.unparse(node.annotation)


def _target(node: ast.stmt) -> str:
    """Return the name that a statement in a class binds."""
    target = (
        node.target if isinstance(node, ast.AnnAssign) else node.targets[0] if isinstance(node, ast.Assign) else None
    )
    return target.id if isinstance(target, ast.Name) else ""


@dataclass(frozen=True)
class SourceFile:
    """A Python source file of the package, as its hash needs it."""

    tree: ast.Module
    """Code without comments, docstrings and what only type checkers read."""
    bound: dict[str, Import]
    """Names that the file has from elsewhere."""
    definitions: tuple[Definition, ...]
    """The other statements at its top."""
    local: frozenset[str]
    """Names that these statements define."""
    dotted: tuple[str, ...]
    """Modules that are imported by their full names: ``import package.module``."""
    is_marked: bool
    """Whether some import is marked as unused."""

    @cached_property
    def text(self) -> str:
        """All of the file as `written` gives it."""
        return written(self.tree)

    @cached_property
    def uses(self) -> Uses:
        """What all of it uses, imports at its top aside."""
        return Piece([item.node for item in self.definitions]).uses

    @cached_property
    def idle(self) -> tuple[Import, ...]:
        """What is imported at the top and never used there, for what the import does: it is marked for the linter."""
        if not self.is_marked:
            return ()
        uses = self.uses
        known = uses.values.keys() | uses.types.keys() | uses.idle
        return tuple(item for name, item in self.bound.items() if name not in known)


def _bare(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return statements without what changes no result: docstrings and what only type checkers read."""
    kept: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            kept += _bare(node.orelse)
            continue
        for part in (node, *getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            for name in ("body", "orelse", "finalbody"):
                if inner := getattr(part, name, None):
                    setattr(part, name, _bare(inner) or ([ast.Pass()] if name == "body" else []))
        kept.append(node)
    return kept


@cache
def read(file: Path) -> SourceFile:
    """Read a file; later changes of it are not seen."""
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    tree.body = _bare(tree.body)
    bound = {item.bound: item for node in tree.body for item in imported(node)}
    others = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    definitions = tuple(Definition(place, tuple(_defined(node)), node) for place, node in enumerate(others))
    local = frozenset(name for item in definitions for name in item.names)
    whole = [item.module for node in tree.body for item in imported(node) if item.name is None and _is_dotted(item)]
    return SourceFile(tree, bound, definitions, local, tuple(whole), "noqa: F401" in text)


def _is_dotted(item: Import) -> bool:
    """Tell whether an import binds a package of the module that it names."""
    return item.module.startswith(f"{item.bound}.")


def _defined(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, _COMPOUND):
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                yield part.id
            elif isinstance(part, ast.FunctionDef | ast.ClassDef):
                yield part.name
            yield from (item.bound for item in imported(part))
    else:
        names = (part for part in ast.walk(node) if isinstance(part, ast.Name))
        yield from (name.id for name in names if isinstance(name.ctx, ast.Store))
