"""The one exception that a user is meant to read."""

from __future__ import annotations


class InputError(Exception):
    """Something the user gave is wrong: one clear line that names the place and what was expected."""
