"""Bias-corrected bootstrap of a ratio of two means over prompts, and what may not be bootstrapped at all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from multitudes.core.checks import check_shape
from multitudes.measure.errors import DuplicateBiasError, TooFewClustersError
from multitudes.measure.stats import resampled_sums

FloatArray = NDArray[np.float64]

DRAWS = 10_000
FEW = 20  # prompts below which an interval is flagged
POOLED = ("vendi", "self_bleu", "self_repetition", "chamfer", "compression", "distinct", "ead")


class Bca(NamedTuple):
    """A statistic with its interval; ``se`` is the standard deviation of the draws."""

    value: float
    low: float
    high: float
    low90: float
    high90: float
    se: float
    n: int
    note: str


def refuse_bootstrap(score: str) -> None:
    """Refuse to bootstrap a score of a whole corpus: a prompt that is drawn twice is an exact copy of itself.

    60 prompts of 8 texts: a Vendi score of 26.5 has a bootstrap mean of 21.9. Delete-one-prompt copies nobody.

    Raises:
        DuplicateBiasError: If ``score`` falls where texts are repeated.
    """
    if score in POOLED:
        raise DuplicateBiasError(
            "this score of a whole corpus falls with copies, and a bootstrap copies prompts", where=score,
            expected="a delete-one-prompt jackknife, or one score per prompt",
        )  # fmt: skip


def bca(columns: ArrayLike, statistic: object, *, seed: int, draws: int = DRAWS, level: float = 0.95) -> Bca:
    """BCa interval of a function of column means, prompts being resampled.

    Args:
        columns: (G, m) one row per prompt.
        statistic: From (..., m) means of the columns to (...) values; must be finite for the data itself.
        seed: Seed of the draws.
        draws: Multinomial weightings of the prompts, as one matrix product in blocks.
        level: Of ``low`` and ``high``; ``low90`` and ``high90`` are for equivalence.

    Raises:
        TooFewClustersError: Fewer than two prompts.

    Source: Efron 1987; acceleration by the jackknife.
    """
    rows = check_shape("columns", columns, "G m")
    g = len(rows)
    if g < 2:
        raise TooFewClustersError("an interval needs two prompts", found=str(g), expected=">= 2")
    value = float(statistic(rows.mean(axis=0)))  # type: ignore[operator]
    drawn = np.asarray(statistic(resampled_sums(rows, seed=seed, draws=draws) / g))  # type: ignore[operator]
    defined = np.isfinite(drawn)
    lost, drawn = float((~defined).mean()), np.sort(drawn[defined])
    flags = [f"few clusters: {g} prompts"] if g < FEW else []
    flags += [f"undefined in {lost:.0%} of draws, which are left out"] if lost > 0 else []
    note = "; ".join(flags)
    if not len(drawn) or np.ptp(drawn) == 0:
        return Bca(value, value, value, value, value, 0.0, g, note or "no spread between prompts")
    without = np.asarray(statistic((rows.sum(axis=0) - rows) / (g - 1)))  # type: ignore[operator]
    without = without[np.isfinite(without)]  # undefined without the only prompt that has any
    away = without.mean() - without if len(without) else np.zeros(1)

    def limit(tail: float) -> float:
        return bca_limit(value, drawn, away, tail)

    a, b = (1 - level) / 2, 0.05
    return Bca(value, limit(a), limit(1 - a), limit(b), limit(1 - b), float(drawn.std(ddof=1)), g, note)


def bca_limit(value: float, drawn: FloatArray, away: FloatArray, tail: float) -> float:
    """One end of a bias-corrected and accelerated bootstrap interval.

    Args:
        value: The statistic of the data.
        drawn: (B,) its finite draws.
        away: (G,) how much taking out each cluster lowers it: the mean of the delete-one values, minus each of them.
        tail: Share of draws that would lie below the limit, were there neither bias nor acceleration.

    Source: Efron 1987.
    """
    cube, square = float((away**3).sum()), float((away**2).sum())
    acceleration = cube / (6 * square**1.5) if square > 0 else 0.0
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    bias = float(ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn))))
    z = bias + float(ndtri(tail))
    return float(np.quantile(drawn, float(ndtr(bias + z / (1 - acceleration * z)))))
