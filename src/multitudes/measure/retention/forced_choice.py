"""Forced choice without a list: from log-likelihoods of full answers to a level of the persona.

Options are scored one by one and never shown, so there is no order effect. D is in [0, 1]; higher is more fully the
persona, 0.5 is indifference between two options.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError

FloatArray = NDArray[np.float64]


class Level(NamedTuple):
    """Mean over items.

    Attributes:
        value: (...) mean level of the scored items; NaN where none is scored.
        unscored: (...) items left out.
    """

    value: FloatArray
    unscored: NDArray[np.int64]


def option_scores(log_likelihoods: ArrayLike) -> FloatArray:
    """Score of each option: log-sum-exp over its paraphrases, in nats.

    Args:
        log_likelihoods: (..., options, paraphrases) log p(answer and end of turn | history, question), nats, summed
            over tokens. Every option needs equally many paraphrases, else the one with more would win by number.
            -inf is an answer that cannot be given; NaN is unscored.

    Returns:
        (..., options). NaN for all options of an item where any value is unscored: a missing paraphrase would
        tilt the choice.

    Source: "Choice" of ours; the sum over tokens, not its mean, since the mean halves the range on a small model.

    >>> bool(np.isclose(option_scores([[-3.0, -3.0], [-5.0, -5.0]])[0], -3 + np.log(2)))
    True
    """
    s = np.asarray(log_likelihoods, dtype=np.float64)
    if s.ndim < 2 or s.shape[-1] < 1:
        raise GaugeError("not options with paraphrases", found=str(s.shape), expected="(..., options, paraphrases)")
    if (s == np.inf).any():
        raise NotFiniteError("a log-likelihood is infinite", where="log_likelihoods", expected="numbers below inf")
    unscored = np.asarray(np.isnan(s).any(axis=(-2, -1)))
    return np.where(unscored[..., None], np.nan, _sum_of(s))


def item_levels(scores: ArrayLike, *, target: int = 0) -> FloatArray:
    """D of each item: the softmax mass on the persona's option.

    With two options that is 1 / (1 + exp(s_alt − s_π)). Equal scores give 1 / number of options.

    Args:
        scores: (..., options) from ``option_scores``, nats.
        target: Index of the persona's option.

    Returns:
        (...) in [0, 1]; NaN where an option is unscored, or where no option can be given at all.

    >>> round(float(item_levels([0.0, np.log(3.0)])), 12)
    0.25
    """
    return _expit(log_odds(scores, target=target))


def log_odds(scores: ArrayLike, *, target: int = 0) -> FloatArray:
    """Λ of each item in nats: score of the persona's option over that of the others together.

    The secondary scale, which does not saturate. 0 means even odds; higher is more fully the persona.

    Args:
        scores: (..., options) from ``option_scores``, nats.
        target: Index of the persona's option.

    >>> float(log_odds([-1.0, -3.0]))
    2.0
    """
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim < 1 or s.shape[-1] < 2:
        raise GaugeError("a choice needs two options", found=str(s.shape), expected="(..., options), options >= 2")
    if not -s.shape[-1] <= target < s.shape[-1]:
        raise GaugeError("no such option", where="target", found=repr(target), expected=f"below {s.shape[-1]}")
    others = _sum_of(np.delete(s, target, axis=-1))
    with np.errstate(invalid="ignore"):  # -inf - -inf: no option can be given, which is NaN: unscored
        return np.asarray(s[..., target] - others)


def prior_corrected(scores: ArrayLike, scores_without_history: ArrayLike) -> FloatArray:
    """s(o) − s(o | question, no history): what the history adds to an answer, nats. For sensitivity, not the default.

    Source: "surface form competition", arXiv 2104.08315. Not the default here, since the floor F removes the prior.

    Args:
        scores: (..., options).
        scores_without_history: Same, or a shape that broadcasts to it; finite, or what it is taken from is NaN.
    """
    prior = np.asarray(scores_without_history, dtype=np.float64)
    return np.asarray(np.asarray(scores, dtype=np.float64) - np.where(np.isfinite(prior), prior, np.nan))


def level(levels: ArrayLike) -> Level:
    """D of a probe: the mean over its scored items.

    Args:
        levels: (..., items) from ``item_levels`` or ``log_odds``.

    >>> float(level([0.2, 0.6, np.nan]).value)
    0.4
    """
    d = np.asarray(levels, dtype=np.float64)
    scored = ~np.isnan(d)
    n = scored.sum(axis=-1)
    total = np.where(scored, d, 0.0).sum(axis=-1)
    value = np.divide(total, n, out=np.full(np.shape(total), np.nan), where=n > 0)
    return Level(np.asarray(value), np.asarray(d.shape[-1] - n, dtype=np.int64))


def mirrored(levels: ArrayLike) -> FloatArray:
    """D of the Assistant on the persona's two-option items: D^A = 1 − D^π.

    The scale on which the trained default is pushed toward a persona, and both are read on one ruler.

    >>> mirrored([0.25, 1.0]).tolist()
    [0.75, 0.0]
    """
    return np.asarray(1.0 - np.asarray(levels, dtype=np.float64))


def _sum_of(logs: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):  # NaN, which is unscored, makes NaN and a warning
        return np.asarray(np.logaddexp.reduce(logs, axis=-1))


def _expit(x: Any) -> FloatArray:
    from scipy.special import expit

    return np.asarray(expit(x), dtype=np.float64)
