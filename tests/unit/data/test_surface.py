"""What looks like a name, by its surface alone."""

from __future__ import annotations

import pytest

from maskbench.data.surface import name_like


def marked(text: str) -> str:
    words = text.split()
    return " ".join(word for word, name in zip(words, name_like(words), strict=True) if name)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("We saw Anna Smith in Rome .", "Anna Smith Rome"),
        ("Anna saw it .", ""),  # the start of a sentence explains it
        ("It rained . Then Anna came .", "Anna"),
        ('He said : " Come to Oslo " and left', "Oslo"),
        ("it was seen . (Burns) and ( Germany )", "Germany"),
        ("a win for Kent - Essex come next", "Kent Essex"),
        ("and I think I'm with Ivo , I’m sure", "Ivo"),
        ("the sequel Blade II and NATO", "Blade II NATO"),
        ("SOCCER - JAPAN GET LUCKY WIN , CHINA IN SURPRISE DEFEAT .", ""),
        ("Paul Bettany is cool .", "Bettany"),
        ("Charlize and Kevin Kline with 3 GUNS", "Kevin Kline GUNS"),
        ("all lower case", ""),
        ("12 3 !", ""),
        ("", ""),
    ],
)
def test_a_name_has_a_capital_that_no_sentence_start_explains(text: str, names: str) -> None:
    assert marked(text) == names


def test_empty_words_are_no_names() -> None:
    assert name_like(["", "A", "Rome", ""]) == [False, True, True, False]
