"""Read what a call of Snakemake names: one configuration file, and other values for some of its keys."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskbench.errors import InputError
from maskbench.experiment.load import parse_yaml, read_mapping, show

_PACKED = "maskbench"
"""The key under which all ``--config`` arguments of a call reach the jobs of a scheduler."""


def packed(arguments: Sequence[str]) -> str:
    """Return ``--config`` arguments as one that no shell and no quoting changes: letters, digits, =, - and _."""
    return f"{_PACKED}={base64.urlsafe_b64encode(json.dumps(unpacked(arguments)).encode()).decode()}"


def unpacked(arguments: Sequence[str]) -> list[str]:
    """Return ``--config`` arguments as they were typed."""
    if len(arguments) == 1 and arguments[0].strip("'\"").startswith(f"{_PACKED}="):
        content = arguments[0].strip("'\"").removeprefix(f"{_PACKED}=")
        try:
            return [str(item) for item in json.loads(base64.urlsafe_b64decode(content))]
        except ValueError:  # a user typed the key; it is reported as any other unknown key is
            return list(arguments)
    return list(arguments)


def read_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Read ``--config`` arguments: each is ``KEY=VALUE``, and the value is YAML as in a file, read once.

    Raises
    ------
    InputError
        If one is no ``KEY=VALUE``, is not YAML, or has a key that another one has.
    """
    found: dict[str, Any] = {}
    for argument in unpacked(arguments):
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(f"--config: expected KEY=VALUE, got {show(argument)}")
        if key in found:
            raise InputError(f"--config: expected each key once, got {key} twice")
        found[key] = parse_yaml(value, f"--config {key}")
    return found


def read_call(files: Sequence[str | Path], arguments: Sequence[str]) -> tuple[dict[str, Any], Path]:
    """Read what a call of Snakemake names: one configuration file, and other values for some of its keys.

    Parameters
    ----------
    files
        Files behind ``--configfile``; config.yaml if there is none.
    arguments
        Texts behind ``--config``; each replaces a key of the file as a whole.

    Returns
    -------
    tuple
        The configuration, not yet checked, and its file, relative to the working folder if it lies below it.

    Raises
    ------
    InputError
        If there are two files (an experiment file is complete by itself), or one cannot be read.
    """
    shown = [Path(os.path.relpath(path)) if Path(path).is_relative_to(Path.cwd()) else Path(path) for path in files]
    if len(shown) > 1:
        raise InputError(_one_file(", ".join(map(str, shown))))
    file = shown[0] if shown else Path("config.yaml")
    return {**read_mapping(file), **read_arguments(arguments)}, file


def _one_file(found: str) -> str:
    return (
        f"--configfile: expected one file, got {found}: an experiment file is complete by itself and never merged with "
        "another; change single keys with --config KEY=VALUE"
    )


def check_files(files: Sequence[str | Path], command: Sequence[str] = ()) -> None:
    """End the call, with one line, if a file behind ``--configfile`` is missing, is no YAML or holds no mapping.

    Snakemake reads such files before it reads the Snakefile, and its own messages name neither file nor line.

    Parameters
    ----------
    files
        That Snakemake was given.
    command
        All arguments of the call: of an option that stands twice, Snakemake keeps the last one without a word.
    """
    try:
        times = sum(word.partition("=")[0] in ("--configfile", "--configfiles") for word in command)
        if times > 1:
            raise InputError(_one_file(f"the option {times} times"))
        for file in files:
            read_mapping(Path(file))
    except InputError as error:
        sys.exit(str(error))


def missing_scheduler(executor: str | None) -> str | None:
    """Return what keeps jobs from being submitted by an executor of Snakemake; None if nothing is known."""
    if executor != "slurm":
        return None
    try:
        asked = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        why = f"sinfo: {error.strerror}"
    except subprocess.TimeoutExpired:
        why = "sinfo did not answer within a minute"
    else:
        if not asked.returncode:
            return None
        why = " ".join(asked.stderr.split()) or f"sinfo ended with status {asked.returncode}"
    return (
        "executor slurm (--profile profiles/slurm): expected a machine that SLURM jobs can be submitted from; to run "
        f"the jobs on this machine, leave the profile out; {why}"
    )
