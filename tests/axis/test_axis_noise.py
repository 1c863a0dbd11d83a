"""Noise, stability and nulls against planted truths, brute force and stored responses."""

from __future__ import annotations

import numpy as np
import pytest
from axis_data import accumulator, stored
from sklearn.decomposition import PCA

from multitudes.axis.components import components, cosine, principal, unit
from multitudes.axis.fit import fit_axis
from multitudes.axis.noise import cross_validated_share, noise_share, two_way_share, within_role_share
from multitudes.axis.nulls import gram_of, percentile_in, pseudo_axis_cosines, random_directions
from multitudes.axis.stability import half_axes, role_half_cosines, split_half_cosine
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import ZeroVarianceError, ZeroVectorError

EASY = {"seed": 0, "min_count": 2, "min_roles": 5, "min_families": 2}


def two_way_oracle(x: np.ndarray) -> np.ndarray:
    """Noise share of x (R, Q, c, L, d) from the residuals themselves."""
    r, q, c = x.shape[:3]
    m_r, m_j = x.mean(axis=(1, 2), keepdims=True), x.mean(axis=(0, 2), keepdims=True)
    m = x.mean(axis=(0, 1, 2), keepdims=True)
    residual = ((x - m_r - m_j + m) ** 2).sum(axis=(0, 1, 2, 4))
    return (r - 1) * residual / (r * q * c - r - q + 1) / (q * c) / ((m_r - m) ** 2).sum(axis=(0, 1, 2, 4))


# --- noise share --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [1, 2])
def test_the_share_from_sums_is_that_of_the_residuals(draws):
    rng = np.random.default_rng(0)
    x = 10 * rng.normal(size=(1, 1, 1, 2, 8)) + rng.normal(size=(12, 6, draws, 2, 8))
    x += rng.normal(size=(12, 1, 1, 2, 8)) + 3 * rng.normal(size=(1, 6, 1, 2, 8))
    sums = accumulator(12, 6, 2, 8, question_layers=(0, 1))
    for i, j, k in np.ndindex(12, 6, draws):
        sums.add(i, j % 2, j, x[i, j, k])
    found = noise_share(sums.collected(), np.arange(12))
    np.testing.assert_allclose(found.share, two_way_oracle(x), rtol=1e-9)
    assert found.exact.all()


def planted(seed: int, *, r=200, q=8, d=30, tau=1.0, sigma=1.0, beta=3.0):
    rng = np.random.default_rng(seed)
    x = (
        tau * rng.normal(size=(r, 1, 1, d))
        + beta * rng.normal(size=(1, q, 1, d))
        + sigma * rng.normal(size=(r, q, 1, d))
    )
    return x, (sigma**2 / q) / (tau**2 + sigma**2 / q)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 4.0])
def test_a_planted_noise_share_is_found_whatever_the_questions_do(sigma):
    x, truth = planted(1, sigma=sigma)
    squares, m_r = (x**2).sum(axis=(1, 3)), x.mean(axis=1)
    found = two_way_share(squares, m_r, x.mean(axis=0), n=8)[0]
    assert found == pytest.approx(truth, abs=0.02)
    # A within-role variance takes the questions' effect (beta = 3) for noise.
    bound = within_role_share(squares, m_r, np.full(200, 8))[0]
    assert bound == pytest.approx((sigma**2 + 9) / 8 / (1 + sigma**2 / 8), rel=0.15)
    assert bound > found + 0.3


def test_without_question_effects_the_bound_is_tight():
    x, truth = planted(2, sigma=2.0, beta=0.0)
    bound = within_role_share((x**2).sum(axis=(1, 3)), x.mean(axis=1), np.full(200, 8))[0]
    assert bound == pytest.approx(truth, abs=0.02)


def test_unequal_counts_enter_the_bound_role_by_role():
    rng = np.random.default_rng(5)
    n = np.array([2, 9] * 100)
    x = [rng.normal(size=(1, 400)) + 2 * rng.normal(size=(k, 400)) for k in n]
    squares = np.array([[(v**2).sum()] for v in x])
    means = np.stack([v.mean(axis=0)[None] for v in x])
    noise = 4 * (1 / n).mean()
    assert within_role_share(squares, means, n)[0] == pytest.approx(noise / (1 + noise), abs=0.02)


def test_a_role_with_one_response_has_the_pooled_variance_and_all_such_have_none():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 1, 5))
    n, means, squares = np.array([4, 4, 1]), x.mean(axis=1), (x**2).sum(axis=(1, 3))
    means[2], squares[2] = x[2, 0], (x[2, 0] ** 2).sum(axis=1)
    s2 = x[:2].var(axis=1, ddof=1).sum(axis=2)[:, 0]
    spread = ((means - means.mean(axis=0)) ** 2).sum()
    expected = (2 / 3) * (s2[0] / 4 + s2[1] / 4 + s2.mean()) / spread
    assert within_role_share(squares, means, n)[0] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(within_role_share((means**2).sum(axis=2), means, np.ones(3))).all()


def test_other_layers_missing_cells_and_dropped_roles_give_an_upper_bound():
    s = stored()
    c = s.sums.collected()
    found = noise_share(c, np.arange(24))
    assert found.exact.tolist() == [True, False, True]
    np.testing.assert_allclose(found.share[[0, 2]], two_way_oracle(s.x[:, :, None])[[0, 2]], rtol=1e-9)
    assert (found.share[1] > found.share[[0, 2]] * 2).all()
    assert not noise_share(c, np.arange(23)).exact.any()  # the dropped role is in the sums by question
    s.sums.add(0, 0, 0, s.x[0, 0])
    assert not noise_share(s.sums.collected(), np.arange(24)).exact.any()


def test_a_role_that_was_never_asked_does_not_spoil_the_balance():
    s = stored(r=12)
    sums = accumulator(r=13)
    for i, j in np.ndindex(12, 8):
        sums.add(i, int(s.half[j]), j, s.x[i, j])
    found = noise_share(sums.collected(), np.arange(12))
    assert found.exact[[0, 2]].all()
    np.testing.assert_allclose(found.share[[0, 2]], two_way_oracle(s.x[:, :, None])[[0, 2]], rtol=1e-9)


def test_more_noise_than_signal_makes_components_uninterpretable():
    assert fit_axis(stored(noise=0.5).sums.collected(), **EASY).interpretable[[0, 2]].all()
    assert not fit_axis(stored(noise=5.0).sums.collected(), **EASY).interpretable.any()


# --- cross-validated share ----------------------------------------------------------------------------------------


def test_cross_validated_shares_of_planted_components_are_not_biased_by_noise():
    """Rank 2 with shares .7 and .3 under as much noise as signal: the truth is in the middle 95 % of 200 runs.

    The shares that scikit-learn explains are not: noise spreads over 30 dimensions and takes half of the sum.
    """
    rng = np.random.default_rng(0)
    r, d = 100, 30
    left = np.linalg.qr(rng.normal(size=(r, 2)) - 0)[0]
    left -= left.mean(axis=0)
    left = np.linalg.qr(left)[0]
    right = np.linalg.qr(rng.normal(size=(d, 2)))[0]
    signal = left * np.sqrt([0.7, 0.3]) @ right.T
    sigma = np.sqrt(1 / (r * d))
    shares, explained = [], []
    for _ in range(200):
        a, b = (signal + sigma * rng.normal(size=(r, d)) for _ in range(2))
        shares.append(cross_validated_share(a, b, count=4))
        explained.append(PCA(n_components=4).fit((a + b) / 2).explained_variance_ratio_)
    low, high = np.quantile(shares, [0.025, 0.975], axis=0)
    truth = np.array([0.7, 0.3, 0.0, 0.0])
    assert ((low <= truth) & (truth <= high)).all(), (low, high)
    assert np.min(shares) < 0
    low, high = np.quantile(explained, [0.025, 0.975], axis=0)
    assert not ((low <= truth) & (truth <= high)).any()


def test_without_noise_cross_validated_shares_are_the_explained_ones():
    x = np.random.default_rng(1).normal(size=(20, 6))
    oracle = PCA().fit(x).explained_variance_ratio_
    np.testing.assert_allclose(cross_validated_share(x, x + 7.0, count=6), oracle, atol=1e-12)


def test_halves_that_share_nothing_have_no_shares():
    x = np.random.default_rng(1).normal(size=(20, 6))
    assert np.isnan(cross_validated_share(x, -x)).all()
    with pytest.raises(ZeroVarianceError):
        cross_validated_share(np.ones((5, 3)), np.ones((5, 3)))


def test_the_fit_takes_the_halves_of_the_questions():
    s = stored()
    fit = fit_axis(s.sums.collected(), **EASY)
    a, b = (s.x[:, s.half == h].mean(axis=1) for h in (0, 1))
    np.testing.assert_allclose(fit.cross_validated[1], cross_validated_share(a[:, 1], b[:, 1]), atol=1e-9)


# --- stability ----------------------------------------------------------------------------------------------------


def test_split_half_is_the_cosine_of_axes_of_disjoint_questions():
    s = stored()
    fit = fit_axis(s.sums.collected(), **EASY)
    a, b = (s.default[s.half == h].mean(axis=0) - s.x[:, s.half == h].mean(axis=(0, 1)) for h in (0, 1))
    np.testing.assert_allclose(fit.halves, np.stack([a, b]), atol=1e-10)
    np.testing.assert_allclose(fit.split_half, cosine(a, b), atol=1e-10)


def test_halves_use_roles_that_both_have():
    s = stored(r=6)
    sums = accumulator(r=7)
    for i, j in np.ndindex(6, 8):
        sums.add(i, int(s.half[j]), j, s.x[i, j])
    for j in (0, 2):
        sums.add(6, 0, j, 100 * np.ones((3, 16)))  # only in half A
    for j in range(8):
        sums.add(None, int(s.half[j]), j, s.default[j])
    found = half_axes(sums.collected(), np.arange(7))
    expected = s.default[s.half == 0].mean(axis=0) - s.x[:, s.half == 0].mean(axis=(0, 1))
    np.testing.assert_allclose(found[0], expected, atol=1e-10)
    one_half = accumulator(r=6)
    one_half.add(0, 0, 0, np.ones((3, 16)))
    assert np.isnan(split_half_cosine(half_axes(one_half.collected(), np.arange(6)))).all()


def test_unrelated_halves_have_cosine_zero_and_role_halves_flatter():
    """A default that is noise: question halves give 0 ± 1/√d, random halves of the roles nearly 1."""
    rng = np.random.default_rng(4)
    sums = accumulator(r=40, q=4, layers=1, d=400, question_layers=())
    for i, j in np.ndindex(40, 4):
        sums.add(i, j % 2, j, 0.3 * rng.normal(size=(1, 400)))
    for j in range(4):
        sums.add(None, j % 2, j, rng.normal(size=(1, 400)))
    fit = fit_axis(sums.collected(), **EASY)
    assert abs(fit.split_half[0]) < 0.2  # 4 / √400
    assert fit.role_halves.shape == (100, 1)
    assert (fit.role_halves > 0.9).all()


def test_role_halves_from_products_are_those_of_the_axes_themselves():
    rng = np.random.default_rng(0)
    roles, m_d = rng.normal(size=(9, 5)) + 3, rng.normal(size=5) + 3
    found = role_half_cosines(gram_of(roles, m_d), seed=7, draws=50)
    order = np.argsort(np.random.default_rng(7).random((50, 9)), axis=1)
    a, b = (m_d - roles[order[:, k : k + 4]].mean(axis=1) for k in (0, 4))
    np.testing.assert_allclose(found, cosine(a, b), atol=1e-12)
    assert len(np.unique(found.round(9))) > 40
    np.testing.assert_array_equal(found, role_half_cosines(gram_of(roles, m_d), seed=7, draws=50))


# --- nulls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("include_default", [False, True])
def test_pseudo_axes_put_each_role_in_the_place_of_the_default(include_default):
    rng = np.random.default_rng(0)
    roles = rng.normal(size=(12, 6)) * [3, 1, 1, 1, 1, 1] + 5
    found = pseudo_axis_cosines(gram_of(roles, np.ones(6)), include_default=include_default)
    for i in range(12):
        oracle = components(np.delete(roles, i, axis=0), roles[i], include_default=include_default).cosine
        assert found[i] == pytest.approx(oracle, abs=1e-9)
    assert np.isnan(pseudo_axis_cosines(gram_of(roles[:2], np.ones(6)))).all()


def test_a_default_that_is_one_more_role_has_any_percentile():
    """200 data sets: the mean percentile of an exchangeable default is .5 ± 4 SE (.082).

    A null whose components hold the role itself puts it at .36: every pseudo axis leans to a component it helped to
    make. 20 roles, one strong direction in 10.
    """
    rng = np.random.default_rng(0)
    found, leaning = [], []
    for _ in range(200):
        x = rng.normal(size=(21, 10)) * ([1.5] + [1] * 9)
        gram = gram_of(x[:-1], x[-1])
        value = components(x[:-1], x[-1]).cosine
        found.append(percentile_in(value, pseudo_axis_cosines(gram)))
        leaning.append(percentile_in(value, pseudo_axis_cosines(gram, include_default=True)))
    assert np.mean(found) == pytest.approx(0.5, abs=0.082)
    assert np.mean(leaning) < 0.5 - 0.082


def test_a_default_on_the_main_direction_of_roles_has_a_high_percentile():
    rng = np.random.default_rng(0)
    roles = rng.normal(size=(30, 8)) * [3, 1, 1, 1, 1, 1, 1, 1]
    along, across = np.eye(8)[0] * 6, np.eye(8)[1] * 6
    for default, low, high in ((along, 0.9, 1.0), (across, 0.0, 0.3)):
        gram = gram_of(roles, default)
        assert low <= percentile_in(components(roles, default).cosine, pseudo_axis_cosines(gram)) <= high


def test_percentile_in_nothing_is_unknown():
    assert np.isnan(percentile_in(0.3, [np.nan]))
    assert percentile_in(0.3, [0.1, 0.2]) == 1.0


def test_random_directions_have_the_spread_they_promise():
    rng = np.random.default_rng(0)
    d, basis = 50, np.linalg.qr(rng.normal(size=(50, 3)))[0]
    roles = rng.normal(size=(20, 3)) * [4, 1, 1] @ basis.T + 10
    axis = 3 * rng.normal(size=d)
    v = unit(axis)
    options = {"seed": 1, "role_means": roles, "draws": 2000}
    free, across, matched = (random_directions(k, axis, **options) for k in ("isotropic", "orthogonal", "covariance"))
    for found in (free, across, matched):
        assert found.shape == (2000, d)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-12)
    assert np.abs(across @ v).max() < 1e-12
    assert np.abs(matched @ v).max() < 1e-12
    assert ((free @ v) ** 2).mean() == pytest.approx(1 / d, rel=0.15)  # 3 SE of a mean of 2,000
    # Matched directions stay in persona space, but for what was taken out along v, and follow its spread.
    span = np.linalg.qr(np.column_stack([basis, v]))[0]
    np.testing.assert_allclose(np.linalg.norm(matched @ span, axis=1), 1, atol=1e-9)
    assert (np.linalg.norm(free @ span, axis=1) ** 2).mean() == pytest.approx(4 / d, rel=0.1)
    first = principal(roles)[1][0]
    assert ((matched @ first) ** 2).mean() > 0.6


def test_directions_that_cannot_be_drawn_are_refused():
    with pytest.raises(GaugeError, match="no such kind"):
        random_directions("random", np.ones(3), seed=0)  # type: ignore[arg-type]
    with pytest.raises(GaugeError, match="need the role means"):
        random_directions("covariance", np.ones(3), seed=0)
    with pytest.raises(GaugeError, match="three roles"):
        random_directions("covariance", np.ones(3), seed=0, role_means=np.ones((2, 3)))
    with pytest.raises(ZeroVectorError):
        random_directions("isotropic", np.zeros(3), seed=0)
