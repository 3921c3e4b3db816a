"""Smaller files for the same pictures: SVG without what no reader sees, PNG with a palette."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.backends.backend_agg import FigureCanvasAgg

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"

COLOURS = 256
"""Colours of a PNG, which is as many as a palette has."""

_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def write_png(canvas: FigureCanvasAgg, path: Path) -> None:
    """Write what a canvas shows as a PNG with a palette; what is of one colour keeps it, all but exactly."""
    canvas.draw()  # type: ignore[no-untyped-call]
    shown = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    image = Image.fromarray(shown).convert("RGB")
    picture = image.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    dpi = canvas.figure.dpi
    picture.save(path, format="png", optimize=True, dpi=(dpi, dpi))


def small_svg(path: Path) -> None:
    """Write an SVG file of matplotlib anew, in less than half the bytes: numbers to 0.01 points, short names."""
    for prefix, space in (("", _SVG), ("xlink", _XLINK)):
        ET.register_namespace(prefix, space)
    root = ET.parse(path).getroot()  # which matplotlib has just written
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    _rename(root)
    for element in root.iter():
        _shorten(element)
    _unwrap(root)
    _classes(root)
    _hoist(root)
    text = ET.tostring(root, encoding="unicode").replace(" />", "/>")
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n', encoding="utf-8", newline="\n")


def _rename(root: ET.Element) -> None:
    """Give what is used elsewhere a short name, and take those of all else away."""
    used = Counter(element.get(_HREF, "") for element in root.iter())
    clips = {name: None for element in root.iter() if (name := element.get("clip-path"))}
    names = [name[1:] for name, _ in used.most_common() if name.startswith("#")] + [name[5:-1] for name in clips]
    short = {name: f"{'abcdefghijklmnopqrstuvwxyz'[place % 26]}{place // 26 or ''}" for place, name in enumerate(names)}
    for element in root.iter():
        if (name := element.attrib.pop("id", None)) in short:
            element.set("id", short[str(name)])
        if element.get(_HREF, "").startswith("#"):
            element.set(_HREF, f"#{short[element.attrib[_HREF][1:]]}")
        if "clip-path" in element.attrib:
            element.set("clip-path", f"url(#{short[element.attrib['clip-path'][5:-1]]})")


def _shorten(element: ET.Element) -> None:
    """Round coordinates, and leave out blanks that mean nothing."""
    element.tail = "\n" if element.tail and not element.tail.strip() else element.tail
    element.text = "\n" if element.text and not element.text.strip() else element.text
    for name in ("d", "x", "y", "width", "height"):
        if name in element.attrib and element.tag != f"{{{_SVG}}}svg":
            element.set(name, _NUMBER.sub(_rounded, element.attrib[name]))
    if "d" in element.attrib:
        element.set("d", re.sub(r"\s*([A-Za-z])\s*", r"\1", element.attrib["d"]).strip())
    if "style" in element.attrib:
        element.set("style", re.sub(r"([:;]) ", r"\1", element.attrib["style"]))
    transform = element.get("transform", "")
    if transform.startswith("translate("):
        head, bracket, rest = transform.partition(")")
        head = _NUMBER.sub(_rounded, head)
        along = re.fullmatch(r"translate\((\S+)(?: 0)?", head)
        if along and not rest and element.tag == f"{{{_SVG}}}use" and "x" not in element.attrib:
            del element.attrib["transform"]
            element.set("x", along[1])
        else:
            element.set("transform", head + bracket + rest)


def _rounded(number: re.Match[str]) -> str:
    digits = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if digits == "-0" else digits


def _unwrap(parent: ET.Element) -> None:
    """Put the children of groups that say nothing in the place of the group."""
    children: list[ET.Element] = []
    for child in list(parent):
        _unwrap(child)
        plain = child.tag == f"{{{_SVG}}}g" and not child.attrib
        children += list(child) if plain else [child]
    parent[:] = children


def _classes(root: ET.Element) -> None:
    """Write a style that stands in many places once, as a class."""
    counts = Counter(element.get("style", "") for element in root.iter())
    names = {style: f"s{place}" for place, (style, count) in enumerate(counts.most_common()) if style and count > 2}
    for element in root.iter():
        if (style := element.get("style", "")) in names:
            del element.attrib["style"]
            element.set("class", names[style])
    sheet = root.find(f".//{{{_SVG}}}style")
    if sheet is not None:
        sheet.text = (sheet.text or "") + "".join(f".{name}{{{style}}}" for style, name in names.items())


def _hoist(root: ET.Element) -> None:
    """Give a group the class that all its marks have; what a group does to all of them together is left where it is."""
    sheet = root.find(f".//{{{_SVG}}}style")
    apart = set(re.findall(r"\.(s\d+)\{[^}]*(?<!-)opacity", "" if sheet is None else sheet.text or ""))
    for group in root.iter(f"{{{_SVG}}}g"):
        classes = {child.get("class") for child in group}
        (name,) = classes if len(classes) == 1 else (None,)
        if name and name not in apart and "class" not in group.attrib and "style" not in group.attrib:
            group.set("class", name)
            for child in group:
                del child.attrib["class"]
