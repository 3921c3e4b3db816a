from __future__ import annotations

import json
import string
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from maskbench.config.tasks import Task
from maskbench.data.cutting import cut
from maskbench.data.readers import read
from maskbench.errors import InputError
from maskbench.kinds.files import Place
from maskbench.kinds.token_classification.tags import to_iob2

TOKEN = st.text(
    st.characters(exclude_categories=["Cs", "Zs", "Cc"], exclude_characters=",|;\ufeff"), min_size=1, max_size=8
).filter(lambda token: token.strip() == token and token != "-DOCSTART-")
TYPE = st.sampled_from(["PER", "LOC", "a-b"])
SENTENCE = st.lists(st.tuples(TOKEN, st.one_of(st.none(), st.tuples(TYPE, st.booleans()))), min_size=1, max_size=8)


def as_iob2(entities):
    """Turn (type, starts anew) or None for each token into IOB2 tags."""
    tags, previous = [], None
    for entity in entities:
        here = entity and entity[0]
        tags.append("O" if entity is None else f"{'B' if entity[1] or here != previous else 'I'}-{here}")
        previous = here
    return tags


def as_iob1(iob2):
    """Write B- only where an entity directly follows another of its type."""
    tags, previous = [], "O"
    for tag in iob2:
        tags.append(tag if tag == "O" or tag[2:] == previous[2:] else f"I-{tag[2:]}")
        previous = tag
    return tags


def task(kind, file_format, **keys):
    return Task.model_validate(
        {"name": "t", "kind": kind, "source": {"local": "x"}, "format": file_format, "files": {"train": "f"}, **keys}
    )


def read_bytes(which, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f")
        path.write_bytes(content)
        return read(which, path, "f")


@given(
    st.lists(SENTENCE, min_size=1, max_size=5),
    st.sampled_from([None, "\t", ",", "|", "; "]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_conll_reads_back(sentences, separator, newline, bom, iob1, documents):
    wanted = [([token for token, _ in sentence], as_iob2([entity for _, entity in sentence])) for sentence in sentences]
    blocks = []
    for tokens, tags in wanted:
        written = as_iob1(tags) if iob1 else tags
        blocks.append(
            newline.join((separator or " ").join([token, "x", tag]) for token, tag in zip(tokens, written, strict=True))
        )
    between = newline * 2 + (f"-DOCSTART- -X- O{newline}{newline}" if documents else "")
    content = ("\ufeff" if bom else "") + between.join(blocks) + newline
    table = read_bytes(task("token-classification", "conll", text=0, label=-1, separator=separator), content.encode())
    assert [(row.tokens, to_iob2(row.tags)) for row in table.rows] == wanted


def outcome(function, *arguments):
    """Return the result, or the line with which the input was refused."""
    try:
        return function(*arguments), ""
    except InputError as error:
        return None, str(error)


BASES = {
    "csv": b'text,label\n"a, b\nc",1\nd,0\n',
    "tsv": b"text\tlabel\na b\t1\nd\t0\n",
    "jsonl": b'{"text": "a", "label": 1}\n{"text": "b", "label": "x"}\n',
    "conll": b"EU B-ORG\nis O\n\nok O\n",
    "tagged": b'{"text": ["a", "b"], "label": ["O", "B-X"]}\n',
}
TASKS = {
    **{name: task("sequence-classification", name) for name in ("csv", "tsv", "jsonl")},
    "conll": task("token-classification", "conll", text=0, label=-1),
    "tagged": task("token-classification", "jsonl"),
}
PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([b'"', b"\n", b"\r", b"\t", b",", b"\\ud800", b"\x00", b"\xef\xbb\xbf", b"null", b"[", b"1e999"]),
)


@settings(max_examples=400)
@given(st.sampled_from(sorted(BASES)), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6), PIECES), max_size=5))
def test_mangled_bytes_are_read_or_refused_in_one_line(name, edits):
    content = BASES[name]
    for position, removed, inserted in edits:
        content = content[:position] + inserted + content[position + removed :]
    table, refusal = outcome(read_bytes, TASKS[name], content)
    if refusal:
        assert refusal.startswith("f:")
        assert "\n" not in refusal
        return
    for row in table.rows if TASKS[name].kind == "sequence-classification" else ():
        assert row.text.strip()
        assert row.label.strip()
        (row.text + row.label).encode()
    for row in table.rows if TASKS[name].kind == "token-classification" else ():
        assert 0 < len(row.tokens) == len(row.tags)
        "".join(row.tokens).encode()
    assert table.rows


@given(
    st.lists(
        st.tuples(st.text(string.ascii_lowercase[:4], min_size=1, max_size=3), st.integers(0, 1)),
        min_size=2,
        max_size=120,
    ),
    st.booleans(),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
    st.integers(0, 5),
)
def test_cuts_are_disjoint_complete_and_repeatable(rows, stratified, test, validation, seed):
    keys, labels = [key for key, _ in rows], [label for _, label in rows]
    arguments = (keys, labels if stratified else None, {"test": test, "validation": validation}, seed, Place("f"))
    parts, refusal = outcome(cut, *arguments)
    if refusal:
        assert "too few distinct texts" in refusal
        assert len(set(keys)) < 12 or stratified
        return
    assert sorted(position for part in parts.values() for position in part) == list(range(len(rows)))
    held = [{keys[position] for position in part} for part in parts.values()]
    assert all(held)
    assert sum(map(len, held)) == len(set(keys))
    assert parts == cut(*arguments)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.none(), st.text(max_size=5), st.integers(), st.lists(st.text(max_size=3))),
        max_size=4,
    )
)
def test_any_json_object_is_read_or_refused(value):
    for name in ("jsonl", "tagged"):
        content = json.dumps({"text": "a", "label": "b"} | value).encode()
        table, refusal = outcome(read_bytes, TASKS[name], content)
        assert table or refusal.startswith("f:1: ")
