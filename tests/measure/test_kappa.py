"""Weighted κ against scikit-learn, against the table form, and its interval against simulated judges."""

import math
import re

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.diversity.prose_gate import calibrate_judge
from multitudes.measure.kappa import kappa_over_clusters, quadratic_kappa


def judges(rng, n, *, noise=0.8, shape=()):
    """Two noisy readings of the same place on the scale 0 to 3."""
    place = rng.normal(1.6, 1, size=(*shape, n))
    return (np.clip(np.round(place + rng.normal(0, noise, place.shape)), 0, 3) for _ in range(2))


@pytest.mark.parametrize("seed", range(20))
def test_value_is_that_of_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    a, b = judges(rng, int(rng.integers(2, 300)), noise=rng.uniform(0, 3))
    with np.errstate(invalid="ignore"):
        want = metrics.cohen_kappa_score(a, b, weights="quadratic", labels=[0, 1, 2, 3])
    assert quadratic_kappa(a, b) == pytest.approx(want, abs=1e-12, nan_ok=True)
    assert quadratic_kappa(b, a) == quadratic_kappa(a, b)
    assert quadratic_kappa(a + 7, b + 7) == pytest.approx(want, abs=1e-12, nan_ok=True)


def test_a_category_that_nobody_used_keeps_its_place_on_the_scale():
    """Numbering only what was seen would make 3 a neighbour of 1."""
    a, b = np.array([0, 1, 3, 3, 1, 0, 3]), np.array([0, 1, 3, 1, 1, 0, 3])
    table = np.zeros((4, 4))
    np.add.at(table, (a, b), 1 / 7)
    away = (np.arange(4)[:, None] - np.arange(4)) ** 2
    want = 1 - (away * table).sum() / (away * np.outer(table.sum(1), table.sum(0))).sum()
    assert quadratic_kappa(a, b) == pytest.approx(want, abs=1e-14)
    squeezed = [np.where(x == 3, 2, x) for x in (a, b)]
    assert abs(quadratic_kappa(*squeezed) - want) > 0.01


def test_closed_forms():
    a = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    assert quadratic_kappa(a, a) == 1
    assert quadratic_kappa(a, 3 - a) == -1  # equal habits, everything upside down
    assert quadratic_kappa(a, a[::-1]) == -1
    every = np.array([(i, j) for i in range(4) for j in range(4)]).T
    assert quadratic_kappa(*every) == 0  # independent
    b = np.minimum(a + 1, 3)  # one step too kind: agreement is lost though the order is the same
    assert quadratic_kappa(a, b) == pytest.approx(2 * np.cov(a, b, ddof=0)[0, 1]
                                                  / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))  # fmt: skip


def test_degenerate_ratings_have_a_reason():
    names = [f"r{i}" for i in range(10)]
    same = kappa_over_clusters([3] * 10, [3] * 10, names, seed=0)
    assert math.isnan(same.value)
    assert (same.low, same.high) == (None, None)
    assert "one category only" in same.note
    assert quadratic_kappa([1] * 4, [2] * 4) == 0  # two categories: chance agreement is none, and so is agreement
    habit = kappa_over_clusters([3] * 10, [0, 1, 2, 3, 3] * 2, names, seed=0)
    assert (habit.value, habit.low, habit.high) == (0, None, None)  # every draw is 0: not a narrow interval
    assert "first judge rated everything 3" in habit.note
    nothing = kappa_over_clusters([math.nan, 1], [2, math.nan], ["a", "b"], seed=0)
    assert math.isnan(nothing.value)
    assert (nothing.n, nothing.unscored) == (0, 2)
    assert nothing.note
    few = kappa_over_clusters([0, 1, 2, 3], [0, 1, 3, 3], list("aabb"), seed=0)
    assert few.low is None
    assert "few clusters" in few.note
    one = kappa_over_clusters([3] * 8 + [0], [3] * 8 + [0], range(9), seed=0)
    assert (one.value, one.high) == (1, 1)
    lost = int(re.fullmatch(r"(\d+) of 2000 draws have no κ and are left out", one.note)[1])
    assert lost == pytest.approx(2000 * (8 / 9) ** 9, abs=86)  # four standard errors
    assert kappa_over_clusters([0, 3] * 8, [0, 3] * 8, range(16), seed=0).note == ""
    with pytest.raises(GaugeError, match="not whole"):
        quadratic_kappa([0.5, 1], [0, 1])
    with pytest.raises(GaugeError, match="not whole"):
        quadratic_kappa([math.inf, 1], [0, 1])
    with pytest.raises(GaugeError):
        quadratic_kappa([1, 2], [1, 2, 3])
    with pytest.raises(GaugeError):
        kappa_over_clusters([1, 2], [1, 2], ["a"], seed=0)


def test_what_one_judge_did_not_rate_is_in_no_number():
    rng = np.random.default_rng(5)
    a, b = judges(rng, 60)
    names = np.repeat(np.arange(20), 3)
    gone_a, gone_b = a.copy(), b.copy()
    gone_a[[3, 8]] = np.nan
    gone_b[[8, 40]] = np.nan
    rest = [i for i in range(60) if i not in (3, 8, 40)]
    found = kappa_over_clusters(gone_a, gone_b, names, seed=1)
    assert found == kappa_over_clusters(a[rest], b[rest], names[rest], seed=1)._replace(unscored=3)
    assert (found.n, found.clusters) == (57, 20)


def test_draws_of_the_interval_are_those_of_whole_clusters_drawn_one_by_one():
    """The same multinomial weights, with every answer repeated as often as its role was drawn."""
    from multitudes.measure.stats import percentile_limits

    rng = np.random.default_rng(9)
    a, b = judges(rng, 48)
    names = np.repeat(np.arange(12), 4)
    weights = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), size=200)
    draws = [quadratic_kappa(np.repeat(a, w[names]), np.repeat(b, w[names])) for w in weights]
    low, high = percentile_limits(np.array(draws), 0.95, 12)
    found = kappa_over_clusters(a, b, names, seed=3, draws=200)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_interval_holds_the_truth_and_clusters_widen_it():
    """44 roles of 4 answers, judged with a leaning that is the role's: 95 % intervals, 300 times.

    The Monte Carlo error of a share of 300 is .0126, so .90 is four of them below .95; intervals that resample
    answers hold the truth .75 of the time here.
    """
    roles, each, runs = 44, 4, 300

    def table(rng, n_roles):
        role = rng.normal(1.7, 1.2, size=(n_roles, 1))
        lean = rng.normal(0, 0.9, size=(n_roles, 1))  # how the second judge takes this role
        place = role + rng.normal(0, 0.3, size=(n_roles, each))
        first, second = place + rng.normal(0, 0.3, place.shape), place + lean + rng.normal(0, 0.3, place.shape)
        return (np.clip(np.round(x), 0, 3) for x in (first, second))

    truth = quadratic_kappa(*(x.ravel() for x in table(np.random.default_rng(0), 200_000)))
    names = np.repeat(np.arange(roles), each)
    inside, naive = 0, 0
    for run in range(runs):
        a, b = (x.ravel() for x in table(np.random.default_rng(run + 1), roles))
        found = kappa_over_clusters(a, b, names, seed=run, draws=300)
        alone = kappa_over_clusters(a, b, np.arange(len(a)), seed=run, draws=300)
        inside += found.low <= truth <= found.high
        naive += alone.low <= truth <= alone.high
    assert inside / runs > 0.90
    assert naive < inside - 30


def test_two_categories_are_the_plain_kappa_of_the_prose_gate():
    rng = np.random.default_rng(2)
    a = rng.random(80) < 0.6
    b = a ^ (rng.random(80) < 0.2)
    agree = (a == b).mean()
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    assert calibrate_judge(a, b).kappa == pytest.approx((agree - chance) / (1 - chance), abs=1e-12)
    assert calibrate_judge([True] * 3, [True] * 3).kappa is None
