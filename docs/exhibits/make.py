"""Run the exhibits and write docs/exhibits.md: each mistake beside the right way, with the damage measured.

    python docs/exhibits/make.py --results results/minilm

The study in --results must have fetched and encoded its tasks, as experiments/minilm.yaml does. About ten minutes on
two cores; the page has no dates in it, so a second run on the same machine gives the same one.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docs.exhibits.exhibit import Damage, Exhibit
    from docs.exhibits.material import Material

    Shown = tuple[int, Exhibit, Damage]

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # the repository in the place of this folder

PAGE = ROOT / "docs/exhibits.md"
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "seqeval")
INTRODUCTION = """\
# Exhibits: mistakes in masking code

Introductory articles on masking print code that does not do what their text says. Here each mistake runs beside the
right way, on real text and a real model, and the damage is measured. What stands under *as the articles do it* is
not their text: it is the mistake alone, written anew as small as it gets. The code on this page is the code that was
run."""


def main() -> None:
    """Run the exhibits that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results/minilm", help="a study with both tasks")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="print these sections; write no page")
    options = parser.parse_args()
    _quiet()

    from docs.exhibits import EXHIBITS
    from docs.exhibits.exhibit import section
    from docs.exhibits.material import Material
    from maskbench.errors import InputError
    from maskbench.io.files import write_text

    known = [exhibit.name for exhibit in EXHIBITS]
    if unknown := set(options.only or ()) - set(known):
        raise InputError(f"--only: expected some of {', '.join(known)}, found {', '.join(sorted(unknown))}")
    material, shown = Material(options.results), []
    for number, exhibit in enumerate(EXHIBITS, 1):
        if options.only and exhibit.name not in options.only:
            continue
        began = time.perf_counter()
        damage = exhibit.measure(material)
        print(f"{exhibit.name}: {damage.headline} ({time.perf_counter() - began:.0f} s)", file=sys.stderr, flush=True)
        shown.append((number, exhibit, damage))
    if options.only:
        print("\n\n".join(section(*one) for one in shown))
    else:
        write_text(PAGE, page(material, shown))


def page(material: Material, shown: list[Shown]) -> str:
    """Return the page."""
    from docs.exhibits.exhibit import section

    return "\n\n".join([INTRODUCTION, _making(material), _summary(shown), *(section(*one) for one in shown)]) + "\n"


def _quiet() -> None:
    """Keep the libraries' progress and the training logs out of the output."""
    import datasets
    from transformers.utils import logging as transformers_logging

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("transformers").setLevel(logging.ERROR)


def _making(material: Material) -> str:
    """Return how the page was made."""
    from docs.exhibits.exhibit import wrapped

    device = material.device
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    text = (
        f"Python {platform.python_version()}, {packages}; {device.name}, training in {device.precision} on "
        f"{device.threads} thread. Text: `rt-snippets` (reviews) and `conll2003`; model: `minilm-l6` (docs/data.md). "
        "All seeds are fixed. Numbers of exhibits marked ⚙ come from models that were trained for them: on another "
        "machine, or with other versions, their last digits move. All others are the same everywhere up to rounding."
    )
    return f"    python docs/exhibits/make.py --results results/minilm\n\n{wrapped(text)}"


def _summary(shown: list[Shown]) -> str:
    """Return the table of contents: mistake and damage."""
    from docs.exhibits.exhibit import anchor

    lines = ["| | mistake | damage |", "|--:|---|---|"]
    for number, exhibit, damage in shown:
        mark = " ⚙" if exhibit.trains else ""
        lines.append(f"| {number} | [{exhibit.title}](#{anchor(exhibit)}){mark} | {damage.headline} |")
    return "\n".join(lines)


if __name__ == "__main__":
    from maskbench.io.script import run

    run(main, log=False)
