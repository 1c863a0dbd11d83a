"""How much is kept at each turn, on average, as a rate of loss, and how much comes back.

Everything is a ratio of sums over cells, never a mean of ratios: with Δ₀ = 0.30 and noise of SD 0.12 the mean of
per-conversation ratios is −6 to −28 where 1.00 is true, because some denominators are near 0.

Functions take weights of the cells, so that a bootstrap draw is the same computation with other weights.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.retention.cells import Cells, Sums, sums

FloatArray = NDArray[np.float64]

MIN_DISPLACED = 0.1  # D̄_0 − D̄_T below which there is nothing to come back from ("Choice")
LONGEST = 4  # half-lives beyond this many times T are extrapolation and not printed
_GRID = 513
_GOLDEN = (math.sqrt(5) - 1) / 2


class HalfLife(NamedTuple):
    """A half-life in turns.

    Attributes:
        turns: None where it lies beyond what was seen.
        text: As it is printed, ">8" among others.
    """

    turns: float | None
    text: str


class Recovery(NamedTuple):
    """How much of what was lost by T is back at T + K.

    Attributes:
        rho: 0 none, 1 full; may leave [0, 1]. None where the persona was "not displaced" or nothing is scored.
        displaced: Mean of D̄_0 − D̄_T, in units of D.
        n: Cells scored at 0, T and T + K.
        reason: Why there is no number; empty if there is one.
    """

    rho: float | None
    displaced: float
    n: int
    reason: str = ""


class RecoveryParts(NamedTuple):
    """What each cell adds: (g,) D̄_{T+K} − D̄_T and D̄_0 − D̄_T, 0 where ``scored`` is false."""

    back: FloatArray
    lost: FloatArray
    scored: NDArray[np.bool_]


def retention(parts: Sums, weights: ArrayLike | None = None) -> FloatArray:
    """R_t = Σ_g (D̄_{g,t} − F̄_{g,t}) / Σ_g (D̄_{g,0} − F̄_{g,0}), the share of the persona that is kept.

    1 is unchanged, 0 is the floor; higher sticks more. May leave [0, 1] and is not clipped.

    Args:
        parts: From ``cells.sums``.
        weights: (..., g) weights of the cells; None counts each once.

    Returns:
        (..., t). NaN where the denominator is not above 0 or nothing is scored.
    """
    w = np.ones(len(parts.top)) if weights is None else np.asarray(weights, dtype=np.float64)
    top, bottom = w @ parts.top, w @ parts.bottom
    return np.asarray(np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0))


def area(retained: ArrayLike, pressed: ArrayLike) -> FloatArray:
    """AUC_R: mean of R_t over the probes under pressure. Higher sticks more; the level of no persona is 0.

    Args:
        retained: (..., t) R_t.
        pressed: (t,) bool, ``Cells.pressed``.

    Returns:
        (...). NaN if one of these probes is NaN: a mean over other turns is another number.

    >>> float(area([1.0, 0.5, 0.3, 0.9], [False, True, True, False]))
    0.4
    """
    keep = np.asarray(pressed, dtype=bool)
    r = np.asarray(retained, dtype=np.float64)
    if keep.ndim != 1 or r.shape[-1] != len(keep) or not keep.any():
        raise GaugeError(
            "probes do not fit", found=f"{r.shape}, {keep.shape}", expected="(..., t), (t,), some pressed"
        )
    return np.asarray(r[..., keep].mean(axis=-1))


def share_outside(retained: ArrayLike, pressed: ArrayLike) -> float:
    """Share of the probes under pressure at which R_t leaves [0, 1]: noise, or a pressure that strengthens."""
    r = np.asarray(retained, dtype=np.float64)[np.asarray(pressed, dtype=bool)]
    r = r[~np.isnan(r)]
    return float(((r < 0) | (r > 1)).mean()) if len(r) else math.nan


def decay_rate(retained: ArrayLike, turns: ArrayLike) -> FloatArray:
    """λ >= 0 per turn of R_t = e^{−λt}, by least squares in R_t; 0 is no loss, inf is all at once.

    Solved in x = e^{−λ} on [0, 1], a grid and then golden section, so that both ends are ordinary points. Fitting
    log R_t instead would need R_t > 0 and would weigh the smallest values most.

    Args:
        retained: (..., t) R_t at probes under pressure.
        turns: (t,) their turns, above 0.

    Returns:
        (...). NaN where an R_t is NaN.

    >>> round(float(decay_rate(np.exp(-0.3 * np.arange(1, 9)), np.arange(1, 9))), 6)
    0.3
    """
    t = check_shape("turns", turns, "t")
    r = np.asarray(retained, dtype=np.float64)
    if r.shape[-1:] != t.shape or not len(t) or (t <= 0).any():
        raise GaugeError(
            "turns of pressure do not fit", found=f"{r.shape}, {t.tolist()}", expected="(..., t), (t,) > 0"
        )
    rows = r.reshape(-1, len(t))
    grid = np.linspace(0.0, 1.0, _GRID)
    # Σ(R − xᵗ)² up to ΣR²: one matrix product for all rows.
    powers = grid[:, None] ** t
    loss = (powers**2).sum(axis=1) - 2 * np.nan_to_num(rows) @ powers.T
    best = grid[loss.argmin(axis=1)]
    low, high = np.maximum(best - 1 / (_GRID - 1), 0.0), np.minimum(best + 1 / (_GRID - 1), 1.0)

    def off(x: FloatArray) -> FloatArray:
        return np.asarray(((np.nan_to_num(rows) - x[:, None] ** t) ** 2).sum(axis=1))

    for _ in range(60):
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        left = off(a) < off(b)
        low, high = np.where(left, low, a), np.where(left, b, high)
    x = (low + high) / 2
    for end in (0.0, 1.0):  # golden section nears an end of the range but never reaches it
        x = np.where(off(np.full(len(x), end)) <= off(x), end, x)
    with np.errstate(divide="ignore"):
        rate = -np.log(x) + 0.0
    return np.asarray(np.where(np.isnan(rows).any(axis=1), np.nan, rate).reshape(r.shape[:-1]))


def half_life_of_rate(rate: float, last: float) -> HalfLife:
    """Half-life ln 2 / λ in turns; ">4T" where λ < ln 2 / 4T, which the data cannot tell from no loss.

    Args:
        rate: λ per turn.
        last: T, turns.

    >>> half_life_of_rate(0.0, 8).text, half_life_of_rate(math.log(2) / 3, 8).text
    ('>32', '3.0')
    """
    if math.isnan(rate):
        return HalfLife(None, "not scored")
    if rate < math.log(2) / (LONGEST * last):
        return HalfLife(None, f">{LONGEST * last:g}")
    turns = math.log(2) / rate
    return HalfLife(turns, f"{turns:.1f}")


def recovery_parts(cells: Cells, *, probe: float | None = None) -> RecoveryParts:
    """What each cell adds to ρ, from conversations scored at 0, at T and at the recovery probe.

    Args:
        cells: The arm.
        probe: Turn of the recovery probe, after T; None takes the last probe.

    Raises:
        GaugeError: If no such probe was made.
    """
    at = float(cells.turns[-1]) if probe is None else float(probe)
    if at <= cells.last or at not in cells.turns:
        raise GaugeError("no probe after the pressure", where="probe", found=repr(at),
                         expected=f"a probed turn after {cells.last:g}")  # fmt: skip
    index = [int(np.flatnonzero(cells.turns == t)[0]) for t in (0.0, cells.last, at)]
    d = cells.level[:, :, index]
    there = np.asarray(~np.isnan(d).any(axis=2))
    n = there.sum(axis=1)
    total = np.where(there[:, :, None], d, 0.0).sum(axis=1)
    mean = total / np.maximum(n, 1)[:, None]
    return RecoveryParts(mean[:, 2] - mean[:, 1], mean[:, 0] - mean[:, 1], n > 0)


def recovered(parts: RecoveryParts, weights: ArrayLike | None = None) -> FloatArray:
    """ρ = Σ(D̄_{T+K} − D̄_T) / Σ(D̄_0 − D̄_T) for (..., g) weights; NaN where nothing was lost."""
    w = np.ones(len(parts.back)) if weights is None else np.asarray(weights, dtype=np.float64)
    top, bottom = w @ parts.back, w @ parts.lost
    return np.asarray(np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0))


def recovery(cells: Cells, *, probe: float | None = None) -> Recovery:
    """ρ, how much of what the pressure took is back K turns after it. 0 none, 1 full; higher comes back more.

    Defined where the persona was displaced by at least 0.1 in D, else "not displaced": a ratio to nothing.
    """
    parts = recovery_parts(cells, probe=probe)
    n = int(parts.scored.sum())
    if not n:
        return Recovery(None, math.nan, 0, "nothing scored at the start, at the end of pressure and after it")
    displaced = float(parts.lost.sum() / n)
    if displaced < MIN_DISPLACED - 1e-12:  # 0.8 − 0.7 is a hair below 0.1
        return Recovery(None, displaced, n, "not displaced")
    return Recovery(float(recovered(parts)), displaced, n)


def curve_of(cells: Cells) -> FloatArray:
    """(t,) R_t of the arm; no check that there is a range: see ``cells.check_measurable``."""
    return retention(sums(cells))
