"""What two arms differ by, paired on the base prompts that both have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import GaugeError
from multitudes.measure.retention.cells import Cells, check_measurable, sums
from multitudes.measure.retention.curve import recovery
from multitudes.measure.retention.flips import Floor
from multitudes.measure.retention.intervals import Resample, cluster_columns, interval, swap_p
from multitudes.measure.retention.statistics import (
    auc_statistic,
    difference,
    ratio_or_nan,
    rho_statistic,
    rmst_statistic,
)
from multitudes.measure.stats import Difference, Estimate

FloatArray = NDArray[np.float64]


def auc_difference(first: Cells, second: Cells, sample: Resample, *, seed: int) -> Difference:
    """AUC_R(first) − AUC_R(second), paired on common base prompts.

    Args:
        first: The condition.
        second: What it is compared with; probed at the same turns.
        sample: Draws shared by both, for the BCa interval.
        seed: Of the swaps of arms within prompts, which give p.

    Raises:
        NoRange: If an arm is not measurable.
        GaugeError: If the arms were probed at different turns.
    """
    for cells in (first, second):
        check_measurable(cells)
    if not np.array_equal(first.turns[first.pressed], second.turns[second.pressed]):
        raise GaugeError(
            "arms were probed at different turns", found=f"{first.turns.tolist()}, {second.turns.tolist()}"
        )
    found = interval(difference(auc_statistic(first), auc_statistic(second)), sample)
    columns = []
    for cells in (first, second):
        parts = sums(cells)
        columns.append(
            cluster_columns(np.hstack([parts.top[:, cells.pressed], parts.bottom[:, cells.pressed]]), cells, sample)
        )
    p = swap_p(columns[0], columns[1], _mean_ratio, seed=seed)
    return Difference(found.value, found.low, found.high, p, found.n, found.unscored, found.note)


def rho_difference(first: Cells, second: Cells, sample: Resample) -> Estimate | None:
    """ρ(first) − ρ(second) with its interval; None where an arm was not displaced."""
    if recovery(first).rho is None or recovery(second).rho is None:
        return None
    return interval(difference(rho_statistic(first), rho_statistic(second)), sample)


def rmst_difference(first: Cells, second: Cells, sample: Resample, *, floor: Floor = "cell") -> Estimate:
    """ΔRMST = ∫₀ᵀ S_first − ∫₀ᵀ S_second, turns; 0 is equal. The model-free backup of the time ratio."""
    if first.last != second.last:
        raise GaugeError("arms were pressed for different times", found=f"{first.last:g} and {second.last:g} turns")
    return interval(difference(rmst_statistic(first, floor=floor), rmst_statistic(second, floor=floor)), sample)


def over_neutral(pressed: tuple[Cells, Cells], neutral: tuple[Cells, Cells], sample: Resample) -> Estimate:
    """Difference of AUC_R differences: what the arms differ by under pressure beyond what they do in neutral talk.

    Args:
        pressed: The condition and prompting, under the pressure.
        neutral: Both under P0 of equal length.
        sample: Draws shared by all four.

    Raises:
        NoRange: If an arm is not measurable.
    """
    for cells in (*pressed, *neutral):
        check_measurable(cells)
    under = difference(auc_statistic(pressed[0]), auc_statistic(pressed[1]))
    idle = difference(auc_statistic(neutral[0]), auc_statistic(neutral[1]))
    return interval(difference(under, idle), sample)


def _mean_ratio(columns: FloatArray) -> FloatArray:
    top, bottom = np.split(columns, 2, axis=-1)
    return np.asarray(ratio_or_nan(top, bottom).mean(axis=-1))
