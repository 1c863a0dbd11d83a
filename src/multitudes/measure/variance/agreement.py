"""Krippendorff's α of a panel in closed form, and whether two panels agree equally well.

α = 1 - D_o/D_e: disagreement within units over the disagreement that the same values would show if they were dealt to
the units at random. Missing values need nothing special: a unit enters with the values it has, two at least. With m_u
values in unit u, n pairable values in all and n_c of category c,

    nominal   α = 1 - (n-1) Σ_u[(m_u² - Σ_c n_uc²)/(m_u-1)] / (n² - Σ_c n_c²)
    interval  α = 1 - (n-1) Σ_u[(m_u Σx² - (Σx)²)/(m_u-1)] / (n Σx² - (Σx)²)
    ordinal   the interval form on mid-ranks r_c = Σ_{g<c} n_g + n_c/2

so that cost is linear in the number of values.

Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"; own derivation of the closed forms.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as sps

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError
from multitudes.measure.stats import DRAWS, MIN_CLUSTERS, few_clusters, percentile_limits

FloatArray = NDArray[np.float64]
Metric = Literal["nominal", "ordinal", "interval"]

_NUMBERS_AT_ONCE = 4_000_000


class Agreement(NamedTuple):
    """α with its interval over units.

    Attributes:
        value: α, at most 1; 0 where values fall on units at random, below 0 where units disagree more than that.
            None where there is no α, and then ``note`` says why.
        low: Lower limit, None where there is no interval.
        high: Upper limit.
        n: Units with two values or more.
        unscored: Units with fewer, which say nothing about agreement.
        note: Why there is no value or no interval.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    unscored: int
    note: str = ""


class Equivalence(NamedTuple):
    """Whether two α differ by less than a margin: two one-sided t-tests on the bootstrap error of the difference.

    Attributes:
        difference: α of the first panel minus α of the second; None where one of them has none.
        low: Lower limit of the 90 % interval (for two tests at .05).
        high: Upper limit.
        p: The larger of the two one-sided p-values.
        margin: The difference that would matter.
        equivalent: p below ``alpha``, which is the same as the interval lying inside ±margin; None if unknown.
        n: Units with two values or more in either panel.
        note: Why there is no answer.
    """

    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    margin: float
    equivalent: bool | None
    n: int
    note: str = ""


def count_values(ratings: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """How often each value was given to each unit.

    Args:
        ratings: (U, R) units by coders; NaN where a coder gave no value.

    Returns:
        Counts (U, K) and the K values in ascending order.

    Raises:
        NotFiniteError: If a value is infinite, or there is none at all.

    >>> count_values([[1, 1, np.nan], [2, 1, 2]])[0].tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    table = check_shape("ratings", ratings, "units coders")
    given = ~np.isnan(table)
    if np.isinf(table).any() or not given.any():
        raise NotFiniteError("'ratings' need finite values", where="ratings", expected="numbers, or NaN for missing")
    values, code = np.unique(table[given], return_inverse=True)
    unit = np.nonzero(given)[0]
    flat = np.bincount(unit * len(values) + code, minlength=len(table) * len(values))
    return flat.reshape(len(table), len(values)).astype(np.float64), values


def agreement(
    ratings: ArrayLike, metric: Metric, *, seed: int = 0, draws: int = DRAWS, level: float = 0.95
) -> Agreement:
    """α of a table of units by coders, NaN where a value is missing; see ``agreement_of_counts``.

    >>> agreement([[1, 1], [2, 2], [1, 2]], "nominal").note
    'few clusters: 3 of at least 8 needed for an interval'
    """
    counts, values = count_values(ratings)
    return agreement_of_counts(counts, metric, values=values, seed=seed, draws=draws, level=level)


def agreement_of_counts(
    counts: ArrayLike,
    metric: Metric,
    *,
    values: ArrayLike | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = 0.95,
) -> Agreement:
    """α and its percentile bootstrap interval over units.

    Args:
        counts: (U, K) how often each category was given to each unit; categories in ascending order.
        metric: What a disagreement is: any two categories (nominal), the values between them (ordinal), or the
            squared distance of their numbers (interval).
        values: (K,) the categories' numbers, for ``interval``; 0..K-1 if not given.
        seed: Seed of the draws.
        draws: Number of draws.
        level: Confidence level.

    Returns:
        α with n and the number of units that had fewer than two values. No value where every value is equal or no
        unit has two; no interval below ``MIN_CLUSTERS`` units. Draws in which all values are equal have no α and are
        left out.

    Raises:
        NotFiniteError: If a count or a value is not finite.
        GaugeError: If counts are negative or not whole, or shapes differ.
    """
    table, numbers = _checked(counts, values)
    kept = table[table.sum(axis=1) >= 2]
    u, left_out = len(kept), len(table) - int((table.sum(axis=1) >= 2).sum())
    if not u:
        return Agreement(None, None, None, 0, left_out, "no unit has two values")
    value = float(_alpha(np.ones((1, u)), kept, metric, numbers)[0])
    if np.isnan(value):
        return Agreement(None, None, None, u, left_out, "no variance: all values are equal")
    if u < MIN_CLUSTERS:
        return Agreement(value, None, None, u, left_out, few_clusters(u))
    drawn = _drawn([kept], metric, numbers, seed=seed, draws=draws)[0]
    low, high = percentile_limits(drawn, level, u)
    return Agreement(value, float(low), float(high), u, left_out)


def equivalent_agreement(
    counts: ArrayLike,
    other: ArrayLike,
    metric: Metric,
    *,
    margin: float,
    values: ArrayLike | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    draws: int = DRAWS,
) -> Equivalence:
    """Do two panels that judged the same units agree among themselves equally well, up to ``margin``?

    Units are resampled together for both panels, so that a hard unit is hard in both.

    Args:
        counts: (U, K) counts of one panel.
        other: (U, K) counts of the other, same units and categories.
        metric: As in ``agreement_of_counts``.
        margin: Difference in α that would matter, above 0; to be fixed before the data.
        values: As in ``agreement_of_counts``.
        alpha: Level of each one-sided test.
        seed: Seed of the draws.
        draws: Number of draws for the standard error.

    Returns:
        The test, t with U-1 degrees of freedom.

    Raises:
        GaugeError: If shapes differ or ``margin`` is not positive.

    Source: Schuirmann 1987 for two one-sided tests; arXiv 2510.06658 for the idea of testing α for equivalence.
    """
    if not (np.isfinite(margin) and margin > 0):
        raise GaugeError("'margin' is not positive", where="margin", found=repr(margin), expected="a number above 0")
    (a, numbers), (b, _) = _checked(counts, values), _checked(other, values)
    if a.shape != b.shape:
        raise GaugeError("the panels differ in shape", found=f"{a.shape} and {b.shape}", expected="the same units")
    paired = [np.where(t.sum(axis=1, keepdims=True) >= 2, t, 0.0) for t in (a, b)]
    used = (paired[0].sum(axis=1) > 0) | (paired[1].sum(axis=1) > 0)
    paired, u = [t[used] for t in paired], int(used.sum())
    found = [float(_alpha(np.ones((1, u)), t, metric, numbers)[0]) if u else np.nan for t in paired]
    if np.isnan(found).any():
        return Equivalence(None, None, None, None, margin, None, u, "a panel has no α: all its values are equal")
    difference = found[0] - found[1]
    if u < MIN_CLUSTERS:
        return Equivalence(difference, None, None, None, margin, None, u, few_clusters(u))
    one, two = _drawn(paired, metric, numbers, seed=seed, draws=draws)
    error = float(np.nanstd(one - two, ddof=1))
    if error == 0:
        inside = abs(difference) < margin
        return Equivalence(difference, difference, difference, 0.0 if inside else 1.0, margin, inside, u)
    p = float(max(sps.t.sf((difference + margin) / error, u - 1), sps.t.cdf((difference - margin) / error, u - 1)))
    half = float(sps.t.ppf(1 - alpha, u - 1)) * error
    return Equivalence(difference, difference - half, difference + half, p, margin, p < alpha, u)


def _checked(counts: ArrayLike, values: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    table: FloatArray = check_shape("counts", counts, "units categories")
    numbers: FloatArray = check_shape("values", np.arange(table.shape[1]) if values is None else values, "K")
    if not (np.isfinite(table).all() and np.isfinite(numbers).all()):
        raise NotFiniteError("a count or a value is not finite", where="counts", expected="whole numbers")
    if (table < 0).any() or (table != np.round(table)).any():
        raise GaugeError("'counts' holds no counts", where="counts", expected="whole numbers of at least 0")
    if len(numbers) != table.shape[1]:
        raise GaugeError("'values' and categories differ in number", found=f"{len(numbers)} and {table.shape[1]}")
    if (np.diff(numbers) <= 0).any():
        raise GaugeError("'values' do not ascend", where="values", expected="categories in ascending order")
    return table, numbers


def _drawn(
    panels: list[FloatArray], metric: Metric, numbers: FloatArray, *, seed: int, draws: int
) -> list[FloatArray]:
    """(draws,) α of every panel, units sampled with replacement, the same units for each panel."""
    u = len(panels[0])
    rng = np.random.default_rng(seed)
    block = max(1, _NUMBERS_AT_ONCE // u)
    parts: list[list[FloatArray]] = [[] for _ in panels]
    for start in range(0, draws, block):
        weights = rng.multinomial(u, np.full(u, 1 / u), size=min(block, draws - start)).astype(np.float64)
        for part, panel in zip(parts, panels, strict=True):
            part.append(_alpha(weights, panel, metric, numbers))
    return [np.concatenate(part) for part in parts]


def _alpha(w: FloatArray, counts: FloatArray, metric: Metric, numbers: FloatArray) -> FloatArray:
    """α under unit weights w (B, U): (B,), NaN where all values are equal."""
    m = counts.sum(axis=1)
    n_c = w @ counts
    n = n_c.sum(axis=1)
    per_pair = 1 / np.maximum(m - 1, 1)  # units without values have weight 0 below whatever stands here
    if metric == "nominal":
        observed = w @ ((m**2 - (counts**2).sum(axis=1)) * per_pair)
        expected = n**2 - (n_c**2).sum(axis=1)
    else:
        level = numbers - (counts.sum(axis=0) @ numbers) / counts.sum()  # centred: large numbers cancel no digits
        x: Any = np.cumsum(n_c, axis=1) - n_c / 2 if metric == "ordinal" else np.broadcast_to(level, n_c.shape)
        first, second = x @ counts.T, x**2 @ counts.T
        observed = (w * (m * second - first**2) * per_pair).sum(axis=1)
        expected = n * (n_c * x**2).sum(axis=1) - (n_c * x).sum(axis=1) ** 2
    several = (n_c > 0).sum(axis=1) > 1
    ratio = np.divide((n - 1) * observed, expected, out=np.full(len(w), np.nan), where=several)
    return np.asarray(1 - ratio)
