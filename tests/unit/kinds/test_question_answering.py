"""Extractive question answering: read in any form of SQuAD, in windows, and scored as SQuAD's own script scores it."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch.nn.functional import cross_entropy
from torchmetrics.functional.text import squad as torchmetrics_squad
from transformers import PreTrainedTokenizerFast

from maskbench.analysis.collect import collect
from maskbench.analysis.metrics import kinds_of, read_metrics
from maskbench.analysis.outcomes import Outcomes
from maskbench.config.science import ANSWER_TOKENS
from maskbench.data.encode import encode, load_encoded
from maskbench.data.manifests import EncodedManifest, PreparedManifest
from maskbench.data.pairs import PairEncoder
from maskbench.data.prepare import load_prepared, prepare
from maskbench.data.shifted import shift
from maskbench.errors import InputError
from maskbench.experiment.load import load
from maskbench.kinds import changing, head, score
from maskbench.kinds.encoding import IGNORED
from maskbench.kinds.extractive_question_answering import squad as measures
from maskbench.kinds.extractive_question_answering.encoding import answer_of
from maskbench.kinds.extractive_question_answering.score import best_span
from maskbench.kinds.extractive_question_answering.span import packed, unpacked
from maskbench.masks.batch import Batch
from maskbench.masks.draws import Draws
from maskbench.masks.registry import find
from maskbench.slots.device import choose
from maskbench.training.collate import Collator
from maskbench.training.run import Inputs, run_cell
from maskbench.training.subsets import at_most, examples, rows_of, subset
from tests.helpers.models import make_cell, make_encoded, make_model, same
from tests.helpers.questions import asked, json_of_questions, make_questions, squad
from tests.helpers.tasks import make_source

KIND = "extractive-question-answering"


# --- exact match and F1

CASES = [
    ("the Denver Broncos", "Denver Broncos", 1.0, 1.0),  # articles
    ("An answer", "a answer", 1.0, 1.0),
    ("Broncos!", "broncos", 1.0, 1.0),  # punctuation and case
    ("U.S.", "US", 1.0, 1.0),
    ("well-known", "well known", 0.0, 0.0),  # punctuation goes, and no space comes in its place
    ("1,000  men", "1000 men", 1.0, 1.0),
    ("Santa  Clara,\nCalifornia", "santa clara california", 1.0, 1.0),  # white space
    ("Clara Santa", "Santa Clara", 0.0, 1.0),  # bags of words
    ("Levi's Stadium in Santa Clara", "Santa Clara", 0.0, 4 / 7),
    ("to be to be", "to be or not to be", 0.0, 0.8),  # a word counts as often as both have it
    ("Paris", "Rome", 0.0, 0.0),  # no overlap
    ("theatre", "atre", 0.0, 0.0),  # an article inside a word is none
    ("the", "a", 1.0, 0.0),  # nothing is left of either: they match, and share no word
    ("", "Rome", 0.0, 0.0),
]


@pytest.mark.parametrize(("given", "answer", "exact", "f1"), CASES)
def test_exact_match_and_f1_are_those_of_the_official_script(given, answer, exact, f1):
    assert measures.exact(given, answer) == exact
    assert measures.f1(given, answer) == pytest.approx(f1)


def test_of_several_answers_the_best_counts():
    answers = ["Santa Clara, California", "Levi's Stadium", "the stadium"]
    assert measures.best(measures.f1, "Levi's Stadium in Santa Clara", answers) == pytest.approx(4 / 7)
    assert measures.best(measures.exact, "stadium", answers) == 1.0
    assert measures.best(measures.exact, "Santa Clara", answers) == 0.0


@pytest.mark.parametrize(("given", "answer"), [pair[:2] for pair in CASES if measures.words(pair[0])])
def test_torchmetrics_says_the_same_where_a_word_is_left(given, answer):
    """Where nothing is left, torchmetrics has the rule of SQuAD 2.0: F1 is 1 if both are empty."""
    found = torchmetrics_squad(
        {"prediction_text": given, "id": "1"}, {"answers": {"answer_start": [0], "text": [answer]}, "id": "1"}
    )
    assert float(found["exact_match"]) == pytest.approx(100 * measures.exact(given, answer))
    assert float(found["f1"]) == pytest.approx(100 * measures.f1(given, answer), rel=1e-5)


# --- reading

ROWS = [
    asked("Who was it?", "It was Anna, in Rome.", "Anna"),
    asked("Where was it?", "It was Anna, in Rome.", "Rome", "in Rome"),
    asked("What is dull?", "  The play is dull. \n", "The play"),
]


def flat(rows):
    """Return JSON lines as `datasets` writes them: answers as an object of two lists."""
    lines = []
    for row in rows:
        lists = {key: [answer[key] for answer in row["answers"]] for key in ("text", "answer_start")}
        lines.append(json.dumps(row | {"answers": lists}))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("form", "content"),
    [("json", squad(ROWS)), ("json", json.dumps(ROWS)), ("json", json.dumps({"data": ROWS})), ("jsonl", flat(ROWS))],
    ids=["nested", "list", "flat", "lines"],
)
def test_every_form_gives_the_same_rows(tmp_path, form, content):
    files = {split: f"{split}.{form}" for split in ("train", "validation", "test")}
    task = make_questions(format=form, files=files, cut={})
    prepare(task, make_source(tmp_path / "source", dict.fromkeys(files.values(), content)), tmp_path / "prepared")
    about, tables = load_prepared(tmp_path / "prepared")
    assert about.labels == ["start", "end"]
    assert tables["train"].to_pydict() == {
        "example": [0, 1, 2],
        "question": ["Who was it?", "Where was it?", "What is dull?"],
        "text": ["It was Anna, in Rome.", "It was Anna, in Rome.", "The play is dull."],
        "answers": [["Anna"], ["Rome", "in Rome"], ["The play"]],
        "starts": [[7], [16, 13], [0]],
        "document": [0, 0, 1],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": " "}, "entry 1: question is empty"),
        ({"question": 3}, "entry 1: question: expected text, got 3"),
        ({"context": ""}, "entry 1: passage is empty"),
        ({"answers": []}, r"entry 1: answers: expected at least one; questions without an answer \(SQuAD 2.0\)"),
        ({"answers": "Anna"}, "entry 1: answers: expected a list of answers with text and answer_start, got"),
        ({"answers": [{"text": "Anna"}]}, "entry 1: answers: expected a text and a whole number answer_start, got"),
        ({"answers": {"text": ["Anna"], "answer_start": []}}, "entry 1: answers: 1 texts but 0 places"),
        ({"answers": [{"text": "Anna", "answer_start": 8}]}, "expected 'Anna' at the character .* found 'nna,'"),
        ({"answers": [{"text": "Anna", "answer_start": -1}]}, "expected 'Anna' at the character"),
        ({"answers": [{"text": " ", "answer_start": 2}]}, "entry 1: answers: an answer is empty"),
        ({"title": None}, "entry 1: no key 'titel'"),
    ],
)
def test_what_is_no_question_is_one_clear_line(tmp_path, change, message):
    keys = {"cut": {"group": "titel"} if "title" in change else {}}
    source = make_source(tmp_path / "source", {"train.json": json.dumps([ROWS[0] | change])})
    with pytest.raises(InputError, match=f"my-data/train.json: {message}" if "entry" in message else message):
        prepare(make_questions(**keys), source, tmp_path / "prepared")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": 3}', "expected the key data with a list"),
        ('{"data": [{"paragraphs": 3}]}', r"data\[0\]: paragraphs: expected a list, got 3"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', r"data\[0\].paragraphs\[0\]: context: expected text, got null"),
        ('{"data": [{"paragraphs": [{"context": "a", "qas": [1]}]}]}', r"qas\[0\]: expected an object, got 1"),
        ('{"data": []}', "no rows"),
        ('{"data": [}', "train.json:1: not valid JSON"),
        ('{"a": 1}\n{"a": 2}', "train.json:2: not valid JSON: Extra data .* it is format: jsonl"),
    ],
)
def test_what_is_no_squad_document_is_one_clear_line(tmp_path, content, message):
    source = make_source(tmp_path / "source", {"train.json": content})
    with pytest.raises(InputError, match=message):
        prepare(make_questions(), source, tmp_path / "prepared")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"labels": ["a", "b"]}, "labels: extractive-question-answering has no labels of a set"),
        ({"binarize": 0.0}, "binarize: extractive-question-answering has no labels of a set"),
        ({"scheme": "io"}, "scheme is for tags, and a extractive-question-answering task has none"),
        ({"format": "csv"}, "format csv does not hold a extractive-question-answering task"),
        ({"separator": ";"}, "separator is for csv, tsv and conll; json has none"),
        ({"comments": "#"}, "comments are lines, and json is one document"),
        ({"cut": {"group": 0}}, "cut.group: expected the name of a key, since json has no indices"),
        ({"kind": "sequence-classification"}, "stride is for extractive-question-answering, and not for sequence"),
    ],
)
def test_keys_that_mean_nothing_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        make_questions(**keys)


def test_questions_of_one_passage_stay_in_one_split(tmp_path):
    source = make_source(tmp_path / "source", {"train.json": json_of_questions(60)})
    prepare(make_questions(), source, tmp_path / "prepared")
    about, tables = load_prepared(tmp_path / "prepared")
    passages = {split: set(table["text"].to_pylist()) for split, table in tables.items()}
    assert sum(map(len, passages.values())) == len(set.union(*passages.values())) == 30
    assert sum(about.groups.groups.values()) == 30
    assert {split: table.num_rows for split, table in tables.items()} == {"train": 48, "validation": 6, "test": 6}


# --- windows


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "model", head=True, more=["good", ".", ",", "?", "it"])


@pytest.fixture(scope="module")
def encoded(model, tmp_path_factory):
    return make_encoded(tmp_path_factory.mktemp("encoded"), model, KIND, count=60)


def test_spans_survive_windows(encoded):
    about, rows = EncodedManifest.read(encoded), load_encoded(encoded)["train"].to_list()
    counted = about.splits["train"]
    assert (counted.examples, counted.lost_answers, counted.truncated_words) == (48, 0, 0)
    assert counted.rows == len(rows) > 48
    held = {}
    for row in rows:
        assert len(row["input_ids"]) <= 24
        assert sum(label != IGNORED for label in row["labels"]) == 1
        if (found := answer_of(row)) is not None:
            assert found == row["answers"][0]
            held.setdefault(row["example"], []).append(found)
        else:
            assert row["labels"][0] == packed(len(row["labels"]), 0, 0)  # [CLS]
    assert set(held) == {row["example"] for row in rows}
    # together the windows of an example have every letter of the passage that is no white space
    for example in held:
        own = [row for row in rows if row["example"] == example]
        seen = {
            place
            for row in own
            for begin, end in zip(row["begins"], row["ends"], strict=True)
            for place in range(begin, end)
        }
        passage = own[0]["passage"]
        assert "".join(passage[place] for place in sorted(seen - {-1})) == "".join(passage.split())
        # a word has one number in all windows, and the question's come first
        of = {}
        for row in own:
            for word, begin, segment in zip(row["words"], row["begins"], row["segments"], strict=True):
                assert (word < 0) <= (segment == 0)
                if word >= 0:
                    of.setdefault(word, set()).add((segment, begin))
        assert [segment for _, places in sorted(of.items()) for segment, _ in places] == sorted(
            segment for places in of.values() for segment, _ in places
        )
        assert all(len(places) == 1 for word, places in of.items() if word > 3)


def test_neighbouring_windows_share_the_stride(encoded):
    rows = load_encoded(encoded)["train"].to_list()
    pairs = [(one, other) for one, other in pairwise(rows) if one["example"] == other["example"]]
    assert pairs
    for one, other in pairs:
        first, second = (
            [begin for begin, segment in zip(row["begins"], row["segments"], strict=True) if segment]
            for row in (one, other)
        )
        assert [begin for begin in first if begin >= 0][-4:] == [begin for begin in second if begin >= 0][:4]


def test_an_answer_that_no_window_holds_is_counted_and_told(model, tmp_path, capsys):
    passage = " ".join(["was", "is", "the", "saw"] * 10)
    rows = [asked("Is it good?", f"{passage} {number}.", " ".join(passage.split()[:30])) for number in range(12)]
    source = make_source(tmp_path / "source", {"train.json": squad(rows)})
    task = make_questions(accept=["unknown-tokens"])
    prepare(task, source, tmp_path / "prepared")
    encode(task, tmp_path / "prepared", model, tmp_path / "encoded")
    about = EncodedManifest.read(tmp_path / "encoded")
    train = about.splits["train"]
    assert train.lost_answers == train.examples == PreparedManifest.read(tmp_path / "prepared").splits["train"].rows
    assert (
        f"{train.examples} of the {train.examples} answers of train stand in no window as a whole"
        in capsys.readouterr().out
    )


def test_a_question_that_leaves_no_room_is_one_clear_line(model, tmp_path):
    rows = [asked(f"{'Is it good ' * 6}{number}?", f"It was {number} Rome.", "Rome") for number in range(8)]
    source = make_source(tmp_path / "source", {"train.json": squad(rows)})
    prepare(make_questions(), source, tmp_path / "prepared")
    with pytest.raises(
        InputError, match=r"example 0: the question has 20 tokens, .* max_length: 24 leaves 1 for .* stride: 4; raise"
    ):
        encode(make_questions(), tmp_path / "prepared", model, tmp_path / "encoded")


def unigram():
    """Return a tokenizer without words of its own, which reads a special token wherever it is written."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("<pad>", 0.0), ("▁", -3.0)]
    pieces += [(letter, -4.0) for letter in "abcdefghijklmnopqrstuvwxyzAR</>."] + [("▁Rome", -2.0), ("▁is", -2.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def test_answers_are_found_where_the_tokenizer_has_no_words_and_the_text_a_special_token():
    passage = "a </s> is written here, then  Rome is named."
    batch = {
        "example": [7],
        "question": ["is </s> it?"],
        "text": [passage],
        "answers": [["Rome"]],
        "starts": [[passage.index("Rome")]],
    }
    for length in (30, 200):
        found = PairEncoder(unigram(), KIND, length, "x", stride=8)(batch)
        rows = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
        assert (len(rows) == 1) == (length == 200)
        assert {answer_of(row) for row in rows} - {None} == {"Rome"}
        assert all(2 not in row["input_ids"] for row in rows)
        for row in rows:
            for begin, end in zip(row["begins"], row["ends"], strict=True):
                assert passage[begin:end] == passage[begin:end].strip() or begin < 0
            where = next((place for place, begin in enumerate(row["begins"]) if begin == passage.index("Rome")), None)
            if where is not None and length == 200:
                words = {row["words"][place] for place, begin in enumerate(row["begins"]) if begin >= 0}
                assert words == set(range(min(words), max(words) + 1))
                assert len(words) > len(passage.split())  # </s> is read as < and /s>


# --- loss and score


def test_a_label_says_length_start_and_end():
    for parts in ((1, 0, 0), (512, 17, 45), (2**20 - 1, 2**20 - 2, 2**20 - 2)):
        assert unpacked(packed(*parts)) == parts
    both = np.array([packed(9, 2, 5), packed(4, 0, 0)])
    assert [part.tolist() for part in unpacked(both)] == [[9, 4], [2, 0], [5, 0]]


SPANS = [(5, 1, 3), (3, 0, 0), (6, 5, 5)]


def labelled(width, left):
    """Return (B, T) labels of `SPANS`, padded on one side, and where each window begins."""
    labels, firsts = torch.full((len(SPANS), width), IGNORED), []
    for row, (length, start, end) in enumerate(SPANS):
        firsts.append(width - length if left else 0)
        labels[row, firsts[-1] + start] = packed(length, start, end)
    return labels, firsts


@pytest.mark.parametrize("left", [False, True])
def test_padding_does_not_enter_the_loss(left):
    logits = [torch.randn(length, 2, generator=torch.Generator().manual_seed(length)) for length, _, _ in SPANS]
    wanted = torch.stack(
        [
            sum(cross_entropy(row[None, :, side], torch.tensor([span[1 + side]])) for side in (0, 1)) / 2
            for row, span in zip(logits, SPANS, strict=True)
        ]
    )
    for width in (6, 9):
        labels, firsts = labelled(width, left)
        padded = torch.full((len(SPANS), width, 2), 50.0)
        for row, first in enumerate(firsts):
            padded[row, first : first + SPANS[row][0]] = logits[row]
        padded.requires_grad_()
        loss = head.of(KIND).loss({"logits": padded}, labels)
        assert loss.item() == pytest.approx(wanted.mean().item(), rel=1e-6)
        half = head.of(KIND).loss({"logits": padded}, labels, torch.tensor(6))
        assert half.item() == pytest.approx(wanted.sum().item() / 6, rel=1e-6)
        loss.backward()
        assert all((padded.grad[row, : firsts[row]] == 0).all() for row in range(len(SPANS)))
        kept = head.of(KIND).reduced(padded.detach(), labels)
        assert [tuple(part.shape) for part in kept] == [(3, width), (3, width)]
    labels, _ = labelled(6, False)
    table = score.outcome_of(KIND, ["start", "end"], columns_of([]), *scored(logits, labels)).table
    assert table["nll"].sum() == pytest.approx(wanted.sum().item(), rel=1e-5)
    assert table["units"].sum() == 3


PASSAGE = "Ada saw Rome and Anna saw it."


def columns_of(places):
    """Return columns of three windows of one passage: of example 4 two, of example 2 one."""
    begins = {5: [-1, -1, 0, 4, 8], 3: [-1, 13, 17], 6: [-1, -1, 0, 4, 8, 13]}
    ends = {5: [-1, -1, 3, 7, 12], 3: [-1, 16, 21], 6: [-1, -1, 3, 7, 12, 16]}
    return {
        "example": [4, 4, 2],
        "passage": [PASSAGE] * 3,
        "answers": [["saw Rome"], ["saw Rome"], ["Anna", "Ada"]],
        "begins": [begins[length] for length, _, _ in SPANS],
        "ends": [ends[length] for length, _, _ in SPANS],
        "document": [1, 1, 3],
        **dict(places),
    }


def scored(logits, labels):
    """Return logits and labels of windows as an evaluation gives them."""
    sides = [[row[:, side].numpy() for row in logits] for side in (0, 1)]
    rows = [row[:length].tolist() for row, (length, _, _) in zip(labels, SPANS, strict=True)]
    return score.of(KIND).padded(sides, rows)


def test_the_best_span_of_all_windows_answers_and_never_one_of_the_question():
    logits = [torch.zeros(length, 2) for length, _, _ in SPANS]
    logits[0][1] = 99.0  # the question
    logits[0][4, 0] = logits[0][3, 1] = 9.0  # would end before it starts
    logits[1][1, 0], logits[1][2, 1] = 5.0, 5.0  # and Anna: the second window's best, 10
    logits[2][2, 0], logits[2][2, 1] = 1.0, 1.0
    labels, _ = labelled(6, False)
    table = score.outcome_of(KIND, ["start", "end"], columns_of([]), *scored(logits, labels)).table
    assert table["example"].tolist() == [4, 2]
    assert table["prediction"].tolist() == ["and Anna", "Ada"]
    assert table["hit"].tolist() == [0.0, 1.0]
    assert table["exact"].tolist() == [0.0, 1.0]
    assert table["document"].tolist() == [1, 3]
    logits[0][3, 0], logits[0][4, 1] = 20.0, 20.0
    again = score.outcome_of(KIND, ["start", "end"], columns_of([]), *scored(logits, labels))
    assert again.table["prediction"].tolist() == ["saw Rome", "Ada"]
    assert (again.score, again.measures()["exact_match"]) == (1.0, 1.0)


def test_an_answer_has_a_longest_length():
    begins = np.arange(100) - 10
    start, end = np.zeros(100), np.zeros(100)
    start[20], end[20 + ANSWER_TOKENS], end[19 + ANSWER_TOKENS] = 5.0, 9.0, 1.0
    assert best_span(begins, start, end) == (9.0, 21, 20 + ANSWER_TOKENS)
    end[20 + ANSWER_TOKENS] = 0.5
    assert best_span(begins, start, end) == (6.0, 20, 19 + ANSWER_TOKENS)
    exhaustive = max(
        (start[one] + end[other], -one, -other)
        for one in range(10, 100)
        for other in range(one, min(one + ANSWER_TOKENS, 100))
    )
    assert best_span(begins, start, end) == (exhaustive[0], -exhaustive[1], -exhaustive[2])


def test_giving_the_whole_passage_is_the_score_of_no_reading(encoded):
    rows = load_encoded(encoded)["test"].to_list()
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    found = score.of(KIND).majority({}, columns)
    alone = {row["example"]: measures.best(measures.f1, row["passage"], row["answers"]) for row in rows}
    assert found == pytest.approx(np.mean(list(alone.values())))
    assert 0 < found < 0.5


# --- what runs and probes need


def test_a_subset_is_one_of_questions_with_all_their_windows(encoded):
    train = load_encoded(encoded)["train"]
    assert examples(train) == 48 < len(train)
    small, large = subset(train, 5, 1), subset(train, 20, 1)
    assert (examples(small), examples(large)) == (5, 20)
    assert set(small["example"]) <= set(large["example"])
    whole = pd.Series(train["example"]).value_counts()
    assert dict(pd.Series(large["example"]).value_counts()) == {one: whole[one] for one in set(large["example"])}
    assert at_most(train, 48) is train
    chosen = list(dict.fromkeys(large["example"]))[:3]
    assert list(rows_of(train, [*chosen, 10**6])["example"]) == [one for one in chosen for _ in range(whole[one])]
    with pytest.raises(InputError, match="49 examples are wanted, but the training split has 48"):
        subset(train, 49, 1)


def test_test_time_sets_change_the_question_or_stand_behind_the_passage(tmp_path):
    source = make_source(tmp_path / "source", {"train.json": json_of_questions(60)})
    prepare(make_questions(), source, tmp_path / "prepared")
    shift(["distractor", "drop-20", "mask-20"], tmp_path / "prepared", tmp_path / "shifted")
    clean, sets = load_prepared(tmp_path / "prepared")[1]["test"], load_prepared(tmp_path / "shifted")[1]
    for name, table in sets.items():
        assert table["answers"] == clean["answers"]
        assert table["starts"] == clean["starts"]
        same_text = table["text"] == clean["text"]
        assert (table["question"] == clean["question"]) == (name == "distractor") != same_text
        for text, starts, answers in zip(
            *(table[key].to_pylist() for key in ("text", "starts", "answers")), strict=True
        ):
            assert all(text[start:].startswith(answer) for start, answer in zip(starts, answers, strict=True))


def test_what_this_kind_does_not_have_is_one_clear_line():
    kind = changing.of(KIND)
    with pytest.raises(InputError, match="task x: expected labels of a set, and the answers to questions are places"):
        kind.flip(None, 0.1, ["start", "end"], "task x")
    with pytest.raises(InputError, match="expected labels of a set"):
        kind.plant({}, {}, [], ["start", "end"], "task x")
    task = make_questions().model_dump(mode="json")
    config = {"study": "s", "tasks": [task], "models": ["minilm-l6"], "seeds": [1], "conditions": ["clean", "cue:0.9"]}
    strategies = ["none", "keyword", "keyword-tf-idf", "entity", "question-words"]
    with pytest.raises(InputError) as error:
        load(config | {"strategies": strategies}, runs_here=False)
    assert str(error.value).splitlines() == [
        "configuration: conditions[1] (cue:0.9): needs labels of a set, and the extractive-question-answering task "
        "mine has none; leave one of them out",
        "configuration: strategies[1] (keyword).input: keyword needs labels of a set, and the "
        "extractive-question-answering task mine has none; expected statistic: tf-idf",
        "configuration: strategies[3] (entity).input: entity needs gold mentions, but the task mine has none; expected "
        "a tagging task",
    ]
    plain = {"study": "s", "tasks": ["rt-snippets"], "models": ["minilm-l6"], "seeds": [1]}
    with pytest.raises(
        InputError, match=r"\(question-words\).input: segment needs rows of two texts, and the sequence-"
    ):
        load(plain | {"strategies": ["none", "question-words"]}, runs_here=False)


# --- trained


@pytest.fixture(scope="module")
def train(model, encoded, tmp_path_factory):
    """Train a cell, and return its record, outcome and folder."""

    def call(strategy=None, **training):
        cell = make_cell(KIND, strategy, training={"epochs": 1} | training)
        base = tmp_path_factory.mktemp("run")
        inputs = Inputs(encoded, model, base / "work", base / "model")
        record, outcome = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
        assert record.status == "completed", record.error
        return cell, record, outcome, base

    return call


def weights(base):
    """Return the weights of a kept model."""
    return load_file(base / "model/model.safetensors")


QUESTION = {"kind": "segment", "of": {"kind": "random", "rate": 0.5, "whole_words": True}}


def test_masks_of_the_question_at_rate_0_or_not_applied_change_nothing(train):
    none = weights(train()[3])
    for mask in (
        QUESTION | {"of": {"kind": "random", "rate": 0.0}},
        QUESTION | {"apply": False},
        {"kind": "rate-twin", "of": QUESTION | {"of": {"kind": "random", "rate": 0.0}}},
    ):
        assert same(weights(train({"name": "m", "input": mask})[3]), none)
    _, record, _, base = train({"name": "m", "input": QUESTION})
    assert not same(weights(base), none)
    rate = next(item.value for item in record.metrics if item.measure == "mask_rate")
    twin = train({"name": "m", "input": {"kind": "rate-twin", "of": QUESTION}})[1]
    assert 0 < rate == next(item.value for item in twin.metrics if item.measure == "mask_rate") < 0.25


def test_it_learns_and_goes_to_an_interval(train, tmp_path):
    study, runs = tmp_path / "study", []
    for strategy, epochs in ((None, 10), ({"name": "blind", "input": {"kind": "random", "rate": 1.0}}, 1)):
        cell, record, outcome, _ = train(strategy, epochs=epochs, learning_rate=1e-2)
        folder = study / "training" / cell.run
        folder.mkdir(parents=True)
        record.write(folder / "metrics.json")
        outcome.table.to_parquet(folder / "predictions.parquet", index=False)
        runs.append(cell.run)
    collect("s", study, runs, study)
    metrics = read_metrics(study / "metrics.csv")
    assert kinds_of(metrics) == {"mine": KIND}
    of = metrics.set_index(["strategy", "split", "measure"])["value"]
    assert of["none", "test", "score"] == of["none", "test", "answer_f1"] >= of["none", "test", "exact_match"]
    assert of["none", "train", "loss"] < of["blind", "train", "loss"] - 0.2
    assert of["none", "test", "majority_score"] > 0
    outcomes = Outcomes(study / "outcomes.parquet", 50, 0, kinds_of(metrics))
    table = metrics[(metrics["split"] == "test") & (metrics["strategy"] == "none")]
    cells = table[table["measure"] == "score"].drop(columns=["measure", "value"])
    for name, scale in (("score", 100), ("answer_f1", 100), ("exact_match", 100), ("loss", 1)):
        recorded = table[table["measure"] == name].set_index("run")["value"] * scale
        (found,) = outcomes.resampled(name, cells, recorded).values()
        assert found.shape == (50,)
        assert np.isfinite(found).all()
    assert outcome.table["document"].nunique() == 3


# --- masks


def batch_of(rows):
    """Return a batch of encoded windows as masks see it."""
    columns = Collator(0)(rows)
    padding, types = columns.pop("attention_mask").bool(), columns.pop("token_type_ids")
    return Batch(padding=padding, token_types=types, epoch=0, mask_id=4, **columns)


def test_batches_know_which_text_a_token_is_of(encoded):
    batch = batch_of(load_encoded(encoded)["train"].to_list()[:5])
    assert batch.segments.shape == batch.input_ids.shape
    assert (batch.segments[batch.maskable] == batch.token_types[batch.maskable]).all()
    assert {*batch.segments.flatten().tolist()} == {0, 1}


@pytest.mark.parametrize("segment", ["first", "second"])
@pytest.mark.parametrize("inner", [{"kind": "random", "rate": 0.5}, {"kind": "span", "rate": 0.5}, {"kind": "tail"}])
def test_a_mask_keeps_to_its_text_and_its_twin_hits_as_much_anywhere(encoded, segment, inner):
    batch = batch_of(load_encoded(encoded)["train"].to_list()[:40])
    mask = find("input", "segment").model_validate({"of": inner, "segment": segment})
    hit = mask.where(batch, Draws(1)) & batch.maskable
    own = (batch.segments == (segment == "second")) & batch.maskable
    assert hit.any()
    assert not (hit & ~own).any()
    if inner["kind"] == "tail":
        assert (hit.sum(1) == own.sum(1) - 1).all()  # the first word of that text stays
    twin = find("input", "rate-twin").model_validate({"of": mask})
    other = twin.where(batch, Draws(1))
    assert (other.sum(1) == hit.sum(1)).all()
    assert (other & ~own & batch.maskable).any()


def test_a_question_is_masked_alike_in_all_its_windows(encoded):
    rows = load_encoded(encoded)["train"].to_list()[:40]
    batch = batch_of(rows)
    mask = find("input", "segment").model_validate({"of": {"kind": "random", "rate": 0.5, "whole_words": True}})
    hit = mask.where(batch, Draws(1))
    pairs = [row for row in range(39) if rows[row]["example"] == rows[row + 1]["example"]]
    assert pairs
    question = (batch.segments[0] == 0) & batch.maskable[0]  # all questions are equally long
    assert all((hit[row] & question).equal(hit[row + 1] & question) for row in pairs)


LOOKING = [
    ("input", {"kind": "adaptive", "place": "loss"}),
    ("input", {"kind": "adaptive", "place": "attention"}),
    ("input", {"kind": "keyword", "statistic": "tf-idf"}),
    ("input", {"kind": "learned"}),
    ("input", {"kind": "generated", "by": "unigram"}),
    ("attention", {"kind": "block-keyword", "statistic": "tf-idf"}),
    ("parameter", {"kind": "child-d", "share": 0.3}),
    ("objective", {"kind": "consistency", "mask": "random"}),
]
"""Masks that look at labels, losses or the words of the training split."""


@pytest.mark.parametrize(
    ("family", "mask"), LOOKING, ids=[f"{mask['kind']}-{n}" for n, (_, mask) in enumerate(LOOKING)]
)
def test_masks_that_look_at_labels_or_losses_work_on_questions(train, family, mask):
    _, record, outcome, _ = train({"name": "m", family: mask}, batch_size=32)
    assert np.isfinite(outcome.table["nll"]).all()
    rates = [item.value for item in record.metrics if item.measure.endswith("mask_rate")]
    assert family == "parameter" or all(rate > 0 for rate in rates)
