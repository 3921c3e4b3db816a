"""Read one corpus: the documents of its files, or of the training texts of prepared tasks.

python scripts/corpus.py --spec JSON --source DIR --destination DIR
python scripts/corpus.py --spec JSON --prepared DIR [DIR ...] --destination DIR
"""

import argparse
from pathlib import Path

import checkout  # noqa: F401


def main() -> None:
    """Parse the command line and read."""
    parser = argparse.ArgumentParser(description="Read the documents of one corpus.")
    parser.add_argument("--spec", required=True, help="the corpus's block of the configuration as JSON")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--source", type=Path, help="folder that fetch.py made")
    given.add_argument(
        "--prepared", type=Path, nargs="+", help="folders that prepare.py made, whose training texts to take"
    )
    parser.add_argument("--destination", required=True, type=Path, help="folder to make")
    options = parser.parse_args()

    from maskbench.config.corpora import Corpus
    from maskbench.data.corpora.documents import make_corpus, make_task_corpus
    from maskbench.data.spec import read_block

    corpus = read_block(Corpus.model_validate_json, options.spec, "corpus")
    if options.source is not None:
        make_corpus(corpus, options.source, options.destination)
    else:
        make_task_corpus(corpus, options.prepared, options.destination)


if __name__ == "__main__":
    from maskbench.io.script import run

    run(main)
