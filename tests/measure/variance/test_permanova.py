"""F against scikit-bio, permutations against full enumeration, and false alarms of every test against nominal."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError, NotUnitError, TooFewPersonasError, ZeroVectorError
from multitudes.measure.variance.components import collect, spreads
from multitudes.measure.variance.permanova import (
    Units,
    orders_within,
    permanova,
    permutation_p,
    permuted_sums_of_squares,
)


def simulate(rng, personas, items, runs, *, d=6, trait=0.0, interaction=0.0, spread=None, item=2.0):
    """Unit vectors around a direction per item, moved by persona, by persona and item, and by run."""
    wide = np.ones(personas) if spread is None else np.asarray(spread)
    x = (
        item * rng.normal(size=(1, items, 1, d))
        + trait * rng.normal(size=(personas, 1, 1, d))
        + interaction * rng.normal(size=(personas, items, 1, d))
        + wide[:, None, None, None] * rng.normal(size=(personas, items, runs, d))
    )
    who, what, _ = (a.ravel() for a in np.indices((personas, items, runs)))
    return unit(x.reshape(-1, d)), who, what


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def small():
    """Two items, two personas, two runs: 4 answers an item, 24 x 24 permutations."""
    return simulate(np.random.default_rng(0), 2, 2, 2, d=3, trait=1.0)


def centred(x, item):
    return x - np.stack([x[item == i].mean(0) for i in item])


# --- the statistics -----------------------------------------------------------------------------------------


def test_one_stratum_equals_scikit_bio():
    skbio = pytest.importorskip("skbio")
    from scipy.spatial.distance import pdist, squareform

    x, p, i = simulate(np.random.default_rng(1), 7, 1, 5, trait=0.5)
    x, p, i = x[:-3], p[:-3], i[:-3]
    distances = skbio.DistanceMatrix(squareform(pdist(x)), [str(k) for k in range(len(x))])
    theirs = skbio.stats.distance.permanova(distances, [str(k) for k in p], permutations=0)
    assert permanova(x, p, i, draws=1).f == pytest.approx(theirs["test statistic"], rel=1e-12)


def golden():
    angle = np.array([0.1, 0.3, 0.2, 0.9, 1.1, 1.4, 2.0, 1.7, 2.6])
    return np.stack([np.cos(angle), np.sin(angle)], axis=1), np.repeat([0, 1, 2], 3), np.zeros(9)


def test_one_stratum_keeps_a_golden_number():
    """Computed once with scikit-bio 0.7.4: ``permanova`` of Euclidean distances."""
    assert permanova(*golden(), draws=1).f == pytest.approx(22.257458090326832, rel=1e-12)


def test_sums_of_squares_by_the_definition_with_unequal_and_missing_cells():
    rng = np.random.default_rng(2)
    x, p, i = simulate(rng, 6, 5, 4, trait=0.4, interaction=0.3)
    keep = rng.random(len(x)) < 0.6
    x, p, i = x[keep], p[keep], i[keep]
    z, total, between, cells = centred(x, i), 0.0, 0.0, 0
    total = (z**2).sum()
    for a, b in {*zip(p, i, strict=True)}:
        cell = z[(p == a) & (i == b)]
        between += len(cell) * (cell.mean(0) ** 2).sum()
        cells += 1
    found = permanova(x, p, i, draws=1)
    f = (between / (cells - 5)) / ((total - between) / (len(x) - cells))
    assert (found.f, found.r2) == pytest.approx((f, between / total), rel=1e-12)
    assert (found.answers, found.cells, found.personas, found.items) == (len(x), cells, 6, 5)
    assert found.icc_within == pytest.approx(spreads(collect(x, p, i)).icc_within, abs=1e-12)


def test_share_without_signal_is_large_but_icc_and_f_are_not():
    x, p, i = simulate(np.random.default_rng(3), 40, 20, 2, d=8)
    found = permanova(x, p, i, draws=1)
    assert found.r2 == pytest.approx((800 - 20) / (1600 - 20), abs=0.02)
    assert found.icc_within == pytest.approx(0, abs=0.03)
    assert found.f == pytest.approx(1, abs=0.06)


# --- the permutations ---------------------------------------------------------------------------------------


def all_orders(stratum):
    members = [np.flatnonzero(stratum == s) for s in np.unique(stratum)]
    for parts in itertools.product(*(itertools.permutations(m) for m in members)):
        order = np.empty(len(stratum), dtype=int)
        for m, part in zip(members, parts, strict=True):
            order[m] = part
        yield order


def test_full_enumeration_of_two_items_with_four_answers():
    """576 relabellings: the same statistics as by the definition, and draws that visit all of them equally."""
    x, p, i = small()
    z, cell = centred(x, i), 2 * i + p
    orders = np.array(list(all_orders(i)))
    assert len(orders) == 576
    units = Units(z, np.ones(8), i, cell)
    found = permuted_sums_of_squares(units, orders)
    for order, value in zip(orders, found, strict=True):
        by_hand = sum(2 * (z[order[cell == c]].mean(0) ** 2).sum() for c in range(4))
        assert value == pytest.approx(by_hand, abs=1e-13)
    observed = found[(orders == np.arange(8)).all(1)][0]
    exact = (found >= observed - 1e-12).mean()
    drawn = permutation_p(units, draws=20_000, seed=1)
    assert drawn == pytest.approx(exact, abs=3 * (exact * (1 - exact) / 20_000) ** 0.5 + 1e-4)
    visited = orders_within(i, 20_000, np.random.default_rng(2))
    assert (i[visited] == i).all(), "nobody may leave the item"
    _, counts = np.unique(visited, axis=0, return_counts=True)
    assert len(counts) == 576
    chi2 = ((counts - 20_000 / 576) ** 2 / (20_000 / 576)).sum()
    assert abs(chi2 - 575) < 4 * (2 * 575) ** 0.5


def test_cells_move_whole_and_carry_their_size():
    """Trait test of 3 personas, 2 items, unequal runs: 36 arrangements of cells, by the definition."""
    rng = np.random.default_rng(9)
    p, i = np.array([0, 0, 0, 1, 2, 2, 0, 1, 1, 2]), np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    x = unit(rng.normal(size=(10, 3)))
    z = centred(x, i)
    total, n = (np.array([[f(z[(p == a) & (i == b)]) for a in range(3)] for b in range(2)], dtype=object)
                for f in (lambda c: c.sum(0), len))  # fmt: skip
    values = []
    for first, second in itertools.product(itertools.permutations(range(3)), repeat=2):
        sums = [total[0, first[a]] + total[1, second[a]] for a in range(3)]
        sizes = [n[0, first[a]] + n[1, second[a]] for a in range(3)]
        values.append(sum((s**2).sum() / m for s, m in zip(sums, sizes, strict=True)))
    exact = np.mean(np.array(values) >= values[0] - 1e-12)
    found = permanova(x, p, i, draws=20_000, seed=3)
    assert found.p_trait == pytest.approx(exact, abs=3 * (exact * (1 - exact) / 20_000) ** 0.5 + 1e-4)


def test_blocks_of_draws_are_as_good_as_one(monkeypatch):
    x, p, i = simulate(np.random.default_rng(5), 5, 4, 2, trait=0.3)
    units = Units(centred(x, i), np.ones(40), i, 5 * i + p)
    whole = permutation_p(units, draws=2000, seed=0)
    monkeypatch.setattr("multitudes.measure.variance.permanova._AT_ONCE", 1000)
    assert permutation_p(units, draws=2000, seed=0) == pytest.approx(whole, abs=0.05)


# --- false alarms and power ---------------------------------------------------------------------------------

STUDIES = 300
NOMINAL = 0.05 + 3 * (0.05 * 0.95 / STUDIES) ** 0.5


def rejections(rng, fields, studies=STUDIES, personas=6, items=5, runs=2, **keywords):
    p = [permanova(*simulate(rng, personas, items, runs, **keywords), draws=99, seed=s) for s in range(studies)]
    return [float(np.mean([getattr(found, f) <= 0.05 for found in p])) for f in fields]


def test_no_signal_is_rarely_called_one():
    rates = rejections(np.random.default_rng(6), ("p_signal", "p_trait", "p_spread"))
    assert max(rates) <= NOMINAL
    assert min(rates) > 0.01, "nor may a test never reject"


def test_interaction_is_signal_but_no_trait():
    """Personas who answer each item in their own way, with nothing stable: Test 1 must see it, Test 2 must not."""
    signal, trait, spread = rejections(np.random.default_rng(7), ("p_signal", "p_trait", "p_spread"), interaction=1.0)
    assert signal > 0.95
    assert trait <= NOMINAL
    assert spread <= NOMINAL


def test_shuffling_single_runs_would_call_interaction_a_trait():
    """The tempting variant: the trait statistic under Test 1's permutation. It must be told apart."""
    rng, wrong = np.random.default_rng(8), []
    for s in range(100):
        x, p, i = simulate(rng, 6, 5, 4, interaction=1.0)
        wrong.append(permutation_p(Units(centred(x, i), np.ones(len(x)), i, p), draws=99, seed=s) <= 0.05)
    assert np.mean(wrong) > 0.3


def test_shuffling_across_items_would_find_personas_that_answer_other_items():
    """Personas who were asked about different items differ, and not because of who they are."""
    rng, right, wrong = np.random.default_rng(9), [], []
    for s in range(100):
        x, p, i = simulate(rng, 8, 4, 4, item=3.0)
        keep = (i % 2 == p % 2) | (rng.random(len(x)) < 0.1)
        x, p, i = x[keep], p[keep], i[keep]
        right.append(permanova(x, p, i, draws=99, seed=s).p_signal <= 0.05)
        z = x - x.mean(0)
        wrong.append(permutation_p(Units(z, np.ones(len(z)), np.zeros(len(z), int), p), draws=99, seed=s) <= 0.05)
    assert np.mean(wrong) > 0.5
    assert np.mean(right) <= 0.05 + 3 * (0.05 * 0.95 / 100) ** 0.5


def test_a_trait_and_an_erratic_persona_are_found():
    found = permanova(*simulate(np.random.default_rng(10), 12, 10, 2, trait=0.8))
    assert (found.p_signal, found.p_trait) == (0.001, 0.001)
    assert "location or spread" not in found.note
    x, p, i = simulate(np.random.default_rng(11), 12, 10, 3, trait=0.8, spread=np.repeat([0.4, 2.0], 6))
    found = permanova(x, p, i)
    assert found.p_spread < 0.01
    assert "location or spread" in found.note
    # Two runs lie equally far from their centroid; the test must survive that.
    x, p, i = simulate(np.random.default_rng(12), 12, 10, 2, spread=np.repeat([0.4, 2.0], 6))
    assert permanova(x, p, i).p_spread < 0.01


# --- length -------------------------------------------------------------------------------------------------


def lengthy(rng, *, by_persona, real):
    """Vectors that move along one axis with log length, and with the persona if ``real``."""
    x, p, i = simulate(rng, 10, 8, 2, d=8, trait=1.0 if real else 0.0)
    log_length = rng.normal(size=len(x)) * 0.3 + (rng.normal(size=10)[p] if by_persona else 0)
    x = (
        x + 0.8 * log_length[:, None] * np.eye(8)[0] + 8 * np.eye(8)[7]
    )  # far from 0, so that scaling is nearly linear
    return unit(x), p, i, np.exp(4 + log_length)


def test_signal_that_is_only_length_is_called_so():
    x, p, i, length = lengthy(np.random.default_rng(13), by_persona=True, real=False)
    found = permanova(x, p, i, length=length)
    assert found.p_signal < 0.01
    assert found.p_signal_length > 0.05
    assert "signal" in found.length_confounded
    assert "length-confounded: signal" in found.note


def test_signal_beside_length_stays():
    x, p, i, length = lengthy(np.random.default_rng(14), by_persona=False, real=True)
    found = permanova(x, p, i, length=length)
    assert (found.p_signal_length, found.length_confounded) == (0.001, ())
    assert permanova(x, p, i).p_signal_length is None


def test_a_length_that_never_varies_changes_nothing_and_one_that_is_all_leaves_nothing():
    x, p, i = simulate(np.random.default_rng(15), 6, 5, 2, trait=0.5)
    found = permanova(x, p, i, length=np.full(len(x), 7.0), draws=199)
    assert (found.p_signal_length, found.p_trait_length) == (found.p_signal, found.p_trait)
    at = np.where(p % 2 == 0, 1.0, -1.0)
    line = np.stack([np.full(len(p), 0.6), 0.8 * at], axis=1)
    found = permanova(line, p, i, length=np.exp(at), draws=199)
    assert (found.p_signal_length, found.p_trait_length) == (1.0, 1.0)


# --- edges --------------------------------------------------------------------------------------------------


def test_without_repeats_only_the_trait_can_be_tested():
    found = permanova(*simulate(np.random.default_rng(16), 8, 6, 1, trait=1.0), draws=199)
    assert (found.f, found.r2, found.icc_within, found.p_signal, found.p_spread) == (None,) * 5
    assert found.p_trait < 0.05
    assert "asked twice" in found.note


def test_one_item_has_no_trait_and_equal_answers_have_nothing():
    found = permanova(*simulate(np.random.default_rng(17), 8, 1, 3, trait=1.0), draws=199)
    assert (found.p_trait, found.p_spread) == (None, None)
    assert found.p_signal < 0.05
    assert "one item" in found.note
    equal = np.tile([[1.0, 0.0]], (8, 1))
    found = permanova(equal, np.repeat([0, 1], 4), np.tile([0, 1], 4))
    assert found[:9] == (None,) * 8 + ((),)
    assert "no variance" in found.note
    x = unit(np.random.default_rng(18).normal(size=(4, 3)))
    copies = permanova(np.repeat(x, 2, axis=0), np.repeat([0, 0, 1, 1], 2), np.repeat([0, 1, 0, 1], 2), draws=99)
    assert copies.f is None
    assert copies.r2 == pytest.approx(1)
    assert "no F" in copies.note


def test_unscored_rows_are_left_out():
    x, p, i = simulate(np.random.default_rng(19), 6, 4, 2)
    more = np.concatenate([x, np.full((3, 6), np.nan)])
    found = permanova(more, np.append(p, [90, 91, 92]), np.append(i, [0, 1, 77]), draws=49)
    assert found == permanova(x, p, i, draws=49)


@pytest.mark.parametrize(
    ("change", "error"),
    [(2.0, NotUnitError), (0.0, ZeroVectorError), (np.inf, NotFiniteError)],
)
def test_vectors_that_are_no_directions_are_refused(change, error):
    x, p, i = small()
    x[3] = x[3] * change if np.isfinite(change) else change
    with pytest.raises(error, match=r"x"):
        permanova(x, p, i)


def test_other_bad_input_is_refused():
    x, p, i = small()
    with pytest.raises(TooFewPersonasError):
        permanova(x, np.zeros(8), i)
    with pytest.raises(GaugeError, match="lengths differ"):
        permanova(x, p[:-1], i)
    with pytest.raises(GaugeError, match="not above 0"):
        permanova(x, p, i, length=np.zeros(8))


def test_a_thousand_answers_take_a_tenth_of_a_second():
    x, p, i = simulate(np.random.default_rng(20), 50, 10, 2, d=64)
    units = Units(centred(x, i), np.ones(1000), i, 50 * i + p)
    permutation_p(units, draws=10, seed=0)
    start = time.process_time()
    permutation_p(units, draws=999, seed=0)
    assert time.process_time() - start < 0.5  # 0.09 on an idle core; the target is 0.15
