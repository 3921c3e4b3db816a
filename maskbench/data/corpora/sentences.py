"""Where the sentences of a text end, by rules; words stay as they are."""

from __future__ import annotations

import regex

_END = regex.compile(r"(?P<mark>[.!?…]+)[\"'”’)\]»]*\s+(?=[\"'“‘(\[«]*[\p{Lu}\p{Lt}\p{N}])")
"""A mark that may end a sentence, what closes after it, and white space before what may begin one."""
_BEFORE = regex.compile(r"[\p{L}\p{M}.]+$")
"""The word, or the run of initials, that a full stop belongs to."""
_INITIALS = regex.compile(r"(\p{L}\.)*\p{L}")
_NAMED = frozenset(
    (
        *("mr", "mrs", "ms", "mx", "dr", "prof", "rev", "hon", "st", "sr", "jr", "gen", "col", "maj", "capt", "lt"),
        *("sgt", "cpl", "gov", "sen", "rep", "pres", "messrs", "mme", "mlle", "vs", "cf", "ca", "approx", "est", "nos"),
        *("vol", "fig", "figs", "sec", "ch", "pp", "ed", "eds", "trans", "op", "cit", "dept", "univ", "inc", "ltd"),
        *("co", "corp", "bros", "jan", "feb", "aug", "sept", "sep", "oct", "nov", "dec", "mt", "ft"),
    )
)
"""Abbreviations that are followed by a name or a number more often than by a new sentence."""
_LONGEST = 40
"""As many characters before a full stop are looked at."""


def split(text: str) -> list[str]:
    """Return the sentences of a text, without white space at their ends; runs of white space become one space.

    A sentence ends at `.`, `!`, `?` or `…`, and at what closes behind it, if white space and then a capital, a digit or
    an opening mark follow; not at a full stop behind a single letter (initials, U.S.) or a known abbreviation.

    Parameters
    ----------
    text
        Of one document.
    """
    text = " ".join(text.split())
    found, start = [], 0
    for match in _END.finditer(text):
        if match["mark"] == "." and _is_abbreviated(text[max(start, match.start() - _LONGEST) : match.start()]):
            continue
        found.append(text[start : match.end()].rstrip())
        start = match.end()
    return [*found, text[start:]] if text[start:] else found


def _is_abbreviated(before: str) -> bool:
    """Tell whether a full stop after some text belongs to an abbreviation."""
    if (word := _BEFORE.search(before)) is None:
        return False
    return _INITIALS.fullmatch(word[0]) is not None or word[0].casefold() in _NAMED
