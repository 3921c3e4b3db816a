"""Which kinds of masks there are, and their classes: a kind is a module in the folder of its family.

The module of `rate-twin` is masks/input/rate_twin.py. It is imported when its class is asked for, so that a job depends
on the masks of its own strategy and on no others.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from maskbench.errors import InputError
from maskbench.masks.base import Family, Mask

_FOLDER = Path(__file__).parent


@cache
def _modules(family: Family) -> tuple[str, ...]:
    """Return the names of the modules in the folder of a family."""
    return tuple(sorted(module.name for module in iter_modules([str(_FOLDER / family)])))


def kinds(family: Family) -> list[str]:
    """Return the kinds of masks of a family, sorted: those of its folder, and those that were defined elsewhere."""
    return sorted({name.replace("_", "-") for name in _modules(family)} | Mask.registry[family].keys())


def find(family: Family, kind: str) -> type[Mask]:
    """Return the class of a kind of mask, and import its module if it is not imported yet.

    Raises
    ------
    KeyError
        If the family has no such kind.
    InputError
        If the kind's module does not define that one mask.
    """
    known = Mask.registry[family]
    module = kind.replace("-", "_")
    if kind not in known and "_" not in kind and module in _modules(family):
        found = _defined(import_module(f"maskbench.masks.{family}.{module}"), family)
        if list(found) != [kind]:
            raise InputError(
                f'maskbench/masks/{family}/{module}.py: expected one {family} mask, with kind: Literal["{kind}"] = '
                f'"{kind}", found {", ".join(found) or "none"}'
            )
        known |= found
    return known[kind]


def _defined(module: ModuleType, family: Family) -> dict[str, type[Mask]]:
    """Return the masks of a family that a module defines, by kind."""
    classes = (item for item in vars(module).values() if isinstance(item, type) and item.__module__ == module.__name__)
    masks = (item for item in classes if issubclass(item, Mask) and item.family == family)
    return {mask.model_fields["kind"].default: mask for mask in masks if "kind" in mask.__annotations__}


def known(family: Family) -> dict[str, type[Mask]]:
    """Return all masks of a family by kind, sorted; imports every module of the family."""
    return {kind: find(family, kind) for kind in kinds(family)}
