"""Is a text any good, and does it say something another does not? The validity gate for prose.

With a judge: V comes from a rubric that the caller fixed beforehand, S from a judge of pairs, "would a reader of the
first learn something materially new from the second?", asked in both orders. Only two times yes is "different"; a
disagreement between the orders is "same", and counted. The relation is not transitive, so classes are greedy: a text
joins the first class whose first member it is the same as, averaged over orders of the texts.

Without a judge: rules in place of V, embeddings in place of S, every result stamped ``proxy``. It finds what is
broken or nearly copied, and never speaks of meaning.

Source: our reading of the framework of arXiv 2504.12522; comparing with first members as in arXiv 2504.05228; the
proxy rules are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_range, check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.diversity.lexical import check_unit_vectors, tokenise
from multitudes.measure.errors import TooFewSamplesError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Pair = tuple[int, int]
Judge = Callable[[Sequence[tuple[str, str]]], Sequence[bool]]  # (first, second) -> something new in the second?

PAIRS = 15  # random pairs a prompt
ORDERS = 20  # orders of the texts that greedy classes are averaged over
MIN_CALIBRATION = 100  # hand-labelled pairs
MIN_KAPPA = 0.6
LENGTHS = (0.2, 5.0)  # times the reference's median length
DISTINCT_GRAMS = 0.5  # different 4-grams over all 4-grams of a text
OFF_TOPIC = 5.0  # percentile of the reference's cosine to its prompt
PARAPHRASES_APART = 5.0  # per cent of paraphrase pairs that may be called different

UNCALIBRATED = "uncalibrated"
PROXY: Literal["proxy"] = "proxy"


class PairVerdicts(NamedTuple):
    """A judge's verdicts on pairs of texts.

    Attributes:
        different: (p,) both orders said "something new".
        disagree: (p,) the orders disagree; counted as the same.
    """

    different: BoolArray
    disagree: BoolArray


class JudgedPairs(NamedTuple):
    """D_pair of one prompt from random pairs: an incomplete U-statistic, unbiased for that of all pairs.

    Attributes:
        d_pair: Share of the drawn pairs in which both texts are valid and differ, in [0, 1], higher is more diverse.
        pairs: Pairs drawn.
        asked: Pairs of two valid texts among them, the only ones the judge saw.
        disagree: Pairs on which its two orders disagree.
    """

    d_pair: float
    pairs: int
    asked: int
    disagree: int


class JudgedClasses(NamedTuple):
    """D_fixed of one prompt by greedy first-member classes.

    Attributes:
        d_fixed: Mean over the orders of the number of classes, over K; in [0, 1], higher is more diverse;
            size-sensitive.
        asked: Different pairs the judge saw.
        disagree: Pairs on which its two orders disagree.
    """

    d_fixed: float
    asked: int
    disagree: int


class Calibration(NamedTuple):
    """How far a judge agrees with people.

    Attributes:
        kappa: Cohen's κ, at most 1, 0 by chance. None if all labels of both are one and the same.
        agreement: Share of pairs on which both say the same.
        pairs: Hand-labelled pairs.
        stamp: Empty if there are at least 100 pairs and κ >= .6, else ``uncalibrated``.
    """

    kappa: float | None
    agreement: float
    pairs: int
    stamp: str


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


def ask_both_orders(texts: Sequence[str], pairs: Sequence[Pair], judge: Judge) -> PairVerdicts:
    """The judge's verdicts on pairs of texts, in one batch with each pair in both orders.

    Args:
        texts: The texts of one prompt.
        pairs: Indices of the two texts of each pair.
        judge: Takes (first, second) texts and says for each whether the second holds something materially new.

    Raises:
        GaugeError: The judge returned another number of answers, or one that is not True or False.
    """
    if not pairs:
        return PairVerdicts(np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.bool_))
    questions = [(texts[i], texts[j]) for i, j in pairs] + [(texts[j], texts[i]) for i, j in pairs]
    answers = list(judge(questions))
    check_same_length(questions=questions, answers=answers)
    if not all(isinstance(answer, bool | np.bool_) for answer in answers):
        raise GaugeError(
            "a judge of pairs answers yes or no", where="judge", expected="True or False",
            hint="leave out a text whose pairs could not be judged and count it",
        )  # fmt: skip
    forward, backward = np.array(answers, dtype=np.bool_).reshape(2, -1)
    return PairVerdicts(forward & backward, forward ^ backward)


def judged_pairs(
    texts: Sequence[str], valid: ArrayLike, judge: Judge, *, seed: int, pairs: int = PAIRS
) -> JudgedPairs:
    """D_pair of one prompt from ``pairs`` random pairs of its K texts, all of them if there are no more.

    Pairs are drawn among all texts, valid or not, without replacement: that keeps the share unbiased. The judge sees
    only those of two valid texts.

    Args:
        texts: K >= 2 texts of one prompt.
        valid: (K,) V of each.
        judge: As for ``ask_both_orders``.
        seed: Of the draw; derive one per prompt.
        pairs: How many.

    Raises:
        TooFewSamplesError: Fewer than two texts, or no pair wanted.
    """
    ok = _flags(texts, valid)
    every = list(combinations(range(len(texts)), 2))
    if pairs < 1:
        raise TooFewSamplesError("no pair to judge", where="pairs", found=repr(pairs), expected=">= 1")
    count = min(pairs, len(every))
    drawn = [every[k] for k in np.random.default_rng(seed).choice(len(every), size=count, replace=False)]
    asked = [(i, j) for i, j in drawn if ok[i] and ok[j]]
    found = ask_both_orders(texts, asked, judge)
    return JudgedPairs(float(found.different.sum()) / count, count, len(asked), int(found.disagree.sum()))


def judged_classes(
    texts: Sequence[str], valid: ArrayLike, judge: Judge, *, seed: int, orders: int = ORDERS
) -> JudgedClasses:
    """D_fixed of one prompt by greedy first-member classes, averaged over random orders of its valid texts.

    Every pair of valid texts is judged once, in one batch: at most K(K-1)/2 pairs.

    Args:
        texts: K >= 2 texts of one prompt.
        valid: (K,) V of each.
        judge: As for ``ask_both_orders``.
        seed: Of the orders; derive one per prompt.
        orders: How many.

    Raises:
        TooFewSamplesError: Fewer than two texts.
    """
    kept = np.flatnonzero(_flags(texts, valid))
    pairs = [(int(i), int(j)) for i, j in combinations(kept, 2)]
    found = ask_both_orders(texts, pairs, judge)
    different = np.zeros((len(texts), len(texts)), dtype=np.bool_)
    for (i, j), differs in zip(pairs, found.different, strict=True):
        different[i, j] = different[j, i] = differs
    classes = greedy_classes(different[np.ix_(kept, kept)], seed=seed, orders=orders)
    return JudgedClasses(classes / len(texts), len(pairs), int(found.disagree.sum()))


def greedy_classes(different: ArrayLike, *, seed: int, orders: int = ORDERS) -> float:
    """Mean number of greedy first-member classes over random orders.

    In a given order a text opens a class if it differs from the first member of every class so far.

    Args:
        different: (v, v) symmetric, True where two texts differ.
        seed: Of the orders.
        orders: How many.

    Raises:
        GaugeError: Not square, or not symmetric.
    """
    apart = np.asarray(different, dtype=np.bool_)
    if apart.ndim != 2 or apart.shape[0] != apart.shape[1] or (apart != apart.T).any():
        raise GaugeError(
            "'different' is no symmetric relation", where="different", found=str(apart.shape), expected="(v, v)"
        )
    rng = np.random.default_rng(seed)
    counts = []
    for _ in range(orders):
        firsts: list[int] = []
        for text in rng.permutation(len(apart)):
            if apart[text, firsts].all():
                firsts.append(int(text))
        counts.append(len(firsts))
    return float(np.mean(counts)) if counts else 0.0


def calibrate_judge(judged: ArrayLike, by_hand: ArrayLike) -> Calibration:
    """Cohen's κ of the judge and the people who labelled the same pairs, and the stamp that follows.

    Args:
        judged: (p,) True where the judge says different.
        by_hand: (p,) True where people do.

    Raises:
        TooFewSamplesError: No pair.

    Source: Cohen 1960, Educational and Psychological Measurement 20.
    """
    a, b = np.asarray(judged, dtype=np.bool_), np.asarray(by_hand, dtype=np.bool_)
    n = check_same_length(judged=a, by_hand=b)
    if not n:
        raise TooFewSamplesError("no hand-labelled pair", where="by_hand", expected=f">= {MIN_CALIBRATION}")
    agreement = float((a == b).mean())
    chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    kappa = (agreement - chance) / (1 - chance) if chance < 1 else None
    good = kappa is not None and kappa >= MIN_KAPPA and n >= MIN_CALIBRATION
    return Calibration(kappa, agreement, n, "" if good else UNCALIBRATED)


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
    if n < 20:
        raise TooFewSamplesError("too few reference texts", where="texts", found=str(n), expected=">= 20")
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
    if len(values) < 20:
        found = str(len(values))
        raise TooFewSamplesError("too few paraphrase pairs", where="cosines", found=found, expected=">= 20")
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


def _flags(texts: Sequence[str], valid: ArrayLike) -> BoolArray:
    ok = check_shape("valid", valid, "K")
    if check_same_length(texts=texts, valid=ok) < 2:
        raise TooFewSamplesError("too few samples: pairs need two texts", found=str(len(texts)), expected=">= 2")
    if not np.isin(ok, (0, 1)).all():
        raise GaugeError("a text is valid or not", where="valid", expected="0 or 1, and no NaN")
    return ok.astype(np.bool_)


def _cosines(name: str, values: ArrayLike) -> FloatArray:
    return check_range(name, check_shape(name, values, "n"), -1 - 1e-6, 1 + 1e-6)


def _one_encoder(fitted: str, used: str) -> None:
    if fitted != used:
        raise GaugeError("cosines of two encoders", where="encoder", found=used, expected=fitted)
