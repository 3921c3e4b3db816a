"""Cells of a recorded study: redo some to verify it, run missing ones, pack finished ones, merge an archive."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import checkout  # noqa: F401

from maskbench.errors import InputError
from maskbench.io.script import run

if TYPE_CHECKING:
    from maskbench.recorded.study import Elsewhere, RecordedStudy


WORKED_IN = {"verify": "verified", "card": "card"}
"""What is behind the name of a study in that of the folder which a call works in."""

CONFIGURING = ("--config", "-C", "--configfile", "--configfiles")
"""Arguments of Snakemake that the calls of a recorded study make themselves: its configuration is the study."""


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line, parsed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("verify", "card", "archive", "merge"))
    parser.add_argument("--study", type=Path, default=Path("experiments/reference.yaml"), help="its configuration")
    parser.add_argument("--seed", default="", help="verify: of the draw, a whole number")
    parser.add_argument("--share", type=float, default=5.0, help="verify: per cent of the record's cells")
    parser.add_argument("--minutes", type=float, default=10.0, help="card: how long it may take")
    parser.add_argument("--file", default="", help="the archive to merge, or to write (default: results/<study>.zip)")
    parser.add_argument("--into", default="", help="merge: name of a study to make of the cells; default: the study's")
    parser.add_argument("--arguments", default="", help="further arguments of Snakemake, in quotes")
    return parser.parse_args()


def main() -> None:
    """Parse the command line, and do what it says."""
    options = arguments()
    from maskbench.recorded.study import Elsewhere, RecordedStudy

    study = RecordedStudy.read(options.study)
    try:
        more = tuple(shlex.split(options.arguments))
    except ValueError as error:
        raise InputError(f"ARGS: expected arguments of Snakemake, got {options.arguments} ({error})") from None
    if own := [word for word in more if word.partition("=")[0] in CONFIGURING]:
        raise InputError(
            f"ARGS: {own[0]} cannot change the configuration here; edit a copy of it, and name that by STUDY="
        )
    if options.what == "verify":
        _verify(Elsewhere(study, _worked_in(study, "verify"), more), options)
    elif options.what == "card":
        _card(Elsewhere(study, _worked_in(study, "card"), more), options)
    elif options.what == "archive":
        _archive(study, options)
    else:
        _merge(Elsewhere(study, options.into or study.experiment.study, more), options)


def _worked_in(study: RecordedStudy, what: str) -> str:
    """Return the name of the folder that a call works in."""
    return f"{study.experiment.study}-{WORKED_IN[what]}"


def _verify(elsewhere: Elsewhere, options: argparse.Namespace) -> None:
    """Redo a share of the cells, print the table, and end with status 1 where a number differs."""
    from maskbench.recorded.verify import verify

    if not options.seed.isdecimal():
        raise InputError(f"SEED: expected a whole number, such as SEED=1, got {options.seed or 'nothing'}")
    if wrong := verify(elsewhere, int(options.seed), options.share):
        sys.stdout.flush()
        raise InputError(*wrong)


def _file(study: RecordedStudy, options: argparse.Namespace, what: str) -> Path:
    """Return the archive that is to be written."""
    file = Path(options.file) if options.file else study.layout.folder.parent / f"{study.experiment.study}-{what}.zip"
    if file.is_dir():
        raise InputError(f"FILE: {file}: expected a file to write, found a folder")
    return file


def _card(elsewhere: Elsewhere, options: argparse.Namespace) -> None:
    """Run missing cells, and print the name of the archive."""
    from maskbench.recorded.card import run as run_missing

    archive = _file(elsewhere.study, options, "card")
    cells, groups = run_missing(elsewhere, options.minutes, archive)
    size = archive.stat().st_size / 2**20
    print(f"{archive}: {cells} finished cells, {size:.1f} MiB; {groups} seed groups were missing before")


def _archive(study: RecordedStudy, options: argparse.Namespace) -> None:
    """Pack all cells that are finished."""
    from maskbench.recorded.archive import pack

    if not study.finished:
        raise InputError(f"{study.layout.folder}: expected at least one finished cell, found none")
    archive = _file(study, options, "cells")
    pack(archive, study.jobs, study.layout, sorted(study.finished))
    print(f"{archive}: {len(study.finished)} finished cells, {archive.stat().st_size / 2**20:.1f} MiB")


def _merge(elsewhere: Elsewhere, options: argparse.Namespace) -> None:
    """Merge an archive, and make the record anew."""
    from maskbench.config.block import NAME_PATTERN
    from maskbench.recorded.merge import merge

    if not options.file:
        raise InputError("FILE: expected the archive to merge, such as FILE=results/reference-card.zip, got nothing")
    own = {_worked_in(elsewhere.study, what) for what in WORKED_IN}
    if not re.fullmatch(NAME_PATTERN, elsewhere.name) or elsewhere.name in own:
        raise InputError(
            "INTO: expected a name of small letters, digits and single hyphens, other than "
            f"{' and '.join(sorted(own))}, got {elsewhere.name}"
        )
    new, there = merge(elsewhere, Path(options.file))
    print(f"{new} cells merged, {there} were there already")


def _stoppable() -> None:
    try:
        main()
    except KeyboardInterrupt:
        raise InputError("stopped; the next call goes on with what was begun") from None


if __name__ == "__main__":
    run(_stoppable, log=False)
