"""Intervals and tests that every gauge shares: what is resampled is always a whole cluster, never a single answer.

A cluster is whatever recurs: a persona, a prompt, a dialogue. Plain arrays in, named tuples out; no models, no I/O.
NaN values are unscored: left out, and counted.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from multitudes.core.checks import check_same_length, check_shape

FloatArray = NDArray[np.float64]

DRAWS = 2_000  # bootstrap draws; the Monte Carlo error of a 95 % limit is then about 0.05 standard errors
MIN_CLUSTERS = 8  # below this a resampled mean has too few distinct values for an interval
MIN_TURNS = 5  # below this a slope says more about its first and last turn than about drift
KEPT_SHARE = 0.8  # turns that fewer than this share of the first turn's clusters reach do not enter a slope
EXACT_FLIPS_TO = 16  # 2^16 sign patterns are enumerated, more are drawn
FLIPS = 10_000
_WEIGHTS_AT_ONCE = 4_000_000  # bootstrap weights held in memory at a time


class Estimate(NamedTuple):
    """A number, its interval (None where there is none, and then ``note`` says why) and what is behind it."""

    value: float
    low: float | None
    high: float | None
    n: int
    unscored: int = 0
    note: str = ""


class CurveEstimate(NamedTuple):
    """A mean per turn with pointwise intervals; NaN limits where fewer than ``MIN_CLUSTERS`` clusters reached it."""

    x: FloatArray
    value: FloatArray
    low: FloatArray
    high: FloatArray
    n: NDArray[np.int64]
    unscored: int


class Difference(NamedTuple):
    """A paired difference with its interval and sign-flip p-value."""

    value: float
    low: float | None
    high: float | None
    p: float
    n: int
    unscored: int = 0
    note: str = ""


def few_clusters(n: int, minimum: int = MIN_CLUSTERS) -> str:
    """The flag that stands where an interval would; empty if there are enough clusters."""
    return f"few clusters: {n} of at least {minimum} needed for an interval" if n < minimum else ""


def resampled_sums(columns: ArrayLike, *, seed: int, draws: int = DRAWS) -> FloatArray:
    """Column sums of ``draws`` samples of the rows with replacement.

    Sampling G rows with replacement is the same as weighting them by multinomial counts, so all draws are one
    matrix product (in blocks, to bound memory).

    Args:
        columns: (G, m) one row per cluster.
        seed: Seed of the draws.
        draws: Number of rows of the result, (draws, m).
    """
    rows = check_shape("columns", columns, "G m")
    g = len(rows)
    rng = np.random.default_rng(seed)
    block = max(1, _WEIGHTS_AT_ONCE // g)
    parts = [
        rng.multinomial(g, np.full(g, 1.0 / g), size=min(block, draws - start)).astype(np.float64) @ rows
        for start in range(0, draws, block)
    ]
    return np.concatenate(parts)


def _code(clusters: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    labels, codes = np.unique(np.asarray(clusters), return_inverse=True)
    return labels, codes.reshape(-1).astype(np.int64)


def sum_by(code: NDArray[np.int64], values: FloatArray, size: int = 0) -> FloatArray:
    """Sum of ``values`` for each code 0..max(code), or 0..size-1 if that is more."""
    return np.asarray(np.bincount(code, values, size), dtype=np.float64)


def percentile_limits(draws: FloatArray, level: float, n: int) -> tuple[FloatArray, FloatArray]:
    """Percentiles of the draws, widened for ``n`` clusters as t is wider than normal.

    A plain percentile interval is too short by √((n-1)/n) and by normal over t: at 8 clusters it holds .88 where .95
    is stated. The tail Φ(-√(n/(n-1)) t_{n-1}) mends both (Hesterberg 2015, American Statistician 69).
    """
    tail = 100 * float(ndtr(-((n / (n - 1)) ** 0.5) * stdtrit(n - 1, (1 + level) / 2)))
    low, high = np.nanpercentile(draws, [tail, 100 - tail], axis=0)
    return low, high


def bootstrap_mean(
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    seed: int,
    weighting: Literal["cluster", "unit"] = "cluster",
    draws: int = DRAWS,
    level: float = 0.95,
) -> Estimate:
    """A mean of clustered values and its expanded percentile bootstrap interval over clusters.

    Args:
        values: (n,) numbers; NaN is unscored.
        clusters: (n,) label of the cluster of each value.
        seed: Seed of the draws.
        weighting: ``cluster`` averages the cluster means, so that nobody counts more for talking more;
            ``unit`` averages the values, as a ratio of resampled sums.
        draws: Number of draws.
        level: Confidence level.

    Returns:
        The estimate; ``n`` counts clusters with a scored value. NaN value if there is none.

    Source: Efron & Tibshirani 1993, ch. 13; clusters as units of resampling.

    >>> bootstrap_mean([1.0, 3.0], ["a", "b"], seed=0).note
    'few clusters: 2 of at least 8 needed for an interval'
    """
    y = check_shape("values", values, "n")
    check_same_length(values=y, clusters=np.asarray(clusters))
    scored = ~np.isnan(y)
    unscored = int((~scored).sum())
    if not scored.any():
        return Estimate(np.nan, None, None, 0, unscored, "nothing scored")
    _, codes = _code(np.asarray(clusters)[scored])
    sums, counts = sum_by(codes, y[scored]), np.bincount(codes).astype(np.float64)
    if weighting == "cluster":
        sums, counts = sums / counts, np.ones_like(counts)
    value, g = float(sums.sum() / counts.sum()), len(sums)
    if g < MIN_CLUSTERS:
        return Estimate(value, None, None, g, unscored, few_clusters(g))
    drawn = resampled_sums(np.stack([sums, counts], axis=1), seed=seed, draws=draws)
    low, high = percentile_limits(drawn[:, 0] / drawn[:, 1], level, g)
    return Estimate(value, float(low), float(high), g, unscored)


def cluster_by_turn(turns: ArrayLike, values: ArrayLike, clusters: ArrayLike) -> tuple[FloatArray, FloatArray, int]:
    """Mean value of each cluster at each turn.

    Returns:
        The turns (T,), the means (G, T) with NaN where a cluster has no scored value, and the unscored count.
    """
    x, y = check_shape("turns", turns, "n"), check_shape("values", values, "n")
    check_same_length(turns=x, values=y, clusters=np.asarray(clusters))
    scored = ~np.isnan(y)
    ticks, column = np.unique(x[scored], return_inverse=True)
    labels, row = _code(np.asarray(clusters)[scored])
    shape = (len(labels), len(ticks))
    cell = row * len(ticks) + column
    sums = np.bincount(cell, y[scored], minlength=shape[0] * shape[1]).reshape(shape)
    counts = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    means = np.full(shape, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return ticks, means, int((~scored).sum())


def _curve_draws(means: FloatArray, *, seed: int, draws: int) -> FloatArray:
    there = ~np.isnan(means)
    sums = resampled_sums(np.hstack([np.where(there, means, 0.0), there]), seed=seed, draws=draws)
    top, bottom = np.hsplit(sums, 2)
    out = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out


def bootstrap_curve(
    turns: ArrayLike,
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    seed: int,
    draws: int = DRAWS,
    level: float = 0.95,
) -> CurveEstimate:
    """Mean over clusters at each turn, with pointwise expanded percentile bands from resampled clusters.

    A cluster is resampled with its whole history, so neighbouring turns stay as dependent as they were.
    ``turns`` is (n,); everything else is as in ``bootstrap_mean``, clusters usually being personas.
    """
    ticks, means, unscored = cluster_by_turn(turns, values, clusters)
    n = (~np.isnan(means)).sum(axis=0).astype(np.int64)
    if not len(ticks):
        none = np.empty(0)
        return CurveEstimate(none, none, none, none, n, unscored)
    value = np.nansum(means, axis=0) / n
    drawn = _curve_draws(means, seed=seed, draws=draws)
    low, high = np.full(len(ticks), np.nan), np.full(len(ticks), np.nan)
    for reached in np.unique(n[n >= MIN_CLUSTERS]):
        low[n == reached], high[n == reached] = percentile_limits(drawn[:, n == reached], level, int(reached))
    return CurveEstimate(ticks, value, low, high, n, unscored)


def bootstrap_slope(
    turns: ArrayLike,
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    seed: int,
    per: float = 10.0,
    draws: int = DRAWS,
    level: float = 0.95,
) -> Estimate:
    """Least-squares slope of the mean curve over turns, per ``per`` turns, with a bootstrap over clusters.

    Only turns that at least 80 % of the first turn's clusters reached take part: later ones belong to the talkative.

    Returns:
        The slope; NaN with a note if fewer than ``MIN_TURNS`` turns take part. Null value 0.
    """
    ticks, means, unscored = cluster_by_turn(turns, values, clusters)
    there = ~np.isnan(means)
    reached = there.sum(axis=0)
    kept = reached >= KEPT_SHARE * reached[0] if len(ticks) else np.zeros(0, dtype=bool)
    means, x = means[:, kept], ticks[kept]
    means = means[~np.isnan(means).all(axis=1)]
    g = len(means)
    if len(x) < MIN_TURNS:
        return Estimate(np.nan, None, None, g, unscored, f"few turns: {len(x)} of at least {MIN_TURNS} needed")
    lever = per * (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    value = float(np.nansum(means, axis=0) / (~np.isnan(means)).sum(axis=0) @ lever)
    if g < MIN_CLUSTERS:
        return Estimate(value, None, None, g, unscored, few_clusters(g))
    low, high = percentile_limits(_curve_draws(means, seed=seed, draws=draws) @ lever, level, g)
    return Estimate(value, float(low), float(high), g, unscored)


def paired_difference(
    after: ArrayLike,
    before: ArrayLike,
    clusters: ArrayLike,
    *,
    seed: int,
    draws: int = DRAWS,
    level: float = 0.95,
) -> Difference:
    """Mean of ``after - before`` over pairs, cluster means weighted equally; bootstrap interval and sign-flip p.

    Args:
        after: (n,) numbers of one arm; NaN is unscored.
        before: (n,) numbers of the other arm, same order.
        clusters: (n,) cluster of each pair.
        seed: Seed of the draws and the flips.
        draws: Bootstrap draws.
        level: Confidence level.

    Returns:
        The difference. A pair with one side unscored is left out and counted. p is exact up to 16 clusters (every
        sign pattern), else (1 + hits) / (1 + 10,000 flips); it tests symmetry of the cluster differences about 0.

    Source: Fisher 1935, §21; Phipson & Smyth 2010 for the added one.
    """
    a, b = check_shape("after", after, "n"), check_shape("before", before, "n")
    check_same_length(after=a, before=b, clusters=np.asarray(clusters))
    mean = bootstrap_mean(a - b, clusters, seed=seed, draws=draws, level=level)
    if not mean.n:
        return Difference(np.nan, None, None, np.nan, 0, mean.unscored, mean.note)
    scored = ~np.isnan(a - b)
    _, codes = _code(np.asarray(clusters)[scored])
    d = np.bincount(codes, (a - b)[scored]) / np.bincount(codes)
    return Difference(mean.value, mean.low, mean.high, sign_flip_p(d, seed=seed), mean.n, mean.unscored, mean.note)


def sign_flip_p(differences: ArrayLike, *, seed: int) -> float:
    """Two-sided p-value of the mean under flips of the sign of each difference; exact for n <= 16.

    >>> sign_flip_p([1.0, 1.0, 1.0], seed=0)
    0.25
    """
    d = check_shape("differences", differences, "n")
    n = len(d)
    observed = abs(d.sum()) * (1 - 1e-12)  # equal sums must count as equal after rounding
    if n <= EXACT_FLIPS_TO:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float((np.abs((1 - 2 * bits) @ d) >= observed).mean())
    signs = 1 - 2 * np.random.default_rng(seed).integers(0, 2, size=(FLIPS, n), dtype=np.int8)
    hits = int((np.abs(signs.astype(np.float64) @ d) >= observed).sum())
    return (1 + hits) / (1 + FLIPS)
