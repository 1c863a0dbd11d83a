"""May a reader speak for an author? Its z beside the author's own z, turn by turn, on texts of the author."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length, check_shape
from multitudes.measure.errors import TooFewSamplesError, ZeroVarianceError
from multitudes.measure.stats import (
    DRAWS,
    MIN_CLUSTERS,
    Estimate,
    bootstrap_mean,
    few_clusters,
    percentile_limits,
    resampled_sums,
    sum_by,
)

FloatArray = NDArray[np.float64]
MIN_PAIRS = 3


class CrossReading(NamedTuple):
    """How far a reader's z follows the author's own.

    Attributes:
        r: Pearson correlation over turns, range [-1, 1], null 0.
        within: The same within conversations: each conversation's mean is taken out of both. What domains and
            people share cannot carry it.
        offset: Mean of reader z minus own z; null 0. The two scales are those of two models.
        n_turns: Turns with both.
        unscored: Turns without one of them.
    """

    r: Estimate
    within: Estimate
    offset: Estimate
    n_turns: int
    unscored: int


def cross_reading(
    own: ArrayLike, reader: ArrayLike, conversations: ArrayLike, *, seed: int, draws: int = DRAWS, level: float = 0.95
) -> CrossReading:
    """Correlation and offset of paired turns; intervals resample whole conversations.

    Args:
        own: (n,) the author's z by its own activations; NaN is unscored.
        reader: (n,) the reader's z of the same turns.
        conversations: (n,) what is resampled as a whole.
        seed: Seed of the draws.
        draws: Bootstrap draws.
        level: Confidence level.

    Raises:
        TooFewSamplesError: Fewer than three turns with both.
        ZeroVarianceError: One of the two does not vary.
    """
    x, y = check_shape("own", own, "n"), check_shape("reader", reader, "n")
    groups = np.asarray(conversations)
    check_same_length(own=x, reader=y, conversations=groups)
    both = ~(np.isnan(x) | np.isnan(y))
    if both.sum() < MIN_PAIRS:
        raise TooFewSamplesError(
            "too few turns with both readings", found=str(int(both.sum())), expected=f"at least {MIN_PAIRS}"
        )
    x, y = x[both], y[both]
    code = np.unique(groups[both], return_inverse=True)[1].astype(np.int64)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ZeroVarianceError("a reading that does not vary correlates with nothing", where="own or reader")
    n = np.bincount(code)
    dx, dy = (v - (sum_by(code, v) / n)[code] for v in (x, y))
    return CrossReading(
        _correlation(x, y, code, centre=True, seed=seed, draws=draws, level=level),
        _correlation(dx, dy, code, centre=False, seed=seed, draws=draws, level=level),
        bootstrap_mean(y - x, code, seed=seed, weighting="unit", draws=draws, level=level),
        len(x),
        int((~both).sum()),
    )


def _correlation(
    x: FloatArray, y: FloatArray, code: NDArray[np.int64], *, centre: bool, seed: int, draws: int, level: float
) -> Estimate:
    """Pearson r from six sums over clusters, so that a resample of clusters is a weighting of these."""
    shift = (x.mean(), y.mean()) if centre else (0.0, 0.0)  # sums of squares of small numbers lose no digits
    x, y = x - shift[0], y - shift[1]
    columns = [np.ones_like(x), x, y, x * x, y * y, x * y]
    sums = np.column_stack([sum_by(code, c) for c in columns])
    value, g = float(_r(sums.sum(axis=0)[None], centre=centre)[0]), len(sums)
    if np.isnan(value):
        return Estimate(np.nan, None, None, g, 0, "no spread within conversations")
    if g < MIN_CLUSTERS:
        return Estimate(value, None, None, g, 0, few_clusters(g))
    low, high = percentile_limits(_r(resampled_sums(sums, seed=seed, draws=draws), centre=centre), level, g)
    return Estimate(value, float(low), float(high), g)


def _r(sums: FloatArray, *, centre: bool) -> FloatArray:
    n, sx, sy, sxx, syy, sxy = sums.T
    if centre:
        sxx, syy, sxy = sxx - sx * sx / n, syy - sy * sy / n, sxy - sx * sy / n
    spread = sxx * syy
    out = np.full(len(n), np.nan)
    there = spread > 1e-18 * max(float(np.max(spread, initial=0.0)), 1e-300)
    np.divide(sxy, np.sqrt(np.where(there, spread, 1.0)), out=out, where=there)
    return np.asarray(np.clip(out, -1.0, 1.0))
