"""How much texts repeat each other: longest common subsequences, n-gram precision, shared n-grams.

Every score is a function of one bag of tokenised texts, in time that is linear in its n-grams (ROUGE-L: quadratic in
texts, bit-parallel in words). None says that texts are good: random noise repeats nothing.

| score | range | more diverse | nothing shared | all identical | depends on size |
|---|---|---|---|---|---|
| ``rouge_l`` | [0, 1] | lower | 0 | 1 | hardly |
| ``self_bleu`` | [0, 1] | lower | 0 | 1 (4 tokens or more) | yes: more texts, more matches |
| ``pair_bleu`` | [0, 1] | lower | 0 | 1 | hardly |
| ``self_repetition`` | >= 0 | lower | 0 | ln(1 + unique 4-grams x (n - 1)) | yes |
| ``ngram_diversity`` | (0, 4] | higher | 4 | falls with n | yes |
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import MissingExtra
from multitudes.measure.errors import TooFewSamplesError

FloatArray = NDArray[np.float64]
Bag = Sequence[Sequence[str]]

ORDERS = (1, 2, 3, 4)
BLOCK = 512  # rows of the pair table held at a time
EPSILON = 0.1  # stands for no match at all (method 1)
_SURROGATES = range(0xD800, 0xE000)


class Overlap(NamedTuple):
    """A mean over texts, and each text's own value (n,)."""

    mean: float
    each: FloatArray


class Pair(NamedTuple):
    """Two texts of a bag by their places, and how alike they are."""

    first: int
    second: int
    rouge_l: float


def refuse_fewer_than_two(bag: Bag) -> None:
    """Every score here is about two texts at least.

    Raises:
        TooFewSamplesError: With fewer.
    """
    if len(bag) < 2:
        raise TooFewSamplesError(
            "too few samples: diversity needs at least two texts in a bag", found=str(len(bag)), expected=">= 2"
        )


def as_characters(bag: Bag) -> list[str]:
    """Every distinct word as one character, so that a library for strings compares words."""
    index: dict[str, str] = {}
    for text in bag:
        for word in text:
            if word not in index:
                code = len(index) + 1
                index[word] = chr(code if code < _SURROGATES.start else code + len(_SURROGATES))
    return ["".join(index[word] for word in text) for text in bag]


def similar(first: Sequence[str], second: Sequence[str]) -> FloatArray:
    """2 LCS / (l_i + l_j) of every text of ``first`` with every one of ``second``; 0 where both are empty.

    Args:
        first: Texts whose characters stand for words, see ``as_characters``.
        second: The same.

    Raises:
        MissingExtra: rapidfuzz is not installed.
    """
    try:
        from rapidfuzz.distance import LCSseq
        from rapidfuzz.process import cdist
    except ImportError as error:
        raise MissingExtra("measure", "longest common subsequences") from error
    common = np.asarray(cdist(first, second, scorer=LCSseq.similarity, dtype=np.int32), dtype=np.float64)
    lengths = np.add.outer([len(t) for t in first], [len(t) for t in second]).astype(np.float64)
    return np.asarray(np.divide(2 * common, lengths, out=np.zeros_like(common), where=lengths > 0))


def similar_pairs(first: Sequence[str], second: Sequence[str]) -> FloatArray:
    """(p,) the same of each text of ``first`` with the one at its place in ``second``.

    Raises:
        MissingExtra: rapidfuzz is not installed.
    """
    try:
        from rapidfuzz.distance import LCSseq
        from rapidfuzz.process import cpdist
    except ImportError as error:
        raise MissingExtra("measure", "longest common subsequences") from error
    common = np.asarray(cpdist(first, second, scorer=LCSseq.similarity, dtype=np.int32), dtype=np.float64)
    lengths = np.array([len(a) + len(b) for a, b in zip(first, second, strict=True)], dtype=np.float64)
    return np.asarray(np.divide(2 * common, lengths, out=np.zeros_like(common), where=lengths > 0))


def rouge_l(bag: Bag) -> Overlap:
    """Mean ROUGE-L F1 over ordered pairs of texts: 2 LCS / (l_i + l_j) in words.

    Needs the extra ``measure``. A pair without a shared word counts 0. (A reference implementation of this
    homogenisation score returns 1 where no pair of the whole bag shares a word; that is a bug and not followed.)

    Args:
        bag: Tokenised texts, at least two.

    Raises:
        TooFewSamplesError: With fewer than two texts.

    Source: Lin 2004 for ROUGE-L; Padmakumar & He 2023 (arXiv 2309.05196) for its mean as homogenisation.
    """
    refuse_fewer_than_two(bag)
    texts = as_characters(bag)
    n = len(texts)
    sums = np.zeros(n)
    for start in range(0, n, BLOCK):
        rows = texts[start : start + BLOCK]
        table = similar(rows, texts[start:])
        inside = np.triu_indices(len(rows))
        own = table[:, : len(rows)].copy()
        own[inside] = np.triu(own)[inside]
        np.fill_diagonal(own, 0.0)
        sums[start : start + len(rows)] += own.sum(axis=1) + table[:, len(rows) :].sum(axis=1)
        sums[start + len(rows) :] += table[:, len(rows) :].sum(axis=0)
    each = sums / (n - 1)
    return Overlap(float(each.mean()), each)


def most_alike(bag: Bag, k: int = 5) -> list[Pair]:
    """The ``k`` most alike pairs of texts by ROUGE-L, the most alike first; ties by place."""
    refuse_fewer_than_two(bag)
    texts = as_characters(bag)
    best: list[Pair] = []
    for start in range(0, len(texts), BLOCK):
        rows = texts[start : start + BLOCK]
        table = np.triu(similar(rows, texts[start:]), 1)
        flat = table.ravel()
        top = np.argsort(-flat, kind="stable")[:k]
        best += [Pair(start + int(j) // table.shape[1], start + int(j) % table.shape[1], float(flat[j])) for j in top]
    found = sorted(best, key=lambda p: (-p.rouge_l, p.first, p.second))[:k]
    return [p for p in found if p.first != p.second]


def _grams(text: Sequence[str], n: int) -> Counter[Any]:
    return Counter(zip(*(text[k:] for k in range(n)), strict=False))


class _Largest(NamedTuple):
    """Largest count of an n-gram in one text, that text, and the largest count in any other text."""

    most: int
    owner: int
    second: int


def _largest(counts: Sequence[Counter[Any]]) -> dict[Any, _Largest]:
    found: dict[Any, _Largest] = {}
    for i, grams in enumerate(counts):
        for gram, c in grams.items():
            known = found.get(gram)
            if known is None:
                found[gram] = _Largest(c, i, 0)
            elif c > known.most:
                found[gram] = _Largest(c, i, known.most)
            elif c > known.second:
                found[gram] = known._replace(second=c)
    return found


def _closest_lengths(lengths: Sequence[int]) -> list[int]:
    """For each text the nearest length among the others; the shorter of two equally near ones."""
    times = Counter(lengths)
    distinct = sorted(times)
    out = []
    for length in lengths:
        at = bisect_left(distinct, length)
        if times[length] > 1:
            out.append(length)
            continue
        near = [distinct[j] for j in (at - 1, at + 1) if 0 <= j < len(distinct)]
        out.append(min(near, key=lambda other: (abs(other - length), other)))
    return out


def self_bleu(bag: Bag, *, smoothing: Literal["epsilon", "exponential"] = "epsilon") -> Overlap:
    """Mean BLEU-4 of each text against all others as references.

    Clipped counts come from the largest count of every n-gram in the bag and the largest outside its owner, so the
    whole bag costs one pass per order instead of one per pair.

    Args:
        bag: Tokenised texts, at least two.
        smoothing: ``epsilon`` counts no match as 0.1 (Chen & Cherry's method 1; texts shorter than n count as one
            n-gram without match); ``exponential`` halves it each time and leaves out orders a text is too short for.

    Raises:
        TooFewSamplesError: With fewer than two texts.

    Source: Zhu et al. 2018 (Texygen) for self-BLEU; Papineni et al. 2002 for BLEU; Chen & Cherry 2014.
    """
    refuse_fewer_than_two(bag)
    lengths = [len(text) for text in bag]
    matched, total = np.zeros((4, len(bag))), np.zeros((4, len(bag)))
    for k, n in enumerate(ORDERS):
        counts = [_grams(text, n) for text in bag]
        largest = _largest(counts)
        for i, grams in enumerate(counts):
            total[k, i] = max(lengths[i] - n + 1, 0)
            for gram, c in grams.items():
                most, owner, second = largest[gram]
                matched[k, i] += min(c, second if owner == i else most)
    finish = _epsilon if smoothing == "epsilon" else _exponential
    closest = _closest_lengths(lengths)
    each = np.array([finish(matched[:, i], total[:, i], lengths[i], closest[i]) for i in range(len(bag))])
    return Overlap(float(each.mean()), each)


def _brevity(length: int, reference: int) -> float:
    return 1.0 if length >= reference else math.exp(1 - reference / length) if length else 0.0


def _epsilon(matched: FloatArray, total: FloatArray, length: int, reference: int) -> float:
    if not matched[0]:
        return 0.0
    precision = [(m or EPSILON) / max(t, 1) for m, t in zip(matched, total, strict=True)]
    return _brevity(length, reference) * math.exp(sum(map(math.log, precision)) / len(precision))


def _exponential(matched: FloatArray, total: FloatArray, length: int, reference: int) -> float:
    if not matched.any():
        return 0.0
    logs, small = [], 1.0
    for m, t in zip(matched, total, strict=True):
        if not t:
            break
        if not m:
            small *= 2
        logs.append(math.log(m / t if m else 1 / (small * t)))
    return _brevity(length, reference) * math.exp(sum(logs) / len(logs))


def pair_bleu(bag: Bag) -> Overlap:
    """Mean corpus BLEU-4 of all other texts against each text as their only reference; no smoothing.

    Σ_j min(c_j, c_i) = Σ_{t ≤ c_i} #{j: c_j ≥ t} - c_i, so no pair is visited.
    """
    refuse_fewer_than_two(bag)
    m = len(bag)
    lengths = np.array([len(text) for text in bag])
    logs = np.zeros(m)
    for n in ORDERS:
        counts = [_grams(text, n) for text in bag]
        at_least: Counter[Any] = Counter()
        for grams in counts:
            at_least.update((gram, t) for gram, c in grams.items() for t in range(1, c + 1))
        shared = np.array(
            [sum(at_least[g, t] for g, c in grams.items() for t in range(1, c + 1)) - sum(grams.values())
             for grams in counts], dtype=np.float64,
        )  # fmt: skip
        size = np.maximum(lengths - n + 1, 0)
        others = (size.sum() - size).astype(np.float64)
        with np.errstate(divide="ignore"):
            logs += np.log(np.divide(shared, others, out=np.zeros(m), where=others > 0)) / len(ORDERS)
    spoken, wanted = lengths.sum() - lengths, (m - 1) * lengths
    brevity = np.array([_brevity(int(s), int(w)) for s, w in zip(spoken, wanted, strict=True)])
    each = brevity * np.exp(logs)
    return Overlap(float(each.mean()), each)


def self_repetition(bag: Bag) -> Overlap:
    """Mean over texts of ln(1 + Σ (df - 1)) over the text's distinct 4-grams; df: texts that hold the 4-gram.

    Source: Salkar et al. 2022 (arXiv 2201.13231).
    """
    refuse_fewer_than_two(bag)
    own = [_grams(text, 4).keys() for text in bag]
    held: Counter[Any] = Counter()
    for grams in own:
        held.update(grams)
    each = np.array([math.log1p(sum(held[g] - 1 for g in grams)) for grams in own])
    return Overlap(float(each.mean()), each)


def ngram_diversity(texts: Sequence[str]) -> float:
    """Σ over n = 1..4 of distinct over all n-grams of the texts joined and split by spaces; n-grams cross texts.

    Source: arXiv 2403.00553.
    """
    refuse_fewer_than_two([[t] for t in texts])
    words = " ".join(texts).split(" ")
    return sum(len(grams) / max(len(words) - n + 1, 1) for n in ORDERS if (grams := _grams(words, n)))
