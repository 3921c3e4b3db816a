"""Citations: each one is of the list in docs/references.md, and names only places in its source that were checked."""

from __future__ import annotations

import calendar
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from maskbench.config.measures import MEASURES
from maskbench.experiment.catalogue import masks

ROOT = Path(__file__).parents[3]
LIST = ROOT / "docs" / "references.md"
PATTERNS = ("*.md", "*.yaml", "docs/**/*.md", "docs/**/*.py", "experiments/*.yaml", "benchmarks/*.py", "rules/**/*.*")
PATTERNS += ("maskbench/**/*.py", "maskbench/**/*.yaml", "maskbench/**/*.j2", "tests/**/*.py")
TEXTS = [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern)) if path not in (LIST, Path(__file__))]

NAME = r"(?:(?:Ben|De|Kim|Milani|Tjong|Van|de|van|von) )*[A-Z][A-Za-zÀ-ž]+(?:-[A-Z][a-zÀ-ž]+)*"
CITED = re.compile(
    rf"(?P<before>\(|; )?(?P<first>{NAME})(?P<more>(?:, {NAME})*,? & {NAME}|,? et al\.)?(?:'s(?: [a-z]+)?)?"
    r",? (?P<open>\()?(?P<year>(?:18|19|20)\d\d)(?![\d-])"
)
NUMBER = r"[A-Z]?\.?\d+(?:\.\d+)*"
PLACE = re.compile(
    rf"\b(?P<kind>section|figure|table|equation|appendix|definition|theorem|chapter)s? "
    rf"(?P<numbers>{NUMBER}(?:(?:, | and |–){NUMBER})*)",
    re.IGNORECASE,
)
ABBREVIATED = re.compile(r"\b(?:sec|fig|tab|eq|app|def|ch)s?\. ?[A-Z]?\d|§ ?\d", re.IGNORECASE)
NEAR = 200
"""A place belongs to the last citation before it, if it is at most this many characters before."""
OWN = ("none", "this project", "a control of this project", "a strategy that the articles under test name")
"""How an entry begins that cites nobody, or not at first."""
MONTHS = frozenset(calendar.month_name[1:])


class Source(NamedTuple):
    """A row of docs/references.md."""

    authors: str
    year: str
    title: str
    places: frozenset[str]
    checked: str


Known = dict[tuple[str, str], list[Source]]


def listed() -> Known:
    """Return the list by the first author's family name and the year."""
    found: Known = defaultdict(list)
    for line in LIST.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 5 and re.fullmatch(r"\d{4}", cells[1]):
            authors, year, title, places, checked = cells
            places_ = frozenset(filter(None, places.split(", ")))
            found[re.split(r",| & | et al", authors)[0], year].append(Source(authors, year, title, places_, checked))
    return dict(found)


KNOWN = listed()


def flat(text: str) -> str:
    """Return a text in one line, without the marks of comments and without the joints of string literals."""
    joined = re.sub(r"[\"']\s*\n\s*f?[\"']", "", text)
    return " ".join(re.sub(r"\n\s*#\s?", "\n", joined).split())


def citations(text: str) -> Iterator[re.Match[str]]:
    """Yield what looks like authors before a year: several, or one with a bracket."""
    for match in CITED.finditer(text):
        several = match["more"] or match["open"] or match["before"]
        if several and match["first"] not in MONTHS:
            yield match


def faults(text: str, known: Known = KNOWN) -> list[str]:
    """Return what is wrong with the citations of a text."""
    found, last = [], None
    marks = [*citations(text), *PLACE.finditer(text), *ABBREVIATED.finditer(text)]
    for match in sorted(marks, key=lambda match: match.start()):
        if match.re is CITED:
            last = match
            if (match["first"], match["year"]) not in known:
                found.append(f"{match.group()}: not in docs/references.md")
        elif last is not None and match.start() - last.end() <= NEAR:
            sources = known.get((last["first"], last["year"]), [])
            checked = set().union(*(source.places for source in sources))
            if match.re is ABBREVIATED:
                found.append(f"{last.group()} ... {match.group()}: expected the word in full")
                continue
            for number in re.findall(NUMBER, match["numbers"]):
                if (place := f"{match['kind'].lower()} {number}") not in checked:
                    found.append(f"{last.group()} ... {place}: nobody checked it")
    return found


def untitled(entry: str, known: Known = KNOWN) -> list[str]:
    """Return what a source lacks of the form `Authors (year), Title`, the title that of the list or its beginning."""
    found, cited = [], list(citations(entry))
    if not cited and not entry.lower().startswith(OWN):
        return [f"{entry}: expected `Authors (year), Title`, or a beginning such as {', '.join(OWN[:3])}"]
    for match in cited:
        title = re.match(r"\)?, (.+?)(?:[,;:.)] | \(|[,;.)]*$)", entry[match.end() :])
        names = [source.title.casefold() for source in known.get((match["first"], match["year"]), [])]
        written = title[1].rstrip("?").casefold() if title else ""
        if len(written) < 3 or not any(name.startswith(written) for name in names):
            found.append(f"{match.group()}: expected the title behind it, found {written!r}")
    return found


def sources() -> dict[str, str]:
    """Return the sources of masks, measures, presets and of whatever else has references in its docstring, by name."""
    found = {f"mask {entry.kind}": entry.source for entry in masks()}
    found |= {f"measure {name}": measure.source for name, measure in MEASURES.items() if measure.source}
    presets = yaml.safe_load((ROOT / "maskbench/config/presets.yaml").read_text(encoding="utf-8"))
    entries = {name: preset for kind in presets.values() if isinstance(kind, dict) for name, preset in kind.items()}
    found |= {
        f"preset {name}": entry["citation"]
        for name, entry in entries.items()
        if isinstance(entry, dict) and "citation" in entry
    }
    for path in sorted((ROOT / "maskbench").rglob("*.py")):
        blocks = re.findall(r"References\n *-{10}\n(.+?)(?:\n *\n|\n *\"\"\")", path.read_text(encoding="utf-8"), re.S)
        found |= {f"{path.relative_to(ROOT)} {index}": flat(block) for index, block in enumerate(blocks)}
    return found


def test_every_citation_is_of_the_list_and_every_place_was_checked() -> None:
    texts = {str(path.relative_to(ROOT)): flat(path.read_text(encoding="utf-8")) for path in TEXTS}
    # sources are put together from constants there
    texts = {path: text for path, text in texts.items() if not path.startswith("maskbench/config/measures/")}
    texts["maskbench/config/measures"] = ". ".join(entry.source for entry in MEASURES.values() if entry.source)
    assert {path: wrong for path, text in texts.items() if (wrong := faults(text))} == {}


def test_every_source_has_authors_year_and_title() -> None:
    found = sources()
    assert {"mask span", "measure ece", "preset sst2", "maskbench/splitmix.py 0"} <= found.keys()
    assert {name: wrong for name, source in found.items() if (wrong := untitled(source))} == {}


def test_places_in_the_list_were_checked_and_nothing_is_listed_in_vain() -> None:
    rows = [source for group in KNOWN.values() for source in group]
    assert len(rows) > 60
    assert [source.authors for source in rows if source.places and source.checked == "–"] == []
    text = " ".join(flat(path.read_text(encoding="utf-8")) for path in TEXTS)
    cited = {(match["first"], match["year"]) for match in citations(text)}
    assert sorted(KNOWN.keys() - cited) == []


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("Zehui et al. (2019), DropAttention, arXiv:1907.11065.", "not in docs"),
        ("of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA, fig. 11) to", "in full"),
        ("Steele, Lea & Flood (2014), Fast splittable pseudorandom number generators, figure 17", "figure 17"),
        ("Chen & He (2021), Exploring simple Siamese representation learning, section 3 (why)", "section 3"),
        ("the comparisons of Kornblith et al. (2021), Why Do Better", "not in docs"),
        ("Geirhos et al. (2020), Shortcut Learning in Deep Neural Networks, section 2", "section 2"),
        ("with degrees of freedom (Welch 1947)", "not in docs"),
        ("Chen & He (2021), SimSiam, sections 4.1 and 6", "section 6"),
    ],
)
def test_a_wrong_citation_is_found(wrong: str, expected: str) -> None:
    (fault,) = faults(wrong)
    assert expected in fault


@pytest.mark.parametrize(
    "right",
    [
        "with Satterthwaite's (1946) degrees of freedom, by Holm's method (1979)",
        "measured on 22 November 2026 (table 9); CoNLL-2003 in Python 3.11",
        "Louizos, Welling & Kingma (2018); Xu et al. (2021), section 2.2",
    ],
)
def test_what_is_right_or_no_citation_is_left_alone(right: str) -> None:
    assert faults(right) == []


@pytest.mark.parametrize(
    "wrong",
    ["Gold mentions.", "Zhou et al. (2022).", "Zhou et al. (2022), MELD.", "Sun et al. (2019), EMNLP"],
)
def test_a_source_without_its_title_is_found(wrong: str) -> None:
    assert untitled(wrong)
