"""How numbers and names are written in tables, figures and sentences."""

from __future__ import annotations

import json
import math
import re

MINUS, DASH, NARROW = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NARROW NO-BREAK SPACE}"

DECIMALS = {"points": 2, "nats": 3, "per cent": 1, "updates": 0}
"""Decimals of an estimate, by its unit; 3 of all others."""

DECIMALS_OF_A_VALUE = {"points": 2, "nats": 3, "fraction": 3, "coefficient": 3, "ratio": 3, "updates": 0}
"""Decimals of a measured value, by its unit."""

ARROWS = {"lower": "↓", "higher": "↑", "neither": ""}
"""An arrow that tells which direction of a measure is better."""

UNIT_SYMBOLS = {"per cent": "%", "fraction": "", "coefficient": "", "ratio": ""}
"""How a unit is written behind a number, where not by its name."""


_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb\ufffe\uffff]",
)
"""What breaks a line, a file or the order of the letters around it, and is not seen itself: control characters,
overrides of the writing direction, what is no character. Marks that join or combine letters are none of these."""


def visible(words: str) -> str:
    r"""Write what cannot be seen as JSON does, such as ``\n`` or ``\u0007``; all other characters stay as they are."""
    return _UNSEEN.sub(lambda found: escaped(found[0]), words)


def escaped(letter: str) -> str:
    r"""Write a character as JSON writes it in plain ASCII, such as ``\u6b63``."""
    return json.dumps(letter)[1:-1] if letter.isascii() is False or ord(letter) < 32 else f"\\u{ord(letter):04x}"


def plain(value: float, decimals: int = 1) -> str:
    """Write a number with a real minus sign, without a minus before zero."""
    text = f"{value:,.{decimals}f}".replace(",", NARROW)
    if not text.strip(f"-0.{NARROW}"):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float, decimals: int = 1) -> str:
    """Write a difference: with its sign, unless it rounds to zero."""
    text = plain(value, decimals)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def change(value: float, unit: str) -> str:
    """Write a difference with its unit, such as ``+0.40 points``."""
    return f"{signed(value, DECIMALS.get(unit, 3))} {UNIT_SYMBOLS.get(unit, unit)}".rstrip()


def amount(value: float, unit: str) -> str:
    """Write a size without a sign, with its unit, such as ``0.40 points``."""
    return f"{plain(abs(value), DECIMALS.get(unit, 3))} {UNIT_SYMBOLS.get(unit, unit)}".rstrip()


def bounds(low: float, high: float, unit: str) -> str:
    """Write an interval, such as ``−0.10 to +0.90``, or nothing if there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{signed(low, DECIMALS.get(unit, 3))} to {signed(high, DECIMALS.get(unit, 3))}"


def difference(value: float, low: float, high: float, unit: str) -> str:
    """Write a difference with its interval, such as ``+0.40 points [−0.10 to +0.90]``, or alone if it has none."""
    interval = bounds(low, high, unit)
    return change(value, unit) + (f" [{interval}]" if interval else "")


def chance(p: float) -> str:
    """Write a p value as papers do: ``p = 0.031``, ``p < 0.001``; nothing if there is none."""
    if math.isnan(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def mean_and_spread(mean: float, spread: float, decimals: int = 1) -> str:
    """Write ``mean ± SD``; the mean alone if there is no spread (one seed)."""
    if math.isnan(mean):
        return DASH
    return plain(mean, decimals) if math.isnan(spread) else f"{plain(mean, decimals)} ± {plain(spread, decimals)}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun: ``1 seed``, ``2 seeds``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}".replace(",", NARROW)


def duration(seconds: float) -> str:
    """Write a time in the largest unit that fits."""
    for limit, size, name in ((120, 1, "s"), (7200, 60, "min"), (math.inf, 3600, "h")):
        if seconds < limit:
            return f"{plain(seconds / size, 0 if size == 1 else 1)} {name}"
    raise AssertionError


def listed(names: list[str]) -> str:
    """Write ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def sentence_case(words: str) -> str:
    """Write words as a sentence: with a capital letter, and a full stop unless it ends otherwise."""
    words = words[:1].upper() + words[1:]
    return words if words.endswith((".", "?", "!")) else f"{words}."
