"""A broken model looks sticky or fragile: which replies are speech, and what happens to those that are not.

Limits come from the calibration split. A reply that fails is dropped and its conversation censored there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import IncoherentArm

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MIN_TOKENS = 3
GRAM = 3
MIN_DISTINCT = 0.5  # share of distinct 3-grams, below which a reply repeats itself
TOKENS_FOR_DISTINCT = 12  # shorter replies have too few 3-grams for a share
PERCENTILE = 99.0  # of the mean NLL of calibration replies of C0 and C3 at t = 0
MIN_JUDGED = 50.0  # of 100, where a judge rates coherence
MAX_FAILED = 0.2  # share of failed replies, above which an arm gets no verdict


class Gate(NamedTuple):
    """Limits of one model.

    Attributes:
        max_nll: Highest mean NLL of a reply given the visible history, nats per token, under the plain model.
        false_alarms: Share of the calibration replies that the gate fails; printed. In-sample, so about 1 % for the
            NLL rule by construction.
        n: Calibration replies behind it.
    """

    max_nll: float
    false_alarms: float
    n: int


def distinct_share(tokens: Sequence[object], *, gram: int = GRAM) -> float | None:
    """Distinct n-grams over all n-grams of one reply, in (0, 1]; lower is more repetitive. None below n tokens.

    >>> distinct_share("a b a b a b".split())
    0.5
    """
    n = len(tokens) - gram + 1
    return len({tuple(tokens[i : i + gram]) for i in range(n)}) / n if n > 0 else None


def why_incoherent(
    tokens: Sequence[object],
    *,
    mean_nll: float | None = None,
    max_nll: float | None = None,
    judged: float | None = None,
) -> str:
    """Why a reply fails the gate; empty if it passes. Rules whose number is missing are not applied.

    Args:
        tokens: Tokens of the reply, end of turn left out.
        mean_nll: Mean NLL given the visible history under the plain model, nats per token; NaN is unscored.
        max_nll: ``Gate.max_nll``.
        judged: Coherence in 0 to 100, from a judge; NaN is unscored.

    >>> why_incoherent("no no no no no no no no no no no no".split())
    'repeats itself: 10% of 3-grams are distinct'
    """
    if len(tokens) < MIN_TOKENS:
        return f"too short: {len(tokens)} tokens"
    share = distinct_share(tokens)
    if share is not None and len(tokens) >= TOKENS_FOR_DISTINCT and share < MIN_DISTINCT:
        return f"repeats itself: {share:.0%} of {GRAM}-grams are distinct"
    if mean_nll is not None and max_nll is not None and mean_nll > max_nll:
        return f"unlikely words: {mean_nll:.2f} nats per token, above {max_nll:.2f}"
    if judged is not None and judged < MIN_JUDGED:
        return f"judged incoherent: {judged:g} of 100"
    return ""


def calibrate_gate(replies: Sequence[Sequence[object]], mean_nll: ArrayLike) -> Gate:
    """The limit of mean NLL, and how many sound replies the gate fails.

    Args:
        replies: Tokens of the replies of C0 and C3 at t = 0 on the calibration split.
        mean_nll: (n,) nats per token; NaN is unscored.

    Raises:
        GaugeError: If nothing is scored.
    """
    nll = check_shape("mean_nll", mean_nll, "n")
    check_same_length(replies=replies, mean_nll=nll)
    if np.isnan(nll).all():
        raise GaugeError("no calibration reply is scored", where="mean_nll", found=f"{len(nll)} replies")
    limit = float(np.nanpercentile(nll, PERCENTILE))
    failed = [bool(why_incoherent(r, mean_nll=float(x), max_nll=limit)) for r, x in zip(replies, nll, strict=True)]
    return Gate(limit, float(np.mean(failed)), len(failed))


def first_failure(coherent: ArrayLike, turns: ArrayLike) -> FloatArray:
    """Turn of the first reply that fails, for each conversation; NaN where none does.

    Args:
        coherent: (..., turns) bool, one value per reply.
        turns: (turns,) their turns, increasing.
    """
    ok = np.asarray(coherent, dtype=bool)
    when = check_shape("turns", turns, "turns")
    if ok.shape[-1] != len(when):
        raise GaugeError("replies and turns do not fit", found=f"{ok.shape}, {when.shape}", expected="(..., t), (t,)")
    return np.where(ok.all(axis=-1), np.nan, when[(~ok).argmax(axis=-1)])


def censor(levels: ArrayLike, turns: ArrayLike, failed: ArrayLike) -> FloatArray:
    """Levels with every probe from the failed turn on unscored (NaN).

    Args:
        levels: (..., t) D.
        turns: (t,) turn of each probe.
        failed: (...) from ``first_failure``.

    >>> censor([0.9, 0.8, 0.7], [0, 2, 4], 2.0).tolist()
    [0.9, nan, nan]
    """
    d, when = np.asarray(levels, dtype=np.float64), check_shape("turns", turns, "t")
    at = np.asarray(failed, dtype=np.float64)[..., None]
    return np.where(when >= np.where(np.isnan(at), np.inf, at), np.nan, d)


def share_failed(coherent: ArrayLike, turns: ArrayLike) -> float:
    """Share of replies that fail, of those up to each conversation's first failure.

    Replies after it do not count: a conversation that broke goes on broken, and says so only once.

    Args:
        coherent: (n, turns) bool.
        turns: (turns,).
    """
    ok, when = check_shape("coherent", coherent, "n turns", dtype=np.bool_), check_shape("turns", turns, "turns")
    failed = first_failure(ok, when)
    reached = when <= np.where(np.isnan(failed), np.inf, failed)[:, None]
    return float((~ok & reached).sum() / reached.sum()) if reached.any() else float("nan")


def share_broken(coherent: ArrayLike) -> float:
    """Share of conversations with a reply that fails."""
    ok = check_shape("coherent", coherent, "n turns", dtype=np.bool_)
    return float((~ok.all(axis=1)).mean()) if len(ok) else float("nan")


def check_coherent(share: float, *, arm: str = "") -> float:
    """The share, if it permits a verdict.

    Raises:
        IncoherentArm: If it is above 20 %.
    """
    if share > MAX_FAILED:
        raise IncoherentArm(share, MAX_FAILED, arm=arm)
    return share
