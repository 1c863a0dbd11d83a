"""The dose of pressure at which half of the persona is kept, and how sure that is over base prompts.

Doses grow along the turns where suffixes are stacked, and across pressures where a foreign turn gets longer: each
length of it is a pressure of its own, with an AUC_R of its own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.retention.intervals import Resample, Statistic, Weights, draws_of, quantile_limits
from multitudes.measure.stats import Estimate

FloatArray = NDArray[np.float64]

LONGEST = 4  # ED50 beyond this many times the largest dose is extrapolation and not printed
SLOPES = (0.1, 20.0)  # range of k: flatter is no response, steeper is a step between two doses
MAX_UNFITTED = 0.2  # share of draws whose ED50 lies beyond what is printed, above which there is no interval
_MIDDLES = 65  # starts tried, with these slopes; a steeper start is flat between two doses, so that steps stand still
_START_SLOPES = tuple(0.25 * 2 ** (i / 2) for i in range(11))
_STEPS = 120
_STILL = 1e-8  # of a step in log ED50 and log k
_ROWS_AT_ONCE = 2_000


class DoseResponse(NamedTuple):
    """R = 1 / (1 + (dose / ED50)^k).

    Attributes:
        ed50: In units of dose; None where it lies beyond the doses given. Higher sticks more.
        slope: k; NaN where ``ed50`` is None.
        text: As printed, ">32" among others.
        rss: Residual sum of squares in R².
        n: Doses above 0.
    """

    ed50: float | None
    slope: float
    text: str
    rss: float
    n: int


class DoseInterval(NamedTuple):
    """ED50 with its interval over base prompts.

    Attributes:
        estimate: Value and limits in units of dose; inf and 0 are beyond what is printed, on either side. No limits
            where too few draws could be fitted, and ``note`` says why.
        unfitted: Share of draws without an ED50 within reach of the doses.
        text: As printed: value, then limits.
    """

    estimate: Estimate
    unfitted: float
    text: str


def dose_response(doses: ArrayLike, retained: ArrayLike) -> DoseResponse:
    """ED50 by least squares of R over doses. For pressures with a dose only: stacked suffixes, foreign tokens.

    A dose of 0 has R = 1 by construction and says nothing.

    Args:
        doses: (m,) >= 0.
        retained: (m,) R at each; NaN is left out.

    Returns:
        The fit. ``ed50`` is None with ">4·largest" where the fit lies beyond 4 times the largest dose, and with
        "<smallest/4" on the other side.

    Raises:
        GaugeError: Fewer than two distinct doses above 0.

    >>> dose_response([1, 2, 4, 8], [0.8, 2 / 3, 0.5, 1 / 3]).text
    '4.00'
    """
    x, r = check_shape("doses", doses, "m"), check_shape("retained", retained, "m")
    check_same_length(doses=x, retained=r)
    keep = np.isfinite(r)
    log_doses, used = _log_doses(x[keep])
    fit = _fits(log_doses, r[keep][used][None])
    value = float(_in_reach(log_doses, fit.middle)[0])
    text, rss = _shown(value, log_doses), float(fit.rss[0])
    if not 0 < value < math.inf:
        return DoseResponse(None, math.nan, text, rss, len(log_doses))
    return DoseResponse(value, math.exp(float(fit.log_slope[0])), text, rss, len(log_doses))


def dose_responses(doses: ArrayLike, retained: ArrayLike) -> FloatArray:
    """ED50 of many curves over the same doses at once: (b, m) R to (b,).

    inf is beyond 4 times the largest dose, 0 below a quarter of the smallest; NaN where an R is NaN.

    Raises:
        GaugeError: As ``dose_response``.

    >>> dose_responses([1, 2, 4, 8], [[0.8, 2 / 3, 0.5, 1 / 3], [1, 1, 1, 1]]).round(6).tolist()
    [4.0, inf]
    """
    x, r = check_shape("doses", doses, "m"), check_shape("retained", retained, "b m")
    log_doses, used = _log_doses(x)
    r = r[:, used]
    if r.shape[1] != len(log_doses):
        raise GaugeError("doses do not fit", found=f"{x.shape}, {r.shape}", expected="(m,), (b, m)")
    out = np.full(len(r), np.nan)
    known = np.flatnonzero(np.isfinite(r).all(axis=1))
    for start in range(0, len(known), _ROWS_AT_ONCE):
        rows = known[start : start + _ROWS_AT_ONCE]
        out[rows] = _in_reach(log_doses, _fits(log_doses, r[rows]).middle)
    return out


def dose_interval(curve: Statistic, doses: ArrayLike, sample: Resample) -> DoseInterval:
    """ED50 with its interval: the curve is fitted anew in every draw of base prompts.

    A draw whose ED50 lies beyond what is printed is kept as "beyond", on its side: leaving it out would pull the
    limits to the middle. Above 20 % of such draws there are no limits. Limits are bias-corrected quantiles of the
    draws: an ED50 that may be infinite has no delete-one variance.

    Args:
        curve: (b, m) R at each dose as a function of weights, such as ``statistics.curve_statistic`` at the turns
            under pressure, or AUC_R of the arm of each dose.
        doses: (m,) >= 0. One at which R is NaN is left out.
        sample: Draws that all arms share.

    Raises:
        GaugeError: As ``dose_response``.
    """
    x, whole = check_shape("doses", doses, "m"), np.asarray(curve(sample.whole), dtype=np.float64)
    check_same_length(doses=x, curve=whole[0])
    told = np.isfinite(whole[0])
    log_doses, _ = _log_doses(x[told])

    def ed50(weights: Weights) -> FloatArray:
        return dose_responses(x[told], curve(weights)[:, told])

    value = float(ed50(sample.whole)[0])
    drawn = draws_of(ed50, sample)[:, 0]
    unfitted = float((~((drawn > 0) & (drawn < math.inf))).mean())
    text = _shown(value, log_doses)
    if not 0 < value < math.inf:
        found = Estimate(value, None, None, sample.n, 0, "beyond the doses given")
    elif unfitted > MAX_UNFITTED:
        found = Estimate(value, None, None, sample.n, 0, f"no ED50 within reach in {unfitted:.0%} of draws")
    else:
        found = quantile_limits(value, drawn, sample)
        if found.low is not None and found.high is not None:
            text += f" [{_shown(found.low, log_doses)}, {_shown(found.high, log_doses)}]"
        if unfitted:
            share = f"no ED50 within reach in {unfitted:.0%} of draws, kept as beyond"
            found = found._replace(note="; ".join(n for n in (found.note, share) if n))
    return DoseInterval(found, unfitted, text)


class _Fits(NamedTuple):
    """(b,) log ED50, log k and residual sum of squares."""

    middle: FloatArray
    log_slope: FloatArray
    rss: FloatArray


def _fits(x: FloatArray, r: FloatArray) -> _Fits:
    """Least squares of (b, m) R over (m,) log doses: the best of a grid, then damped Newton steps in the box."""
    edge = math.log(LONGEST) + 1.0  # a little beyond what is printed, so that the end of the range is told from a fit
    low = np.array([float(x.min()) - edge, math.log(SLOPES[0])])
    high = np.array([float(x.max()) + edge, math.log(SLOPES[1])])
    middles = np.linspace(low[0], high[0], _MIDDLES)
    grid = np.stack(np.meshgrid(middles, np.log(_START_SLOPES), indexing="ij"), axis=-1).reshape(-1, 2)
    shapes = _kept(grid, x)
    p = grid[((shapes**2).sum(axis=1) - 2 * r @ shapes.T).argmin(axis=1)]
    damping = np.full(len(r), 1e-3)
    loss = ((_kept(p, x) - r) ** 2).sum(axis=1)
    for _ in range(_STEPS):
        gradient, h = _slopes(p, x, r)
        stuck = ((p <= low) & (gradient > 0)) | ((p >= high) & (gradient < 0))  # an end of the box holds it
        gradient = np.where(stuck, 0.0, gradient)
        h = np.where(stuck[:, :, None] | stuck[:, None, :], np.eye(2) * np.abs(h), h)
        half, apart = (h[:, 0, 0] + h[:, 1, 1]) / 2, np.hypot((h[:, 0, 0] - h[:, 1, 1]) / 2, h[:, 0, 1])
        lift = np.maximum(apart - half, 0.0) * 1.1 + damping * (np.abs(half) + apart) + 1e-12  # makes h positive
        step = np.linalg.solve(h + lift[:, None, None] * np.eye(2), gradient[:, :, None])[:, :, 0]
        tried = np.clip(p - step, low, high)
        new = ((_kept(tried, x) - r) ** 2).sum(axis=1)
        better = new <= loss
        if (np.abs(tried - p).max(axis=1) < _STILL).all():
            break
        p, loss = np.where(better[:, None], tried, p), np.where(better, new, loss)
        damping = np.clip(np.where(better, damping / 8, damping * 4), 1e-12, 1e6)
    return _Fits(p[:, 0], p[:, 1], loss)


def _slopes(p: FloatArray, x: FloatArray, r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(b, 2) gradient and (b, 2, 2) second derivatives of half the sum of squares, in log ED50 and log k."""
    fit, k = _kept(p, x), np.exp(p[:, 1:])
    off, z, bend = fit - r, k * (x - p[:, :1]), fit * (1 - fit)  # R = 1 / (1 + e^z); dR/dz = −bend
    moved = np.stack([np.broadcast_to(-k, z.shape), z], axis=2)  # dz
    first, second = -off * bend, bend**2 + off * bend * (1 - 2 * fit)
    h = np.einsum("bm,bmi,bmj->bij", second, moved, moved)
    h[:, 0, 1] -= (first * k).sum(axis=1)
    h[:, 1, 0] -= (first * k).sum(axis=1)
    h[:, 1, 1] += (first * z).sum(axis=1)
    return np.einsum("bm,bmi->bi", first, moved), h


def _kept(p: FloatArray, x: FloatArray) -> FloatArray:
    """(b, m) R of (b, 2) log ED50 and log k at (m,) log doses."""
    return np.asarray(expit(-np.exp(p[:, 1:]) * (x - p[:, :1])), dtype=np.float64)


def _log_doses(x: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    if not np.isfinite(x).all() or (x < 0).any():
        raise GaugeError("a dose is a number, 0 or more", where="doses", found=str(x.tolist()))
    used = np.asarray(x > 0)
    logs = np.log(x[used])
    if len(np.unique(logs)) < 2:
        raise GaugeError(
            "a dose curve needs two doses", where="doses", found=str(len(np.unique(logs))), expected=">= 2"
        )
    return logs, used


def _in_reach(x: FloatArray, middle: FloatArray) -> FloatArray:
    reach = math.log(LONGEST)
    beyond = np.where(middle > x.max() + reach, np.inf, np.exp(middle))
    return np.asarray(np.where(middle < x.min() - reach, 0.0, beyond))


def _shown(value: float, x: FloatArray) -> str:
    if math.isinf(value):
        return f">{LONGEST * math.exp(float(x.max())):.4g}"
    if value == 0:
        return f"<{math.exp(float(x.min())) / LONGEST:.4g}"
    return "not scored" if math.isnan(value) else f"{value:.2f}"
