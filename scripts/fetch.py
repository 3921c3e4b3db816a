"""Fetch the files of one task, one model, one corpus or one lexicon into a folder.

python scripts/fetch.py task --spec JSON --destination DIR
python scripts/fetch.py model --spec JSON --destination DIR
python scripts/fetch.py corpus --spec JSON --destination DIR
python scripts/fetch.py lexicon --spec JSON --destination DIR
"""

import argparse
from pathlib import Path

import checkout  # noqa: F401


def main() -> None:
    """Parse the command line and fetch."""
    parser = argparse.ArgumentParser(description="Fetch the files of a task, a model, a corpus or a lexicon.")
    parser.add_argument("kind", choices=["task", "model", "corpus", "lexicon"])
    parser.add_argument("--spec", required=True, help="its block of the configuration as JSON")
    parser.add_argument("--destination", required=True, type=Path, help="folder to make")
    given = parser.parse_args()

    from maskbench.config.corpora import Corpus
    from maskbench.config.lexicons import Lexicon
    from maskbench.config.models import FetchedModel
    from maskbench.data.sources import cache_folder, fetch_corpus, fetch_lexicon, fetch_model, fetch_task
    from maskbench.data.spec import read_block, read_task

    match given.kind:
        case "task":
            fetch_task(read_task(given.spec), given.destination, cache_folder(None))
        case "model":
            fetch_model(
                read_block(FetchedModel.model_validate_json, given.spec, "model"), given.destination, cache_folder(None)
            )
        case "corpus":
            fetch_corpus(
                read_block(Corpus.model_validate_json, given.spec, "corpus"), given.destination, cache_folder(None)
            )
        case "lexicon":
            fetch_lexicon(
                read_block(Lexicon.model_validate_json, given.spec, "lexicon"), given.destination, cache_folder(None)
            )


if __name__ == "__main__":
    from maskbench.io.script import run

    run(main)
