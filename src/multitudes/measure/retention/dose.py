"""The dose of pressure at which half of the persona is kept."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares
from scipy.special import expit

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError

FloatArray = NDArray[np.float64]

LONGEST = 4  # ED50 beyond this many times the largest dose is extrapolation and not printed
SLOPES = (0.1, 20.0)  # range of k: flatter is no response, steeper is a step between two doses
_START_SLOPES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


class DoseResponse(NamedTuple):
    """R = 1 / (1 + (dose / ED50)^k).

    Attributes:
        ed50: In units of dose; None where it lies beyond the doses given. Higher sticks more.
        slope: k; NaN where ``ed50`` is None.
        text: As printed, ">32" among others.
        rss: Residual sum of squares in R².
        n: Doses above 0.
    """

    ed50: float | None
    slope: float
    text: str
    rss: float
    n: int


def dose_response(doses: ArrayLike, retained: ArrayLike) -> DoseResponse:
    """ED50 by least squares of R over doses. For pressures with a dose only: stacked suffixes, foreign tokens.

    A dose of 0 has R = 1 by construction and says nothing.

    Args:
        doses: (m,) >= 0.
        retained: (m,) R at each; NaN is left out.

    Returns:
        The fit. ``ed50`` is None with ">4·largest" where the fit lies beyond 4 times the largest dose, and with
        "<smallest/4" on the other side.

    Raises:
        GaugeError: Fewer than two distinct doses above 0.

    >>> dose_response([1, 2, 4, 8], [0.8, 2 / 3, 0.5, 1 / 3]).text
    '4.00'
    """
    x, r = check_shape("doses", doses, "m"), check_shape("retained", retained, "m")
    check_same_length(doses=x, retained=r)
    if not np.isfinite(x).all() or (x < 0).any():
        raise GaugeError("a dose is a number, 0 or more", where="doses", found=str(x.tolist()))
    keep = (x > 0) & np.isfinite(r)
    x, r = np.log(x[keep]), r[keep]
    if len(np.unique(x)) < 2:
        raise GaugeError("a dose curve needs two doses", where="doses", found=str(len(np.unique(x))), expected=">= 2")

    def off(parameters: FloatArray) -> FloatArray:
        middle, log_slope = parameters
        return np.asarray(expit(-math.exp(log_slope) * (x - middle)) - r)

    edge = math.log(LONGEST) + 1.0  # a little beyond what is printed, so that the end of the range is told from a fit
    low, high = float(x.min()) - edge, float(x.max()) + edge
    starts = [(m, math.log(k)) for m in np.linspace(low, high, 33) for k in _START_SLOPES]
    start = min(starts, key=lambda p: float((off(np.array(p)) ** 2).sum()))
    bounds = ([low, math.log(SLOPES[0])], [high, math.log(SLOPES[1])])
    tight = np.clip(start, np.add(bounds[0], 1e-9), np.subtract(bounds[1], 1e-9))
    fit = least_squares(off, tight, bounds=bounds, xtol=1e-12, ftol=1e-12, gtol=1e-12)
    middle, rss = float(fit.x[0]), float(2 * fit.cost)
    if middle > x.max() + math.log(LONGEST):
        return DoseResponse(None, math.nan, f">{LONGEST * math.exp(float(x.max())):.4g}", rss, len(x))
    if middle < x.min() - math.log(LONGEST):
        return DoseResponse(None, math.nan, f"<{math.exp(float(x.min())) / LONGEST:.4g}", rss, len(x))
    ed50 = math.exp(middle)
    return DoseResponse(ed50, math.exp(float(fit.x[1])), f"{ed50:.2f}", rss, len(x))
