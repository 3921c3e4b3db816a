"""Plant a cue in a prepared task, or flip labels of its training text.

python scripts/condition.py --condition cue:0.95 --words '["WORD", "WORD"]' --clean DIR --destination DIR
"""

import argparse
import json
from pathlib import Path

import checkout  # noqa: F401


def main() -> None:
    """Parse the command line and plant."""
    parser = argparse.ArgumentParser(description="Write a prepared task as it is under a condition.")
    parser.add_argument("--condition", required=True, help="cue:RATE or label-noise:RATE")
    parser.add_argument("--words", type=json.loads, default=[], help="JSON; cue: a word a class, tagging: the trigger")
    parser.add_argument("--clean", required=True, type=Path, help="folder that prepare.py made")
    parser.add_argument("--destination", required=True, type=Path, help="folder to make")
    given = parser.parse_args()

    from pydantic import ValidationError

    from maskbench.config.block import first_mistake
    from maskbench.config.conditions import Condition
    from maskbench.data.conditions import plant
    from maskbench.errors import InputError

    try:
        condition = Condition.model_validate(given.condition)
    except ValidationError as error:
        raise InputError(f"--condition: {first_mistake(error, given.condition)}") from None
    plant(condition, given.words, given.clean, given.destination)


if __name__ == "__main__":
    from maskbench.io.script import run

    run(main)
