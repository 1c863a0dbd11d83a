"""The alternative annotator test: is the simulator closer to the others than the one it would replace?

Each annotator j is left out in turn. On every item of theirs, simulator and annotator are scored by how well they
agree with the remaining annotators, and each wins the item if its score is at least the other's. H0_j: the
simulator's share of wins is at most the annotator's less ε, where ε says how much worse it may be for being cheaper.
A one-sided t-test of the paired differences rejects H0_j, with Benjamini and Yekutieli's correction over annotators.
The winning rate ω is the share of annotators for whom it is rejected; at .5 or above the simulator passes.

Source: Calderon, Reichart & Dror 2025, arXiv 2501.10970, section 3.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as sps

from multitudes.core.checks import check_range, check_same_length, check_shape
from multitudes.measure.errors import NotFiniteError, TooFewItemsError

FloatArray = NDArray[np.float64]

MIN_SHARED = 30  # items of an annotator, for the t-test to hold
PASS = 0.5
Q = 0.05


class AltTest(NamedTuple):
    """Outcome of the test.

    Attributes:
        winning_rate: ω, share of annotators whose H0 is rejected, [0, 1].
        passed: ω >= .5.
        advantage: ρ, mean over annotators of the share of items on which the simulator is at least as close as they.
        p: (annotators,) one-sided p-values before correction, in the order of ``annotators``.
        annotators: Columns that took part.
        left_out: Annotators with fewer than 30 items that somebody else rated too.
        epsilon: The price that was put on people.
    """

    winning_rate: float
    passed: bool
    advantage: float
    p: tuple[float, ...]
    annotators: tuple[int, ...]
    left_out: int
    epsilon: float


def alt_test(
    ratings: ArrayLike, simulated: ArrayLike, *, epsilon: float, metric: Literal["nominal", "interval"] = "nominal"
) -> AltTest:
    """Leave one annotator out, and see whether the simulator stands in for them.

    Args:
        ratings: (I, J) items by annotators; NaN where an annotator gave no value.
        simulated: (I,) the simulator's answers, one an item; NaN is unscored and leaves the item out.
        epsilon: How much less often than the annotator the simulator may win, [0, 1): .2 for experts, .15 for skilled
            annotators, .1 for crowd workers are the authors' rules of thumb.
        metric: Agreement with the others: the share of them with the same value, or minus the root of the mean
            squared distance to them.

    Returns:
        The outcome. Where an annotator's differences are all equal, p is 0 or 1 by which side of ε they lie on.

    Raises:
        TooFewItemsError: If fewer than two annotators have 30 items that somebody else rated too. (The paper offers a
            signed-rank test there; it is not offered here.)
        NotFiniteError: If a value is infinite.
        GaugeError: If shapes differ or ``epsilon`` is out of range.
    """
    table, ours = check_shape("ratings", ratings, "items annotators"), check_shape("simulated", simulated, "items")
    check_same_length(ratings=table, simulated=ours)
    check_range("epsilon", epsilon, 0.0, np.nextafter(1.0, 0.0))
    if np.isinf(table).any() or np.isinf(ours).any():
        raise NotFiniteError("a rating is infinite", expected="numbers, or NaN for missing")
    table, ours = table[~np.isnan(ours)], ours[~np.isnan(ours)]
    given = ~np.isnan(table)
    p, wins, used = [], [], []
    for j in range(table.shape[1]):
        shared = given[:, j] & (given.sum(axis=1) >= 2)
        if shared.sum() < MIN_SHARED:
            continue
        others = np.delete(table[shared], j, axis=1)
        machine, person = (_closeness(x[shared], others, metric) for x in (ours, table[:, j]))
        lost = (person >= machine).astype(np.float64) - (machine >= person)
        p.append(_p_below(lost, epsilon))
        wins.append(float((machine >= person).mean()))
        used.append(j)
    if len(used) < 2:
        raise TooFewItemsError(
            "the alternative annotator test needs two annotators with enough shared items",
            found=f"{len(used)} annotators with {MIN_SHARED} items that somebody else rated too",
            expected="two at least; 50 to 100 items serve well",
        )
    rate = _rejected(np.array(p)) / len(p)
    return AltTest(
        rate, rate >= PASS, float(np.mean(wins)), tuple(p), tuple(used), table.shape[1] - len(used), epsilon
    )


def _closeness(x: FloatArray, others: FloatArray, metric: str) -> FloatArray:
    gap = x[:, None] - others
    if metric == "nominal":
        return np.asarray(np.nanmean(np.where(np.isnan(gap), np.nan, gap == 0), axis=1))
    return np.asarray(-np.sqrt(np.nanmean(gap**2, axis=1)))


def _p_below(d: FloatArray, epsilon: float) -> float:
    """One-sided p that the mean of ``d`` is below ``epsilon``."""
    error = float(d.std(ddof=1)) / len(d) ** 0.5
    if error == 0:
        return 0.0 if d[0] < epsilon else 1.0
    return float(sps.t.cdf((d.mean() - epsilon) / error, len(d) - 1))


def _rejected(p: FloatArray) -> int:
    """How many are rejected at false discovery rate ``Q`` whatever their dependence (Benjamini & Yekutieli 2001)."""
    m = len(p)
    rank = np.arange(1, m + 1)
    below = np.nonzero(np.sort(p) <= rank * Q / (m * (1 / rank).sum()))[0]
    return int(below[-1]) + 1 if len(below) else 0
