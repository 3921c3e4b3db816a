"""A content hash of the code behind a stage, so that changed code reruns its stage and nothing else."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from maskbench.io.files import sha256_file

ROOT = Path(__file__).resolve().parents[2]
"""Top of the repository."""

_PARAMETERS = ("maskbench.config", "maskbench.experiment")
"""What these do reaches a job as resolved parameters, which Snakemake compares by themselves."""

_READERS = ("maskbench.analysis", "maskbench.report")
_REGISTRIES = ("maskbench.config.measures", "maskbench.config.claims")
"""What arrives by no parameter is code for its readers: the registry of measures, and what a file of claims means."""


def _source(module: str) -> Path | None:
    """Return the file of a module of this project."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    """Drop bare strings: docstrings and attribute docs change no result."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [
                item
                for item in body
                if not (
                    isinstance(item, ast.Expr)
                    and isinstance(item.value, ast.Constant)
                    and isinstance(item.value.value, str)
                )
            ]
            body[:] = kept or [ast.Pass()]
    return tree


@cache
def _read(file: Path) -> tuple[str, tuple[str, ...]]:
    """Return a file's code without comments and docstrings, and the project's modules that it imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return ast.unparse(_without_docstrings(tree)), tuple(sorted(name for name in names if name.startswith("maskbench")))


def imported(script: Path) -> dict[str, Path]:
    """Return the modules of this project that a script imports, directly or not, packages' own code included."""
    found: dict[str, Path] = {}
    todo = [("script", name) for name in _read(script)[1]]
    while todo:
        importer, module = todo.pop()
        file = _source(module)
        reads = importer.startswith((*_READERS, *_REGISTRIES))
        is_code = not module.startswith(_PARAMETERS) or (module.startswith(_REGISTRIES) and reads)
        if file is None or module in found or not is_code:
            continue
        found[module] = file
        todo += [(module, name) for name in _read(file)[1]]
        todo += [(module, module.rsplit(".", count)[0]) for count in range(1, module.count(".") + 1)]
    return found


def _data_files(package: Path) -> list[Path]:
    """Return the files of a package that are no code, such as templates."""
    files = (path for path in package.rglob("*") if path.is_file())
    return sorted(path for path in files if path.suffix not in (".py", ".pyc"))


@cache
def code_hash(script: str) -> str:
    """Return a hash of a script of scripts/, of all project code that it imports and of the data files beside it.

    Comments, docstrings and layout do not count.

    Parameters
    ----------
    script
        File name in scripts/, such as ``train.py``.

    Returns
    -------
    str
        Sixteen hexadecimal digits.
    """
    entry = ROOT / "scripts" / script
    digest = hashlib.sha256(_read(entry)[0].encode())
    for module, file in sorted(imported(entry).items()):
        digest.update(f"\n{module}\n{_read(file)[0]}".encode())
        if file.name == "__init__.py" and module.startswith(_READERS):
            for data in _data_files(file.parent):
                digest.update(f"\n{data.relative_to(ROOT)}\n{sha256_file(data)}".encode())
    return digest.hexdigest()[:16]
