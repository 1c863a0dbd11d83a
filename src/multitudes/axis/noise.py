"""How much of the spread between role means is noise of few responses.

A role mean over n responses differs from the role by noise of variance σ²/n. The spread of R role means holds
(R-1)σ²/n of it, which looks like many small dimensions of persona space.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.axis.collected import Collected
from multitudes.axis.components import principal
from multitudes.core.checks import check_shape

FloatArray = NDArray[np.float64]


class NoiseShare(NamedTuple):
    """Per layer.

    Attributes:
        share: (L,) expected noise in the spread of role means over that spread; >= 0, lower is better; NaN if it
            cannot be told. May exceed 1 by chance.
        exact: (L,) bool; False: an upper bound, because the effect of the questions could not be taken out.
    """

    share: FloatArray
    exact: NDArray[np.bool_]


def two_way_share(squares: ArrayLike, role_means: ArrayLike, question_means: ArrayLike, *, n: int) -> FloatArray:
    """Noise share of a balanced design: every role answered every question equally often, n times in all.

    E = Σq - nΣ_r‖m_r‖² - (Rn/Q)Σ_j‖m_j‖² + Rn‖m̄‖² is the residual after role and question effects, with
    f = Rn - R - Q + 1 degrees of freedom; the share is (R-1)·E / (f·n·Σ_r‖m_r - m̄‖²). What a question does to all
    roles alike cancels in the differences between roles and must not count as noise.

    Args:
        squares: (R, L) Σ‖x‖² of each role.
        role_means: (R, L, d).
        question_means: (Q, L, d) over all roles.
        n: Responses per role.

    Returns:
        (L,); NaN where f = 0 or all role means are equal.

    Source: two-way analysis of variance, Scheffé 1959, ch. 4; own use of it.
    """
    q = check_shape("squares", squares, "R L")
    m_r, m_j = check_shape("role_means", role_means, "R L d"), check_shape("question_means", question_means, "Q L d")
    r, k = len(m_r), len(m_j)
    freedom = r * n - r - k + 1
    centre = m_r.mean(axis=0)
    # In centred form: Σq - Rn‖m̄‖² loses no digits to the common mean, which is far longer than the differences.
    between = ((m_r - centre) ** 2).sum(axis=(0, 2))
    total = q.sum(axis=0) - r * n * (centre**2).sum(axis=1)
    residual = total - n * between - (r * n / k) * ((m_j - centre) ** 2).sum(axis=(0, 2))
    if freedom <= 0:
        return np.full(len(between), np.nan)
    return _ratio((r - 1) * residual, freedom * n * between)


def within_role_share(squares: ArrayLike, role_means: ArrayLike, n: ArrayLike) -> FloatArray:
    """Upper bound of the noise share from each role's own variance, for designs with missing cells.

    (1 - 1/R) Σ_r s²_r/n_r over Σ_r‖m_r - m̄‖². The questions' common effect is in s²_r. A role with one response
    has the pooled variance.

    Args:
        squares: (R, L).
        role_means: (R, L, d).
        n: (R,) responses of each role, >= 1.

    Returns:
        (L,); NaN where no role has two responses.
    """
    q, m = check_shape("squares", squares, "R L"), check_shape("role_means", role_means, "R L d")
    counts = check_shape("n", n, "R")[:, None]
    inner = np.maximum(q - counts * (m**2).sum(axis=2), 0.0)
    pooled = _ratio(inner.sum(axis=0), np.broadcast_to((counts - 1).sum(), inner.shape[1:]))
    variance = np.where(counts > 1, inner / np.maximum(counts - 1, 1), pooled)
    noise = (1 - 1 / len(m)) * (variance / counts).sum(axis=0)
    return _ratio(noise, ((m - m.mean(axis=0)) ** 2).sum(axis=(0, 2)))


def noise_share(c: Collected, kept: NDArray[np.int64]) -> NoiseShare:
    """The two-way share at the question layers where the kept roles' design is balanced, else the upper bound.

    Args:
        c: The sums.
        kept: Indices of the roles that entered the fit. A dropped role with responses is in the sums by question and
            cannot be taken out of them: then the bound is all there is.
    """
    counts = c.n.sum(axis=0)[kept]
    means = c.sums.sum(axis=0)[kept] / counts[:, None, None]
    squares = c.squares.sum(axis=0)[kept]
    share = within_role_share(squares, means, counts)
    exact = np.zeros(c.n_layers, dtype=np.bool_)
    cells, at = c.cell_n[kept], c.question_layers
    asked = cells.sum(axis=0) > 0
    balanced = asked.any() and (cells[:, asked] == cells[0, asked][0]).all() and c.n.sum() == counts.sum()
    if balanced and len(at):
        per_question = cells[:, asked].sum(axis=0)[:, None, None]
        found = two_way_share(squares[:, at], means[:, at], c.question_sums[asked] / per_question, n=int(counts[0]))
        told = np.isfinite(found)
        share[at[told]], exact[at[told]] = found[told], True
    return NoiseShare(share, exact)


def cross_validated_share(half_a: ArrayLike, half_b: ArrayLike, *, count: int = 10) -> FloatArray:
    """Shares of the spread along components of half A, of which only what half B repeats counts.

    s_k = Σ_r⟨A_r-Ā,u_k⟩⟨B_r-B̄,u_k⟩ / Σ_r⟨A_r-Ā,B_r-B̄⟩ with u_k from A. Noise of the two halves is independent and
    cancels in both sums, so noise adds no share, as it does to λ_k/Σλ; a share may be negative. Where noise is large,
    u_k is off its target and the share a little below the true one.

    Args:
        half_a: (R, d) role means over the questions of half A.
        half_b: (R, d) the same roles over those of half B.
        count: How many components, at most min(R, d).

    Returns:
        (count,) or fewer; NaN if the halves share no spread (denominator <= 0).

    Source: own definition; cross-validated PCA as in Stringer et al. 2019, Nature 571.

    >>> a = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> cross_validated_share(a, a).round(2).tolist()
    [0.8, 0.2]
    """
    a, b = check_shape("half_a", half_a, "R d"), check_shape("half_b", half_b, f"{len(np.asarray(half_a))} d")
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    _, directions = principal(a)
    u = directions[:count].T
    together = float((a * b).sum())
    shared = ((a @ u) * (b @ u)).sum(axis=0)
    return shared / together if together > 0 else np.full(len(shared), np.nan)


def _ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
    out = np.full(np.shape(top), np.nan)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out
