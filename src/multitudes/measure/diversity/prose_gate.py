"""Is a text any good, and does it say something another does not? The validity gate for prose.

With a judge: V comes from a rubric that the caller fixed beforehand, S from a judge of pairs, "would a reader of the
first learn something materially new from the second?", asked in both orders. Only two times yes is "different"; a
disagreement between the orders is "same", and counted. The relation is not transitive, so classes are greedy: a text
joins the first class whose first member it is the same as, averaged over orders of the texts.

Without a judge there is ``prose_proxy``.

Source: our reading of the framework of arXiv 2504.12522; comparing with first members as in arXiv 2504.05228.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import TooFewSamplesError
from multitudes.measure.kappa import quadratic_kappa

BoolArray = NDArray[np.bool_]
Pair = tuple[int, int]
Judge = Callable[[Sequence[tuple[str, str]]], Sequence[bool]]  # (first, second) -> something new in the second?

PAIRS = 15  # random pairs a prompt
ORDERS = 20  # orders of the texts that greedy classes are averaged over
MIN_CALIBRATION = 100  # hand-labelled pairs
MIN_KAPPA = 0.6
UNCALIBRATED = "uncalibrated"


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
    found = quadratic_kappa(a, b)  # on two categories weights change nothing
    kappa = None if np.isnan(found) else found
    good = kappa is not None and kappa >= MIN_KAPPA and n >= MIN_CALIBRATION
    return Calibration(kappa, agreement, n, "" if good else UNCALIBRATED)


def _flags(texts: Sequence[str], valid: ArrayLike) -> BoolArray:
    ok = check_shape("valid", valid, "K")
    if check_same_length(texts=texts, valid=ok) < 2:
        raise TooFewSamplesError("too few samples: pairs need two texts", found=str(len(texts)), expected=">= 2")
    if not np.isin(ok, (0, 1)).all():
        raise GaugeError("a text is valid or not", where="valid", expected="0 or 1, and no NaN")
    return ok.astype(np.bool_)
