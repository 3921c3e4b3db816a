"""Stand-ins for NVIDIA's driver: machines with cards, told by a program nvidia-smi or by a module pynvml."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

A, B = "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
TWIN = A[:-1] + "8"
"""A card whose UUID differs from A's in the last digit."""
PART, OTHER_PART = "MIG-c7384736-a75d-5afc-978f-d2f1294409fd", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d"
OLD_PART = "MIG-GPU-b8ea3855-276c-c9cb-b366-c6fa655957c5/7/0"
"""As drivers before 470 name a part."""


@dataclass(frozen=True)
class Card:
    """A card; `mig`: None where it knows no MIG, else its parts by number, with gaps."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    mig: dict[int, tuple[str, str]] | None = None


CARDS = (Card(A), Card(B))
TWINS = (Card(A), Card(TWIN))
SPLIT = (Card(A, "NVIDIA A100", {0: ("3g.20gb", PART), 3: ("1g.5gb", OTHER_PART)}), Card(B, "NVIDIA A100", {}))
OLD_SPLIT = (Card(A, "A100-SXM4-40GB", {0: ("1g.5gb", OLD_PART)}),)
NOTHING: tuple[Card, ...] = ()


class Smi:
    """A program nvidia-smi, first on PATH, that prints as the real one does."""

    told_by = "nvidia-smi"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.program = folder / "bin" / "nvidia-smi"

    def has(self, cards: tuple[Card, ...]) -> None:
        """Let the machine have these cards."""
        lines = []
        for index, card in enumerate(cards):
            lines.append(f"GPU {index}: {card.name} (UUID: {card.uuid})")
            for device, (profile, uuid) in enumerate((card.mig or {}).values()):
                lines.append(f"  MIG {profile:<10}  Device  {device}: (UUID: {uuid})")
        self.says("\n".join(lines) or "No devices were found")

    def says(self, text: str, status: int = 0) -> None:
        """Print a text and end with a status."""
        self.program.parent.mkdir(exist_ok=True)
        self.program.write_text(f"#!/bin/sh\n[ \"$*\" = -L ] || exit 2\necho '{text}'\nexit {status}\n")
        self.program.chmod(0o755)


class NVMLError(Exception):
    """As pynvml's, whose subclasses are one a code."""


CODES = ("Uninitialized", "NotSupported", "NoPermission", "NotFound", "DriverNotLoaded", "LibraryNotFound")
MORE_CODES = ("FunctionNotFound", "GpuIsLost", "LibRmVersionMismatch")
ERRORS = {name: type(f"NVMLError_{name}", (NVMLError,), {}) for name in CODES + MORE_CODES}


@dataclass
class _State:
    cards: tuple[Card, ...] = ()
    refuses: dict[str, NVMLError] = field(default_factory=dict)
    """What a function raises, by its name, or by its name and the number of the card."""
    open: int = 0
    bytes: bool = False


class Nvml:
    """A module pynvml whose functions answer as those of nvidia-ml-py do."""

    told_by = "NVML"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.monkeypatch = monkeypatch
        self.state = _State()

    def has(self, cards: tuple[Card, ...]) -> None:
        """Let the machine have these cards."""
        self.state.cards = cards
        self.monkeypatch.setitem(sys.modules, "pynvml", _module(self.state))

    def refuse(self, function: str, error: str, text: str, card: int | None = None) -> None:
        """Let a function raise an error, for one card or for all."""
        self.state.refuses[function if card is None else f"{function} {card}"] = ERRORS[error](text)


def _module(state: _State) -> ModuleType:
    """Return a pynvml for a machine; a handle is the number of a card, or that and the number of a part."""
    module: Any = ModuleType("pynvml")
    module.NVMLError = NVMLError
    module.NVML_DEVICE_MIG_DISABLE, module.NVML_DEVICE_MIG_ENABLE = 0, 1
    for name, kind in ERRORS.items():
        setattr(module, f"NVMLError_{name}", kind)

    def function(answer: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if answer.__name__ != "nvmlInit" and not state.open:
                raise ERRORS["Uninitialized"]("Uninitialized")
            for key in (answer.__name__, " ".join(map(str, [answer.__name__, *arguments[:1]]))):
                if key in state.refuses:
                    raise state.refuses[key]
            return answer(*arguments)

        setattr(module, answer.__name__, call)
        return call

    @function
    def nvmlInit() -> None:
        state.open += 1

    @function
    def nvmlShutdown() -> None:
        state.open -= 1

    @function
    def nvmlDeviceGetCount() -> int:
        return len(state.cards)

    @function
    def nvmlDeviceGetHandleByIndex(index: int) -> int:
        return index

    @function
    def nvmlDeviceGetUUID(handle: int | tuple[int, int]) -> str | bytes:
        if isinstance(handle, tuple):
            uuid = (state.cards[handle[0]].mig or {})[handle[1]][1]
        else:
            uuid = state.cards[handle].uuid
        return uuid.encode() if state.bytes else uuid

    @function
    def nvmlDeviceGetMigMode(handle: int) -> list[int]:
        if state.cards[handle].mig is None:
            raise ERRORS["NotSupported"]("Not Supported")
        return [int(bool(state.cards[handle].mig)), 0]

    @function
    def nvmlDeviceGetMaxMigDeviceCount(handle: int) -> int:
        return 7

    @function
    def nvmlDeviceGetMigDeviceHandleByIndex(handle: int, index: int) -> tuple[int, int]:
        if index not in (state.cards[handle].mig or {}):
            raise ERRORS["NotFound"]("Not Found")
        return handle, index

    return module
