"""Would other questions or other roles have given the same axis?

Both cosines are 0 for unrelated directions and 1 for the same one. Halves of the roles share the default mean and
flatter the axis; halves of the questions share nothing and are the gate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.axis.collected import Collected, default_mean, role_means
from multitudes.axis.components import cosine
from multitudes.core.checks import check_shape
from multitudes.measure.errors import TooFewSamplesError

FloatArray = NDArray[np.float64]

SPLIT_HALF_GATE = 0.8  # our choice, for the cosine of the two question halves
HALVES = 100


def half_axes(c: Collected, kept: NDArray[np.int64]) -> FloatArray:
    """(2, L, d) the axis from the questions of each half, over the kept roles that have responses in both.

    NaN where there is no such role, or a half has no default response.
    """
    both = kept[(c.n[:, kept] > 0).all(axis=0)]
    if not len(both):
        return np.full((2, *c.sums.shape[2:]), np.nan)
    return np.stack([default_mean(c, half=h) - role_means(c, half=h)[both].mean(axis=0) for h in (0, 1)])


def split_half_cosine(halves: ArrayLike) -> FloatArray:
    """(L,) cosine of the axes of the two question halves; null 0, gate >= .8."""
    axes = check_shape("halves", halves, "2 L d")
    return cosine(axes[0], axes[1])


def role_half_cosines(gram: ArrayLike, *, seed: int, draws: int = HALVES) -> FloatArray:
    """Cosines of axes from random halves of the roles, at one layer.

    Args:
        gram: (R + 1, R + 1) inner products of the role means and, last, the default, all minus one common vector.
        seed: Seed of the halves.
        draws: Number of random halves; with R odd one role sits out in each.

    Returns:
        (draws,). Both axes share the default mean, so their cosine flatters.

    Raises:
        TooFewSamplesError: Fewer than two roles.
    """
    products = check_shape("gram", gram, "R R")
    r = len(products) - 1
    if r < 2:
        raise TooFewSamplesError("halves of the roles need two roles", found=str(r), expected=">= 2")
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random((draws, r)), axis=1)
    weights = np.zeros((2, draws, r + 1))
    for side in (0, 1):
        mine = order[:, side * (r // 2) : (side + 1) * (r // 2)]
        np.put_along_axis(weights[side], mine, -1.0 / (r // 2), axis=1)
    weights[:, :, r] = 1.0
    a, b = weights
    along = a @ products
    top = (along * b).sum(axis=1)
    bottom = np.sqrt((along * a).sum(axis=1) * ((b @ products) * b).sum(axis=1))
    out = np.full(draws, np.nan)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return np.asarray(np.clip(out, -1, 1))
