"""Log-logistic accelerated failure time with events known to an interval: how many times longer one arm lasts.

    S(t) = 1 / (1 + (t/α)^κ),  log α = x'β

Taking the probe that showed a flip for its exact time biases the time ratio toward 1. Cox is not used: hazards cross
where one arm yields at once and the other late.

With z = κ log t − x'θ, θ = κβ, the likelihood is log[S(lo) − S(hi)] of a logistic variable, which is concave in
(κ, θ) because the logistic density is log-concave. So Newton with halved steps finds the one maximum, if there is
one, and many fits on the same rows with other weights run side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MIN_EVENTS = 5  # per arm; fewer give no time ratio
STEPS = 60
_TOLERANCE = 1e-9  # of the Newton decrement, in log-likelihood
_HALVINGS = 30
_ROUNDING = 1e-6  # decrement at which a step that brings nothing is rounding, not failure
_FLAT = 1e-6  # information per unit of weight below which a direction has no maximum, or none that was reached
_STEEP = (1e-3, 1e3)  # range of κ that is a shape
_NUMBERS_AT_ONCE = 4_000_000


class AftFit(NamedTuple):
    """One fit.

    Attributes:
        beta: (k,) β in log turns; e^β of an arm's column is its time ratio, 1 is equal, above 1 lasts longer.
        log_shape: log κ, common to all arms.
        log_likelihood: Σ w log[S(lo) − S(hi)].
        converged: False if there is no maximum: an arm without events, or all of one interval.
        events: Weight of the rows with an event.
    """

    beta: FloatArray
    log_shape: float
    log_likelihood: float
    converged: bool
    events: float


class AftFits(NamedTuple):
    """Many fits: ``beta`` (B, k), the rest (B,)."""

    beta: FloatArray
    log_shape: FloatArray
    log_likelihood: FloatArray
    converged: BoolArray


class _Rows(NamedTuple):
    """Rows of the likelihood; ``starts`` and ``open`` say where ``log_low`` and ``log_high`` are not used."""

    log_low: FloatArray
    log_high: FloatArray
    starts: BoolArray
    open: BoolArray
    design: FloatArray


def fit_log_logistic(
    low: ArrayLike, high: ArrayLike, design: ArrayLike, *, weights: ArrayLike | None = None
) -> AftFit:
    """Maximum likelihood of the log-logistic model.

    Args:
        low: (n,) turn known to be before the event, >= 0.
        high: (n,) turn known to be at or after it, > ``low``; inf if censored at ``low``.
        design: (n, k) x, with a column of ones; full rank.
        weights: (n,) >= 0.

    Returns:
        The fit. Standard errors are not given: they would ignore that conversations on one prompt belong together.

    Source: Kalbfleisch & Prentice 2002, ch. 3; checked against lifelines' interval-censored fitter.

    >>> fit = fit_log_logistic([0, 1, 2, 4], [1, 2, 4, np.inf], np.ones((4, 1)))
    >>> round(float(np.exp(fit.beta[0])), 2)
    2.0
    """
    rows = _rows(low, high, design)
    w = np.ones(len(rows.design)) if weights is None else check_shape("weights", weights, "n")
    fits = _fit(rows, _checked_weights(w[None, :], len(rows.design)))
    events = float(w[~rows.open].sum())
    return AftFit(
        fits.beta[0], float(fits.log_shape[0]), float(fits.log_likelihood[0]), bool(fits.converged[0]), events
    )


def fit_many(low: ArrayLike, high: ArrayLike, design: ArrayLike, weights: ArrayLike) -> AftFits:
    """The same model on the same rows under many weights, as a bootstrap needs it.

    Args:
        low: (n,) as in ``fit_log_logistic``.
        high: (n,).
        design: (n, k).
        weights: (B, n) >= 0. Rows that are alike are best given once, with their number as weight.
    """
    rows = _rows(low, high, design)
    w = _checked_weights(check_shape("weights", weights, "B n"), len(rows.design))
    block = max(1, _NUMBERS_AT_ONCE // max(1, len(rows.design)))
    parts = [_fit(rows, w[start : start + block]) for start in range(0, len(w), block)]
    return AftFits(*(np.concatenate([getattr(p, name) for p in parts]) for name in AftFits._fields))


def _rows(low: ArrayLike, high: ArrayLike, design: ArrayLike) -> _Rows:
    lo, hi = check_shape("low", low, "n"), check_shape("high", high, "n")
    x = check_shape("design", design, "n k")
    check_same_length(low=lo, high=hi, design=x)
    if not (np.isfinite(lo).all() and (lo >= 0).all() and (hi > lo).all() and np.isfinite(x).all()):
        raise GaugeError(
            "not intervals (lo, hi] with 0 <= lo < hi, or a covariate is not a number", where="low, high, design"
        )
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise GaugeError("columns of the design say the same thing", where="design", found=f"rank below {x.shape[1]}")
    starts, unseen = lo == 0, np.isinf(hi)
    return _Rows(np.log(np.where(starts, 1.0, lo)), np.log(np.where(unseen, 1.0, hi)), starts, unseen, x)


def _checked_weights(w: FloatArray, n: int) -> FloatArray:
    if w.shape[1] != n or not (np.isfinite(w).all() and (w >= 0).all() and (w.sum(axis=1) > 0).all()):
        raise GaugeError("weights are numbers >= 0, one per row, not all 0", where="weights", found=str(w.shape))
    return w


def _likelihood(rows: _Rows, w: FloatArray, p: FloatArray) -> FloatArray:
    """(B,) log-likelihood at parameters (B, 1 + k) = (κ, θ); −inf where κ <= 0."""
    a, b = _edges(rows, p)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        each = (
            np.where(rows.starts, 0.0, log_expit(-a))
            + np.where(rows.open, 0.0, log_expit(b))
            + np.where(rows.starts | rows.open, 0.0, np.log(-np.expm1(np.minimum(a - b, 0.0))))
        )
        total = np.where(w > 0, w * each, 0.0).sum(axis=1)
    return np.where((p[:, 0] > 0) & ~np.isnan(total), total, -np.inf)


def _edges(rows: _Rows, p: FloatArray) -> tuple[FloatArray, FloatArray]:
    shift = p[:, 1:] @ rows.design.T
    return p[:, :1] * rows.log_low - shift, p[:, :1] * rows.log_high - shift


def _slopes(rows: _Rows, w: FloatArray, p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradient (B, 1 + k) and negative Hessian (B, 1 + k, 1 + k) of the log-likelihood in (κ, θ).

    S(a) − S(b) = expit(−a) expit(b) (1 − e^{a−b}), so with r = 1 / (e^{b−a} − 1)
    ∂a = −expit(a) − r, ∂b = expit(−b) + r, ∂aa = −expit(a)expit(−a) − r(1 + r), ∂ab = r(1 + r), and alike for b.
    """
    a, b = _edges(rows, p)
    inside = ~(rows.starts | rows.open)
    with np.errstate(divide="ignore", over="ignore"):
        r = np.where(inside, 1.0 / np.expm1(np.where(inside, b - a, 1.0)), 0.0)
    has_a, has_b = np.where(rows.starts, 0.0, 1.0), np.where(rows.open, 0.0, 1.0)
    ga, gb = -has_a * expit(a) - r, has_b * expit(-b) + r
    rr = r * (1.0 + r)
    haa, hbb = has_a * expit(a) * expit(-a) + rr, has_b * expit(b) * expit(-b) + rr
    # a = κ log lo − x'θ and b = κ log hi − x'θ; where an edge is missing its log is 0 and its terms are too.
    la, lb, x = rows.log_low, rows.log_high, rows.design
    gradient = np.concatenate([((ga * la + gb * lb) * w).sum(axis=1)[:, None], -((ga + gb) * w) @ x], axis=1)
    kk = ((haa * la**2 + hbb * lb**2 - 2 * rr * la * lb) * w).sum(axis=1)
    kt = -(((haa - rr) * la + (hbb - rr) * lb) * w) @ x
    tt = np.einsum("bn,ni,nj->bij", (haa + hbb - 2 * rr) * w, x, x, optimize=True)
    size = 1 + x.shape[1]
    negative = np.empty((len(p), size, size))
    negative[:, 0, 0], negative[:, 0, 1:], negative[:, 1:, 0], negative[:, 1:, 1:] = kk, kt, kt, tt
    return gradient, negative


def _start(rows: _Rows, w: FloatArray) -> FloatArray:
    """κ = 1 and log α at the weighted mean of log middle times, on the column of the design nearest to ones."""
    middle = np.where(
        rows.open, rows.log_low + 0.7, np.where(rows.starts, rows.log_high - 0.7, (rows.log_low + rows.log_high) / 2)
    )
    centre = (w @ middle) / w.sum(axis=1)
    ones = np.linalg.lstsq(rows.design, np.ones(len(rows.design)), rcond=None)[0]
    return np.concatenate([np.ones((len(w), 1)), centre[:, None] * ones], axis=1)


def _fit(rows: _Rows, w: FloatArray) -> AftFits:
    p = _start(rows, w)
    value = _likelihood(rows, w, p)
    todo, done = np.arange(len(w)), np.zeros(len(w), dtype=bool)
    for _ in range(STEPS):
        gradient, negative = _slopes(rows, w[todo], p[todo])
        scale = np.einsum("bii->bi", negative).max(axis=1)
        ridge = (1e-12 * np.maximum(scale, 1e-300))[:, None, None] * np.eye(negative.shape[1])
        step = np.linalg.solve(negative + ridge, gradient[:, :, None])[:, :, 0]
        decrement = (gradient * step).sum(axis=1)
        finished = decrement < _TOLERANCE
        done[todo[finished]] = True
        todo, step = todo[~finished], step[~finished]
        if not len(todo):
            break
        p[todo], value[todo], moved = _line_search(rows, w[todo], p[todo], value[todo], step)
        done[todo[~moved & (decrement[~finished] < _ROUNDING)]] = True
        todo = todo[moved & (p[todo, 0] < _STEEP[1])]
        if not len(todo):
            break
    return AftFits(p[:, 1:] / p[:, :1], np.log(p[:, 0]), value, done & _determined(rows, w, p))


def _line_search(
    rows: _Rows, w: FloatArray, p: FloatArray, value: FloatArray, step: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Halve each step until the likelihood rises; (B,) whether it did."""
    out, best, open_ = p.copy(), value.copy(), np.arange(len(p))
    size = 1.0
    for _ in range(_HALVINGS):
        trial = p[open_] + size * step[open_]
        found = _likelihood(rows, w[open_], trial)
        better = found > value[open_]
        out[open_[better]], best[open_[better]] = trial[better], found[better]
        open_ = open_[~better]
        if not len(open_):
            break
        size /= 2
    moved = np.ones(len(p), dtype=bool)
    moved[open_] = False
    return out, best, moved


def _determined(rows: _Rows, w: FloatArray, p: FloatArray) -> BoolArray:
    """(B,) whether every direction is held by the data: likelihoods of arms without events only flatten out."""
    _, negative = _slopes(rows, w, p)
    logs = (w @ np.maximum(rows.log_low**2, rows.log_high**2))[:, None]
    size = np.sqrt(np.concatenate([logs, w @ rows.design**2], axis=1))
    held = (size > 0).all(axis=1) & (p[:, 0] > _STEEP[0]) & (p[:, 0] < _STEEP[1])
    size = np.where(size > 0, size, 1.0)
    per_weight = negative / size[:, :, None] / size[:, None, :]
    return np.asarray(held & (np.linalg.eigvalsh(per_weight)[:, 0] > _FLAT))
