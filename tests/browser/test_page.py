"""The page in a real browser: no error, no request, no sideways scrolling; its claims can be filtered and sorted."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

from maskbench.analysis.findings import VERDICTS
from maskbench.report.study import Study
from tests.helpers import reports as report_samples
from tests.unit.report.test_report import make, make_mixed, report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is missing: apt-get install chromium"),
]

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--enable-logging=stderr", "--virtual-time-budget=5000", "--window-size=1600,900"),
]

MEASURE = """<script>addEventListener("load", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
  parent.postMessage({
    width: innerWidth, content: document.documentElement.scrollWidth,
    requests: performance.getEntriesByType("resource").map(each => each.name).filter(name => !name.startsWith("data:")),
    images: [...document.images].map(image => image.complete && image.naturalWidth > 0),
    paper: getComputedStyle(document.body).backgroundColor,
  }, "*");
})</script>"""

# A window cannot be as narrow as a telephone, but a frame can.
FRAME = """<!DOCTYPE html><title>nothing yet</title>
<script>addEventListener("message", event => { document.title = JSON.stringify(event.data) })</script>
<iframe src="measured.html" style="border: 0; width: {width}px; height: 900px"></iframe>"""

# Uses the controls as a reader does, and notes after each use which claims are there and which row heads them.
USE = """<script>addEventListener("load", () => {
  const form = document.getElementById("tools"), found = {};
  const use = (name, choices) => {
    form.reset();
    for (const [key, value] of Object.entries(choices)) form.elements.namedItem(key).value = value;
    form.dispatchEvent(new Event("input", {bubbles: true}));
    found[name] = [...document.getElementById("claims-table").tBodies].filter(claim => claim.offsetParent !== null)
      .map(claim => [claim.id, ...[...claim.querySelectorAll("tr.head")].filter(row => row.offsetParent !== null)
        .map(row => row.dataset.scope)]);
    found[name + " says"] = document.getElementById("shown").textContent;
  };
  found.tools = form.offsetParent !== null;
  use("start", {});
  use("verdict", {verdict: "contradicted"});
  use("task", {scope: "conll2003"});
  use("words", {words: "ROBUST perturbations"});
  use("nothing", {words: "no claim has these words"});
  use("by effect", {sort: "effect"});
  use("by verdict", {sort: "verdict"});
  use("again", {});
  document.title = JSON.stringify(found);
})</script>"""


def browse(folder, page, *flags):
    """Open a page and return its final DOM and what the browser logged."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def scripted(page, script):
    """Return a page with one more script; the page itself allows none but its own."""
    content = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    return content.replace("</body>", f"{script}</body>")


def title(dom):
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom, re.S).group(1)))


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


def test_it_opens_from_a_file_without_an_error_and_its_script_runs(page, tmp_path):
    dom, log = browse(tmp_path, page)
    assert "The answer so far" in dom
    assert "CONSOLE" not in log
    tested = len(re.findall(r'<tbody id="C\d+"', dom))
    assert f'<output id="shown">{tested} of {tested} claims</output>' in dom  # allowed by its hash, and by nothing else


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 900, 1400])
def test_it_fits_the_window_with_everything_unfolded(page, tmp_path, width, dark):
    (tmp_path / "measured.html").write_text(scripted(page, MEASURE), encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("{width}", str(width)), encoding="utf-8")
    found = title(browse(tmp_path, frame, f"--blink-settings=preferredColorScheme={0 if dark else 1}")[0])
    assert found["width"] == width
    assert found["content"] <= width
    assert found["requests"] == []
    assert found["images"] == [True] * page.read_text(encoding="utf-8").count('<figure id="figure-')
    assert (sum(map(int, re.findall(r"\d+", found["paper"])[:3])) < 150) == dark


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    """A page with every kind of verdict, and a foreign script that must not run."""
    folder = tmp_path_factory.mktemp("decided")
    study = report_samples.write_all(folder, ["rt-snippets", "conll2003"], report_samples.STRATEGIES, 6)
    report(folder, Study.read(folder), question="<script>document.title = 'broken'</script>")
    return folder / "report.html", study


def test_claims_are_filtered_and_sorted(decided, tmp_path):
    page, study = decided
    (tmp_path / "used.html").write_text(scripted(page, USE), encoding="utf-8")
    found = title(browse(tmp_path, tmp_path / "used.html")[0])
    everything = [[f"C{number:02d}", "all tasks"] for number in (1, 2, 5, 16, 23)]
    assert found["tools"]
    assert found["start"] == found["again"] == everything
    assert found["start says"] == "5 of 5 claims"
    assert found["verdict"] == [["C05", "all tasks"]]
    assert found["verdict says"] == "1 of 5 claims"
    assert found["task"] == [[f"C{number:02d}", "conll2003"] for number in (1, 2, 5, 16, 23)]
    assert found["words"] == [["C23", "all tasks"]]
    assert found["nothing"] == []
    rows = study.evidence.verdicts.query("scope == 'pooled'").drop_duplicates("claim").set_index("claim")
    rows = rows.drop(index="C26")  # which is not tested, and stands below in a list of its own
    strength = (rows["estimate"] / rows["delta"]).abs().fillna(0.0)
    assert [row[0] for row in found["by effect"]] == list(strength.sort_values(ascending=False, kind="stable").index)
    order = list(rows["verdict"].map(VERDICTS.index).sort_values(kind="stable").index)
    assert [row[0] for row in found["by verdict"]] == order


def test_without_scripts_every_claim_is_there(decided, tmp_path):
    page, _ = decided
    (tmp_path / "bare.html").write_text(
        re.sub(r"<script>.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.S)
    )
    count = "<script>document.title = JSON.stringify([...document.getElementById('claims-table').tBodies]"
    count += ".filter(claim => claim.innerText.includes(claim.id)).length)</script>"
    (tmp_path / "bare.html").write_text(scripted(tmp_path / "bare.html", count), encoding="utf-8")
    dom, _ = browse(tmp_path, tmp_path / "bare.html")
    assert title(dom) == 5
    untested = re.search(r'<details id="untested">(.*?)</details>', dom, flags=re.S)
    assert untested, "what is not tested is one folded list"
    assert re.findall(r'<li id="(C\d+)"', untested[1]) == ["C26"]
    assert "1 claim that this study does not test" in untested[1]
    assert re.search(r'<form id="tools"[^>]* hidden', dom)


def test_a_foreign_script_does_not_run(decided, tmp_path):
    page, _ = decided
    (tmp_path / "foreign.html").write_text(
        page.read_text(encoding="utf-8").replace("</body>", "<script>document.title = 'broken'</script></body>")
    )
    dom, log = browse(tmp_path, tmp_path / "foreign.html")
    assert "<title>broken" not in dom
    assert "Content Security Policy" in log
