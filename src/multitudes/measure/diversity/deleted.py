"""Scores of a bag together with the same score without each of its texts, which is what a jackknife needs.

All but the nearest neighbours cost hardly more than the score itself. Of very large bags random pairs (ROUGE-L) or
random texts (Chamfer) are looked at, so that the cost stays near-linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from multitudes.measure.diversity.lexical import check_unit_vectors
from multitudes.measure.diversity.overlap import (
    Bag,
    Pair,
    as_characters,
    refuse_fewer_than_two,
    similar,
    similar_pairs,
)
from multitudes.measure.diversity.spread import remote_clique
from multitudes.measure.errors import TooFewSamplesError
from multitudes.measure.stats import sum_by

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PAIRED = 1_000  # texts of which every pair is looked at
DRAWN = 500_000  # random pairs of more: Hoeffding's half width at 95 % is .002
QUERIES = 2_000  # texts whose nearest other is looked for
_ROWS = 512


class Deleted(NamedTuple):
    """A score of a bag, and (n,) of the bag without each text; NaN where fewer than two texts remain."""

    mean: float
    without: FloatArray


def rouge_l_deleted(bag: Bag, *, quote: int = 0, seed: int = 0) -> tuple[Deleted, list[Pair]]:
    """Mean ROUGE-L over pairs, as ``overlap.rouge_l``, and the ``quote`` most alike pairs.

    In [0, 1], lower is more diverse, 1 for identical texts. Of more than 1,000 texts 500,000 random pairs are looked
    at. Of equally alike pairs the longer texts come first: that two people say "Thanks." says little.

    Args:
        bag: Tokenised texts, at least two.
        quote: Pairs to return, the most alike first; pairs without a common word are none.
        seed: Of the random pairs.

    Raises:
        TooFewSamplesError: With fewer than two texts.
        MissingExtra: rapidfuzz is not installed.
    """
    refuse_fewer_than_two(bag)
    texts, n = as_characters(bag), len(bag)
    first, second = _pairs(n, seed)
    if n <= PAIRED:
        values = similar(texts, texts)[first, second]
    else:
        values = similar_pairs([texts[i] for i in first], [texts[j] for j in second])
    total, of_text = float(values.sum()), sum_by(first, values, n) + sum_by(second, values, n)
    rest = len(values) - np.bincount(first, minlength=n) - np.bincount(second, minlength=n)
    without = np.divide(total - of_text, rest, out=np.full(n, np.nan), where=rest > 0)
    found = Deleted(total / len(values), without)
    if not quote:
        return found, []
    lengths = np.array([len(text) for text in texts])
    best = np.lexsort((second, first, -np.minimum(lengths[first], lengths[second]), -values))[:quote]
    pairs = [Pair(int(first[p]), int(second[p]), float(values[p])) for p in best if values[p] > 0]
    return found, pairs


def _pairs(n: int, seed: int) -> tuple[IntArray, IntArray]:
    """All pairs i < j, or random ones of many texts."""
    if n <= PAIRED:
        first, second = np.triu_indices(n, 1)
        return first.astype(np.int64), second.astype(np.int64)
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n, DRAWN)
    other = (first + rng.integers(1, n, DRAWN)) % n
    return np.minimum(first, other), np.maximum(first, other)


def self_repetition_deleted(bag: Bag) -> Deleted:
    """Self-repetition, as ``overlap.self_repetition``: >= 0, lower is more diverse, 0 without a shared 4-gram.

    Without text j every other text i loses the 4-grams that it shares with j from its sum, so only pairs of texts
    with a common 4-gram are visited.

    Raises:
        TooFewSamplesError: With fewer than two texts.
    """
    refuse_fewer_than_two(bag)
    n = len(bag)
    holds = _incidence(bag)
    shared = np.asarray(holds @ (np.asarray(holds.sum(axis=0)).ravel() - 1)).ravel()
    each = np.log1p(shared)
    change = np.zeros(n)
    for start in range(0, n, _ROWS):
        common = (holds[start : start + _ROWS] @ holds.T).tocoo()
        i, j = common.row + start, common.col
        i, j, lost = i[i != j], j[i != j], common.data[i != j]
        change += sum_by(j.astype(np.int64), np.log1p(np.maximum(shared[i] - lost, 0.0)) - each[i], n)
    if n < 3:
        return Deleted(float(each.mean()), np.full(n, np.nan))
    return Deleted(float(each.mean()), (each.sum() - each + change) / (n - 1))


def _incidence(bag: Bag) -> csr_matrix:
    """(n, G) 1 where a text holds a 4-gram."""
    index: dict[Sequence[str], int] = {}
    rows, columns = [], []
    for i, text in enumerate(bag):
        for gram in set(zip(*(text[k:] for k in range(4)), strict=False)):
            rows.append(i)
            columns.append(index.setdefault(gram, len(index)))
    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(bag), max(len(index), 1)))


def remote_clique_deleted(vectors: ArrayLike) -> Deleted:
    """Remote clique, as ``spread.remote_clique``: in [0, 1], higher is more diverse, 0 for identical texts."""
    x = check_unit_vectors("vectors", vectors)
    value, n = remote_clique(x), len(x)
    if n < 3:
        return Deleted(value, np.full(n, np.nan))
    rest = x.sum(axis=0) - x
    return Deleted(value, np.maximum(1.0 - (rest**2).sum(axis=1) / (n - 1) ** 2, 0.0))


def chamfer_deleted(vectors: ArrayLike, *, seed: int = 0) -> Deleted:
    """Chamfer distance, as ``spread.chamfer``: in [0, 2], higher is more diverse, 0 where each text has a copy.

    Of more than 2,000 texts, the nearest others of 2,000 random ones are averaged.
    """
    x = check_unit_vectors("vectors", vectors)
    n = len(x)
    if n < 2:
        raise TooFewSamplesError("too few samples: spread needs two vectors", found=str(n), expected=">= 2")
    asked = np.arange(n) if n <= QUERIES else np.random.default_rng(seed).choice(n, QUERIES, replace=False)
    near, next_near, nearest = np.empty(len(asked)), np.empty(len(asked)), np.empty(len(asked), dtype=np.int64)
    for start in range(0, len(asked), _ROWS):
        part = asked[start : start + _ROWS]
        rows, here = np.arange(len(part)), slice(start, start + len(part))
        product = x[part] @ x.T
        product[rows, part] = -np.inf
        nearest[here] = product.argmax(axis=1)
        near[here] = product[rows, nearest[here]]
        product[rows, nearest[here]] = -np.inf
        next_near[here] = product.max(axis=1)
    near, next_near = np.maximum(1.0 - near, 0.0), np.maximum(1.0 - next_near, 0.0)
    mean = float(near.mean())
    if n < 3:
        return Deleted(mean, np.full(n, np.nan))
    own, is_asked = np.zeros(n), np.zeros(n)
    own[asked], is_asked[asked] = near, 1.0
    total = near.sum() - own + sum_by(nearest, next_near - near, n)
    return Deleted(mean, total / (len(asked) - is_asked))
