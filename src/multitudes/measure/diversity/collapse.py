"""Did a change pull the people together, and toward the centre? Contraction and pull of persona means.

Definitions are our own; there is no published counterpart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError

FloatArray = NDArray[np.float64]


def _runs(name: str, x: ArrayLike) -> FloatArray:
    runs = check_shape(name, x, "P R d")
    if not np.isfinite(runs).all():
        raise NotFiniteError(f"{name!r} holds values that are not finite", where=name)
    if runs.shape[0] < 2 or runs.shape[1] < 2:
        raise GaugeError(
            "collapse needs two people and two runs of each", where=name,
            found=f"P={runs.shape[0]}, R={runs.shape[1]}",
            hint="with one run the noise of a mean looks like movement toward the centre",
        )  # fmt: skip
    return runs


def dispersion(runs: ArrayLike) -> float:
    """T: ½ mean squared distance between persona means, less the mean sampling variance of such a mean.

    Args:
        runs: (P, R, d) mean embedding of each person's answers in each run, P and R at least 2.

    May fall below 0 where people do not differ; it is not clipped.
    """
    x = _runs("runs", runs)
    means = x.mean(axis=1)
    apart = ((means - means.mean(axis=0)) ** 2).sum() / (len(means) - 1)
    noise = ((x - means[:, None]) ** 2).sum() / (len(x) * (x.shape[1] - 1)) / x.shape[1]
    return float(apart - noise)


def _same_people(before: FloatArray, after: FloatArray) -> None:
    if (len(before), before.shape[2]) != (len(after), after.shape[2]):
        raise GaugeError(
            "before and after are not the same people in the same space", where="after",
            found=f"P={len(after)}, d={after.shape[2]}", expected=f"P={len(before)}, d={before.shape[2]}",
        )  # fmt: skip


def contraction(before: ArrayLike, after: ArrayLike) -> float | None:
    """γ = T_after / T_before: 1 none, below 1 collapse; None where people did not differ before.

    Args:
        before: (P, R, d), see ``dispersion``.
        after: The same people after the change; R may differ.
    """
    _same_people(_runs("before", before), _runs("after", after))
    start = dispersion(before)
    return dispersion(after) / start if start > 0 else None


def pull(before: ArrayLike, after: ArrayLike, centre: ArrayLike) -> float | None:
    """π: how far people moved along the way to the centre; 0 none, 1 all at the centre, below 0 outward.

    π = Σ⟨x_1 - x_0, c - x'_0⟩ / Σ⟨c - x_0, c - x'_0⟩ with x_0 and x'_0 from two disjoint halves of the runs, averaged
    over both ways round. With one x_0 on both sides its noise would look like movement: .8 at one run where nothing
    moved and noise is four times the signal.

    Args:
        before: (P, R, d), R >= 2.
        after: (P, R', d).
        centre: (d,) mean embedding of what is said without any persona, before the change.

    Returns:
        π, or None where people were at the centre already.
    """
    x0, then = _runs("before", before), _runs("after", after)
    _same_people(x0, then)
    x1, c = then.mean(axis=1), check_shape("centre", centre, "d")
    if len(c) != x0.shape[2] or not np.isfinite(c).all():
        raise GaugeError(
            "'centre' is no mean of these", where="centre", found=str(c.shape), expected=f"{x0.shape[2]}"
        )
    half = x0.shape[1] // 2
    first, second = x0[:, :half].mean(axis=1), x0[:, half:].mean(axis=1)
    top = bottom = 0.0
    for here, other in ((first, second), (second, first)):
        top += float(((x1 - here) * (c - other)).sum())
        bottom += float(((c - here) * (c - other)).sum())
    return top / bottom if bottom > 0 else None
