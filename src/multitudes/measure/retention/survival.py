"""Right-censored survival in numpy: Kaplan-Meier with Greenwood's error, median, log-rank, restricted mean.

About a hundred lines instead of a run-time dependency; lifelines and statsmodels are oracles in the tests. None of
the standard errors here knows that conversations on one base prompt belong together: intervals come from
``intervals``, and the log-rank p is descriptive.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.retention.curve import HalfLife
from multitudes.measure.stats import sum_by

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class Survival(NamedTuple):
    """Kaplan-Meier estimate, one row per distinct time, event or censoring.

    Attributes:
        times: (k,) increasing.
        at_risk: (k,) weight of those not yet gone just before each time.
        events: (k,) weight of events.
        survival: (k,) S after each time; 1 before the first.
        se: (k,) Greenwood's standard error; NaN once S is 0.
    """

    times: FloatArray
    at_risk: FloatArray
    events: FloatArray
    survival: FloatArray
    se: FloatArray


class LogRank(NamedTuple):
    """Log-rank test that all arms survive alike.

    Attributes:
        statistic: χ², 0 is alike.
        df: Arms − 1.
        p: Ignores clusters: descriptive only.
    """

    statistic: float
    df: int
    p: float


def kaplan_meier(times: ArrayLike, events: ArrayLike, *, weights: ArrayLike | None = None) -> Survival:
    """S(t) with right-censoring; whoever is censored at t is still at risk at t.

    Args:
        times: (n,) >= 0, event or censoring.
        events: (n,) bool, true for an event.
        weights: (n,) >= 0; counts in a bootstrap draw. Greenwood's error takes them as numbers of conversations.

    Raises:
        GaugeError: If there is nothing, or a time or weight is negative or not finite.

    Source: Kaplan & Meier 1958; Greenwood 1926.

    >>> kaplan_meier([1, 2, 3], [True, False, True]).survival.round(3).tolist()
    [0.667, 0.667, 0.0]
    """
    t, hit, w = _checked(times, events, weights)
    ticks, code = np.unique(t, return_inverse=True)
    deaths, exits = sum_by(code, w * hit), sum_by(code, w)
    at_risk = np.asarray(exits[::-1].cumsum()[::-1], dtype=np.float64)
    keep = at_risk > 0
    ticks, deaths, at_risk = ticks[keep], deaths[keep], at_risk[keep]
    s = product_limit(deaths, at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        se = s * np.sqrt(np.cumsum(deaths / (at_risk * (at_risk - deaths))))
    return Survival(ticks, at_risk, deaths, s, np.where(s > 0, se, np.nan))


def product_limit(deaths: FloatArray, at_risk: FloatArray) -> FloatArray:
    """S after each of the ordered times, (..., k); a time with nobody at risk changes nothing."""
    hazard = np.divide(deaths, at_risk, out=np.zeros(np.shape(deaths)), where=at_risk > 0)
    return np.asarray(np.cumprod(1.0 - hazard, axis=-1))


def median_time(curve: Survival) -> float | None:
    """First time at which S <= ½; None where that is not reached.

    At a tie of exactly ½ libraries differ: lifelines takes this time, statsmodels the next event.
    """
    reached = np.flatnonzero(curve.survival <= 0.5 + 1e-12)  # products of fractions miss ½ by rounding
    return float(curve.times[reached[0]]) if len(reached) else None


def half_life(curve: Survival, *, first: float, last: float) -> HalfLife:
    """Median of S in turns: ">T" where not reached, "≤ first" where it is the first probe; higher sticks more.

    An event is known only to the probe that showed it, and the last probe cannot show one: two in a row are needed.
    Print that rule, and λ beside it: a true median of 6.9 reads ">8".

    Args:
        curve: Of conversations.
        first: Turn of the first probe under pressure.
        last: T.

    >>> half_life(kaplan_meier([8, 8], [False, False]), first=1, last=8)
    HalfLife(turns=None, text='>8')
    """
    found = median_time(curve)
    if found is None:
        return HalfLife(None, f">{last:g}")
    return HalfLife(found, f"≤ {first:g}" if found <= first else f"{found:g}")


def restricted_mean(curve: Survival, until: float) -> float:
    """∫₀ᵘ S(t) dt in turns, the area under the steps: model-free, in [0, until], higher sticks more.

    Where everybody was censored before ``until`` the last S is carried on, which is an assumption.
    """
    if not until > 0:
        raise GaugeError("a restricted mean needs a time above 0", where="until", found=repr(until))
    return float(step_area(curve.times, curve.survival, until))


def step_area(times: FloatArray, survival: FloatArray, until: float) -> FloatArray:
    """Area of right-continuous steps from 1 at 0 to ``until``, for (..., k) survivals."""
    edges = np.concatenate([[0.0], np.minimum(times, until), [until]])
    heights = np.concatenate([np.ones((*np.shape(survival)[:-1], 1)), survival], axis=-1)
    return np.asarray(heights @ np.diff(edges))


def log_rank(times: ArrayLike, events: ArrayLike, arms: ArrayLike) -> LogRank:
    """Log-rank test of two or more arms.

    Args:
        times: (n,) event or censoring.
        events: (n,) bool.
        arms: (n,) label of the arm.

    Raises:
        GaugeError: Fewer than two arms, or no event at all.

    Source: Mantel 1966; Peto & Peto 1972; hypergeometric variance.
    """
    t, hit, _ = _checked(times, events, None)
    names, arm = np.unique(np.asarray(arms), return_inverse=True)
    check_same_length(times=t, arms=arm)
    if len(names) < 2 or not hit.any():
        raise GaugeError(
            "a log-rank test needs two arms and an event", found=f"{len(names)} arms, {int(hit.sum())} events"
        )
    ticks, code = np.unique(t, return_inverse=True)
    k, m = len(names), len(ticks)
    cell = arm.reshape(-1) * m + code
    deaths = np.bincount(cell, hit.astype(float), k * m).reshape(k, m)
    exits = np.bincount(cell, minlength=k * m).reshape(k, m)
    at_risk = exits[:, ::-1].cumsum(axis=1)[:, ::-1].astype(float)
    d, n = deaths.sum(axis=0), at_risk.sum(axis=0)
    share = at_risk / n
    spread = np.divide(d * (n - d), n - 1, out=np.zeros(m), where=n > 1)
    excess = (deaths - d * share).sum(axis=1)[:-1]
    covariance = np.diag((spread * share).sum(axis=1)) - (spread * share) @ share.T
    statistic = float(excess @ np.linalg.pinv(covariance[:-1, :-1], hermitian=True) @ excess)
    return LogRank(statistic, k - 1, float(chdtrc(k - 1, statistic)))


def _checked(
    times: ArrayLike, events: ArrayLike, weights: ArrayLike | None
) -> tuple[FloatArray, BoolArray, FloatArray]:
    t, hit = check_shape("times", times, "n"), check_shape("events", events, "n", dtype=np.bool_)
    w = np.ones(len(t)) if weights is None else check_shape("weights", weights, "n")
    check_same_length(times=t, events=hit, weights=w)
    for name, x in (("times", t), ("weights", w)):
        if not (np.isfinite(x).all() and (x >= 0).all()):
            raise GaugeError("a time or weight is a finite number, 0 or more", where=name)
    if not w.sum() > 0:
        raise GaugeError("nobody to follow", where="times", found=f"{len(t)} conversations", expected="at least one")
    return t, hit, w


def share_censored(events: ArrayLike) -> float:
    """Share of conversations without an event; NaN where there are none."""
    hit = np.asarray(events, dtype=bool)
    return float(1 - hit.mean()) if hit.size else math.nan
