"""Two-way intervals against recomputation, a written-out resample and the share of data sets in which they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_variance import TRUTH, simulate

from multitudes.measure.variance.arms import arm_icc, icc_difference
from multitudes.measure.variance.components import collect, spreads
from multitudes.measure.variance.intervals import _resampled, bootstrap_spreads, interval, without_each


@pytest.mark.parametrize("exact", [False, True])
def test_leaving_one_out_equals_computing_again(exact):
    rng = np.random.default_rng(6)
    y, p, i, _ = simulate(rng, 9, 7, 1 if exact else 3, d=2)
    keep = rng.random(len(y)) > 0.3
    y, p, i = y[keep], p[keep], i[keep]
    noise = rng.random(len(y)) if exact else None
    cells = collect(y, p, i, run_variance=noise)
    for facet, labels in (("persona", p), ("item", i)):
        found = without_each(cells, facet)
        for j, label in enumerate(np.unique(labels)):
            rest = labels != label
            again = spreads(collect(y[rest], p[rest], i[rest], run_variance=None if noise is None else noise[rest]))
            assert [field[j] for field in found] == pytest.approx(list(again), abs=1e-10)


def copies(w, v, y, p, i):
    """The resampled data set written out, with labels that tell copies apart and the originals beside them."""
    rows = [(k, (p[k], a), (i[k], b)) for k in range(len(y)) for a in range(w[p[k]]) for b in range(v[i[k]])]
    index = np.array([r[0] for r in rows])
    code = [{x: n for n, x in enumerate(sorted({r[c] for r in rows}))} for c in (1, 2)]
    return y[index], *(np.array([code[c - 1][r[c]] for r in rows]) for c in (1, 2)), p[index], i[index]


def test_resampled_pairs_equal_a_written_out_resample_without_copies_of_one_original():
    rng = np.random.default_rng(7)
    y, p, i, _ = simulate(rng, 5, 4, 2)
    keep = rng.random(len(y)) > 0.2
    y, p, i = y[keep], p[keep], i[keep]
    w, v = np.array([2, 0, 1, 1, 1]), np.array([1, 2, 0, 1])
    yy, pc, ic, po, io = copies(w, v, y, p, i)
    half = (yy[:, None] - yy[None]) ** 2 / 2
    same = [x[:, None] == x[None] for x in (pc, ic, po, io)]
    masks = (
        same[0] & same[1] & ~np.eye(len(yy), dtype=bool),
        same[0] & ~same[3],
        ~same[2] & same[1],
        ~same[2] & ~same[3],
    )
    cells = collect(y, p, i)
    grids = [np.zeros((5, 4)), np.zeros((5, 4)), np.zeros((5, 4, 1)), np.zeros((5, 4))]
    a = cells.n * cells.square - (cells.total**2).sum(1)
    for grid, values in zip(grids, (cells.n, cells.square, cells.total, a), strict=True):
        grid[cells.persona, cells.item] = values
    found = _resampled(w[None].astype(float), v[None].astype(float), *grids)
    assert [float(f[0]) for f in found] == pytest.approx([half[m].mean() for m in masks], abs=1e-10)
    # Kept in, copies of one persona pass as two people who agree: the spread between people must shrink.
    with_copies = half[~same[0] & same[1]].mean()
    assert with_copies < float(found.item[0]) * 0.97


@pytest.mark.parametrize("truth", [TRUTH, {"p": 0.5, "i": 0.2, "pi": 0.05, "e": 0.5}])
def test_two_way_intervals_cover_and_one_way_ones_do_not(truth):
    """150 data sets of 20 x 10 x 2: at least .93 (long-run .96 to 1.0); resampling items alone must fall short."""
    rng = np.random.default_rng(8)
    icc = (truth["p"] + truth["pi"]) / (truth["p"] + truth["pi"] + truth["e"])
    tau = truth["p"] / (truth["p"] + truth["pi"] + truth["e"])
    hits = np.zeros(4)
    for s in range(150):
        y, p, i, _ = simulate(rng, 20, 10, 2, truth=truth)
        cells = collect(y, p, i)
        e = interval(cells, lambda g: g.icc_within)
        hits[0] += e.low <= icc <= e.high
        t = interval(cells, lambda g: g.tau)
        hits[1] += t.low <= tau <= t.high
        items = without_each(cells, "item").tau
        half = 2.262 * (9 / 10 * ((items - items.mean()) ** 2).sum()) ** 0.5
        hits[2] += abs(t.value - tau) <= half
        if s % 3 == 0:
            b = interval(cells, lambda g: g.icc_within, method="bootstrap", seed=s)
            hits[3] += 3 * (b.low <= icc <= b.high)
    share = hits / 150
    assert share[0] >= 0.93
    assert share[1] >= 0.93
    assert share[3] >= 0.93
    assert share[2] < 0.9


OTHER = {"p": 0.02, "i": 0.30, "pi": 0.40, "e": 0.30}


TRAIT = {"p": 0.50, "i": 0.20, "pi": 0.05, "e": 0.50}


def coverage(truth, size, *, seed, data_sets=500, methods=("jackknife", "bootstrap")):
    """Share of the 95 % intervals that hold icc_within and tau, for each method in turn."""
    rng = np.random.default_rng(seed)
    within_item = truth["p"] + truth["pi"] + truth["e"]
    wanted = (
        (lambda g: g.icc_within, (truth["p"] + truth["pi"]) / within_item),
        (lambda g: g.tau, truth["p"] / within_item),
    )
    hits = np.zeros((len(methods), 2))
    for s in range(data_sets):
        cells = collect(*simulate(rng, *size, truth=truth)[:3])
        for row, method in zip(hits, methods, strict=True):
            found = [(interval(cells, quantity, method=method, seed=s), value) for quantity, value in wanted]
            row += [e.low <= value <= e.high for e, value in found]
    return hits / data_sets


@pytest.mark.slow
@pytest.mark.parametrize("truth", [TRUTH, OTHER, TRAIT])
def test_two_way_intervals_hold_at_50_by_20_by_2(truth):
    assert (coverage(truth, (50, 20, 2), seed=21, methods=("jackknife",)) >= 0.93).all()


@pytest.mark.slow
def test_two_way_bootstrap_holds_at_50_by_20_by_2():
    assert (coverage(TRUTH, (50, 20, 2), seed=21, methods=("bootstrap",)) >= 0.93).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "runs", "long_run"),
    [
        (TRUTH, 2, ((0.98, 0.945), (0.99, 0.99))),
        (TRUTH, 5, ((0.98, 0.93), (0.98, 0.97))),
        (TRAIT, 2, ((0.96, 0.93), (0.96, 0.92))),
        (TRAIT, 5, ((0.93, 0.92), (0.89, 0.88))),  # less than they state
    ],
)
def test_two_way_intervals_of_10_personas_and_10_items_hold_what_is_documented(truth, runs, long_run):
    """Not .95 in every case; the long-run shares come from 1,000 to 10,000 data sets with other seeds."""
    expected = np.array(long_run)
    error = (expected * (1 - expected) / 500) ** 0.5
    assert (coverage(truth, (10, 10, runs), seed=21) >= expected - 3 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "size", "long_run"),
    [
        (TRUTH, (5, 3, 2), (0.972, 0.986)),
        (TRAIT, (5, 3, 2), (0.971, 0.969)),
        (TRAIT, (5, 10, 2), (0.966, 0.894)),
        (TRAIT, (8, 8, 2), (0.964, 0.925)),
    ],
)
def test_few_clusters_cost_width_and_hardly_coverage(truth, size, long_run):
    """Neither less nor more than docs/variance.md says; long-run shares are those of 1,500 other data sets."""
    expected = np.array(long_run)
    error = (expected * (1 - expected) * (1 / 450 + 1 / 1500)) ** 0.5
    held = coverage(truth, size, seed=23, data_sets=450, methods=("jackknife",))[0]
    assert (np.abs(held - expected) <= 2.6 * error).all()  # 1 % of right ones are outside; the seed is fixed


def test_the_fewest_clusters_that_have_an_interval_have_one_that_says_nothing():
    rng = np.random.default_rng(24)
    widths = [
        e.high - e.low
        for e in (interval(collect(*simulate(rng, 5, 3, 2)[:3]), lambda g: g.icc_within) for _ in range(60))
    ]
    assert np.median(widths) > 1.2


def test_equal_arms_of_few_clusters_are_rarely_called_different():
    """2.5 % of a side stated; .002 to .018 were found in 400 studies of other seeds, and 5 % is too many here."""
    rng = np.random.default_rng(25)
    above = []
    for _ in range(300):
        item = rng.normal(size=(1, 8, 1))
        arms = []
        for _arm in range(2):
            y = 0.7 * rng.normal(size=(8, 1, 1)) + item + 0.2 * rng.normal(size=(8, 8, 1))
            p, i, _r = (x.ravel() for x in np.indices((8, 8, 2)))
            arms.append(arm_icc(collect((y + 0.7 * rng.normal(size=(8, 8, 2))).ravel(), p, i)))
        delta, ci = icc_difference(*arms)
        above.append((ci.low > 0, delta > (ci.high - ci.low) / 4))
    called, halved = np.mean(above, axis=0)
    assert called <= 0.025
    assert halved > 0.05  # intervals half as wide would have called them
    assert called < halved


def test_draws_without_a_value_are_counted():
    p, i = np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6)
    y = np.random.default_rng(22).normal(size=32)
    again = (np.append(p, [0, 1]), np.append(i, [0, 1]))  # two repeated cells; many draws hold neither
    found = interval(collect(y, *again), lambda g: g.icc_within, method="bootstrap")
    assert "draws" in found.note
    assert math.isfinite(found.low)


def test_bootstrap_blocks_give_the_number_of_draws_that_was_asked_for(monkeypatch):
    y, p, i, _ = simulate(np.random.default_rng(9), 6, 5, 2)
    monkeypatch.setattr("multitudes.measure.variance.intervals._NUMBERS_AT_ONCE", 200)
    assert bootstrap_spreads(collect(y, p, i), seed=1, draws=23).run.shape == (23,)


def test_small_designs_have_flags_or_no_interval():
    y, p, i, _ = simulate(np.random.default_rng(10), 4, 6, 2)
    assert interval(collect(y, p, i), lambda g: g.tau).low is None
    y, p, i, _ = simulate(np.random.default_rng(10), 8, 6, 2)
    found = interval(collect(y, p, i), lambda g: g.tau)
    assert found.low is not None
    assert "few clusters" in found.note
