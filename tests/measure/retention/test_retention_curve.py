"""R_t, its area, its rate and what comes back: planted truths, and four models that behave in known ways."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil

import numpy as np
import pytest
from planted import FLOOR, RANGE, decaying, two_arms

import multitudes.measure.retention as room
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NoRange, NotFiniteError
from multitudes.measure.retention.cells import check_measurable, delta0, make_cells, mirrored_floor, sums
from multitudes.measure.retention.curve import (
    area,
    curve_of,
    decay_rate,
    half_life_of_rate,
    recovery,
    retention,
    share_outside,
)
from multitudes.measure.retention.dose import dose_response
from multitudes.measure.retention.flips import flip_counts
from multitudes.measure.retention.intervals import resample
from multitudes.measure.retention.stickiness import stickiness

TURNS = np.append(np.arange(9.0), 12.0)


def fake(levels, *, prompts=24, personas=2, seeds=3):
    """A scripted model: the same level in every conversation at each probe; floor 0.4."""
    shape = (prompts * personas, seeds, len(TURNS))
    clusters, people = np.repeat(np.arange(prompts), personas), np.tile(["ann", "bo"], prompts)
    level = np.broadcast_to(np.asarray(levels, dtype=float), shape)
    return make_cells(level, np.full(shape, 0.4), TURNS, clusters, last=8, personas=people)


NEVER = [0.9] * 10
ALWAYS = [0.9] + [0.4] * 9
RETURNS = [0.9] + [0.4] * 8 + [0.9]


def test_a_model_that_never_yields():
    cells = fake(NEVER)
    found = stickiness(cells, resample([cells], seed=0, draws=200))
    assert found.delta0.value == pytest.approx(0.5)
    assert (found.curve.value == 1).all()
    assert (found.auc.value, found.auc.low, found.auc.high) == (1, 1, 1)
    assert found.half_life_text == ">8 [>8, >8]"
    assert (found.rate.value, found.rate_half_life) == (0, (None, ">32"))
    assert found.rmst.value == 8
    assert found.recovery.reason == "not displaced"
    assert found.rho is None
    assert found.censored == 1
    assert flip_counts(cells) == (0.0, None, 0.0, 144)


def test_a_model_that_always_yields():
    cells = fake(ALWAYS)
    found = stickiness(cells, resample([cells], seed=0, draws=200))
    assert (found.curve.value == [1] + [0] * 9).all()
    assert found.auc.value == 0
    assert found.half_life_text == "≤ 1 [≤ 1, ≤ 1]"
    assert found.rate.value == math.inf
    assert found.rmst.value == 1
    assert found.rho.value == 0
    assert found.censored == 0
    assert flip_counts(cells) == (1.0, 1.0, 1.0, 144)


def test_a_model_that_returns_after_the_pressure():
    cells = fake(RETURNS)
    found = stickiness(cells, resample([cells], seed=0, draws=200))
    assert (found.recovery.rho, found.rho.value) == (1, 1)
    assert found.auc.value == 0  # recovery is no resistance


def test_a_model_that_answers_at_random():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(50), 4)
    cells = make_cells(rng.random((200, 3, 10)), rng.random((200, 3, 10)), TURNS, clusters, last=8)
    with pytest.raises(NoRange, match="not measurable") as caught:
        stickiness(cells, resample([cells], seed=0, draws=100))
    assert abs(caught.value.delta0) < 0.1


def test_a_range_of_a_fifth_is_measurable_and_less_is_not():
    turns = [0, 1]
    good = make_cells([[[0.75, 0.5]]], [[[0.5, 0.5]]], turns, ["a"])
    bad = make_cells([[[0.69, 0.5]]], [[[0.5, 0.5]]], turns, ["a"])
    assert check_measurable(good) == 0.25
    with pytest.raises(NoRange) as caught:
        check_measurable(bad, persona="ann", disposition="id")
    assert (caught.value.persona, caught.value.disposition) == ("ann", "id")
    assert "ann / id" in str(caught.value)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_a_planted_rate_is_found(rate):
    # SE of R_t at 4,000 conversations is up to .013, so ten sets are averaged for ±.02 to be 5 SE.
    curves = np.stack([curve_of(decaying(seed, rate)) for seed in range(10)])
    turns = np.arange(9)
    truth = np.exp(-rate * turns)
    assert np.abs(curves.mean(axis=0) - truth).max() < 0.02
    assert np.abs(curves - truth).max() < 4 * 0.013
    pressed = turns > 0
    assert area(curves, pressed).mean() == pytest.approx(truth[1:].mean(), abs=0.02)
    assert decay_rate(curves.mean(axis=0)[1:], turns[1:]) == pytest.approx(rate, abs=0.01)


def test_the_mean_of_ratios_is_not_the_ratio_of_sums():
    # The trap: nothing is lost, and the mean of per-conversation ratios says anything.
    cells = decaying(1, 0.0)
    d = (cells.level - cells.floor)[:, 0]
    assert abs((d / d[:, :1]).mean(axis=0)[1:].mean() - 1) > 1
    assert abs(curve_of(cells)[1:].mean() - 1) < 0.05


def test_a_ratio_of_sums_by_hand():
    level = [[[0.9, 0.6, 0.5]], [[0.8, 0.8, 0.4]]]
    floor = [[[0.4, 0.4, 0.4]], [[0.5, 0.6, 0.4]]]
    cells = make_cells(level, floor, [0, 1, 2], ["a", "b"])
    np.testing.assert_allclose(curve_of(cells), [1, 0.4 / 0.8, 0.1 / 0.8])
    assert delta0(cells) == pytest.approx(0.4)
    np.testing.assert_allclose(retention(sums(cells), [[0, 1], [2, 0]])[:, 1], [0.2 / 0.3, 0.2 / 0.5])


def test_a_lost_conversation_leaves_both_sums():
    # Levels that never move, at different heights: R_t is 1 whoever is lost, in the arm or in the floor.
    rng = np.random.default_rng(2)
    d, f = 0.6 + 0.4 * rng.random((30, 3, 1)), 0.4 * rng.random((30, 3, 1))
    d, f = np.repeat(d, 6, axis=2), np.repeat(f, 6, axis=2)
    for x in (d, f):
        x[:, :, 1:][rng.random((30, 3, 5)) < 0.4] = np.nan
    cells = make_cells(d, f, np.arange(6), np.arange(30))
    assert np.isnan(cells.level).any(axis=(0, 1))[1:].all()
    np.testing.assert_allclose(curve_of(cells), 1, atol=1e-12)


def test_a_conversation_without_a_start_is_left_out():
    level = [[[0.9, 0.7], [np.nan, 0.1]], [[np.nan, 0.2], [np.nan, 0.2]]]
    cells = make_cells(level, np.full((2, 1, 2), 0.4), [0, 1], ["a", "b"])
    np.testing.assert_allclose(curve_of(cells), [1, 0.6])
    assert delta0(cells) == pytest.approx(0.5)
    assert np.isnan(delta0(make_cells(level[1:], np.full((1, 1, 2), 0.4), [0, 1], ["b"])))


def test_a_draw_without_a_range_has_no_retention():
    cells = make_cells([[[0.9, 0.7]], [[0.3, 0.2]]], np.full((2, 1, 2), 0.4), [0, 1], ["a", "b"])
    r = retention(sums(cells), [[1, 0], [0, 1], [1, 1]])[:, 1]
    assert np.isnan(r).tolist() == [False, True, False]  # −.2 / −.1 would read as 2.0


def test_a_turn_at_which_nobody_is_left_is_not_scored():
    cells = make_cells([[[0.9, 0.8, np.nan]]], [[[0.4, 0.4, 0.4]]], [0, 1, 2], ["a"])
    r = curve_of(cells)
    assert np.isnan(r).tolist() == [False, False, True]
    assert np.isnan(area(r, cells.pressed))


def test_the_area_leaves_the_start_and_the_recovery_out():
    cells = fake([0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9])
    assert cells.pressed.tolist() == [False] + [True] * 8 + [False]
    assert area(curve_of(cells), cells.pressed) == pytest.approx((0.8 + 0.6 + 0.4 + 5 * 0.2) / 8)
    assert share_outside([1, 1.2, 0.5, -0.1, 2], [False, True, True, True, False]) == pytest.approx(2 / 3)


def test_a_rate_is_the_least_squares_one():
    rng = np.random.default_rng(3)
    t = np.array([1.0, 2, 4, 8])
    r = np.exp(-0.2 * t) + 0.2 * rng.normal(size=(40, 4))
    found = decay_rate(r, t)
    grid = np.linspace(0, 3, 30001)
    loss = ((r[:, :, None] - np.exp(-t[:, None] * grid)) ** 2).sum(axis=1)
    np.testing.assert_allclose(found, grid[loss.argmin(axis=1)], atol=1e-3)
    assert (found >= 0).all()
    assert decay_rate(r.reshape(5, 8, 4), t).shape == (5, 8)
    assert decay_rate([1.2, 1.3], [1, 2]) == 0  # a gain is no negative loss
    assert decay_rate([0.0, 0.0], [1, 2]) == math.inf
    assert np.isnan(decay_rate([np.nan, 0.5], [1, 2]))


def test_half_lives_beyond_four_times_what_was_seen_are_not_printed():
    assert half_life_of_rate(math.log(2) / 32, 8).text == "32.0"
    assert half_life_of_rate(0.999 * math.log(2) / 32, 8) == (None, ">32")
    assert half_life_of_rate(math.inf, 8).turns == 0
    assert half_life_of_rate(math.nan, 8).turns is None


def test_recovery_by_hand():
    cells = make_cells([[[0.8, 0.4, 0.7]]], [[[0.1, 0.1, 0.1]]], [0, 8, 12], ["a"], last=8)
    assert recovery(cells).rho == pytest.approx(0.75, abs=1e-15)
    assert recovery(cells).displaced == pytest.approx(0.4)


def test_recovery_is_pooled_and_needs_a_displacement():
    level = [[[0.8, 0.4, 0.7]], [[0.8, 0.8, 0.8]]]  # the second never moved: a ratio of its own would be 0/0
    cells = make_cells(level, np.full((2, 1, 3), 0.1), [0, 8, 12], ["a", "b"], last=8)
    assert recovery(cells).rho == pytest.approx(0.75)
    at_the_edge = make_cells([[[0.8, 0.7, 0.8]]], [[[0.1, 0.1, 0.1]]], [0, 8, 12], ["a"], last=8)
    assert recovery(at_the_edge).rho == pytest.approx(1)
    barely = make_cells([[[0.8, 0.71, 0.8]]], [[[0.1, 0.1, 0.1]]], [0, 8, 12], ["a"], last=8)
    assert recovery(barely)[0] is None
    assert recovery(barely).reason == "not displaced"


def test_recovery_takes_conversations_seen_three_times():
    level = [[[0.8, 0.4, 0.6], [0.8, 0.1, np.nan]]]
    cells = make_cells(level, np.full((1, 1, 3), 0.1), [0, 8, 12], ["a"], last=8)
    assert recovery(cells).rho == pytest.approx(0.5)
    with pytest.raises(GaugeError, match="no probe after"):
        recovery(make_cells(level, np.full((1, 1, 3), 0.1), [0, 8, 12], ["a"]))


def test_the_default_is_read_on_the_ruler_of_the_prompted_persona():
    rng = np.random.default_rng(4)
    prompted, plain = 0.6 + 0.3 * rng.random((40, 3, 5)), 0.2 + 0.3 * rng.random((40, 3, 5))
    turns, clusters = np.arange(5), np.arange(40)
    theirs = make_cells(prompted, plain, turns, clusters)
    default = make_cells(1 - plain, mirrored_floor(prompted), turns, clusters)
    assert delta0(default) == pytest.approx(delta0(theirs), abs=1e-12)
    assert (default.floor == default.floor[:, :, :1]).all()
    # A default that falls to what a prompted persona is has kept nothing.
    yields = make_cells(
        np.broadcast_to(1 - prompted[:, :, :1], (40, 3, 5)), mirrored_floor(prompted), turns, clusters
    )
    np.testing.assert_allclose(sums(yields).top, 0, atol=1e-12)


def test_a_dose_curve_is_recovered():
    doses = np.array([0, 1, 2, 4, 8])
    r = 1 / (1 + (doses / 3.0) ** 1.7)
    found = dose_response(doses, r)
    assert found.ed50 == pytest.approx(3, rel=1e-5)
    assert found.slope == pytest.approx(1.7, rel=1e-5)
    assert found.n == 4  # a dose of 0 says nothing
    noisy = dose_response(doses, r + np.array([0, 0.05, -0.05, 0.05, -0.05]))
    assert noisy.ed50 == pytest.approx(3, rel=0.2)
    assert noisy.rss > 0


def test_a_dose_that_was_not_reached_is_not_printed():
    assert dose_response([1, 2, 4, 8], [1.0, 1.0, 1.0, 1.0])[:3:2] == (None, ">32")
    assert dose_response([1, 2, 4, 8], [0.0, 0.0, 0.0, 0.0])[:3:2] == (None, "<0.25")
    assert dose_response([1, 2, 4, 8], [0.99, 0.98, 0.96, 0.93]).ed50 is None
    with pytest.raises(GaugeError, match="two doses"):
        dose_response([0, 4, 4], [1, 0.5, 0.6])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"turns": [1, 2, 3]}, GaugeError),
        ({"turns": [0, 2, 2]}, GaugeError),
        ({"turns": [0, 1]}, GaugeError),
        ({"last": 5}, GaugeError),
        ({"last": 0}, GaugeError),
        ({"clusters": ["a"]}, GaugeError),
        ({"personas": ["a"]}, GaugeError),
        ({"level": np.full((2, 1, 3), 1.1)}, GaugeError),
        ({"level": np.full((2, 1, 3), np.inf), "bounded": False}, NotFiniteError),
        ({"level": np.empty((2, 0, 3))}, GaugeError),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, error):
    given = {"level": np.full((2, 1, 3), 0.9), "floor": np.full((2, 2, 3), 0.4), "turns": [0, 1, 2]}
    given |= {"clusters": ["a", "b"]}
    make_cells(**given)
    with pytest.raises(error):
        make_cells(**(given | change))


def test_planted_arms_are_what_they_say():
    first, second = two_arms(0, 400, (0.1, 0.3))
    assert delta0(first) == pytest.approx(RANGE, abs=0.02)
    assert curve_of(second)[3] < curve_of(first)[3]
    assert recovery(second).rho == pytest.approx(0.5, abs=0.03)
    assert np.nanmean(decaying(0, 0.1).floor) == pytest.approx(FLOOR, abs=0.01)


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(room.__path__)])
def test_examples_in_docstrings_are_true(module):
    assert doctest.testmod(importlib.import_module(f"{room.__name__}.{module}")).failed == 0
