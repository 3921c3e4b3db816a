"""What a piece of code uses: names, how each is used, and what is imported on the way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

ITSELF, CALLED, COMPARED, DERIVED = "", "()", "(isinstance)", "(base)"
"""Ways to use a name beside those of its attributes: as it is, by a call, to ask what something is, as a base."""
_BOUNDS = ("Field", "StringConstraints")
"""Calls in a type that refuse values and change none."""

Ways = dict[str, set[str]]
"""Names, and how each is used: `ITSELF`, `CALLED`, `COMPARED`, `DERIVED`, `field(name)`, or attributes of its own."""


def field_of(name: str) -> str:
    """Return the way to use a class that asks for one of its fields."""
    return f"field({name})"


@dataclass(frozen=True)
class Import:
    """A name that an import binds."""

    module: str
    """Full name of the module that is named."""
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
    """Names in the types of fields."""
    idle: set[str] = field(default_factory=set)
    """Names in other annotations, which do nothing."""
    imports: list[Import] = field(default_factory=list)
    """What is imported where it is used."""

    def __iadd__(self, other: Uses) -> Uses:
        """Add what another piece of code uses."""
        for mine, theirs in ((self.values, other.values), (self.types, other.types)):
            for name, ways in theirs.items():
                mine.setdefault(name, set()).update(ways)
        self.idle |= other.idle
        self.imports += other.imports
        return self


def imported(node: ast.AST) -> Iterator[Import]:
    """Yield what an import statement binds."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, None, alias.asname or alias.name.partition(".")[0])
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            yield Import(node.module, alias.name, alias.asname or alias.name)


def called(kind: ast.expr) -> Iterator[ast.Call]:
    """Yield the calls in a type, bounds left out."""
    todo: list[ast.AST] = [kind]
    while todo:
        item = todo.pop()
        if not isinstance(item, ast.Call):
            todo += [part for part in ast.iter_child_nodes(item) if isinstance(part, ast.expr)]
        elif not (isinstance(item.func, ast.Name) and item.func.id in _BOUNDS):
            yield item


class Visitor(ast.NodeVisitor):
    """Collects the names that a piece of code uses."""

    def __init__(self) -> None:
        self.found = Uses()

    def _use(self, name: str, way: str) -> None:
        self.found.values.setdefault(name, set()).add(way)

    def visit_type(self, kind: ast.expr) -> None:
        """Note what the type of a field calls; all other names in it are types."""
        for call in called(kind):
            self.visit(call)
        for item in ast.walk(kind):
            if isinstance(item, ast.Name):
                self.found.types.setdefault(item.id, set()).add(ITSELF)

    def _annotation(self, kind: ast.expr | None) -> None:
        if kind is not None:
            self.found.idle |= {item.id for item in ast.walk(kind) if isinstance(item, ast.Name)}

    def visit_Name(self, node: ast.Name) -> None:
        """Note a name that the code reads."""
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
        asked = isinstance(node.value, ast.Attribute) and node.value.attr == "model_fields"
        owner = node.value.value if isinstance(node.value, ast.Attribute) and asked else None
        if isinstance(owner, ast.Name) and isinstance(node.slice, ast.Constant):
            self._use(owner.id, field_of(str(node.slice.value)))
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Note a call of a name."""
        compares = isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass")
        if isinstance(node.func, ast.Name):
            self._use(node.func.id, CALLED)
        else:
            self.visit(node.func)
        for place, part in enumerate((*node.args, *node.keywords)):
            if compares and place == 1:
                for item in ast.walk(part):
                    if isinstance(item, ast.Name):
                        self._use(item.id, COMPARED)
            else:
                self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Note the bases, and the types of fields."""
        for base in node.bases:
            if isinstance(base, ast.Name):
                self._use(base.id, DERIVED)
            else:
                self.visit(base)
        for part in (*node.decorator_list, *node.keywords):
            self.visit(part)
        for item in node.body:
            if isinstance(item, ast.AnnAssign):
                self.visit_type(item.annotation)
            self.visit(item)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Note a value apart from its type."""
        self._annotation(node.annotation)
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """Note the type of an argument."""
        self._annotation(node.annotation)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Note what a function does apart from the types of what it takes and returns."""
        self._annotation(node.returns)
        for part in (*node.decorator_list, node.args, *node.body):
            self.visit(part)

    def visit_Import(self, node: ast.Import) -> None:
        """Note an import inside the code."""
        self.found.imports += imported(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Note an import inside the code."""
        self.found.imports += imported(node)
