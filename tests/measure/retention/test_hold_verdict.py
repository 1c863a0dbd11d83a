"""The three words of the role hold, each by construction."""

import math

import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.retention.hold_verdict import HeldUnder, judge_hold
from multitudes.measure.stats import Difference, Estimate


def ratio(value, note="", spread=0.05):
    return Estimate(value, value - spread, value + spread, 16, 0, note)


FINE = {"perplexity": ratio(1.01), "coherence": 0.99, "distinct": 1.0}


def diff(low, high, p=0.001):
    return Difference((low + high) / 2, low, high, p, 100, 0, "")


def est(low, high):
    return Estimate((low + high) / 2, low, high, 100, 0, "")


def family(over, random=(0.1, 0.2), other=(0.1, 0.2), matched=None, names=("P1", "P2", "P5")):
    return [HeldUnder(n, diff(*over), est(*random), est(*other), matched) for n in names]


def test_confirmed_needs_every_condition():
    assert judge_hold(family((0.1, 0.2)), **FINE).words == "confirmed"
    for broken in (
        judge_hold(family((0.1, 0.2)), **{**FINE, "perplexity": ratio(1.03)}),
        judge_hold(family((0.1, 0.2)), **{**FINE, "coherence": None}),
        judge_hold(family((0.1, 0.2)), **{**FINE, "distinct": 0.9}),
        judge_hold(family((0.1, 0.2), random=(-0.1, 0.2)), **FINE),
        judge_hold(family((0.1, 0.2), other=(-0.1, 0.2)), **FINE),
        judge_hold(family((0.1, 0.2), names=("P2", "P5")), **FINE),
        judge_hold([x._replace(over_prompt=diff(0.1, 0.2, p=0.04)) for x in family((0.1, 0.2))], **FINE),
        judge_hold([x._replace(over_random=None) for x in family((0.1, 0.2))], **FINE),
    ):
        assert broken.words == "inconclusive"
        assert broken.reasons


def test_refuted_in_three_ways():
    assert "every pressure" in judge_hold(family((-0.1, 0.04)), **FINE).reasons[0]
    unspecific = judge_hold(family((0.1, 0.2), random=(-0.02, 0.04)), **FINE)
    assert unspecific.words == "refuted"
    assert "unspecific" in unspecific.reasons[0]
    assert judge_hold(family((0.1, 0.2), other=(-0.02, 0.04)), **FINE).words == "refuted"
    mixed = family((0.1, 0.2), random=(-0.1, 0.2), matched=est(-0.1, 0.03))
    assert "equally strong" in judge_hold(mixed, **FINE).reasons[0]


def test_what_was_not_measured_is_not_shown():
    blank = [HeldUnder("P1", Difference(math.nan, None, None, math.nan, 8, 0, "few"), None, None)]
    found = judge_hold(blank, perplexity=None, coherence=None, distinct=None)
    assert found.words == "inconclusive"
    assert any("not measured" in r for r in found.reasons)
    with pytest.raises(GaugeError):
        judge_hold([], **FINE)


def test_the_value_of_the_perplexity_decides_and_a_void_reading_is_none():
    assert judge_hold(family((0.1, 0.2)), **{**FINE, "perplexity": ratio(1.02)}).words == "confirmed"  # up to 1.07
    lost = judge_hold(family((0.1, 0.2)), **{**FINE, "perplexity": ratio(1.021, spread=0)})
    assert lost.reasons == ("perplexity ratio 1.021, above 1.02",)
    void = judge_hold(family((0.1, 0.2)), **{**FINE, "perplexity": ratio(math.nan, "it engaged nowhere")})
    assert (void.words, void.reasons) == ("inconclusive", ("perplexity ratio not measured: it engaged nowhere",))


def test_a_control_at_another_dose_shows_nothing_either_way():
    good = [x._replace(engaged_more=g) for x, g in zip(family((0.1, 0.2)), (0.03, -0.03, 0.0), strict=True)]
    assert judge_hold(good, **FINE).words == "confirmed"
    found = judge_hold([x._replace(engaged_more=-0.04) for x in good], **FINE)
    assert found.words == "inconclusive"
    assert found.held == ()
    assert "no control at equal engagement under P1, P2, P5" in found.reasons
    unspecific = family((0.1, 0.2), random=(-0.02, 0.04))
    assert judge_hold([x._replace(engaged_more=0.2) for x in unspecific], **FINE).words == "inconclusive"


def test_below_twenty_base_prompts_there_is_no_other_word():
    for over in ((0.1, 0.2), (-0.1, 0.04)):
        few = [x._replace(over_prompt=x.over_prompt._replace(n=19)) for x in family(over)]
        found = judge_hold(few, **FINE)
        assert (found.words, found.reasons) == ("inconclusive", ("19 base prompts of at least 20",))


def test_what_both_rules_fit_is_refuted():
    assert judge_hold(family((0.01, 0.04)), **FINE).words == "refuted"
    assert judge_hold(family((0.1, 0.2), random=(0.01, 0.04)), **FINE).words == "refuted"
    assert judge_hold(family((0.1, 0.2), matched=est(-0.05, 0.03)), **FINE).words == "refuted"
    assert judge_hold(family((0.1, 0.2), matched=est(-0.05, 0.06)), **FINE).words == "confirmed"
