"""Intervals of variance shares where personas and items are both samples of something larger.

Resampling items alone holds .62 to .84 where .95 is stated, personas alone .91 to .92, single answers less: each
treats the other facet as if it were all there is. Both ways below hold .94 to 1.0 (own simulations, 20 x 10 x 2).
At 50 x 20 x 2 they hold .945 and more. They are not conservative everywhere: with 10 personas, 10 items and a trait
that is nearly all of the signal (σ²_p .50, σ²_pi .05, σ²_e .50), icc_within and tau are held at 2 runs by .96 and .93
(jackknife) or .96 and .92 (bootstrap), at 5 runs by .93 and .92 or .90 and .88. The jackknife is the default.
At 5 x 3, the fewest that have one, it holds .97 and more because it is as wide as the scale; see docs/variance.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.jackknife import two_way_jackknife
from multitudes.measure.stats import DRAWS, Estimate
from multitudes.measure.variance.components import (
    Cells,
    Spreads,
    add_run_noise,
    group_sums,
    pair_sums,
    share_exactly,
    spreads,
)

FloatArray = NDArray[np.float64]
Quantity = Callable[[Spreads], Any]

MIN_PERSONAS = 5
MIN_ITEMS = 3
FEW = 10  # personas or items below which an interval is flagged
_NUMBERS_AT_ONCE = 20_000_000


def without_each(cells: Cells, facet: Literal["persona", "item"]) -> Spreads:
    """G's of the design without each persona, or without each item, in turn: fields of shape (P,) or (I,).

    Linear in the number of cells: taking persona j out changes the persona and cell sums by its own, and each item
    group by one cell.
    """
    mine, other = (cells.persona, cells.item) if facet == "persona" else (cells.item, cells.persona)
    size, other_size = (len(cells.personas), len(cells.items))[:: 1 if facet == "persona" else -1]
    cell = np.stack(pair_sums(cells.n, cells.square, cells.total))
    n, square, total = group_sums(cells, mine, size)
    own = np.stack(pair_sums(n, square, total))
    o_n, o_square, o_total = group_sums(cells, other, other_size)
    whole = np.stack(pair_sums(o_n, o_square, o_total))
    shrunk = np.stack(pair_sums(o_n[other] - cells.n, o_square[other] - cells.square, o_total[other] - cells.total))
    change = whole[:, other] - shrunk
    rest = pair_sums(n.sum() - n, square.sum() - square, total.sum(axis=0) - total)

    def summed(values: FloatArray) -> FloatArray:
        return np.stack([np.bincount(mine, row, size) for row in values])

    at_least_cell = cell.sum(axis=1, keepdims=True) - summed(cell)
    at_least_mine = own.sum(axis=1, keepdims=True) - own
    at_least_other = whole.sum(axis=1, keepdims=True) - summed(change)
    pair = (at_least_mine, at_least_other) if facet == "persona" else (at_least_other, at_least_mine)
    found = share_exactly(at_least_cell, *pair, rest)
    if cells.within is None:
        return found
    left = len(mine) - np.bincount(mine, minlength=size)
    noise = (cells.within.sum() - np.bincount(mine, cells.within, size)) / np.maximum(left, 1)
    return add_run_noise(found, noise)


def bootstrap_spreads(cells: Cells, *, seed: int, draws: int = DRAWS) -> Spreads:
    """G's of ``draws`` designs with personas and items resampled independently, runs kept inside their cells.

    Pairs made of two copies of one original persona or item are left out: they would count as two people who agree
    as much as one person with himself, and shrink G_i by (P-1)/P.

    Args:
        cells: The design.
        seed: Seed of the draws.
        draws: Number of draws.

    Returns:
        Fields of shape (draws,).

    Source: own derivation; Owen 2007 for the two-way bootstrap.
    """
    p, i, d = len(cells.personas), len(cells.items), cells.total.shape[1]

    def grid(values: FloatArray) -> FloatArray:
        out = np.zeros((p, i, *values.shape[1:]))
        out[cells.persona, cells.item] = values
        return out

    n, q, s = grid(cells.n), grid(cells.square), grid(cells.total)
    a = grid(pair_sums(cells.n, cells.square, cells.total)[0])
    within, filled = (None, None) if cells.within is None else (grid(cells.within), grid(np.ones(len(cells.n))))
    rng = np.random.default_rng(seed)
    block = max(1, _NUMBERS_AT_ONCE // ((p + i) * max(d, 4)))
    parts = []
    for start in range(0, draws, block):
        b = min(block, draws - start)
        w = rng.multinomial(p, np.full(p, 1 / p), size=b).astype(np.float64)
        v = rng.multinomial(i, np.full(i, 1 / i), size=b).astype(np.float64)
        found = _resampled(w, v, n, q, s, a)
        if within is not None and filled is not None:
            found = add_run_noise(found, ((w @ within) * v).sum(1) / np.maximum(((w @ filled) * v).sum(1), 1))
        parts.append(found)
    return Spreads(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def _resampled(w: FloatArray, v: FloatArray, n: FloatArray, q: FloatArray, s: FloatArray, a: FloatArray) -> Spreads:
    """Pair sums and counts under persona weights w (B, P) and item weights v (B, I), copies of one original left out.

    For one persona the pairs over two different items are Σ v v' D - Σ v² D(same item); G_0 follows by inclusion and
    exclusion. Counts are the same formulas with D = n n'.
    """
    vn, wn, vq, wq = v @ n.T, w @ n, v @ q.T, w @ q
    vs = np.tensordot(v, s, axes=(1, 1))  # (B, P, d)
    ws = np.tensordot(w, s, axes=(1, 0))  # (B, I, d)
    everyone = np.einsum("bp,bpd->bd", w, vs)
    all_n, all_q = (w * vn).sum(1), (w * vq).sum(1)
    tops = (vn * vq - (vs**2).sum(2), wn * wq - (ws**2).sum(2), all_n * all_q - (everyone**2).sum(1), a)
    counts = (vn**2, wn**2, all_n**2, n**2)
    pairs = []
    for of_persona, of_item, of_all, of_cell in (tops, counts):
        v2, w2 = v**2, w**2
        same_persona = (w * (of_persona - v2 @ of_cell.T)).sum(1)
        same_item = (v * (of_item - w2 @ of_cell)).sum(1)
        neither = of_all - (w2 * of_persona).sum(1) - (v2 * of_item).sum(1) + ((w2 @ of_cell) * v2).sum(1)
        pairs.append((same_persona, same_item, neither))
    run = (((w @ a) * v).sum(1), ((w @ (n * (n - 1))) * v).sum(1))
    bounds = [run, *zip(*pairs, strict=True)]
    out = []
    for top, count in bounds:
        out.append(np.divide(top, count, out=np.full(len(w), np.nan), where=count > 0.5))
    return Spreads(*out)


def interval(
    cells: Cells,
    quantity: Quantity,
    *,
    method: Literal["jackknife", "bootstrap"] = "jackknife",
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """A function of the G's with its two-way interval; none below 5 personas or 3 items, flagged below 10.

    Args:
        cells: The design.
        quantity: What to compute from the ``Spreads``.
        method: ``jackknife`` is deterministic and up to 15 % shorter; ``bootstrap`` needs no normality.
        seed: Seed of the bootstrap.
        level: Confidence level.
    """
    p, i = len(cells.personas), len(cells.items)
    value = float(quantity(spreads(cells)))
    if p < MIN_PERSONAS or i < MIN_ITEMS:
        return Estimate(value, None, None, p, cells.unscored, f"few clusters: {p} personas, {i} items, no interval")
    if method == "jackknife":
        found = two_way_jackknife(
            value,
            quantity(without_each(cells, "persona")),
            quantity(without_each(cells, "item")),
            level=level,
        )
    else:
        drawn = np.asarray(quantity(bootstrap_spreads(cells, seed=seed)))
        defined = drawn[np.isfinite(drawn)]
        if not len(defined):
            return Estimate(value, None, None, p, cells.unscored, "no interval: undefined in every draw")
        low, high = np.percentile(defined, [50 * (1 - level), 50 * (1 + level)])
        lost = len(drawn) - len(defined)
        found = Estimate(value, float(low), float(high), p, 0, f"undefined in {lost} draws" if lost else "")
    flag = f"few clusters: {p} personas, {i} items" if min(p, i) < FEW else ""
    return found._replace(n=p, unscored=cells.unscored, note="; ".join(x for x in (found.note, flag) if x))
