"""Ridge regression whose penalty is chosen inside and judged outside of what it was fitted to.

Both levels of folds keep groups whole. A persona in the training folds and in the test fold would let a regression
learn who is speaking instead of what was said. Many targets are fitted at once, so a permutation test costs little
more than one fit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length, check_shape
from multitudes.measure.errors import NotFiniteError, TooFewClustersError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ALPHAS: FloatArray = np.logspace(-2, 4, 13)
OUTER_FOLDS = 5
INNER_FOLDS = 5


class OutOfFold(NamedTuple):
    """Predictions of rows by a fit that never saw their fold. P targets.

    Attributes:
        predicted: (n, P).
        train_mean: (n, P) mean target of the rows that the prediction was fitted to: the null prediction.
        fold: (n,) outer fold of each row.
        alphas: (folds, P) penalty chosen for each fold.
    """

    predicted: FloatArray
    train_mean: FloatArray
    fold: IntArray
    alphas: FloatArray


def group_folds(groups: ArrayLike, n_folds: int) -> IntArray:
    """(n,) fold of each row, 0..n_folds-1; a group is never split.

    Largest groups first, each into the fold with the fewest rows so far. With fewer groups than folds there are as
    many folds as groups.

    Raises:
        TooFewClustersError: Fewer than two groups.

    >>> group_folds(["a", "a", "b", "c"], 2).tolist()
    [0, 0, 1, 1]
    """
    _, code, size = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(size) < 2:
        raise TooFewClustersError("folds need two groups", found=str(len(size)), expected=">= 2")
    load = np.zeros(min(n_folds, len(size)), dtype=np.int64)
    fold = np.zeros(len(size), dtype=np.int64)
    for group in np.argsort(-size, kind="stable"):
        fold[group] = load.argmin()
        load[fold[group]] += size[group]
    return np.asarray(fold[code.reshape(-1)], dtype=np.int64)


class _Decomposed(NamedTuple):
    """Training rows, decomposed once for all penalties and targets: eigenvectors V of XᵀX, λ, and VᵀXᵀY."""

    mean_x: FloatArray
    mean_y: FloatArray
    vectors: FloatArray
    values: FloatArray
    along: FloatArray


def _decompose(x: FloatArray, y: FloatArray) -> _Decomposed:
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    centred = x - mean_x
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return _Decomposed(mean_x, mean_y, vectors, np.maximum(values, 0.0), vectors.T @ (centred.T @ (y - mean_y)))


def _predict(fit: _Decomposed, x: FloatArray, alpha: FloatArray) -> FloatArray:
    """(m, P) predictions with one penalty per target; the intercept is not penalised."""
    weights = fit.along / (fit.values[:, None] + alpha)
    return fit.mean_y + ((x - fit.mean_x) @ fit.vectors) @ weights


def choose_alpha(x: FloatArray, y: FloatArray, fold: IntArray, alphas: FloatArray) -> FloatArray:
    """(P,) penalty with the least mean squared error, averaged over folds; the smallest of equals."""
    folds = np.unique(fold)
    loss = np.zeros((len(alphas), y.shape[1]))
    for held in folds:
        test = fold == held
        fit = _decompose(x[~test], y[~test])
        rotated = (x[test] - fit.mean_x) @ fit.vectors
        for i, alpha in enumerate(alphas):
            guess = rotated @ (fit.along / (fit.values + alpha)[:, None])
            loss[i] += ((y[test] - fit.mean_y - guess) ** 2).mean(axis=0) / len(folds)
    return np.asarray(alphas[loss.argmin(axis=0)])


def _reduced(x: FloatArray) -> FloatArray:
    """The rows in coordinates of the space they span: ridge does not change under a rotation of its columns."""
    n, e = x.shape
    if e <= n:
        return x
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return np.asarray(u * s)


def _checked(x: ArrayLike, y: ArrayLike, **groups: ArrayLike) -> tuple[FloatArray, FloatArray]:
    rows, targets = check_shape("x", x, "n e"), check_shape("y", y, "n P")
    check_same_length(x=rows, y=targets, **{name: np.asarray(g) for name, g in groups.items()})
    if not (np.isfinite(rows).all() and np.isfinite(targets).all()):
        raise NotFiniteError("rows with NaN must be left out before a regression", where="x or y")
    return _reduced(rows), targets


def nested_ridge(
    x: ArrayLike,
    y: ArrayLike,
    *,
    outer: ArrayLike,
    inner: ArrayLike,
    alphas: FloatArray = ALPHAS,
    n_outer: int = OUTER_FOLDS,
    n_inner: int = INNER_FOLDS,
) -> OutOfFold:
    """Held-out predictions of every row.

    Args:
        x: (n, e) features.
        y: (n, P) targets; each has penalties of its own.
        outer: (n,) groups that stay whole between training and test.
        inner: (n,) groups that stay whole while the penalty is chosen, inside the training rows.
        alphas: Penalties, ascending.
        n_outer: Outer folds.
        n_inner: Inner folds.

    Raises:
        TooFewClustersError: Fewer than two groups at a level.
        NotFiniteError: NaN or infinity.

    Source: Hoerl & Kennard 1970; nesting as in Varma & Simon 2006.
    """
    rows, targets = _checked(x, y, outer=outer, inner=inner)
    fold, within = group_folds(outer, n_outer), np.asarray(inner)
    predicted, train_mean = np.empty(targets.shape), np.empty(targets.shape)
    chosen = []
    for held in np.unique(fold):
        test = fold == held
        seen_x, seen_y = rows[~test], targets[~test]
        alpha = choose_alpha(seen_x, seen_y, group_folds(within[~test], n_inner), alphas)
        fit = _decompose(seen_x, seen_y)
        predicted[test], train_mean[test] = _predict(fit, rows[test], alpha), fit.mean_y
        chosen.append(alpha)
    return OutOfFold(predicted, train_mean, fold, np.stack(chosen))


def in_sample_ridge(
    x: ArrayLike, y: ArrayLike, *, inner: ArrayLike, alphas: FloatArray = ALPHAS, n_inner: int = INNER_FOLDS
) -> FloatArray:
    """(n, P) predictions of the rows by the fit that was made to them; penalties as in ``nested_ridge``."""
    rows, targets = _checked(x, y, inner=inner)
    alpha = choose_alpha(rows, targets, group_folds(inner, n_inner), alphas)
    return _predict(_decompose(rows, targets), rows, alpha)
