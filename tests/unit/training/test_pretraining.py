"""Pretraining on made-up text: what it learns, which masks repeat, what a kill changes, what a failure leaves."""

from __future__ import annotations

import math
import os
import signal
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

from maskbench.config.training import Training
from maskbench.errors import InputError
from maskbench.experiment.pretraining import Pretrain
from maskbench.io.files import read_json
from maskbench.models.anatomy import layers_of
from maskbench.models.fetched import model_hash
from maskbench.models.loading import build_model
from maskbench.records.pretraining import PretrainingRecord
from maskbench.slots.device import choose
from maskbench.training.checkpoints import TERMINATED
from maskbench.training.pretraining.learner import Learner, fresh
from maskbench.training.pretraining.loop import Loop
from maskbench.training.pretraining.run import Inputs, PretrainingError, pretrain
from tests.helpers.families_page import WORKS, outcomes
from tests.helpers.models import make_model
from tests.helpers.packs import make_pack

if TYPE_CHECKING:
    from pathlib import Path

SIZE = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
MODERN: dict[str, Any] = {
    "architecture": "modernbert",
    "size": SIZE
    | {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "local_attention": 4},
}
"""A small recipe of the other architecture."""
ARCHITECTURES = pytest.mark.parametrize("architecture", [{}, MODERN], ids=["bert", "modernbert"])


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a pack of running text."""
    return make_pack(tmp_path_factory.mktemp("text") / "made-up")


def recipe(**changes: Any) -> Pretrain:
    """Return a small recipe."""
    small = {"size": SIZE, "length": 32, "batch_size": 8, "updates": 12, "evaluations": 2, "learning_rate": 0.01}
    return Pretrain.model_validate({"corpora": ["tasks"]} | small | changes)


def run(folder: Path, pack: Path, start: Path | None = None, name: str = "mine", **changes: Any) -> PretrainingRecord:
    """Pretrain into a folder."""
    inputs = Inputs(pack, start, folder.with_name(f".{folder.name}.work"), folder)
    device = choose(Training(precision="fp32"))
    return pretrain(name, recipe(**changes), inputs, device, code="c", command="test")


def test_a_model_begins_with_the_frequencies_of_its_text(made_up: Path, tmp_path: Path) -> None:
    record = run(tmp_path / "model", made_up, updates=40, learning_rate=0.02)
    assert [row.update for row in record.held_out] == [20, 40]
    assert record.held_out[-1].loss < record.unigram_entropy + 0.3
    assert record.held_out[-1].pseudo_perplexity == pytest.approx(math.exp(record.held_out[-1].loss))
    assert record.speed.tokens_per_s
    assert record.masks.rate == pytest.approx(0.15, abs=0.01)
    narrow = run(tmp_path / "narrow", made_up, updates=0, size=SIZE | {"initializer_range": 0.001})
    assert narrow.held_out[-1].loss == pytest.approx(
        narrow.held_out[-1].unigram_loss, abs=0.02
    )  # its bias begins there
    assert narrow.held_out[-1].unigram_loss == pytest.approx(record.unigram_loss, abs=0.3)  # that of all its tokens
    random = run(tmp_path / "random", made_up, updates=0)
    assert random.held_out[-1].masked == record.held_out[-1].masked  # the same places for every recipe and seed
    assert random.held_out[-1].masked == run(tmp_path / "other", made_up, updates=0, seed=2).held_out[-1].masked
    table = pd.read_parquet(tmp_path / "model" / "held-out.parquet")
    assert table.nll.sum() / table.weight.sum() == pytest.approx(record.held_out[-1].loss)
    assert table.hit.sum() / table.weight.sum() == pytest.approx(record.held_out[-1].accuracy)


def test_a_modernbert_begins_with_frequencies_and_soon_knows_more(made_up: Path, tmp_path: Path) -> None:
    narrow = run(
        tmp_path / "narrow", made_up, **MODERN | {"size": MODERN["size"] | {"initializer_range": 0.001}}, updates=0
    )
    assert narrow.held_out[-1].loss == pytest.approx(narrow.held_out[-1].unigram_loss, abs=0.02)
    record = run(tmp_path / "model", made_up, **MODERN, updates=60)
    assert record.held_out[-1].loss < record.held_out[-1].unigram_loss - 0.3
    config = AutoConfig.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    for field in ("pad_token_id", "cls_token_id", "sep_token_id"):
        assert getattr(config, field) == getattr(tokenizer, field) < config.vocab_size == len(tokenizer)
    assert not AutoModelForMaskedLM.from_pretrained(tmp_path / "model", output_loading_info=True)[1]["missing_keys"]


def test_masks_and_probes_take_a_modernbert_that_was_pretrained(made_up: Path, tmp_path: Path) -> None:
    """What docs/models.md says of the family holds for a window in its layers and a mean of its tokens, too."""
    size = MODERN["size"] | {"classifier_pooling": "mean"}
    run(tmp_path / "model", made_up, **MODERN | {"size": size})
    found = outcomes("modernbert", "sequence-classification", ["window", "learned"], tmp_path)
    assert found == {"window": WORKS, "learned": WORKS}


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_sizes_make_a_model(made_up: Path, architecture: str, size: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made_up / "tokenizer")
    model, own = fresh(recipe(architecture=architecture, size=size), tokenizer, "sdpa")
    layers = {"tiny": 2, "mini": 4}[size]
    assert len(layers_of(model)) == layers
    assert model.config.hidden_size == {"tiny": 128, "mini": 256}[size]
    assert own
    if architecture == "modernbert":
        assert model.config.layer_types == ["sliding_attention"] * (layers - 1) + ["full_attention"]
        assert model.config.sliding_window == 2
        assert {about["rope_theta"] for about in model.config.rope_parameters.values()} == {10_000.0}


@pytest.mark.parametrize(
    ("architecture", "fields", "words"),
    [
        ("bert", {"num_layers": 2}, "expected fields of a BertConfig; num_layers is none"),
        ("bert", {"hidden_size": "x"}, "expected fields of a BertConfig that make a model: "),
        ("modernbert", {"layers": 2}, "expected fields of a ModernBertConfig; layers is none"),
        ("modernbert", {"layer_types": ["a"]}, "expected fields of a ModernBertConfig that make a model: "),
    ],
)
def test_a_size_that_makes_no_model_gets_a_line(
    made_up: Path, tmp_path: Path, architecture: str, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as error:
        run(tmp_path / "model", made_up, architecture=architecture, size=fields)
    assert str(error.value).startswith(f"pretrain.size: {words}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("mask", "share"),
    [
        ({"kind": "static", "replacement": "bert"}, 5 / 6),
        ({"kind": "static", "duplicates": 2}, 4 / 6),
        ({"kind": "static", "duplicates": 10}, 0),
        ({"kind": "random"}, 0),
        ({"kind": "span"}, 0),
    ],
)
def test_static_masks_repeat_as_often_as_their_copies_say(
    made_up: Path, tmp_path: Path, mask: dict[str, Any], share: float
) -> None:
    counts = run(tmp_path / "model", made_up, epochs=6.0, updates=None, input=mask | {"rate": 0.3}).masks
    assert counts.repeated / counts.shown == pytest.approx(share, abs=0.02)


def test_the_rate_of_the_mask_follows_its_schedule(made_up: Path, tmp_path: Path) -> None:
    schedules: dict[str, tuple[Any, float]] = {
        "constant": ("constant", 0.4),
        "linear": ({"kind": "linear", "to": 0.0}, 0.2),
        "epochs": ([0.4, 0.1], 0.25),
    }
    for name, (schedule, rate) in schedules.items():
        mask = {"kind": "random", "rate": 0.4, "schedule": schedule}
        record = run(tmp_path / name, made_up, epochs=10.0, updates=None, input=mask)
        assert record.masks.rate == pytest.approx(rate, abs=0.02)


@ARCHITECTURES
def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    made_up: Path, tmp_path: Path, architecture: dict[str, Any]
) -> None:
    seeds = {"a": 1, "b": 1, "c": 2}
    hashes = {}
    for name, seed in seeds.items():
        run(tmp_path / name, made_up, seed=seed, dropout=0.1, **architecture)
        hashes[name] = model_hash(tmp_path / name)
    assert hashes["a"] == hashes["b"] != hashes["c"]


@ARCHITECTURES
@pytest.mark.parametrize("how", ["SIGTERM", "killed"])
def test_a_pretraining_that_is_ended_goes_on_to_the_same_bits(
    made_up: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    architecture: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    mask = {"kind": "static", "rate": 0.15, "duplicates": 2}
    changes: dict[str, Any] = {"dropout": 0.1, "input": mask, **architecture}
    whole = run(tmp_path / "whole", made_up, **changes)
    update = Loop._update

    def ended(loop: Loop) -> None:
        if loop.done == 7:
            if how == "killed":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)
        update(loop)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_update", ended)
        with pytest.raises(SystemExit if how == "SIGTERM" else KeyboardInterrupt) as error:
            run(tmp_path / "ended", made_up, **changes)
    if how == "SIGTERM":
        assert error.value.code == TERMINATED
    assert not (tmp_path / "ended" / "source.json").exists()
    again = run(tmp_path / "ended", made_up, **changes)
    done = 8 if how == "SIGTERM" else 6
    assert f"continues from checkpoint-{done}" in capfd.readouterr().out
    assert again.notes == [*whole.notes, f"went on after update {done}: wall time is of the last part alone"]
    assert again.files == whole.files
    assert again.held_out == whole.held_out
    assert again.masks == whole.masks
    assert not (tmp_path / ".ended.work").exists()


def test_what_is_there_is_kept_until_recipe_or_text_change(
    made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path / "model", made_up)
    (tmp_path / "model" / "source.json").unlink()  # as Snakemake does before it runs the job again

    def refuse(*_: Any) -> None:
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "train", refuse)
        assert run(tmp_path / "model", made_up) == first
        assert read_json(tmp_path / "model" / "source.json")["files"] == first.files
        with pytest.raises(AssertionError, match="trained again"):
            run(tmp_path / "model", made_up, learning_rate=0.02)
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    again = run(tmp_path / "model", made_up)
    assert again.files == first.files
    assert again.started >= first.started


def test_a_pretraining_that_diverges_leaves_a_record_and_no_model(made_up: Path, tmp_path: Path) -> None:
    with pytest.raises(PretrainingError) as error:
        run(tmp_path / "model", made_up, learning_rate=1e30, max_grad_norm=0.0, warmup=0.0)
    assert str(error.value).startswith("model mine: its pretraining diverged: loss is ")
    assert len(str(error.value).splitlines()) == 1
    assert PretrainingRecord.read(tmp_path / "model" / "pretraining.json").status == "diverged"
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["pretraining.json"]


def test_a_pretraining_without_memory_says_so(made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Learner, "loss", full)
    with pytest.raises(PretrainingError, match="model mine: its pretraining ran out of memory: CUDA out of memory"):
        run(tmp_path / "model", made_up)
    assert PretrainingRecord.read(tmp_path / "model" / "pretraining.json").status == "oom"


def test_next_sentences_are_learnt_beside_masked_tokens(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "pairs", documents=40, next_sentence=True)
    record = run(tmp_path / "model", pack, corpora=["brown"], next_sentence=True, updates=6)
    accuracy = record.held_out[-1].pair_accuracy
    assert accuracy is not None
    assert 0 <= accuracy <= 1
    kept = build_model(
        tmp_path / "model", "sequence-classification", ["a", "b"], seed=1, dropout=None, attention="eager"
    )
    saved = AutoModelForMaskedLM.from_pretrained(tmp_path / "model", output_loading_info=True)[1]
    assert not saved["missing_keys"]
    new = [name for name, weight in kept.named_parameters() if getattr(weight, "fresh", False)]
    assert new == ["classifier.weight", "classifier.bias"]  # the pooler is the pretrained one


def test_a_given_model_is_continued_with_its_own_tokenizer(tmp_path: Path) -> None:
    start = make_model(tmp_path / "start", head=True)
    pack = make_pack(tmp_path / "text", documents=60, model=start)
    record = run(tmp_path / "model", pack, start, size=None, updates=20)
    assert record.start == model_hash(start)
    before = AutoModelForMaskedLM.from_pretrained(start)
    after, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert after.config.hidden_dropout_prob == before.config.hidden_dropout_prob
    assert after.get_output_embeddings().weight is after.get_input_embeddings().weight
    untouched = run(tmp_path / "same", pack, start, size=None, updates=0)
    assert untouched.held_out[-1].loss > record.held_out[-1].loss
