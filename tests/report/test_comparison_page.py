"""The page of a comparison: what it shows, what it leaves out, and that it can be read on a phone."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from test_screens import BROWSER, FRAME, browse

from multitudes.measure.diversity.arms import DiversityComparison, Sample
from multitudes.measure.diversity.compare import compare_arms
from multitudes.measure.diversity.outcomes import Placed
from multitudes.report.comparison import comparison_page

EVIL = "<script>alert(1)</script><img src=x onerror='window.owned = 1'>"
LONG = "an arm with a rather long name that somebody gave it:" + "W" * 60


def compared(*, cost: bool = True, placed: bool = True, text: str = "") -> DiversityComparison:
    rng = np.random.default_rng(0)
    samples = [
        Sample(arm, "creative", f"a prompt {g} {text}", " ".join(f"w{rng.integers(0, n)}" for _ in range(12)) + text,
               bool(rng.random() < 0.9), str(rng.integers(0, n // 10)), None, 30.0 if cost else None)
        for arm, n in (("first", 10), (LONG, 60)) for g in range(12) for _ in range(4)
    ]  # fmt: skip
    t = rng.uniform(size=(16, 3))
    people = {arm: Placed(t, np.clip(t + rng.normal(0, 0.1, t.shape), 0, 1)) for arm in ("first", LONG)}
    return compare_arms(samples, placed=people if placed else None)


def test_every_verdict_is_shown_the_headline_first_and_nothing_runs() -> None:
    found = compared(text=EVIL)
    page = comparison_page(found)
    assert all(cell.verdict in page for cell in found.cells)
    assert "<script" not in page
    assert "<img" not in page
    headline, more = page.split("<details", 1)
    for name in ("effective diversity", "distinct words and phrases (EAD)"):
        assert name in headline
    assert "few repeated phrases" not in headline
    assert "few repeated phrases" in more
    assert f"{len([c for c in found.cells if not c.headline])} exploratory comparisons" in more


def test_outcomes_are_cards_with_their_names_and_without_what_nobody_knows() -> None:
    whole = comparison_page(compared())
    names = set(re.findall(r'data-h="([^"]*)"', whole))
    assert {"tokens per text", "adherence r", "tokens per different valid answer", "verdict", "valid"} <= names
    bare = comparison_page(compared(cost=False, placed=False))
    assert {"tokens per text", "adherence r"} & set(re.findall(r'data-h="([^"]*)"', bare)) == set()
    assert "what the others are compared with" in bare


def test_alike_texts_stand_side_by_side() -> None:
    found = compared()
    page = comparison_page(found)
    part = page[page.index("The most alike pairs") :]
    pair = found.alike[0]
    block = part[: part.index("</div></div>")]
    assert block.count("<blockquote>") == 2
    assert pair["first"] in block
    assert pair["second"] in block
    assert f"{pair['rouge_l']:.0%}" in block


MEASURE = """<script>
for (const node of document.querySelectorAll("details")) node.open = true;
const boxes = (select) => [...document.querySelectorAll(select)].map((n) => n.getBoundingClientRect());
parent.postMessage(JSON.stringify({
  wide: document.documentElement.scrollWidth,
  names: Math.min(...boxes(".row-name").map((b) => b.width)),
  cells: Math.min(...boxes("tbody td").map((b) => b.width)),
  quotes: Math.min(...boxes("blockquote").map((b) => b.width)),
  tops: boxes(".likeness:first-of-type blockquote").slice(0, 2).map((b) => b.top),
  hidden: Math.max(...[...document.querySelectorAll(".scroll")].map((n) => n.scrollWidth - n.clientWidth)),
  owned: window.owned ?? 0,
}), "*");
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
@pytest.mark.parametrize(("width", "beside"), [(1440, True), (360, False)])
def test_the_page_fits_and_nothing_is_squeezed(tmp_path: Path, width: int, beside: bool) -> None:
    page = comparison_page(compared(text=EVIL))
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    (tmp_path / "probe.html").write_text(bare.replace("</body>", MEASURE + "</body>"), "utf-8")
    (tmp_path / "frame.html").write_text(FRAME.format(width=width), "utf-8")
    text = browse(tmp_path / "frame.html", tmp_path, max(width, 600), "--dump-dom")
    match = re.search(r'<pre id="probe">(.*?)</pre>', text, re.DOTALL)
    assert match
    seen = json.loads(html.unescape(match[1]))
    assert seen["wide"] <= width
    assert seen["owned"] == 0
    assert seen["names"] >= 60
    assert seen["cells"] >= 40
    assert beside or seen["hidden"] <= 0  # on a phone the tables are cards: nothing to scroll sideways
    assert seen["quotes"] >= 200
    first, second = seen["tops"]
    assert (first == second) is beside
