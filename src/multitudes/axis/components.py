"""Principal components of role means, and what they say about the axis.

Rows are role means, centred and not scaled (what the paper calls standardised). The default is not among the rows:
with it, the first component leans to the axis by construction.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_shape
from multitudes.measure.errors import ZeroVarianceError

FloatArray = NDArray[np.float64]

SHARE = 0.70  # share of the spread that ``dims70`` counts components for
NOISE_GATE = 0.5  # our choice: with more noise than this among role means, components are not interpretable
_ROUNDING = 1e-12


class Components(NamedTuple):
    """Components of one layer. Each points to the side of the default: ⟨PC_k, a⟩ >= 0.

    Attributes:
        directions: (k, d) unit rows, largest spread first.
        explained: (k,) λ_k/Σλ in [0, 1]; biased up by noise.
        dims70: Smallest number of components with a cumulative share of at least .70.
        cosine: |cos(a, PC1)| in [0, 1]. The mean for an isotropic direction is √(2/πd), too weak a null: compare with
            ``nulls.pseudo_axis_cosines``.
        edge: Share of roles with a larger projection on PC1 than the default; 0 = the default is at the edge.
    """

    directions: FloatArray
    explained: FloatArray
    dims70: int
    cosine: float
    edge: float


def unit(vectors: FloatArray) -> FloatArray:
    """Vectors of length 1 along the last axis; NaN for the zero vector, which has no direction.

    >>> unit(np.array([3.0, 4.0])).tolist()
    [0.6, 0.8]
    """
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    out = np.full(vectors.shape, np.nan)
    np.divide(vectors, length, out=out, where=length > 0)
    return out


def cosine(a: FloatArray, b: FloatArray) -> FloatArray:
    """Cosine along the last axis, in [-1, 1]; NaN where one of the two is the zero vector or NaN."""
    return np.asarray(np.clip((unit(a) * unit(b)).sum(axis=-1), -1, 1))


def principal(rows: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues λ (m,) of the scatter of the centred rows, and unit directions (m, d); m = min(R, d).

    Raises:
        ZeroVarianceError: If all rows are equal.
    """
    x = check_shape("rows", rows, "R d")
    centred = x - x.mean(axis=0)
    _, s, directions = np.linalg.svd(centred, full_matrices=False)
    if not s[0] > _ROUNDING * np.linalg.norm(x, axis=1).max():
        raise ZeroVarianceError("all role means are equal: there is nothing to find components of", where="rows")
    return s**2, directions


def components(
    role_means: ArrayLike, default: ArrayLike, *, count: int = 10, include_default: bool = False
) -> Components:
    """Components of one layer's role means, and where the default lies on the first.

    Args:
        role_means: (R, d), R >= 2.
        default: (d,) mean of the default responses.
        count: How many directions are returned, at most min(R, d).
        include_default: Put the default among the rows, as the paper does.

    Raises:
        ZeroVarianceError: If all role means are equal.

    Source: Lu et al. 2026, arXiv 2601.10387, section 2 and appendix; we leave the default out.

    >>> roles = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.1], [0.0, -0.1]])
    >>> found = components(roles, np.array([2.0, 0.0]))
    >>> found.dims70, round(found.cosine, 3), found.edge
    (1, 1.0, 0.0)
    """
    roles = check_shape("role_means", role_means, "R d")
    m_d = check_shape("default", default, str(roles.shape[1]))
    axis = m_d - roles.mean(axis=0)
    values, directions = principal(np.vstack([roles, m_d]) if include_default else roles)
    share = values / values.sum()
    kept = directions[:count]
    kept = np.where(kept @ axis < 0, -1.0, 1.0)[:, None] * kept
    dims = int(np.argmax(np.cumsum(share) >= SHARE - _ROUNDING)) + 1
    beyond = float(((roles - m_d) @ kept[0] > 0).mean())
    return Components(kept, share[:count], dims, abs(float(cosine(axis, kept[0]))), beyond)
