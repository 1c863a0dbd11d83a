"""Intervals over base prompts: every draw keeps all personas, conditions, seeds and turns of a prompt together.

A statistic is a function of weights. It asks for the weights of the cells of as many arms as it needs, so a
difference of two arms is paired by construction, and whatever is estimated on the way (Δ₀, the line of a flip, a fit)
is estimated anew in each draw.

Resampling prompts says something about these personas. For personas in general they are resampled as well,
independently, and a cell weighs the product: cells that share a persona are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

from multitudes.core.checks import check_shape
from multitudes.measure.errors import TooFewClustersError, TooFewPersonasError
from multitudes.measure.resample import FEW, bca_limit
from multitudes.measure.retention.cells import Cells
from multitudes.measure.stats import DRAWS, EXACT_FLIPS_TO, FLIPS, MIN_CLUSTERS, Estimate, resampled_sums

FloatArray = NDArray[np.float64]

MIN_PERSONAS = 20  # below this nothing is said about personas in general
MAX_LOST = 0.05  # share of draws without a value, above which an interval of the others is not one
_NUMBERS_AT_ONCE = 4_000_000


class Weights(NamedTuple):
    """Weights of b samples of the prompts, and of the personas where they are resampled.

    Attributes:
        clusters: Base prompt -> column of ``by_cluster``.
        by_cluster: (b, C) how often each base prompt was drawn.
        personas: Persona -> column of ``by_persona``.
        by_persona: (b, P), or None.
    """

    clusters: dict[object, int]
    by_cluster: FloatArray
    personas: dict[object, int]
    by_persona: FloatArray | None

    def __call__(self, cells: Cells) -> FloatArray:
        """(b, g) weight of each cell of an arm; 0 for a prompt or persona that the arms do not share."""
        out = _spread(self.by_cluster, self.clusters, cells.clusters)
        if self.by_persona is not None and cells.personas is not None:
            out = out * _spread(self.by_persona, self.personas, cells.personas)
        return out


Statistic = Callable[[Weights], FloatArray]


class Resample(NamedTuple):
    """Draws that several statistics share; see ``resample``.

    Attributes:
        drawn: The bootstrap samples.
        n: Base prompts that all arms share; where personas are resampled, the smaller of both numbers.
        note: What to print beside every interval.
    """

    drawn: Weights
    n: int
    note: str

    @property
    def whole(self) -> Weights:
        """The data themselves: everything once."""
        return _ones(self.drawn, 1)

    @property
    def without(self) -> tuple[Weights, ...]:
        """Samples without each base prompt, and without each persona where they are resampled."""
        c = self.drawn.by_cluster.shape[1]
        parts = [_ones(self.drawn, c)._replace(by_cluster=1.0 - np.eye(c))]
        if self.drawn.by_persona is not None:
            p = self.drawn.by_persona.shape[1]
            parts.append(_ones(self.drawn, p)._replace(by_persona=1.0 - np.eye(p)))
        return tuple(parts)


def resample(arms: Sequence[Cells], *, seed: int, draws: int = DRAWS, personas: bool = False) -> Resample:
    """Draw base prompts with replacement, the same for all arms; prompts that an arm lacks are left out of all.

    Args:
        arms: Everything that a statistic will look at.
        seed: Seed of the draws.
        draws: B.
        personas: Resample personas too, for claims about personas in general.

    Raises:
        TooFewClustersError: Fewer than 8 base prompts in common.
        TooFewPersonasError: Fewer than 20 personas in common, where they are resampled.
    """
    clusters = _common([arm.clusters for arm in arms])
    if len(clusters) < MIN_CLUSTERS:
        raise TooFewClustersError("too few base prompts for an interval", found=str(len(clusters)),
                                  expected=f">= {MIN_CLUSTERS}", hint="add base prompts, not seeds")  # fmt: skip
    people, by_persona = {}, None
    if personas:
        people = _common([arm.personas if arm.personas is not None else np.empty(0, dtype=object) for arm in arms])
        if len(people) < MIN_PERSONAS:
            raise TooFewPersonasError("too few personas to speak of personas in general", found=str(len(people)),
                                      expected=f">= {MIN_PERSONAS}", hint="resample base prompts alone")  # fmt: skip
        by_persona = resampled_sums(np.eye(len(people)), seed=seed + 1, draws=draws)
    by_cluster = resampled_sums(np.eye(len(clusters)), seed=seed, draws=draws)
    n = min(len(clusters), len(people)) if personas else len(clusters)
    lost = len(set().union(*(arm.clusters.tolist() for arm in arms))) - len(clusters)
    notes = [f"few clusters: {len(clusters)} base prompts"] if len(clusters) < FEW else []
    notes += [f"{lost} base prompts are not in all arms and left out"] if lost else []
    return Resample(Weights(clusters, by_cluster, people, by_persona), n, "; ".join(notes))


def fewer(sample: Resample, draws: int) -> Resample:
    """The first ``draws`` of the draws, for statistics that are slow."""
    w = sample.drawn
    people = None if w.by_persona is None else w.by_persona[:draws]
    return sample._replace(drawn=w._replace(by_cluster=w.by_cluster[:draws], by_persona=people))


def interval(statistic: Statistic, sample: Resample, *, level: float = 0.95) -> Estimate:
    """BCa interval of one number, its tails widened for few clusters.

    The plain percentile interval holds .91 at 50 clusters where .95 is stated. Bias and skewness are corrected as in
    Efron 1987; tails are widened as t is wider than normal, as in ``stats.percentile_limits``, which BCa alone does
    not do. With resampled personas the acceleration takes the delete-one values of both, each about its own mean.

    Args:
        statistic: From weights of b samples to (b,) values; NaN where it is not defined.
        sample: From ``resample``.
        level: Confidence level.

    Returns:
        The estimate; ``n`` is the number of base prompts. No limits where the value itself is undefined, or more than
        5 % of the draws are.
    """
    return intervals(statistic, sample, level=level)[0]


def intervals(statistic: Statistic, sample: Resample, *, level: float = 0.95) -> list[Estimate]:
    """``interval`` for a statistic with several numbers: (b, m) gives m estimates, each pointwise."""
    value = _rows(statistic(sample.whole))[0]
    drawn = _in_blocks(statistic, sample.drawn)
    without = [_rows(statistic(part)) for part in sample.without]
    return [
        _interval(float(value[j]), drawn[:, j], [w[:, j] for w in without], sample, level) for j in range(len(value))
    ]


def quantile_interval(statistic: Statistic, sample: Resample, *, level: float = 0.95) -> Estimate:
    """Bias-corrected interval of a number that jumps, such as a median of turns; inf is "not reached" and a value.

    Without acceleration: the jackknife of a median is not consistent. Limits are draws, not points between two draws.
    """
    value = float(_rows(statistic(sample.whole))[0, 0])
    return quantile_limits(value, draws_of(statistic, sample)[:, 0], sample, level=level)


def draws_of(statistic: Statistic, sample: Resample) -> FloatArray:
    """(b, m) values of a statistic in all draws, computed in blocks."""
    return _in_blocks(statistic, sample.drawn)


def quantile_limits(value: float, drawn: FloatArray, sample: Resample, *, level: float = 0.95) -> Estimate:
    """``quantile_interval`` of a value whose (b,) draws are at hand; NaN is a draw without a value."""
    lost = float(np.isnan(drawn).mean())
    if np.isnan(value) or lost > MAX_LOST:
        return Estimate(value, None, None, sample.n, 0, _joined(sample.note, _lost(lost, value)))
    drawn = drawn[~np.isnan(drawn)]
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    bias = float(ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn))))
    z = float(ndtri(_tail(level, sample.n)))
    low, high = np.quantile(drawn, [float(ndtr(2 * bias + z)), float(ndtr(2 * bias - z))], method="inverted_cdf")
    return Estimate(value, float(low), float(high), sample.n, 0, _joined(sample.note, _lost(lost, value)))


def cluster_columns(columns: ArrayLike, cells: Cells, sample: Resample) -> FloatArray:
    """(C, m) sums of (g, m) columns over the cells of each shared base prompt."""
    rows = check_shape("columns", columns, "g m")
    weights = _spread(np.eye(len(sample.drawn.clusters)), sample.drawn.clusters, cells.clusters)
    return np.asarray(weights @ rows)


def swap_p(first: ArrayLike, second: ArrayLike, statistic: Callable[[FloatArray], FloatArray], *, seed: int) -> float:
    """Two-sided p-value of a difference of two arms, under swaps of the arms within each base prompt.

    Under "the arms are alike" it makes no difference which arm a prompt's runs are labelled with. Exact where every
    pattern is tried (up to 16 prompts), else (1 + hits) / (1 + 10,000 patterns).

    Args:
        first: (C, m) sums of each shared base prompt in one arm.
        second: (C, m) in the other.
        statistic: From (..., m) sums to (...) values.
        seed: Seed of the patterns.

    Returns:
        p; NaN where the difference is undefined. Patterns without a value count as hits.

    Source: Fisher 1935, §21, for sums of which a ratio is taken; Phipson & Smyth 2010 for the added one.
    """
    a, b = check_shape("first", first, "C m"), check_shape("second", second, f"{len(np.asarray(first))} m")
    c = len(a)
    if c <= EXACT_FLIPS_TO:
        keep = ((np.arange(2**c)[:, None] >> np.arange(c)) & 1).astype(np.float64)
    else:
        keep = np.random.default_rng(seed).integers(0, 2, size=(FLIPS, c)).astype(np.float64)
    observed = float(statistic(a.sum(axis=0)) - statistic(b.sum(axis=0)))
    if not np.isfinite(observed):
        return float("nan")
    moved = keep @ (a - b)
    found = np.abs(statistic(b.sum(axis=0) + moved) - statistic(a.sum(axis=0) - moved))
    hits = ~(found < abs(observed) * (1 - 1e-9) - 1e-15)  # equal differences must count as equal after rounding
    return float(hits.mean()) if c <= EXACT_FLIPS_TO else float((1 + hits.sum()) / (1 + len(hits)))


def _interval(value: float, drawn: FloatArray, without: list[FloatArray], sample: Resample, level: float) -> Estimate:
    defined = np.isfinite(drawn)
    lost, drawn = float((~defined).mean()), drawn[defined]
    note = _joined(sample.note, _lost(lost, value))
    if not np.isfinite(value) or lost > MAX_LOST:
        return Estimate(value, None, None, sample.n, 0, note)
    if np.ptp(drawn) <= 1e-12 * max(1.0, abs(value)):
        return Estimate(value, value, value, sample.n, 0, _joined(note, "no spread between base prompts"))
    left = [w[np.isfinite(w)] for w in without]
    away = np.concatenate([w.mean() - w if len(w) else np.zeros(1) for w in left])
    tail = _tail(level, sample.n)
    low, high = bca_limit(value, drawn, away, tail), bca_limit(value, drawn, away, 1 - tail)
    return Estimate(value, low, high, sample.n, 0, note)


def _tail(level: float, n: int) -> float:
    return float(ndtr(-((n / (n - 1)) ** 0.5) * stdtrit(n - 1, (1 + level) / 2)))


def _lost(share: float, value: float) -> str:
    if np.isnan(value):
        return "undefined"
    return f"undefined in {share:.0%} of draws" if share > 0 else ""


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _in_blocks(statistic: Statistic, drawn: Weights) -> FloatArray:
    b, c = drawn.by_cluster.shape
    size = max(1, _NUMBERS_AT_ONCE // (c * max(1, len(drawn.personas))))
    parts = []
    for start in range(0, b, size):
        people = None if drawn.by_persona is None else drawn.by_persona[start : start + size]
        part = drawn._replace(by_cluster=drawn.by_cluster[start : start + size], by_persona=people)
        parts.append(_rows(statistic(part)))
    return np.concatenate(parts)


def _rows(values: FloatArray) -> FloatArray:
    out = np.asarray(values, dtype=np.float64)
    return out[:, None] if out.ndim == 1 else out


def _ones(like: Weights, rows: int) -> Weights:
    people = None if like.by_persona is None else np.ones((rows, like.by_persona.shape[1]))
    return like._replace(by_cluster=np.ones((rows, like.by_cluster.shape[1])), by_persona=people)


def _spread(weights: FloatArray, columns: dict[object, int], labels: NDArray[np.object_]) -> FloatArray:
    """(b, g): the column of each label, 0 for a label without one."""
    index = np.array([columns.get(label, -1) for label in labels.tolist()], dtype=np.int64)
    return np.asarray(np.where(index >= 0, weights[:, index], 0.0))


def _common(labels: Sequence[NDArray[np.object_]]) -> dict[object, int]:
    """Labels that all arms have, in the order of the first arm, so that draws do not depend on hashing."""
    shared = set(labels[0].tolist()).intersection(*(arm.tolist() for arm in labels[1:]))
    return {name: i for i, name in enumerate(n for n in dict.fromkeys(labels[0].tolist()) if n in shared)}
