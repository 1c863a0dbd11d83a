"""Support coverage: is there somebody near every possible position?

A probe point is covered if a persona stands within the calibrated radius: the distance within which quasi-random
personas of the same number reach 99 % of all probes. So .99 is what good placement and faithful answers give, and 1
minus coverage is the share of possible people that nobody stands for.

Coverage without obedience is worthless (answers drawn at random score .86 to .91), so ``coverage_reading`` always
prints adherence and gain beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.stats import qmc

from multitudes.core.errors import GaugeError
from multitudes.measure.jackknife import jackknife
from multitudes.measure.placement_fit import check_positions
from multitudes.measure.stats import Estimate

FloatArray = NDArray[np.float64]
Lattice = tuple[int, ...]

PROBE_POWER = 14  # 16,384 probes: the Monte Carlo error of a coverage is below .002
PROBE_SEED = 20_260_203
REFERENCE_SEED = 77_000_000  # references r = 0, 1, ... use this plus r, never the probes' seed
RADIUS_QUANTILE = 0.99
MAX_AXES = 6  # beyond, distances hardly differ: lead with other measures
CD2_MAX_N = 20_000  # quadratic in N


class Support(NamedTuple):
    """Coverage of one population.

    Attributes:
        coverage: Share of probes within ``radius``, with the delete-one-persona interval; ``n`` is the nominal
            number of personas and ``unscored`` those that cover nothing because a position is missing.
        raw: The same with the radius of continuous positions.
        radius: Calibrated to the attainable values, in units of one axis.
        radius_raw: Calibrated to continuous positions.
        loss: Uncovered share that each persona alone prevents, (N,); what the interval is made of.
    """

    coverage: Estimate
    raw: float
    radius: float
    radius_raw: float
    loss: FloatArray


class LossSplit(NamedTuple):
    """Where coverage is lost: 1 - C(z) = placement + expression."""

    of_targets: float
    placement: float
    expression: Estimate


@lru_cache(maxsize=16)
def probe_points(k: int) -> FloatArray:
    """(2^14, K) scrambled Sobol points with a fixed seed, read-only."""
    points: FloatArray = qmc.Sobol(k, scramble=True, rng=PROBE_SEED).random_base2(PROBE_POWER)
    points.flags.writeable = False
    return points


def round_to_lattice(z: ArrayLike, lattice: Sequence[int] | None) -> FloatArray:
    """Positions moved to the nearest attainable value {0, 1/(G_k-1), ..., 1}; unchanged where ``lattice`` is None.

    >>> round_to_lattice([[0.3, 0.3]], (3, 5)).tolist()
    [[0.5, 0.25]]
    """
    x = np.asarray(z, dtype=np.float64)
    if lattice is None:
        return x
    steps = np.asarray(lattice, dtype=np.float64) - 1
    return np.asarray(np.round(x * steps) / steps)


def _check_lattice(lattice: Sequence[int] | None, k: int) -> Lattice | None:
    if lattice is None:
        return None
    if len(lattice) != k or min(lattice) < 2:
        raise GaugeError(
            "'lattice' must give the number of attainable values of each axis",
            where="lattice",
            found=repr(tuple(lattice)),
            expected=f"{k} integers >= 2, each items x (labels - 1) + 1",
        )
    return tuple(int(g) for g in lattice)


def _distinct(points: FloatArray) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """Distinct rows, one original index of each, and how often each occurs.

    A k-d tree over tied rows is quadratic; this step keeps it near-linear.
    """
    order = np.lexsort(points.T)
    ordered = points[order]
    first = np.ones(len(points), dtype=bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.flatnonzero(first)
    return ordered[starts], order[starts], np.diff(np.append(starts, len(points)))


def _nearest(points: FloatArray, probes: FloatArray, k: int) -> tuple[FloatArray, NDArray[np.int64]]:
    tree = cKDTree(points, balanced_tree=False, compact_nodes=False)
    distance, index = tree.query(probes, k=list(range(1, k + 1)), workers=-1 if len(points) > 10_000 else 1)
    return distance, index


def calibrated_radius(n: int, k: int, lattice: Sequence[int] | None = None) -> float:
    """Radius within which a Sobol population of ``n`` covers 99 % of the probes.

    The .99 quantile of probe-to-nearest distances pooled over 64 scrambled populations (16 above 10³, 4 above 10⁵),
    each the first n of 2^⌈log2 n⌉ points, rounded to ``lattice`` if positions can only take those values.

    Args:
        n: Number of personas.
        k: Number of axes.
        lattice: Attainable values per axis; None for continuous positions.

    Returns:
        The radius, in units of one axis; cached.

    Source: coverage follows arXiv 2602.03545; the calibration by quantile and lattice is our own.
    """
    return _radius(n, k, None if lattice is None else tuple(lattice))


@lru_cache(maxsize=256)
def _radius(n: int, k: int, lattice: Lattice | None) -> float:
    populations = 64 if n <= 1_000 else 16 if n <= 100_000 else 4
    power = max(0, (n - 1).bit_length())
    pooled = []
    for r in range(populations):
        people = qmc.Sobol(k, scramble=True, rng=REFERENCE_SEED + r).random_base2(power)[:n]
        rows, _, _ = _distinct(round_to_lattice(people, lattice))
        pooled.append(_nearest(rows, probe_points(k), 1)[0][:, 0])
    return float(np.quantile(np.concatenate(pooled), RADIUS_QUANTILE))


def _cover(z: FloatArray, radius: float) -> tuple[float, FloatArray]:
    """Covered share of the probes, and for each persona the share that nobody else covers."""
    alone = np.zeros(len(z))
    here = np.flatnonzero(~np.isnan(z).any(axis=1))
    if not len(here):
        return 0.0, alone
    rows, original, copies = _distinct(z[here])
    distance, index = _nearest(rows, probe_points(z.shape[1]), 2)
    only = (distance[:, 0] <= radius) & (distance[:, 1] > radius)
    share = np.bincount(index[only, 0], minlength=len(rows)) / len(distance)
    alone[here[original]] = np.where(copies == 1, share, 0.0)  # a twin would still stand there
    return float((distance[:, 0] <= radius).mean()), alone


def support_coverage(z: ArrayLike, *, lattice: Sequence[int] | None = None, level: float = 0.95) -> Support:
    """Share of the space within the calibrated radius of a persona.

    The interval deletes one persona at a time at a fixed radius. A bootstrap would be wrong here: a resampled
    population is 63 % distinct people and 37 % exact copies, which cover nothing new, so it is biased downward by
    several standard errors. The jackknife treats personas as independent draws; a designed population varies less,
    so the interval is then wider than it need be.

    Args:
        z: (N, K) expressed positions in [0, 1]. A persona with a NaN covers nothing and still counts in N.
        lattice: (K,) number of attainable values per axis where answers were sampled: items x (labels - 1) + 1.
            None where positions are exact expectations.
        level: Confidence level.

    Returns:
        Coverage in [0, 1], higher is better, .99 ideal by construction.

    Raises:
        GaugeError: If ``z`` is empty, not two-dimensional or outside [0, 1], or ``lattice`` does not fit it.
    """
    y = check_positions("z", z)
    n, k = y.shape
    grid = _check_lattice(lattice, k)
    radius, radius_raw = calibrated_radius(n, k, grid), calibrated_radius(n, k)
    covered, alone = _cover(y, radius)
    raw = covered if radius == radius_raw else _cover(y, radius_raw)[0]
    found = _clip(jackknife(covered, covered - alone, level=level, unscored=int(np.isnan(y).any(axis=1).sum())), 0, 1)
    return Support(found, raw, radius, radius_raw, alone)


def collapsed_coverage(radius: float, k: int) -> float:
    """Coverage if everybody stood at the centre of the space: the value that means "no diversity"."""
    return float((np.linalg.norm(probe_points(k) - 0.5, axis=1) <= radius).mean())


def _clip(estimate: Estimate, low: float, high: float) -> Estimate:
    if estimate.low is None or estimate.high is None:
        return estimate
    return estimate._replace(low=max(low, estimate.low), high=min(high, estimate.high))


def split_loss(
    z: ArrayLike, targets: ArrayLike, *, lattice: Sequence[int] | None = None, level: float = 0.95
) -> LossSplit:
    """Split of the uncovered share into what placement lost and what expression lost.

    ``C(t)`` is what a perfect respondent would cover: the targets, rounded to the attainable values, at the same
    radius. Placement loss is 1 - C(t), expression loss C(t) - C(z); the latter can be negative.

    Args:
        z: (N, K) expressed positions.
        targets: (N, K) planned positions.
        lattice: As in ``support_coverage``.
        level: Confidence level of the expression loss (delete one persona from both sides).
    """
    y, t = check_positions("z", z), check_positions("targets", targets)
    if y.shape != t.shape:
        raise GaugeError("'targets' and 'z' differ in shape", found=f"{t.shape} and {y.shape}", expected="the same")
    radius = calibrated_radius(len(y), y.shape[1], _check_lattice(lattice, y.shape[1]))
    (planned, planned_alone), (expressed, alone) = (
        _cover(round_to_lattice(t, lattice), radius),
        _cover(y, radius),
    )
    lost = planned - expressed
    loss = jackknife(lost, lost - planned_alone + alone, level=level, unscored=int(np.isnan(y).any(axis=1).sum()))
    return LossSplit(planned, 1 - planned, loss)


def centred_discrepancy(z: ArrayLike) -> tuple[float | None, float | None, int]:
    """CD², how unevenly the personas fill the space, with the value expected of as many independent uniform ones.

    Args:
        z: (N, K) positions; rows with NaN are left out.

    Returns:
        CD² >= 0, lower is more even; ((5/4)^K - (13/12)^K)/N, its mean for independent uniform positions; and the
        number of rows used. (None, None, n) with no complete row or more than 20,000.

    Source: Hickernell 1998, via scipy.stats.qmc.discrepancy.
    """
    y = check_positions("z", z)
    rows = y[~np.isnan(y).any(axis=1)]
    n, k = rows.shape
    if not 1 <= n <= CD2_MAX_N:
        return None, None, n
    value = float(qmc.discrepancy(rows, method="CD"))
    return max(0.0, value), ((5 / 4) ** k - (13 / 12) ** k) / n, n
