"""ED50 of many curves at once, and its interval over base prompts."""

import math

import numpy as np
import pytest
from planted import two_arms
from scipy.optimize import least_squares
from scipy.special import expit

from multitudes.core.errors import GaugeError
from multitudes.measure.retention.cells import make_cells
from multitudes.measure.retention.dose import SLOPES, dose_interval, dose_response, dose_responses
from multitudes.measure.retention.intervals import resample
from multitudes.measure.retention.statistics import auc_statistic, curve_statistic

DOSES = np.array([1.0, 2, 4, 8])


def stacked(seed, ed50, *, prompts=40, noise=0.1, spread=0.2, slope=1.5):
    """An arm on prompts whose own ED50 is drawn around ``ed50``; R over doses 1 to 8 as turns."""
    rng = np.random.default_rng(seed)
    turns = np.arange(9.0)
    own = ed50 * np.exp(spread * rng.normal(size=(prompts, 1)))
    kept = 1 / (1 + (turns / own) ** slope)
    level = 0.1 + 0.8 * kept + noise * rng.normal(size=kept.shape)
    return make_cells(level[:, None], np.full_like(level, 0.1)[:, None], turns, np.arange(prompts), bounded=False)


def pressed_curve(cells):
    whole = curve_statistic(cells)
    return lambda w: whole(w)[:, cells.pressed]


def by_scipy(doses, r):
    """The same least squares by a library, from many starts."""
    x = np.log(doses)
    low, high = x.min() - math.log(4) - 1, x.max() + math.log(4) + 1
    box = ([low, math.log(SLOPES[0])], [high, math.log(SLOPES[1])])
    fits = [
        least_squares(lambda p: expit(-np.exp(p[1]) * (x - p[0])) - r, (m, k), bounds=box, xtol=1e-12, ftol=1e-12)
        for m in np.linspace(low + 0.01, high - 0.01, 5)
        for k in (0.0, 2.0)
    ]
    best = min(fits, key=lambda f: f.cost)
    return best.x, 2 * best.cost


def test_many_fits_are_those_of_a_library():
    rng = np.random.default_rng(0)
    r = 1 / (1 + (DOSES / rng.uniform(0.6, 16, (25, 1))) ** rng.uniform(0.4, 4, (25, 1)))
    r += 0.05 * rng.normal(size=r.shape)
    found = dose_responses(DOSES, r)
    for row, ed50 in zip(r, found, strict=True):
        parameters, loss = by_scipy(DOSES, row)
        single = dose_response(DOSES, row)
        assert single.rss <= loss + 1e-9  # no worse than the library
        if 0 < ed50 < math.inf and single.slope < 19:  # a step between two doses may lie anywhere between them
            assert ed50 == pytest.approx(math.exp(parameters[0]), rel=1e-3)
            assert single.ed50 == pytest.approx(ed50, rel=1e-6)


def test_what_lies_beyond_is_kept_on_its_side():
    found = dose_responses(DOSES, [[1, 1, 1, 1], [0, 0, 0, 0], [0.8, 2 / 3, 0.5, 1 / 3], [1, np.nan, 1, 1]])
    assert found[:2].tolist() == [math.inf, 0]
    assert found[2] == pytest.approx(4)
    assert np.isnan(found[3])
    with pytest.raises(GaugeError, match="two doses"):
        dose_responses([0, 4], [[1, 0.5]])


def test_a_planted_dose_lies_in_its_interval():
    # 300 studies of 30 prompts: SE of a coverage of .95 is .013.
    truth = dose_response(np.arange(9.0), np.asarray(pressed_mean(3.0))).ed50
    held = 0
    for seed in range(300):
        cells = stacked(seed, 3.0, prompts=30)
        found = dose_interval(pressed_curve(cells), np.arange(1.0, 9), resample([cells], seed=seed, draws=200))
        held += found.estimate.low <= truth <= found.estimate.high
        assert found.unfitted == 0
    assert 0.91 <= held / 300 <= 0.985


def pressed_mean(ed50):
    own = ed50 * np.exp(0.2 * np.random.default_rng(9).normal(size=(200_000, 1)))
    return (1 / (1 + (np.arange(9.0) / own) ** 1.5)).mean(axis=0)


def test_no_interval_where_a_fifth_of_the_draws_has_none():
    # Two of eight prompts lose all at dose 4, six nothing: draws with one or none of the two stay too high for an
    # ED50 within four times the largest dose.
    level = np.full((8, 1, 9), 0.9)
    level[:2, 0, 4:] = 0.1
    cells = make_cells(level, np.full_like(level, 0.1), np.arange(9.0), np.arange(8))
    found = dose_interval(pressed_curve(cells), np.arange(1.0, 9), resample([cells], seed=0, draws=400))
    assert found.unfitted > 0.2
    assert found.estimate.low is None
    assert f"{found.unfitted:.0%} of draws" in found.estimate.note
    steady = cells._replace(level=np.full_like(level, 0.9))
    never = dose_interval(pressed_curve(steady), np.arange(1.0, 9), resample([steady], seed=0, draws=50))
    assert (never.text, never.unfitted, never.estimate.low) == (">32", 1, None)
    assert never.estimate.note == "beyond the doses given"


def test_some_draws_beyond_make_a_limit_beyond():
    cells = stacked(1, 22.0, noise=0.2, prompts=12, spread=1.2, slope=0.8)
    found = dose_interval(pressed_curve(cells), np.arange(1.0, 9), resample([cells], seed=0, draws=800))
    assert 0.025 < found.unfitted <= 0.2
    assert math.isinf(found.estimate.high)
    assert found.text.endswith(", >32]")


def test_doses_across_arms_share_their_draws():
    arms = [two_arms(seed, 20, (rate, 0.1))[0] for seed, rate in ((0, 0.05), (0, 0.2), (0, 0.6))]
    sample = resample(arms, seed=0, draws=200)
    areas = [auc_statistic(a) for a in arms]
    found = dose_interval(lambda w: np.stack([f(w) for f in areas], axis=1), [32, 128, 512], sample)
    alone = dose_response([32, 128, 512], [float(f(sample.whole)[0]) for f in areas])
    assert found.estimate.value == pytest.approx(alone.ed50)
    assert found.estimate.low < alone.ed50 < found.estimate.high


def test_copies_of_a_prompt_do_not_narrow_it():
    cells = stacked(3, 3.0, prompts=20)
    twice = cells._replace(**{k: np.concatenate([getattr(cells, k)] * 2) for k in ("level", "floor", "clusters")})
    found = [
        dose_interval(pressed_curve(c), np.arange(1.0, 9), resample([c], seed=0, draws=200)).estimate
        for c in (cells, twice)
    ]
    assert found[0].low == pytest.approx(found[1].low, rel=1e-6)
    assert found[0].high == pytest.approx(found[1].high, rel=1e-6)
