"""Drift along a direction: where the turns of a conversation lie, and whether they leave and come back.

z is a projection scaled so that 0 is the average role and 1 the default Assistant (``axis.scale``). A single short
turn is noisy (standard deviation about .5 at 31 tokens on a small model): report bands over conversations.
Rows are conversations, columns are turn positions 0, 1, ...; NaN is a turn that is unscored or was never held.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import MixedViews, TooFewSamplesError
from multitudes.measure.stats import DRAWS, CurveEstimate, bootstrap_curve

FloatArray = NDArray[np.float64]

OUTSIDE = 0.05  # quantile of default responses below which a turn counts as outside
MIN_SAMPLES = 10  # positions with fewer conversations are dropped, as in the paper


class ConversationDrift(NamedTuple):
    """One number per conversation, (C,) each; NaN where it is undefined.

    Attributes:
        slope: Least-squares slope of z on turn, per turn; null 0, negative = away from the Assistant. Needs two
            scored turns.
        change: Last scored z minus first scored z; null 0. Needs two scored turns.
        outside: Share of scored turns below the limit, in [0, 1]; null .05 for turns like default responses.
        left: First turn position that is outside.
        returned: First scored position after ``left`` that is back inside; NaN if it never left or never came back.
        scored: Number of scored turns.
    """

    slope: FloatArray
    change: FloatArray
    outside: FloatArray
    left: FloatArray
    returned: FloatArray
    scored: NDArray[np.int64]


class PooledDrift(NamedTuple):
    """Mean z per turn position with bands over conversations, and the positions that were dropped.

    Attributes:
        curve: Positions with at least ``MIN_SAMPLES`` conversations; pointwise percentile bands.
        dropped: Positions that fewer conversations reached.
    """

    curve: CurveEstimate
    dropped: tuple[int, ...]


def outside_limit(z_default: ArrayLike, *, quantile: float = OUTSIDE) -> float:
    """The z below which a turn is outside: a quantile of single default responses.

    Args:
        z_default: (n,) z of default responses; NaN is unscored.
        quantile: In (0, 1).

    Raises:
        TooFewSamplesError: Fewer than 1 / ``quantile`` scored responses: the quantile would be the minimum.
    """
    z = check_shape("z_default", z_default, "n")
    z = z[~np.isnan(z)]
    if len(z) * quantile < 1 - 1e-9:
        raise TooFewSamplesError(
            "too few default responses for their lower quantile",
            where="z_default",
            found=str(len(z)),
            expected=f">= {int(np.ceil(1 / quantile))}",
        )
    return float(np.quantile(z, quantile))


def conversation_drift(z: ArrayLike, *, limit: float) -> ConversationDrift:
    """Slope, change, time outside and return of each conversation.

    Args:
        z: (C, T); NaN is unscored.
        limit: Turns with z below it are outside; from ``outside_limit``.

    Returns:
        (C,) numbers. Unscored turns are left out of each; they neither leave nor return.

    Source: Lu et al. 2026, arXiv 2601.10387, section 5, for projections over turns; the numbers are our own.

    >>> found = conversation_drift([[1.0, 0.5, 0.0, 1.0]], limit=0.25)
    >>> found.change.tolist(), found.outside.tolist(), found.left.tolist(), found.returned.tolist()
    ([0.0], [0.25], [2.0], [3.0])
    """
    y = check_shape("z", z, "C T")
    there = ~np.isnan(y)
    n = there.sum(axis=1)
    two = n >= 2
    filled, turns = np.where(there, y, 0.0), np.arange(y.shape[1], dtype=np.float64)
    with_turn = there @ turns
    mean_turn = np.divide(with_turn, n, out=np.zeros(len(y)), where=n > 0)
    lever = np.where(there, turns - mean_turn[:, None], 0.0)
    slope = np.full(len(y), np.nan)
    np.divide((lever * filled).sum(axis=1), (lever**2).sum(axis=1), out=slope, where=two)
    rows = np.arange(len(y))
    change = np.full(len(y), np.nan)
    outside, left, returned = change.copy(), change.copy(), change.copy()
    if y.shape[1]:
        first, last = there.argmax(axis=1), y.shape[1] - 1 - there[:, ::-1].argmax(axis=1)
        change = np.where(two, filled[rows, last] - filled[rows, first], np.nan)
        out = there & (filled < limit)
        np.divide(out.sum(axis=1), n, out=outside, where=n > 0)
        gone = out.any(axis=1)
        left = np.where(gone, out.argmax(axis=1), np.nan)
        back = there & ~out & (turns > np.where(gone, left, np.inf)[:, None])
        returned = np.where(back.any(axis=1), back.argmax(axis=1), np.nan)
    return ConversationDrift(slope, change, outside, left, returned, n.astype(np.int64))


def pooled_drift(
    z: ArrayLike,
    *,
    seed: int,
    clusters: ArrayLike | None = None,
    views: Sequence[str] | None = None,
    minimum: int = MIN_SAMPLES,
    draws: int = DRAWS,
) -> PooledDrift:
    """Mean z at each turn position, with bands from resampled conversations.

    Args:
        z: (C, T); NaN is unscored.
        seed: Seed of the draws.
        clusters: (C,) what is resampled as a whole; each conversation by itself if None. Conversations of one persona
            are not independent: give the personas here to say something about other personas.
        views: (C,) whose activations these are (own or reader); they are never pooled.
        minimum: Positions with fewer scored conversations are dropped: the talkative few would bend the curve.
        draws: Bootstrap draws.

    Raises:
        MixedViews: More than one view.
    """
    y = check_shape("z", z, "C T")
    if views is not None and len(set(views)) > 1:
        raise MixedViews(
            "a model's own activations and a reader's are not the same quantity",
            found=", ".join(sorted(set(views))),
            expected="one view",
            hint="pool them apart",
        )
    who = np.arange(len(y)) if clusters is None else np.asarray(clusters)
    check_same_length(z=y, clusters=who)
    if who.ndim != 1:
        raise GaugeError("'clusters' has the wrong shape", found=str(who.shape), expected="(C,)")
    reached = (~np.isnan(y)).sum(axis=0)
    kept = np.flatnonzero(reached >= max(minimum, 1))
    turns = np.broadcast_to(kept.astype(np.float64), (len(y), len(kept)))
    curve = bootstrap_curve(
        turns.reshape(-1), y[:, kept].reshape(-1), np.repeat(who, len(kept)), seed=seed, draws=draws
    )
    return PooledDrift(curve, tuple(int(t) for t in np.flatnonzero((reached > 0) & (reached < max(minimum, 1)))))
