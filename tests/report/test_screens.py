"""The report in a real browser: it fits, it runs, it finds, and nothing that people wrote is run."""

from __future__ import annotations

import html
import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from report_runs import STATES, make_run

from multitudes.core.records import Persona, Population, Turn
from multitudes.report.build import build_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "chromium-headless-shell")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium"),
    pytest.mark.slow,
]

WIDTHS = (1440, 390)
ATTACK = (
    "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"
    "<svg onload='window.owned = 1'></svg><style>body { display: none }</style> " + "W" * 300
)
WATCH = "<script>window.wrong = []; addEventListener('error', (e) => wrong.push(String(e.message)));</script>"
PROBE = """<script>
(async () => {
  const wait = () => new Promise((done) => setTimeout(done, 300));
  const rows = () => document.querySelectorAll("#talks .item").length;
  const out = { inner: innerWidth, all: rows() };
  for (const node of document.querySelectorAll("details")) node.show ? node.show() : (node.open = true);
  await wait();
  out.wide = document.documentElement.scrollWidth;
  out.shown = getComputedStyle(document.body).display;
  out.answers = document.querySelectorAll("#answers .answer").length;
  const find = document.getElementById("find");
  if (find) {
    find.value = "needle";
    find.dispatchEvent(new Event("input"));
    await wait();
    out.found = rows();
    out.marked = document.querySelectorAll("#talks mark").length;
    out.count = document.getElementById("talk-count").textContent;
    find.value = "no such words";
    find.dispatchEvent(new Event("input"));
    await wait();
    out.none = rows();
    document.getElementById("by-redrawn").click();
    location.hash = "#talk-1-1";
    await wait();
    out.here = document.querySelector(".turn.here")?.querySelector("p:last-of-type").textContent ?? "";
  }
  out.owned = window.owned ?? 0;
  out.wrong = wrong;
  parent.postMessage(JSON.stringify(out), "*");
})();
</script>"""


# A window cannot be as narrow as a phone, a frame can.
FRAME = """<!doctype html><iframe src="probe.html" style="width: {width}px; height: 1600px; border: 0">
</iframe><script>addEventListener("message", (e) => {{
  document.body.append(Object.assign(document.createElement("pre"), {{ id: "probe", textContent: e.data }}));
}});</script>"""


def browse(path: Path, folder: Path, width: int, *flags: str) -> str:
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},1600", "--virtual-time-budget=6000", *flags, path.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def probe(page: str, folder: Path, width: int) -> Any:
    """What the page does without its policy, so that escaping alone is what is tested."""
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', WATCH, page)
    assert bare != page
    (folder / "probe.html").write_text(bare.replace("</body>", PROBE + "</body>"), "utf-8")
    path = folder / "frame.html"
    path.write_text(FRAME.format(width=width), "utf-8")
    found = re.search(r'<pre id="probe">(.*?)</pre>', browse(path, folder, max(width, 600), "--dump-dom"), re.DOTALL)
    assert found, "the probe did not come to its end"
    return json.loads(html.unescape(found[1]))


def is_blank(png: bytes) -> bool:
    """Whether nearly all bytes repeat their neighbours: one colour, nothing drawn."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data = 8, b""
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        data += png[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    raw = zlib.decompress(data)
    return sum(b != 0 for b in raw[::7]) < 0.005 * len(raw[::7])


def searched_run() -> Any:
    run = make_run("some words")
    turns = (Turn(speaker="user", text="a Needle in the hay"), Turn(speaker="target", text="I see it"))
    first = run.conversations[0].model_copy(update={"turns": turns})
    return make_run("some words", conversations=(first, *run.conversations[1:]))


@pytest.mark.parametrize("width", WIDTHS)
def test_fits_runs_and_finds(tmp_path: Path, width: int) -> None:
    seen = probe(build_report(searched_run()), tmp_path, width)
    assert seen["inner"] == width
    assert seen["wide"] <= width
    assert seen["wrong"] == []
    assert seen["all"] == 6
    assert seen["found"] == 1
    assert seen["marked"] >= 1
    assert seen["count"] == "1 of 6 conversations"
    assert seen["none"] == 0
    assert seen["here"] == "some words"  # a link opens its turn whatever was filtered
    assert seen["answers"] == 3


@pytest.mark.parametrize("width", WIDTHS)
def test_what_people_wrote_is_never_run_and_breaks_no_line(tmp_path: Path, width: int) -> None:
    seen = probe(build_report(make_run(ATTACK)), tmp_path, width)
    assert seen["owned"] == 0
    assert seen["shown"] == "block"
    assert seen["wrong"] == []
    assert seen["wide"] <= width
    assert seen["all"] == 6


def test_the_probe_sees_an_attack_that_is_not_escaped(tmp_path: Path) -> None:
    page = build_report(searched_run()).replace("<h1", "<img src=x onerror='window.owned = 1'><h1", 1)
    assert probe(page, tmp_path, 390)["owned"] == 1


@pytest.mark.parametrize("state", STATES)
def test_every_state_fits_a_phone(tmp_path: Path, state: str) -> None:
    seen = probe(build_report(make_run(**STATES[state])), tmp_path, 390)
    assert seen["wide"] <= 390
    assert seen["wrong"] == []


def test_hundreds_of_people_come_by_steps(tmp_path: Path) -> None:
    people = tuple(Persona(id=f"p{k}", name=f"Person {k}", text=f"number {k}") for k in range(300))
    talks = tuple(
        make_run().conversations[0].model_copy(update={"id": f"c{k:03}", "persona_id": f"p{k}"}) for k in range(300)
    )
    page = build_report(make_run(population=Population(personas=people), conversations=talks))
    assert probe(page, tmp_path, 390)["all"] == 40


@pytest.mark.parametrize("width", WIDTHS)
def test_picture_is_not_blank_and_the_policy_lets_the_page_work(tmp_path: Path, width: int) -> None:
    path, picture = tmp_path / "report.html", tmp_path / "report.png"
    path.write_text(build_report(searched_run()), "utf-8")
    browse(path, tmp_path, width, f"--screenshot={picture}")
    png = picture.read_bytes()
    assert struct.unpack(">II", png[16:24]) == (width, 1600)
    assert not is_blank(png)
    assert "6 conversations" in browse(path, tmp_path, width, "--dump-dom")
