"""Analysis of variance: the balanced mean squares that the components equal, and the design of a single item.

With one item a persona's character and its reading of that item cannot be told apart, but their sum can: the one-way
design of personas and runs. Only there is the F interval exact; pooled over items personas recur, cells depend on
each other, and it is too short.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as sps
from scipy.optimize import brentq

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError, TooFewItemsError, TooFewPersonasError, ZeroVarianceError
from multitudes.measure.variance.components import Components, scored_answers, sum_rows_by

FloatArray = NDArray[np.float64]


class MeanSquares(NamedTuple):
    """Mean squares of a balanced design of P personas, I items and R runs; of vectors, summed over dimensions."""

    persona: float
    item: float
    interaction: float
    run: float


def mean_squares(y: ArrayLike) -> MeanSquares:
    """Mean squares of balanced answers.

    MS_p = IR Σ(ȳ_p-ȳ)²/(P-1), MS_i = PR Σ(ȳ_i-ȳ)²/(I-1), MS_pi = R Σ(ȳ_pi-ȳ_p-ȳ_i+ȳ)²/((P-1)(I-1)),
    MS_e = Σ(y-ȳ_pi)²/(PI(R-1)).

    Args:
        y: (P, I, R) numbers or (P, I, R, d) vectors, none missing.

    Raises:
        TooFewPersonasError: If P < 2.
        TooFewItemsError: If I < 2.
        NotFiniteError: On NaN or infinity.
        GaugeError: If R < 2 or the shape is another.
    """
    cube = np.asarray(y, dtype=np.float64)
    cube = cube[..., None] if cube.ndim == 3 else cube
    if cube.ndim != 4:
        raise GaugeError("'y' has the wrong shape", where="y", found=str(cube.shape), expected="(P, I, R[, d])")
    p, i, r, _ = cube.shape
    if p < 2:
        raise TooFewPersonasError("mean squares need two personas", found=str(p))
    if i < 2:
        raise TooFewItemsError("mean squares need two items", found=str(i), hint="one item alone: one_way")
    if r < 2:
        raise GaugeError("mean squares need two runs of every cell", found=f"R={r}")
    if not np.isfinite(cube).all():
        raise NotFiniteError("the balanced form takes no missing or infinite answers", where="y")
    cube = cube - cube.mean(axis=(0, 1, 2))
    cell, who, what = cube.mean(axis=2), cube.mean(axis=(1, 2)), cube.mean(axis=(0, 2))
    rest = cell - who[:, None] - what[None]
    return MeanSquares(
        float(i * r * (who**2).sum() / (p - 1)),
        float(p * r * (what**2).sum() / (i - 1)),
        float(r * (rest**2).sum() / ((p - 1) * (i - 1))),
        float(((cube - cell[:, :, None]) ** 2).sum() / (p * i * (r - 1))),
    )


def balanced_components(y: ArrayLike) -> Components:
    """σ²_e = MS_e, σ²_pi = (MS_pi - MS_e)/R, σ²_p = (MS_p - MS_pi)/(IR), σ²_i = (MS_i - MS_pi)/(PR).

    What ``components`` gives for the same answers. For vectors, halves of squared distances sum like squares, so the
    components are traces. Arguments and errors as in ``mean_squares``.
    """
    ms = mean_squares(y)
    p, i, r = np.shape(y)[:3]
    interaction = (ms.interaction - ms.run) / r
    return Components(
        (ms.persona - ms.interaction) / (i * r),
        (ms.item - ms.interaction) / (p * r),
        interaction,
        ms.run,
        interaction + ms.run,
    )


class OneWaySums(NamedTuple):
    """Sums of squares of a one-way design; of vectors, summed over dimensions."""

    between: float
    within: float
    df_between: int
    df_within: int
    sizes: FloatArray
    means: FloatArray


def one_way_sums(y: ArrayLike, group: ArrayLike) -> OneWaySums:
    """Sums of squares between and within groups; NaN is unscored.

    Raises:
        TooFewPersonasError: If there are fewer than two groups.
        ZeroVarianceError: If all answers are equal.
        NotFiniteError: If an answer is infinite or a label missing.
        GaugeError: If no group has two answers.
    """
    answers = scored_answers(y, {"group": group}, run=None, run_variance=None)
    labels, code, sizes = np.unique(answers.labels["group"], return_inverse=True, return_counts=True)
    if len(labels) < 2:
        raise TooFewPersonasError("a one-way design needs two groups", found=f"{len(labels)} with a scored answer")
    if (sizes < 2).all():
        raise GaugeError("nobody was asked twice, so noise between runs cannot be told", found=f"{len(code)} answers")
    if not np.ptp(answers.values, axis=0).any():
        raise ZeroVarianceError("all answers are equal: there is no variance to divide", found=f"{len(code)} answers")
    values = answers.values - answers.values.mean(axis=0)
    means = sum_rows_by(code, values, len(labels)) / sizes[:, None]
    within = ((values - means[code]) ** 2).sum()
    between = (sizes * (means**2).sum(axis=1)).sum()
    rounding = 64 * np.finfo(np.float64).eps * (between + within)
    within = float(within) if within > rounding else 0.0
    return OneWaySums(float(between), within, len(labels) - 1, len(code) - len(labels), sizes.astype(float), means)


class OneWay(NamedTuple):
    """ICC of a single item: share of its spread that is the personas'.

    Attributes:
        icc: (MS_A - MS_W) / (MS_A + (n_0 - 1) MS_W); at most 1, null value 0, as estimated.
        low: Lower limit; None where no run differs from another.
        high: Upper limit.
        f: MS_A / MS_W, infinite where no run differs from another.
        p: P(F >= f) without persona signal.
        ms_between: MS_A.
        ms_within: MS_W.
        n0: Runs a persona; (N - Σn²/N)/(P-1) where unequal.
        groups: Personas.
        note: Why there is no interval.
    """

    icc: float
    low: float | None
    high: float | None
    f: float
    p: float
    ms_between: float
    ms_within: float
    n0: float
    groups: int
    note: str = ""


def one_way(y: ArrayLike, group: ArrayLike, *, level: float = 0.95) -> OneWay:
    """ICC of one item with its exact interval, for normal answers; never for several items pooled.

    The interval holds the ratios θ = σ²_p/σ²_e for which the weighted F(θ) = Σ w(ȳ_p-ȳ_w)²/((P-1) MS_W),
    w = n/(1+nθ), lies within the central ``level`` of F(P-1, N-P); ICC = θ/(1+θ). With equal n it is the textbook
    (F/F_crit - 1)/(F/F_crit + n - 1).

    Args:
        y: (n,) numbers of one item; NaN is unscored.
        group: (n,) persona labels.
        level: Confidence level.

    Raises:
        TooFewPersonasError: If fewer than two personas have a scored answer.
        ZeroVarianceError: If all answers are equal.
        NotFiniteError: If an answer is infinite or a label missing.
        GaugeError: If nobody was asked twice, or ``y`` holds vectors, for which F has no exact law.

    Source: Shrout & Fleiss 1979, Psychological Bulletin 86, case 1; Wald 1940, Annals of Mathematical Statistics 11,
    for unequal n.
    """
    if np.ndim(y) != 1:
        raise GaugeError("the F interval is for numbers only", where="y", found=str(np.shape(y)), expected="(n,)")
    s = one_way_sums(y, group)
    n, total = s.sizes, s.sizes.sum()
    ms_between, ms_within = s.between / s.df_between, s.within / s.df_within
    n0 = float((total - (n**2).sum() / total) / s.df_between)
    icc = (ms_between - ms_within) / (ms_between + (n0 - 1) * ms_within)
    if ms_within == 0:
        note = "no interval: no run differs from another"
        return OneWay(icc, None, None, np.inf, 0.0, ms_between, 0.0, n0, len(n), note)
    f = ms_between / ms_within
    p = float(sps.f.sf(f, s.df_between, s.df_within))
    means = s.means[:, 0]

    def statistic(icc: float) -> float:
        w = n * (1 - icc) / (1 - icc + n * icc)  # n / (1 + nθ)
        centre = (w * means).sum() / w.sum()
        return float((w * (means - centre) ** 2).sum() / (s.df_between * ms_within))

    tails = ((1 + level) / 2, (1 - level) / 2)
    low, high = (_solve(statistic, float(sps.f.ppf(t, s.df_between, s.df_within)), float(n.max())) for t in tails)
    return OneWay(float(icc), low, high, float(f), p, ms_between, ms_within, n0, len(n))


def _solve(statistic: Callable[[float], float], critical: float, largest: float) -> float:
    """The ICC at which a falling statistic meets its critical value; the lowest possible one if it never does."""
    lowest = -1 / (largest - 1) + 1e-12
    if statistic(lowest) <= critical:
        return lowest
    return float(brentq(lambda x: statistic(x) - critical, lowest, 1 - 1e-15, xtol=1e-14, rtol=1e-14))
