"""The matched start: target, rungs and the check on prompts that the choice has not seen."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import Unmatched
from multitudes.measure.retention.matching import check_match, choose_rungs

LADDERS = {
    "C2": {"step 50": [0.5, 0.6], "step 100": [0.7, 0.8], "step 200": [0.9, 1.0]},
    "C3": {"line": [0.5, 0.5], "paragraph": [0.6, 0.8], "card": [0.8, 0.9]},
    "C4": {"1": [0.4, 0.4], "8": [0.7, 0.74]},
}
SPREAD = np.tile([-0.1, 0.1], 20)  # SD .1013
SD = SPREAD.std(ddof=1)


def evaluation(**means):
    return {condition: mean + SPREAD for condition, mean in means.items()}


def test_the_weakest_of_the_strongest_is_the_target():
    plan = choose_rungs(LADDERS)
    assert plan.limited_by == "C4"
    assert plan.target == pytest.approx(0.72)
    assert [plan.rung_of(c) for c in ("C2", "C3", "C4")] == ["step 100", "paragraph", "8"]
    assert plan.rung_of("C6") == "paragraph"  # it has no ladder of its own
    assert [r.level for r in plan.ladders[0].rungs] == pytest.approx([0.55, 0.75, 0.95])


def test_of_two_equally_near_rungs_the_weaker_is_taken():
    plan = choose_rungs({"C2": {"weak": [0.25], "strong": [0.75]}, "C3": {"card": [0.5]}})
    assert plan.rung_of("C2") == "weak"


def test_unscored_rungs_are_no_rungs():
    plan = choose_rungs({"C3": {"line": [0.4, np.nan], "card": [np.nan, np.nan]}})
    assert plan.rung_of("C3") == "line"
    assert plan.target == 0.4
    with pytest.raises(GaugeError, match="without a scored rung"):
        choose_rungs({"C3": {"card": [np.nan]}, "C2": {"a": [0.5]}})
    with pytest.raises(GaugeError, match="no condition"):
        choose_rungs({})
    with pytest.raises(GaugeError, match="without a ladder"):
        plan.rung_of("C5")
    with pytest.raises(GaugeError, match="follows"):
        choose_rungs(LADDERS, follows={"C6": "C9"})


def test_a_tenth_of_an_sd_is_matched_and_more_is_not():
    plan = choose_rungs(LADDERS)
    within, beyond = plan.target + 0.099 * SD, plan.target - 0.11 * SD
    with pytest.warns(Unmatched, match="C4 by -0.11 SD"):
        found = check_match(plan, evaluation(C2=plan.target, C3=within, C4=beyond, C6=within))
    assert found.sd_from == "C2"
    assert found.sd == pytest.approx(SD)
    assert [s.deviation_sd for s in found.starts] == pytest.approx([0, 0.099, -0.11, 0.099])
    assert [s.matched for s in found.starts] == [True, True, False, True]
    assert found.matched("C2", "C3", "C6")
    assert not found.matched("C3", "C4")
    assert not found.matched("C3", "C5")  # was not run
    assert found.starts[3].rung == "paragraph"


def test_all_matched_is_silent():
    plan = choose_rungs(LADDERS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_match(plan, evaluation(C2=plan.target, C3=plan.target))


def test_the_ruler_is_c3_where_nothing_was_trained():
    plan = choose_rungs({k: LADDERS[k] for k in ("C3", "C4")})
    found = check_match(plan, {"C4": plan.target + SPREAD, "C3": plan.target + 2 * SPREAD})
    assert found.sd_from == "C3"
    assert found.sd == pytest.approx(2 * SD)
    with pytest.raises(GaugeError, match="take the SD from"):
        check_match(plan, evaluation(C4=0.7))
    with pytest.raises(GaugeError, match="do not differ"):
        check_match(plan, {"C3": np.full(10, 0.7)})


def test_the_gap_to_prompting_is_paired():
    plan = choose_rungs(LADDERS)
    found = check_match(plan, evaluation(C2=plan.target, C3=plan.target - 0.05 * SD))
    start = found.starts[0]
    assert start.gap_sd == pytest.approx(0.05)
    assert start.gap_error_sd == pytest.approx(0, abs=1e-9)  # prompts differ alike in both
    assert start.standard_error_sd == pytest.approx(1 / np.sqrt(40))
    with pytest.raises(GaugeError, match="lengths"):
        check_match(plan, {"C2": SPREAD, "C3": SPREAD[:10]})


def test_chance_alone_misses_the_tolerance():
    # A known limit of the rule: 33 and 17 prompts, nothing differs, and most studies are "unmatched".
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(200):
        plan = choose_rungs({"C3": {"card": 0.7 + 0.1 * rng.normal(size=17)}})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Unmatched)
            missed += not check_match(plan, {"C3": 0.7 + 0.1 * rng.normal(size=33)}).matched("C3")
    assert 0.6 < missed / 200 < 0.85
