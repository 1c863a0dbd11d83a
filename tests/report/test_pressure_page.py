"""The page of a pressure run: what it says, what it refuses to say, and that it loads nothing."""

import json
import math
import re

import pytest

from multitudes.core.records import Point
from multitudes.measure.retention.refusal import LABELS, MEANING
from multitudes.report.pressure import pressure_page, write_pressure
from multitudes.report.pressure_figures import survival_panel
from multitudes.study.pressure.result import (
    ArmResult,
    MatchResult,
    Number,
    PressureLine,
    PressureResult,
    RefusalResult,
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


def result(*, small=True, arms=None, **more):
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
        **more,
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


# --- beside the triple, and what is declined --------------------------------------------------------------------


def more_numbers(*numbers):
    return arm(numbers=(*arm().numbers, *numbers))


def test_what_stands_beside_the_triple_has_a_table_of_its_own():
    told = more_numbers(
        Number(name="d0", value=0.83),
        Number(name="auc.prior_corrected", value=0.37, low=0.2, high=0.5),
        Number(name="ed50", value=5.5, low=4.0, high=None, text="5.50 [4.00, >32]"),
        Number(name="first_flip", value=None, reason="none"),
        Number(name="auc.personas", value=None, reason="12 personas, of at least 20"),
    )
    text = pressure_page(result(arms=(told,)))
    for part in ("<th scope=\"col\">D₀</th>", "<td>0.83</td>", "AUC_R without prior", "0.2 to 0.5", "ED50",
                 "[4.00, &gt;32]", "Personas in general: not given, 12 personas, of at least 20."):  # fmt: skip
        assert part in text
    assert '<th scope="col">ToF</th>' not in text  # nothing to tell, no column
    assert "personas in general</th>" not in text


def test_the_half_life_of_the_mean_shows_turns_and_no_rate():
    told = more_numbers(Number(name="rate", value=0.2, low=0.1, high=0.4, unit="per turn", text="3.5 [1.7, 6.9]"))
    text = pressure_page(result(arms=(told,)))
    assert "<td>3.5<small>[1.7, 6.9]</small></td>" in text
    assert "0.1 to 0.4" not in text


def test_a_run_without_priors_says_so():
    told = more_numbers(Number(name="auc.prior_corrected", value=None, reason="not scored; going on adds them"))
    assert "AUC_R without prior: not given, not scored; going on adds them." in pressure_page(result(arms=(told,)))


def test_what_is_declined_has_a_section_where_it_was_measured(page):
    assert "What is declined" not in page
    labels = dict.fromkeys(LABELS, 0) | {"decline": 3, "comply-in-role": 5}
    rows = (
        RefusalResult(condition="C3", label="system prompt", replies=8, labels=labels, numbers=(
            Number(name="declined", value=0.375, low=0.2, high=0.6), Number(name="declined_at_least", value=0.375),
            Number(name="declined_difference", value=-0.25, low=-0.5, high=-0.1, null=0.0))),
        RefusalResult(condition="C4", label="few-shot", replies=0, labels=dict.fromkeys(LABELS, 0), numbers=(
            Number(name="declined", value=math.nan, reason="no reply was labelled yet"),)),
    )  # fmt: skip
    text = pressure_page(result(refusals=rows))
    for part in (
        "What is declined",
        "38%",
        "20% to 60%",
        "−25%",
        "<td>unscored</td>",
        "comply-in-role",
        MEANING["safe"],
    ):
        assert part in text
    assert text.index("What is declined") < text.index("<h2>Numbers</h2>")


def test_every_line_says_where_it_is_from():
    for line in result().lines():
        assert (line["run"], line["model"], line["engine"], line["banks"]) == ("0" * 16, EVIL, "f", "b")


def test_the_head_says_banks_and_who_scored_what(page):
    head = page[: page.index('id="headline"')]
    assert "<dt>Banks</dt><dd>b</dd>" in head
    assert "id, beh by likelihood; no judge" in head
