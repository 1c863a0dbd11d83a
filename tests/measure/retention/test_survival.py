"""Kaplan-Meier, Greenwood, median, log-rank and restricted mean against two libraries and by hand."""

from __future__ import annotations

import math

import golden_survival as golden
import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.retention.survival import (
    half_life,
    kaplan_meier,
    log_rank,
    median_time,
    restricted_mean,
    share_censored,
)


def first_arm():
    t, event, arm = golden.exact_times()
    return kaplan_meier(t[arm == 0], event[arm == 0])


def test_six_rows_by_hand():
    # Flips: 1 of 6 at turn 1, 2 of 5 at turn 2, 1 of 2 at turn 4; one is censored at 3, one at 5.
    curve = kaplan_meier([1, 2, 2, 3, 4, 5], [True, True, True, False, True, False])
    assert curve.times.tolist() == [1, 2, 3, 4, 5]
    assert curve.at_risk.tolist() == [6, 5, 3, 2, 1]
    assert curve.events.tolist() == [1, 2, 0, 1, 0]
    s = [5 / 6, 5 / 6 * 3 / 5, 1 / 2, 1 / 4, 1 / 4]
    np.testing.assert_allclose(curve.survival, s, atol=1e-12)
    greenwood = np.cumsum([1 / (6 * 5), 2 / (5 * 3), 0, 1 / (2 * 1), 0])
    np.testing.assert_allclose(curve.se, np.array(s) * np.sqrt(greenwood), atol=1e-12)
    assert median_time(curve) == 2  # S is exactly ½ there
    # 1·1 + 5/6·1 + 1/2·2 + 1/4·2 up to turn 6
    assert restricted_mean(curve, 6) == pytest.approx(1 + 5 / 6 + 1 + 0.5, abs=1e-12)
    assert restricted_mean(curve, 1.5) == pytest.approx(1 + 5 / 12, abs=1e-12)


def test_it_agrees_with_lifelines():
    curve, g = first_arm(), golden.LIFELINES
    assert curve.times.tolist() == g["times"]
    assert curve.at_risk.tolist() == g["at_risk"]
    np.testing.assert_allclose(curve.survival, g["survival"], atol=1e-12)
    np.testing.assert_allclose(curve.se[:-1], g["se"], atol=1e-12)
    assert math.isnan(curve.se[-1])  # S is 0: Greenwood's formula is 0 · ∞
    assert median_time(curve) == g["median"]
    assert restricted_mean(curve, golden.UNTIL) == pytest.approx(g["rmst"], abs=1e-12)
    t, event, arm = golden.exact_times()
    found = log_rank(t, event, arm)
    assert (found.statistic, found.p) == pytest.approx(g["log_rank"], abs=1e-9)


def test_the_stored_numbers_are_those_of_lifelines():
    pytest.importorskip("lifelines")
    made = golden.lifelines_numbers()
    assert made.keys() == golden.LIFELINES.keys()
    for name, value in made.items():
        np.testing.assert_allclose(value, golden.LIFELINES[name], rtol=1e-6, err_msg=name)


def test_it_agrees_with_statsmodels():
    duration = pytest.importorskip("statsmodels.duration.survfunc")
    t, event, arm = golden.exact_times()
    for which in (0, 1):
        curve = kaplan_meier(t[arm == which], event[arm == which])
        theirs = duration.SurvfuncRight(t[arm == which], event[arm == which].astype(int))
        at = np.isin(curve.times, theirs.surv_times)  # it lists event times only
        np.testing.assert_allclose(curve.survival[at], theirs.surv_prob, atol=1e-12)
        seen = theirs.surv_prob > 0
        np.testing.assert_allclose(curve.se[at][seen], theirs.surv_prob_se[seen], atol=1e-12)
        assert median_time(curve) == theirs.quantile(0.5)
    chi2, p = duration.survdiff(t, event.astype(int), arm)
    found = log_rank(t, event, arm)
    assert (found.statistic, found.p) == pytest.approx((chi2, p), abs=1e-9)
    three = np.arange(60) % 3
    chi2, p = duration.survdiff(t, event.astype(int), three)
    found = log_rank(t, event, three)
    assert found.df == 2
    assert (found.statistic, found.p) == pytest.approx((chi2, p), abs=1e-9)


def test_an_unreached_median_has_three_spellings():
    # 5 of 30 flip: lifelines says inf, statsmodels NaN, we say None and print ">T".
    t, _, arm = golden.exact_times()
    event = np.arange(30) < 5
    curve = kaplan_meier(t[arm == 1] + 20, event)
    assert golden.LIFELINES["unreached"] == math.inf
    duration = pytest.importorskip("statsmodels.duration.survfunc")
    assert math.isnan(duration.SurvfuncRight(t[arm == 1] + 20, event.astype(int)).quantile(0.5))
    assert median_time(curve) is None
    assert half_life(curve, first=1, last=8) == (None, ">8")


def test_a_tie_at_one_half_takes_that_time():
    # 14/16 · 10/12 · 8/10 · 6/7 is ½, and a hair above it as a product of floats.
    times = np.repeat([1, 1.5, 2, 3, 3.5, 4, 4.5], [2, 2, 2, 2, 1, 1, 6])
    events = np.repeat([True, False, True, True, False, True, False], [2, 2, 2, 2, 1, 1, 6])
    curve = kaplan_meier(times, events)
    assert curve.survival[-2] > 0.5
    assert curve.survival[-2] == pytest.approx(0.5)
    assert median_time(curve) == 4


def test_half_lives_are_printed_with_what_is_known():
    assert half_life(kaplan_meier([1, 1, 1], [True] * 3), first=1, last=8).text == "≤ 1"
    assert half_life(kaplan_meier([1, 3, 3], [True] * 3), first=1, last=8) == (3.0, "3")


def test_weights_are_numbers_of_conversations():
    t, event = np.array([1.0, 2, 2, 5]), np.array([True, False, True, False])
    w = np.array([2, 1, 3, 0])
    weighted = kaplan_meier(t, event, weights=w)
    repeated = kaplan_meier(np.repeat(t, w), np.repeat(event, w))
    for a, b in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(a, b)


def test_whoever_is_censored_at_a_flip_was_still_at_risk():
    assert kaplan_meier([1, 1], [True, False]).survival.tolist() == [0.5]


@pytest.mark.parametrize(
    "call",
    [
        lambda: kaplan_meier([], []),
        lambda: kaplan_meier([1, -1], [True, True]),
        lambda: kaplan_meier([1, np.nan], [True, True]),
        lambda: kaplan_meier([1], [True], weights=[0]),
        lambda: log_rank([1, 2], [True, True], [0, 0]),
        lambda: log_rank([1, 2], [False, False], [0, 1]),
        lambda: restricted_mean(kaplan_meier([1], [True]), 0),
    ],
)
def test_nothing_to_follow_is_said(call):
    with pytest.raises(GaugeError):
        call()


def test_share_censored():
    assert share_censored([True, False, False, False]) == 0.75
    assert math.isnan(share_censored([]))
