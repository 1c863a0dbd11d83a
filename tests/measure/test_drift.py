"""Drift numbers against numpy's own fits, hand-made conversations and the shared bootstrap."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure import drift
from multitudes.measure.drift import conversation_drift, outside_limit, pooled_drift
from multitudes.measure.errors import MixedViews, TooFewSamplesError
from multitudes.measure.stats import bootstrap_curve

NAN = np.nan


def test_slopes_are_those_of_least_squares_over_scored_turns():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(30, 9)) - 0.1 * np.arange(9)
    z[rng.random(z.shape) < 0.3] = NAN
    found = conversation_drift(z, limit=0.0)
    for row, slope in zip(z, found.slope, strict=True):
        there = np.flatnonzero(~np.isnan(row))
        assert slope == pytest.approx(np.polyfit(there, row[there], 1)[0], abs=1e-12)
    assert found.scored.tolist() == (~np.isnan(z)).sum(axis=1).tolist()


def test_change_is_last_minus_first_scored_turn():
    found = conversation_drift([[NAN, 1.0, 5.0, 3.0, NAN], [2.0, NAN, NAN, NAN, 0.5]], limit=0.0)
    assert found.change.tolist() == [2.0, -1.5]


def test_leaving_and_coming_back():
    z = [
        [1.0, 0.1, 0.2, 0.9, 0.1],  # out at 1, back at 3, out again
        [0.1, NAN, 0.9, 0.9, 0.9],  # starts outside; an unscored turn is no return
        [1.0, 0.1, NAN, 0.1, 0.1],  # never back
        [1.0, 0.3, 0.9, NAN, NAN],  # at the limit is inside
        [0.9, 0.1, 0.4, NAN, NAN],  # inside before leaving is no return
    ]
    found = conversation_drift(z, limit=0.3)
    np.testing.assert_array_equal(found.left, [1, 0, 1, NAN, 1])
    np.testing.assert_array_equal(found.returned, [3, 2, NAN, NAN, 2])
    np.testing.assert_allclose(found.outside, [3 / 5, 1 / 4, 3 / 4, 0, 1 / 3])


def test_conversations_of_no_or_one_scored_turn_have_no_drift():
    found = conversation_drift([[NAN, NAN], [NAN, 0.1]], limit=0.3)
    assert np.isnan(found.slope).all()
    assert np.isnan(found.change).all()
    np.testing.assert_array_equal(found.outside, [NAN, 1.0])
    np.testing.assert_array_equal(found.left, [NAN, 1.0])
    empty = conversation_drift(np.empty((2, 0)), limit=0.3)
    assert np.isnan(empty.outside).all()


def test_turns_like_default_responses_are_outside_in_a_twentieth_of_cases():
    rng = np.random.default_rng(1)
    limit = outside_limit(np.append(rng.normal(1, 0.5, size=20_000), NAN))
    assert limit == pytest.approx(1 - 1.645 * 0.5, abs=0.03)
    found = conversation_drift(rng.normal(1, 0.5, size=(500, 20)), limit=limit)
    assert found.outside.mean() == pytest.approx(0.05, abs=0.01)  # 4 SE of 10,000 turns and the limit's own
    with pytest.raises(TooFewSamplesError):
        outside_limit(np.ones(19))
    outside_limit(np.ones(20))


def test_the_pooled_curve_is_the_bootstrap_of_kept_positions():
    rng = np.random.default_rng(2)
    z = rng.normal(size=(40, 6))
    z[9:, 4] = NAN  # 9 conversations
    z[10:, 3] = NAN  # 10
    z[:, 5] = NAN
    found = pooled_drift(z, seed=3)
    assert found.curve.x.tolist() == [0, 1, 2, 3]
    assert found.dropped == (4,)
    assert found.curve.n.tolist() == [40, 40, 40, 10]
    np.testing.assert_allclose(found.curve.value, np.nanmean(z[:, :4], axis=0), atol=1e-12)
    turns = np.tile(np.arange(4.0), (40, 1))
    oracle = bootstrap_curve(turns.ravel(), z[:, :4].ravel(), np.repeat(np.arange(40), 4), seed=3)
    np.testing.assert_array_equal(found.curve.low, oracle.low)
    np.testing.assert_array_equal(found.curve.high, oracle.high)


def test_bands_are_wider_over_personas_than_over_conversations_that_share_them():
    rng = np.random.default_rng(0)
    persona = np.repeat(np.arange(20), 5)
    z = rng.normal(size=(20, 1))[persona] + 0.3 * rng.normal(size=(100, 3))
    alone, together = pooled_drift(z, seed=0), pooled_drift(z, seed=0, clusters=persona)
    ratio = (together.curve.high - together.curve.low) / (alone.curve.high - alone.curve.low)
    assert (ratio > 1.6).all()  # √5 without noise


def test_views_are_not_pooled():
    z = np.zeros((20, 2))
    pooled_drift(z, seed=0, views=["own"] * 20)
    with pytest.raises(MixedViews, match="own, reader"):
        pooled_drift(z, seed=0, views=["own"] * 19 + ["reader"])
    with pytest.raises(GaugeError):
        pooled_drift(z, seed=0, clusters=np.zeros(19))


def test_nothing_long_enough_gives_an_empty_curve():
    found = pooled_drift(np.zeros((9, 2)), seed=0)
    assert len(found.curve.x) == 0
    assert found.dropped == (0, 1)


def test_examples_run():
    assert doctest.testmod(drift).failed == 0
