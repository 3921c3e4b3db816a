"""Forms of files that users have: each is read by a key, and the refusal without it names the key."""

from __future__ import annotations

import gzip
import json
import zipfile

import pytest
from pydantic import ValidationError

from maskbench.data.columns import index_of
from maskbench.data.readers import read
from maskbench.errors import InputError
from maskbench.kinds.files import Place
from maskbench.kinds.token_classification.tags import Writing
from tests.helpers.tasks import make_tagging, make_task
from tests.unit.data.test_prepare import refusal, run
from tests.unit.data.test_readers import TAGGED_JSONL, hub, sentences, texts

MIRA = (["Mira", "lives"], ["B-PER", "O"])


def refused(call, *arguments, **keys):
    with pytest.raises(InputError) as error:
        call(*arguments, **keys)
    return str(error.value)


@pytest.mark.parametrize(
    ("written", "keys", "read_as", "advice"),
    [
        ("B I O B", {"scheme": "iob2"}, "B-entity I-entity O B-entity", "scheme: iob2"),
        ("B I O B", {"scheme": "iob2", "labels": ["Disease"]}, "B-Disease I-Disease O B-Disease", "scheme: iob2"),
        ("S O B E", {"scheme": "bioes"}, "S-entity O B-entity E-entity", "scheme: bioes"),
        ("B M E S", {"scheme": "bmes"}, "B-entity I-entity E-entity S-entity", "scheme: iob2"),
        ("B-X M-X E-X S-Y", {"scheme": "bmes"}, "B-X I-X E-X S-Y", "scheme: bmes"),
        ("X-B X-I O Y-B", {"scheme": "iob2"}, "B-X I-X O B-Y", "scheme: iob2"),
        ("B_X I_X O B_Y", {"scheme": "iob2"}, "B-X I-X O B-Y", "scheme: iob2"),
        ("person-actor person-actor O city", {"scheme": "io"}, "I-person-actor I-person-actor O I-city", "scheme: io"),
        ("1 2 0 3", {"labels": ["PER", "LOC"]}, "B-PER I-PER O B-LOC", "labels: [O, B-PER, I-PER]"),
        ("1 2 0 3", {"labels": ["O", "B-X", "I-X", "B-Y"]}, "B-X I-X O B-Y", "labels: [O, B-PER, I-PER]"),
        ("1 2 0 1", {"scheme": "io", "labels": ["art", "city"]}, "I-art I-city O I-art", "labels: [O, B-PER, I-PER]"),
        ("1 3 0 4", {"scheme": "bmes", "labels": ["O", "B-X", "M-X", "E-X", "S-X"]}, "B-X E-X O S-X", "labels"),
    ],
)
def test_tags(tmp_path, written, keys, read_as, advice):
    content = "".join(f"word{number} {tag}\n" for number, tag in enumerate(written.split()))
    message = refused(sentences, tmp_path, content)
    assert message.startswith("my.file:1: tag ") or message.startswith("my.file:2: tag ")
    assert advice in message
    assert sentences(tmp_path, content, **keys)[0][2] == read_as.split()


@pytest.mark.parametrize(
    ("tag", "keys", "message"),
    [
        ("E-X", {"scheme": "iob2"}, "tag 'E-X': expected O, or one of B- I- and an entity type (scheme: iob2)"),
        ("B-X", {"scheme": "io"}, "tag 'B-X' marks a beginning, which scheme: io has not; leave scheme out"),
        ("B", {"scheme": "iob2", "labels": ["X", "Y"]}, "tag 'B' has no type, so labels can name one type only, "
         "got X, Y"),
        ("9", {"labels": ["X"]}, "tag 9: labels name the numbers 0 ... 2 (O, B-X, I-X)"),
        ("1", {"labels": ["X"], "scheme": "bmes"}, "tag 1 is a number; with scheme: bmes, labels must list all tags in "
         "the order of their numbers"),
    ],
)  # fmt: skip
def test_tags_that_no_key_reads(tmp_path, tag, keys, message):
    assert refused(sentences, tmp_path, f"a {tag}\n", **keys) == f"my.file:1: {message}"


@pytest.mark.parametrize("keys", [{}, {"scheme": "iob2"}, {"scheme": "io"}])
def test_no_entity_type_is_called_as_what_is_outside(tmp_path, keys):
    """A confusion of words tells O from types by their names."""
    tag = "I-O" if keys.get("scheme") == "io" else "B-O"
    message = f"my.file:1: tag '{tag}': O stands for words outside of entities, and no entity type can be called so"
    assert refused(sentences, tmp_path, f"a {tag}\nb O\n", **keys) == message


def test_prefixes_are_capital_letters(tmp_path):
    advice = "prefixes are capital letters: write B-per"
    assert refused(sentences, tmp_path, "Anna b-per\nsaw O\n").endswith(advice)
    words = "".join(f"Anna b-per\nGreat{number} i-per\nsaw O\n\n" for number in range(30))
    message = refusal(tmp_path / "io", {"train.txt": words}, make_tagging(scheme="io"))
    assert message.startswith("my-data/train.txt: label: expected prefixes in capital letters, found b-per and i-per;")


def test_all_tags_as_labels_name_the_types():
    assert Writing("bmes", ("O", "B-X", "M-X", "E-X", "B-Y", "S-Y")).types == ["X", "Y"]


def test_the_scheme_is_in_the_manifest(tmp_path):
    content = "Mira person\nBerg person\nin O\nOslo city\n\n"
    files = dict.fromkeys(("train.txt", "dev.txt", "test.txt"), content)
    names = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
    manifest, splits = run(tmp_path, files, make_tagging(files=names, scheme="io"))
    assert manifest.scheme == "IO"
    assert manifest.labels == ["O", "B-city", "I-city", "B-person", "I-person"]
    assert splits["test"][0]["tags"] == [3, 4, 0, 1]


def test_numbers_as_tags_in_json_lines(tmp_path):
    content = '{"tokens": ["Mira", "lives", "in", "Oslo"], "tags": [1, 0, 0, 3]}\n'
    assert "say what it stands for with labels" in refused(sentences, tmp_path, content, **TAGGED_JSONL)
    found = sentences(tmp_path, content, **TAGGED_JSONL, labels=["PER", "LOC"])
    assert found == [(1, ["Mira", "lives", "in", "Oslo"], ["B-PER", "O", "O", "B-LOC"])]


def test_numbers_as_tags_of_a_hub_dataset(tmp_path):
    columns = {"tokens": [["Mira", "lives"]], "tags": [[1, 0]]}
    keys = {"kind": "token-classification", "text": "tokens", "label": "tags"}
    assert "name them with labels" in refused(hub, tmp_path, columns, **keys)
    assert hub(tmp_path, columns, **keys, labels=["O", "B-PER"]).rows[0].tags == ["B-PER", "O"]


COMMENTS = (
    "# id 11aa-22\tdomain=en\nMira _ _ B-PER\nlives _ _ O\n\n# id 11aa-23\tdomain=en\nMira _ _ B-PER\nlives _ _ O\n"
)


def test_comment_lines(tmp_path):
    assert refused(sentences, tmp_path, COMMENTS).endswith('if lines that begin with # are comments, set comments: "#"')
    assert sentences(tmp_path, COMMENTS, comments="#") == [(2, *MIRA), (6, *MIRA)]


def test_a_comment_of_other_width_names_the_key(tmp_path):
    message = refused(sentences, tmp_path, "Mira B-PER\n\n# a comment of more words\nlives O\n")
    assert message.endswith('; lines that begin with # are left out with comments: "#"')


def test_a_token_that_begins_like_a_comment_stays(tmp_path):
    content = "# begins the file\nMira B-PER\n# O\n#film O\n\n# O\nlives O\n#end document\n"
    assert sentences(tmp_path, content, comments="#") == [
        (2, ["Mira", "#", "#film"], ["B-PER", "O", "O"]),
        (6, ["#", "lives"], ["O", "O"]),
    ]


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ("// made by hand\ntext,label\n// one\ngood,x\n", {"comments": "//"}),
        ("# made by hand\ntext\tlabel\ngood\tx\n", {"format": "tsv", "comments": "#"}),
        ('# made by hand\n{"text": "good", "label": "x"}\n', {"format": "jsonl", "comments": "#"}),
    ],
)
def test_comments_in_other_formats(tmp_path, content, keys):
    assert [row[1:] for row in texts(tmp_path, content, **keys)] == [("good", "x")]


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ("Mira\tB-PER\n\tO\nlives\tO\n", {}),
        ("Mira\tB-PER\n\ufe0f\tO\nlives\tO\n", {}),
        ("Mira\tB-PER\n\tO\nlives\tO\n", {"separator": "\t"}),
        ("\u200b B-PER\nMira I-PER\nlives O\n", {}),
        ('{"tokens": ["Mira", "", "lives"], "tags": ["B-PER", "O", "O"]}', TAGGED_JSONL),
    ],
)
def test_empty_tokens(tmp_path, content, keys):
    path = tmp_path / "file"
    path.write_text(content)
    table = read(make_tagging(**keys, empty_tokens="drop"), path, "my.file")
    assert [(row.tokens, row.tags) for row in table.rows] == [MIRA]
    assert table.seen.dropped == {"empty token": 1}
    if "\ufe0f" not in content and "\u200b" not in content:
        assert "empty_tokens: drop" in refused(sentences, tmp_path, content, **keys)


def test_lines_are_right_behind_a_dropped_token(tmp_path):
    path = tmp_path / "file"
    path.write_text("# comment\nMira\tB-PER\n\tO\nlives\tO\n")
    (sentence,) = read(make_tagging(empty_tokens="drop", comments="#"), path, "my.file").rows
    assert [sentence.line_of(position) for position in range(2)] == [2, 4]


def test_a_byte_order_mark_inside_a_joined_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("\ufefftext,label\ngood,x\n\ufeffbad,y\n")
    table = read(make_task(), path, "my.file")
    assert [(row.line, row.text) for row in table.rows] == [(2, "good"), (3, "bad")]
    assert table.seen.marks == [3]
    assert sentences(tmp_path, "Mira B-PER\nlives O\n\n\ufeffMira B-PER\nlives O\n") == [(1, *MIRA), (4, *MIRA)]


def test_separator_of_tsv(tmp_path):
    content = 'text|label\n"no end|1\n'
    assert texts(tmp_path, content, format="tsv", separator="|") == [(2, '"no end', "1")]


@pytest.mark.parametrize(("encoding", "hint"), [("cp1252", "cp1252"), ("utf-16", "utf-16"), ("latin-1", "cp1252")])
def test_encodings(tmp_path, encoding, hint):
    content = "text,label\nb\u00e4d,0\n".encode(encoding)
    assert refused(texts, tmp_path, content).endswith(f"or name its encoding, such as encoding: {hint}")
    assert texts(tmp_path, content, encoding=encoding) == [(2, "b\u00e4d", "0")]


@pytest.mark.parametrize("encoding", ["utf-8", "cp437"])
def test_what_is_no_text_is_told_by_what_it_is(tmp_path, encoding):
    """Some encodings read any bytes."""
    zipped, packed = tmp_path / "a.zip", gzip.compress(b"text,label\na,b\n")
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("xl/workbook.xml", "a")
    for content, what in ((zipped.read_bytes(), "a ZIP archive or a spreadsheet"), (packed, "compressed (gzip)")):
        message = f"my.file: expected text, found {what}; unpack it, or export it as text"
        assert refused(texts, tmp_path, content, encoding=encoding) == message


@pytest.mark.parametrize(
    ("content", "keys", "advice"),
    [
        ("text;label\na;b\n", {}, '; it is one with separator: ";"'),
        ("text\tlabel\na\tb\n", {}, '; it is one with separator: "\\t"'),
        ("sep=;\ntext;label\na;b\n", {"separator": ";"}, "; the first line is none of the table: take it out"),
        ("body,label\na,b\n", {}, "the columns are body, label"),
    ],
)
def test_a_header_that_another_separator_would_read_names_it(tmp_path, content, keys, advice):
    assert refused(texts, tmp_path, content, **keys).endswith(advice)


def test_a_table_without_columns_is_a_line() -> None:
    with pytest.raises(InputError, match=r"^my\.file: text: no column 'text'; the columns are $"):
        index_of("text", "text", [], Place("my.file"))


def test_a_json_document_is_no_json_lines(tmp_path):
    objects = [{"text": "a", "label": "b"}]
    for indent, line in (
        (None, "expected a JSON object on each line, such as"),
        (1, "expected one object on each line"),
    ):
        assert line in refused(texts, tmp_path, json.dumps(objects, indent=indent), format="jsonl")


def test_another_encoding_that_does_not_fit(tmp_path):
    message = refused(texts, tmp_path, b"text,label\nb\x81d,0\n", encoding="cp1252")
    assert message.startswith("my.file:2: not cp1252 (byte 0x81 at position 2)")


TSV = {"format": "tsv"}
JSONL = {"format": "jsonl"}
LONG = [
    (texts, "text,label\n" + "good film,x\n" * 50, {}),
    (texts, "text\tlabel\n" + "good film\tx\n" * 50, TSV),
    (texts, '{"text": "good film", "label": "x"}\n' * 50, JSONL),
    (sentences, "Mira B-PER\nlives O\n\n" * 50, {}),
]
"""Readers, files that are right, and their keys."""


@pytest.mark.parametrize(("reader", "content", "keys"), LONG)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_two_bytes_a_letter_without_a_mark_are_told_in_a_line(tmp_path, reader, content, keys, encoding):
    raw = content.replace("film", "f\u00ecl\u00e4").encode(encoding)
    assert refused(reader, tmp_path, raw, **keys) == (
        f"my.file: not utf-8: many of its bytes are 0, as in {encoding[:6].upper()} without a byte order mark; name "
        f"its encoding, such as encoding: {encoding}"
    )
    assert len(reader(tmp_path, raw, encoding=encoding, **keys)) == 50


@pytest.mark.parametrize(("reader", "content", "keys"), LONG[1:])
def test_lines_that_end_in_a_carriage_return_but_for_one_are_told_in_a_line(tmp_path, reader, content, keys):
    assert len(reader(tmp_path, content.replace("\n", "\r"), **keys)) == 50
    message = refused(reader, tmp_path, content.replace("\n", "\r") + "\n", **keys)
    alone = content.count("\n") - 1  # the last one is followed by the line feed
    assert message == (
        f"my.file: {alone} lines end in a carriage return alone and 1 in a line feed; write the file with one kind of "
        "line end"
    )


def test_csv_takes_either_line_end(tmp_path):
    _, content, keys = LONG[0]
    assert len(texts(tmp_path, content.replace("\n", "\r") + "good film,x\n", **keys)) == 51


def test_names_of_columns_are_told_in_a_line_however_long_they_are(tmp_path):
    message = refused(texts, tmp_path, ",".join(["a very long name " * 10] * 100) + "\n1,2\n")
    assert message.startswith("my.file: text: no column 'text'; the columns are 'a very long name a very long name")
    assert message.endswith("... and 80 more")
    assert len(message) < 1200
    message = refused(texts, tmp_path, '{"' + "a" * 5000 + '": 1}', **JSONL)
    assert len(message) < 120


def test_lines_of_old_macs(tmp_path):
    assert sentences(tmp_path, "Mira B-PER\rlives O\r\rMira B-PER\rlives O\r") == [(1, *MIRA), (4, *MIRA)]


def test_no_header_needs_no_names_if_columns_are_given_by_index(tmp_path):
    assert texts(tmp_path, "x,good\n", header=False, text=1, label=0) == [(1, "good", "x")]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"scheme": "io"}, "scheme is for tags"),
        ({"empty_tokens": "drop"}, "empty_tokens is for tags"),
        ({"format": "jsonl", "separator": ";"}, "separator is for csv, tsv and conll"),
        ({"columns": ["text", "label"]}, "columns are for files without a header; add header: false"),
        ({"encoding": "base64"}, "expected an encoding of text that Python knows"),
        ({"encoding": "utf-99"}, "expected an encoding of text that Python knows"),
        ({"accept": ["anything"]}, "accept"),
        ({"comments": ""}, "comments"),
    ],
)
def test_keys_without_a_meaning_are_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        make_task(**keys)
