"""Can a listener tell who is speaking? The arithmetic of identifiability, from log-likelihoods to bits.

A listener gives each line the log-likelihood ℓ_k (nats) under each of K candidate personas, one of them the true
one. The posterior is softmax(ℓ/τ), and log2 K + mean log2 q_true is the information, in bits, that a line carries
about its persona: a lower bound, at most log2 K, 0 for a listener that learns nothing, below 0 for one that is sure
and wrong.
Raw language models are far too sure, so τ is fitted; and because fitting on the lines that are then scored would
flatter, the τ of each persona's lines is fitted on everybody else's.

It measures evidence, not truth: "I hate hiking" may point to the hiker. Copying the persona text maximises it.

Source: Barber & Agakov 2003 for the bound; Guo et al. 2017 (arXiv 1706.04599) for temperature scaling; fitting on
the other personas is our own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MAX_INVERSE_TEMPERATURE = 100.0  # where the true persona always wins the likelihood has no maximum
_STEPS = 100
_TOLERANCE = 1e-10


class Evidence(NamedTuple):
    """Checked input: one row per scored line.

    Attributes:
        ell: (n, K) log-likelihoods in nats, the largest of each row moved to 0.
        true: (n,) index of the true persona.
        persona: (n,) labels of the personas: what is left out together, and resampled.
        dialogue: (n,) dialogue labels.
        turn: (n,) own turn numbers.
        unscored: Lines left out because of a NaN.
    """

    ell: FloatArray
    true: IntArray
    persona: NDArray[np.generic]
    dialogue: NDArray[np.generic]
    turn: FloatArray
    unscored: int

    @property
    def candidates(self) -> int:
        """K."""
        return int(self.ell.shape[1])


def collect_evidence(
    ell: ArrayLike, true: ArrayLike, *, persona: ArrayLike, dialogue: ArrayLike, turn: ArrayLike
) -> Evidence:
    """Log-likelihoods with whose line each is, checked and sorted by dialogue and turn.

    Args:
        ell: (n, K) log-likelihood of each line under each candidate, nats; a line with a NaN is unscored.
        true: (n,) column of the true persona.
        persona: (n,) label of the true persona (candidates may be other people for every line).
        dialogue: (n,) dialogue label.
        turn: (n,) own turn of the speaker, increasing within a dialogue.

    Raises:
        GaugeError: If K < 2, a value is infinite, an index is out of range, or a dialogue has a turn twice.
    """
    rows = check_shape("ell", ell, "n K")
    index = np.asarray(true)
    who, where, when = np.asarray(persona), np.asarray(dialogue), check_shape("turn", turn, "n")
    check_same_length(ell=rows, true=index, persona=who, dialogue=where, turn=when)
    k = rows.shape[1]
    if k < 2:
        raise GaugeError("a listener needs at least two candidates", where="ell", found=f"K = {k}", expected="K >= 2")
    if np.isinf(rows).any():
        raise GaugeError("'ell' holds an infinite log-likelihood", where="ell", expected="finite numbers, or NaN")
    if index.size and (not np.issubdtype(index.dtype, np.integer) or index.min() < 0 or index.max() >= k):
        raise GaugeError("'true' is not a column of 'ell'", where="true", expected=f"integers in [0, {k - 1}]")
    scored = ~np.isnan(rows).any(axis=1)
    unscored = int((~scored).sum())
    rows, index, who, where, when = rows[scored], index[scored], who[scored], where[scored], when[scored]
    order = np.lexsort((when, np.unique(where, return_inverse=True)[1]))
    rows, index, who, where, when = rows[order], index[order], who[order], where[order], when[order]
    if ((where[1:] == where[:-1]) & (when[1:] == when[:-1])).any():
        raise GaugeError("a dialogue has the same own turn twice", where="turn")
    top = rows.max(axis=1, keepdims=True) if rows.size else rows[:, :1]
    return Evidence(rows - top, index.astype(np.int64), who, where, when, unscored)


def cumulate(evidence: Evidence) -> Evidence:
    """Evidence up to and including each line of its dialogue: E_k(t) = Σ_{s<=t} ℓ_k(s).

    With likelihoods in the context of the dialogue so far this is the chain rule; an unscored line adds nothing.
    """
    total = np.cumsum(evidence.ell, axis=0)
    starts = np.ones(len(total), dtype=bool)
    starts[1:] = evidence.dialogue[1:] != evidence.dialogue[:-1]
    first = np.maximum.accumulate(np.where(starts, np.arange(len(total)), 0))
    before = np.vstack([np.zeros((1, total.shape[1])), total])[first]
    summed = total - before
    return evidence._replace(ell=summed - summed.max(axis=1, keepdims=True, initial=-np.inf))


def fit_inverse_temperature(ell: FloatArray, true: IntArray, *, start: float = 1.0) -> float:
    """1/τ that maximises Σ log softmax(ℓ/τ)[true], in [0, 100].

    The log-likelihood is concave in 1/τ, so a bracketed Newton iteration finds the one maximum. 0 means that the
    likelihoods point away from the true personas (τ = ∞, a uniform posterior); 100 that they never err.

    Args:
        ell: (n, K) log-likelihoods.
        true: (n,) true columns.
        start: Where to begin.
    """
    chosen = ell[np.arange(len(true)), true]

    def slope(b: float) -> tuple[float, float]:
        q = np.exp(log_softmax(b * ell, axis=1))
        mean = (q * ell).sum(axis=1)
        return float((chosen - mean).sum()), float((q * (ell - mean[:, None]) ** 2).sum())

    low, high = 0.0, MAX_INVERSE_TEMPERATURE
    if slope(low)[0] <= 0:
        return low
    if slope(high)[0] >= 0:
        return high
    b = min(max(start, 1e-3), high / 2)
    for _ in range(_STEPS):
        gradient, curvature = slope(b)
        low, high = (b, high) if gradient > 0 else (low, b)
        step = b + gradient / curvature if curvature > 0 else high + 1
        new = step if low < step < high else 0.5 * (low + high)
        if abs(new - b) < _TOLERANCE * max(1.0, b):
            return new
        b = new
    return b


def held_out_inverse_temperatures(evidence: Evidence) -> FloatArray:
    """(n,) 1/τ for each line, fitted on the lines of all other personas; NaN if there is only one persona."""
    labels, code = np.unique(evidence.persona, return_inverse=True)
    if len(labels) < 2:
        return np.full(len(code), np.nan)
    everybody = fit_inverse_temperature(evidence.ell, evidence.true)
    fitted = [
        fit_inverse_temperature(evidence.ell[code != p], evidence.true[code != p], start=everybody)
        for p in range(len(labels))
    ]
    return np.asarray(fitted)[code]


def log_posterior(ell: FloatArray, inverse_temperature: float | FloatArray) -> FloatArray:
    """(n, K) log softmax(ℓ/τ), nats, under a uniform prior."""
    b = np.broadcast_to(np.asarray(inverse_temperature, dtype=np.float64), (len(ell),))
    return np.asarray(log_softmax(b[:, None] * ell, axis=1))


def bits(evidence: Evidence, inverse_temperature: float | FloatArray) -> FloatArray:
    """(n,) log2 K + log2 q_true: what each line tells about its persona; at most log2 K, null 0."""
    log_q = log_posterior(evidence.ell, inverse_temperature)[np.arange(len(evidence.true)), evidence.true]
    return np.asarray((np.log(evidence.candidates) + log_q) / np.log(2))


def right(evidence: Evidence) -> FloatArray:
    """(n,) 1 where the true persona is the most likely one, 1/m where m tie for it, else 0; null 1/K."""
    tied = evidence.ell >= evidence.ell.max(axis=1, keepdims=True, initial=-np.inf)
    return np.asarray(tied[np.arange(len(evidence.true)), evidence.true] / tied.sum(axis=1))


def contrast(evidence: Evidence) -> FloatArray:
    """(n,) ℓ_true minus the mean of the others, nats; null 0, needs no temperature."""
    k = evidence.candidates
    own = evidence.ell[np.arange(len(evidence.true)), evidence.true]
    return np.asarray(own - (evidence.ell.sum(axis=1) - own) / (k - 1))
