"""Is a reply in role? A likelihood ratio, turned into a level by a logistic curve that was fitted on other replies.

LLR = log p(reply | last message, persona prompt) − log p(reply | last message, empty prompt), nats, both by the plain
model, in every condition. D = 1 / (1 + e^{−(a + b·LLR)}).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import mannwhitneyu

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError

FloatArray = NDArray[np.float64]

MIN_AUC = 0.7  # below this the ratio does not tell in role from out of role on this model
RIDGE = 1.0  # of the slope on the standardised scale: replies that are told apart perfectly have no finite fit


class Behaviour(NamedTuple):
    """A calibrated likelihood ratio.

    Attributes:
        a: Intercept.
        b: Slope per nat, above 0 where it is of use.
        auc: Share of (in role, out of role) pairs in the right order; .5 is chance.
        n: Replies in role and out of role.
        reason: Why it cannot be used; empty if it can.
    """

    a: float
    b: float
    auc: float
    n: tuple[int, int]
    reason: str = ""

    def levels(self, ratios: ArrayLike) -> FloatArray:
        """D in [0, 1] of each ratio; 0.5 is as likely in role as not; NaN stays NaN."""
        return np.asarray(expit(self.a + self.b * np.asarray(ratios, dtype=np.float64)), dtype=np.float64)


def calibrate_behaviour(in_role: ArrayLike, out_of_role: ArrayLike) -> Behaviour:
    """Fit the curve on replies of the prompted persona (1) and of nobody (0), both classes weighing equally.

    Args:
        in_role: (n,) ratios of calibration replies of C3, nats; NaN is left out.
        out_of_role: (m,) ratios of calibration replies of C0.

    Returns:
        The calibration, with a reason where the slope is not above 0 or the AUC is below 0.7. The slope carries a
        ridge penalty of one observation per class: without it a clean separation would give a step.

    Raises:
        GaugeError: Nothing scored in a class, or no spread.

    >>> calibrate_behaviour([2.0, 3.0, 4.0], [-1.0, 0.0, 1.0]).auc
    1.0
    """
    high, low = (check_shape(n, x, "n") for n, x in (("in_role", in_role), ("out_of_role", out_of_role)))
    high, low = high[np.isfinite(high)], low[np.isfinite(low)]
    if not len(high) or not len(low):
        raise GaugeError("nothing to calibrate on", where="in_role, out_of_role", found=f"{len(high)} and {len(low)}")
    x = np.concatenate([high, low])
    mean, sd = float(x.mean()), float(x.std())
    if not sd > 0:
        raise GaugeError("all ratios are equal", where="in_role, out_of_role", found=f"{mean:.3g} nats")
    z, sign = (x - mean) / sd, np.concatenate([np.ones(len(high)), -np.ones(len(low))])
    weight = np.concatenate([np.full(len(high), 0.5 / len(high)), np.full(len(low), 0.5 / len(low))])
    penalty = RIDGE / min(len(high), len(low))

    def loss(p: FloatArray) -> float:
        return float(weight @ np.logaddexp(0.0, -sign * (p[0] + p[1] * z)) + penalty * p[1] ** 2 / 4)

    fit = minimize(loss, np.zeros(2), method="BFGS")
    b = float(fit.x[1]) / sd
    a = float(fit.x[0]) - b * mean
    auc = float(mannwhitneyu(high, low).statistic) / (len(high) * len(low))
    reason = ""
    if b <= 0:
        reason = "replies in role are not likelier under the persona's prompt"
    elif auc < MIN_AUC:
        reason = f"AUC {auc:.2f}, at least {MIN_AUC} needed"
    return Behaviour(a, b, auc, (len(high), len(low)), reason)
