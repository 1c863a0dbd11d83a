"""From projections to z, and whether the default lies on the side it should.

p = ⟨h, v⟩ is in residual units and may be negative for every role, because raw means are nearly parallel. Only
differences and z = (p - μ_R)/(μ_D - μ_R) are reported: 0 is the average role, 1 the default Assistant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from multitudes.axis.collected import Collected, Method, default_mean, role_means
from multitudes.axis.errors import CollectionMismatch, MixedMethods, SignError
from multitudes.core.checks import check_shape
from multitudes.measure.errors import TooFewSamplesError

FloatArray = NDArray[np.float64]


class ZScale(NamedTuple):
    """Where 0 and 1 lie.

    Attributes:
        mu_default: (L,) mean projection of default responses, z = 1.
        mu_roles: (L,) mean over roles of their mean projections, z = 0.
        method: How the responses behind the scale came to be.
    """

    mu_default: FloatArray
    mu_roles: FloatArray
    method: Method

    @property
    def gap(self) -> FloatArray:
        """(L,) μ_D - μ_R in residual units; positive, ‖a‖ for the data that built the axis."""
        return self.mu_default - self.mu_roles

    def z(self, projections: ArrayLike) -> FloatArray:
        """Projections (..., L) on the scale: no unit, unbounded, higher = more Assistant; NaN where the gap is 0."""
        p = np.asarray(projections, dtype=np.float64)
        out = np.full(p.shape, np.nan)
        np.divide(p - self.mu_roles, self.gap, out=out, where=np.broadcast_to(self.gap != 0, p.shape))
        return out


def z_scale(
    c: Collected, directions: ArrayLike, *, kept: NDArray[np.int64] | None = None, method: Method = "generated"
) -> ZScale:
    """The scale of z from the responses in ``c``; conversations are read on one from generated responses.

    Args:
        c: Sums of responses. Other data than built the axis gives a scale that can be checked (``check_sign``).
        directions: (L, d) unit axis.
        kept: Indices of the roles to average; all with responses if None.
        method: What ``c`` must hold; ``fixed_text`` is for control arms of a fixed-text axis only.

    Raises:
        MixedMethods: ``c`` holds the other method.
        CollectionMismatch: Other layers or another width.
    """
    if c.method != method:
        raise MixedMethods(
            "the scale of z would come from responses of another kind",
            found=c.method,
            expected=method,
            hint="generate answers of roles and default, and take the scale from these",
        )
    v = np.asarray(directions, dtype=np.float64)
    if v.shape != c.sums.shape[2:]:
        raise CollectionMismatch("the axis is of another model", found=str(v.shape), expected=str(c.sums.shape[2:]))
    there = np.flatnonzero(c.n.sum(axis=0)) if kept is None else kept
    roles = role_means(c)[there].mean(axis=0)
    return ZScale((default_mean(c) * v).sum(axis=1), (roles * v).sum(axis=1), c.method)


def check_sign(scale: ZScale, *, layers: Iterable[int] | None = None) -> None:
    """Refuse an axis on which the default does not lie above the roles.

    On the data that built the axis this holds by construction; use the other half of the questions, generated
    responses for a fixed-text axis, any responses for an imported one.

    Args:
        scale: From data that did not build the axis.
        layers: Which layers are checked; all if None.

    Raises:
        SignError: With the layers where μ_D > μ_R does not hold; NaN does not hold.
    """
    checked = list(range(len(scale.gap)) if layers is None else layers)
    wrong = [layer for layer in checked if not scale.gap[layer] > 0]
    if wrong:
        at = wrong[0]
        raise SignError(wrong, found=f"default {scale.mu_default[at]:.4g}, roles {scale.mu_roles[at]:.4g}")


def separation(default: ArrayLike, roles: ArrayLike) -> FloatArray:
    """Probability that a default response projects higher than a role response: AUC, ties counted half.

    Args:
        default: (N, L) projections of single default responses; NaN is unscored.
        roles: (M, L) projections of single role responses; NaN is unscored.

    Returns:
        (L,) in [0, 1]; null .5, higher is better separated; below .5 the axis points the wrong way.

    Raises:
        TooFewSamplesError: No scored response on one side.

    Source: Mann & Whitney 1947.

    >>> separation([[2.0], [3.0]], [[1.0], [2.0]]).tolist()
    [0.875]
    """
    d, r = check_shape("default", default, "N L"), check_shape("roles", roles, "M L")
    check_shape("roles", roles, f"M {d.shape[1]}")
    n, m = (~np.isnan(d)).sum(axis=0), (~np.isnan(r)).sum(axis=0)
    if not ((n > 0) & (m > 0)).all():
        raise TooFewSamplesError(
            "separation needs a scored response on either side", found=f"{n.min()} and {m.min()}"
        )
    ranks = rankdata(np.vstack([d, r]), axis=0, nan_policy="omit")
    return np.asarray((np.nansum(ranks[: len(d)], axis=0) - n * (n + 1) / 2) / (n * m), dtype=np.float64)
