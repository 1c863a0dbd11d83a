"""The validity gate for prose where there is no judge: rules in place of V, embeddings in place of S.

It finds what is broken or nearly copied and never speaks of meaning, so every result is stamped ``proxy``.

Source: own definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_range, check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.diversity.lexical import check_unit_vectors, tokenise
from multitudes.measure.errors import TooFewSamplesError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

LENGTHS = (0.2, 5.0)  # times the reference's median length
DISTINCT_GRAMS = 0.5  # different 4-grams over all 4-grams of a text
OFF_TOPIC = 5.0  # percentile of the reference's cosine to its prompt
PARAPHRASES_APART = 5.0  # per cent of paraphrase pairs that may be called different

MIN_REFERENCE = 20  # a 5th percentile of fewer is their minimum
PROXY: Literal["proxy"] = "proxy"


class Reference(NamedTuple):
    """What good texts of this domain look like.

    Attributes:
        length: Median number of words.
        cosine: 5th percentile of the cosine of a text to its prompt.
        texts: Number of reference texts.
        encoder: Name of the encoder; texts of another are refused.
    """

    length: float
    cosine: float
    texts: int
    encoder: str


class ProxyVerdicts(NamedTuple):
    """Proxy verdicts on n texts.

    Attributes:
        valid: (n,) passed every rule.
        reasons: (n,) the rules that a text broke, joined by "; "; empty if none.
        stamp: ``proxy``, to be printed with every number that rests on this.
    """

    valid: BoolArray
    reasons: tuple[str, ...]
    stamp: Literal["proxy"]


class Threshold(NamedTuple):
    """From which cosine on two texts count as one class; see ``calibrate_threshold``."""

    tau: float
    paraphrases: int
    encoder: str
    stamp: Literal["proxy"]


def fit_reference(texts: Sequence[str], cosines: ArrayLike, *, encoder: str) -> Reference:
    """What the proxy gate compares with: texts known to be good, such as those of people.

    Args:
        texts: Reference texts of the domain.
        cosines: (n,) cosine of each to its own prompt.
        encoder: Name of the encoder behind the cosines.

    Raises:
        TooFewSamplesError: Fewer than 20 texts: a 5th percentile of fewer is their minimum.
        GaugeError: A cosine outside [-1, 1], or texts without a word.
    """
    values = _cosines("cosines", cosines)
    n = check_same_length(texts=texts, cosines=values)
    if n < MIN_REFERENCE:
        raise TooFewSamplesError(
            "too few reference texts", where="texts", found=str(n), expected=f">= {MIN_REFERENCE}"
        )
    length = float(np.median([len(tokenise(text)) for text in texts]))
    if not length:
        raise GaugeError("most reference texts hold no word", where="texts")
    return Reference(length, float(np.percentile(values, OFF_TOPIC)), n, encoder)


def proxy_gate(
    texts: Sequence[str],
    cosines: ArrayLike,
    reference: Reference,
    *,
    encoder: str,
    wrong_language: Callable[[str], bool],
    assistant_voice: Callable[[str], bool],
) -> ProxyVerdicts:
    """V without a judge: five rules, each of which a text may break.

    Args:
        texts: (n,) texts.
        cosines: (n,) cosine of each to its prompt.
        reference: Of the same domain.
        encoder: Name of the encoder behind ``cosines``.
        wrong_language: Whether a text is in another language than it should be, such as ``syntax.not_english``.
        assistant_voice: Whether a text refuses or speaks as the Assistant, such as ``simulate.voice.voice_hits``.

    Returns:
        The verdicts. Length is counted in words and must lie in [0.2, 5] times the reference's median; of a text's
        4-grams of words at least half must be different (a text of fewer words has none to repeat).

    Raises:
        GaugeError: Lengths that differ, a cosine outside [-1, 1], or another encoder than the reference's.
    """
    values = _cosines("cosines", cosines)
    check_same_length(texts=texts, cosines=values)
    _one_encoder(reference.encoder, encoder)
    reasons = []
    for text, cosine in zip(texts, values, strict=True):
        words = tokenise(text)
        low, high = (bound * reference.length for bound in LENGTHS)
        rules = (
            ("empty", not words),
            ("wrong language", bool(wrong_language(text))),
            ("too short", bool(words) and len(words) < low),
            ("too long", len(words) > high),
            ("repeats itself", unique_gram_share(words) < DISTINCT_GRAMS),
            ("assistant voice", bool(assistant_voice(text))),
            ("off the prompt", bool(cosine < reference.cosine)),
        )
        reasons.append("; ".join(name for name, broken in rules if broken))
    return ProxyVerdicts(np.array([not reason for reason in reasons], dtype=np.bool_), tuple(reasons), PROXY)


def unique_gram_share(words: Sequence[str], n: int = 4) -> float:
    """Different over all n-grams of one text, in (0, 1]; 1 for fewer than n words.

    >>> unique_gram_share("so it goes and so it goes and so it goes".split())
    0.5
    """
    grams = list(zip(*(words[k:] for k in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0


def calibrate_threshold(cosines: ArrayLike, *, encoder: str) -> Threshold:
    """The largest τ that calls at most 5 % of paraphrase pairs different (cosine < τ).

    Args:
        cosines: (p,) cosine of the two texts of each pair that people wrote to mean the same.
        encoder: Name of the encoder behind them.

    Raises:
        TooFewSamplesError: Fewer than 20 pairs: 5 % of fewer is none.
        GaugeError: A cosine outside [-1, 1].
    """
    values = np.sort(_cosines("cosines", cosines))
    if len(values) < MIN_REFERENCE:
        found = str(len(values))
        raise TooFewSamplesError(
            "too few paraphrase pairs", where="cosines", found=found, expected=f">= {MIN_REFERENCE}"
        )
    below = int(np.floor(len(values) * PARAPHRASES_APART / 100 + 1e-9))
    return Threshold(float(values[below]), len(values), encoder, PROXY)


def proxy_different(vectors: ArrayLike, threshold: Threshold, *, encoder: str) -> BoolArray:
    """(n, n) True where the cosine of two texts is below τ: their proxy classes differ. The diagonal is False.

    Its mean over all pairs of K texts, invalid ones counted as not different, is the proxy D_pair; for the proxy
    D_fixed hand the valid rows and columns to ``greedy_classes`` and divide by K.

    Args:
        vectors: (n, d) unit vectors.
        threshold: From ``calibrate_threshold``.
        encoder: Name of the encoder behind ``vectors``.

    Raises:
        GaugeError: Vectors that are not of length 1, or another encoder than the threshold's.
    """
    _one_encoder(threshold.encoder, encoder)
    x = check_unit_vectors("vectors", vectors)
    apart: BoolArray = x @ x.T < threshold.tau
    np.fill_diagonal(apart, False)
    return apart & apart.T


def _cosines(name: str, values: ArrayLike) -> FloatArray:
    return check_range(name, check_shape(name, values, "n"), -1 - 1e-6, 1 + 1e-6)


def _one_encoder(fitted: str, used: str) -> None:
    if fitted != used:
        raise GaugeError("cosines of two encoders", where="encoder", found=used, expected=fitted)
