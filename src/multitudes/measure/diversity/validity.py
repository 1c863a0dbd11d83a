"""Effective diversity: how many different answers among those that are any good.

Each of the K answers to a prompt is valid or not, and a valid one belongs to a class of answers that mean or do the
same. Everything here is a closed form of the number v of valid answers and the class sizes c_s of one prompt, so all
functions give one value per prompt, for intervals to resample prompts; ``pooled`` puts them together.

Source: our reading of the framework of arXiv 2504.12522; closed forms and the pooled identity are our own derivation.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import (
    NotFiniteError,
    NotUnitError,
    TooFewSamplesError,
    UnequalBudgetError,
    ZeroVectorError,
)
from multitudes.measure.stats import sum_by

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

UNIT_TOLERANCE = 1e-4
NOTHING_DIFFERS = "no prompt has two valid answers that differ"
NO_PAIR = "no prompt has two valid answers"


class PromptCounts(NamedTuple):
    """Valid answers and class sizes of G prompts with K answers each.

    Attributes:
        prompts: (G,) labels.
        k: K, answers to each prompt.
        valid: (G,) v, valid answers.
        distinct: (G,) classes among the valid.
        same: (G,) Σ c_s², ordered pairs of valid answers of one class, each with itself included.
        sizes: (C,) c_s of every class of every prompt.
        owner: (C,) index of the prompt of each class.
    """

    prompts: NDArray[Any]
    k: int
    valid: IntArray
    distinct: IntArray
    same: IntArray
    sizes: IntArray
    owner: IntArray


class PairShare(NamedTuple):
    """D_pair|valid as the ratio of sums it is pooled by: resample ``different`` and ``pairs`` with the same weights.

    Attributes:
        different: (G,) ordered pairs of valid answers that differ, v² - Σ c_s².
        pairs: (G,) ordered pairs of valid answers, v(v-1).
    """

    different: FloatArray
    pairs: FloatArray


class Pooled(NamedTuple):
    """Effective diversity over all prompts. All are higher for better, 0 if no answer is valid.

    Attributes:
        validity: Mean v/K, in [0, 1].
        fixed: Mean D_fixed, in [0, 1]; size-sensitive, as its expectation depends on K.
        pair: Mean D_pair, in [0, 1]; unbiased in K: the headline.
        pair_valid: Pooled D_pair|valid, in [0, 1]; None if no prompt has two valid answers.
        valid_pairs: Share of all pairs in which both are valid; ``pair`` = ``valid_pairs`` x ``pair_valid``.
        prompts: G.
        k: K.
        note: Why ``pair_valid`` is None; empty if it is not.
    """

    validity: float
    fixed: float
    pair: float
    pair_valid: float | None
    valid_pairs: float
    prompts: int
    k: int
    note: str


class Change(NamedTuple):
    """Why D_pair changed: ln after - ln before, and the two terms it is the sum of.

    Attributes:
        total: Change of ln D_pair. None if it is 0 in an arm: there is no logarithm, then.
        validity: Change of ln of the share of pairs in which both are valid: more outputs are valid.
        difference: Change of ln D_pair|valid: valid outputs differ more.
        note: Why there is none; empty if there is.
    """

    total: float | None
    validity: float | None
    difference: float | None
    note: str


def count_classes(prompt: ArrayLike, valid: ArrayLike, classes: ArrayLike) -> PromptCounts:
    """Answers as counts per prompt.

    Args:
        prompt: (n,) label of the prompt of each answer.
        valid: (n,) True or False, 1 or 0.
        classes: (n,) label of the class of each answer, compared within a prompt only; those of invalid answers are
            not looked at.

    Raises:
        GaugeError: Lengths that differ, or a ``valid`` that is neither 0 nor 1.
        TooFewSamplesError: No prompt, or fewer than two answers to a prompt.
        UnequalBudgetError: Prompts with different numbers of answers.
    """
    prompts, code = np.unique(np.asarray(prompt), return_inverse=True)
    ok = check_shape("valid", valid, "n")
    labels = np.asarray(classes)
    check_same_length(prompt=code, valid=ok, classes=labels)
    if not np.isin(ok, (0, 1)).all():
        raise GaugeError("an answer is valid or not", where="valid", expected="0 or 1, and no NaN")
    counts = np.bincount(code, minlength=len(prompts))
    if not len(counts) or counts.max() < 2:
        raise TooFewSamplesError(
            "too few samples: effective diversity compares answers to the same prompt",
            found=f"at most {counts.max() if len(counts) else 0} per prompt",
            expected=">= 2",
        )
    if counts.min() < counts.max():
        raise UnequalBudgetError(
            "prompts have different numbers of answers",
            where="prompt",
            found=f"{counts.min()} to {counts.max()}",
            expected="the same K for all",
            hint="count an answer that could not be read as invalid; do not leave it out",
        )
    keep = ok > 0
    kinds, kind = np.unique(labels[keep], return_inverse=True)
    cell, sizes = np.unique(code[keep] * max(1, len(kinds)) + kind, return_counts=True)
    owner = (cell // max(1, len(kinds))).astype(np.int64)
    g = len(prompts)
    return PromptCounts(
        prompts=prompts,
        k=int(counts[0]),
        valid=np.bincount(code[keep], minlength=g).astype(np.int64),
        distinct=np.bincount(owner, minlength=g).astype(np.int64),
        same=sum_by(owner, sizes.astype(np.float64) ** 2, g).astype(np.int64),
        sizes=sizes.astype(np.int64),
        owner=owner,
    )


def validity(counts: PromptCounts) -> FloatArray:
    """(G,) v/K, in [0, 1]."""
    return np.asarray(counts.valid / counts.k)


def d_fixed(counts: PromptCounts) -> FloatArray:
    """(G,) different valid classes over K, in [0, 1]. Over K, never over v: invalid answers cost.

    Its expectation depends on K (more draws find fewer new classes), so it is compared at equal K only.
    """
    return np.asarray(counts.distinct / counts.k)


def d_pair(counts: PromptCounts) -> FloatArray:
    """(G,) share of the pairs of answers in which both are valid and differ, (v² - Σ c_s²)/(K(K-1)), in [0, 1].

    Unbiased for the probability that two fresh answers are both valid and of different classes, whatever K is.
    """
    return np.asarray((counts.valid**2 - counts.same) / (counts.k * (counts.k - 1)))


def d_pair_valid(counts: PromptCounts) -> PairShare:
    """(G,) the two sums of D_pair|valid; prompts with fewer than two valid answers add 0 to both."""
    v = counts.valid.astype(np.float64)
    return PairShare(v**2 - counts.same, v * (v - 1))


def rarefied_classes(counts: PromptCounts, draws: ArrayLike) -> FloatArray:
    """(G,) different classes expected among ``draws`` valid answers, Σ_s [1 - C(v-c_s, m)/C(v, m)], in [0, m].

    Args:
        counts: Of one arm.
        draws: (G,) m of each prompt, at most its v: the least number of valid answers of any arm. 0 gives 0.

    Raises:
        GaugeError: m below 0, above v, or not whole.

    Source: Hurlbert 1971, Ecology 52, eq. for E(S_n).
    """
    m = check_shape("draws", draws, "n")
    check_same_length(draws=m, prompts=counts.prompts)
    wrong = (m < 0) | (m > counts.valid) | (m != np.floor(m))
    if wrong.any():
        q = int(np.flatnonzero(wrong)[0])
        raise GaugeError(
            "cannot draw that many valid answers", where=f"draws[{q}]", found=repr(float(m[q])),
            expected=f"a whole number from 0 to {counts.valid[q]}", hint="use the least valid count of all arms",
        )  # fmt: skip
    terms = [
        1 - _missed(int(counts.valid[q]), int(c), int(m[q])) for c, q in zip(counts.sizes, counts.owner, strict=True)
    ]
    return sum_by(counts.owner, np.array(terms, dtype=np.float64), len(counts.prompts))


@lru_cache(maxsize=65_536)
def _missed(v: int, c: int, m: int) -> float:
    """Probability that m of v answers hold none of a class of c."""
    return math.comb(v - c, m) / math.comb(v, m)


def d_cos_eff(prompt: ArrayLike, valid: ArrayLike, vectors: ArrayLike) -> FloatArray:
    """(G,) D_pair with 1 - cosine in place of "differs": (vΣ‖x‖² - ‖Σx‖²)/(K(K-1)) over valid x, in [0, 2].

    Prompts are in sorted order, as in ``count_classes``. A spread of embeddings: no claim about meaning.

    Args:
        prompt: (n,) labels.
        valid: (n,) 0 or 1.
        vectors: (n, d) unit vectors; those of invalid answers are not looked at.

    Raises:
        NotFiniteError, ZeroVectorError, NotUnitError: On the vector of a valid answer.
        GaugeError: As ``count_classes``.
    """
    counts = count_classes(prompt, valid, np.zeros(len(np.asarray(valid))))
    x = check_shape("vectors", vectors, "n d")
    keep = np.asarray(valid, dtype=np.float64) > 0
    check_same_length(valid=keep, vectors=x)
    code = np.searchsorted(counts.prompts, np.asarray(prompt)[keep])
    x = _unit(x[keep], np.flatnonzero(keep))
    total = np.zeros((len(counts.prompts), x.shape[1]))
    np.add.at(total, code, x)
    squares = sum_by(code, (x**2).sum(axis=1), len(counts.prompts))
    # Lengths are 1 up to rounding, so Σ‖x‖² stands for v: the same, and exactly 0 for equal vectors.
    return np.asarray(np.maximum(counts.valid * squares - (total**2).sum(axis=1), 0.0) / (counts.k * (counts.k - 1)))


def _unit(x: FloatArray, rows: NDArray[np.intp]) -> FloatArray:
    lengths = np.linalg.norm(x, axis=1)
    for kind, wrong, found in (
        (NotFiniteError, ~np.isfinite(lengths), "a value that is not finite"),
        (ZeroVectorError, lengths == 0, "length 0"),
        (NotUnitError, ~(np.abs(lengths - 1) <= UNIT_TOLERANCE), "another length"),
    ):
        if wrong.any():
            raise kind(
                "a vector is no direction", where=f"vectors[{rows[np.flatnonzero(wrong)[0]]}]", found=found,
                expected="length 1 within 1e-4",
            )  # fmt: skip
    return x


def pooled(counts: PromptCounts) -> Pooled:
    """The scores over all prompts; prompts count equally, pairs count equally in ``pair_valid``."""
    share = d_pair_valid(counts)
    different, pairs, everything = share.different.sum(), share.pairs.sum(), counts.k * (counts.k - 1)
    return Pooled(
        validity=float(validity(counts).mean()),
        fixed=float(d_fixed(counts).mean()),
        pair=float(d_pair(counts).mean()),
        pair_valid=float(different / pairs) if pairs > 0 else None,
        valid_pairs=float(pairs / (everything * len(counts.prompts))),
        prompts=len(counts.prompts),
        k=counts.k,
        note="" if pairs > 0 else NO_PAIR,
    )


def explain_change(before: Pooled, after: Pooled) -> Change:
    """How much of a change of D_pair is validity and how much is difference, from the pooled identity.

    ln Σ D_pair = ln Σ [v(v-1)/(K(K-1))] + ln D_pair|valid (pooled), in each arm, so the changes add up too.

    Raises:
        UnequalBudgetError: Arms of different numbers of prompts or of answers per prompt.
    """
    if (before.prompts, before.k) != (after.prompts, after.k):
        raise UnequalBudgetError(
            "arms of different sizes",
            found=f"{before.prompts} prompts x {before.k} answers and {after.prompts} x {after.k}",
            expected="the same prompts and the same K",
        )
    for name, arm in (("before", before), ("after", after)):
        if not arm.pair or not arm.pair_valid:
            return Change(None, None, None, f"{name}: {arm.note or NOTHING_DIFFERS}")
    first, second = before.pair_valid or math.nan, after.pair_valid or math.nan
    return Change(
        total=math.log(after.pair / before.pair),
        validity=math.log(after.valid_pairs / before.valid_pairs),
        difference=math.log(second / first),
        note="",
    )
