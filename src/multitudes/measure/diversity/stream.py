"""Diversity of more texts than fit in memory: exact sums where they exist, sampled pairs and sketches with a bound.

| score | how | error |
|---|---|---|
| mean cosine distance, remote clique, Vendi 1 and 2 (linear kernel) | sums Σx and XᵀX | rounding |
| distinct n-grams, self-repetition | 64-bit hashes, one pass per partition | none but for hash collisions |
| distinct n-grams, one pass | HyperLogLog, 2^14 registers | relative standard error .81 % |
| any score of pairs in [0, 1] | random pairs with replacement | Hoeffding and empirical Bernstein |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.measure.diversity.lexical import check_unit_vectors
from multitudes.measure.diversity.spread import effective_number
from multitudes.measure.errors import TooFewSamplesError

FloatArray = NDArray[np.float64]
HashArray = NDArray[np.uint64]
Texts = Sequence[Sequence[str]]

REGISTERS = 14  # bits: 2^14 registers
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_BASE = np.uint64(0x100000001B3)


class StreamedSpread(NamedTuple):
    """Spread of n unit vectors: mean pairwise cosine distance, remote clique, Vendi scores of order 1 and 2."""

    n: int
    cosine: float
    remote_clique: float
    vendi_1: float
    vendi_2: float


class Bounded(NamedTuple):
    """A sampled mean with its half widths at 95 %: Hoeffding's, and the sharper empirical Bernstein's."""

    value: float
    hoeffding: float
    bernstein: float
    pairs: int


def stream_spread(blocks: Iterable[ArrayLike]) -> StreamedSpread:
    """Exact spread of vectors that come in blocks; memory d², whatever n.

    Args:
        blocks: (m, d) unit vectors, float32 or float64; sums are float64.
    """
    n, total, gram = 0, None, None
    for block in blocks:
        x = check_unit_vectors("block", block)
        total = x.sum(axis=0) if total is None else total + x.sum(axis=0)
        gram = x.T @ x if gram is None else gram + x.T @ x
        n += len(x)
    if n < 2 or total is None or gram is None:
        raise TooFewSamplesError("too few samples: spread needs two vectors", found=str(n), expected=">= 2")
    square = float(total @ total)
    trace = float(np.trace(gram))
    values = np.linalg.eigvalsh(gram / n)
    return StreamedSpread(
        n=n,
        cosine=max(0.0, trace / n - (square - trace) / (n * (n - 1))),
        remote_clique=max(0.0, 1.0 - square / n**2),
        vendi_1=effective_number(values, 1.0),
        vendi_2=effective_number(values, 2.0),
    )


def _mixed(x: HashArray) -> HashArray:
    """A bijection of 64 bits that spreads them (splitmix64)."""
    with np.errstate(over="ignore"):
        x = x + _MIX[0]
        x = (x ^ (x >> np.uint64(30))) * _MIX[1]
        x = (x ^ (x >> np.uint64(27))) * _MIX[2]
    return np.asarray(x ^ (x >> np.uint64(31)))


class Words:
    """Hashes of words, the same in every block; a growing table of distinct words is all that is kept."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def ngrams(self, texts: Texts, n: int) -> tuple[HashArray, NDArray[np.int64]]:
        """Hashes of all n-grams of the texts, and the place of the text of each; n-grams do not cross texts."""
        known = self._known
        for text in texts:
            for word in text:
                if word not in known:
                    known[word] = len(known) + 1
        sizes = np.array([len(t) for t in texts], dtype=np.int64)
        ids = np.fromiter((known[w] for t in texts for w in t), dtype=np.uint64, count=int(sizes.sum()))
        words, owner = _mixed(ids), np.repeat(np.arange(len(texts)), sizes)
        if len(words) < n:
            return words[:0], owner[:0]
        m = len(words) - n + 1
        value = np.zeros(m, dtype=np.uint64)
        with np.errstate(over="ignore"):
            for k in range(n):
                value = _mixed(value * _BASE + words[k : k + m])
        whole = owner[:m] == owner[n - 1 :]
        return value[whole], owner[:m][whole]


class Repeats(NamedTuple):
    """Distinct and all n-grams of a corpus, and its self-repetition (mean ln(1 + Σ(df - 1)))."""

    distinct: int
    total: int
    self_repetition: float
    texts: int


def count_repeats(blocks: Callable[[], Iterable[Texts]], n: int = 4, *, partitions: int = 8) -> Repeats:
    """Exact distinct n-grams and self-repetition of a corpus that is read ``partitions`` times.

    Each pass keeps the n-grams of one part of the hash space, so memory is about 24 bytes times all n-grams over
    ``partitions``. Expected collisions are below 0.01 pairs at 4·10⁸ distinct n-grams.

    Args:
        blocks: Gives the blocks of tokenised texts anew on each call.
        n: Length of n-grams.
        partitions: Passes.
    """
    words = Words()
    distinct = total = texts = 0
    shared: FloatArray = np.zeros(0)
    for part in range(partitions):
        hashes, owners, offset = [], [], 0
        for block in blocks():
            h, owner = words.ngrams(block, n)
            mine = h % np.uint64(partitions) == part
            pairs = np.unique(np.stack([h[mine], owner[mine].astype(np.uint64)]), axis=1) if mine.any() else None
            total += int(mine.sum())
            if pairs is not None:
                hashes.append(pairs[0])
                owners.append(pairs[1].astype(np.int64) + offset)
            offset += len(block)
        texts = offset
        if part == 0:
            shared = np.zeros(texts)
        if hashes:
            _, inverse, held = np.unique(np.concatenate(hashes), return_inverse=True, return_counts=True)
            distinct += len(held)
            shared += np.bincount(np.concatenate(owners), (held - 1)[inverse], texts)
    if texts < 2:
        raise TooFewSamplesError("too few samples: repetition needs two texts", found=str(texts), expected=">= 2")
    return Repeats(distinct, total, float(np.log1p(shared).mean()), texts)


class HyperLogLog:
    """Number of distinct hashes in one pass and 16 KiB; relative standard error 1.04/√(2^14) = .81 %.

    Source: Flajolet et al. 2007, with linear counting for small numbers.
    """

    def __init__(self) -> None:
        self._registers = np.zeros(1 << REGISTERS, dtype=np.uint8)

    def add(self, hashes: HashArray) -> None:
        """Count these too."""
        index = (hashes >> np.uint64(64 - REGISTERS)).astype(np.int64)
        rest = (hashes << np.uint64(REGISTERS)) | np.uint64((1 << REGISTERS) - 1)
        # Leading zeros + 1, by the exponent of a float: exact here, as only the leading bit matters and the top 53
        # bits are cut, not rounded.
        top = (rest >> np.uint64(11)).astype(np.float64)
        rank = (54 - np.frexp(np.maximum(top, 0.5))[1]).astype(np.uint8)
        np.maximum.at(self._registers, index, rank)

    @property
    def value(self) -> float:
        """The estimate."""
        m = len(self._registers)
        raw = 0.7213 / (1 + 1.079 / m) * m * m / float(np.exp2(-self._registers.astype(np.float64)).sum())
        empty = int((self._registers == 0).sum())
        return m * math.log(m / empty) if empty and raw <= 2.5 * m else raw


def sampled_pairs(
    n: int, score: Callable[[NDArray[np.int64], NDArray[np.int64]], ArrayLike], *, pairs: int, seed: int,
    level: float = 0.95, block: int = 100_000,
) -> Bounded:  # fmt: skip
    """Mean of a pair score in [0, 1] over all ordered pairs of n texts, from random pairs with replacement.

    Args:
        n: Texts.
        score: From places (m,) and (m,) of two different texts to (m,) scores in [0, 1].
        pairs: M, how many are drawn; ln(2/δ)/(2 ε²) pairs hold an error of ε.
        seed: Seed of the draws.
        level: 1 - δ.
        block: Pairs scored at a time.

    Source: Hoeffding 1963; Maurer & Pontil 2009, theorem 4, for the empirical Bernstein bound.
    """
    if n < 2:
        raise TooFewSamplesError("too few samples: a pair needs two texts", found=str(n), expected=">= 2")
    rng = np.random.default_rng(seed)
    total = square = 0.0
    for size in _parts(pairs, block):
        first = rng.integers(0, n, size)
        second = (first + rng.integers(1, n, size)) % n
        values = np.asarray(score(first, second), dtype=np.float64)
        total += float(values.sum())
        square += float((values**2).sum())
    mean = total / pairs
    variance = max(square / pairs - mean**2, 0.0) * pairs / max(pairs - 1, 1)
    logs = math.log(2 / (1 - level))
    twice = math.log(4 / (1 - level))  # both tails
    return Bounded(
        mean,
        math.sqrt(logs / (2 * pairs)),
        math.sqrt(2 * variance * twice / pairs) + 7 * twice / (3 * max(pairs - 1, 1)),
        pairs,
    )


def _parts(total: int, block: int) -> Iterator[int]:
    for start in range(0, total, block):
        yield min(block, total - start)
