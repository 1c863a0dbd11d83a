"""Intervals and tests against closed forms, brute force and a second library; wrong variants must be told apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from multitudes.core.errors import GaugeError
from multitudes.measure.jackknife import jackknife, two_way_jackknife
from multitudes.measure.stats import (
    bootstrap_curve,
    bootstrap_mean,
    bootstrap_slope,
    cluster_by_turn,
    paired_difference,
    resampled_sums,
    sign_flip_p,
)


def clustered(rng: np.random.Generator, g: int, per: int) -> tuple[np.ndarray, np.ndarray]:
    """Values with half of their variance between clusters."""
    clusters = np.repeat(np.arange(g), per)
    return rng.normal(size=g)[clusters] + rng.normal(size=g * per), clusters


# --- bootstrap ----------------------------------------------------------------------------------------------


def test_every_resample_has_as_many_clusters_as_there_are():
    sums = resampled_sums(np.ones((30, 1)), seed=1, draws=500)
    assert sums.shape == (500, 1)
    assert (sums == 30).all()


def test_resampled_means_have_the_plug_in_standard_error():
    y = np.random.default_rng(0).normal(size=50)
    drawn = resampled_sums(y[:, None], seed=2, draws=20_000)[:, 0] / 50
    assert drawn.mean() == pytest.approx(y.mean(), abs=4 * y.std() / np.sqrt(50 * 20_000))
    assert drawn.std() == pytest.approx(y.std() / np.sqrt(50), rel=0.03)  # 3 % is 6 SE of an SD of 20,000 draws


def test_blocks_do_not_change_the_kind_of_result(monkeypatch):
    monkeypatch.setattr("multitudes.measure.stats._WEIGHTS_AT_ONCE", 100)
    assert resampled_sums(np.ones((30, 2)), seed=1, draws=11).shape == (11, 2)


def test_weighting_by_cluster_and_by_unit_differ_as_they_should():
    y, c = [1.0, 1.0, 1.0, 5.0], ["talkative"] * 3 + ["quiet"]
    assert bootstrap_mean(y, c, seed=0).value == 3.0
    assert bootstrap_mean(y, c, seed=0, weighting="unit").value == 2.0


def test_interval_of_clustered_means_covers_and_the_unclustered_one_does_not():
    """500 data sets of 60 clusters: nominal .95 must give .93 to .97 (2 SE); resampling values gives far less."""
    rng = np.random.default_rng(11)
    hits = wrong = 0
    for s in range(500):
        y, c = clustered(rng, 60, 5)
        found = bootstrap_mean(y, c, seed=s, draws=600)
        hits += found.low <= 0 <= found.high
        if s < 150:
            broken = bootstrap_mean(y, np.arange(len(y)), seed=s, draws=300)
            wrong += broken.low <= 0 <= broken.high
    assert 0.93 <= hits / 500 <= 0.97
    assert wrong / 150 < 0.85


@pytest.mark.parametrize("g", [8, 15])
def test_intervals_of_few_clusters_cover_too(g):
    """1,000 normal samples: .95 must give .93 to .97; the plain percentile interval gives .88 and .92."""
    y = np.random.default_rng(g).normal(size=(1000, g))
    hits = plain = 0
    for s, sample in enumerate(y):
        e = bootstrap_mean(sample, np.arange(g), seed=s, draws=500)
        hits += e.low <= 0 <= e.high
        low, high = np.percentile(resampled_sums(sample[:, None], seed=s, draws=500), [2.5, 97.5])
        plain += low <= 0 <= high
    assert 0.93 <= hits / 1000 <= 0.97
    assert plain / 1000 < 0.93


def test_few_clusters_give_a_flag_instead_of_an_interval():
    found = bootstrap_mean(np.arange(7.0), np.arange(7), seed=0)
    assert (found.low, found.high, found.n) == (None, None, 7)
    assert "few clusters" in found.note


def test_unscored_values_are_left_out_and_counted():
    y = np.append(np.arange(10.0), np.nan)
    found = bootstrap_mean(y, np.append(np.arange(10), 3), seed=0)
    assert (found.value, found.n, found.unscored) == (4.5, 10, 1)
    empty = bootstrap_mean([np.nan, np.nan], [0, 1], seed=0)
    assert np.isnan(empty.value)
    assert (empty.n, empty.unscored) == (0, 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=8, max_size=20), st.floats(-50, 50), st.floats(0.1, 10))
def test_intervals_move_with_shift_and_scale(values, shift, scale):
    y = np.array(values)
    a = bootstrap_mean(y, np.arange(len(y)), seed=5, draws=200)
    b = bootstrap_mean(scale * y + shift, np.arange(len(y)), seed=5, draws=200)
    for before, after in zip(a[:3], b[:3], strict=True):
        assert after == pytest.approx(scale * before + shift, abs=1e-9)


def test_lengths_and_shapes_are_checked():
    with pytest.raises(GaugeError, match="lengths differ"):
        bootstrap_mean([1.0, 2.0], [1], seed=0)
    with pytest.raises(GaugeError, match="wrong shape"):
        bootstrap_mean([[1.0, 2.0]], [1], seed=0)


# --- curves and slopes --------------------------------------------------------------------------------------


def test_cluster_by_turn_averages_replicates_and_leaves_gaps():
    ticks, means, unscored = cluster_by_turn([1, 1, 2, 2], [0.0, 2.0, 5.0, np.nan], ["a", "a", "a", "b"])
    assert ticks.tolist() == [1, 2]
    assert means.tolist() == [[1.0, 5.0]]
    assert unscored == 1


def test_curve_of_one_turn_is_the_bootstrap_of_a_mean():
    y = np.random.default_rng(3).normal(size=20)
    curve = bootstrap_curve(np.ones(20), y, np.arange(20), seed=4)
    mean = bootstrap_mean(y, np.arange(20), seed=4)
    assert (curve.value[0], curve.low[0], curve.high[0]) == pytest.approx((mean.value, mean.low, mean.high))


def test_curve_shows_thin_turns_without_a_band():
    turns = np.concatenate([np.ones(10), np.full(3, 2)])
    curve = bootstrap_curve(turns, np.arange(13.0), np.concatenate([np.arange(10), np.arange(3)]), seed=0)
    assert curve.n.tolist() == [10, 3]
    assert np.isfinite(curve.low[0])
    assert np.isnan(curve.low[1])
    assert bootstrap_curve([], [], [], seed=0).x.size == 0


def curves(rng: np.random.Generator, g: int, t: int, slope: float) -> tuple[np.ndarray, ...]:
    turn = np.tile(np.arange(1.0, t + 1), g)
    who = np.repeat(np.arange(g), t)
    own = rng.normal(size=g)[who] + 0.3 * rng.normal(size=g)[who] * (turn - turn.mean())  # people drift differently
    return turn, slope / 10 * turn + own + 0.5 * rng.normal(size=g * t), who


def test_slope_is_least_squares_on_the_mean_curve():
    turn, y, who = curves(np.random.default_rng(1), 12, 9, 0.7)
    mean = [y[turn == t].mean() for t in range(1, 10)]
    expected = np.polyfit(np.arange(1, 10), mean, 1)[0] * 10
    assert bootstrap_slope(turn, y, who, seed=0).value == pytest.approx(expected, abs=1e-9)


def test_slope_rarely_raises_a_false_alarm_and_finds_a_planted_one():
    """Null: at most 7 % alarms in 500 runs. Resampling lines in place of people raises far more."""
    rng = np.random.default_rng(2)
    alarms = naive = found = 0
    for s in range(500):
        turn, y, who = curves(rng, 50, 8, 0.0)
        e = bootstrap_slope(turn, y, who, seed=s, draws=400)
        alarms += not e.low <= 0 <= e.high
        if s < 100:
            e = bootstrap_slope(turn, y, np.arange(len(y)), seed=s, draws=200)
            naive += not e.low <= 0 <= e.high
    for s in range(50):
        e = bootstrap_slope(*curves(rng, 50, 8, 3.0), seed=s, draws=400)
        found += e.low > 0
    assert alarms / 500 <= 0.07
    assert naive / 100 > 0.15
    assert found / 50 > 0.9


def test_slope_ignores_turns_that_only_the_talkative_reach():
    turn = np.concatenate([np.tile(np.arange(1.0, 7), 10), np.arange(7.0, 20)])
    who = np.concatenate([np.repeat(np.arange(10), 6), np.zeros(13, dtype=int)])
    y = np.where(turn <= 6, 0.0, 100.0)
    assert bootstrap_slope(turn, y, who, seed=0).value == pytest.approx(0.0, abs=1e-12)
    short = bootstrap_slope(np.tile([1.0, 2, 3, 4], 9), np.zeros(36), np.repeat(np.arange(9), 4), seed=0)
    assert np.isnan(short.value)
    assert "few turns" in short.note


# --- paired differences -------------------------------------------------------------------------------------


def test_exact_sign_flips_equal_enumeration_and_scipy():
    d = np.array([0.3, -0.1, 0.8, 0.5, 0.2, 0.9])
    every = [abs(np.dot(s, d)) for s in itertools.product([1, -1], repeat=6)]
    assert sign_flip_p(d, seed=0) == np.mean(np.array(every) >= abs(d.sum()) - 1e-12)
    theirs = sps.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(d, seed=0) == pytest.approx(theirs.pvalue)


def test_drawn_sign_flips_agree_with_exact_ones(monkeypatch):
    d = np.random.default_rng(4).normal(0.4, 1, size=15)
    exact = sign_flip_p(d, seed=0)
    monkeypatch.setattr("multitudes.measure.stats.EXACT_FLIPS_TO", 1)
    drawn = sign_flip_p(d, seed=0)
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 10_000) + 1e-4)
    assert sign_flip_p(np.full(20, 1.0), seed=0) == pytest.approx(1 / 10_001)  # never 0


def test_pairing_removes_what_both_arms_share():
    rng = np.random.default_rng(5)
    base = rng.normal(size=30) * 5
    after = base + 0.5 + 0.2 * rng.normal(size=30)
    paired = paired_difference(after, base, np.arange(30), seed=0)
    shuffled = paired_difference(after, rng.permutation(base), np.arange(30), seed=0)
    assert paired.low > 0.3
    assert paired.p < 0.001
    assert shuffled.low < 0 < shuffled.high, "the unpaired variant cannot see the difference"


def test_pairs_with_one_side_unscored_are_counted():
    d = paired_difference([1.0, np.nan, 3.0], [0.0, 0.0, 0.0], ["a", "b", "c"], seed=0)
    assert (d.value, d.n, d.unscored, d.low) == (2.0, 2, 1, None)
    assert np.isnan(paired_difference([np.nan], [1.0], ["a"], seed=0).p)


# --- jackknife ----------------------------------------------------------------------------------------------


def leave_one_out_means(y: np.ndarray) -> np.ndarray:
    return (y.sum() - y) / (len(y) - 1)


def test_jackknife_of_a_mean_is_the_t_interval():
    y = np.random.default_rng(6).exponential(size=12)
    e = jackknife(y.mean(), leave_one_out_means(y))
    low, high = sps.t.interval(0.95, 11, loc=y.mean(), scale=sps.sem(y))
    assert (e.low, e.high) == pytest.approx((low, high), abs=1e-12)
    broken = 1 / 12 * ((leave_one_out_means(y) - y.mean()) ** 2).sum()  # 1/n in place of (n-1)/n
    assert broken**0.5 * sps.t.ppf(0.975, 11) < 0.5 * (e.high - e.value)


def test_two_way_jackknife_of_a_mean_has_its_closed_form():
    y = np.random.default_rng(7).normal(size=(9, 6))
    rows, columns = y.mean(1), y.mean(0)
    e = two_way_jackknife(y.mean(), leave_one_out_means(rows), leave_one_out_means(columns))
    v_p, v_i = rows.var(ddof=1) / 9, columns.var(ddof=1) / 6
    df = (v_p + v_i) ** 2 / (v_p**2 / 8 + v_i**2 / 5)
    assert e.high - e.value == pytest.approx(sps.t.ppf(0.975, df) * (v_p + v_i) ** 0.5, abs=1e-12)


def test_jackknives_refuse_what_they_cannot_do():
    assert jackknife(1.0, [1.0, 1.0]).low is None
    assert "undefined" in jackknife(1.0, [1.0] * 9 + [np.nan]).note
    assert two_way_jackknife(1.0, [1.0] * 5, [1.0] * 5)[:3] == (1.0, 1.0, 1.0)
    assert two_way_jackknife(1.0, [np.nan] * 5, [1.0] * 5).low is None
    with pytest.raises(GaugeError, match="two members"):
        two_way_jackknife(1.0, [1.0], [1.0, 2.0])
