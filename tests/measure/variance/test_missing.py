"""Refusals: the test holds its level and finds what is there; completions and weights against plain loops."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from test_facets import grid

from multitudes.core.errors import GaugeError
from multitudes.measure.variance.components import collect, components, spreads
from multitudes.measure.variance.intervals import interval
from multitudes.measure.variance.missing import (
    _refusal_draws,
    cell_weighted_spreads,
    completions,
    heaviest_persona,
    is_uneven,
    least_favourable,
    persona_weights,
    refusal_test,
)

# --- do refusals follow the persona? ------------------------------------------------------------------------


def test_permutations_have_the_law_of_full_enumeration():
    """2 items x 3 personas, 6 x 6 arrangements: the drawn frequencies of every value are the enumerated ones."""
    persona, item = np.tile(np.arange(3), 2), np.repeat(np.arange(2), 3)
    gone = np.array([2.0, 0, 0, 1, 1, 0])  # of two runs each
    deviation = gone - np.repeat([2 / 3, 2 / 3], 3)
    expected = np.array([4, 4, 4]) / 3
    drawn = _refusal_draws(persona, item, deviation, expected, seed=0, draws=20_000)[1:]
    every = []
    for a in permutations(range(3)):
        for b in permutations(range(3)):
            total = deviation[list(a)] + deviation[3:][list(b)]
            every.append(round((total**2 / expected).sum(), 9))
    values, counts = np.unique(every, return_counts=True)
    found, times = np.unique(drawn.round(9), return_counts=True)
    assert found == pytest.approx(values)
    assert times / 20_000 == pytest.approx(counts / 36, abs=0.015)


def test_statistic_is_that_of_the_counts():
    rng = np.random.default_rng(1)
    p, i, _ = grid(6, 5, 2)
    gone = rng.random(60) < 0.3
    rate = np.array([gone[i == j].mean() for j in range(5)])
    expected = np.array([rate[i[p == k]].sum() for k in range(6)])
    observed = np.array([gone[p == k].sum() for k in range(6)])
    cell = gone.reshape(6, 5, 2).sum(2)
    found = _refusal_draws(
        np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6), (cell - 2 * rate).ravel(), expected, seed=0, draws=1
    )
    assert found[0] == pytest.approx(((observed - expected) ** 2 / expected).sum())


def test_level_holds_although_runs_refuse_together_and_items_differ():
    """400 data sets without persona effect, both runs of a cell alike: 5 % within 3 standard errors."""
    rng = np.random.default_rng(2)
    p, i, _ = grid(20, 10, 2)
    rate = np.linspace(0.02, 0.3, 10)
    hits = 0
    for s in range(400):
        gone = np.repeat(rng.random(200) < rate[np.tile(np.arange(10), 20)], 2)
        hits += refusal_test(gone, p, i, seed=s, draws=199).p <= 0.05
    assert abs(hits / 400 - 0.05) < 3 * (0.05 * 0.95 / 400) ** 0.5


def test_a_persona_who_refuses_is_found():
    rng = np.random.default_rng(3)
    p, i, _ = grid(20, 10, 2)
    gone = rng.random(400) < np.where(p == 7, 0.4, 0.04)
    found = refusal_test(gone, p, i, seed=0)
    assert found.p < 0.01
    assert found.bounds_needed
    assert found.personas[found.rate.argmax()] == 7
    assert found.rate[7] == gone[p == 7].mean()
    assert (found.missing, found.asked) == (gone.sum(), 400)


def test_many_missing_answers_need_bounds_whatever_the_test_says():
    p, i = grid(10, 10)
    found = refusal_test(i < 2, p, i, seed=0)  # everybody refuses the same two items
    assert found.p == 1
    assert found.bounds_needed
    nothing = refusal_test(np.zeros(100, dtype=bool), p, i, seed=0)
    assert (nothing.p, nothing.missing, nothing.bounds_needed) == (1, 0, False)
    with pytest.raises(GaugeError, match="asked"):
        refusal_test([], [], [], seed=0)
    with pytest.raises(GaugeError, match="lengths differ"):
        refusal_test([True], p, i, seed=0)


# --- what they could have been ------------------------------------------------------------------------------

NAN = float("nan")
Y = [1.0, 2.0, NAN, 5.0, NAN, 4.0, NAN, NAN]
WHO = list("aaabbbcc")
WHAT = [0, 1, 2, 0, 1, 1, 0, 3]


def test_completions_are_the_four_bounds():
    found = completions(Y, WHO, WHAT, low=1, high=5)
    filled = {name: list(y[[2, 4, 6, 7]]) for name, y in found.items()}
    everyone = 12 / 4
    assert filled == {
        "minimum": [1] * 4,
        "maximum": [5] * 4,
        "nearer_extreme": [1, 5, 5, 5],  # a answers 1.5, b 4.5; c never, so the mean of all, a tie
        "item_mean": [everyone, 3, 3, everyone],  # items 2 and 3 have no answer
    }
    for y in found.values():
        assert [y[k] for k in (0, 1, 3, 5)] == [1, 2, 5, 4]


def test_the_least_favourable_result_is_taken():
    rng = np.random.default_rng(4)
    p, i, _ = grid(12, 8, 2)
    y = (3 + rng.normal(size=12)[p] + 0.5 * rng.normal(size=192)).clip(1, 5)
    y[(rng.random(192) < 0.6) & (y > 3.5)] = np.nan  # who would answer high refuses

    def read(answers):
        return interval(collect(answers, p, i), lambda g: g.icc_within)

    name, worst, results = least_favourable(read, y, p, i, low=1, high=5, favour=lambda e: e.low)
    assert set(results) == {"observed", "minimum", "maximum", "nearer_extreme", "item_mean"}
    assert worst == results[name]
    assert worst.low == min(e.low for e in results.values()) < results["observed"].low
    other = least_favourable(read, y, p, i, low=1, high=5, favour=lambda e: -e.high)[1]
    assert other.high == max(e.high for e in results.values())


def test_what_cannot_be_completed_or_ranked_is_refused():
    with pytest.raises(GaugeError, match="out of range"):
        completions([0.0, NAN], [0, 1], [0, 0], low=1, high=5)
    with pytest.raises(GaugeError, match="no answer"):
        completions([NAN, NAN], [0, 1], [0, 0], low=1, high=5)
    with pytest.raises(GaugeError, match="no length"):
        completions([1.0, NAN], [0, 1], [0, 0], low=1, high=1)
    with pytest.raises(GaugeError, match="lengths differ"):
        completions([1.0, NAN], [0], [0, 0], low=1, high=5)
    with pytest.raises(GaugeError, match="NaN for observed"):
        least_favourable(np.mean, Y, WHO, WHAT, low=1, high=5, favour=float)


# --- unequal weights ----------------------------------------------------------------------------------------


def lopsided(rng, d=1):
    """Persona 0 answered everything ten times, the others once or twice."""
    p, i = grid(6, 5)
    times = np.where(p == 0, 10, rng.integers(1, 3, 30))
    p, i = np.repeat(p, times), np.repeat(i, times)
    return rng.normal(size=(len(p), d)) + 5, p, i


def test_persona_weights_count_pairs():
    _, p, i = lopsided(np.random.default_rng(5))
    y = np.random.default_rng(6).normal(size=len(p))
    found = persona_weights(collect(y, p, i))
    counts = np.zeros((4, 6))
    for a, b in combinations(range(len(p)), 2):
        kind = 2 * (p[a] != p[b]) + (i[a] != i[b])  # e, p, i, 0
        counts[kind, [p[a]]] += 0.5
        counts[kind, [p[b]]] += 0.5
    assert np.stack(list(found)) == pytest.approx(counts / counts.sum(1, keepdims=True), abs=1e-12)


def test_only_a_persona_with_three_fair_shares_calls_for_cell_weights():
    y, p, i = lopsided(np.random.default_rng(7))
    cells = collect(y, p, i)
    assert heaviest_persona(cells)[0] == 0
    assert is_uneven(cells)
    p, i, _ = grid(6, 5, 2)
    assert heaviest_persona(collect(np.arange(60.0), p, i))[1] == pytest.approx(1 / 6)
    assert not is_uneven(collect(np.arange(60.0), p, i))
    once = collect(np.arange(30.0), *grid(6, 5))
    assert heaviest_persona(once)[1] == pytest.approx(1 / 6)
    assert (
        is_uneven(collect(np.append(np.arange(60.0), [1.0, 2.0]), *(np.append(x, [0, 0]) for x in (p, i)))) is False
    )


@pytest.mark.parametrize("d", [1, 3])
def test_cell_weighted_spreads_average_within_cells_first(d):
    y, p, i = lopsided(np.random.default_rng(8), d)
    half = ((y[:, None] - y[None]) ** 2).sum(-1) / 2
    sums = {kind: [] for kind in ("run", "persona", "item", "neither")}
    cell = [np.flatnonzero((p == a) & (i == b)) for a in range(6) for b in range(5)]
    for a, b in combinations(range(30), 2):
        same_p, same_i = a // 5 == b // 5, a % 5 == b % 5
        kind = "persona" if same_p else "item" if same_i else "neither"
        sums[kind].append(half[np.ix_(cell[a], cell[b])].mean())
    for rows in cell:
        if len(rows) > 1:
            block = half[np.ix_(rows, rows)]
            sums["run"].append(block.sum() / (len(rows) * (len(rows) - 1)))
    found = cell_weighted_spreads(collect(y, p, i))
    assert list(found) == pytest.approx([np.mean(x) for x in sums.values()], abs=1e-10)


def test_both_weightings_agree_where_cells_are_equal_and_in_exact_form():
    rng = np.random.default_rng(9)
    p, i, r = grid(6, 5, 3)
    y = rng.normal(size=90)
    assert list(cell_weighted_spreads(collect(y, p, i))) == pytest.approx(list(spreads(collect(y, p, i))), abs=1e-12)
    once = r == 0
    cells = collect(y[once], p[once], i[once], run_variance=rng.random(30))
    assert list(cell_weighted_spreads(cells)) == pytest.approx(list(spreads(cells)), abs=1e-12)
    assert np.isnan(cell_weighted_spreads(collect(y[once], p[once], i[once])).run)
    assert persona_weights(cells).run == pytest.approx(np.full(6, 1 / 6))


def test_both_weightings_are_unbiased():
    rng = np.random.default_rng(10)
    _, p, i = lopsided(rng)
    found = []
    for _ in range(40):  # 40 x 25 data sets, as vectors
        y = 0.3**0.5 * rng.normal(size=(6, 25))[p] + 0.5**0.5 * rng.normal(size=(5, 25))[i]
        y += 0.2**0.5 * rng.normal(size=(6, 5, 25))[p, i] + rng.normal(size=(len(p), 25))
        cells = collect(y, p, i)
        found.append([components(spreads(cells)), components(cell_weighted_spreads(cells))])
    mean, error = np.mean(found, axis=0) / 25, np.std(found, axis=0, ddof=1) / 25 / 40**0.5
    assert (np.abs(mean - [0.3, 0.5, 0.2, 1.0, 1.2]) < 3 * error).all()
