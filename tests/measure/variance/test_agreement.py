"""α against its definition, a textbook table and the reference package; intervals and equivalence by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError
from multitudes.measure.variance.agreement import (
    _alpha,
    agreement,
    agreement_of_counts,
    count_values,
    equivalent_agreement,
)

METRICS = ("nominal", "ordinal", "interval")
_ = np.nan
# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": 4 observers, 12 units.
TEXTBOOK = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
).T


def by_definition(ratings, metric):
    """1 - D_o/D_e over all pairs of pairable values, one by one."""
    units = [[x for x in row if not np.isnan(x)] for row in ratings]
    units = [u for u in units if len(u) >= 2]
    everything = [x for u in units for x in u]
    n = len(everything)
    times = {v: everything.count(v) for v in set(everything)}

    def delta(a, b):
        if metric == "nominal":
            return float(a != b)
        if metric == "interval":
            return (a - b) ** 2
        low, high = min(a, b), max(a, b)
        return (sum(t for v, t in times.items() if low <= v <= high) - (times[a] + times[b]) / 2) ** 2

    observed = sum(
        delta(a, b) / (len(u) - 1) for u in units for i, a in enumerate(u) for j, b in enumerate(u) if i != j
    )
    expected = sum(delta(a, b) for i, a in enumerate(everything) for j, b in enumerate(everything) if i != j)
    return 1 - (n - 1) * observed / expected


def panel(rng, units=30, coders=6, missing=0.4, scale=1.0, shift=0.0):
    x = scale * (rng.integers(0, 3, (units, 1)) + rng.integers(0, 3, (units, coders))) + shift
    return np.where(rng.random(x.shape) < missing, np.nan, x)


@pytest.mark.parametrize(("metric", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_textbook_table(metric, value):
    found = agreement(TEXTBOOK, metric)
    assert found.value == pytest.approx(value, abs=5e-4)
    assert (found.n, found.unscored) == (11, 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(METRICS))
def test_closed_form_equals_the_definition(seed, metric):
    rng = np.random.default_rng(seed)
    ratings = panel(rng, units=9, coders=4)
    if len(np.unique(ratings[(~np.isnan(ratings)).sum(axis=1) >= 2])) < 3:
        return
    assert agreement(ratings, metric).value == pytest.approx(by_definition(ratings, metric), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (7.5, -3.0), (0.25, 1e6)])
def test_closed_form_equals_the_reference_with_two_fifths_missing(metric, scale, shift):
    krippendorff = pytest.importorskip("krippendorff")
    rng = np.random.default_rng(1)
    tolerance = 1e-12 if shift < 1e3 else 1e-9  # the reference squares the large numbers themselves
    for _repeat in range(10):
        ratings = panel(rng, scale=scale, shift=shift)
        expected = krippendorff.alpha(ratings.T, level_of_measurement=metric)
        assert agreement(ratings, metric, draws=5).value == pytest.approx(expected, abs=tolerance)


def test_counts_and_ratings_agree_and_empty_categories_change_nothing():
    ratings = panel(np.random.default_rng(2))
    counts, values = count_values(ratings)
    assert counts.sum() == (~np.isnan(ratings)).sum()
    wide = np.insert(counts, 2, 0.0, axis=1)
    for metric in METRICS:
        whole = agreement(ratings, metric)
        assert agreement_of_counts(counts, metric, values=values) == whole
        again = agreement_of_counts(wide, metric, values=np.insert(values, 2, (values[1] + values[2]) / 2))
        assert again.value == pytest.approx(whole.value, abs=1e-12)


def test_resampled_units_equal_a_written_out_resample():
    """Mid-ranks too must be those of the resample, not of the original."""
    rng = np.random.default_rng(3)
    counts, values = count_values(panel(rng, units=12, missing=0.2))
    weights = rng.multinomial(12, np.full(12, 1 / 12)).astype(float)
    copies = np.repeat(counts, weights.astype(int), axis=0)
    for metric in METRICS:
        expected = agreement_of_counts(copies, metric, values=values).value
        assert _alpha(weights[None], counts, metric, values)[0] == pytest.approx(expected, abs=1e-12)


def test_intervals_cover():
    """200 panels of 40 units x 5 coders, each metric; long-run .93 to .95."""
    rng = np.random.default_rng(4)

    def draw(units):
        hard = rng.dirichlet([0.5, 0.5, 0.5], size=units)
        return np.stack([rng.multinomial(5, p) for p in hard]).astype(float)

    big = draw(40_000)
    for metric in ("nominal", "ordinal"):
        truth = agreement_of_counts(big, metric, draws=2).value
        hits = [truth >= a.low and truth <= a.high for a in (agreement_of_counts(draw(40), metric, draws=400, seed=s)
                                                            for s in range(200))]  # fmt: skip
        assert 0.90 <= np.mean(hits) <= 0.99


def test_where_there_is_no_agreement_to_speak_of():
    same = agreement(np.full((10, 3), 4.0), "interval")
    assert same.value is None
    assert "all values are equal" in same.note
    alone = agreement(np.column_stack([np.arange(10.0), np.full(10, np.nan)]), "nominal")
    assert (alone.value, alone.n, alone.unscored) == (None, 0, 10)
    assert "two values" in alone.note
    few = agreement(TEXTBOOK[:5], "nominal")
    assert few.value is not None
    assert few.low is None
    assert "few clusters" in few.note
    assert agreement(np.column_stack([np.zeros(10), np.ones(10)]), "nominal").value < 0


def test_equivalence_finds_equal_panels_and_not_different_ones():
    rng = np.random.default_rng(5)
    easy = rng.dirichlet([0.4] * 3, size=300)
    one, other = (np.stack([rng.multinomial(8, p) for p in easy]).astype(float) for _side in range(2))
    noisy = np.stack([rng.multinomial(8, 0.6 * p + 0.4 / 3) for p in easy]).astype(float)
    equal = equivalent_agreement(one, other, "nominal", margin=0.1)
    assert equal.equivalent
    assert -0.1 < equal.low < equal.difference < equal.high < 0.1
    apart = equivalent_agreement(one, noisy, "nominal", margin=0.1)
    assert apart.equivalent is False
    assert apart.p > 0.5
    tight = equivalent_agreement(one, other, "nominal", margin=0.001)
    assert not tight.equivalent
    same = equivalent_agreement(one, one, "ordinal", margin=0.05)
    assert (same.difference, same.equivalent) == (0.0, True)
    assert equivalent_agreement(one, np.eye(3)[np.zeros(300, int)] * 8, "nominal", margin=0.1).equivalent is None
    assert equivalent_agreement(one[:5], other[:5], "nominal", margin=0.1).equivalent is None


def test_equivalence_is_found_at_the_margin_in_one_study_of_twenty():
    """True difference exactly at the margin: two one-sided tests at .05 must not pass more often than that."""
    rng = np.random.default_rng(6)

    def draw(units, mix):
        hard = rng.dirichlet([0.4] * 3, size=units)
        return [np.stack([rng.multinomial(6, (1 - m) * p + m / 3) for p in hard]).astype(float) for m in (0.0, mix)]

    a, b = draw(30_000, 0.15)
    margin = agreement_of_counts(a, "nominal", draws=2).value - agreement_of_counts(b, "nominal", draws=2).value
    passed = [
        equivalent_agreement(*draw(60, 0.15), "nominal", margin=margin, draws=200).equivalent for _s in range(200)
    ]
    assert np.mean(passed) <= 0.09  # .05 + 2.6 SE


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: agreement([[1.0, np.inf]], "nominal"), "finite"),
        (lambda: agreement([[np.nan, np.nan]], "nominal"), "finite"),
        (lambda: agreement([1.0, 2.0], "nominal"), "wrong shape"),
        (lambda: agreement_of_counts([[1.5, 2.0]], "nominal"), "no counts"),
        (lambda: agreement_of_counts([[-1, 2]], "nominal"), "no counts"),
        (lambda: agreement_of_counts([[1, np.nan]], "nominal"), "not finite"),
        (lambda: agreement_of_counts([[1, 2]], "interval", values=[1, 2, 3]), "differ in number"),
        (lambda: agreement_of_counts([[1, 2]], "interval", values=[2, 1]), "ascend"),
        (lambda: equivalent_agreement([[1, 2]], [[1, 2], [2, 1]], "nominal", margin=0.1), "differ in shape"),
        (lambda: equivalent_agreement([[1, 2]], [[1, 2]], "nominal", margin=0.0), "margin"),
    ],
)
def test_bad_tables_are_refused(call, match):
    with pytest.raises(GaugeError, match=match):
        call()


def test_infinite_ratings_are_told_apart():
    with pytest.raises(NotFiniteError):
        agreement([[1.0, np.inf]], "nominal")
