"""An axis between any two groups of responses: the Assistant Axis with two piles in place of default and roles.

It covers persona vectors (Chen et al. 2025, arXiv 2507.21509): responses under instructions that ask for a trait, and
under instructions that ask for its opposite. Their vectors count the embeddings as index 0, so their layer n is our
block n - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.axis.components import cosine
from multitudes.axis.fit import axis_between
from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError, TooFewSamplesError

FloatArray = NDArray[np.float64]

TRAIT_THRESHOLD = 50.0  # of a score from 0 to 100: a pair is kept at >= 50 for the trait and < 50 against it


@dataclass(frozen=True, eq=False)
class ContrastFit:
    """An axis from group B to group A.

    Attributes:
        axis: (L, d) mean of A minus mean of B.
        unit: (L, d).
        length: (L,) in residual units.
        n_a: Responses of A that entered.
        n_b: Responses of B that entered.
        left_out: Responses of both that the filter left out.
        split_half: (L,) cosine of the axes of every other response; null 0; NaN if a half is empty.
    """

    axis: FloatArray
    unit: FloatArray
    length: FloatArray
    n_a: int
    n_b: int
    left_out: int
    split_half: FloatArray


def kept_pairs(for_trait: ArrayLike, against: ArrayLike, *, threshold: float = TRAIT_THRESHOLD) -> NDArray[np.bool_]:
    """(N,) pairs in which the response for the trait scores >= ``threshold`` and the one against it below.

    Scores are 0 to 100, higher = more of the trait. An unscored side (NaN) is never kept.

    >>> kept_pairs([80, 80, 20, np.nan], [10, 60, 10, 10]).tolist()
    [True, False, False, False]
    """
    high, low = check_shape("for_trait", for_trait, "N"), check_shape("against", against, f"{np.size(for_trait)}")
    return np.asarray((high >= threshold) & (low < threshold))


def fit_contrast(
    a: ArrayLike, b: ArrayLike, *, keep: ArrayLike | None = None, norm: ArrayLike | None = None
) -> ContrastFit:
    """The axis between two groups of response means; it points to ``a``.

    Args:
        a: (N, L, d) response means of the positive group.
        b: (M, L, d) those of the negative group; with ``keep``, M = N and rows are pairs.
        keep: (N,) bool, pairs that enter, such as from ``kept_pairs``; all if None.
        norm: (L,) mean token length, against which a missing axis is told; the length of the mean of A if None.

    Raises:
        GaugeError: Shapes that do not fit.
        TooFewSamplesError: Nothing is left in a group.
        NotFiniteError: A response with NaN; leave it out with ``keep``.
        NoAxis: The means do not differ at a layer.
    """
    x = check_shape("a", a, "N L d")
    y = check_shape("b", b, f"M {x.shape[1]} {x.shape[2]}")
    given = len(x) + len(y)
    if keep is not None:
        mask = np.asarray(keep)
        if mask.dtype != np.bool_ or mask.shape != (len(x),) or len(x) != len(y):
            raise GaugeError(
                "'keep' must name pairs", where="keep", found=f"{mask.dtype} {mask.shape} for {len(x)} and {len(y)}",
                expected="one bool per pair, and as many responses in b as in a",
            )  # fmt: skip
        x, y = x[mask], y[mask]
    if not len(x) or not len(y):
        raise TooFewSamplesError("a group has no response left", found=f"{len(x)} and {len(y)}", expected=">= 1 each")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise NotFiniteError("a response is unscored or overflowed", hint="leave it out with keep")
    length_of_token = np.full(x.shape[1], np.nan) if norm is None else check_shape("norm", norm, str(x.shape[1]))
    axis, v, length = axis_between(x.mean(axis=0), y.mean(axis=0), length_of_token)
    split = np.full(x.shape[1], np.nan)
    if len(x) > 1 and len(y) > 1:
        first, second = (x[h::2].mean(axis=0) - y[h::2].mean(axis=0) for h in (0, 1))
        split = cosine(first, second)
    return ContrastFit(axis, v, length, len(x), len(y), given - len(x) - len(y), split)
