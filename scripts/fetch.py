"""Fetch the files of one task or one model into a folder.

python scripts/fetch.py task --spec JSON --destination DIR
python scripts/fetch.py model --spec JSON --destination DIR
"""

import argparse
from pathlib import Path

import checkout  # noqa: F401


def main() -> None:
    """Parse the command line and fetch."""
    parser = argparse.ArgumentParser(description="Fetch the files of one task or one model into a folder.")
    parser.add_argument("kind", choices=["task", "model"])
    parser.add_argument("--spec", required=True, help="the task's or model's block of the configuration as JSON")
    parser.add_argument("--destination", required=True, type=Path, help="folder to make")
    given = parser.parse_args()

    from pydantic import ValidationError

    from maskbench.config.models import FetchedModel
    from maskbench.config.tasks import Task
    from maskbench.data.sources import cache_folder, fetch_model, fetch_task
    from maskbench.errors import InputError

    try:
        if given.kind == "task":
            fetch_task(Task.model_validate_json(given.spec), given.destination, cache_folder(None))
        else:
            fetch_model(FetchedModel.model_validate_json(given.spec), given.destination, cache_folder(None))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"--spec: {place or given.kind}: {first['msg']}") from None


if __name__ == "__main__":
    from maskbench.io.script import run

    run(main)
