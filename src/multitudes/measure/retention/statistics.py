"""The numbers of an arm as functions of weights of its cells: a bootstrap draw is the same computation again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.retention.cells import Cells, sums
from multitudes.measure.retention.curve import area, decay_rate, recovered, recovery_parts, retention
from multitudes.measure.retention.flips import HALF, Floor, flips_at, follow
from multitudes.measure.retention.intervals import Statistic, Weights
from multitudes.measure.retention.survival import product_limit, step_area

FloatArray = NDArray[np.float64]


def difference(first: Statistic, second: Statistic) -> Statistic:
    """A statistic minus another, on the same draws."""
    return lambda weights: np.asarray(first(weights) - second(weights))


def delta0_statistic(cells: Cells) -> Statistic:
    """Δ₀ as a function of weights."""
    parts = sums(cells)
    start, scored = parts.top[:, 0], parts.scored[:, 0].astype(np.float64)
    return lambda weights: ratio_or_nan(weights(cells) @ start, weights(cells) @ scored)


def curve_statistic(cells: Cells) -> Statistic:
    """R_t as a function of weights, (b, t)."""
    parts = sums(cells)
    return lambda weights: retention(parts, weights(cells))


def auc_statistic(cells: Cells) -> Statistic:
    """AUC_R as a function of weights."""
    parts = sums(cells)
    return lambda weights: area(retention(parts, weights(cells)), cells.pressed)


def rate_statistic(cells: Cells) -> Statistic:
    """λ as a function of weights; inf, which is all lost at once, counts as undefined in an interval."""
    parts, pressed = sums(cells), cells.pressed
    return lambda weights: decay_rate(retention(parts, weights(cells))[:, pressed], cells.turns[pressed])


def rho_statistic(cells: Cells) -> Statistic:
    """ρ as a function of weights."""
    parts = recovery_parts(cells)
    return lambda weights: recovered(parts, weights(cells))


def median_statistic(cells: Cells, *, floor: Floor = "cell") -> Statistic:
    """Median of S in turns as a function of weights; inf where it is not reached."""

    def median(weights: Weights) -> FloatArray:
        grid, survival = _survivals(cells, weights(cells), floor)
        reached = survival <= 0.5 + 1e-12
        found = np.where(reached.any(axis=1), grid[reached.argmax(axis=1)], np.inf)
        return np.where(np.isnan(survival[:, -1]), np.nan, found)

    return median


def rmst_statistic(cells: Cells, *, floor: Floor = "cell") -> Statistic:
    """∫₀ᵀ S in turns as a function of weights."""

    def rmst(weights: Weights) -> FloatArray:
        grid, survival = _survivals(cells, weights(cells), floor)
        return step_area(grid, survival, cells.last)

    return rmst


def _survivals(cells: Cells, weights: FloatArray, floor: Floor) -> tuple[FloatArray, FloatArray]:
    """Turns (k,) and S (b, k) of each draw, its line at half of its own Δ₀; NaN where that is not above 0."""
    grid, deaths, exits = flip_tables(cells, weights, floor)
    at_risk = exits[:, ::-1].cumsum(axis=1)[:, ::-1]
    survival = product_limit(deaths, at_risk)
    return grid, np.where(at_risk[:, :1] > 0, survival, np.nan)


def flip_tables(cells: Cells, weights: FloatArray, floor: Floor) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Turns (k,), weight of flips (b, k) and of all that end (b, k) at each; zeros where Δ₀ is not above 0."""
    parts = sums(cells)
    starts = ratio_or_nan(weights @ parts.top[:, 0], weights @ parts.scored[:, 0].astype(np.float64))
    followed = follow(cells, floor=floor)
    k = len(followed.grid)
    deaths, exits = np.zeros((len(weights), k)), np.zeros((len(weights), k))
    for b in np.flatnonzero(starts > 0):
        if floor == "pooled":
            followed = follow(cells, floor=floor, weights=weights[b])
        at, flipped = flips_at(followed, HALF * float(starts[b]))
        w = weights[b, followed.cell]
        exits[b] = np.bincount(at, w, k)
        deaths[b] = np.bincount(at[flipped], w[flipped], k)
    return followed.grid, deaths, exits


def ratio_or_nan(top: FloatArray, bottom: FloatArray) -> FloatArray:
    """Top over bottom, NaN where the bottom is not above 0."""
    return np.asarray(np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0))
