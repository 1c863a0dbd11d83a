"""The section of the role hold: the word, why, every difference with its interval, what it costs."""

import re

import pytest
from test_pressure_page import result

from multitudes.report.pressure import pressure_page
from multitudes.report.pressure_hold import hold_section
from multitudes.study.pressure.result import HeldText, HoldPressure, HoldResult, Number


def pressure(name="P1", **engaged):
    numbers = (
        Number(name="hold_over_prompt", value=0.12, low=0.05, high=0.19, null=0.0, n=36),
        Number(name="hold_over_random", value=0.08, low=-0.02, high=0.18, null=0.0, n=36),
        Number(name="hold_over_other", value=None, reason="not run, or nothing was scored"),
        Number(name="hold_at_equal_start", value=0.11, low=0.03, high=0.18, null=0.0, n=36),
        Number(name="hold_start_gap", value=-0.04, n=36),
    )
    return HoldPressure(pressure=name, numbers=numbers, engaged={"C6": 0.2, "C6r": 0.21, "C6w": 0.4, **engaged})


def text(condition="C6", **ratio):
    given = {"name": "perplexity_ratio", "value": 1.034, "low": 1.011, "high": 1.058, "n": 16, **ratio}
    engaged = Number(name="text_engaged", value=0.61, n=16)
    return HeldText(condition=condition, label="x", ratio=Number(**given), engaged=engaged, tokens=4080)


def held(**changes):
    given = {
        "disposition": "id", "words": "inconclusive", "reasons": ("perplexity ratio 1.034, above 1.02",), "shown": (),
        "alpha": 0.1, "sides": "both", "layers": (21, 22), "pressures": (pressure("P1"), pressure("P2", C6r=0.28)),
        "text": (text(), text("C6w"), text("C7b", value=None, low=None, high=None, reason="not read")),
        "coherence": Number(name="hold_coherence", value=0.981, n=36),
        "distinct": Number(name="hold_distinct", value=None, reason="too little speech"),
        "warnings": ("Another dose under P2.",),
    }  # fmt: skip
    return HoldResult.model_validate({**given, **changes})


@pytest.fixture(scope="module")
def page():
    return pressure_page(result().model_copy(update={"hold": held()}))


def test_the_word_its_reasons_and_warnings_stand_in_a_section_of_their_own(page):
    assert 'href="#hold">Role hold' in page
    section = page[page.index('<section id="hold"') : page.index('<section id="kept"')]
    assert '<p class="verdict">Inconclusive.</p>' in section
    assert "<li>Perplexity ratio 1.034, above 1.02.</li>" in section
    assert "Another dose under P2." in section
    assert "at blocks 21, 22, in the middle 80% of its tokens" in section
    assert "A hypothesis of ours" in section


def test_every_difference_has_its_interval_or_its_reason(page):
    for label in (
        "B − A, over the prompt alone under P1: 0.12, 0.05 to 0.19",
        "B − C, over a hold on random directions under P2: 0.08, −0.02 to 0.18",
        "B − A at an equal start (B starts 0.04 lower) under P1: 0.11, 0.03 to 0.18",
    ):
        assert f'aria-label="{label}"' in page
    assert page.count("not run, or nothing was scored") == 2


def test_engagement_stands_side_by_side_and_another_dose_is_marked(page):
    rows = re.findall(r'<tr><th scope="row">(P\d)</th>(.*?)</tr>', page)
    engaged = {p: re.sub(r"<[^>]+>", " ", cells).split() for p, cells in rows if "40%" in cells}
    assert engaged["P1"] == ["20%", "21%", "40%", "0.01"]
    assert engaged["P2"][:4] == ["20%", "28%", "40%", "0.08"]
    assert page.count("beyond ±0.03: no control") == 1


def test_what_it_costs_is_told_with_its_gates(page):
    costs = re.findall(
        r'<th scope="row">([^<]*)<small>([^<]*)</small></th><td class="nowrap">([^<]*)(?:<small>([^<]*))?', page
    )
    by = {name: (note, value, around) for name, note, value, around in costs}
    note, value, around = by["Perplexity of running text under its own hold"]
    assert (value, around) == ("1.034", "1.011 to 1.058")
    assert note.startswith("at most 1.02 times")
    assert note.endswith("61% of 4,080 tokens moved")
    assert by["Perplexity of running text under the cap"][1:] == ("n/a", "")
    assert "not read" in by["Perplexity of running text under the cap"][0]
    assert by["Coherent replies, where it does worst"][1] == "0.981"
    assert "too little speech" in by["Distinct 3-grams within persons"][0]


def test_without_a_hold_there_is_no_section():
    assert hold_section(None, {}) is None
    assert "#hold" not in pressure_page(result())


def test_starts_that_do_not_differ_are_said_to_be_alike():
    same = pressure()
    numbers = tuple(x.model_copy(update={"value": 0.004}) if x.name == "hold_start_gap" else x for x in same.numbers)
    drawn = hold_section(held(pressures=(same.model_copy(update={"numbers": numbers}),)), {})
    assert "B − A at an equal start (both start alike)" in drawn


def test_a_floor_is_told_as_one():
    assert "Held was a floor on its own direction at blocks 21, 22: the lowest 10%" in hold_section(
        held(sides="own_floor"), {}
    )


def test_the_warning_box_keeps_its_distance():
    assert ".weak + .headlines { margin-top:" in pressure_page(result())
