"""The page in a real browser: no error, no request, no sideways scrolling, at three widths, light and dark."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

from maskbench.report.figures import FIGURES
from tests.unit.test_report import make, make_mixed, report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is missing: apt-get install chromium")

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--enable-logging=stderr", "--virtual-time-budget=5000", "--window-size=1600,900"),
]

MEASURE = """<script>addEventListener("load", () => parent.postMessage({
  width: innerWidth, content: document.documentElement.scrollWidth,
  requests: performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:")),
  images: [...document.images].map(image => image.complete && image.naturalWidth > 0),
  paper: getComputedStyle(document.body).backgroundColor,
}, "*"))</script>"""

# A window cannot be as narrow as a telephone, but a frame can.
FRAME = """<!DOCTYPE html><title>nothing yet</title>
<script>addEventListener("message", event => { document.title = JSON.stringify(event.data) })</script>
<iframe src="measured.html" style="border: 0; width: {width}px; height: 900px"></iframe>"""


def browse(folder, page, *flags):
    """Open a page and return its final DOM and what the browser logged."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


STRATEGIES = ["none", "random", "static", "a-strategy-with-as-long-a-name-as-can-be"]


@pytest.fixture(scope="module", params=["one training", "every training"])
def page(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    if request.param == "every training":
        study = make_mixed(folder, STRATEGIES, 2)
    else:
        study = make(folder, strategies=STRATEGIES, seeds=5, failed={("conll2003", "static", 2): "diverged"})
    report(folder, study)
    return folder / "report.html"


def test_it_opens_from_a_file_without_an_error(page, tmp_path):
    dom, log = browse(tmp_path, page)
    assert "The answer so far" in dom
    assert "CONSOLE" not in log


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 900, 1400])
def test_it_fits_the_window(page, tmp_path, width, dark):
    # The page itself forbids scripts; the copy that is measured allows this one.
    content = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    (tmp_path / "measured.html").write_text(content.replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("{width}", str(width)), encoding="utf-8")
    dom, _ = browse(tmp_path, frame, f"--blink-settings=preferredColorScheme={0 if dark else 1}")
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom).group(1)))
    assert found["width"] == width
    assert found["content"] <= width
    assert found["requests"] == []
    assert found["images"] == [True] * len(FIGURES)
    assert (sum(map(int, re.findall(r"\d+", found["paper"])[:3])) < 150) == dark
