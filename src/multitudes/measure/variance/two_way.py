"""The rules that every interval over personas and items obeys, for shares that leave one out by themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from multitudes.measure.jackknife import two_way_jackknife
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.intervals import FEW, MIN_ITEMS, MIN_PERSONAS


def two_way_estimate(
    value: float, without_persona: ArrayLike, without_item: ArrayLike, *, level: float = 0.95
) -> Estimate:
    """Two-way jackknife interval; none below 5 personas or 3 items, flagged below 10 of either.

    Args:
        value: The estimate from everything.
        without_persona: (P,) estimates without each persona.
        without_item: (I,) estimates without each item.
        level: Confidence level.

    >>> two_way_estimate(0.5, [0.5] * 4, [0.5] * 9).note
    'few clusters: 4 personas, 9 items, no interval'
    """
    p, i = len(np.asarray(without_persona)), len(np.asarray(without_item))
    if p < MIN_PERSONAS or i < MIN_ITEMS:
        return Estimate(value, None, None, p, 0, f"few clusters: {p} personas, {i} items, no interval")
    found = two_way_jackknife(value, without_persona, without_item, level=level)
    flag = f"few clusters: {p} personas, {i} items" if min(p, i) < FEW else ""
    return found._replace(n=p, note="; ".join(x for x in (found.note, flag) if x))
