"""The page of a pressure run: what it says, what it refuses to say, and that it loads nothing."""

import json
import re

import pytest

from multitudes.core.records import Point
from multitudes.report.pressure import pressure_page, write_pressure
from multitudes.report.pressure_figures import survival_panel
from multitudes.study.pressure.result import (
    ArmResult,
    MatchResult,
    Number,
    PressureLine,
    PressureResult,
    RungResult,
    StartResult,
    Steps,
    VerdictResult,
)
from multitudes.study.pressure.spec import make_spec

EVIL = "<script>alert(1)</script>"


def points(*values):
    return tuple(
        Point(x=t, value=v, low=v - 0.1, high=v + 0.1, n=8) for t, v in zip((0, 2, 4, 6), values, strict=True)
    )


def arm(pressure="P2", condition="C3", label="system prompt", **changes):
    numbers = (
        Number(name="delta0", value=0.6, low=0.5, high=0.7, n=8),
        Number(name="auc", value=0.45, low=0.3, high=0.6, n=8),
        Number(name="half_life", value=None, text=">4 [2, >4]", n=8),
        Number(name="rho", value=0.75, low=0.5, high=0.9),
        Number(name="time_ratio", value=None, reason="2 flips in the first arm, of at least 5 needed"),
    )  # fmt: skip
    given = {
        "disposition": "id", "pressure": pressure, "condition": condition, "label": label, "neutral": "P0.a",
        "measurable": True, "matched": True, "clusters": 8, "levels": points(0.8, 0.6, 0.4, 0.7),
        "floors": points(0.2, 0.2, 0.2, 0.2), "curve": points(1.0, 0.66, 0.33, 0.83),
        "steps": Steps(rows=((2.0, 8.0, 2.0, 0.75), (4.0, 6.0, 0.0, 0.75))), "numbers": numbers, "conversations": 8,
    }  # fmt: skip
    return ArmResult.model_validate({**given, **changes})


def result(*, small=True, arms=None):
    model = {"name": EVIL, "fingerprint": "f", "dtype": "float32", "seeds": "honoured", "small_model": small}
    chosen = arms or (
        arm(), arm("P0.a", curve=points(1, 1, 0.98, 0.97)),
        arm(condition="C6", label="prompt and hold", engaged=0.12, failed=0.05),
        arm(condition="C4", label="few-shot", measurable=False, curve=(), numbers=(), steps=None,
            reason="not measurable: Δ₀ = 0.08"),
    )  # fmt: skip
    return PressureResult(
        headline=("C6 (prompt and hold): no verdict: 8 base prompts of at least 20.",),
        match=MatchResult(
            target=0.7, limited_by="C4", sd=0.1,
            rungs=(RungResult(condition="C3", rung="card", level=0.7, n=4, chosen=True),
                   RungResult(condition="C3", rung="line", level=0.3, n=4, chosen=False)),
            starts=(StartResult(condition="C3", rung="card", level=0.75, deviation_sd=0.5, matched=False),),
            weak=("C4",),
        ),
        arms=chosen,
        verdicts=(VerdictResult(
            condition="C6", label="prompt and hold", words="undecided", sentence="undecided (reversed under P2)",
            pressures=(PressureLine(pressure="P2", reversed=True, line="P2 (reversed): AUC_R difference −0.1"),
                       PressureLine(pressure="P1", reversed=False, line="P1: AUC_R difference 0.1")),
        ),),
        controls=(Number(name="placebo_prompt.P2", value=0.01, low=-0.02, high=0.04, null=0.0, n=8),),
        validity=(Number(name="id_with_beh", value=0.6, null=0.0, n=40),),
        calibration={"reasons": {"style": "no spread"}, "items_dropped": {"m/id": ["who-plain"]},
                     "gate": {"max_nll": 4.0, "false_alarms": 0.01, "n": 30}},
        power="power: 99 base prompts are needed",
        header={
            "model": model, "banks": "b", "batteries": "q", "versions": {}, "axis": None, "judge": None,
            "by_likelihood": ["id", "beh"], "by_classifier": [], "by_judge": [], "wall_s": 61.0,
            "spec": make_spec("small").model_dump(mode="json"), "spec_hash": "0" * 64,
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def page():
    return pressure_page(result())


def test_it_loads_nothing_and_runs_nothing(page):
    assert "script-src" not in page
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    assert "default-src 'none'" in page
    assert "&lt;script&gt;" in page


def test_figures_are_there_with_words(page):
    titles = re.findall(r"<title>([^<]+)</title>", page)
    assert "system prompt under P2" in titles
    assert page.count('class="line accent"') >= 4  # two curves, two sets of steps
    assert 'class="line ink"' in page  # neutral talk, dashed
    assert "at risk" in page
    assert "33% at turn 4" in page
    assert "0.8 at the start, 0.4 at turn 4, 0.7 at turn 6" in page  # recovery arrow


def test_numbers_at_risk_stand_under_the_steps():
    drawn = survival_panel(arm(), None, 4.0)
    texts = re.findall(r'class="tick n"[^>]*>([^<]+)<', drawn)
    assert texts == ["at risk", "8", "8", "6"]


def test_reversed_pressures_come_first(page):
    assert page.index("P2 (reversed)") < page.index("P1: AUC_R difference 0.1")


def test_what_is_not_measurable_is_said_and_has_no_curve(page):
    assert "C4 few-shot under P2: not measurable: Δ₀ = 0.08" in page
    assert "few-shot under P2</title>" not in page


def test_a_small_model_is_warned_of_at_the_head():
    assert "weak at playing people" in pressure_page(result())
    assert "weak at playing people" not in pressure_page(result(small=False))


def test_matching_shows_rungs_target_and_deviation(page):
    for text in ("C3 system prompt: card", "chosen", "+0.50 SD, unmatched", "does not stand above no persona"):
        assert text in page


def test_a_page_without_anything_measurable_still_stands():
    bare = arm(measurable=False, curve=(), numbers=(), steps=None, reason="nothing was scored")
    text = pressure_page(result(arms=(bare,)))
    assert "No arm is measurable." in text
    assert "Nothing is measurable." in text


def test_bands_stay_in_the_frame():
    wild = arm(curve=tuple(Point(x=t, value=1.0, low=-18.0, high=18.0, n=8) for t in (0, 2, 4, 6)))
    text = pressure_page(result(arms=(wild,)))
    for polygon in re.findall(r'class="band accent" points="([^"]+)"', text):
        assert all(0 <= float(p.split(",")[1]) <= 224 for p in polygon.split())


def test_both_forms_are_written_whole(tmp_path):
    page, lines = write_pressure(result(), tmp_path / "deep")
    assert page.read_text().startswith("<!doctype html>")
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    auc = next(r for r in rows if r["name"] == "auc")
    assert (auc["disposition"], auc["pressure"], auc["condition"], auc["value"], auc["low"]) == (
        "id", "P2", "C3", 0.45, 0.3,
    )  # fmt: skip
    unmeasured = next(r for r in rows if r["condition"] == "C4")
    assert unmeasured["value"] is None
    assert unmeasured["reason"] == "not measurable: Δ₀ = 0.08"
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["pressure.html", "pressure.jsonl"]
