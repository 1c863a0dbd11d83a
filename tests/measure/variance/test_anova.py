"""Mean squares and the one-item design against a published example, worked fractions and simulation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats as sps

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError, TooFewItemsError, TooFewPersonasError, ZeroVarianceError
from multitudes.measure.variance.anova import balanced_components, mean_squares, one_way
from multitudes.measure.variance.components import collect, components, spreads

# Shrout & Fleiss 1979, table 2: six targets, each rated four times.
RATINGS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
TARGET = np.repeat(np.arange(6), 4)


def test_one_way_of_a_published_example_by_hand():
    """Row sums 24, 12, 26, 16, 30, 19; total 127; squares 841. Published: BMS 11.24, WMS 6.26, ICC(1,1) .17."""
    between = Fraction(24**2 + 12**2 + 26**2 + 16**2 + 30**2 + 19**2, 4) - Fraction(127**2, 24)
    within = 841 - Fraction(24**2 + 12**2 + 26**2 + 16**2 + 30**2 + 19**2, 4)
    ms_b, ms_w = between / 5, within / 18
    found = one_way(RATINGS.ravel(), TARGET)
    assert (found.ms_between, found.ms_within) == pytest.approx((float(ms_b), float(ms_w)), abs=1e-9)
    assert (round(found.ms_between, 2), round(found.ms_within, 2)) == (11.24, 6.26)
    assert found.icc == pytest.approx(float((ms_b - ms_w) / (ms_b + 3 * ms_w)), abs=1e-9)
    assert round(found.icc, 2) == 0.17
    f = float(ms_b / ms_w)
    low, high = f / sps.f.ppf(0.975, 5, 18), f / sps.f.ppf(0.025, 5, 18)
    assert (found.low, found.high) == pytest.approx(((low - 1) / (low + 3), (high - 1) / (high + 3)), abs=1e-9)
    assert (round(found.low, 2), round(found.high, 2)) == (-0.13, 0.72)
    assert found.p == pytest.approx(0.165, abs=0.0005)
    assert (found.n0, found.groups, found.note) == (4, 6, "")


def test_order_and_level_do_not_matter_and_unscored_answers_are_left_out():
    order = np.random.default_rng(0).permutation(24)
    expected = one_way(RATINGS.ravel(), TARGET)
    moved = one_way(2 * RATINGS.ravel()[order] + 1e6, TARGET[order].astype(str))
    assert (moved.icc, moved.low, moved.high) == pytest.approx((expected.icc, expected.low, expected.high), abs=1e-8)
    y = np.append(RATINGS.ravel().astype(float), np.nan)
    assert one_way(y, np.append(TARGET, 6)) == expected


@pytest.mark.parametrize("sizes", [np.full(12, 2), np.array([2, 2, 3, 3, 4, 5, 8, 1, 2, 6, 2, 2])])
@pytest.mark.parametrize("icc", [0.1, 0.6])
def test_interval_of_one_item_is_exact(sizes, icc):
    """1,000 data sets: coverage within 3 standard errors of .95, from both sides."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(12), sizes)
    below = above = 0
    for _ in range(1000):
        y = icc**0.5 * rng.normal(size=12)[group] + (1 - icc) ** 0.5 * rng.normal(size=len(group))
        found = one_way(y, group)
        below += found.high < icc
        above += found.low > icc
    assert 25 - 3 * 25**0.5 < below < 25 + 3 * 25**0.5
    assert 25 - 3 * 25**0.5 < above < 25 + 3 * 25**0.5


def test_it_would_be_too_short_for_items_pooled():
    """The trap: with a trait, personas recur over items and cells are no independent groups."""
    rng = np.random.default_rng(2)
    p, i, _ = (x.ravel() for x in np.meshgrid(np.arange(15), np.arange(15), np.arange(2), indexing="ij"))
    hits = 0
    for _ in range(200):
        y = 0.5**0.5 * rng.normal(size=15)[p] + 0.5**0.5 * rng.normal(size=450)
        found = one_way(y, p * 15 + i)
        hits += found.low <= 0.5 <= found.high
    assert hits / 200 < 0.8


def test_icc_of_unequal_groups_by_hand():
    """Groups (1, 3), (4, 6, 8), (9): MS_W = 10/3, SS_A = 2·4 + 3·36 + 81 - 31²/6; n_0 = (6 - 14/6)/2."""
    found = one_way([1, 3, 4, 6, 8, 9], list("aabbbc"))
    ms_within, ms_between, n0 = 10 / 3, (2 * 4 + 3 * 36 + 81 - 31**2 / 6) / 2, (6 - 14 / 6) / 2
    assert (found.ms_within, found.ms_between, found.n0) == pytest.approx((ms_within, ms_between, n0), abs=1e-12)
    assert found.icc == pytest.approx((ms_between - ms_within) / (ms_between + (n0 - 1) * ms_within), abs=1e-12)


def test_runs_that_never_differ_have_no_interval():
    found = one_way([0.1, 0.1, 0.2, 0.2, 0.7, 0.7], [0, 0, 1, 1, 2, 2])
    assert (found.icc, found.low, found.high, found.f) == (1, None, None, math.inf)
    assert "no run differs" in found.note


def test_an_interval_that_reaches_the_lowest_possible_icc_ends_there():
    y = np.array([-1.0, 1.0, 5.0, -1.0, 1.0, -1.0, 1.0])  # one large group; the others' means are equal
    found = one_way(np.append(y, [-1.0, 1.0, -1.0, 1.0]), [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    assert -0.5 <= found.low < found.high < 1


@pytest.mark.parametrize(
    ("y", "group", "error", "match"),
    [
        ([1.0, 2.0], [0, 0], TooFewPersonasError, "two groups"),
        ([1.0, 2.0, math.nan], [0, 0, 1], TooFewPersonasError, "two groups"),
        ([1.0, 2.0, 3.0], [0, 1, 2], GaugeError, "asked twice"),
        ([0.1, 0.1, 0.1], [0, 0, 1], ZeroVarianceError, "all answers are equal"),
        ([1.0, math.inf, 3.0], [0, 0, 1], NotFiniteError, "infinite"),
        (np.ones((3, 2)), [0, 0, 1], GaugeError, "numbers only"),
        ([1.0, 2.0], [0], GaugeError, "lengths differ"),
    ],
)
def test_what_has_no_one_way_icc_is_refused(y, group, error, match):
    with pytest.raises(error, match=match):
        one_way(y, group)


# --- balanced designs ---------------------------------------------------------------------------------------


def test_mean_squares_of_a_two_by_two_by_two_example_by_hand():
    """Cell means 2, 4 / 6, 12; row means 3, 9; column means 4, 8; grand mean 6; every run 1 off its cell."""
    cube = np.array([[[1.0, 3], [3, 5]], [[5, 7], [11, 13]]])
    ms = mean_squares(cube)
    assert ms == pytest.approx((4 * (9 + 9), 4 * (4 + 4), 2 * 4 * 1, 8 / 4), abs=1e-12)
    found = balanced_components(cube)
    assert found == pytest.approx(((72 - 8) / 4, (32 - 8) / 4, (8 - 2) / 2, 2, 5), abs=1e-12)


@pytest.mark.parametrize("d", [1, 4])
def test_balanced_components_are_those_of_pairs(d):
    rng = np.random.default_rng(3)
    cube = rng.normal(size=(9, 7, 3, d)) + rng.normal(size=(9, 1, 1, d)) + 2 * rng.normal(size=(1, 7, 1, d)) + 100
    p, i, _ = (x.ravel() for x in np.meshgrid(np.arange(9), np.arange(7), np.arange(3), indexing="ij"))
    expected = components(spreads(collect(cube.reshape(-1, d), p, i)))
    assert balanced_components(cube) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("shape", "error"),
    [((1, 3, 2), TooFewPersonasError), ((3, 1, 2), TooFewItemsError), ((3, 3, 1), GaugeError), ((3, 3), GaugeError)],
)
def test_what_is_no_balanced_design_is_refused(shape, error):
    with pytest.raises(error):
        mean_squares(np.random.default_rng(0).normal(size=shape))
    with pytest.raises(NotFiniteError):
        mean_squares(np.full((3, 3, 2), np.nan))
