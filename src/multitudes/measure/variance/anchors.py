"""What people's own answers say, recomputed from arrays: the values that simulated ones are read beside.

Only people who answered the same thing twice tell run noise from person signal (colours). Where nobody was asked
twice, the person share within an item, σ²_p/(σ²_p + rest), is a lower bound of their ICC_within and an anchor of τ
alone.

Some of these data sets fall into blocks of people and items that share nothing. Here that is allowed: the recomputed
values take the blocks as drawn at random, as the quoted ones did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from multitudes.core.checks import check_range, check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import (
    NotFiniteError,
    TooFewItemsError,
    TooFewPersonasError,
    TooFewSamplesError,
    ZeroVarianceError,
)
from multitudes.measure.stats import DRAWS, Estimate, bootstrap_mean
from multitudes.measure.variance.components import Cells, cell_sums, pair_sums, scored_answers, spreads
from multitudes.measure.variance.distance import SPLITS, jsd, wasserstein
from multitudes.measure.variance.intervals import interval

FloatArray = NDArray[np.float64]

_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65, 2° observer
_DRAWS_AT_ONCE = 250


class ColourShares(NamedTuple):
    """Colours that people chose for words, twice each: ½ΔE² (CIE 1976) as the variance.

    Attributes:
        icc_within: 1 - ΣG_e/ΣG_i over words, with its two-way bootstrap interval.
        rho: (1 - icc_within)/icc_within, limits from those of icc_within.
        tau: (G_0 - G_p)/G_i over all pairs.
        by_word: 10 %, 50 % and 90 % of the words' own 1 - G_e/G_i.
        half_noise: Share of words at which it is .5 or less.
        same_again: Share of (person, word) pairs in which both colours are the same.
        internal: Mean ΔE between the two colours of one person, mean over words.
        population: Mean ΔE between colours of different people, mean over words.
        people: Number of people.
        words: Words that somebody coloured twice and two people coloured at all, with any spread.
        unscored: Answers left out because a channel was NaN.
    """

    icc_within: Estimate
    rho: Estimate
    tau: float
    by_word: tuple[float, float, float]
    half_noise: float
    same_again: float
    internal: float
    population: float
    people: int
    words: int
    unscored: int


class PersonShares(NamedTuple):
    """How much of the variance of ratings is the person's, by two estimators that differ where some rate far more.

    Attributes:
        person: σ²_p as a share of the total, from squared differences over all pairs: (G_0 - G_p)/G_0.
        item: σ²_i likewise.
        rest: What is left.
        within: σ²_p/(σ²_p + rest): person share within an item. Interval by two-way jackknife, as for the others.
        covariance_person: Mean product of two deviations from the grand mean, same person and different answers, over
            the variance. Unlike the other it takes the mean of those who rate most for everybody's.
        covariance_item: The same for two answers to one item.
        covariance_within: covariance_person/(1 - covariance_item).
        people: Number of people.
        items: Number of items.
        heaviest: Share of the same-person pairs that one person holds.
    """

    person: Estimate
    item: Estimate
    rest: Estimate
    within: Estimate
    covariance_person: float
    covariance_item: float
    covariance_within: float
    people: int
    items: int
    heaviest: float


class SplitHalf(NamedTuple):
    """Distances between two halves of the people, mean over items and splits, intervals over items.

    Attributes:
        jsd: Bits, on binned answers.
        w1: Scale units, on the answers themselves.
        w1_bins: Scale units, on binned answers.
        items: Items with two answers or more.
        raters: Mean number of answers an item.
    """

    jsd: Estimate
    w1: Estimate
    w1_bins: Estimate
    items: int
    raters: float


def lab_of_srgb(rgb: ArrayLike) -> FloatArray:
    """CIE L*a*b* (D65 white, 2° observer) of sRGB colours.

    Args:
        rgb: (n, 3) channels in [0, 255].

    Returns:
        (n, 3): L* in [0, 100], a* and b*.

    Raises:
        GaugeError: If a channel is out of range.

    Source: IEC 61966-2-1 for sRGB, CIE 15 for L*a*b*.

    >>> lab_of_srgb([[255, 0, 0]]).round(1).tolist()
    [[53.2, 80.1, 67.2]]
    """
    v = check_range("rgb", check_shape("rgb", rgb, "n 3"), 0.0, 255.0, nan=True) / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    t = linear @ _TO_XYZ.T / _WHITE
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def colour_shares(
    rgb: ArrayLike, person: ArrayLike, word: ArrayLike, block: ArrayLike, *, seed: int = 0, draws: int = DRAWS
) -> ColourShares:
    """Person signal and repeat noise of colour associations.

    Args:
        rgb: (n, 3) chosen colours, sRGB channels in [0, 255]; NaN is unscored.
        person: (n,) who chose.
        word: (n,) for which word.
        block: (n,) first or second time.
        seed: Seed of the bootstrap.
        draws: Bootstrap draws of people and words.

    Raises:
        DuplicateKeyError: If a person has two colours for a word in one block.
        TooFewPersonasError, TooFewItemsError: If there are fewer than two of either.
        ZeroVarianceError: If nobody differs from anybody in any word, or no word was coloured twice by anyone.

    Source: recipe of the values quoted from the data of arXiv 2411.04427; Owen 2007 for the two-way bootstrap.
    """
    lab = lab_of_srgb(rgb)
    cells = _cells(lab, person, word, run=block)
    grid = _Grid.of(cells)
    g_e, g_i = grid.by_word(np.ones((1, len(cells.personas))))
    there = (np.isfinite(g_e) & (np.nan_to_num(g_i) > 0))[0]
    if not there.any():
        raise ZeroVarianceError("no word has both a repeated colour and two people who differ")
    word_icc = 1 - g_e[0, there] / g_i[0, there]
    icc = _icc_interval(grid, there, 1 - float(g_e[0, there].sum() / g_i[0, there].sum()), cells, seed, draws)
    same, internal = _twice(lab, person, word)
    low, middle, high = (float(x) for x in np.quantile(word_icc, [0.1, 0.5, 0.9]))
    return ColourShares(
        icc_within=icc,
        rho=_inverted(icc),
        tau=float(spreads(cells).tau),
        by_word=(low, middle, high),
        half_noise=float((word_icc <= 0.5).mean()),
        same_again=same,
        internal=internal,
        population=_between_people(lab, person, word),
        people=len(cells.personas),
        words=int(there.sum()),
        unscored=cells.unscored,
    )


def person_shares(y: ArrayLike, person: ArrayLike, item: ArrayLike) -> PersonShares:
    """Person, item and rest as shares of the variance of ratings.

    Args:
        y: (n,) ratings; NaN is unscored.
        person: (n,) who rated.
        item: (n,) what.

    Raises:
        TooFewPersonasError, TooFewItemsError: If there are fewer than two of either.
        ZeroVarianceError: If all ratings are equal.
    """
    cells = _cells(check_shape("y", y, "n"), person, item)
    whole = spreads(cells)
    if not whole.neither > 0:
        raise ZeroVarianceError("all ratings are equal")
    shares = [
        interval(cells, quantity)
        for quantity in (
            lambda g: 1 - g.persona / g.neither,
            lambda g: 1 - g.item / g.neither,
            lambda g: (g.persona + g.item - g.neither) / g.neither,
            lambda g: g.tau,
        )
    ]
    n = float(cells.n.sum())
    variance = float(cells.square.sum() / (n - 1))  # cells are sums of answers less their mean
    size = np.bincount(cells.persona, cells.n)
    pairs = size * (size - 1)
    if not pairs.any():
        raise TooFewItemsError("nobody rated two items", expected="people with two ratings or more")
    by_person, by_item = (_covariance(cells, code) / variance for code in (cells.persona, cells.item))
    return PersonShares(
        person=shares[0],
        item=shares[1],
        rest=shares[2],
        within=shares[3],
        covariance_person=by_person,
        covariance_item=by_item,
        covariance_within=by_person / (1 - by_item),
        people=len(cells.personas),
        items=len(cells.items),
        heaviest=float(pairs.max() / pairs.sum()),
    )


def split_half(
    answers: Sequence[ArrayLike], *, low: float, high: float, bins: int, seed: int = 0, splits: int = SPLITS
) -> SplitHalf:
    """How far two random halves of the people who answered an item are apart.

    Args:
        answers: For each item the (n_i,) answers it got; values beyond ``low`` and ``high`` fall into the end bins.
        low: Lower end of the scale.
        high: Upper end.
        bins: Equal bins for the Jensen-Shannon divergence.
        seed: Seed of the splits.
        splits: Random splits an item.

    Raises:
        NotFiniteError: If an answer is not finite.
        TooFewSamplesError: If no item has two answers.
    """
    edges = np.linspace(low, high, bins + 1)[1:-1]
    rng = np.random.default_rng(seed)
    rows, raters = [], []
    for given in answers:
        x = check_shape("answers", given, "n")
        if not np.isfinite(x).all():
            raise NotFiniteError("an answer is not finite", where="answers")
        half = len(x) // 2
        if not half:
            continue
        shuffled = rng.permuted(np.tile(x, (splits, 1)), axis=1)
        one, other = shuffled[:, :half], shuffled[:, half : 2 * half]
        h, h2 = ((np.digitize(side, edges)[..., None] == np.arange(bins)).sum(axis=1) / half for side in (one, other))
        gap = np.abs(np.sort(one, axis=1) - np.sort(other, axis=1)).mean()
        rows.append((jsd(h, h2).mean(), gap, wasserstein(h, h2, step=(high - low) / bins).mean()))
        raters.append(len(x))
    if not rows:
        raise TooFewSamplesError("no item has two answers")
    divergence, raw, binned = (bootstrap_mean(x, np.arange(len(x)), seed=seed) for x in np.array(rows).T)
    return SplitHalf(divergence, raw, binned, len(rows), float(np.mean(raters)))


def _cells(y: FloatArray, person: ArrayLike, item: ArrayLike, *, run: ArrayLike | None = None) -> Cells:
    """As ``collect``, but people and items may fall into blocks."""
    answers = scored_answers(y, {"person": person, "item": item}, run=run, run_variance=None)
    people, p = np.unique(answers.labels["person"], return_inverse=True)
    items, i = np.unique(answers.labels["item"], return_inverse=True)
    if len(people) < 2 or len(items) < 2:
        raise (TooFewPersonasError if len(people) < 2 else TooFewItemsError)(
            "person shares need two people and two items", found=f"{len(people)} people and {len(items)} items"
        )
    cell, inverse, counts = np.unique(p * len(items) + i, return_inverse=True, return_counts=True)
    total, square, _ = cell_sums(answers, inverse, counts)
    n = counts.astype(np.float64)
    return Cells(cell // len(items), cell % len(items), n, total, square, None, people, items, answers.unscored)


def _covariance(cells: Cells, code: NDArray[Any]) -> float:
    """Mean product of two deviations over the ordered pairs of answers of each group."""
    total = np.bincount(code, cells.total[:, 0])
    size = np.bincount(code, cells.n)
    pairs = float((size * (size - 1)).sum())
    return float(((total**2).sum() - cells.square.sum()) / pairs) if pairs else 0.0


class _Grid(NamedTuple):
    """Cell sums laid out as people by words: n, Σ‖y‖², Σy (last axis) and the pair sum of each cell."""

    n: FloatArray
    square: FloatArray
    total: FloatArray
    own: FloatArray

    @classmethod
    def of(cls, cells: Cells) -> _Grid:
        shape = (len(cells.personas), len(cells.items))
        grids = [np.zeros(shape), np.zeros(shape), np.zeros((*shape, cells.total.shape[1])), np.zeros(shape)]
        own = pair_sums(cells.n, cells.square, cells.total)[0]
        for grid, values in zip(grids, (cells.n, cells.square, cells.total, own), strict=True):
            grid[cells.persona, cells.item] = values
        return cls(*grids)

    def by_word(self, w: FloatArray) -> tuple[FloatArray, FloatArray]:
        """G_e and G_i of each word under weights w (B, P) of people, copies of one person left out of G_i: (B, W)."""
        w2, size = w**2, w @ self.n
        apart = size * (w @ self.square) - (np.tensordot(w, self.total, axes=(1, 0)) ** 2).sum(axis=2) - w2 @ self.own
        return _over(w @ self.own, w @ (self.n * (self.n - 1))), _over(apart, size**2 - w2 @ self.n**2)


def _over(top: FloatArray, bottom: FloatArray) -> FloatArray:
    """top/bottom, NaN where no pair is counted."""
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0.5))


def _icc_interval(
    grid: _Grid, there: NDArray[np.bool_], value: float, cells: Cells, seed: int, draws: int
) -> Estimate:
    p, words = len(cells.personas), np.nonzero(there)[0]
    rng, drawn = np.random.default_rng(seed), []
    for start in range(0, draws, _DRAWS_AT_ONCE):
        b = min(_DRAWS_AT_ONCE, draws - start)
        w = rng.multinomial(p, np.full(p, 1 / p), size=b).astype(np.float64)
        v = rng.multinomial(len(words), np.full(len(words), 1 / len(words)), size=b)
        g_e, g_i = (g[:, words] for g in grid.by_word(w))
        v = np.where(np.isfinite(g_e) & np.isfinite(g_i), v, 0)
        drawn.append(1 - (v * np.nan_to_num(g_e)).sum(axis=1) / (v * np.nan_to_num(g_i)).sum(axis=1))
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5])
    return Estimate(value, float(low), float(high), p, cells.unscored)


def _inverted(icc: Estimate) -> Estimate:
    """ρ of an ICC; a share at or below 0 is a ρ of infinity."""

    def rho(share: float) -> float:
        return (1 - share) / share if share > 0 else float("inf")

    if icc.low is None or icc.high is None:
        return icc._replace(value=rho(icc.value))
    return icc._replace(value=rho(icc.value), low=rho(icc.high), high=rho(icc.low))


def _word_means(values: FloatArray, word: NDArray[Any]) -> float:
    code = np.unique(word, return_inverse=True)[1]
    return float((np.bincount(code, values) / np.bincount(code)).mean())


def _twice(lab: FloatArray, person: ArrayLike, word: ArrayLike) -> tuple[float, float]:
    """Share of (person, word) pairs with the same colour twice, and mean ΔE of the two, mean over words."""
    scored = ~np.isnan(lab).any(axis=1)
    who, what, x = np.asarray(person)[scored], np.asarray(word)[scored], lab[scored]
    check_same_length(rgb=lab, person=np.asarray(person), word=np.asarray(word))
    p, i = (np.unique(label, return_inverse=True)[1] for label in (who, what))
    order = np.lexsort((i, p))
    again = np.nonzero((np.diff(p[order]) == 0) & (np.diff(i[order]) == 0))[0]
    if not len(again):
        raise GaugeError("nobody was asked twice", where="block", expected="two colours of a person for a word")
    gap = np.sqrt(((x[order[again]] - x[order[again + 1]]) ** 2).sum(axis=1))
    return float((gap == 0).mean()), _word_means(gap, i[order[again]])


def _between_people(lab: FloatArray, person: ArrayLike, word: ArrayLike) -> float:
    """Mean ΔE over pairs of answers of different people to one word, mean over words."""
    scored = ~np.isnan(lab).any(axis=1)
    who, what, x = np.asarray(person)[scored], np.asarray(word)[scored], lab[scored]
    means = []
    for label in np.unique(what):
        mine = what == label
        apart = who[mine][:, None] != who[mine][None]
        if apart.any():
            means.append(float(cdist(x[mine], x[mine])[apart].mean()))
    return float(np.mean(means))
