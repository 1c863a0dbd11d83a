"""Cohen's κ with quadratic weights: how far two judges agree on an ordered scale, beyond what their habits give.

With ratings a and b of the same things, κ = 1 − E(a−b)² / E(a−b')², b' dealt anew. Both are moments,

    κ = 2 cov(a, b) / (var a + var b + (ā − b̄)²)

so that a cluster enters with six sums, and every draw of a bootstrap is one product of matrices. Weights are squared
differences of the *ratings*. A library that numbers the categories it happens to see gives another κ where a category
between two others was never used.

On two categories the weights change nothing, and this is the plain κ.

Source: Cohen 1968, Psychological Bulletin 70, 213-220; Fleiss & Cohen 1973 for the moment form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.stats import DRAWS, MIN_CLUSTERS, few_clusters, percentile_limits, resampled_sums, sum_by

FloatArray = NDArray[np.float64]


class Kappa(NamedTuple):
    """κ of two judges with its interval over clusters.

    Attributes:
        value: At most 1; 0 where they agree as often as their habits give, below 0 where less; higher is better.
            NaN where there is none, and then ``note`` says why.
        low: Lower limit; None where there is no interval, and then ``note`` says why.
        high: Upper limit.
        n: Things that both rated.
        clusters: Clusters they came from: what is resampled.
        unscored: Things that one of the two did not rate; in no number.
        note: What is missing, and why.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int
    unscored: int
    note: str = ""


def quadratic_kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Cohen's κ with quadratic weights, for (n,) whole ratings on one scale; NaN marks what was not rated.

    Returns:
        κ, at most 1, null 0. NaN where nothing is rated by both, or both used one and the same rating only: there is
        nothing to agree on beyond that habit.

    Raises:
        GaugeError: Other lengths, or ratings that are not whole.

    >>> quadratic_kappa([0, 1, 2, 3], [0, 1, 2, 3]), round(quadratic_kappa([0, 1, 2, 3], [1, 1, 2, 3]), 6)
    (1.0, 0.875)
    >>> quadratic_kappa([3, 3], [3, 3])
    nan
    """
    a, b, _ = _pairs(first, second)
    return float(_kappa(_sums(a, b).sum(axis=0)))


def kappa_over_clusters(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike, *, seed: int, draws: int = DRAWS, level: float = 0.95
) -> Kappa:
    """``quadratic_kappa`` with an expanded percentile bootstrap interval over clusters.

    Args:
        first: (n,) whole ratings; NaN is unscored.
        second: (n,) the same of the other judge.
        clusters: (n,) label of the cluster of each thing.
        seed: Seed of the draws.
        draws: Number of draws. Those in which both judges used one rating only have no κ and are left out. Where
            all that differs lies in one cluster, these are a third of them; the note says how many they are.
        level: Confidence level.

    Returns:
        κ. No interval below ``MIN_CLUSTERS`` clusters, and none where one judge used one rating only: κ is then 0
        whatever the other said. The note says so.

    Raises:
        GaugeError: Other lengths, or ratings that are not whole.
    """
    a, b, both = _pairs(first, second)
    labels = np.asarray(clusters)
    check_same_length(first=both, clusters=labels)
    unscored = int((~both).sum())
    if not len(a):
        return Kappa(np.nan, None, None, 0, 0, unscored, "nothing was rated by both")
    _, code = np.unique(labels[both], return_inverse=True)
    code = code.reshape(-1).astype(np.int64)
    rows = np.stack([sum_by(code, column) for column in _sums(a, b).T], axis=1)
    g = len(rows)
    value = float(_kappa(rows.sum(axis=0)))
    if np.isnan(value):
        return Kappa(value, None, None, len(a), g, unscored, f"one category only: both rated everything {a[0]:g}")
    habit = [f"the {which} judge rated everything {x[0]:g}, which makes κ 0 whatever the other said"
             for which, x in (("first", a), ("second", b)) if (x == x[0]).all()]  # fmt: skip
    if g < MIN_CLUSTERS:
        return Kappa(value, None, None, len(a), g, unscored, "; ".join([*habit, few_clusters(g)]))
    if habit:
        return Kappa(value, None, None, len(a), g, unscored, "; ".join(habit))
    drawn = _kappa(resampled_sums(rows, seed=seed, draws=draws))
    lost = int(np.isnan(drawn).sum())
    note = f"{lost} of {draws} draws have no κ and are left out" if lost else ""
    low, high = percentile_limits(drawn, level, g)
    return Kappa(value, float(low), float(high), len(a), g, unscored, note)


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Ratings of what both rated, and which those are."""
    a, b = check_shape("first", first, "n"), check_shape("second", second, "n")
    check_same_length(first=a, second=b)
    both = ~(np.isnan(a) | np.isnan(b))
    for name, x in (("first", a), ("second", b)):
        rated = x[~np.isnan(x)]
        if not (np.isfinite(rated).all() and (rated == np.round(rated)).all()):
            raise GaugeError(
                f"{name!r} holds a rating that is not whole", where=name,
                found=repr(float(rated[~(np.isfinite(rated) & (rated == np.round(rated)))][0])),
                expected="whole numbers, and NaN for what was not rated",
            )  # fmt: skip
    return a[both], b[both], both


def _sums(a: FloatArray, b: FloatArray) -> FloatArray:
    """(n, 6): 1, a, b, a², b², ab."""
    return np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], axis=-1)


def _kappa(sums: FloatArray) -> FloatArray:
    """κ of (..., 6) sums, exact for whole ratings until it divides; NaN where all ratings are one and the same."""
    n, a, b, aa, bb, ab = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    apart = n * (aa + bb) - 2 * a * b  # n² times the expected squared difference, were b dealt anew
    out = np.full(np.shape(apart), np.nan)
    np.divide(2 * (n * ab - a * b), apart, out=out, where=apart > 0)
    return out
