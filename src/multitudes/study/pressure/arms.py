"""The numbers of one arm, and of one arm against prompting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from multitudes.core.errors import GaugeError
from multitudes.core.records import Point
from multitudes.measure.errors import NoRange
from multitudes.measure.retention.cells import Cells, check_measurable, delta0
from multitudes.measure.retention.compare import auc_difference, rho_difference, rmst_difference
from multitudes.measure.retention.curve import (
    area,
    curve_of,
    decay_rate,
    half_life_of_rate,
    recovery,
    share_outside,
)
from multitudes.measure.retention.flips import Floor, failures_as_events, find_flips, flip_counts
from multitudes.measure.retention.intervals import Resample
from multitudes.measure.retention.stickiness import Stickiness, stickiness
from multitudes.measure.retention.survival import half_life, kaplan_meier, restricted_mean, share_censored
from multitudes.measure.retention.time_ratio import time_ratio
from multitudes.measure.stats import Difference, Estimate
from multitudes.study.pressure.data import Arm
from multitudes.study.pressure.result import ArmResult, Number, Steps
from multitudes.study.pressure.spec import PressureSpec

FEW = "fewer than 8 base prompts: no interval"


def read_arm(
    arm: Arm, sample: Resample | None, *, base: dict[str, Any], matched: bool | None, floor: Floor, spec: PressureSpec
) -> ArmResult:
    """An arm with its triple, or "not measurable"."""
    cells = arm.cells
    clusters = len(set(cells.clusters.tolist()))
    about = {
        **base, "matched": matched, "clusters": clusters, "failed": arm.failed, "faults": arm.faults,
        "engaged": arm.engaged, "conversations": arm.n, "levels": _means(cells.level, cells),
        "floors": _means(cells.floor, cells),
    }  # fmt: skip
    start = Number(name="d0", value=_mean(cells.level[:, :, 0]), direction="none", n=clusters)
    try:
        check_measurable(cells, disposition=base["disposition"])
    except NoRange as error:
        number = Number(name="delta0", value=error.delta0, null=0.0, n=clusters, reason="below 0.2")
        return ArmResult(**about, measurable=False, reason=f"not measurable: {error.found}", numbers=(start, number))
    numbers = [start]
    curve = curve_of(cells)
    if sample is not None:
        found = stickiness(cells, sample, floor=floor)
        points = _curve(found.curve.value, found.curve.low, found.curve.high, cells)
        numbers += [
            number_of("delta0", found.delta0, null=0.0),
            number_of("auc", found.auc, null=0.0),
            number_of(
                "rate", found.rate, null=0.0, direction="lower", unit="per turn", text=_rate_text(found, cells.last)
            ),
            _rho(cells, found.rho),
        ]
    else:
        points = _curve(curve, None, None, cells)
        pressed = curve[cells.pressed]
        rate = float(decay_rate(pressed, cells.turns[cells.pressed]))
        numbers += [
            Number(name="delta0", value=delta0(cells), null=0.0, n=clusters, reason=FEW),
            Number(name="auc", value=float(area(curve, cells.pressed)), null=0.0, n=clusters, reason=FEW),
            Number(name="rate", value=rate, null=0.0, direction="lower", n=clusters, unit="per turn", reason=FEW,
                   text=half_life_of_rate(rate, cells.last).text),
            _rho(cells, None),
        ]  # fmt: skip
    if arm.inside is not None:
        unit = "z; 1 is the Assistant"
        numbers += [
            Number(name=f"axis_z.{t:g}", value=float(z), null=0.0, direction="none", n=clusters, unit=unit)
            for t, z in zip(cells.turns, arm.inside, strict=True)
        ]
    numbers.append(Number(name="outside", value=share_outside(curve, cells.pressed), direction="none", n=clusters))
    steps, more = _survival(arm, sample, floor)
    unscored = _unscored(cells)
    counted = tuple(x.model_copy(update={"unscored": unscored.get(x.name, x.unscored)}) for x in (*numbers, *more))
    return ArmResult(**about, measurable=True, curve=points, steps=steps, numbers=counted)


def _unscored(cells: Cells) -> dict[str, int]:
    """Probes without a level, by the number that would have used them."""
    missing = np.isnan(cells.level).sum(axis=(0, 1))
    start, pressed = int(missing[0]), int(missing[cells.pressed].sum())
    ends = int(missing[[int(np.flatnonzero(cells.turns == cells.last)[0]), -1]].sum())
    return {"d0": start, "delta0": start, "auc": pressed, "rate": pressed, "outside": pressed, "rho": ends}


def _rate_text(found: Stickiness, last: float) -> str:
    """Half-life ln 2 / λ with its limits, in turns: those of λ the other way round."""
    text, rate = found.rate_half_life.text, found.rate
    if rate.low is None or rate.high is None:
        return text
    return f"{text} [{half_life_of_rate(rate.high, last).text}, {half_life_of_rate(rate.low, last).text}]"


def _survival(arm: Arm, sample: Resample | None, floor: Floor) -> tuple[Steps | None, list[Number]]:
    """Flips: half-life, restricted mean, counts; with failures as events beside it."""
    cells = arm.eventful
    if cells is None:
        return None, [Number(name="half_life", value=None, reason="fewer than 4 items: no events")]
    try:
        flips = find_flips(cells, floor=floor)
        counts = flip_counts(cells, floor=floor)
    except (GaugeError, ValueError) as error:
        return None, [Number(name="half_life", value=None, reason=str(error).splitlines()[0])]
    clusters = len(set(cells.clusters.tolist()))
    first = float(cells.turns[cells.pressed][0])
    km = kaplan_meier(flips.time, flips.event)
    point = half_life(km, first=first, last=cells.last)
    life = Number(name="half_life", value=point.turns, text=point.text, n=clusters, unit="turns", reason=FEW)
    rmst = Number(name="rmst", value=restricted_mean(km, cells.last), n=clusters, unit="turns", reason=FEW)
    if sample is not None and len(cells.level) == len(arm.cells.level):
        found = stickiness(cells, sample, floor=floor)
        life = life.model_copy(update={"low": _finite(found.half_life.low), "high": _finite(found.half_life.high),
                                       "text": found.half_life_text, "reason": ""})  # fmt: skip
        rmst = number_of("rmst", found.rmst, unit="turns")
    under = (arm.failures > flips.low) & (
        arm.failures <= cells.last
    )  # what fails after the pressure was not lost to it
    again = failures_as_events(flips, np.where(under, arm.failures, np.nan))
    again_km = kaplan_meier(again.time, again.event)
    worst = half_life(again_km, first=first, last=cells.last)
    numbers = [
        life,
        Number(name="half_life_failures_as_flips", value=worst.turns, text=worst.text, n=clusters, unit="turns"),
        rmst,
        Number(name="rmst_failures_as_flips", value=restricted_mean(again_km, cells.last), n=clusters, unit="turns"),
        Number(name="censored", value=share_censored(flips.event), direction="none", n=clusters, unit="share"),
        Number(name="flips_per_conversation", value=counts.number, direction="lower", n=clusters),
        Number(
            name="first_flip", value=counts.first, n=clusters, unit="turns", reason="" if counts.first else "none"
        ),
    ]
    rows = zip(km.times.tolist(), km.at_risk.tolist(), km.events.tolist(), km.survival.tolist(), strict=True)
    return Steps(rows=tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in rows)), numbers


def against_prompting(
    arm: Arm, other: Arm, sample: Resample | None, *, floor: Floor, matched: bool | None, seed: int
) -> list[Number]:
    """An arm against the prompted persona under the same pressure, paired on base prompts."""
    names = ("auc_difference", "rho_difference", "rmst_difference", "time_ratio")
    if sample is None:
        return [Number(name=n, value=None, reason=FEW) for n in names]
    mine, theirs = arm.cells, other.cells
    try:
        auc = auc_difference(mine, theirs, sample, seed=seed)
    except GaugeError as error:
        return [Number(name=n, value=None, reason=str(error).splitlines()[0]) for n in names]
    out = [number_of("auc_difference", auc, null=0.0)]
    rho = rho_difference(mine, theirs, sample) if mine.turns[-1] > mine.last else None
    out.append(
        Number(name="rho_difference", value=None, reason="an arm was not displaced")
        if rho is None
        else number_of("rho_difference", rho, null=0.0)
    )
    if arm.eventful is None or other.eventful is None:
        return [*out, *(Number(name=n, value=None, reason="fewer than 4 items: no events") for n in names[2:])]
    try:
        rmst = rmst_difference(arm.eventful, other.eventful, sample, floor=floor)
        out.append(number_of("rmst_difference", rmst, null=0.0, unit="turns"))
        ratio = time_ratio(arm.eventful, other.eventful, sample, floor=floor, adjust=matched is False)
        out.append(
            Number(name="time_ratio", value=None, reason=ratio.reason)
            if ratio.estimate is None
            else number_of("time_ratio", ratio.estimate, null=1.0)
        )
    except (GaugeError, ValueError) as error:
        out.append(Number(name="time_ratio", value=None, reason=str(error).splitlines()[0]))
    return out


def _rho(cells: Cells, found: Estimate | None) -> Number:
    if cells.turns[-1] <= cells.last:
        return Number(name="rho", value=None, reason="no probe after the pressure")
    back = recovery(cells)
    if back.rho is None:
        return Number(name="rho", value=None, reason=back.reason, n=back.n)
    if found is None:
        return Number(name="rho", value=back.rho, null=0.0, n=back.n, reason=FEW)
    return number_of("rho", found, null=0.0)


def number_of(name: str, e: Estimate | Difference, **more: Any) -> Number:
    """An estimate as a number of a result."""
    return Number(
        name=name, value=e.value, low=_finite(e.low), high=_finite(e.high), n=e.n, unscored=e.unscored, reason=e.note,
        **more,
    )  # fmt: skip


def _finite(x: float | None) -> float | None:
    return None if x is None or not math.isfinite(x) else float(x)


def _mean(x: Any) -> float:
    return float(np.nanmean(x)) if not np.isnan(x).all() else math.nan


def _means(values: Any, cells: Cells) -> tuple[Point, ...]:
    return tuple(
        Point(x=float(t), value=_mean(values[:, :, i]), n=int((~np.isnan(values[:, :, i])).any(axis=1).sum()))
        for i, t in enumerate(cells.turns)
    )


def _curve(value: Any, low: Any, high: Any, cells: Cells) -> tuple[Point, ...]:
    n = (~np.isnan(cells.level)).any(axis=1).sum(axis=0)
    return tuple(
        Point(
            x=float(t), value=float(value[i]), low=None if low is None else _finite(float(low[i])),
            high=None if high is None else _finite(float(high[i])), n=int(n[i]),
        )
        for i, t in enumerate(cells.turns)
    )  # fmt: skip
