"""How far the embeddings of a bag lie apart: distances, nearest neighbours and the effective number of directions.

It is the spread of *embeddings*. Small sentence encoders do not tell opposites apart, so no score here is a claim
about meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.diversity.facts import ScoreFacts
from multitudes.measure.diversity.lexical import check_unit_vectors, cosine_distance
from multitudes.measure.errors import NotFiniteError, NotPSDError, TooFewSamplesError

FloatArray = NDArray[np.float64]

VENDI_ORDERS = (0.5, 1.0, 2.0, math.inf)  # small orders count rare modes, large ones duplicates
NEGATIVE_EIGENVALUE = -1e-8
DIAGONAL_TOLERANCE = 1e-6
BLOCK = 512


def unit(vectors: ArrayLike) -> FloatArray:
    """(n, d) vectors with length exactly 1, n >= 2, from vectors whose length is 1 within 1e-4.

    Raises:
        NotFiniteError, NotUnitError, ZeroVectorError: As ``check_unit_vectors``.
        TooFewSamplesError: For n < 2.
    """
    x = check_unit_vectors("vectors", vectors)
    if len(x) < 2:
        raise TooFewSamplesError(
            "too few samples: diversity needs at least two texts in a bag", found=str(len(x)), expected=">= 2"
        )
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def mean_cosine_distance(vectors: ArrayLike) -> float:
    """Mean pairwise cosine distance of (n, d) unit vectors.

    In [0, 1 + 1/(n-1)], higher is more diverse, 0 for identical texts. Does not depend on the size of the bag.
    """
    return cosine_distance(unit(vectors)).mean


def remote_clique(vectors: ArrayLike) -> float:
    """Mean cosine distance over all ordered pairs, each text with itself included: 1 - ‖mean x‖².

    In [0, 1], higher is more diverse, 0 for identical texts. Size-sensitive: (n-1)/n of the mean pairwise distance.

    Args:
        vectors: (n, d) unit vectors, n >= 2.

    Raises:
        NotFiniteError, NotUnitError, ZeroVectorError, TooFewSamplesError: See ``unit``.

    Source: Cevallos et al. 2018 for the name, in the packaged form of arXiv 2403.00553.
    """
    return max(0.0, 1.0 - float((unit(vectors).mean(axis=0) ** 2).sum()))


def chamfer(vectors: ArrayLike) -> float:
    """Mean cosine distance of each text to its nearest other text, all pairs in blocks of 512 rows.

    In [0, 2], higher is more diverse, 0 if every text has a copy. Size-sensitive: neighbours come closer.

    Args:
        vectors: (n, d) unit vectors, n >= 2.

    Raises:
        NotFiniteError, NotUnitError, ZeroVectorError, TooFewSamplesError: See ``unit``.

    Source: the chamfer distance of Cideron et al. 2024, as packaged with arXiv 2403.00553.
    """
    x = unit(vectors)
    nearest = np.empty(len(x))
    for start in range(0, len(x), BLOCK):
        cosines = x[start : start + BLOCK] @ x.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        nearest[start : start + BLOCK] = cosines.max(axis=1)
    return float(np.maximum(1.0 - nearest, 0.0).mean())


def entropy_number(eigenvalues: ArrayLike, q: float) -> float:
    """exp of the Rényi entropy of order q of eigenvalues that sum to 1: an effective number, q in (0, ∞].

    Eigenvalues below rounding (size times 2^-52 of the largest) count as 0: at small q they would add up.

    Raises:
        GaugeError: If q is not above 0.
    """
    w = np.asarray(eigenvalues, dtype=np.float64)
    w = w[w > len(w) * np.finfo(np.float64).eps * w.max()]
    if not q > 0:
        raise GaugeError("the order of a Vendi score has to be above 0", where="q", found=repr(q), expected="(0, ∞]")
    if q == 1:
        return float(np.exp(-(w * np.log(w)).sum()))
    if math.isinf(q):
        return float(1 / w.max())
    return float(np.exp(np.log((w**q).sum()) / (1 - q)))


def _spectrum(x: FloatArray) -> FloatArray:
    """Eigenvalues of XXᵀ/n that are not always 0, from the smaller of XᵀX and XXᵀ."""
    n, d = x.shape
    return np.asarray(np.linalg.eigvalsh((x.T @ x if d < n else x @ x.T) / n))


def vendi(vectors: ArrayLike, *, q: float = 1.0) -> float:
    """Vendi score of order q with the linear kernel: the effective number of directions among n unit vectors.

    In [1, n] (and at most d), higher is more diverse; 1 for identical texts, m for m equal orthogonal groups.
    Size-sensitive.

    Args:
        vectors: (n, d) unit vectors, n >= 2.
        q: Order in (0, ∞]; below 1 rare modes count more, above 1 duplicates.

    Raises:
        NotFiniteError, NotUnitError, ZeroVectorError, TooFewSamplesError: See ``unit``.
        GaugeError: If q is not above 0.

    Source: Friedman & Dieng 2022 (arXiv 2210.02410); orders after Pasarkar & Dieng 2023 (arXiv 2310.12952). The
    reference's ``score_X`` ignores q; this does not.
    """
    return entropy_number(_spectrum(unit(vectors)), q)


def vendi_profile(vectors: ArrayLike, *, orders: Iterable[float] = VENDI_ORDERS) -> dict[float, float]:
    """Vendi score at each order from one decomposition; falls with the order. See ``vendi``."""
    spectrum = _spectrum(unit(vectors))
    return {q: entropy_number(spectrum, q) for q in orders}


def vendi_of_kernel(kernel: ArrayLike, *, q: float = 1.0) -> float:
    """Vendi score of order q from a matrix of similarities of one's own; range and errors of q as ``vendi``.

    Args:
        kernel: (n, n) symmetric positive semi-definite, ones on the diagonal, n >= 2.
        q: Order in (0, ∞].

    Raises:
        NotFiniteError: On a value that is not finite.
        NotPSDError: If the matrix is not symmetric, its diagonal is off by more than 1e-6, or an eigenvalue of
            kernel/n is below -1e-8.
        TooFewSamplesError: For n < 2.
    """
    k = check_shape("kernel", kernel, "n n")
    n = len(k)
    if k.shape[1] != n:
        raise GaugeError("'kernel' is not square", where="kernel", found=str(k.shape), expected="(n, n)")
    if n < 2:
        raise TooFewSamplesError("too few samples: diversity needs at least two texts", found=str(n), expected=">= 2")
    if not np.isfinite(k).all():
        raise NotFiniteError("'kernel' holds values that are not finite", where="kernel")
    off = float(np.abs(np.diagonal(k) - 1).max())
    if off > DIAGONAL_TOLERANCE:
        raise NotPSDError("'kernel' has a diagonal that is not 1", where="kernel", found=f"off by {off:.3g}")
    skew = float(np.abs(k - k.T).max())
    if skew > DIAGONAL_TOLERANCE:
        raise NotPSDError("'kernel' is not symmetric", where="kernel", found=f"differs by {skew:.3g}")
    eigenvalues = np.linalg.eigvalsh(k / n)
    if eigenvalues[0] < NEGATIVE_EIGENVALUE:
        raise NotPSDError(
            "'kernel' has a negative eigenvalue",
            where="kernel",
            found=f"{eigenvalues[0]:.3g}",
            expected=f">= {NEGATIVE_EIGENVALUE:g}",
        )
    return entropy_number(eigenvalues, q)


def _vendi_facts(q: float) -> ScoreFacts:
    return ScoreFacts(lambda x: vendi(x, q=q), "vectors", "higher", 1.0, math.inf, 1.0, size_sensitive=True)


SPREAD: dict[str, ScoreFacts] = {
    "cosine": ScoreFacts(mean_cosine_distance, "vectors", "higher", 0.0, 2.0, 0.0, size_sensitive=False),
    "remote_clique": ScoreFacts(remote_clique, "vectors", "higher", 0.0, 1.0, 0.0, size_sensitive=True),
    "chamfer": ScoreFacts(chamfer, "vectors", "higher", 0.0, 2.0, 0.0, size_sensitive=True),
    **{f"vendi_{q:g}": _vendi_facts(q) for q in VENDI_ORDERS},
}
