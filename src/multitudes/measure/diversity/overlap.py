"""What the texts of a bag have in common: shared n-grams, and one table of all scores of overlap.

Every score is a function of one bag. Random noise maximises the diversity that all of them report: read them beside
a validity number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.diversity.bleu import pair_bleu, self_bleu
from multitudes.measure.diversity.facts import ScoreFacts
from multitudes.measure.diversity.ngrams import code_words, grams_by_order, held_by_order
from multitudes.measure.diversity.rouge import rouge_l
from multitudes.measure.diversity.tokenisers import spoken, spoken_tokens

FloatArray = NDArray[np.float64]

REPEATED = 4  # words of the n-grams whose repetition is counted
DIVERSITY_ORDERS = 4


def self_repetition(bag: Sequence[Sequence[str]]) -> float:
    """Mean over texts of ln(1 + Σ (df - 1)) over the different 4-grams of the text; df: texts that hold the 4-gram.

    At least 0, lower is more diverse; 0 if no two texts share a 4-gram. Size-sensitive.

    Args:
        bag: Tokenised texts, at least two; empty ones are left out. Published numbers use tokeniser ``split``.

    Raises:
        TooFewSamplesError: With fewer than two texts that are not empty.
        EmptyTextError: If more than a tenth are empty.

    Source: Salkar et al. 2022 (Self-Repetition in Abstractive Neural Summarizers), as in ``diversity`` 0.3.1.
    """
    return float(self_repetition_by_text(bag).mean())


def self_repetition_by_text(bag: Sequence[Sequence[str]]) -> FloatArray:
    """(k,) ln(1 + Σ (df - 1)) of each text that is not empty; see ``self_repetition``."""
    left = spoken_tokens(bag)
    rows = held_by_order(left, REPEATED)[-1]
    return np.log1p(np.bincount(rows.text, rows.per_row(rows.holders - 1), minlength=len(left)))


def ngram_diversity(texts: Sequence[str]) -> float | None:
    """Σ over n = 1..4 of different over all n-grams of the texts joined by spaces; n-grams cross from text to text.

    In (0, 4], higher is more diverse; 4 if nothing repeats. Size-sensitive, strongly. None if all texts together
    have fewer than 4 words. The published form, word by word: split at single spaces, so that a double space is an
    empty word, and unlike the reference not rounded.

    Args:
        texts: At least two texts; empty ones are left out.

    Raises:
        TooFewSamplesError: With fewer than two texts that are not empty.
        EmptyTextError: If more than a tenth are empty.

    Source: Meister et al. 2022 (arXiv 2202.00666), as in ``diversity`` 0.3.1.
    """
    words = code_words([" ".join(_not_empty(texts)).split(" ")])
    if len(words.code) < DIVERSITY_ORDERS:
        return None
    return math.fsum(len(np.unique(gram)) / len(gram) for gram, _ in grams_by_order(words, DIVERSITY_ORDERS))


def _not_empty(texts: Sequence[str]) -> list[str]:
    return [texts[k] for k in spoken(texts)]


OVERLAP: dict[str, ScoreFacts] = {
    "rouge_l": ScoreFacts(rouge_l, "tokens", "lower", 0.0, 1.0, 0.0, size_sensitive=False),
    "self_bleu": ScoreFacts(self_bleu, "tokens", "lower", 0.0, 1.0, 0.0, size_sensitive=True),
    "pair_bleu": ScoreFacts(pair_bleu, "tokens", "lower", 0.0, 1.0, 0.0, size_sensitive=True),
    "self_repetition": ScoreFacts(self_repetition, "tokens", "lower", 0.0, math.inf, 0.0, size_sensitive=True),
    "ngram_diversity": ScoreFacts(ngram_diversity, "texts", "higher", 0.0, 4.0, 4.0, size_sensitive=True),
}
