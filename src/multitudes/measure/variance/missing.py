"""Answers that are not there: are they missing because of who was asked, and what if they had been given?

The components use the pairs there are, which is right as long as an answer's absence does not depend on the answer,
given persona and item. A refusal may depend on it. So: test whether refusals follow the persona, and if they do, fill
the missing answers in the four most different ways and believe the least favourable result. That a test finds nothing
is no proof: few refusals have little power. That is why a persona with many of them is reason enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_range, check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.stats import sum_by
from multitudes.measure.variance.components import (
    Cells,
    Spreads,
    add_run_noise,
    group_sums,
    pair_sums,
    share_exactly,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
T = TypeVar("T")

DRAWS = 999
ALPHA = 0.05
MOST_MISSING = 0.10  # a persona with a larger share of missing answers calls for bounds, whatever the test says
UNEVEN = 3.0  # one persona holding this many fair shares of the pairs calls for the cell-weighted variant
_NUMBERS_AT_ONCE = 4_000_000


class RefusalTest(NamedTuple):
    """Whether missing answers follow the persona.

    Attributes:
        p: (1 + draws at least as uneven) / (1 + draws); 1 if nothing is missing.
        personas: (P,) labels.
        rate: (P,) share of each persona's answers that are missing.
        missing: Missing answers.
        asked: All of them.
        bounds_needed: p < .05, or a persona with more than 10 % missing.
    """

    p: float
    personas: NDArray[Any]
    rate: FloatArray
    missing: int
    asked: int
    bounds_needed: bool


def refusal_test(
    missing: ArrayLike, persona: ArrayLike, item: ArrayLike, *, seed: int, draws: int = DRAWS
) -> RefusalTest:
    """Refusal rate by persona, tested by permuting personas within each item.

    Statistic: Σ_p (O_p - E_p)²/E_p, O_p missing answers of a persona, E_p those expected from the items' rates. A
    cell's deviation from its item's rate moves as one, so runs stay together: two refusals of one persona to one item
    are not two witnesses. Exact where every persona was asked an item equally often.

    Args:
        missing: (n,) True where an answer that was asked for is not there.
        persona: (n,) persona labels.
        item: (n,) item labels.
        seed: Seed of the permutations.
        draws: Number of permutations.

    Raises:
        GaugeError: On empty input or lengths that differ.

    Source: own choice; Phipson & Smyth 2010 for the added one.
    """
    gone = np.asarray(missing, dtype=bool)
    who, what = np.asarray(persona), np.asarray(item)
    n = check_same_length(missing=gone, persona=who, item=what)
    if not n:
        raise GaugeError("no answer was asked for", where="missing", found="0 answers")
    personas, p = np.unique(who, return_inverse=True)
    _, i = np.unique(what, return_inverse=True)
    asked = np.bincount(p)
    rate = sum_by(p, gone.astype(float)) / asked
    expected_answer = (sum_by(i, gone.astype(float)) / np.bincount(i))[i]
    expected = sum_by(p, expected_answer)
    cell, inverse = np.unique(i * len(personas) + p, return_inverse=True)  # ordered by item
    deviation = sum_by(inverse, gone - expected_answer)
    counted = _refusal_draws(cell % len(personas), cell // len(personas), deviation, expected, seed=seed, draws=draws)
    p_value = (1 + int((counted[1:] >= counted[0] * (1 - 1e-12) - 1e-12).sum())) / (1 + draws)
    needed = bool(p_value < ALPHA or (rate > MOST_MISSING).any())
    return RefusalTest(p_value, personas, rate, int(gone.sum()), n, needed)


def _refusal_draws(
    persona: IntArray, item: IntArray, deviation: FloatArray, expected: FloatArray, *, seed: int, draws: int
) -> FloatArray:
    """The statistic as observed (first), and of each permutation of the cells of an item."""
    weight = np.divide(1.0, expected, out=np.zeros_like(expected), where=expected > 0)
    member = np.zeros((len(persona), len(expected)))
    member[np.arange(len(persona)), persona] = 1.0
    rng = np.random.default_rng(seed)
    block = max(1, _NUMBERS_AT_ONCE // len(persona))
    parts = [(deviation @ member) ** 2 @ weight]
    out = [np.atleast_1d(parts[0])]
    for start in range(0, draws, block):
        keys = item + rng.random((min(block, draws - start), len(item)))  # sorting shuffles within items only
        out.append((deviation[np.argsort(keys, axis=1)] @ member) ** 2 @ weight)
    return np.concatenate(out)


def completions(
    y: ArrayLike, persona: ArrayLike, item: ArrayLike, *, low: float, high: float
) -> dict[str, FloatArray]:
    """Answers with the missing ones filled in the four ways that bound what they could have been.

    Args:
        y: (n,) numbers on a scale; NaN is missing.
        persona: (n,) persona labels.
        item: (n,) item labels.
        low: Scale minimum.
        high: Scale maximum.

    Returns:
        ``minimum``, ``maximum``, ``nearer_extreme`` (the end of the scale nearer to the persona's mean, the maximum
        on a tie) and ``item_mean``. A persona or item without any answer takes the mean of all answers instead.

    Raises:
        GaugeError: On an answer outside the scale, no answers at all, or lengths that differ.
    """
    if not low < high:
        raise GaugeError("the scale has no length", where="low, high", found=f"{low}, {high}", expected="low < high")
    values = check_range("y", check_shape("y", y, "n"), low, high, nan=True)
    who, what = np.asarray(persona), np.asarray(item)
    check_same_length(y=values, persona=who, item=what)
    there = ~np.isnan(values)
    if not there.any():
        raise GaugeError("no answer to fill the missing ones from", where="y", found=f"{len(values)} missing")
    nearer = np.where(_means(values, who, there) >= (low + high) / 2, high, low)
    fillers = {
        "minimum": np.full(len(values), low),
        "maximum": np.full(len(values), high),
        "nearer_extreme": nearer,
        "item_mean": _means(values, what, there),
    }
    return {name: np.where(there, values, filler) for name, filler in fillers.items()}


def _means(values: FloatArray, labels: NDArray[Any], there: NDArray[np.bool_]) -> FloatArray:
    """For each answer the mean of the answers with its label; of all where that label has none."""
    found, code = np.unique(labels, return_inverse=True)
    sums, counts = sum_by(code[there], values[there], len(found)), np.bincount(code[there], minlength=len(found))
    out = np.full(len(found), values[there].mean())
    np.divide(sums, counts, out=out, where=counts > 0)
    return np.asarray(out[code])


def least_favourable(
    read: Callable[[FloatArray], T],
    y: ArrayLike,
    persona: ArrayLike,
    item: ArrayLike,
    *,
    low: float,
    high: float,
    favour: Callable[[T], float],
) -> tuple[str, T, dict[str, T]]:
    """What ``read`` finds in the answers as they are and in the four completions, and the worst of it.

    Args:
        read: Whatever is to be reported, from (n,) answers; NaN in them (as they are) is unscored.
        y: (n,) numbers on a scale; NaN is missing.
        persona: (n,) persona labels.
        item: (n,) item labels.
        low: Scale minimum.
        high: Scale maximum.
        favour: How favourable a result is, such as a lower limit; the smallest is the worst.

    Returns:
        Name of the worst (``observed`` or a name of ``completions``), its result, and all results by name.

    Raises:
        GaugeError: As ``completions``, or if ``favour`` gives NaN.

    >>> who, what = [0, 0, 1, 1], [0, 1, 0, 1]
    >>> least_favourable(np.nanmean, [1.0, 2.0, float("nan"), 3.0], who, what, low=1, high=5, favour=float)[0]
    'minimum'
    """
    answers = {"observed": np.asarray(y, dtype=np.float64), **completions(y, persona, item, low=low, high=high)}
    results = {name: read(values) for name, values in answers.items()}
    ranks = {name: float(favour(result)) for name, result in results.items()}
    undefined = [name for name, rank in ranks.items() if math.isnan(rank)]
    if undefined:
        raise GaugeError("a result that cannot be ranked", where="favour", found=f"NaN for {', '.join(undefined)}")
    worst = min(ranks, key=lambda name: ranks[name])
    return worst, results[worst], results


def persona_weights(cells: Cells) -> Spreads:
    """Share of each persona in the pairs behind each G: fields of shape (P,) that sum to 1, or are NaN without pairs.

    A pair of two personas counts half for each.
    """
    size = len(cells.personas)
    own = sum_by(cells.persona, cells.n, size)
    run = sum_by(cells.persona, cells.n * (cells.n - 1), size)
    persona = own**2 - sum_by(cells.persona, cells.n**2, size)
    of_item = sum_by(cells.item, cells.n, len(cells.items))
    item = sum_by(cells.persona, cells.n * (of_item[cells.item] - cells.n), size)
    neither = own * (own.sum() - own) - item
    if cells.within is not None:  # one distribution a cell: every cell counts once
        run = own
    shares = []
    for pairs in (run, persona, item, neither):
        total = pairs.sum()
        shares.append(pairs / total if total > 0 else np.full(size, np.nan))
    return Spreads(*shares)


def heaviest_persona(cells: Cells) -> tuple[Any, float]:
    """The persona with the largest share in any G, and that share; above 3/P add the cell-weighted variant."""
    shares = np.nan_to_num(np.stack(list(persona_weights(cells)))).max(axis=0)
    return cells.personas[int(shares.argmax())], float(shares.max())


def is_uneven(cells: Cells) -> bool:
    """Whether one persona holds more than 3/P of the pairs behind any G."""
    return heaviest_persona(cells)[1] > UNEVEN / len(cells.personas)


def cell_weighted_spreads(cells: Cells) -> Spreads:
    """G's in which every two cells count once, however often each was asked: pairs are averaged within cells first.

    The mean of ½‖y - y'‖² over the pairs of two cells is (q + q')/2 - m·m', with q a cell's mean of ‖y‖² and m its
    mean; G_e is the mean over the cells that were asked again. Unbiased like the pair-weighted G's, noisier when
    cells are merely unequal, steadier when one persona answered far more than others.
    """
    once = cells._replace(
        n=np.ones(len(cells.n)), total=cells.total / cells.n[:, None], square=cells.square / cells.n
    )
    groups = (
        group_sums(once, once.persona, len(cells.personas)),
        group_sums(once, once.item, len(cells.items)),
        group_sums(once, np.zeros_like(once.item), 1),
    )
    spread, _ = pair_sums(cells.n, cells.square, cells.total)
    inside = float((spread / cells.n**2).sum())  # what pairing a cell with itself adds to each sum below
    sums = [np.array([(n * q - (s**2).sum(axis=-1)).sum(), (n**2).sum()]) for n, q, s in groups]
    found = share_exactly((inside, float(len(cells.n))), *sums)
    if cells.within is not None:
        return add_run_noise(found, float(cells.within.mean()))
    again = cells.n > 1
    run = (spread[again] / (cells.n[again] * (cells.n[again] - 1))).mean() if again.any() else math.nan
    return found._replace(run=float(run))
