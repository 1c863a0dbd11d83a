"""Which base prompts calibrate and which items are kept, decided on data that no result is taken from.

Screening on the data that are then judged makes the kept ones fall back by themselves: with Δ₀ = 0.30 and probe noise
of SD 0.12, keeping conversations with D₀ − F₀ >= 0.2 shows a retention of 0.79 where nothing was lost.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length, check_shape
from multitudes.measure.errors import ScreeningLeakError, TooFewClustersError

FloatArray = NDArray[np.float64]

CALIBRATION_SHARE = 1 / 3
MIN_GAIN = 0.1  # of C3 over C0 at the start, below which an item says nothing about the persona
MIN_ITEMS = 3  # fewer: the disposition is unavailable
MIN_ITEMS_FOR_EVENTS = 4  # fewer: a single noisy item makes flips out of nothing

Use = Literal["unavailable", "retention only", "retention and events"]


class Split(NamedTuple):
    """Labels of the base prompts of each part, in their own order."""

    calibration: tuple[Hashable, ...]
    evaluation: tuple[Hashable, ...]


class Screened(NamedTuple):
    """Items that are kept.

    Attributes:
        kept: (items,) bool.
        gain: (items,) mean of C3 − C0 at the start; NaN where nothing is scored.
        use: What the battery is good for.
        n: Calibration prompts.
    """

    kept: NDArray[np.bool_]
    gain: FloatArray
    use: Use
    n: int


def split_prompts(prompts: Sequence[Hashable], *, seed: int) -> Split:
    """A third of the distinct base prompts, drawn, for calibration; the rest for results.

    Raises:
        TooFewClustersError: Fewer than two prompts.

    >>> len(split_prompts(range(51), seed=1).calibration)
    17
    """
    distinct = list(dict.fromkeys(prompts))
    if len(distinct) < 2:
        raise TooFewClustersError("a split needs two base prompts", found=str(len(distinct)), expected=">= 2")
    size = max(1, round(CALIBRATION_SHARE * len(distinct)))
    drawn = set(np.random.default_rng(seed).permutation(len(distinct))[:size].tolist())
    return Split(
        tuple(p for i, p in enumerate(distinct) if i in drawn),
        tuple(p for i, p in enumerate(distinct) if i not in drawn),
    )


def screen_items(
    prompted: ArrayLike,
    plain: ArrayLike,
    prompts: Sequence[Hashable],
    *,
    evaluation: Sequence[Hashable],
    min_gain: float = MIN_GAIN,
) -> Screened:
    """Keep the items on which a prompted persona differs from no persona at the start.

    Args:
        prompted: (n, items) D of C3 at t = 0, one row per conversation or cell of the calibration prompts.
        plain: (n, items) D of C0, same rows.
        prompts: (n,) base prompt of each row.
        evaluation: Base prompts that results will be taken from; none may be among ``prompts``.
        min_gain: Least mean of C3 − C0.

    Returns:
        The items, and whether they are enough: 3 for retention, 4 for events.

    Raises:
        ScreeningLeakError: If a base prompt is on both sides.

    >>> screen_items([[0.9, 0.5]] * 2, [[0.5, 0.5]] * 2, ["a", "b"], evaluation=["c"]).kept.tolist()
    [True, False]
    """
    high, low = check_shape("prompted", prompted, "n items"), check_shape("plain", plain, "n items")
    check_same_length(prompted=high, plain=low, prompts=prompts)
    if shared := set(prompts) & set(evaluation):
        raise ScreeningLeakError(
            "items may not be screened on base prompts that they are judged by",
            where="prompts",
            found=", ".join(sorted(map(repr, shared))[:5]),
            expected="calibration prompts only",
            hint="split with split_prompts and screen on the calibration part",
        )
    difference = high - low
    scored = ~np.isnan(difference)
    n = scored.sum(axis=0)
    total = np.where(scored, difference, 0.0).sum(axis=0)
    gain = np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)
    kept = np.asarray(np.nan_to_num(gain, nan=-np.inf) >= min_gain - 1e-12)
    use: Use = "retention and events"
    if kept.sum() < MIN_ITEMS_FOR_EVENTS:
        use = "retention only" if kept.sum() >= MIN_ITEMS else "unavailable"
    return Screened(kept, gain, use, len(set(prompts)))
