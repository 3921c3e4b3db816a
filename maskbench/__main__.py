"""Command line for looking things up and checking a configuration: ``python -m maskbench --help``."""

from __future__ import annotations

import argparse
from pathlib import Path

from maskbench import __version__
from maskbench.config.measures import MEASURES
from maskbench.errors import InputError
from maskbench.experiment import catalogue, document
from maskbench.experiment.cell import cells
from maskbench.experiment.claims import claims_file, read_claims
from maskbench.experiment.load import load_file
from maskbench.experiment.tuning import tuning
from maskbench.io.code import ROOT
from maskbench.io.script import run


def masks(_: argparse.Namespace) -> None:
    """List the masks of the registry."""
    for entry in catalogue.masks():
        parameters = ", ".join(f"{key}: {value}" for key, value in entry.parameters.items())
        print(f"{entry.kind} ({entry.family})  {parameters}\n    {entry.summary}\n    Source: {entry.source}")


def measures(_: argparse.Namespace) -> None:
    """List the measures of the registry."""
    for entry in MEASURES.values():
        name = f"{entry.name}[:{entry.by}]" if entry.by else entry.name
        print(f"{entry.family:10} {name:36} {entry.unit:12} {entry.better:8} {entry.title}")


def schema(options: argparse.Namespace) -> None:
    """Write the files that are generated from the configuration's types, or check them."""
    if not (ROOT / "pyproject.toml").is_file():
        raise InputError(f"schema: expected a checkout, whose generated files it writes; {ROOT} has no pyproject.toml")
    if not options.check:
        document.write(ROOT)
    elif stale := document.outdated(ROOT):
        raise InputError(f"{', '.join(stale)}: expected what the code says now; write it with `make schema`")


def validate(options: argparse.Namespace) -> None:
    """Check a configuration with the claims that it names, and count its cells."""
    experiment = load_file(options.file)
    read_claims(claims_file(experiment))
    lists = ("tasks", "models", "strategies", "regimes", "conditions", "train_sizes", "seeds")
    counts = ((len(getattr(experiment, key)), key.replace("_", " ")) for key in lists)
    product = " × ".join(f"{count} {_one(words) if count == 1 else words}" for count, words in counts)
    tuned = f", and {sum(1 for _ in cells(tuning(experiment)))} cells of its tuning" if experiment.tune else ""
    print(f"{options.file}: valid, {sum(1 for _ in cells(experiment))} cells (from {product}){tuned}")


def _one(words: str) -> str:
    """Return the singular of a list's name: task, strategy, train size."""
    return f"{words[:-3]}y" if words.endswith("ies") else words.removesuffix("s")


def main() -> None:
    """Parse the command line and call what it names."""
    parser = argparse.ArgumentParser(prog="python -m maskbench", description=__doc__)
    parser.add_argument("--version", action="version", version=f"maskbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (masks, measures, schema, validate):
        subparser = commands.add_parser(command.__name__, help=command.__doc__, description=command.__doc__)
        subparser.set_defaults(call=command)
        if command is schema:
            subparser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
        if command is validate:
            subparser.add_argument("file", type=Path, help="configuration file, such as config.yaml")
    options = parser.parse_args()
    options.call(options)


if __name__ == "__main__":
    run(main, log=False)
