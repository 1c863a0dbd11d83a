"""ICC_within of an arm together with what it becomes without each persona and each item; differences of two arms.

The arms of a study share their items and have different personas. So where two arms are compared, a persona leaves
its own arm and an item leaves both:

    V = V_p(one) + V_p(other) + V_i,   V_f = (n_f - 1)/n_f Σ(θ_(j) - θ̄)²

and whatever an item does to both arms cancels. Run noise is in V_p and in V_i, so intervals are conservative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import ZeroVarianceError
from multitudes.measure.variance.components import Cells, spreads
from multitudes.measure.variance.intervals import FEW, MIN_ITEMS, MIN_PERSONAS, without_each

FloatArray = NDArray[np.float64]
Parts = list[tuple[FloatArray, float]]  # variances, each with its degrees of freedom


class ArmICC(NamedTuple):
    """ICC_within of one arm, and what it becomes without each persona and without each item.

    Attributes:
        value: ICC_within, at most 1; negative as estimated.
        without_persona: (P,) values.
        without_item: (I,) values, in the order of ``items``.
        items: The I labels.
    """

    value: float
    without_persona: FloatArray
    without_item: FloatArray
    items: tuple[Any, ...]


class Interval(NamedTuple):
    """Lower and upper limit; either may be infinite."""

    low: float
    high: float


def arm_icc(cells: Cells) -> ArmICC:
    """ICC_within = 1 - G_e/G_i of an arm with its delete-one values.

    Raises:
        ZeroVarianceError: If all answers to every item are equal.
        GaugeError: If no persona was asked anything twice.
    """
    whole = spreads(cells)
    if not whole.item > 0:
        raise ZeroVarianceError(
            "no variance: all answers to an item are equal, so there is nothing to divide and no verdict",
            hint="if the temperature was above 0, look for a cache or a fixed seed",
        )
    if math.isnan(whole.run):
        raise GaugeError("nobody was asked twice: run noise is unknown", expected="two runs of a persona and item")
    return ArmICC(
        float(whole.icc_within),
        np.asarray(without_each(cells, "persona").icc_within),
        np.asarray(without_each(cells, "item").icc_within),
        tuple(cells.items.tolist()),
    )


def delete_variance(values: FloatArray) -> FloatArray:
    """Delete-one variance (n-1)/n Σ(θ_(j) - θ̄)² over the last axis.

    >>> float(delete_variance(np.array([1.0, 2.0, 3.0])))
    1.3333333333333333
    """
    n = values.shape[-1]
    return np.asarray((n - 1) / n * ((values - values.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))


def half_width(parts: Sequence[tuple[Any, float]], level: float) -> FloatArray:
    """Half an interval: t times the root of a sum of variances, each with its degrees of freedom (inf: known).

    Degrees of freedom of the sum by Satterthwaite, (ΣV)² / Σ(V²/df). Variances may be arrays of equal shape, one per
    study.

    Source: Satterthwaite 1946, Biometrics Bulletin 2.
    """
    variances = [np.asarray(v, dtype=np.float64) for v, _ in parts]
    total = np.asarray(sum(variances))
    unsure = np.asarray(sum(v**2 / df for v, (_, df) in zip(variances, parts, strict=True)))
    df = np.divide(total**2, unsure, out=np.full(total.shape, 1e9), where=unsure > 0)
    tail = (1 + level) / 2
    return np.asarray(np.where(df < 1e6, stdtrit(np.minimum(df, 1e6), tail), ndtri(tail)) * np.sqrt(total))


def around(value: float, parts: Parts, level: float) -> Interval:
    """The interval value ± half width."""
    half = float(half_width(parts, level))
    return Interval(value - half, value + half)


def _as_is(icc: FloatArray) -> FloatArray:
    return icc


def arm_parts(arm: ArmICC, scale: Callable[[FloatArray], FloatArray] = _as_is) -> Parts:
    """V_p and V_i of one arm, of ``scale`` of its ICC."""
    both = (scale(arm.without_persona), scale(arm.without_item))
    return [(delete_variance(x), len(x) - 1.0) for x in both]


def check_same_items(ours: ArmICC, other: ArmICC) -> None:
    """Refuse to compare arms that were asked different things.

    Raises:
        GaugeError: With the number of items that only one arm has.
    """
    lonely = set(ours.items) ^ set(other.items)
    if lonely:
        raise GaugeError(
            "two arms were asked different items, so their difference is no difference of arms",
            found=f"{len(lonely)} items in one arm only",
            hint="keep the items that both arms answered",
        )


def joint_parts(ours: ArmICC, other: ArmICC, scale: Callable[[FloatArray], FloatArray] = _as_is) -> Parts:
    """V_p of each arm and the V_i of their difference.

    Raises:
        GaugeError: If the arms were not asked the same items.
    """
    check_same_items(ours, other)
    place = {label: k for k, label in enumerate(other.items)}
    by_item = scale(ours.without_item) - scale(other.without_item[[place[x] for x in ours.items]])
    personas = [scale(a.without_persona) for a in (ours, other)]
    return [(delete_variance(x), len(x) - 1.0) for x in (*personas, by_item)]


def no_interval(*arms: ArmICC) -> str:
    """Why these arms have no interval; empty if they have one."""
    p, i = min(len(a.without_persona) for a in arms), min(len(a.items) for a in arms)
    if p < MIN_PERSONAS or i < MIN_ITEMS:
        return f"few clusters: {p} personas, {i} items, no interval"
    if not all(np.isfinite(x).all() for a in arms for x in (a.without_persona, a.without_item)):
        return "no interval: undefined without one persona or item"
    return ""


def few(*arms: ArmICC) -> str:
    """The flag beside an interval that rests on fewer than ten personas or items; empty above."""
    p, i = min(len(a.without_persona) for a in arms), min(len(a.items) for a in arms)
    return f"few clusters: {p} personas, {i} items" if min(p, i) < FEW else ""


def icc_difference(ours: ArmICC, other: ArmICC, *, level: float = 0.95) -> tuple[float, Interval | None]:
    """Δ of two arms on the same items, with its jackknife interval; None below 5 personas or 3 items.

    Raises:
        GaugeError: If the arms were not asked the same items.

    Source: own derivation, after the two-way jackknife of one arm.
    """
    parts = joint_parts(ours, other)
    delta = ours.value - other.value
    return delta, None if no_interval(ours, other) else around(delta, parts, level)
