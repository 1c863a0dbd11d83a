"""Scores of spread without each group of texts in turn, for the delete-one jackknife over prompts.

A group is whatever is one draw of the sample: a prompt with all its answers. All functions take (n, d) unit vectors
and (n,) labels, and give (G,) values in the order of the sorted labels; NaN where fewer than two texts remain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length
from multitudes.measure.diversity.spread import BLOCK, entropy_number, unit
from multitudes.measure.errors import TooFewClustersError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def _grouped(vectors: ArrayLike, groups: ArrayLike) -> tuple[FloatArray, IntArray, int]:
    x = unit(vectors)
    labels: NDArray[Any] = np.asarray(groups)
    check_same_length(vectors=x, groups=labels)
    known, code = np.unique(labels, return_inverse=True)
    if len(known) < 2:
        raise TooFewClustersError("one group: nothing is left without it", where="groups", found="1", expected=">= 2")
    return x, code.reshape(-1).astype(np.int64), len(known)


def _rest(vectors: ArrayLike, groups: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Texts left without each group, and ‖Σx‖² of these."""
    x, code, size = _grouped(vectors, groups)
    sums = np.zeros((size, x.shape[1]))
    np.add.at(sums, code, x)
    return len(x) - np.bincount(code, minlength=size).astype(np.float64), ((sums.sum(axis=0) - sums) ** 2).sum(axis=1)


def cosine_without(vectors: ArrayLike, groups: ArrayLike) -> FloatArray:
    """Mean pairwise cosine distance without each group, in closed form from the sums of the groups."""
    left, square = _rest(vectors, groups)
    pairs = left * (left - 1)
    among = np.divide(square - left, pairs, out=np.full(len(left), np.nan), where=pairs > 0)
    return np.maximum(1.0 - among, 0.0)


def remote_clique_without(vectors: ArrayLike, groups: ArrayLike) -> FloatArray:
    """Remote clique without each group, in closed form from the sums of the groups."""
    left, square = _rest(vectors, groups)
    among = np.divide(square, left**2, out=np.full(len(left), np.nan), where=left >= 2)
    return np.maximum(1.0 - among, 0.0)


def chamfer_without(vectors: ArrayLike, groups: ArrayLike) -> FloatArray:
    """Chamfer distance without each group, from one pass over all pairs.

    What a text loses with a group is its nearest neighbour there; the nearest elsewhere is the first or second best
    of the groups' best.
    """
    x, code, size = _grouped(vectors, groups)
    order = np.argsort(code, kind="stable")
    x, code = x[order], code[order]
    first = np.searchsorted(code, np.arange(size))
    total = np.zeros(size)
    for start in range(0, len(x), BLOCK):
        cosines = x[start : start + BLOCK] @ x.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        best = np.maximum.reduceat(cosines, first, axis=1)
        leader = best.argmax(axis=1)
        top = best[rows, leader]
        best[rows, leader] = -np.inf
        elsewhere = np.repeat(1.0 - top[:, None], size, axis=1)
        elsewhere[rows, leader] = 1.0 - best.max(axis=1)
        elsewhere[rows, code[start : start + BLOCK]] = 0.0  # the text itself goes with its group
        total += np.maximum(elsewhere, 0.0).sum(axis=0)
    left = len(x) - np.bincount(code, minlength=size)
    return np.where(left >= 2, total / np.maximum(left, 1), np.nan)


def vendi_without(vectors: ArrayLike, groups: ArrayLike, *, q: float = 1.0) -> FloatArray:
    """Vendi score of order q without each group: one small decomposition per group.

    XᵀX loses X_gᵀX_g where d < n, the Gram matrix loses rows and columns elsewhere; a group costs min(n, d)³.
    """
    x, code, size = _grouped(vectors, groups)
    n, d = x.shape
    whole = x.T @ x if d < n else x @ x.T
    found = np.full(size, np.nan)
    for g in range(size):
        out = code == g
        left = n - int(out.sum())
        if left < 2:
            continue
        rest = whole - x[out].T @ x[out] if d < n else whole[np.ix_(~out, ~out)]
        found[g] = entropy_number(np.linalg.eigvalsh(rest / left), q)
    return found
