"""Do people end up where they were placed? Adherence, gain and the signs of caricature.

Coverage alone is maximised by answers drawn at random, so these stand beside it. Adherence r cannot see caricature
(it stays above .866 however hard everybody is pushed into the corners) and gain saturates at 1.5: both gates and
the share of extreme answers are needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_range, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.jackknife import jackknife
from multitudes.measure.stats import Estimate

FloatArray = NDArray[np.float64]

# Gates: our choice. Gain 1.2 is where a clipped respondent overshoots by 29 %.
ADHERENCE_GATE = 0.7
AXIS_ADHERENCE_GATE = 0.5
GAIN_GATE = (0.8, 1.2)
HIGH_COVERAGE = 0.7  # above this a population counts as diverse; faithful ones reach .98, blind ones .40 to .50
CORNER = 0.1  # a position this near to an end is an end
_ONE = 1 - 1e-15  # largest |r| whose Fisher transform is finite


class PlacementFit(NamedTuple):
    """How expressed positions follow planned ones.

    Attributes:
        r: One estimate per axis of the correlation, None where it is undefined.
        r_mean: Mean over the axes where it is defined; None if there is none.
        gain: One estimate per axis of the slope of expressed on planned position.
        gain_mean: Mean over axes.
        reasons: One text per axis: why it has no numbers, empty if it has.
    """

    r: tuple[Estimate | None, ...]
    r_mean: Estimate | None
    gain: tuple[Estimate | None, ...]
    gain_mean: Estimate | None
    reasons: tuple[str, ...]


def check_positions(name: str, positions: ArrayLike) -> FloatArray:
    """(N, K) positions in [0, 1] as float64; NaN is unscored. Rounding errors up to 1e-9 are clipped.

    Raises:
        GaugeError: On an empty array, a wrong shape, or a value outside [0, 1].
    """
    z = check_shape(name, positions, "N K")
    if not z.size:
        raise GaugeError(f"{name!r} is empty", where=name, found=str(z.shape), expected="N >= 1 and K >= 1")
    return np.clip(check_range(name, z, -1e-9, 1 + 1e-9, nan=True), 0.0, 1.0)


def _without_one(t: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray, float, float]:
    """Slope and correlation of z on t without each row, then of all rows.

    Taking row j out of centred sums is closed: S_(j) = S - n/(n-1) · dx_j · dy_j.
    """
    n = len(t)
    dt, dz = t - t.mean(), z - z.mean()
    tt, tz, zz = (dt * dt).sum(), (dt * dz).sum(), (dz * dz).sum()
    back = n / (n - 1)
    tt_j, tz_j, zz_j = tt - back * dt * dt, tz - back * dt * dz, zz - back * dz * dz
    nan = np.full(n, np.nan)
    slope = np.divide(tz_j, tt_j, out=nan.copy(), where=tt_j > 1e-12 * tt)
    bottom = np.sqrt(np.maximum(tt_j, 0) * np.maximum(zz_j, 0))
    r = np.divide(tz_j, bottom, out=nan.copy(), where=bottom > 1e-12 * np.sqrt(tt * zz))
    return slope, np.clip(r, -1, 1), float(tz / tt), float(np.clip(tz / np.sqrt(tt * zz), -1, 1))


def _fisher(value: float, leave_one_out: FloatArray, *, level: float, unscored: int) -> Estimate:
    """Jackknife on the Fisher scale atanh(r), where the distribution is nearly normal, mapped back."""
    to_z = jackknife(
        float(np.arctanh(np.clip(value, -_ONE, _ONE))),
        np.arctanh(np.clip(leave_one_out, -_ONE, _ONE)),
        level=level,
        unscored=unscored,
    )
    if to_z.low is None or to_z.high is None:
        return to_z._replace(value=value)
    return to_z._replace(value=value, low=float(np.tanh(to_z.low)), high=float(np.tanh(to_z.high)))


def fit_placement(targets: ArrayLike, z: ArrayLike, *, level: float = 0.95) -> PlacementFit:
    """Adherence r_k = corr(t_k, z_k) and gain β_k from least squares z_k = a_k + β_k t_k, with their means over axes.

    Targets are known without error, so β is not attenuated. Intervals delete one persona at a time (for r on
    Fisher's scale); the means delete the persona from all axes at once, so dependence between axes is kept.

    Args:
        targets: (N, K) planned positions in [0, 1].
        z: (N, K) expressed positions in [0, 1]; NaN is unscored.
        level: Confidence level.

    Returns:
        Per axis and mean. r in [-1, 1], null 0 with SD 1/√(N-1); gain: 1 ideal, 0 null, at most 1.5 when clipped at
        the ends of the scale. An axis without spread has neither, and a reason.

    Raises:
        GaugeError: If shapes differ or values lie outside [0, 1].

    Source: own definition; Fisher 1921 for the transform.
    """
    t, y = check_positions("targets", targets), check_positions("z", z)
    if t.shape != y.shape:
        raise GaugeError("'targets' and 'z' differ in shape", found=f"{t.shape} and {y.shape}", expected="the same")
    n, k = t.shape
    r: list[Estimate | None] = [None] * k
    gain: list[Estimate | None] = [None] * k
    reasons = [""] * k
    r_out, gain_out = np.full((n, k), np.nan), np.full((n, k), np.nan)
    for axis in range(k):
        both = ~(np.isnan(t[:, axis]) | np.isnan(y[:, axis]))
        ta, ya, lost = t[both, axis], y[both, axis], int((~both).sum())
        if len(ta) < 3:
            reasons[axis] = "fewer than three scored personas"
        elif np.ptp(ya) < 1e-12:
            reasons[axis] = "constant: every persona answers the same"
        elif np.ptp(ta) < 1e-12:
            reasons[axis] = "constant: every persona was placed at the same point"
        else:
            slopes, rs, slope, corr = _without_one(ta, ya)
            r[axis] = _fisher(corr, rs, level=level, unscored=lost)
            gain[axis] = jackknife(slope, slopes, level=level, unscored=lost)
            r_out[:, axis], gain_out[:, axis] = corr, slope  # a persona unscored here takes nothing with it
            r_out[both, axis], gain_out[both, axis] = rs, slopes
    defined = [axis for axis in range(k) if r[axis] is not None]
    if not defined:
        return PlacementFit(tuple(r), None, tuple(gain), None, tuple(reasons))
    scored = ~(np.isnan(t) | np.isnan(y)).all(axis=1)
    lost = int((~scored).sum())
    r_value = float(np.mean([e.value for e in r if e is not None]))
    gain_value = float(np.mean([e.value for e in gain if e is not None]))
    r_mean = _fisher(r_value, r_out[scored][:, defined].mean(axis=1), level=level, unscored=lost)
    gain_mean = jackknife(gain_value, gain_out[scored][:, defined].mean(axis=1), level=level, unscored=lost)
    return PlacementFit(tuple(r), r_mean, tuple(gain), gain_mean, tuple(reasons))


def extreme_share(probs: ArrayLike) -> FloatArray:
    """Probability of an end category, per answer; its mean is the share of extreme answers.

    Args:
        probs: (n, L) label probabilities from lowest to highest, one-hot for sampled answers; NaN rows are unscored.

    Returns:
        (n,) in [0, 1]. Uniform positions rounded to the nearest of L levels give 1/(L-1): more is caricature, less
        is flattening.

    Raises:
        GaugeError: If there are fewer than two labels or a row does not sum to 1.
    """
    p = check_range("probs", check_shape("probs", probs, "n L"), 0.0, 1.0 + 1e-9, nan=True)
    sums = p.sum(axis=1)
    if p.shape[1] < 2 or (np.abs(sums[~np.isnan(sums)] - 1) > 1e-6).any():
        raise GaugeError("'probs' must be rows of at least two label probabilities that sum to 1", where="probs")
    return np.asarray(p[:, 0] + p[:, -1])


def in_corner(z: ArrayLike) -> FloatArray:
    """1 where a persona is within .1 of an end on every axis, else 0; NaN for an unscored persona.

    The mean is the corner mass; uniform positions give .2^K.
    """
    y = check_positions("z", z)
    inside = ((y <= CORNER) | (y >= 1 - CORNER)).all(axis=1).astype(np.float64)
    return np.where(np.isnan(y).any(axis=1), np.nan, inside)


def verdict(coverage: float, fit: PlacementFit) -> str:
    """The sentence a coverage number may not be printed without.

    Adherence is judged first: the gain of answers that do not follow their targets says nothing about style.

    Returns:
        ``diverse, not obedient``, ``caricature``, ``flattened``, ``constant`` or ``not obedient``; empty where all
        mean gates hold, or where there are no targets to follow.
    """
    if fit.r_mean is None or fit.gain_mean is None:
        return "constant" if any("answers the same" in reason for reason in fit.reasons) else ""
    if fit.r_mean.value < ADHERENCE_GATE and coverage >= HIGH_COVERAGE:
        return "diverse, not obedient"
    if fit.gain_mean.value < GAIN_GATE[0]:
        return "flattened"
    if fit.gain_mean.value > GAIN_GATE[1]:
        return "caricature"
    return "not obedient" if fit.r_mean.value < ADHERENCE_GATE else ""


def passes_gates(fit: PlacementFit) -> bool:
    """Whether mean and every axis are obedient and neither flattened nor caricatured; False where undefined."""
    if fit.r_mean is None or fit.r_mean.value < ADHERENCE_GATE:
        return False
    return all(
        r is not None
        and gain is not None
        and r.value >= AXIS_ADHERENCE_GATE
        and GAIN_GATE[0] <= gain.value <= GAIN_GATE[1]
        for r, gain in zip(fit.r, fit.gain, strict=True)
    )
