"""Masks that choose words by a lexicon, and those that hit each word by its relevance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoTokenizer

from maskbench.data.encode import load_encoded
from maskbench.errors import InputError
from maskbench.io.files import sha256_text, write_json
from maskbench.masks.attention.block_keyword import BlockKeyword
from maskbench.masks.draws import Draws
from maskbench.masks.input.keyword import Keyword
from maskbench.masks.input.random import Random
from maskbench.slots.device import choose
from maskbench.training.run import Inputs, run_cell
from tests.helpers.models import BAD, GOOD, make_cell, make_encoded, make_model
from tests.helpers.texts import batch_of, setting_of

if TYPE_CHECKING:
    from pathlib import Path

    from maskbench.masks.batch import Batch
    from maskbench.masks.setting import Setting

CLASSES = "sequence-classification"
WEIGHTS = {**dict.fromkeys(GOOD, 4.0), **dict.fromkeys(BAD, 1.0), "unspellable": 3.0, "good film": 3.0, "the": 0.0}


def written(folder: Path, words: dict[str, float]) -> Path:
    """Write a lexicon as fetching leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "words.json", words)
    write_json(folder / "source.json", {"files": {"words.json": sha256_text(str(words))}})
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("lexicon")
    model = make_model(base / "model")
    texts = make_encoded(base / "texts", model, CLASSES)
    return {"model": model, "texts": texts, "mine": written(base / "mine", WEIGHTS)}


@pytest.fixture(scope="module")
def setting(folders: dict[str, Path]) -> Setting:
    rows = list(load_encoded(folders["texts"])["train"])
    lexicons = {"mine": folders["mine"]}
    return setting_of(rows, False, tokenizer=AutoTokenizer.from_pretrained(folders["model"]), lexicons=lexicons)


def fitted(mask: Any, setting: Setting) -> Any:
    """Return the mask after it was fitted."""
    mask.fit(setting, Draws(1))
    return mask


def batch(setting: Setting, epoch: int = 0) -> Batch:
    return batch_of(list(setting.train), epoch=epoch)


def ids(setting: Setting, words: list[str]) -> torch.Tensor:
    return torch.tensor(setting.tokenizer.convert_tokens_to_ids(words))


def shares(mask: Any, setting: Setting, passes: int = 60) -> dict[str, float]:
    """Return how often words of each weight are hit."""
    kinds = {"good": ids(setting, GOOD), "bad": ids(setting, BAD)}
    hits, seen = dict.fromkeys([*kinds, "other"], 0), dict.fromkeys([*kinds, "other"], 0)
    for epoch in range(passes):
        one = batch(setting, epoch)
        hit, left = mask.where(one, Draws(1)) & one.maskable, one.maskable
        for kind, words in kinds.items():
            here = torch.isin(one.input_ids, words) & one.maskable
            hits[kind], seen[kind] = hits[kind] + int((hit & here).sum()), seen[kind] + int(here.sum())
            left = left & ~here
        hits["other"], seen["other"] = hits["other"] + int((hit & left).sum()), seen["other"] + int(left.sum())
    return {kind: hits[kind] / seen[kind] for kind in seen}


def test_by_chance_a_token_is_hit_with_probability_rate_times_one_plus_relevance(setting: Setting) -> None:
    found = shares(fitted(Keyword(rate=0.3, words="mine", draw="chance"), setting), setting)
    assert found == pytest.approx({"good": 0.3 * 2, "bad": 0.3 * 1.25, "other": 0.3}, abs=0.03)
    found = shares(fitted(Keyword(rate=0.7, words="mine", draw="chance"), setting), setting)
    assert found == pytest.approx({"good": 1.0, "bad": 0.875, "other": 0.7}, abs=0.03)


def test_relevance_by_a_statistic_goes_from_0_to_1_in_each_text(setting: Setting) -> None:
    mask = fitted(Keyword(rate=0.5, statistic="tf-idf", draw="chance"), setting)
    one = batch(setting)
    scores = mask._scores.of(one)
    hits = sum((mask.where(batch(setting, epoch), Draws(1)) & one.maskable).float() for epoch in range(40)) / 40
    low = torch.where(one.maskable, scores, torch.inf).amin(1, keepdim=True)
    high = torch.where(one.maskable, scores, -torch.inf).amax(1, keepdim=True)
    assert bool((hits[one.maskable & (scores == high)] == 1).all())
    lowest = one.maskable & (scores == low) & (high > low)
    assert float(hits[lowest].mean()) == pytest.approx(0.5, abs=0.05)


def test_the_words_of_the_lexicon_come_first_and_others_in_random_order(setting: Setting) -> None:
    mask = fitted(Keyword(rate=0.3, words="mine"), setting)
    others = set()
    for epoch in range(5):
        one = batch(setting, epoch)
        hit = mask.where(one, Draws(1))
        told = torch.isin(one.input_ids, ids(setting, GOOD + BAD)) & one.maskable
        assert torch.equal(hit.sum(1), ((Random(rate=0.3).where(one, Draws(1))) & one.maskable).sum(1))
        # no other word is hit as long as one of the lexicon is left
        assert not bool(((hit & ~told).any(1) & (told & ~hit).any(1)).any())
        others.add(tuple((hit & ~told).flatten().tolist()))
    assert len(others) > 1


def test_the_attention_mask_hides_the_same_words(setting: Setting) -> None:
    one, keys = batch(setting), {"rate": 0.3, "words": "mine"}
    shown = fitted(BlockKeyword(**keys), setting).attend(one, Draws(1))
    assert torch.equal(~shown[:, 0, 0, :], fitted(Keyword(**keys), setting).where(one, Draws(1)))


def test_a_lexicon_without_words_of_the_texts_is_an_error(setting: Setting, tmp_path: Path) -> None:
    from dataclasses import replace

    for words in ({"unspellable": 1.0}, {"warm": 0.0, "unspellable": 1.0}):
        other = replace(setting, lexicons={"mine": written(tmp_path / "other", words)})
        with pytest.raises(InputError, match="words: mine: expected words of the training texts, found none"):
            fitted(Keyword(words="mine"), other)


def test_a_run_with_a_lexicon_is_recorded_with_its_hash_and_at_rate_0_is_plain(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    def train(name: str, **keys: Any) -> Any:
        strategy = {"name": name, "input": {"kind": "keyword", "words": "mine", "draw": "chance", **keys}}
        cell = make_cell(CLASSES, strategy if keys else {"name": name}, training={"epochs": 1})
        used = {"mine": folders["mine"]} if keys else {}
        inputs = Inputs(folders["texts"], folders["model"], tmp_path / name, lexicons=used)
        return run_cell(cell, inputs, choose(cell.training), code="c", command="x")

    (plain, none), (zero, same), (drawn, also), (own, other) = (
        train("none"),
        train("zero", rate=0.0),
        train("drawn", apply=False),
        train("own", schedule=[0.5]),
    )
    assert plain.data.lexicons == {}
    assert zero.data.lexicons == drawn.data.lexicons == own.data.lexicons == {"mine": sha256_text(str(WEIGHTS))}
    assert none is not None
    assert none.table.equals(same.table)
    assert none.table.equals(also.table)
    assert not none.table.equals(other.table)
