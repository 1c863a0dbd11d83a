"""Where a panel misses the people of a group: simulated less human means, small groups drawn towards the common bias.

A group of few raters has a mean that strays by chance, and the most biased group of many is usually a small one. So
the groups' biases are read as draws from one distribution: b_g ~ N(μ, τ²), found with error v_g. Each is drawn
towards μ by (k-3)/(k-1) · v_g/(v_g + τ²), for k groups.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from multitudes.core.checks import check_same_length, check_shape
from multitudes.measure.errors import NotFiniteError

FloatArray = NDArray[np.float64]

MIN_RATERS = 30
MIN_GROUPS = 4  # fewer cannot say how much groups differ


class GroupBias(NamedTuple):
    """Bias of one group, in scale units; positive: the panel answers higher than the people do.

    Attributes:
        group: Its label.
        people: Human raters.
        simulated: Simulated raters.
        raw: Difference of means; None for a group of too few.
        pooled: Drawn towards the common bias.
        low: Lower limit of ``pooled``.
        high: Upper limit.
        note: Why there is no number, or no pooling.
    """

    group: str
    people: int
    simulated: int
    raw: float | None
    pooled: float | None
    low: float | None
    high: float | None
    note: str = ""


def group_bias(
    people: ArrayLike,
    people_group: ArrayLike,
    simulated: ArrayLike,
    simulated_group: ArrayLike,
    *,
    level: float = 0.95,
) -> tuple[GroupBias, ...]:
    """Bias of the panel in every group of people, partially pooled.

    Args:
        people: (n,) one number a human rater: the mean answer, or if raters saw different items the mean deviation
            from the items' means. NaN is unscored.
        people_group: (n,) group of each rater.
        simulated: (m,) the same for the panel.
        simulated_group: (m,) group of each persona.
        level: Confidence level.

    Returns:
        One record for each group found among people. Groups of fewer than 30 people, or of fewer than 2 personas,
        have no number. Fewer than four groups are not pooled.

    Raises:
        NotFiniteError: If a value is infinite.
        GaugeError: If lengths differ.

    Source: DerSimonian & Laird 1986 for τ²; Morris 1983, J. Am. Stat. Assoc. 78, for the pooling and its limits.
    """
    sides = [
        _by_group(*side) for side in (("people", people, people_group), ("simulated", simulated, simulated_group))
    ]
    found = {g: (h, sides[1].get(g, np.empty(0))) for g, h in sorted(sides[0].items())}
    big = [g for g, (h, m) in found.items() if len(h) >= MIN_RATERS and len(m) >= 2]
    raw = np.array([found[g][1].mean() - found[g][0].mean() for g in big])
    error = np.array([sum(x.var(ddof=1) / len(x) for x in found[g]) for g in big])
    pooled, spread, note = raw, error, "too few groups to pool"
    if len(big) >= MIN_GROUPS and (error > 0).all():
        pooled, spread = _pool(raw, error)
        note = ""
    half = float(ndtri((1 + level) / 2)) * np.sqrt(spread)
    number = {g: k for k, g in enumerate(big)}
    out = []
    for g, (h, m) in found.items():
        if g not in number:
            why = f"{len(h)} people and {len(m)} personas; {MIN_RATERS} and 2 needed"
            out.append(GroupBias(g, len(h), len(m), None, None, None, None, why))
            continue
        k = number[g]
        limits = (float(pooled[k] - half[k]), float(pooled[k] + half[k]))
        out.append(GroupBias(g, len(h), len(m), float(raw[k]), float(pooled[k]), *limits, note))
    return tuple(out)


def _by_group(name: str, values: ArrayLike, group: ArrayLike) -> dict[str, FloatArray]:
    y, labels = check_shape(name, values, "n"), np.asarray(group).astype(str)
    check_same_length(**{name: y, f"{name}_group": labels})
    if np.isinf(y).any():
        raise NotFiniteError(f"{name!r} holds an infinite value", where=name, expected="numbers, or NaN for unscored")
    y, labels = y[~np.isnan(y)], labels[~np.isnan(y)]
    return {str(g): y[labels == g] for g in np.unique(labels)}


def _pool(raw: FloatArray, error: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Biases drawn towards their mean, and their variances, which count how badly few groups tell τ²."""
    k, w = len(raw), 1 / error
    centre = (w @ raw) / w.sum()
    excess = w @ (raw - centre) ** 2 - (k - 1)
    tau2 = max(float(excess / (w.sum() - (w @ w) / w.sum())), 0.0)
    weight = 1 / (error + tau2)
    common = (weight @ raw) / weight.sum()
    drawn = (k - 3) / (k - 1) * error * weight  # never all the way: τ² = 0 may be chance
    unsure = 2 / (k - 3) * drawn**2 * (error.mean() + tau2) * weight
    variance = error * (1 - (k - 1) / k * drawn) + unsure * (raw - common) ** 2
    return raw + drawn * (common - raw), variance
