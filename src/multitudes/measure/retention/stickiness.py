"""The triple of one arm (AUC_R, half-life, ρ) with its intervals.

Stickiness is three numbers and never one: what is kept under pressure, how long it takes to go, and what comes back.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.retention.cells import Cells, check_measurable, sums
from multitudes.measure.retention.curve import HalfLife, Recovery, half_life_of_rate, recovery, share_outside
from multitudes.measure.retention.flips import Floor, find_flips
from multitudes.measure.retention.intervals import Resample, interval, intervals, quantile_interval
from multitudes.measure.retention.statistics import (
    auc_statistic,
    curve_statistic,
    delta0_statistic,
    median_statistic,
    rate_statistic,
    rho_statistic,
    rmst_statistic,
)
from multitudes.measure.retention.survival import half_life, kaplan_meier, share_censored
from multitudes.measure.stats import CurveEstimate, Estimate

FloatArray = NDArray[np.float64]


class Stickiness(NamedTuple):
    """One arm under one pressure on one disposition. Higher sticks more, save for ``rate``.

    Attributes:
        delta0: Δ₀; 0 is no persona.
        curve: R_t with pointwise intervals; ``n`` counts cells.
        auc: AUC_R; 1 is unchanged, 0 the floor.
        outside: Share of probes under pressure with R_t outside [0, 1].
        half_life: Median of S in turns; inf limits are "not reached".
        half_life_text: As printed: value, then limits.
        rate: λ per turn; 0 is no loss.
        rate_half_life: ln 2 / λ.
        rmst: ∫₀ᵀ S, turns.
        recovery: ρ and whether it is defined.
        rho: ρ with its interval; None where it is not defined or no probe follows the pressure.
        censored: Share of conversations without a flip.
    """

    delta0: Estimate
    curve: CurveEstimate
    auc: Estimate
    outside: float
    half_life: Estimate
    half_life_text: str
    rate: Estimate
    rate_half_life: HalfLife
    rmst: Estimate
    recovery: Recovery | None
    rho: Estimate | None
    censored: float


def stickiness(cells: Cells, sample: Resample, *, floor: Floor = "cell") -> Stickiness:
    """The triple of one arm.

    Args:
        cells: The arm; for events at least four items behind each D.
        sample: Draws of base prompts, from ``intervals.resample``.
        floor: For flips, see ``flips.contrast``.

    Raises:
        NoRange: "not measurable".
        TooFewProbesError: Fewer than two probes under pressure.
    """
    check_measurable(cells)
    parts = sums(cells)
    curve = intervals(curve_statistic(cells), sample)
    value = np.array([e.value for e in curve])
    low, high = _limits([e.low for e in curve]), _limits([e.high for e in curve])
    scored = parts.scored.sum(axis=0).astype(np.int64)
    flips = find_flips(cells, floor=floor)
    first = float(cells.turns[cells.pressed][0])
    median = quantile_interval(median_statistic(cells, floor=floor), sample)
    point = half_life(kaplan_meier(flips.time, flips.event), first=first, last=cells.last)
    rate = interval(rate_statistic(cells), sample)
    back = recovery(cells) if cells.turns[-1] > cells.last else None
    return Stickiness(
        delta0=interval(delta0_statistic(cells), sample),
        curve=CurveEstimate(cells.turns, value, low, high, scored, int((~parts.scored).sum())),
        auc=interval(auc_statistic(cells), sample),
        outside=share_outside(value, cells.pressed),
        half_life=median,
        half_life_text=_with_limits(point.text, median, first, cells.last),
        rate=rate,
        rate_half_life=half_life_of_rate(rate.value, cells.last),
        rmst=interval(rmst_statistic(cells, floor=floor), sample),
        recovery=back,
        rho=interval(rho_statistic(cells), sample) if back is not None and back.rho is not None else None,
        censored=share_censored(flips.event),
    )


def _with_limits(text: str, found: Estimate, first: float, last: float) -> str:
    if found.low is None or found.high is None:
        return text
    low, high = (
        f">{last:g}" if math.isinf(x) else f"≤ {first:g}" if x <= first else f"{x:g}" for x in (found.low, found.high)
    )
    return f"{text} [{low}, {high}]"


def _limits(side: list[float | None]) -> FloatArray:
    return np.array([math.nan if x is None else x for x in side])
