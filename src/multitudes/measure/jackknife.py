"""Delete-one intervals, for scores of a whole collection.

Coverage, distinct words and compression change when a member is there twice: a bootstrap sample, 37 % of which are
copies, looks less diverse than the population it came from. Leaving one out copies nobody.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as sps

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.stats import MIN_CLUSTERS, Estimate, few_clusters

FloatArray = NDArray[np.float64]


def _jackknife_variance(leave_one_out: FloatArray) -> float:
    n = len(leave_one_out)
    return float((n - 1) / n * ((leave_one_out - leave_one_out.mean()) ** 2).sum())


def jackknife(
    value: float,
    leave_one_out: ArrayLike,
    *,
    level: float = 0.95,
    minimum: int = MIN_CLUSTERS,
    unscored: int = 0,
) -> Estimate:
    """Delete-one interval: V = (n-1)/n Σ(θ_(j) - θ̄)², t with n-1 degrees of freedom.

    Args:
        value: The score of everybody.
        leave_one_out: (n,) the score without each cluster in turn.
        level: Confidence level.
        minimum: Fewer clusters than this give no interval but a flag.
        unscored: Passed through.

    Source: Tukey 1958; conservative on average, Efron & Stein 1981.
    """
    out = check_shape("leave_one_out", leave_one_out, "n")
    n = len(out)
    if n < max(minimum, 2):
        return Estimate(value, None, None, n, unscored, few_clusters(n, max(minimum, 2)))
    if not np.isfinite(out).all():
        return Estimate(value, None, None, n, unscored, "no interval: undefined without one of the clusters")
    half = float(sps.t.ppf((1 + level) / 2, n - 1)) * _jackknife_variance(out) ** 0.5
    return Estimate(value, value - half, value + half, n, unscored)


def two_way_jackknife(
    value: float, without_persona: ArrayLike, without_item: ArrayLike, *, level: float = 0.95
) -> Estimate:
    """Delete-one interval where personas and items are both samples: V = V_p + V_i.

    t with Satterthwaite's degrees of freedom (V_p + V_i)² / (V_p²/(P-1) + V_i²/(I-1)). The answers' own noise is in
    both terms, so the interval is conservative on the whole: .94 to 1.0 where .95 is stated. ``n`` is the smaller of
    P and I.

    Args:
        value: The estimate from everything.
        without_persona: (P,) estimates without each persona.
        without_item: (I,) estimates without each item.
        level: Confidence level.

    Raises:
        GaugeError: If a facet has fewer than two members.

    Source: own derivation; Satterthwaite 1946 for the degrees of freedom.
    """
    p, i = check_shape("without_persona", without_persona, "P"), check_shape("without_item", without_item, "I")
    n = min(len(p), len(i))
    if n < 2:
        raise GaugeError("a two-way jackknife needs two members of each facet", found=f"P={len(p)}, I={len(i)}")
    if not (np.isfinite(p).all() and np.isfinite(i).all()):
        return Estimate(value, None, None, n, 0, "no interval: undefined without one persona or item")
    v_p, v_i = _jackknife_variance(p), _jackknife_variance(i)
    if v_p + v_i == 0:
        return Estimate(value, value, value, n)
    df = (v_p + v_i) ** 2 / (v_p**2 / (len(p) - 1) + v_i**2 / (len(i) - 1))
    half = float(sps.t.ppf((1 + level) / 2, df)) * (v_p + v_i) ** 0.5
    return Estimate(value, value - half, value + half, n)
