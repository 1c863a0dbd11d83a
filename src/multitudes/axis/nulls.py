"""What any role, or any direction, would give: the nulls that an axis is compared with."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from multitudes.axis.components import unit
from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import ZeroVectorError

FloatArray = NDArray[np.float64]
Kind = Literal["isotropic", "orthogonal", "covariance"]

DRAWS = 100


def gram_of(role_means: ArrayLike, default: ArrayLike) -> FloatArray:
    """(R + 1, R + 1) inner products of the role means and, last, the default, all minus the mean of the roles."""
    roles = check_shape("role_means", role_means, "R d")
    rows = np.vstack([roles, check_shape("default", default, str(roles.shape[1]))]) - roles.mean(axis=0)
    return np.asarray(rows @ rows.T)


def pseudo_axis_cosines(gram: ArrayLike, *, include_default: bool = False) -> FloatArray:
    """|cos(axis, PC1)| with each role in the place of the default and all other roles as the roles.

    A random direction is too weak a null: any mean that lies apart from the crowd leans to the largest component of
    the crowd. So each role's own "axis" is compared with the first component of the others, by the same rule as the
    default's.

    Args:
        gram: (R + 1, R + 1) from ``gram_of``; the default's row is not used.
        include_default: The stand-in is among the rows of the components, as the default is with this option.

    Returns:
        (R,) in [0, 1]; NaN for a role that equals the mean of the others.

    Source: own definition.
    """
    products = check_shape("gram", gram, "R R")[:-1, :-1]
    r = len(products)
    out = np.full(r, np.nan)
    if r < 3:
        return out
    for role in range(r):
        others = np.arange(r) != role
        axis = np.where(others, -1.0 / (r - 1), 1.0)
        rows = np.ones(r, dtype=np.bool_) if include_default else others
        inner = products[np.ix_(rows, rows)]
        inner = inner - inner.mean(axis=0) - inner.mean(axis=1)[:, None] + inner.mean()
        value, vector = eigh(inner, subset_by_index=[len(inner) - 1, len(inner) - 1])
        first = np.zeros(r)
        first[rows] = vector[:, 0] - vector[:, 0].mean()
        along = products @ axis
        length = float(axis @ along)
        if length > 0 and value[0] > 0:
            out[role] = min(1.0, abs(float(first @ along)) / np.sqrt(length * float(first @ products @ first)))
    return out


def percentile_in(value: float, null: ArrayLike) -> float:
    """Share of the null below ``value``, ties counted half; in [0, 1], .5 if ``value`` is one of the crowd.

    >>> percentile_in(0.5, [0.1, 0.5, 0.9, float("nan")])
    0.5
    """
    draws = np.asarray(null, dtype=np.float64)
    draws = draws[~np.isnan(draws)]
    return float(((draws < value) + 0.5 * (draws == value)).mean()) if len(draws) else float("nan")


def random_directions(
    kind: Kind, axis: ArrayLike, *, seed: int, role_means: ArrayLike | None = None, draws: int = DRAWS
) -> FloatArray:
    """Unit directions to compare gap, AUC or a cap with.

    Args:
        kind: ``isotropic``; ``orthogonal``: isotropic, made orthogonal to the axis; ``covariance``: a random
            combination of centred role means, made orthogonal to the axis, so that it has the spread of persona
            space. The last is the control that counts: isotropic directions miss persona space.
        axis: (d,) the axis, of any length but 0.
        seed: Seed of the draws.
        role_means: (R, d), R >= 3, for ``covariance``.
        draws: Number of directions.

    Returns:
        (draws, d).

    Raises:
        GaugeError: An unknown kind, or ``covariance`` without role means.
        ZeroVectorError: The axis is the zero vector.
    """
    if kind not in get_args(Kind):
        raise GaugeError(f"no such kind of direction: {kind!r}", expected=", ".join(get_args(Kind)))
    a = check_shape("axis", axis, "d")
    v = unit(a)
    if np.isnan(v).any():
        raise ZeroVectorError("the axis has no direction", where="axis")
    rng = np.random.default_rng(seed)
    if kind == "covariance":
        if role_means is None:
            raise GaugeError("covariance-matched directions need the role means", where="role_means", found="None")
        roles = check_shape("role_means", role_means, f"R {len(a)}")
        if len(roles) < 3:
            raise GaugeError(
                "covariance-matched directions need three roles", where="role_means", found=f"{len(roles)}"
            )
        drawn = rng.normal(size=(draws, len(roles))) @ (roles - roles.mean(axis=0))
    else:
        drawn = rng.normal(size=(draws, len(a)))
    if kind != "isotropic":
        for _ in range(2):  # once more, because rounding leaves a part of what is taken out
            drawn = drawn - np.outer(drawn @ v, v)
    return unit(drawn)
