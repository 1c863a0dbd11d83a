"""The page of an axis: every role is on it, nothing that somebody wrote becomes markup, and gaps stay gaps."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from axis_made_up import L, made_up_axis
from test_screens import BROWSER, FRAME, WATCH, browse

from multitudes.axis.axis import Axis
from multitudes.core.errors import StoreError
from multitudes.report import axis_facts
from multitudes.report.axis_curves import PANELS, panels
from multitudes.report.axis_marks import BOLD, LETTER, LINE, Names, around, meets
from multitudes.report.axis_page import axis_lines, axis_page, write_axis_page
from multitudes.report.svg import Markup

NASTY = "<b>bold</b></title></svg><script>alert(1)</script><img src=x onerror='alert(2)'>\" onload=\"x\x1b"
VOID = {"meta", "input", "br", "img", "link"}


class Page(HTMLParser):
    """Elements in their order; an end tag that does not fit is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({k for k, _ in attrs}) == len(attrs)
        self.tags[tag] += 1
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [v for _, k, v in self.attributes if k == name]


def drawings(page: str) -> list[ElementTree.Element]:
    """The pictures, read as XML: what is not well formed raises."""
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def imported() -> Axis:
    """What the import of released files gives: no roles, no curves, no means."""
    whole = made_up_axis()
    nothing = np.full(L, np.nan, np.float32)
    return replace(
        whole, role_means=whole.role_means[:0], roles=(), components=whole.components[:0], curves={},
        default_mean=np.full_like(whole.default_mean, np.nan), mu_default=nothing, mu_roles=nothing,
        about={"method": "imported", "from": "assistant_axis.pt"},
    )  # fmt: skip


def without(axis: Axis, name: str, *layers: int) -> Axis:
    values = np.array(axis.curves[name], np.float32)
    values[list(layers)] = np.nan
    return replace(axis, curves={**axis.curves, name: values})


AGREED = {
    "second_judge": {
        "with": "other", "kappa": 0.714, "low": 0.6, "high": 0.8, "n": 196, "roles": 44, "unscored": 4, "of": 880,
        "same": 0.9, "same_low": 0.86, "same_high": 0.94, "by_chance": 0.62, "note": "", "table": [[0] * 4] * 4,
    },
    "likelihood": {
        "with": "the likelihood filter", "kappa": "NaN", "low": None, "high": None, "n": 200, "roles": 44,
        "unscored": 0, "of": 880, "same": 1.0, "same_low": 1.0, "same_high": 1.0, "by_chance": 1.0,
        "note": "one category only: both rated everything 3", "table": [[0] * 4] * 4,
    },
}  # fmt: skip


def judged(**about: object) -> Axis:
    """An axis under two judges and a topic filter."""
    facts = {
        "filter": "judge", "judge": {"name": "one"}, "agreement": AGREED, "theta": "NaN", "unscored": 3,
        "topic": {
            "encoder": "mini", "dropped": {"role-1-0": 4, "role-2-0": 9}, "of": {"role-1-0": 10, "role-2-0": 12},
        },
    }  # fmt: skip
    axis = made_up_axis(**{**facts, **about})
    more = {k: np.full(L, 0.97) for k in ("cosine_second_judge", "cosine_any_topic", "z_somewhat_answers")}
    return replace(axis, curves={**axis.curves, **more})


STATES = {
    "judged": judged(),
    "judged, and nothing is known": judged(agreement={"second_judge": {}, "likelihood": {"with": "x"}}, judge={}),
    "whole": made_up_axis(),
    "no curves": replace(made_up_axis(), curves={}),
    "all unscored": replace(made_up_axis(), curves={k: np.full(L, np.nan) for k in made_up_axis().curves}),
    "curves of another length": replace(made_up_axis(), curves={k: np.ones(3) for k in made_up_axis().curves}),
    "endless": replace(made_up_axis(), curves={k: np.full(L, np.inf) for k in made_up_axis().curves}),
    "gaps": without(without(made_up_axis(), "split_half", 3, 6), "z_neutral", 0, 5, 6, 11),
    "a role without a mean": replace(
        made_up_axis(), role_means=np.concatenate([made_up_axis().role_means[:-1], np.full((1, L, 24), np.nan)])
    ),
    "one component": replace(made_up_axis(), components=made_up_axis().components[:1]),
    "nothing told": replace(made_up_axis(), about={}),
    "no window": replace(made_up_axis(), window=()),
    "unscored controls": made_up_axis(
        controls={"axis": "NaN", "covariance": {"median": "NaN", "p95": "NaN"}}, z_tau={"0.75": "NaN"}
    ),
    "imported": imported(),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.filterwarnings("error")
def test_every_state_has_a_whole_page(state: str) -> None:
    text = axis_page(STATES[state])
    page = Page(text)
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    assert {v.removeprefix("#") for v in page.values("href")} <= set(ids)
    assert set(page.values("aria-labelledby")) <= set(ids)
    assert page.tags["h1"] == page.tags["main"] == page.tags["script"] == page.tags["style"] == 1
    for svg in drawings(text):
        for node in svg.iter():
            for name, value in node.attrib.items():
                if name not in ("aria-label", "data-name"):
                    assert not re.search(r"\b(nan|inf)\b", value, re.IGNORECASE), (node.tag, name, value)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.filterwarnings("error")
def test_every_state_has_its_lines(state: str) -> None:
    lines = axis_lines(STATES[state])
    assert 12 <= len(lines) <= 20
    assert not any(re.search(r"\bnan\b|[\x00-\x1f]", line) for line in lines)


# --- what somebody wrote ------------------------------------------------------------------------------------------


def test_names_are_words_and_never_markup() -> None:
    nasty = made_up_axis(names={"role-1-0": NASTY, "role-11-3": NASTY}, model=NASTY, licence=NASTY,
                         default_arms={NASTY: NASTY}, dropped_fixed=[[NASTY, 1]], z_tau={NASTY: 1.0})  # fmt: skip
    calm = made_up_axis(names={"role-1-0": "x" * 40, "role-11-3": "x" * 40}, model="x" * 40, licence="x",
                        default_arms={"x": "x"}, dropped_fixed=[["x", 1]], z_tau={"x": 1.0})  # fmt: skip
    told = {"agreement": {"second_judge": {**AGREED["second_judge"], "with": NASTY, "note": NASTY}},
            "judge": {"name": NASTY}, "topic": {"encoder": NASTY, "dropped": {NASTY: 1}}}  # fmt: skip
    assert "<b>bold" not in axis_page(judged(**told))
    assert not any("\x1b" in line for line in axis_lines(judged(**told)))
    page, plain = Page(axis_page(nasty)), Page(axis_page(calm))
    assert page.tags == plain.tags  # not one element more or less
    assert [(t, k) for t, k, _ in page.attributes] == [(t, k) for t, k, _ in plain.attributes]
    assert not any(k.startswith("on") for _, k, _ in page.attributes)
    assert NASTY.replace("\x1b", "␛") in "".join(page.text)
    assert not any("\x1b" in line for line in axis_lines(nasty))


def test_the_policy_allows_the_one_script_and_the_one_sheet_and_no_address() -> None:
    text = axis_page(made_up_axis())
    policy = next(v for v in Page(text).values("content") if "default-src" in v)
    for name, directive in (("script", "script-src"), ("style", "style-src")):
        body = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        assert body
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\(|@import", text)  # the name of SVG is no address
    assert not Page(text).values("style")  # the policy would refuse them
    assert not Page(text).values("src")


# --- the persona space --------------------------------------------------------------------------------------------


def test_every_role_is_in_every_picture_and_in_the_list() -> None:
    axis = made_up_axis(per_family=25, names={"role-7-3": "hermit"})
    page = Page(axis_page(axis))
    names = {str(axis.about["names"][r]) for r in axis.roles}
    assert set(page.values("data-name")) == names
    assert Counter(page.values("data-role")) == {
        str(i): 5 for i in range(275)
    }  # 2 pictures, twice each, and the list
    rows = re.findall(r'<tr data-role="(\d+)"><td>\d+</td><th[^>]*>(.*?)</th>', axis_page(axis))
    assert [int(i) for i, _ in rows] == list(range(275))
    assert {name for _, name in rows} == names


def test_places_are_on_the_scale_and_the_components() -> None:
    axis = made_up_axis()
    found = axis_facts.space(axis)
    means, default = axis.role_means[:, axis.layer].astype(float), axis.default_mean[axis.layer].astype(float)
    gap = default - means.mean(axis=0)
    for place in found.roles:
        away = means[axis.roles.index(place.role)] - means.mean(axis=0)
        assert place.z == pytest.approx(float(away @ gap / (gap @ gap)), abs=1e-5)  # float32 numbers
        assert (place.x, place.y) == pytest.approx(tuple(axis.components[:2] @ away), abs=1e-5)
        assert place.kept == 0.75
    assert sum(p.z for p in found.roles) == pytest.approx(0, abs=1e-5)  # 0 is the average role
    assert found.default == pytest.approx(tuple(axis.components[:2] @ gap), abs=1e-4)
    assert [p.z for p in found.roles] == sorted((p.z for p in found.roles), reverse=True)


def test_the_nearest_family_is_on_top_and_shapes_tell_the_side() -> None:
    axis = made_up_axis(per_family=12)
    found = axis_facts.space(axis)
    wide = drawings(axis_page(axis))[3]
    assert "11 families" in str(wide.attrib["aria-label"])
    rows = [t.text for t in wide.iter("text") if t.text in {axis_facts.family_name(f) for f in range(1, 12)}]
    assert rows == [axis_facts.family_name(f) for f in range(1, 12)]  # families were made the farther the later
    shape = {int(n.attrib["data-role"]): n.tag for n in wide.iter() if "data-role" in n.attrib}
    assert shape == {i: "circle" if p.z >= 0 else "rect" for i, p in enumerate(found.roles)}
    spots = [(float(n.attrib["cx"]), float(n.attrib["cy"])) for n in wide.iter("circle") if "data-role" in n.attrib]
    gaps = [math.dist(a, b) for i, a in enumerate(spots) for b in spots[:i]]
    assert min(gaps) > 8  # marks have a radius of 4.5 and lean on each other at most


def test_the_twelve_extreme_roles_are_named_without_overlap() -> None:
    axis = made_up_axis(per_family=25)
    found = axis_facts.space(axis)
    for svg in drawings(axis_page(axis))[1:3]:
        labels = [t for t in svg.iter("text") if t.attrib.get("class", "").startswith("label")]
        named = {int(t.attrib["data-label"]) for t in labels if "data-label" in t.attrib}
        assert {*range(6), *range(len(found.roles) - 6, len(found.roles))} <= named
        boxes = [box_of(t) for t in labels]
        assert not any(meets(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def box_of(label: ElementTree.Element) -> tuple[float, float, float, float]:
    """The box of a name, by the widths that were planned for; 0.1 narrower for the rounding of coordinates."""
    width = len(label.text or "") * (BOLD if "strong" in label.attrib["class"] else LETTER)
    x, y = float(label.attrib["x"]), float(label.attrib["y"])
    left = x - width * {"start": 0, "middle": 0.5, "end": 1}[label.attrib["text-anchor"]]
    return left + 0.05, y + 3 - LINE + 0.05, left + width - 0.05, y + 3 - 0.05


def test_a_name_that_finds_no_room_is_left_out_unless_it_must_be_there() -> None:
    marks = [(x, y) for x in range(0, 200, 8) for y in range(0, 60, 8)]
    full = Names((0, 0, 200, 60), marks)
    assert full.place("somebody", marks[60], 60, must=False) is None
    assert full.place("somebody", marks[60], 60, must=True) is not None
    assert not meets(around((0, 0)), around((20, 0)))


def test_an_axis_without_roles_says_so() -> None:
    text = axis_page(imported())
    assert "This axis holds no roles" in text
    assert 'id="told"' not in text


# --- curves -------------------------------------------------------------------------------------------------------


def test_a_value_that_is_not_known_is_a_gap() -> None:
    def lines(drawn: Markup) -> list[int]:
        svg = drawings(drawn)[1]  # stability
        return [len(p.attrib["points"].split()) for p in svg.iter("polyline") if p.attrib["class"] == "line accent"]

    assert lines(panels(made_up_axis())) == [L]
    assert lines(panels(without(made_up_axis(), "split_half", 4))) == [4, L - 5]


def test_layer_and_window_are_marked_in_every_panel() -> None:
    axis = made_up_axis()
    drawn = drawings(panels(axis))
    assert len(drawn) == len(PANELS)
    for svg in drawn:
        here = next(n for n in svg.iter("line") if n.attrib["class"] == "here")
        cap = next(n for n in svg.iter("rect") if n.attrib["class"] == "capped")
        step = (320 - 10 - 42) / L  # widths of a panel and its margins
        assert float(here.attrib["x1"]) == pytest.approx(42 + step * (axis.layer + 0.5), abs=0.01)
        assert float(cap.attrib["x"]) == pytest.approx(42 + step * axis.window[0], abs=0.01)
        assert float(cap.attrib["width"]) == pytest.approx(step * len(axis.window), abs=0.02)


def test_panels_without_numbers_say_so() -> None:
    assert str(panels(replace(made_up_axis(), curves={}))).count("does not hold these numbers") == len(PANELS)


# --- calibration --------------------------------------------------------------------------------------------------


def calibration(*, who: bool = True, name: str = "cap 0.75 at 8-9") -> dict[str, object]:
    """Two settings and a control, as ``axis calibrate`` stores them."""

    def row(name: str, x: float) -> dict[str, object]:
        def change(value: float) -> dict[str, object]:
            return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 12, "note": ""}

        return {
            "name": name, "z": x, "gain": change(x), "who": 0.7 - x / 10 if who else "NaN",
            "who_change": change(-x / 10) if who else None, "outside": 0.5, "prevented": change(x / 4),
            "ratio": {"value": 1 + x / 100, "low": None, "high": None, "n": 4, "note": "few"}, "accuracy": "NaN",
            "nll": 1.5, "nll_change": change(x / 8), "distinct": 0.98, "engaged": 0.3,
        }  # fmt: skip

    return {
        "points": [row("plain", 0.0), row(name, 0.8)], "controls": [row("covariance direction 1", 0.2)], "taken": 1,
        "why": "cap 0.75 does most",
    }  # fmt: skip


def test_a_calibration_is_drawn_with_who_the_roles_say_they_are() -> None:
    page = axis_page(made_up_axis(calibration=calibration()))
    text = " ".join(Page(page).text)
    for words in (
        "Which cap", "Who does the role say it is?", "−0.08 −0.18 to +0.02", "+0.80 +0.70 to +0.90", "× 1.008",
        "cap 0.75 at 8-9, recommended", "covariance direction 1", "Cap 0.75 does most.", "unscored",
    ):  # fmt: skip
        assert words in re.sub(r"\s+", " ", text), words
    assert "#caps" in Page(page).values("href")
    drawings(page)
    assert "decides nothing" not in page
    for low, high in ((0.01, 0.09), ("NaN", None)):
        above = {"who_range": {"value": 0.05, "low": low, "high": high, "n": 12, "note": ""}}
        told = axis_page(made_up_axis(calibration=calibration() | above))
        assert "D stands +0.05" in told
    above = {"who_range": {"value": 0.25, "low": 0.1, "high": 0.3, "n": 12, "note": ""}}
    assert "decides nothing" not in axis_page(made_up_axis(calibration=calibration() | above))
    without = axis_page(made_up_axis(calibration=calibration(who=False)))
    assert "Who does the role say it is?" not in without
    assert "How far are replies held?" in without


def test_an_axis_without_a_calibration_has_no_such_section() -> None:
    page = axis_page(made_up_axis())
    assert "Which cap" not in page
    assert "#caps" not in Page(page).values("href")


def test_names_of_settings_are_words_and_never_markup() -> None:
    page = axis_page(made_up_axis(calibration=calibration(name=NASTY)))
    assert Page(page).tags["script"] == Page(axis_page(made_up_axis())).tags["script"]
    assert "<b>bold" not in page


# --- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("halves", "start"),
    [(0.8, "The axis is stable"), (0.79, "The axis is not stable"), (math.nan, "Whether the axis is stable is not")],
)
def test_the_verdict_follows_the_halves(halves: float, start: str) -> None:
    axis = made_up_axis()
    axis = replace(axis, curves={**axis.curves, "split_half": np.full(L, halves)})
    assert axis_facts.verdict(axis).startswith(start)
    assert axis_facts.verdict(axis) in html.unescape(axis_page(axis))


def test_warnings_come_first() -> None:
    axis = made_up_axis(small_model=True, z_tau={"0.75": 0.3})
    axis = replace(axis, curves={**axis.curves, "noise_share": np.full(L, 0.7), "pc1_cosine": np.full(L, 0.1)})
    lines = axis_lines(axis)
    assert [line.startswith("warning: ") for line in lines[:5]] == [True] * 4 + [False]
    assert lines[0].startswith("warning: A small model")
    page = html.unescape(axis_page(axis))
    assert page.index("A small model") < page.index('class="headlines')
    assert "no closer than that of an axis drawn for any single role" in page
    assert "the components may not be interpreted" in page


def test_the_lines_say_what_the_numbers_are() -> None:
    axis = made_up_axis()
    lines = "\n".join(axis_lines(axis))
    for words in (
        "made-up: 12 blocks of width 24; read at layer 6, capped at 8 to 9", "preset balanced",
        "generated, from the model's own answers",
        "likelihood-filtered (at least 0.02 nats a token); 75% of role answers are in role",
        "44 in the axis, 1 dropped: parrot (1)", "AUC 0.91", "covariance-matched 0.55 (0.66)",
        "> 0.71 at the middle layer, > 0.60 at all", "published 4, 8 and 19", "arXiv 2601.10387", "not checked here",
        "with the fixed_text axis 0.47", "0.75: z = 0.90", "default_mean: z = 1.00",
        "neutral prompts z 0.62 where it was fitted, 0.72 in answers",
    ):  # fmt: skip
        assert words in lines, words
    assert axis_lines(axis)[0].startswith(
        "The axis is stable: the two halves of the questions give axes with a cosine"
    )


def test_agreement_of_judges_is_in_lines_and_page() -> None:
    lines, page = "\n".join(axis_lines(judged())), " ".join(Page(axis_page(judged())).text)
    for words in (
        "judged by one; 75% of role answers are in role, 3 answers unscored; topic-filtered beside it by mini: "
        "13 answers of 22 dropped: role-2-0 (9), role-1-0 (4)",
        "agreement   the second judge, other: weighted κ 0.71 (0.60 to 0.80); kept or dropped alike 90% "
        "(86% to 94%), by chance 62%; 196 answers of 44 roles, 4 unscored by one of the two",
        "the likelihood filter: weighted κ undefined; kept or dropped alike 100% (100% to 100%), by chance 100%; 200 "
        "answers of 44 roles, 0 unscored by one of the two; one category only: both rated everything 3",
        "the second judge in the place of the first, double-scored answers: 0.97", "no topic filter: 0.97",
    ):  # fmt: skip
        assert words in lines, words
    for words in (
        "The judge beside the second judge, other", "0.71 (0.60 to 0.80)", "90% (86% to 94%), by chance 62%",
        "one category only", "answers in role in part", "no topic filter",
    ):  # fmt: skip
        assert words in page, words
    bare = " ".join(Page(axis_page(made_up_axis())).text)
    assert "likelihood-filtered" in bare
    assert not any(words in bare for words in ("judged", "weighted κ", "second judge", "topic"))


def test_roles_that_only_the_scale_lacks_are_not_called_dropped() -> None:
    lines = "\n".join(axis_lines(made_up_axis(dropped_fixed=[], dropped_answers=[["crow", 2]])))
    assert "44 in the axis, 0 dropped; 1 without enough answers for the scale of z: crow (2)" in lines


# --- the file -----------------------------------------------------------------------------------------------------


def test_the_file_is_written_whole_and_the_same_every_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "axis.html"
    assert write_axis_page(made_up_axis(), path) == path
    assert path.read_text("utf-8") == axis_page(made_up_axis())
    assert [p.name for p in path.parent.iterdir()] == ["axis.html"]
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        write_axis_page(made_up_axis(), tmp_path / "taken")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "taken"]


# --- in a browser -------------------------------------------------------------------------------------------------

PROBE = """<script>
(async () => {
  const wait = () => new Promise((done) => setTimeout(done, 100));
  const told = () => document.getElementById("told").textContent;
  const set = (id, value, event) => {
    const node = document.getElementById(id);
    node.value = value;
    node.dispatchEvent(new Event(event));
  };
  const out = { inner: innerWidth };
  for (const node of document.querySelectorAll("details")) node.open = true;
  await wait();
  out.wide = document.documentElement.scrollWidth;
  out.shown = [...document.querySelectorAll(".twice svg")].filter((s) => s.getClientRects().length).length;
  set("find", "HERMIT", "input");
  await wait();
  out.found = told();
  out.rows = document.querySelectorAll("tr[data-role]:not(.off)").length;
  out.hits = document.querySelectorAll(".role.hit").length;
  set("find", "", "input");
  set("family", "9", "change");
  await wait();
  out.family = told();
  set("family", "", "change");
  const box = [...document.querySelectorAll(".walk")].find((b) => b.getClientRects().length);
  const press = (key) => box.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  press("ArrowLeft");
  out.first = told();
  press("End");
  out.last = told();
  out.tips = document.querySelectorAll("svg .tip").length;
  box.dispatchEvent(new Event("blur"));
  const seen = [...document.querySelectorAll(".walk .role")].find((n) => n.getClientRects().length);
  const at = seen.getBoundingClientRect();
  const middle = { clientX: at.x + at.width / 2, clientY: at.y + at.height / 2 };
  seen.dispatchEvent(new PointerEvent("pointermove", { ...middle, bubbles: true }));
  out.pointed = told().split(":")[0] === seen.dataset.name;
  out.owned = window.owned ?? 0;
  out.wrong = wrong;
  parent.postMessage(JSON.stringify(out), "*");
})();
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_and_names_roles(tmp_path: Path, width: int) -> None:
    attack = "<img src=x onerror='window.owned = 1'>" + "W" * 200
    axis = made_up_axis(per_family=25, names={"role-7-3": "hermit", "role-1-1": attack}, model=attack)
    found = axis_facts.space(axis)
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', WATCH, axis_page(axis))
    (tmp_path / "probe.html").write_text(bare.replace("</body>", PROBE + "</body>"), "utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width), "utf-8")
    dom = browse(frame, tmp_path, max(width, 600), "--dump-dom")
    answer = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)
    assert answer, "the probe did not come to its end"
    seen = json.loads(html.unescape(answer[1]))
    assert (seen["inner"], seen["wrong"], seen["owned"]) == (width, [], 0)
    assert seen["wide"] <= width
    assert seen["shown"] == 2  # of four pictures, those for this width
    assert seen["found"].startswith("hermit: z = ")
    assert (seen["rows"], seen["hits"]) == (1, 4)
    assert seen["family"] == "25 of 275 roles"
    assert seen["first"].startswith(f"{found.roles[0].name}: ")
    assert seen["last"].startswith(f"{found.roles[-1].name}: ")
    assert seen["tips"] == 4
    assert seen["pointed"]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
def test_the_policy_lets_the_page_work(tmp_path: Path) -> None:
    path = write_axis_page(made_up_axis(), tmp_path / "axis.html")
    dom = browse(path, tmp_path, 1280, "--dump-dom")
    assert "<title>role-1-0" not in dom  # the script took the titles away, so that it ran
