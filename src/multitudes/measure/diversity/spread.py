"""How far unit vectors lie apart: cliques, nearest neighbours, effective number of texts.

It is the spread of *embeddings*: a small encoder puts opposites close together, so no score here is about meaning.

| score | range | more diverse | identical texts | depends on size |
|---|---|---|---|---|
| ``lexical.cosine_distance`` | [0, 1 + 1/(n-1)] | higher | 0 | no |
| ``remote_clique`` | [0, 1] | higher | 0 | slightly: it counts each text's distance to itself |
| ``chamfer`` | [0, 2] | higher | 0 | yes: more texts, nearer neighbours |
| ``vendi`` | [1, n] | higher | 1 | yes |
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_shape
from multitudes.measure.diversity.lexical import check_unit_vectors
from multitudes.measure.errors import NotFiniteError, NotPSDError, TooFewSamplesError

FloatArray = NDArray[np.float64]

ORDERS = (0.5, 1.0, 2.0, math.inf)  # small orders count rare kinds, large ones duplicates
_NEGATIVE, _DIAGONAL = 1e-8, 1e-6
_ROWS = 1024


def _checked(vectors: ArrayLike) -> FloatArray:
    x = check_unit_vectors("vectors", vectors)
    if len(x) < 2:
        raise TooFewSamplesError("too few samples: spread needs two vectors", found=str(len(x)), expected=">= 2")
    return x


def remote_clique(vectors: ArrayLike) -> float:
    """Mean cosine distance over all ordered pairs, each text's distance 0 to itself among them: 1 - ‖mean‖².

    Args:
        vectors: (n, d) unit vectors, n >= 2.
    """
    return max(0.0, 1.0 - float((_checked(vectors).mean(axis=0) ** 2).sum()))


def chamfer(vectors: ArrayLike) -> float:
    """Mean cosine distance of each text to its nearest other.

    Args:
        vectors: (n, d) unit vectors, n >= 2; (n, n) products are formed in blocks of rows.
    """
    x = _checked(vectors)
    nearest = np.empty(len(x))
    for start in range(0, len(x), _ROWS):
        product = x[start : start + _ROWS] @ x.T
        product[np.arange(len(product)), start + np.arange(len(product))] = -np.inf
        nearest[start : start + _ROWS] = product.max(axis=1)
    return float(np.maximum(1.0 - nearest, 0.0).mean())


def vendi(vectors: ArrayLike, order: float = 1.0) -> float:
    """Effective number of texts, exp of the Rényi entropy of order q of the eigenvalues of X Xᵀ/n.

    Computed on XᵀX/n where d < n: the same eigenvalues at a fraction of the cost.

    Args:
        vectors: (n, d) unit vectors, n >= 2.
        order: q > 0; inf is one over the largest eigenvalue.

    Source: Friedman & Dieng 2023 (arXiv 2210.02410); Pasarkar & Dieng 2024 for orders.
    """
    return effective_number(spectrum(vectors), order)


def spectrum(vectors: ArrayLike) -> FloatArray:
    """Eigenvalues of X Xᵀ/n, or those of XᵀX/n where d < n; they sum to 1.

    Args:
        vectors: (n, d) unit vectors, n >= 2.
    """
    x = _checked(vectors)
    gram = x.T @ x if x.shape[1] < len(x) else x @ x.T
    return np.asarray(np.linalg.eigvalsh(gram / len(x)))


def vendi_of_kernel(kernel: ArrayLike, order: float = 1.0) -> float:
    """The same from any similarity matrix K with k(x, x) = 1.

    Args:
        kernel: (n, n) symmetric, positive semi-definite.
        order: q > 0.

    Raises:
        NotPSDError: An eigenvalue below -1e-8, a diagonal that is not 1, or a matrix that is not symmetric.
        NotFiniteError: A value that is not finite.
    """
    k = check_shape("kernel", kernel, "n n")
    if not np.isfinite(k).all():
        raise NotFiniteError("'kernel' holds values that are not finite", where="kernel")
    off = float(np.abs(np.diag(k) - 1).max())
    if off > _DIAGONAL:
        raise NotPSDError("a text's similarity to itself must be 1", where="kernel", found=f"off by {off:.3g}")
    if not np.allclose(k, k.T, atol=_DIAGONAL):
        raise NotPSDError("a similarity matrix must be symmetric", where="kernel")
    values = np.linalg.eigvalsh(k / len(k))
    if values.min() < -_NEGATIVE:
        raise NotPSDError(
            "a similarity matrix has no negative eigenvalue", where="kernel", found=f"{values.min():.3g}"
        )
    return effective_number(values, order)


def effective_number(eigenvalues: ArrayLike, order: float) -> float:
    """exp(H_q) of eigenvalues that sum to 1; negative ones are rounding and count as 0."""
    if not order > 0:
        raise ValueError(f"order must be above 0, found {order!r}")
    p = np.maximum(np.asarray(eigenvalues, dtype=np.float64), 0.0)
    p = p[p > 1e-15] / p.sum()
    if math.isinf(order):
        return float(1 / p.max())
    if order == 1:
        return float(np.exp(-(p * np.log(p)).sum()))
    return float((p**order).sum() ** (1 / (1 - order)))
