"""What a model gets of a text: special tokens that somebody wrote, segments, padding, and batches without labels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BartConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    T5Config,
    XLNetConfig,
)

from maskbench.data.encode import encode, load_encoded
from maskbench.data.prepare import prepare
from maskbench.data.shifted import shift
from maskbench.kinds import head
from maskbench.kinds.encoding import IGNORED
from maskbench.kinds.head import mean_cross_entropy
from maskbench.masks.draws import Draws
from maskbench.masks.input.oracle_cue import OracleCue
from maskbench.masks.shared.fisher import information
from maskbench.masks.shared.pace import Pace
from maskbench.models.tokens import encode_as_text
from maskbench.slots.device import Device
from maskbench.training.collate import collator_for
from maskbench.training.trainer import seen_loss
from tests.helpers.tasks import make_source, make_task
from tests.helpers.texts import setting_of
from tests.helpers.tokenizer_families import TOKENIZERS
from tests.unit.data.test_words import encoded

if TYPE_CHECKING:
    from pathlib import Path

CPU = Device("cpu", "fp32", "eager", 1)
SMALL: dict[str, Any] = {
    "bart": (BartConfig, {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
                          "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
                          "max_position_embeddings": 64, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}),
    "gemma": (GemmaConfig, {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}),
    "gpt2": (GPT2Config, {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}),
    "llama": (LlamaConfig, {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                            "num_attention_heads": 2}),
    "t5": (T5Config, {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2,
                      "decoder_start_token_id": 0}),
    "xlnet": (XLNetConfig, {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}),
}  # fmt: skip
"""Configurations of models that run in a moment."""


def small(family: str, pad: int) -> Any:
    kind, keys = SMALL[family]
    torch.manual_seed(0)
    config = kind(**keys | {"vocab_size": 700, "num_labels": 2, "pad_token_id": pad})
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():  # at the usual start all texts have the same logits but for a thousandth
            if weight.dim() > 1:
                weight.normal_(0, 0.3)
    return model


# --- special tokens that are written in a text


def specials(tokenizer: Any) -> list[str]:
    """Return all but the unknown token, which a tokenizer may make of any text; GPT-2's is the end of a text, too."""
    unknown = {tokenizer.unk_token} - {tokenizer.eos_token}
    return [token for token in tokenizer.all_special_tokens if token not in unknown]


@pytest.mark.parametrize("family", TOKENIZERS)
def test_special_tokens_in_a_text_are_text(family: str) -> None:
    tokenizer = TOKENIZERS[family]()
    known = set(tokenizer.convert_tokens_to_ids(specials(tokenizer)))
    assert known
    for written in specials(tokenizer):
        for text in (f"the {written} dog", f"the{written}dog", f"{written}{written}", ["the", written, "dog"]):
            _, (encoding,) = encode_as_text(tokenizer, [text])
            own = [token for token, added in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if not added]
            assert not known & set(own), (written, text)
            assert len(own) > 2


def test_what_a_normaliser_turns_into_a_special_token_is_text_too() -> None:
    tokenizer = TOKENIZERS["xlnet"]()
    _, (encoding,) = encode_as_text(tokenizer, ["the <\u0338/s> dog"])
    assert tokenizer.eos_token_id not in encoding.ids


def test_texts_without_special_tokens_are_encoded_as_ever() -> None:
    for make in TOKENIZERS.values():
        tokenizer = make()
        for text in ("the dog isn't <here>", "", "天气 [x]"):
            texts, (encoding,) = encode_as_text(tokenizer, [text])
            assert texts == [text]
            assert encoding.ids == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_end_of_text_in_a_text_does_not_crash_the_model(family: str, tmp_path: Path) -> None:
    """Both take the state at the end token, of which all texts of a batch must have equally many."""
    name = "roberta" if family == "bart" else family
    rows = encoded(tmp_path, name, [f"the dog </s> {number}" if number % 2 else "the dog" for number in range(12)])
    tokenizer = TOKENIZERS[name]()
    batch = collator_for(tokenizer, CPU, tmp_path / "model")(list(rows))
    ends = batch["input_ids"] == tokenizer.eos_token_id
    assert (ends.sum(1) == 1).all()
    assert (batch["words"][ends] == -1).all()
    logits = small(family, tokenizer.pad_token_id)(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits
    assert logits.shape == (len(rows), 2)


@pytest.mark.parametrize("family", ["bert", "gpt2", "xlnet"])
def test_masked_words_are_told_from_a_written_mask_token(family: str, tmp_path: Path) -> None:
    written = TOKENIZERS[family]().mask_token or "<mask>"
    model, task = tmp_path / "model", make_task(max_length=64)
    TOKENIZERS[family]().save_pretrained(model)
    SMALL["gpt2"][0](vocab_size=700).save_pretrained(model)
    rows = "\n".join(f"the {written} dog {number},{'yn'[number % 2]}" for number in range(24))
    prepare(task, make_source(tmp_path / "source", {"train.csv": f"text,label\n{rows}\n"}), tmp_path / "prepared")
    shift(["mask-100"], tmp_path / "prepared", tmp_path / "shifted")
    encode(task, tmp_path / "prepared", model, tmp_path / "plain")
    encode(task, tmp_path / "shifted", model, tmp_path / "masked")
    tokenizer = AutoTokenizer.from_pretrained(model)
    mask = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else len(tokenizer)
    assert all(mask not in row["input_ids"] for row in load_encoded(tmp_path / "plain")["test"])
    for row in load_encoded(tmp_path / "masked")["mask-100"]:
        own = [token for token, word in zip(row["input_ids"], row["words"], strict=True) if word >= 0]
        assert own == [mask] * 4


def test_a_cue_that_is_written_like_a_special_token_is_spelled_as_text() -> None:
    mask = OracleCue(cues=["</s>", "<s>zz"])
    tokenizer = TOKENIZERS["roberta"]()
    with pytest.raises(Exception, match="equally many pieces"):
        mask.fit(setting_of([], tokenizer=tokenizer), Draws(0))


# --- segments


@pytest.mark.parametrize(("family", "first", "last"), [("xlnet", 0, 2), ("funnel", 2, 0)])
def test_the_class_tokens_segment_is_kept(family: str, first: int, last: int, tmp_path: Path) -> None:
    """Since transformers 5 their tokenizers do not return segment ids unless they are asked to."""
    rows = encoded(tmp_path, family, ["the dog", "it was so"] * 6)
    for row in rows:
        types = row["token_type_ids"]
        assert (types[0], types[-1]) == (first, last)
        assert types[1:-1] == [0] * (len(types) - 2)
    batch = collator_for(TOKENIZERS[family](), CPU, tmp_path / "model")(list(rows))
    assert set(batch["token_type_ids"].flatten().tolist()) == {0, 2}


@pytest.mark.parametrize("family", ["bert", "gemma", "gpt2", "llama", "roberta", "t5"])
def test_segments_are_left_out_where_there_is_but_one(family: str, tmp_path: Path) -> None:
    assert "token_type_ids" not in encoded(tmp_path, family, ["the dog", "it was so"] * 6).column_names


def test_a_model_without_segments_is_not_given_any(tmp_path: Path) -> None:
    model = tmp_path / "model"
    TOKENIZERS["xlnet"]().save_pretrained(model)
    GPT2Config(vocab_size=700).save_pretrained(model)
    task = make_task(max_length=16)
    rows = "\n".join(f"the dog {number},{'yn'[number % 2]}" for number in range(24))
    prepare(task, make_source(tmp_path / "source", {"train.csv": f"text,label\n{rows}\n"}), tmp_path / "prepared")
    encode(task, tmp_path / "prepared", model, tmp_path / "encoded")
    assert "token_type_ids" not in load_encoded(tmp_path / "encoded")["train"].column_names


# --- padding


@pytest.mark.parametrize("family", ["gpt2", "gemma", "llama", "xlnet"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_texts_logits_do_not_depend_on_its_batch(family: str, side: str, tmp_path: Path) -> None:
    """Whatever side a tokenizer pads on: those of a GPT-2 that was padded on the left moved by 0.11."""
    texts = ["the dog", "it was so very long and then the dog sat with them", "so"] * 4
    rows = list(encoded(tmp_path, family, texts))
    tokenizer = TOKENIZERS[family]()
    tokenizer.padding_side = side
    collate = collator_for(tokenizer, CPU, tmp_path / "model")
    model = small(family, collate.pad_id)

    def logits(some: list[Any]) -> torch.Tensor:
        batch = {name: value for name, value in collate(some).items() if name in ("input_ids", "attention_mask")}
        found: torch.Tensor = model(**batch).logits
        return found

    with torch.no_grad():
        together, alone = logits(rows), torch.cat([logits([row]) for row in rows])
    assert len({len(row["input_ids"]) for row in rows}) > 2
    assert alone.std(0).min() > 1e-2
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


# --- batches without labels


def outputs(*shape: int) -> dict[str, torch.Tensor]:
    return {"logits": torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_(True)}


@pytest.mark.parametrize("items", [None, 0, torch.tensor(0)])
def test_no_label_is_no_loss(items: Any) -> None:
    """0 / 0 was NaN, and the run was recorded as diverged."""
    made = outputs(2, 5, 3)
    loss = mean_cross_entropy(made, torch.full((2, 5), IGNORED), items)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(made["logits"].grad, torch.zeros(2, 5, 3))  # type: ignore[arg-type]


def test_losses_with_labels_are_what_they_were() -> None:
    made, labels = outputs(2, 5, 3), torch.tensor([[0, 1, -100, 2, -100], [-100, -100, -100, 1, 1]])
    total = torch.nn.functional.cross_entropy(made["logits"].movedim(-1, 1), labels, reduction="sum")
    for items in (None, 7, torch.tensor(7)):
        assert mean_cross_entropy(made, labels, items) == total / (5 if items is None else items)


def test_a_batch_without_labels_says_nothing_of_the_running_loss() -> None:
    tagger = head.of("token-classification")
    assert seen_loss(tagger, outputs(1, 4, 3), torch.full((1, 4), IGNORED)).isnan()
    labels = torch.tensor([[1, IGNORED, 0, IGNORED]])
    assert seen_loss(tagger, outputs(1, 4, 3), labels) == mean_cross_entropy(outputs(1, 4, 3), labels)
    paces = [Pace(0.15, 0.5, 4.0, 0.9, 0.99, 0.1, torch.device("cpu")) for _ in range(2)]
    for loss in (0.7, 0.5, 0.2):
        paces[0].observe(torch.tensor(loss))
    for loss in (torch.nan, 0.7, torch.nan, 0.5, 0.2, torch.nan):
        paces[1].observe(torch.tensor(loss))
    assert torch.equal(paces[0].state()["means"], paces[1].state()["means"])


def test_a_text_without_labels_carries_no_information() -> None:
    """One such text made the information of all weights NaN, and Child-Tuning-D held every weight."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    batches = [(torch.randn(1, 4, 3), labels) for labels in ([0, 1, 1, 0], [IGNORED] * 4)]

    class Encoder(torch.nn.Module):
        base_model_prefix = "base"
        device = torch.device("cpu")

        def __init__(self) -> None:
            super().__init__()
            self.base, self.table = model, torch.nn.Embedding(2, 2)

        def get_input_embeddings(self) -> torch.nn.Module:
            return self.table

        def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.base(inputs)}

    given: Any = SimpleNamespace(
        model=Encoder(),
        loss=mean_cross_entropy,
        batches=lambda size, rows: (
            {"inputs": batches[row][0], "labels": torch.tensor([batches[row][1]])} for row in rows
        ),
    )
    both, one = information(given, {0, 1}), information(given, {0})
    for name, values in both.items():
        assert torch.isfinite(values).all()
        torch.testing.assert_close(2 * values, one[name])
