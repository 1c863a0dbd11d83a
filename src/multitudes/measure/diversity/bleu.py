"""BLEU among the texts of one bag, in time that grows with the words and not with the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import GaugeError
from multitudes.measure.diversity.ngrams import held_by_order, most_elsewhere, shared_with_each
from multitudes.measure.diversity.tokenisers import spoken_tokens

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Smoothing = Literal["method1", "exp"]

ORDER = 4
EPSILON = 0.1  # the count that method 1 puts in place of no match


def self_bleu(bag: Sequence[Sequence[str]], *, smoothing: Smoothing = "method1") -> float:
    """Mean over texts of BLEU-4 with all other texts as references.

    In [0, 1], lower is more diverse; 0 if no two texts share a word, 1 for identical texts of at least four words.
    Size-sensitive: more references, more matches.

    Args:
        bag: Tokenised texts, at least two; empty ones are left out.
        smoothing: ``method1`` puts 0.1 for a count of 0 (NLTK); ``exp`` halves once more at each order without a
            match and stops at the length of the text (sacrebleu's sentence BLEU with effective order).

    Raises:
        TooFewSamplesError: With fewer than two texts that are not empty.
        EmptyTextError: If more than a tenth are empty.

    Source: Zhu et al. 2018 (arXiv 1802.01886); Chen & Cherry 2014 for the smoothing.
    """
    return float(self_bleu_by_text(bag, smoothing=smoothing).mean())


def self_bleu_by_text(bag: Sequence[Sequence[str]], *, smoothing: Smoothing = "method1") -> FloatArray:
    """(k,) BLEU-4 of each text that is not empty against all others; see ``self_bleu``."""
    left = spoken_tokens(bag)
    length = np.array([len(tokens) for tokens in left], dtype=np.int64)
    matched = np.stack(
        [
            np.bincount(rows.text, np.minimum(rows.count, most_elsewhere(rows)), minlength=len(left))
            for rows in held_by_order(left, ORDER)
        ]
    )
    return bleu_of_counts(matched, length, smoothing)


def bleu_of_counts(matched: FloatArray, length: IntArray, smoothing: Smoothing) -> FloatArray:
    """(k,) sentence BLEU from clipped matches (4, k) and lengths, each text against all others.

    Raises:
        GaugeError: On an unknown smoothing.
    """
    total = np.maximum(length - np.arange(ORDER)[:, None], 0)
    none = matched == 0
    if smoothing == "method1":
        precision = np.where(none, EPSILON, matched) / np.maximum(total, 1)
        orders = np.full(len(length), ORDER)
    elif smoothing == "exp":
        halved = 0.5 ** np.cumsum(none & (total > 0), axis=0)
        precision = np.where(total > 0, np.where(none, halved, matched) / np.maximum(total, 1), 1.0)
        orders = (total > 0).sum(axis=0)
    else:
        raise GaugeError(f"no smoothing {smoothing!r}", where="smoothing", expected="'method1' or 'exp'")
    score = _brevity(length, closest_other(length)) * np.exp(np.log(precision).sum(axis=0) / orders)
    return np.where(none[0], 0.0, score)


def _brevity(length: FloatArray | IntArray, reference: FloatArray | IntArray) -> FloatArray:
    return np.exp(np.minimum(0.0, 1 - reference / length))


def closest_other(length: IntArray) -> IntArray:
    """(k,) the length among all other texts that is closest to each; the shorter of two that are equally close."""
    known, where, times = np.unique(length, return_inverse=True, return_counts=True)
    far = np.iinfo(np.int64).max // 4
    below = np.concatenate([[-far], known[:-1]])
    above = np.concatenate([known[1:], [far]])
    other = np.where(known - below <= above - known, below, above)
    return np.where(times > 1, known, other)[where]


def pair_bleu(bag: Sequence[Sequence[str]]) -> float:
    """Mean over texts of the corpus BLEU-4 of all other texts, each with that text as its only reference.

    In [0, 1], lower is more diverse; 0 if some text shares no 4-gram with any other, in which case only it counts 0.
    No smoothing. Size-sensitive. For parity with published homogenisation scores only: self-BLEU says more.

    Args:
        bag: Tokenised texts, at least two; empty ones are left out.

    Raises:
        TooFewSamplesError: With fewer than two texts that are not empty.
        EmptyTextError: If more than a tenth are empty.

    Source: the ``bleu`` measure of arXiv 2403.00553's package; matches of all pairs by
    Σ_j min(c_j, c_i) over the counts of each n-gram.
    """
    left = spoken_tokens(bag)
    length = np.array([len(tokens) for tokens in left], dtype=np.int64)
    log_precision = np.zeros(len(left))
    possible = np.ones(len(left), dtype=bool)
    for n, rows in enumerate(held_by_order(left, ORDER), start=1):
        text, shared = shared_with_each(rows)
        matched = np.bincount(text, shared, minlength=len(left))
        grams = np.maximum(length - n + 1, 0)
        possible &= matched > 0
        log_precision += np.log(np.where(possible, matched, 1.0) / np.maximum(grams.sum() - grams, 1))
    brevity = _brevity(length.sum() - length, (len(left) - 1) * length)
    return float(np.where(possible, brevity * np.exp(log_precision / ORDER), 0.0).mean())
