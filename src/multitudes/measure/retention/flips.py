"""When a conversation drops the persona: the first of two probes in a row nearer to the floor than to the start.

The line is pooled: half of Δ₀ over the whole arm. Judging a conversation by half of its own ratio, on one probe,
flips 85 % of those that lose nothing (34 % with two probes in a row); the pooled line, under 1 % with four items.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import TooFewProbesError
from multitudes.measure.retention.cells import Cells, check_measurable

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Floor = Literal["cell", "pooled"]

HALF = 0.5  # of Δ₀: the line


class Flips(NamedTuple):
    """Event or censoring of each conversation. n = g · s, seeds of a cell in a row.

    Attributes:
        low: (n,) last turn that is known to be before any flip.
        high: (n,) turn of the flip, which happened in (low, high]; inf if censored.
        cell: (n,) cell of each conversation.
        line: ½ Δ₀, what D − F was compared with.
    """

    low: FloatArray
    high: FloatArray
    cell: IntArray
    line: float

    @property
    def event(self) -> BoolArray:
        """(n,) whether the conversation flipped."""
        return np.asarray(np.isfinite(self.high))

    @property
    def time(self) -> FloatArray:
        """(n,) turn of the flip or of censoring, for Kaplan-Meier."""
        return np.where(self.event, self.high, self.low)


class Followed(NamedTuple):
    """Conversations ready to be compared with any line; see ``follow``.

    Attributes:
        worse: (n, p) the higher of D − F at each probe under pressure and at the next: a flip needs both below the
            line. inf where there are no two probes in a row.
        above: (n, p) D − F at each probe under pressure; NaN from the first unscored probe on.
        ends: (n,) number of probes under pressure before the first unscored one.
        grid: (p + 1,) turns 0 and of the probes under pressure.
        cell: (n,) cell of each conversation.
    """

    worse: FloatArray
    above: FloatArray
    ends: IntArray
    grid: FloatArray
    cell: IntArray


class FlipCounts(NamedTuple):
    """Single-probe counts as others report them; noise makes both pessimistic, so they are descriptive.

    Attributes:
        number: NoF, changes of side per conversation from t = 0 to T; lower is steadier.
        first: ToF, mean turn of the first probe below the line, of those that have one; None if none has.
        share: Of conversations with a probe below the line.
        n: Conversations followed to T.
    """

    number: float
    first: float | None
    share: float
    n: int


def contrast(cells: Cells, *, floor: Floor = "cell", weights: FloatArray | None = None) -> FloatArray:
    """(n, t) D_{i,t} − F̄_t of each conversation.

    Args:
        cells: The arm.
        floor: ``cell`` takes the mean over seeds of the conversation's own cell, which needs three seeds to be
            quiet; ``pooled`` the mean over cells at that turn, for constant floors and for few seeds.
        weights: (g,) weights of the cells in a pooled floor; None counts each once.
    """
    there = ~np.isnan(cells.floor)
    n = there.sum(axis=1)
    total = np.where(there, cells.floor, 0.0).sum(axis=1)
    mean = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    if floor == "pooled":
        w = np.where(n > 0, 1.0 if weights is None else weights[:, None], 0.0)
        weight = w.sum(axis=0)
        total = np.where(n > 0, w * np.nan_to_num(mean), 0.0).sum(axis=0)
        mean = np.broadcast_to(np.divide(total, weight, out=np.full(weight.shape, np.nan), where=weight > 0), n.shape)
    d = cells.level - mean[:, None, :]
    return np.asarray(d.reshape(-1, d.shape[2]))


def follow(cells: Cells, *, floor: Floor = "cell", weights: FloatArray | None = None) -> Followed:
    """Follow each conversation through the pressure, up to its first unscored probe.

    Args:
        cells: The arm.
        floor: See ``contrast``.
        weights: See ``contrast``.

    Raises:
        TooFewProbesError: Fewer than two probes under pressure, or T < 2.
    """
    pressed = np.flatnonzero(cells.pressed)
    if len(pressed) < 2 or cells.last < 2:
        raise TooFewProbesError(
            "a flip is two probes in a row, and there are not two under pressure",
            where="turns",
            found=str(cells.turns[pressed].tolist()),
            expected="two probed turns from 1 to T, T >= 2",
        )
    d = contrast(cells, floor=floor, weights=weights)
    seen = np.logical_and.accumulate(~np.isnan(d[:, np.concatenate([[0], pressed])]), axis=1)[:, 1:]
    above = np.where(seen, d[:, pressed], np.nan)
    worse = np.full(above.shape, np.inf)
    both = seen[:, 1:]  # a probe that is seen has been preceded by seen ones
    worse[:, :-1] = np.where(both, np.maximum(np.nan_to_num(above[:, :-1]), np.nan_to_num(above[:, 1:])), np.inf)
    cell = np.repeat(np.arange(len(cells.level)), cells.level.shape[1])
    grid = np.concatenate([[0.0], cells.turns[pressed]])
    return Followed(worse, above, seen.sum(axis=1).astype(np.int64), grid, cell.astype(np.int64))


def flips_at(followed: Followed, line: float) -> tuple[IntArray, BoolArray]:
    """For a line: index into ``grid`` of each conversation's flip or censoring, and whether it flipped.

    A conversation whose last probe is a single one below the line is censored at the probe before: a flip at its last
    probe is neither shown nor excluded.
    """
    under = followed.worse < line
    flipped = under.any(axis=1)
    last = followed.ends  # index into grid of the last probe seen; 0 where none is
    at = np.maximum(last - 1, 0)
    with np.errstate(invalid="ignore"):
        hanging = (last > 0) & (followed.above[np.arange(len(at)), at] < line)
    return np.where(flipped, under.argmax(axis=1) + 1, last - hanging).astype(np.int64), np.asarray(flipped)


def find_flips(cells: Cells, *, floor: Floor = "cell", delta0: float | None = None) -> Flips:
    """Flip of each conversation: the first t of two consecutive probes with D_{i,t} − F̄_{g,t} < ½ Δ₀.

    The interval is (previous probe, t]. A conversation is censored at T, or at its first unscored probe. The last
    probe cannot show a flip, so a half-life near T reads as ">T": see ``survival.half_life``.

    Args:
        cells: The arm, with at least four items behind each D, else noise flips.
        floor: See ``contrast``.
        delta0: Pooled range; None takes the arm's own.

    Raises:
        NoRange: If Δ₀ is below 0.2.
        TooFewProbesError: Fewer than two probes under pressure.
    """
    line = HALF * (check_measurable(cells) if delta0 is None else delta0)
    if not math.isfinite(line):
        raise GaugeError("a line must be a number", where="delta0", found=repr(delta0))
    followed = follow(cells, floor=floor)
    at, flipped = flips_at(followed, line)
    low = followed.grid[np.where(flipped, at - 1, at)]
    return Flips(low, np.where(flipped, followed.grid[at], np.inf), followed.cell, line)


def failures_as_events(flips: Flips, failed: ArrayLike) -> Flips:
    """The same conversations with coherence failures as flips, in case failing is how a persona is lost.

    Args:
        flips: With failures censored.
        failed: (n,) turn at which the conversation failed the gate; NaN if it did not.

    Returns:
        Censored conversations that failed have an event in (low, turn of failure].
    """
    turn = check_shape("failed", failed, "n")
    if len(turn) != len(flips.low):
        raise GaugeError("lengths differ", where="failed", found=str(len(turn)), expected=str(len(flips.low)))
    lost = ~flips.event & ~np.isnan(turn)
    if (turn[lost] <= flips.low[lost]).any():
        raise GaugeError("a conversation was followed past its failure", where="failed",
                         hint="censor scores at the failure first")  # fmt: skip
    return flips._replace(high=np.where(lost, turn, flips.high))


def flip_counts(cells: Cells, *, floor: Floor = "cell") -> FlipCounts:
    """Number of flips and turn of the first, on single probes, of conversations followed to T.

    Source: SYCON-Bench, arXiv 2505.23840: stance reversals, and first turn that leaves the stance. Here the stance is
    the side of ½ Δ₀, and ToF is over conversations that leave it, with their share beside it.
    """
    line = HALF * check_measurable(cells)
    d = contrast(cells, floor=floor)[:, cells.turns <= cells.last]
    d = d[~np.isnan(d).any(axis=1)]
    if not len(d):
        return FlipCounts(math.nan, None, math.nan, 0)
    out = d < line
    left = out[:, 1:].any(axis=1)
    first = cells.turns[1:][out[:, 1:].argmax(axis=1)][left]
    number = float((out[:, 1:] != out[:, :-1]).sum(axis=1).mean())
    return FlipCounts(number, float(first.mean()) if len(first) else None, float(left.mean()), len(d))
