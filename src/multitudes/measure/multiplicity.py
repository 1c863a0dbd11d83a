"""Many tests at once: adjusted p-values, and whether a direction turns round between domains."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError

FloatArray = NDArray[np.float64]


def holm(p: ArrayLike) -> FloatArray:
    """Holm's adjusted p-values (m,), which bound the chance of any false finding; for a headline family.

    NaN stays NaN and does not count. Source: Holm 1979.

    >>> [round(x, 3) for x in holm([0.01, 0.04, 0.03]).tolist()]
    [0.03, 0.06, 0.06]
    """
    return _stepped(p, lambda ordered, m: np.maximum.accumulate(ordered * (m - np.arange(m))))


def benjamini_hochberg(p: ArrayLike) -> FloatArray:
    """Benjamini-Hochberg adjusted p-values (m,): the expected share of false findings; for exploration.

    NaN stays NaN and does not count. Source: Benjamini & Hochberg 1995.
    """

    def step(ordered: FloatArray, m: int) -> FloatArray:
        scaled = ordered * m / np.arange(1, m + 1)
        return np.minimum.accumulate(scaled[::-1])[::-1]

    return _stepped(p, step)


def _stepped(p: ArrayLike, step: object) -> FloatArray:
    given = check_shape("p", p, "m")
    there = ~np.isnan(given)
    values = given[there]
    if ((values < 0) | (values > 1)).any():
        raise GaugeError("a p-value is out of range", where="p", expected="[0, 1]")
    out = np.full(len(given), np.nan)
    if len(values):
        order = np.argsort(values, kind="stable")
        adjusted = np.empty(len(values))
        adjusted[order] = np.minimum(step(values[order], len(values)), 1.0)  # type: ignore[operator]
        out[there] = adjusted
    return out


class Crossover(NamedTuple):
    """Gail and Simon's test. Only a small p permits the words "direction depends on domain".

    Attributes:
        up: Q⁺, Σ δ²/s² over domains with δ > 0.
        down: Q⁻ over those with δ < 0.
        p: Of min(Q⁺, Q⁻) under "one sign everywhere".
    """

    up: float
    down: float
    p: float


def gail_simon(effects: ArrayLike, errors: ArrayLike) -> Crossover:
    """Does the sign of an effect differ between D >= 2 domains?

    p = Σ_{h=1}^{D-1} Bin(h; D-1, ½) P(χ²_h > min(Q⁺, Q⁻)); .05 is at 2.71, 4.23, 5.43 for 2, 3, 4 domains.

    Args:
        effects: (D,) δ.
        errors: (D,) standard errors, above 0.

    Source: Gail & Simon 1985, Biometrics 41.
    """
    d, s = check_shape("effects", effects, "D"), check_shape("errors", errors, "D")
    check_same_length(effects=d, errors=s)
    if len(d) < 2:
        raise GaugeError("a crossover needs two domains", found=str(len(d)))
    if not (np.isfinite(d).all() and np.isfinite(s).all() and (s > 0).all()):
        raise GaugeError("effects must be finite and their standard errors above 0", where="effects, errors")
    z = (d / s) ** 2
    up, down = float(z[d > 0].sum()), float(z[d < 0].sum())
    smaller, m = min(up, down), len(d) - 1
    p = sum(math.comb(m, h) * 0.5**m * float(chdtrc(h, smaller)) for h in range(1, m + 1)) if smaller > 0 else 1.0
    return Crossover(up, down, min(p, 1.0))
