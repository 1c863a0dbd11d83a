"""How many times longer one arm lasts than another, with its interval over base prompts."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.retention.aft import MIN_EVENTS, fit_log_logistic, fit_many
from multitudes.measure.retention.cells import Cells, sums
from multitudes.measure.retention.flips import HALF, Floor, find_flips, flips_at, follow
from multitudes.measure.retention.intervals import Resample, Statistic, Weights, fewer, interval
from multitudes.measure.retention.statistics import flip_tables, ratio_or_nan
from multitudes.measure.stats import Estimate

FloatArray = NDArray[np.float64]

AFT_DRAWS = 500


class TimeRatio(NamedTuple):
    """TR, how many times longer the first arm lasts. 1 is equal; ``estimate`` is None where ``reason`` says why."""

    estimate: Estimate | None
    shape: float
    reason: str = ""


def time_ratio(
    first: Cells, second: Cells, sample: Resample, *, floor: Floor = "cell", adjust: bool = False,
    draws: int = AFT_DRAWS,
) -> TimeRatio:  # fmt: skip
    """TR of the first arm over the second: e^β of the log-logistic model, with its interval over base prompts.

    The interval is formed for log TR. Δ₀, and with it the flips, are found anew in each draw.

    Args:
        first: The condition.
        second: C3.
        sample: Draws shared by both.
        floor: See ``flips.contrast``.
        adjust: Add the start D̄_0 − F̄_0 of the cell as a covariate, for unmatched arms. Noise in it leaves part of the
            confounding in, so an adjusted ratio supports no verdict.
        draws: Of the sample's draws.
    """
    for name, cells in (("first", first), ("second", second)):
        events = int(find_flips(cells, floor=floor).event.sum())
        if events < MIN_EVENTS:
            return TimeRatio(None, math.nan, f"{events} flips in the {name} arm, of at least {MIN_EVENTS} needed")
    statistic = _time_ratio_statistic(first, second, floor=floor, adjust=adjust)
    whole = statistic(sample.whole)[0]
    if np.isnan(whole).any():
        return TimeRatio(None, math.nan, "the likelihood has no maximum: all flips of an arm in one interval")
    found = interval(lambda weights: statistic(weights)[:, 0], fewer(sample, draws))
    limits = [None if x is None else math.exp(x) for x in (found.low, found.high)]
    return TimeRatio(found._replace(value=math.exp(found.value), low=limits[0], high=limits[1]), math.exp(whole[1]))


def _time_ratio_statistic(first: Cells, second: Cells, *, floor: Floor, adjust: bool) -> Statistic:
    """(b, 2) log TR and log κ as a function of weights; NaN where the likelihood has no maximum."""
    if adjust:
        return lambda weights: np.stack(
            [_adjusted_ratio(first, second, weights, i, floor) for i in range(len(weights.by_cluster))]
        )

    def ratio(weights: Weights) -> FloatArray:
        low, high, arm, counts = [], [], [], []
        for is_first, cells in ((1.0, first), (0.0, second)):
            grid, deaths, exits = flip_tables(cells, weights(cells), floor)
            low += [grid[:-1], grid]
            high += [grid[1:], np.full(len(grid), np.inf)]
            arm.append(np.full(2 * len(grid) - 1, is_first))
            counts += [deaths[:, 1:], exits - deaths]
        x = np.stack([np.concatenate(arm), np.ones(sum(map(len, arm)))], axis=1)
        w = np.concatenate(counts, axis=1)
        usable = w.sum(axis=1) > 0
        fits = fit_many(np.concatenate(low), np.concatenate(high), x, np.where(usable[:, None], w, 1.0))
        out = np.stack([fits.beta[:, 0], fits.log_shape], axis=1)
        return np.where((fits.converged & usable)[:, None], out, np.nan)

    return ratio


def _adjusted_ratio(first: Cells, second: Cells, weights: Weights, row: int, floor: Floor) -> FloatArray:
    low, high, x, counts = [], [], [], []
    for is_first, cells in ((1.0, first), (0.0, second)):
        w = weights(cells)[row]
        parts = sums(cells)
        line = HALF * float(ratio_or_nan(w @ parts.top[:, 0], w @ parts.scored[:, 0].astype(np.float64)))
        followed = follow(cells, floor=floor, weights=w)
        at, flipped = flips_at(followed, line)
        low.append(followed.grid[np.where(flipped, at - 1, at)])
        high.append(np.where(flipped, followed.grid[at], np.inf))
        start = np.where(parts.scored[:, 0], parts.top[:, 0], np.nan)[followed.cell]
        x.append(np.stack([np.full(len(at), is_first), np.ones(len(at)), start], axis=1))
        counts.append(w[followed.cell])
    design, w = np.concatenate(x), np.concatenate(counts)
    keep = ~np.isnan(design[:, 2]) & (w > 0)
    design, w = design[keep], w[keep]
    if not len(w) or np.linalg.matrix_rank(design) < 3:
        return np.full(2, np.nan)
    fit = fit_log_logistic(np.concatenate(low)[keep], np.concatenate(high)[keep], design, weights=w)
    return np.array([fit.beta[0], fit.log_shape]) if fit.converged else np.full(2, np.nan)
