"""BERT-tiny with a masked-LM head that works, on real text: made once, and kept beside the downloads."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from maskbench.config.training import Training
from maskbench.data.corpora.documents import make_corpus
from maskbench.data.corpora.pack import pack
from maskbench.data.sources import cache_folder, fetch_corpus, fetch_model
from maskbench.experiment.code import pretraining_code
from maskbench.experiment.pretraining import Pretrain
from maskbench.io.code import code_hash
from maskbench.io.files import sha256_text
from maskbench.slots.device import choose

RECIPE = {
    "continues": "bert-tiny",
    "corpora": ["wikipedia-summaries"],
    "updates": 300,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "evaluations": 2,
}
"""As the preset bert-tiny-mlm, with less text and fewer updates."""


def bert_tiny_mlm() -> Path:
    """Return the folder of the model, as the stage leaves it; what made it is part of its name."""
    recipe = Pretrain.model_validate(RECIPE)
    codes = [pretraining_code(recipe), *(code_hash(script) for script in ("fetch.py", "corpus.py", "pack.py"))]
    name = sha256_text(" ".join([recipe.content().as_argument(), *codes]))[:12]
    folder = cache_folder(None) / "tests" / f"bert-tiny-mlm-{name}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "model" / "source.json").exists():
            _make(recipe, folder)
    return folder / "model"


def _make(recipe: Pretrain, folder: Path) -> None:
    from maskbench.training.pretraining.run import Inputs, pretrain

    (corpus,) = recipe.corpora
    assert recipe.continues is not None
    fetch_model(recipe.continues, folder / "start", cache_folder(None))
    fetch_corpus(corpus, folder / "source", cache_folder(None))
    make_corpus(corpus, folder / "source", folder / "corpus")
    pack(recipe.packing, [folder / "corpus"], [], folder / "pack", folder / "start")
    inputs = Inputs(folder / "pack", folder / "start", folder / "work", folder / "model")
    device = choose(Training(precision=recipe.precision, threads=recipe.threads))
    pretrain("bert-tiny-mlm", recipe, inputs, device, code="tests", command="tests")
