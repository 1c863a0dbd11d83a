"""Axes that another filter would have given, from the same answers: how much hangs on the choice.

All are of generated answers, also where the axis itself comes from the fixed text, and all have the default in
common, which brings their cosines near 1: compare them with each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.answers import Collection
from multitudes.axis.collected import Collected, control_mean, default_mean, merge, role_means
from multitudes.axis.components import cosine
from multitudes.axis.controls import OF_ROLES

FloatArray = NDArray[np.float64]

ANY_TOPIC = "any_topic"


def other_filters(done: Collection, *, min_count: int) -> dict[str, FloatArray]:
    """(L, d) axes by name: ``unfiltered``, ``somewhat`` and, where a topic filter was used, ``any_topic`` without it.

    Args:
        done: The collection.
        min_count: Kept answers that a role needs.
    """
    default = default_mean(done.generated)
    out = {k: default - control_mean(done.generated, k) for k in OF_ROLES if k in done.generated.controls}
    if done.off_topic is not None:
        out[ANY_TOPIC] = axis_of(merge([done.generated, done.off_topic]), min_count=min_count)
    return out


def axis_of(c: Collected, *, min_count: int) -> FloatArray:
    """(L, d) default mean minus the mean over roles, of those with ``min_count`` answers; NaN if none has."""
    kept = c.n.sum(axis=0) >= max(min_count, 1)
    if not kept.any():
        return np.full(c.sums.shape[2:], np.nan)
    return np.asarray(default_mean(c) - role_means(c)[kept].mean(axis=0))


def cosines_with(axis: FloatArray, others: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """(L,) cosine of the axis with each other one, in [-1, 1]; 1 = the choice does not matter."""
    return {f"cosine_{name}": cosine(axis, other) for name, other in others.items()}
