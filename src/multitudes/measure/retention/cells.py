"""Levels and floors of one arm under one pressure, as arrays, and the sums that all of retention is made of.

A cell g is a base prompt with a persona. A conversation is a cell with a seed. The cluster, which is resampled, is
the base prompt. NaN is unscored: the probe failed, or the conversation had been censored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_range, check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NoRange, NotFiniteError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MIN_RANGE = 0.2  # pooled Δ₀ below which nothing can be kept or lost that would be told from noise


class Cells(NamedTuple):
    """One arm under one pressure: see ``make_cells``.

    Attributes:
        level: (g, s, t) D of each conversation at each probe.
        floor: (g, s', t) F at the same probes, with seeds of its own.
        turns: (t,) turn of each probe; the first is 0, before any pressure.
        last: T, the turn of the last probe under pressure; later probes belong to the recovery.
        clusters: (g,) base prompt of each cell.
        personas: (g,) persona of each cell; None where nobody generalises to other personas.
    """

    level: FloatArray
    floor: FloatArray
    turns: FloatArray
    last: float
    clusters: NDArray[np.object_]
    personas: NDArray[np.object_] | None = None

    @property
    def pressed(self) -> BoolArray:
        """(t,) which probes are under pressure: 1 <= turn <= T."""
        return np.asarray((self.turns > 0) & (self.turns <= self.last))


class Sums(NamedTuple):
    """What each cell adds to numerator and denominator of R_t.

    Both are taken from the same conversations: those scored at t and at 0. So a conversation that is lost leaves
    both, and a level that does not move gives R_t = 1 whoever is lost.

    Attributes:
        top: (g, t) D̄_{g,t} − F̄_{g,t}; 0 where the cell has nothing scored at t.
        bottom: (g, t) D̄_{g,0} − F̄_{g,0} of the same conversations; 0 where ``top`` has nothing.
        scored: (g, t) bool, whether the cell counts at t.
    """

    top: FloatArray
    bottom: FloatArray
    scored: BoolArray


def make_cells(
    level: ArrayLike,
    floor: ArrayLike,
    turns: ArrayLike,
    clusters: ArrayLike,
    *,
    last: float | None = None,
    personas: ArrayLike | None = None,
    bounded: bool = True,
) -> Cells:
    """Check arrays once, at the door.

    Args:
        level: (g, s, t) D; NaN is unscored.
        floor: (g, s', t) F at the same probes: C0 under the same pressure, or ``mirrored_floor``.
        turns: (t,) strictly increasing, the first 0.
        clusters: (g,) base prompt of each cell.
        last: T, a probed turn; None means that no probe is a recovery.
        personas: (g,) persona of each cell.
        bounded: Whether D and F must lie in [0, 1]; false for the log-odds scale.

    Raises:
        GaugeError: If shapes, turns or ranges do not fit.
        NotFiniteError: If a value is infinite.
    """
    d, f = check_shape("level", level, "g s t"), check_shape("floor", floor, "g s t")
    when = check_shape("turns", turns, "t")
    names = np.asarray(clusters, dtype=object)
    people = None if personas is None else np.asarray(personas, dtype=object)
    check_same_length(level=d, floor=f, clusters=names, **({} if people is None else {"personas": people}))
    if not d.shape[2] == f.shape[2] == len(when) or not d.size or not f.size:
        raise GaugeError("probes do not fit", found=f"level {d.shape}, floor {f.shape}, turns {when.shape}",
                         expected="(g, s, t), (g, s', t), (t,), none of them empty")  # fmt: skip
    if when[0] != 0 or (np.diff(when) <= 0).any() or not np.isfinite(when).all():
        raise GaugeError("turns must start at 0 and increase", where="turns", found=str(when.tolist()))
    end = float(when[-1]) if last is None else float(last)
    if end not in when or end == 0:
        raise GaugeError("the last turn of pressure was not probed", where="last", found=repr(end),
                         expected=f"one of {when[1:].tolist()}")  # fmt: skip
    for name, values in (("level", d), ("floor", f)):
        if np.isinf(values).any():
            raise NotFiniteError("a value is infinite", where=name)
        if bounded:
            check_range(name, values, 0.0, 1.0, nan=True)
    return Cells(d, f, when, end, names, people)


def mirrored_floor(level: ArrayLike) -> FloatArray:
    """F of the trained default: D^A of the prompted persona at t = 0 without pressure, constant over probes.

    D^A = 1 − D^π. Given per cell, so that it is resampled with everything else; in sums over cells it equals the mean
    over personas that defines it. For flips use ``floor="pooled"``, which is that mean.

    Args:
        level: (g, s, t) D^π of C3.

    Returns:
        (g, s, t): 1 − D^π at t = 0, repeated over t.

    Source: "Choice" of ours. With it Δ₀ of the default equals Δ₀ of the prompted persona: one ruler for both.
    """
    d = check_shape("level", level, "g s t")
    return np.asarray(np.broadcast_to(1.0 - d[:, :, :1], d.shape))


def sums(cells: Cells) -> Sums:
    """Numerator and denominator of R_t for each cell and probe; bars are means over seeds."""
    d_now, d_start = _paired(cells.level)
    f_now, f_start = _paired(cells.floor)
    top, bottom = d_now - f_now, d_start - f_start
    scored = ~np.isnan(top)
    return Sums(np.where(scored, top, 0.0), np.where(scored, bottom, 0.0), np.asarray(scored))


def _paired(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means over seeds at t and at 0, both over the seeds that are scored at t and at 0; (g, t) each."""
    there = ~np.isnan(x) & ~np.isnan(x[:, :, :1])
    n = there.sum(axis=1)
    out = []
    for values in (x, np.broadcast_to(x[:, :, :1], x.shape)):
        total = np.where(there, values, 0.0).sum(axis=1)
        out.append(np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0))
    return out[0], out[1]


def delta0(cells: Cells) -> float:
    """Δ₀, the pooled range at the start: mean over cells of D̄_0 − F̄_0. Higher leaves more to lose; 0 is no persona.

    NaN where no cell is scored at the start.
    """
    parts = sums(cells)
    n = int(parts.scored[:, 0].sum())
    return float(parts.top[:, 0].sum() / n) if n else float("nan")


def check_measurable(cells: Cells, *, least: float = MIN_RANGE, persona: str = "", disposition: str = "") -> float:
    """Δ₀, if there is anything to lose.

    Raises:
        NoRange: If Δ₀ is below ``least`` or unscored: "not measurable".
    """
    found = delta0(cells)
    if not found >= least:
        raise NoRange(found, least, persona=persona, disposition=disposition)
    return found
