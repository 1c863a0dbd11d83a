"""Shares and reliabilities against their definitions, Cronbach's alpha, replications and hand-worked numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from test_facets import CROSSED_TRUTH, NESTED, NESTED_TRUTH, PIV, design, grid, planted

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import TooFewItemsError, TooFewPersonasError, ZeroVarianceError
from multitudes.measure.variance.anova import one_way
from multitudes.measure.variance.coefficients import (
    icc_by_item,
    icc_within,
    levels_needed,
    noise_to_signal,
    omega_squared,
    reliability,
    trait_share,
    wording_robust_icc,
)
from multitudes.measure.variance.components import collect, spreads
from multitudes.measure.variance.facet_intervals import facet_interval
from multitudes.measure.variance.facets import collect_facets, components_of, facet_components
from multitudes.measure.variance.power import runs_for_reliability


def known(truth, nested):
    """Components that are what was planted."""
    labels, when = design(4, 4, 2, 2)
    found = facet_components(np.random.default_rng(0).normal(size=len(when)), labels, nested=nested)
    sigma2 = {tuple(f for f in PIV if f[0] in key): value for key, value in truth.items() if key}
    assert sigma2.keys() == found.sigma2.keys()
    return replace(found, sigma2=sigma2, run=truth[""], full_and_run=truth[""] + sigma2[PIV])


# --- shares within an item ----------------------------------------------------------------------------------


def test_shares_of_known_components():
    nested, crossed = known(NESTED_TRUTH, NESTED), known(CROSSED_TRUTH, {})
    for found in (nested, crossed):
        assert icc_within(found) == pytest.approx(0.35 / 0.75)
        assert noise_to_signal(found) == pytest.approx(0.4 / 0.35)
        assert trait_share(found) == pytest.approx(0.2 / 0.75)
    assert wording_robust_icc(nested) == pytest.approx(0.35 / (0.75 + 0.1))  # + piv
    assert wording_robust_icc(crossed) == pytest.approx(0.35 / (0.75 + 0.2))  # + piv + pv
    silent = replace(nested, sigma2={k: 0.0 for k in nested.sigma2})
    assert noise_to_signal(silent) == math.inf
    assert icc_within(silent) == 0
    assert math.isnan(icc_within(replace(silent, run=0.0)))


@pytest.mark.parametrize(("truth", "nested", "expected"), [(NESTED_TRUTH, NESTED, 0.412), (CROSSED_TRUTH, {}, 0.368)])
def test_wording_robust_icc_finds_what_was_planted_and_needs_no_second_run(truth, nested, expected):
    rng = np.random.default_rng(1)
    labels, when = design(40, 12, 3, 2)
    y = planted(rng, labels, truth, 60)  # 60 data sets, pooled as vectors
    found = facet_components(y, labels, nested=nested)
    assert wording_robust_icc(found) == pytest.approx(expected, abs=0.015)
    assert wording_robust_icc(found) < icc_within(found) == pytest.approx(0.35 / 0.75, abs=0.015)
    # The denominator is the spread of two personas given the same item in the same words.
    signal = found.variance("persona") + found.variance("persona", "item")
    assert wording_robust_icc(found) == pytest.approx(signal / found.spread["item", "wording"], abs=1e-12)
    once = facet_components(y[when == 0], {k: v[when == 0] for k, v in labels.items()}, nested=nested)
    assert math.isnan(icc_within(once))
    assert wording_robust_icc(once) == pytest.approx(expected, abs=0.015)


def test_without_wordings_shares_are_those_of_the_closed_form():
    rng = np.random.default_rng(2)
    p, i = rng.integers(0, 9, 200), rng.integers(0, 6, 200)
    y = rng.normal(size=200) + rng.normal(size=9)[p]
    found, g = facet_components(y, {"persona": p, "item": i}), spreads(collect(y, p, i))
    assert icc_within(found) == pytest.approx(g.icc_within, abs=1e-12)
    assert wording_robust_icc(found) == pytest.approx(g.icc_within, abs=1e-12)
    assert trait_share(found) == pytest.approx(g.tau, abs=1e-12)


def test_a_negative_share_is_shown_as_it_is():
    labels, _ = design(4, 4, 1, 2)
    y = np.random.default_rng(0).normal(size=4)[labels["item"]] + np.tile(
        [-1.0, 1.0], 16
    )  # runs differ, people do not
    del labels["wording"]
    assert icc_within(facet_components(y, labels)) < 0


def test_coefficients_have_two_way_intervals():
    rng = np.random.default_rng(3)
    labels, _ = design(25, 12, 2, 2)
    cells = collect_facets(planted(rng, labels, NESTED_TRUTH), labels, nested=NESTED)
    e = facet_interval(cells, wording_robust_icc)
    assert e.low < e.value == wording_robust_icc(components_of(cells)) < e.high
    n = {"item": 12, "wording": 2}
    phi = facet_interval(cells, lambda c: reliability(c, n, runs=2).absolute)
    assert 0 <= phi.low < phi.value < phi.high


# --- reliability --------------------------------------------------------------------------------------------


def test_one_run_of_every_item_gives_cronbachs_alpha():
    rng = np.random.default_rng(4)
    p, i = grid(15, 8)
    y = rng.normal(size=(15, 8)) + rng.normal(size=(15, 1)) + rng.normal(size=8)
    alpha = 8 / 7 * (1 - y.var(axis=0, ddof=1).sum() / y.sum(axis=1).var(ddof=1))
    found = facet_components(y.ravel(), {"persona": p, "item": i})
    assert reliability(found, {"item": 8}).relative == pytest.approx(alpha, abs=1e-12)
    assert math.isnan(reliability(found, {"item": 8}, runs=2).relative)  # one run tells nothing of two


def test_reliability_of_known_components():
    n = {"item": 5, "wording": 2}
    r = reliability(known(NESTED_TRUTH, NESTED), n, runs=3)
    relative = 0.15 / 5 + 0.1 / 10 + 0.4 / 30
    assert r.relative == pytest.approx(0.2 / (0.2 + relative))
    assert r.absolute == pytest.approx(0.2 / (0.2 + relative + 0.3 / 5 + 0.1 / 10))
    r = reliability(known(CROSSED_TRUTH, {}), n, runs=3)
    relative = 0.15 / 5 + 0.1 / 2 + 0.1 / 10 + 0.4 / 30
    assert r.relative == pytest.approx(0.2 / (0.2 + relative))
    assert r.absolute == pytest.approx(0.2 / (0.2 + relative + 0.3 / 5 + 0.1 / 2 + 0.1 / 10))
    assert r.clipped == ()


def test_relative_reliability_is_the_correlation_of_two_new_questionnaires():
    rng = np.random.default_rng(5)
    people, n = 4000, {"item": 4, "wording": 2}
    trait = rng.normal(size=people)[:, None] * 0.2**0.5

    def questionnaire():
        parts = [(0.3, (1, 4, 1, 1)), (0.1, (1, 4, 2, 1)), (0.15, (people, 4, 1, 1)), (0.1, (people, 4, 2, 1))]
        y = sum(v**0.5 * rng.normal(size=s) for v, s in [*parts, (0.4, (people, 4, 2, 2))])
        return trait[:, 0] + y.mean(axis=(1, 2, 3))

    found = np.corrcoef(questionnaire(), questionnaire())[0, 1]
    assert reliability(known(NESTED_TRUTH, NESTED), n, runs=2).relative == pytest.approx(found, abs=0.03)


def test_negative_parts_count_as_nothing_and_are_named():
    found = known(NESTED_TRUTH | {"pi": -0.1}, NESTED)
    r = reliability(found, {"item": 1, "wording": 1})
    assert r.clipped == (("persona", "item"),)
    assert r.relative == pytest.approx(0.2 / (0.2 + 0.1 + 0.4))
    r = reliability(known(NESTED_TRUTH | {"p": -0.1}, NESTED), {"item": 1, "wording": 1})
    assert (r.relative, r.absolute) == (0, 0)


@pytest.mark.parametrize("what", ["item", "wording", "run"])
@pytest.mark.parametrize(("truth", "nested"), [(NESTED_TRUTH, NESTED), (CROSSED_TRUTH, {})])
def test_levels_needed_are_just_enough(what, truth, nested):
    found, n, wanted = known(truth, nested), {"item": 12, "wording": 2}, 0.9 if nested else 0.74

    def at(k):
        levels = n if what == "run" else {**n, what: k}
        return reliability(found, levels, runs=k if what == "run" else 2).relative

    k = levels_needed(found, what, n, runs=2, wanted=wanted)
    assert k is not None
    assert k > 1
    assert at(k) >= wanted > at(k - 1)
    assert levels_needed(found, what, n, runs=2, wanted=0.01) == 1


def test_what_no_number_of_levels_can_reach():
    found = known(CROSSED_TRUTH, {})
    assert levels_needed(found, "item", {"item": 1, "wording": 1}, wanted=0.8) is None  # pv stays: at most .67
    assert levels_needed(known(CROSSED_TRUTH | {"p": -0.1}, {}), "item", {"item": 1, "wording": 1}) is None


def test_without_interaction_runs_are_those_of_spearman_and_brown():
    labels, when = design(4, 4, 1, 2)
    del labels["wording"]
    found = facet_components(np.random.default_rng(0).normal(size=len(when)), labels)
    found = replace(found, sigma2={("persona",): 0.3, ("item",): 1.0, ("persona", "item"): 0.0}, run=0.7)
    assert levels_needed(found, "run", {"item": 1}) == runs_for_reliability(0.3) == 10
    exact = replace(found, sigma2=found.sigma2 | {("persona",): 0.1}, run=0.9)
    assert levels_needed(exact, "run", {"item": 1}) == 36  # no rounding up of 36.000000000000007
    alone = replace(found, run=math.nan, full_and_run=0.7)
    assert levels_needed(alone, "item", {"item": 1}) == 10
    with pytest.raises(GaugeError, match="cannot be told"):
        levels_needed(alone, "run", {"item": 1})


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda c: reliability(c, {"item": 2}), "every facet"),
        (lambda c: reliability(c, {"item": 2, "wording": 2, "persona": 3}), "every facet"),
        (lambda c: reliability(c, {"item": 2, "wording": 0}), "fewer than one"),
        (lambda c: reliability(c, {"item": 2, "wording": 2}, runs=0), "fewer than one"),
        (lambda c: reliability(c, {"item": 2, "persona": 2}, persona="wording"), "not nested"),
        (lambda c: levels_needed(c, "item", {"wording": 2}, wanted=1.0), "between 0 and 1"),
        (lambda c: levels_needed(c, "persona", {"item": 2, "wording": 2}), "unknown facet"),
        (lambda c: icc_within(c, item="question"), "unknown facet"),
    ],
)
def test_questions_that_make_no_sense_are_refused(call, match):
    with pytest.raises(GaugeError, match=match):
        call(known(NESTED_TRUTH, NESTED))


# --- fixed factor -------------------------------------------------------------------------------------------


def test_omega_squared_of_a_hand_worked_example():
    """Groups (1, 2), (4, 6), (5, 9): means 1.5, 5, 7 around 4.5, so SS_A = 31, SS_W = 10.5, MS_W = 3.5."""
    y, group = [1.0, 2.0, 4.0, 6.0, 5.0, 9.0], list("aabbcc")
    expected = (31 - 2 * 3.5) / (31 + 10.5 + 3.5)
    assert omega_squared(y, group) == pytest.approx(expected, abs=1e-12)
    assert omega_squared(np.stack([y, y], axis=1), group) == pytest.approx(expected, abs=1e-12)


def test_without_effect_omega_squared_is_0_and_eta_squared_is_not():
    rng = np.random.default_rng(6)
    group = np.repeat(np.arange(20), 3)
    found = np.array([omega_squared(rng.normal(size=60), group) for _ in range(2000)])
    assert abs(found.mean()) < 3 * found.std() / 2000**0.5
    y = rng.normal(size=(2000, 20, 3))
    eta = (
        3
        * ((y.mean(2) - y.mean((1, 2))[:, None]) ** 2).sum(1)
        / ((y - y.mean((1, 2), keepdims=True)) ** 2).sum((1, 2))
    )
    assert eta.mean() == pytest.approx(19 / 59, abs=3 * eta.std() / 2000**0.5)


# --- single items -------------------------------------------------------------------------------------------


def test_each_item_has_the_icc_of_its_one_way_design():
    rng = np.random.default_rng(7)
    p, i, _ = grid(12, 9, 3)
    y = rng.normal(size=324) + (rng.normal(size=(12, 9)) * np.linspace(0, 2, 9))[p, i] + 50 * i
    found = icc_by_item(collect(y, p, i))
    alone = [one_way(y[i == j], p[i == j]) for j in range(9)]
    assert found.icc == pytest.approx([a.icc for a in alone], abs=1e-9)
    run = np.array([a.ms_within for a in alone])
    between = run + (np.array([a.ms_between for a in alone]) - run) / 3
    assert found.pooled == pytest.approx(1 - run.sum() / between.sum(), abs=1e-9)
    assert found.pooled == pytest.approx(spreads(collect(y, p, i)).icc_within, abs=1e-9)  # equal numbers of pairs
    assert (found.low, found.median, found.high) == pytest.approx(np.quantile(found.icc, [0.1, 0.5, 0.9]))
    assert found.at_most_half == np.mean(found.icc <= 0.5)
    assert 0 < found.at_most_half < 1
    assert (found.items, found.no_variance, found.no_repeats) == (9, 0, 0)


def test_items_without_variance_or_repeats_are_counted():
    rng = np.random.default_rng(8)
    p, i, r = grid(8, 6, 2)
    y = rng.normal(size=96) + rng.normal(size=(8, 6))[p, i]
    whole = icc_by_item(collect(y, p, i))
    y[i == 1] = 1 / 3
    keep = (i != 4) | (r == 0)
    found = icc_by_item(collect(y[keep], p[keep], i[keep]))
    assert (found.items, found.no_variance, found.no_repeats) == (4, 1, 1)
    assert list(np.isnan(found.icc)) == [False, True, False, False, True, False]
    assert found.icc[[0, 2, 3, 5]] == pytest.approx(whole.icc[[0, 2, 3, 5]], abs=1e-12)
    assert math.isfinite(found.pooled)
    g = [one_way(y[i == j], p[i == j]) for j in (0, 2, 3, 5)]
    run = np.array([a.ms_within for a in g])
    assert found.pooled == pytest.approx(
        1 - run.sum() / (run + (np.array([a.ms_between for a in g]) - run) / 2).sum(), abs=1e-9
    )


def test_exact_form_by_item():
    rng = np.random.default_rng(9)
    p, i = grid(7, 4)
    probs = rng.dirichlet(np.ones(3), size=28)
    noise = 1 - (probs**2).sum(1)
    found = icc_by_item(collect(probs, p, i, run_variance=noise))
    for j in range(4):
        q = probs[i == j]
        between = np.mean([1 - q[a] @ q[b] for a in range(7) for b in range(7) if a != b])
        assert found.icc[j] == pytest.approx(1 - noise[i == j].mean() / between, abs=1e-12)


def test_designs_without_an_item_to_show_are_refused():
    p, i, _ = grid(4, 3, 2)
    with pytest.raises(ZeroVarianceError):
        icc_by_item(collect(i / 3, p, i))
    with pytest.raises(TooFewItemsError):
        icc_by_item(collect(np.arange(12.0), *grid(4, 3)))
    with pytest.raises(ZeroVarianceError):
        omega_squared(np.full(6, 0.1), [0, 0, 1, 1, 2, 2])
    with pytest.raises(TooFewPersonasError):
        omega_squared(np.arange(6.0), np.zeros(6))
