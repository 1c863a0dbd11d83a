"""What two arms differ by where both start equally strong: the start is a covariate.

AUC_R takes a stronger start into account by dividing by it, which is right where what is kept is a fixed share of the
start. Where it is not (a level that saturates, a part that nothing moves), a difference of starts shows up as a
difference of retention. Here what is kept is a line of the start, the same line in both arms but for its height, and
the difference of the heights is what an arm keeps more of an equal start.

Taking only the cells whose starts agree would be the other way. Starts are read off few items, so cells that agree by
their numbers are partly those whose noise cancels what the arms differ by, and it comes back later: regression to the
mean, for which choosing on evaluation data is refused elsewhere too. A covariate uses all cells and chooses none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import GaugeError
from multitudes.measure.retention.cells import Cells, check_measurable, sums
from multitudes.measure.retention.curve import area
from multitudes.measure.retention.intervals import Resample, Statistic, Weights, interval
from multitudes.measure.retention.statistics import ratio_or_nan
from multitudes.measure.stats import Estimate

FloatArray = NDArray[np.float64]

_NO_SPREAD = 1e-12  # mean square below which starts do not differ
_SAME = 1e-9  # difference of mean starts that is none


def gain_at_equal_start(first: Cells, second: Cells, sample: Resample) -> Estimate:
    """What the first arm keeps more than the second of an equal start, on the scale of AUC_R.

    At every probe under pressure D̄_t − F̄_t of the cells is regressed on their D̄_0 − F̄_0 with one slope and two
    heights; the difference of the heights is divided by the mean start of both arms, and the mean is taken over
    probes. Slope and heights are found anew in every draw of base prompts.

    The start is read while the condition already acts, so this does not undo a confounder: it says what would be left
    of the gain if the condition did nothing to the start. Noise in the start flattens the line and leaves part of the
    difference in (half of it at a reliability of one half); it leaves nothing in where both arms start alike.

    Args:
        first: The condition.
        second: What it is compared with; probed at the same turns.
        sample: Draws shared by both.

    Returns:
        The gain, 0 = none, higher keeps more, with its interval over base prompts. NaN where the starts differ
        between arms and not within them: no line can be drawn.

    Raises:
        NoRange: If an arm is not measurable.
        GaugeError: If the arms were probed at different turns.

    Source: analysis of covariance with a common slope (Huitema 2011, ch. 6); D₀ as a covariate is a "Choice" of ours.
    """
    for cells in (first, second):
        check_measurable(cells)
    if not np.array_equal(first.turns[first.pressed], second.turns[second.pressed]):
        raise GaugeError(
            "arms were probed at different turns", found=f"{first.turns.tolist()}, {second.turns.tolist()}"
        )
    return interval(_height_difference(first, second), sample)


def _height_difference(first: Cells, second: Cells) -> Statistic:
    """The gain as a function of weights, (b,)."""
    arms = [(cells, sums(cells)) for cells in (first, second)]

    def gain(weights: Weights) -> FloatArray:
        starts, kepts = list[FloatArray](), list[FloatArray]()
        squares = products = spread = np.zeros(1)
        for cells, parts in arms:
            w, keep = weights(cells), cells.pressed
            x, y = parts.bottom[:, keep], parts.top[:, keep]
            n = w @ parts.scored[:, keep].astype(np.float64)
            start, kept = ratio_or_nan(w @ x, n), ratio_or_nan(w @ y, n)
            squares = squares + w @ (x * x) - n * start**2
            products = products + w @ (x * y) - n * start * kept
            spread = spread + n * _NO_SPREAD
            starts.append(start)
            kepts.append(kept)
        apart = starts[0] - starts[1]
        drawn = squares > spread
        slope = np.divide(products, squares, out=np.full(squares.shape, np.nan), where=drawn)
        moved = np.where(~drawn & (np.abs(apart) <= _SAME), 0.0, slope * apart)
        height = kepts[0] - kepts[1] - moved
        return area(ratio_or_nan(height, (starts[0] + starts[1]) / 2), np.ones(height.shape[1], dtype=np.bool_))

    return gain
