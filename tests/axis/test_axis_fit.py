"""The fit against identities, scikit-learn and responses that were stored; wrong variants must be told apart."""

from __future__ import annotations

import doctest
import importlib
from dataclasses import replace

import numpy as np
import pytest
from axis_data import accumulator, stored
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from multitudes.axis.collected import Control, default_mean, role_means
from multitudes.axis.components import components, cosine
from multitudes.axis.contrast import fit_contrast, kept_pairs
from multitudes.axis.errors import MixedMethods, NoAxis, SignError, TooFewRoles
from multitudes.axis.fit import fit_axis
from multitudes.axis.scale import ZScale, check_sign, separation, z_scale
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError, TooFewSamplesError, ZeroVarianceError

EASY = {"seed": 0, "min_count": 3, "min_roles": 5, "min_families": 2}


def test_the_axis_points_from_the_roles_to_the_default():
    s = stored()
    fit = fit_axis(s.sums.collected(), **EASY)
    np.testing.assert_allclose(fit.axis, s.default.mean(axis=0) - s.x.mean(axis=(0, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(fit.unit, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(fit.unit * fit.length[:, None], fit.axis, atol=1e-12)
    assert fit.method == "generated"
    assert fit.role_means.shape == (24, 3, 16)
    assert fit.components.shape == (3, 10, 16)
    assert fit.default_n == 8


def test_the_gap_is_the_length_and_z_of_default_and_average_role_are_one_and_zero():
    fit = fit_axis(stored().sums.collected(), **EASY)
    np.testing.assert_allclose(fit.scale.gap, fit.length, rtol=1e-6)
    np.testing.assert_allclose(fit.scale.z((fit.default_mean * fit.unit).sum(axis=1)), 1, atol=1e-6)
    role_z = fit.scale.z((fit.role_means * fit.unit).sum(axis=2))
    np.testing.assert_allclose(role_z.mean(axis=0), 0, atol=1e-6)


def test_roles_weigh_equally_however_many_responses_they_have():
    sums = accumulator(r=6, q=8, layers=1, d=2, question_layers=())
    rng = np.random.default_rng(0)
    means = rng.normal(size=(6, 1, 2))
    for i in range(6):
        for j in range(3 + i // 3 * 5):
            sums.add(i, j % 2, j, means[i])
    for j in range(8):
        sums.add(None, j % 2, j, np.array([[5.0, 5.0]]))
    fit = fit_axis(sums.collected(), **EASY)
    np.testing.assert_allclose(fit.axis, 5 - means.mean(axis=0), atol=1e-12)
    assert np.isnan(fit.norm).all()


# --- who is kept --------------------------------------------------------------------------------------------------


def test_roles_with_few_responses_are_dropped_and_listed():
    s = stored()
    c = s.sums.collected()
    n, cell = c.n.copy(), c.cell_n.copy()
    n[:, 3], cell[3] = [1, 1], [1, 1, 0, 0, 0, 0, 0, 0]
    few = replace(c, n=n, cell_n=cell)
    fit = fit_axis(few, **EASY)
    assert [(d.role, d.n) for d in fit.dropped] == [("role-3", 2)]
    assert "role-3" not in fit.roles
    assert len(fit.roles) == len(fit.role_means) == len(fit.role_n) == 23
    np.testing.assert_allclose(fit.axis, fit.default_mean - np.delete(s.x, 3, axis=0).mean(axis=(0, 1)), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"min_count": 9}, "0 of 24 roles in 0 families"),
        ({"min_roles": 25}, "24 of 24 roles in 4 families"),
        ({"min_families": 5}, "24 of 24 roles in 4 families"),
    ],
)
def test_too_few_roles_or_families_are_refused(options, found):
    with pytest.raises(TooFewRoles) as refused:
        fit_axis(stored().sums.collected(), **{**EASY, **options})
    assert refused.value.found.startswith(found)
    assert "min_count" in refused.value.hint


def test_the_defaults_ask_for_ten_responses_of_twenty_roles_in_three_families():
    fit_axis(stored(r=20, q=10).sums.collected(), seed=0)
    for r, q in ((19, 10), (20, 9)):
        with pytest.raises(TooFewRoles):
            fit_axis(stored(r=r, q=q).sums.collected(), seed=0)
    two = stored(r=20, q=10).sums.collected()
    with pytest.raises(TooFewRoles, match="2 families"):
        fit_axis(replace(two, families=(1, 2) * 10), seed=0)


def test_no_difference_is_no_axis():
    c = stored().sums.collected()
    same = role_means(c)[:].mean(axis=0)
    sums = c.default_sums.copy()
    sums[:, 1] = c.default_n[:, None] * same[1]
    with pytest.raises(NoAxis) as refused:
        fit_axis(replace(c, default_sums=sums), **EASY)
    assert refused.value.layers == (1,)
    nudged = sums.copy()
    nudged[:, 1, 0] += 4 * 1.5e-6 * c.default_norm[1]
    assert fit_axis(replace(c, default_sums=nudged), **EASY).length[1] == pytest.approx(1.5e-6 * c.default_norm[1])
    with pytest.raises(NoAxis):
        fit_axis(replace(c, default_n=np.zeros(2, dtype=np.int64), default_sums=0 * sums), **EASY)


def test_equal_roles_have_no_components_and_the_layer_is_named():
    c = stored().sums.collected()
    sums = c.sums.copy()
    sums[:, :, 2] = sums[:, :1, 2]
    with pytest.raises(ZeroVarianceError, match="layer 2"):
        fit_axis(replace(c, sums=sums), **EASY)


# --- components ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("include_default", [False, True])
@pytest.mark.parametrize("r", [24, 12])  # more rows than columns, and fewer
def test_components_are_those_of_scikit_learn(r, include_default):
    s = stored(r=r)
    fit = fit_axis(s.sums.collected(), include_default=include_default, **EASY)
    for layer in range(3):
        rows = fit.role_means[:, layer]
        rows = np.vstack([rows, fit.default_mean[layer]]) if include_default else rows
        oracle = PCA(svd_solver="full").fit(rows)
        k = fit.components.shape[1]
        alike = np.abs((fit.components[layer] * oracle.components_[:k]).sum(axis=1))
        np.testing.assert_allclose(alike, 1, atol=1e-6)
        np.testing.assert_allclose(fit.explained[layer], oracle.explained_variance_ratio_[:k], atol=1e-6)
        reached = np.cumsum(oracle.explained_variance_ratio_)
        assert fit.dims70[layer] == np.searchsorted(reached, 0.7) + 1
        assert (fit.components[layer] @ fit.axis[layer] >= 0).all()
        assert fit.pc1_cosine[layer] == pytest.approx(abs(cosine(fit.axis[layer], oracle.components_[0])), abs=1e-6)


def test_with_the_default_among_the_rows_the_first_component_leans_to_the_axis():
    s = stored(r=24, d=16)
    c = s.sums.collected()
    far = replace(c, default_sums=c.default_sums + 20 * c.default_n[:, None, None])
    assert (fit_axis(far, include_default=True, **EASY).pc1_cosine > 0.95).all()
    assert (fit_axis(far, **EASY).pc1_cosine < 0.7).all()


def test_the_edge_is_the_share_of_roles_beyond_the_default():
    roles = np.column_stack([np.arange(10.0), np.zeros(10)])
    assert components(roles, np.array([6.5, 0.0])).edge == 0.3  # 7, 8, 9
    assert components(roles, np.array([2.5, 0.0])).edge == 0.3  # 0, 1, 2: PC1 turns to the default's side
    assert components(roles, np.array([12.0, 0.0])).edge == 0


def test_components_for_seventy_percent():
    steps = np.sqrt([4.0, 3.0, 2.0, 1.0])  # shares .4 .3 .2 .1
    rows = np.vstack([np.diag(steps), -np.diag(steps)])
    assert components(rows, np.ones(4)).dims70 == 2
    assert components(rows[:, :1], np.ones(1)).dims70 == 1


# --- controls -----------------------------------------------------------------------------------------------------


def test_control_arms_lie_where_they_were_put():
    s = stored(noise=0.0)
    fit = fit_axis(s.sums.collected(), **EASY)
    c = s.sums.collected()
    neutral = s.default.mean(axis=0) - 0.2 * (fit.axis - (fit.axis - _towards(s)))
    np.testing.assert_allclose(
        fit.control_z["neutral"],
        ((neutral - s.x.mean(axis=(0, 1))) * fit.axis).sum(axis=1) / fit.length**2,
        atol=1e-9,
    )
    alternative = c.controls["neutral"].total / c.controls["neutral"].n - role_means(c).mean(axis=0)
    np.testing.assert_allclose(fit.alternatives["neutral"], cosine(fit.axis, alternative), atol=1e-9)
    np.testing.assert_allclose(fit.alternatives["unfiltered"], 1, atol=1e-9)  # here nothing was filtered
    assert "unfiltered" not in fit.control_z
    assert (fit.alternatives["placebo"] < 0.999).all()


def _towards(s) -> np.ndarray:
    """What ``stored`` takes from the default for its neutral arm, times 5."""
    c = s.sums.collected()
    return (s.default.mean(axis=0) - c.controls["neutral"].total / 8) / 0.2


def test_the_unfiltered_axis_is_default_minus_all_responses():
    c = stored().sums.collected()
    other = np.random.default_rng(1).normal(size=(3, 16))
    fit = fit_axis(replace(c, controls={"unfiltered": Control(2, 2 * other)}), **EASY)
    np.testing.assert_allclose(fit.alternatives["unfiltered"], cosine(fit.axis, default_mean(c) - other), atol=1e-12)


# --- sign and scale -----------------------------------------------------------------------------------------------


def test_an_axis_turned_round_is_refused_on_other_data_and_a_right_one_is_not():
    fit = fit_axis(stored(method="fixed_text").sums.collected(), **EASY)
    generated = stored(noise=2.0).sums.collected()  # the same people, other noise
    check_sign(z_scale(generated, fit.unit))
    with pytest.raises(SignError) as refused:
        check_sign(z_scale(generated, -fit.unit))
    assert refused.value.layers == (0, 1, 2)
    assert "layer 0, 1, 2" in str(refused.value)
    turned = fit.unit * np.array([1, -1, 1])[:, None]
    with pytest.raises(SignError) as refused:
        check_sign(z_scale(generated, turned))
    assert refused.value.layers == (1,)
    check_sign(z_scale(generated, turned), layers=[0, 2])
    with pytest.raises(SignError):
        check_sign(ZScale(np.array([np.nan]), np.array([0.0]), "generated"))


def test_z_is_read_on_generated_responses_only():
    s = stored(method="fixed_text")
    fit = fit_axis(s.sums.collected(), **EASY)
    with pytest.raises(MixedMethods):
        z_scale(s.sums.collected(), fit.unit)
    own = z_scale(s.sums.collected(), fit.unit, method="fixed_text")
    np.testing.assert_allclose(own.gap, fit.length, rtol=1e-9)
    with pytest.raises(GaugeError, match="another model"):
        z_scale(stored().sums.collected(), fit.unit[:2])
    flat = ZScale(np.array([1.0, 2.0]), np.array([1.0, 0.0]), "generated")
    assert np.isnan(flat.z([[1.0, 1.0]])[0, 0])
    assert flat.z([[1.0, 1.0]])[0, 1] == 0.5


def test_separation_is_the_area_under_the_roc_curve():
    rng = np.random.default_rng(3)
    d, r = rng.normal(0.7, 1, size=(40, 3)).round(1), rng.normal(size=(70, 3)).round(1)  # rounded: with ties
    truth = np.repeat([1, 0], [40, 70])
    oracle = [roc_auc_score(truth, np.concatenate([d[:, k], r[:, k]])) for k in range(3)]
    np.testing.assert_allclose(separation(d, r), oracle, atol=1e-12)
    gaps = d.copy()
    gaps[:7, 1] = np.nan
    oracle[1] = roc_auc_score(truth[7:], np.concatenate([d[7:, 1], r[:, 1]]))
    np.testing.assert_allclose(separation(gaps, r), oracle, atol=1e-12)
    with pytest.raises(TooFewSamplesError):
        separation(np.full((2, 3), np.nan), r)


# --- contrast -----------------------------------------------------------------------------------------------------


def test_a_contrast_of_default_and_roles_is_the_axis():
    s = stored()
    fit = fit_axis(s.sums.collected(), **EASY)
    found = fit_contrast(s.default, s.x.reshape(-1, 3, 16))  # equal counts, so responses weigh as roles do
    np.testing.assert_allclose(found.axis, fit.axis, atol=1e-10)
    np.testing.assert_allclose(found.unit, fit.unit, atol=1e-10)
    assert (found.n_a, found.n_b, found.left_out) == (8, 192, 0)


def test_a_contrast_keeps_pairs_whole():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 2, 4)) + 1, rng.normal(size=(6, 2, 4))
    keep = kept_pairs([50, 49, 90, np.nan, 90, 90], [0, 0, 50, 0, np.nan, 49.9])
    assert keep.tolist() == [True, False, False, False, False, True]
    found = fit_contrast(a, b, keep=keep)
    np.testing.assert_allclose(found.axis, (a - b)[keep].mean(axis=0), atol=1e-12)
    assert (found.n_a, found.left_out) == (2, 8)
    np.testing.assert_allclose(found.split_half, cosine(a[0] - b[0], a[5] - b[5]), atol=1e-12)
    with pytest.raises(TooFewSamplesError):
        fit_contrast(a, b, keep=np.zeros(6, dtype=bool))
    with pytest.raises(GaugeError, match="name pairs"):
        fit_contrast(a, b[:5], keep=keep)
    with pytest.raises(NotFiniteError):
        fit_contrast(np.where(a > 1, np.nan, a), b)
    with pytest.raises(NoAxis):
        fit_contrast(a, a)


@pytest.mark.parametrize(
    "module",
    ["accumulate", "collected", "components", "contrast", "errors", "fit", "noise", "nulls", "scale", "stability"],
)
def test_examples_run(module):
    assert doctest.testmod(importlib.import_module(f"multitudes.axis.{module}")).failed == 0
