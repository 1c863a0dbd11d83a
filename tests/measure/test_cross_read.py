"""A reader beside the author: correlation and offset against numpy and planted truths."""

import numpy as np
import pytest

from multitudes.measure.cross_read import _r, cross_reading
from multitudes.measure.errors import TooFewSamplesError, ZeroVarianceError


def planted(rho, *, conversations=40, turns=6, offset=0.3, between=1.0, seed=0):
    """Turns whose correlation is ``rho`` within conversations; conversation means are common to both."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(conversations), turns)
    common = between * rng.normal(size=conversations)[groups]
    x = rng.normal(size=len(groups))
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=len(groups))
    return common + x, common + y + offset, groups


def test_values_are_those_of_numpy():
    x, y, groups = planted(0.6)
    found = cross_reading(x, y, groups, seed=0)
    assert found.r.value == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    assert found.offset.value == pytest.approx((y - x).mean(), abs=1e-12)
    centred = [v - np.array([v[groups == g].mean() for g in groups]) for v in (x, y)]
    assert found.within.value == pytest.approx(np.corrcoef(*centred)[0, 1], abs=1e-12)
    assert found.n_turns == 240
    assert found.r.n == 40


def test_intervals_hold_the_planted_truth():
    """95 % intervals over 40 conversations; at 120 data sets 107 to 119 hits are within three standard errors."""
    hits = np.zeros(2)
    for seed in range(120):
        found = cross_reading(*planted(0.5, between=0.0, seed=seed), seed=seed, draws=300)
        hits += [found.within.low <= 0.5 <= found.within.high, found.offset.low <= 0.3 <= found.offset.high]
    assert (hits >= 107).all(), hits


def test_what_conversations_share_does_not_pass_for_agreement_on_turns():
    found = cross_reading(*planted(0.0, between=3.0), seed=0)
    assert found.r.value > 0.8
    assert found.within.low < 0 < found.within.high


def test_a_bootstrap_draw_is_a_correlation_of_resampled_rows():
    x, y, groups = planted(0.4, conversations=10)
    found = cross_reading(x, y, groups, seed=3, draws=2000)
    rng = np.random.default_rng(9)
    by_hand = []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(0, 10, 10)])
        by_hand.append(np.corrcoef(x[rows], y[rows])[0, 1])
    width = np.subtract(*np.percentile(by_hand, [97.5, 2.5]))
    assert found.r.high - found.r.low == pytest.approx(width, rel=0.35)  # ours is widened for ten clusters


def test_weighted_sums_give_the_correlation_of_repeated_rows():
    rng = np.random.default_rng(4)
    x, y, times = rng.normal(3, 1, 12), rng.normal(-2, 1, 12), rng.integers(0, 4, 12)
    columns = np.column_stack([np.ones(12), x, y, x * x, y * y, x * y])
    expected = np.corrcoef(np.repeat(x, times), np.repeat(y, times))[0, 1]
    assert _r((times @ columns)[None], centre=True)[0] == pytest.approx(expected, abs=1e-12)
    raw = (times * x * y).sum() / np.sqrt((times * x * x).sum() * (times * y * y).sum())
    assert _r((times @ columns)[None], centre=False)[0] == pytest.approx(raw, abs=1e-12)


def test_shift_and_scale_change_nothing_in_r_and_large_numbers_lose_no_digits():
    x, y, groups = planted(0.7)
    plain = cross_reading(x, y, groups, seed=0)
    moved = cross_reading(x * 3 + 1e6, y * 0.1 - 1e6, groups, seed=0)
    assert moved.r.value == pytest.approx(plain.r.value, abs=1e-9)
    assert moved.r.low == pytest.approx(plain.r.low, abs=1e-7)


def test_unscored_turns_are_left_out_and_few_conversations_have_no_interval():
    x, y, groups = planted(0.7, conversations=5)
    x[:4] = np.nan
    y[6] = np.nan
    found = cross_reading(x, y, groups, seed=0)
    assert (found.n_turns, found.unscored) == (25, 5)
    assert found.r.low is None
    assert "few clusters" in found.r.note
    with pytest.raises(TooFewSamplesError):
        cross_reading(x[:5], y[:5], groups[:5], seed=0)
    with pytest.raises(ZeroVarianceError):
        cross_reading(np.ones(10), np.arange(10), np.arange(10), seed=0)
    single = cross_reading(np.arange(10.0), np.arange(10.0), np.arange(10), seed=0)
    assert np.isnan(single.within.value)
    assert "no spread" in single.within.note
