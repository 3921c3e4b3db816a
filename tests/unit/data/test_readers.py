from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskbench.data.readers import read
from maskbench.errors import InputError
from maskbench.kinds.token_classification import tags as schemes
from tests.helpers.tasks import make_tagging, make_task

TSV = {"format": "tsv"}
JSONL = {"format": "jsonl"}
TAGGED_JSONL = {"kind": "token-classification", "format": "jsonl", "text": "tokens", "label": "tags"}


def texts(tmp_path, content, **keys):
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read(make_task(**keys), path, "my.file")
    return [(row.line, row.text, row.label) for row in table.rows]


def sentences(tmp_path, content, **keys):
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read(make_tagging(**keys), path, "my.file")
    return [(row.line, row.tokens, row.tags) for row in table.rows]


@pytest.mark.parametrize(
    ("content", "keys", "expected"),
    [
        ("text,label\ngood,1\nbad,0\n", {}, [(2, "good", "1"), (3, "bad", "0")]),
        ("\ufefftext,label\r\ngood,1\r\n\r\nbad,0", {}, [(2, "good", "1"), (4, "bad", "0")]),
        (
            'label,text\n1,"two\nlines, and ""quotes"""\n0,bad\n',
            {},
            [(2, 'two\nlines, and "quotes"', "1"), (4, "bad", "0")],
        ),
        ("text;label\na,b;x\n", {"separator": ";"}, [(2, "a,b", "x")]),
        ("id,stars,review\n7,5, good \n", {"text": "review", "label": 1}, [(2, "good", "5")]),
        ("good,x\n", {"header": False, "columns": ["text", "label"]}, [(1, "good", "x")]),
        ("good,x,y\n", {"header": False, "columns": ["a", "b", "c"], "text": 0, "label": -1}, [(1, "good", "y")]),
        ('text\tlabel\n"no end\t1\n', TSV, [(2, '"no end', "1")]),
        ("text\tlabel\r\na\u2028b\x85c\t1\r\n", TSV, [(2, "a\u2028b\x85c", "1")]),
        (
            '{"text": "good", "label": "yes"}\n\n{"label": 3, "text": "bad"}\n',
            JSONL,
            [(1, "good", "yes"), (3, "bad", "3")],
        ),
        ('{"text": "a", "label": true}\r\n{"text": "b", "label": -1.5}', JSONL, [(1, "a", "true"), (2, "b", "-1.5")]),
    ],
)
def test_texts(tmp_path, content, keys, expected):
    assert texts(tmp_path, content, **keys) == expected


@pytest.mark.parametrize(
    ("content", "keys", "message"),
    [
        ("", {}, "my.file: no rows: expected at least one"),
        ("text,label\n", {}, "my.file: no rows: expected at least one"),
        ("text,label\ngood,1\n ,0\n", {}, "my.file:3: text is empty"),
        ("text,label\ngood,\n", {}, "my.file:2: label is empty"),
        ('text,label\n"a\nb",1\nc\n', {}, "my.file:4: expected 2 fields (text, label), found 1"),
        ("text,label\na,b,c\n", {}, "my.file:2: expected 2 fields (text, label), found 3"),
        ('text,label\na,1\n"open,1\nb,0\n', {}, "my.file:3: not valid CSV: a quoted field is never closed"),
        ('text,label\n"a"b,1\n', {}, "my.file:2: not valid CSV: ',' expected after '\"'"),
        ("text;label\na;1\n", {"separator": ";;"}, "my.file: separator: expected one character for CSV, got ';;'"),
        ("review,label\na,1\n", {}, "my.file: text: no column 'text'; the columns are review, label"),
        ("text,text,label\n", {}, "my.file: text: two columns are called 'text'; the columns are text, text, label"),
        ("text,label\na,1\n", {"label": 2}, "my.file: label: no column 2, there are 2 (text, label)"),
        ("text\tlabel\na\tb\tc\n", TSV, "my.file:2: expected 2 fields (text, label), found 3"),
        ("text\tlabel\n\t\n", TSV, "my.file:2: text is empty"),
        (
            b"text,label\ngood,1\nb\xe4d,0\n",
            {},
            "my.file:3: not UTF-8 (byte 0xe4 at position 2); save the file as UTF-8, "
            "or name its encoding, such as encoding: cp1252",
        ),
        (
            "\ufefftext,label\n".encode() + b"\xff,0\n",
            {},
            "my.file:2: not UTF-8 (byte 0xff at position 1); save the file as UTF-8, "
            "or name its encoding, such as encoding: cp1252",
        ),
        ('{"text": "a", "label": 1}\n{"text": }\n', JSONL, "my.file:2: not valid JSON: Expecting value at position 10"),
        ("[1]\n", JSONL, 'my.file:1: expected a JSON object on each line, such as {"text": ..., "label": ...}'),
        ('{"txt": "a", "label": 1}', JSONL, "my.file:1: no key 'text'; the keys are txt, label"),
        ('{"text": null, "label": 1}', JSONL, "my.file:1: text: expected text, got null"),
        ('{"text": "a", "label": [1]}', JSONL, "my.file:1: label: expected a word or a number, got [1]"),
        ('{"text": "a", "label": NaN}', JSONL, "my.file:1: label: expected a word or a number, got NaN"),
        (
            '{"text": "\\ud800", "label": 1}',
            JSONL,
            "my.file:1: text: half of a surrogate pair ('\\ud800') is no character",
        ),
    ],
)
def test_malformed_texts(tmp_path, content, keys, message):
    with pytest.raises(InputError) as error:
        texts(tmp_path, content, **keys)
    assert str(error.value) == message


@pytest.mark.parametrize("content", ["[" * 100_000, '{"text": ' + "9" * 5000 + "}"])
def test_json_that_python_gives_up_on(tmp_path, content):
    with pytest.raises(InputError, match=r"^my\.file:1: not valid JSON: "):
        texts(tmp_path, content, **JSONL)


def test_a_long_document_is_no_error(tmp_path):
    document = "word " * 100_000
    assert texts(tmp_path, f'text,label\n"{document}",1\n')[0][1] == document.strip()


EU = (["EU", "rejects", "it"], ["B-ORG", "O", "O"])


@pytest.mark.parametrize(
    ("content", "keys", "lines"),
    [
        ("EU NNP B-ORG\nrejects VBZ O\nit PRP O\n", {}, [1]),
        ("\ufeff-DOCSTART- -X- O\r\n\r\nEU NNP B-ORG\r\nrejects VBZ O\r\nit PRP O\r\n\r\n\r\n", {}, [3]),
        ("EU\tB-ORG\nrejects\tO\nit\tO\n-DOCSTART-\nEU\tB-ORG\nrejects\tO\nit\tO", {}, [1, 5]),
        (
            "B-ORG,EU,\nO,rejects,\nO,it,\n,,\nB-ORG,EU,\nO,rejects,\nO,it,",
            {"separator": ",", "text": 1, "label": 0},
            [1, 5],
        ),
        ("  EU \t B-ORG \n rejects   O\n it O\n \t\n", {}, [1]),
        ("EU||B-ORG\nrejects||O\nit||O\n", {"separator": "||"}, [1]),
    ],
)
def test_conll(tmp_path, content, keys, lines):
    assert sentences(tmp_path, content, **keys) == [(line, *EU) for line in lines]


def test_conll_keeps_a_no_break_space_inside_a_token(tmp_path):
    assert sentences(tmp_path, "10\u00a0000 O\nParis\u2028x B-LOC\n") == [
        (1, ["10\u00a0000", "Paris\u2028x"], ["O", "B-LOC"])
    ]


@pytest.mark.parametrize(
    ("content", "keys", "message"),
    [
        ("\n\n-DOCSTART- O\n", {}, "my.file: no rows: expected at least one"),
        ("EU NNP B-ORG\nit O\n", {}, "my.file:2: expected 3 columns as in line 1, found 2"),
        ("\nEU NNP O\n\nmy own dog O\n", {}, "my.file:4: expected 3 columns as in line 2, found 4"),
        ("EU\nit\n", {}, "my.file:1: text and label are both column 0 of 1; is the separator right?"),
        ("EU O\n", {"label": 3}, "my.file: label: no column 3, there are 2 (0, 1)"),
        (
            "EU\tB-ORG\n\tO\n",
            {"separator": "\t"},
            "my.file:2: the token is empty; it is left out with empty_tokens: drop",
        ),
        ("EU O\n\u2003 O\n", {}, "my.file:2: the token is empty; it is left out with empty_tokens: drop"),
        ("EU O\n\u2003\n", {}, "my.file:2: expected 2 columns as in line 1, found 1"),
        ("EU O\n", {"separator": ""}, "my.file: separator: expected at least one character, got ''"),
        (
            "EU ORG\n",
            {},
            "my.file:1: tag 'ORG': expected O, or one of B- I- E- S- L- U- and an entity type, such as B-PER; "
            "types without a prefix are read with scheme: io",
        ),
        (
            "EU B-\n",
            {},
            "my.file:1: tag 'B-': expected O, or one of B- I- E- S- L- U- and an entity type, such as B-PER; "
            "types without a prefix are read with scheme: io",
        ),
        ('{"tokens": ["a", "b"], "tags": ["O"]}', TAGGED_JSONL, "my.file:1: 2 tokens but 1 tags"),
        ('{"tokens": "a", "tags": ["O"]}', TAGGED_JSONL, 'my.file:1: tokens: expected a list of words, got "a"'),
        (
            '{"tokens": ["a"], "tags": [0.5]}',
            TAGGED_JSONL,
            "my.file:1: tags: expected a list of words or whole numbers, got [0.5]",
        ),
        (
            '{"tokens": ["a"], "tags": [0]}',
            TAGGED_JSONL,
            "my.file:1: tag 0 is a number; say what it stands for with labels, all tags in the order of their numbers "
            "(labels: [O, B-PER, I-PER]), or the entity types, if 1 is B- of the first and 2 its I-",
        ),
        ('{"tokens": [], "tags": []}', TAGGED_JSONL, "my.file:1: text is empty"),
        (
            '{"tokens": [" "], "tags": ["O"]}',
            TAGGED_JSONL,
            "my.file:1: a token is empty; it is left out with empty_tokens: drop",
        ),
    ],
)
def test_malformed_sentences(tmp_path, content, keys, message):
    with pytest.raises(InputError) as error:
        sentences(tmp_path, content, **keys)
    assert str(error.value) == message


def test_tagged_json_lines(tmp_path):
    content = '{"tokens": ["EU", "rejects", "it"], "tags": ["B-ORG", "O", "O"]}\n'
    assert sentences(tmp_path, content, **TAGGED_JSONL) == [(1, *EU)]


def test_the_line_of_a_token(tmp_path):
    path = tmp_path / "file"
    path.write_text("\nEU B-ORG\nrejects O\n")
    assert read(make_tagging(), path, "my.file").rows[0].line_of(1) == 3


# --- the hub's parquet

HUB = {"hub": "someone/something", "revision": "0" * 40, "splits": {"train": "train"}}


def hub(tmp_path, columns, names=None, **keys):
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table(columns), path)
    return read(make_task(source=HUB, format=None, files={}, **keys), path, "someone/something, split train", names)


def test_hub_texts(tmp_path):
    columns = {"id": [1, 2, 3], "text": ["good ", None, "bad"], "label": [1, 0, 0]}
    table = hub(tmp_path, columns, {"label": ["negative", "positive"]})
    assert [(row.line, row.text, row.label) for row in table.rows] == [
        (1, "good", "positive"),
        (3, "bad", "negative"),
    ]
    assert table.seen.dropped["no text"] == 1


def test_hub_sentences(tmp_path):
    columns = {"tokens": [["EU", "x"], []], "ner": [[1, 0], []]}
    keys = {"kind": "token-classification", "text": "tokens", "label": "ner"}
    table = hub(tmp_path, columns, {"ner": ["O", "B-ORG"]}, **keys)
    assert [(row.tokens, row.tags) for row in table.rows] == [(["EU", "x"], ["B-ORG", "O"])]
    assert table.seen.dropped["no text"] == 1
    with pytest.raises(
        InputError, match="row 1: ner: tags are numbers, and the dataset does not say what they stand for"
    ):
        hub(tmp_path, columns, **keys)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"text": ["a"], "label": [-1]},
            "someone/something, split train: row 1: label -1 is outside 0 ... 1; "
            "the labels of this split are not public",
        ),
        (
            {"sentence": ["a"], "label": [0]},
            "someone/something, split train: text: no column 'text'; the columns are sentence, label",
        ),
        ({"text": [None], "label": [0]}, "someone/something, split train: no rows: expected at least one"),
        ({"text": [3], "label": [0]}, "someone/something, split train: row 1: text: expected text, got 3"),
    ],
)
def test_malformed_hub_rows(tmp_path, columns, message):
    with pytest.raises(InputError) as error:
        hub(tmp_path, columns, {"label": ["negative", "positive"]})
    assert str(error.value) == message


def test_a_file_that_is_no_parquet(tmp_path):
    (tmp_path / "train.parquet").write_text("no")
    with pytest.raises(InputError, match=r"^my\.file: not a parquet file: "):
        read(make_task(source=HUB, format=None, files={}), tmp_path / "train.parquet", "my.file")


# --- schemes


@pytest.mark.parametrize(
    ("scheme", "tags", "iob2"),
    [
        ("IOB1", "O I-X I-X B-X O I-Y I-X", "O B-X I-X B-X O B-Y B-X"),
        ("IOB2", "O B-X I-X B-X O B-Y B-X", "O B-X I-X B-X O B-Y B-X"),
        ("IOB2", "B-X-1 I-X-1", "B-X-1 I-X-1"),
        ("IOBES", "B-X I-X E-X S-X S-Y O B-X E-X", "B-X I-X I-X B-X B-Y O B-X I-X"),
        ("BIOLU", "B-X I-X L-X U-X U-Y O B-X L-X", "B-X I-X I-X B-X B-Y O B-X I-X"),
        ("IOBES", "B-X E-X I-X E-X", "B-X I-X B-X I-X"),
        ("mixed", "O B-X O I-X", "O B-X O B-X"),
        ("mixed", "S-X U-X", "B-X B-X"),
    ],
)
def test_schemes(scheme, tags, iob2):
    assert schemes.scheme([tags.split()]) == scheme
    assert schemes.to_iob2(tags.split()) == iob2.split()
    assert schemes.to_iob2(iob2.split()) == iob2.split()


def test_a_sentence_starts_afresh():
    assert schemes.scheme([["B-X"], ["I-X"]]) == "mixed"
    assert schemes.scheme([["I-X"], ["I-X"]]) == "IOB1"
