"""Every link of README.md, CONTRIBUTING.md and docs/ leads to a file, and to a heading of it if it names one."""

from __future__ import annotations

import re

import pytest

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
FENCED = re.compile(r"^```.*?^```", flags=re.MULTILINE | re.DOTALL)


def pages(root):
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))]


def anchors(text):
    """The names by which headings are reached: lower case, without punctuation, with dashes between words."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text), flags=re.MULTILINE)
    named = set(re.findall(r'<a id="([^"]+)">', text))
    return named | {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere(root):
    broken = []
    for page in pages(root):
        for target, anchor in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
            file = (page.parent / target) if target else page
            if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
                broken.append(f"{page.name}: {target}{'#' + anchor if anchor else ''}")
    assert broken == []


def test_every_page_is_reached_from_the_readme(root):
    seen, todo = set(), [root / "README.md"]
    while todo:
        page = todo.pop().resolve()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        text = page.read_text(encoding="utf-8")
        todo += [page.parent / target for target, _ in LINK.findall(text) if (page.parent / target).is_file()]
    assert {page.name for page in pages(root)} - {page.name for page in seen} == set()


@pytest.mark.parametrize(("name", "lines"), [("README.md", 100), ("CONTRIBUTING.md", 50)])
def test_the_first_pages_stay_short(root, name, lines):
    assert len((root / name).read_text(encoding="utf-8").splitlines()) <= lines
