"""May one say that a persona outlasts prompting? One of four fixed words, and the numbers under it.

Pressures on which the condition loses to prompting are listed first, and a negative result is as loud as a positive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import TooFewClustersError
from multitudes.measure.multiplicity import holm
from multitudes.measure.retention.coherence import MAX_FAILED
from multitudes.measure.stats import MIN_CLUSTERS, Difference, Estimate

Words = Literal["outlasts prompting", "like prompting", "undecided", "no verdict"]

ALPHA = 0.05
MARGIN = 0.05  # of AUC_R within which two conditions are alike ("Choice")
MIN_CLUSTERS_FOR_VERDICT = 20


class Pressed(NamedTuple):
    """One condition against prompting (C3), under one pressure, on the one disposition that was named before.

    Attributes:
        pressure: Id.
        auc: AUC_R(Ci) − AUC_R(C3), paired, with its unadjusted p.
        rho: ρ(Ci) − ρ(C3); None where an arm was not displaced.
        over_neutral: The same AUC_R difference minus that under P0; None without a P0 of equal length.
        as_trained: AUC_R(Ci) − AUC_R(C2); None where C2 did not run.
        never_lost: Ci was not displaced while C3 was, so that there was nothing to come back from.
    """

    pressure: str
    auc: Difference
    rho: Estimate | None = None
    over_neutral: Estimate | None = None
    as_trained: Estimate | None = None
    never_lost: bool = False


class Judged(NamedTuple):
    """What one pressure says: ``p`` is adjusted over the family, and ``outlasts`` needs all three conditions."""

    pressure: str
    p: float
    reversed: bool
    outlasts: bool
    alike: bool
    as_trained: bool
    line: str


class Verdict(NamedTuple):
    """The verdict.

    Attributes:
        words: One of the fixed four.
        as_trained: Whether "as trained" is added.
        sentence: The words with the reason, if there is none to give them.
        pressures: Reversed ones first, most reversed on top; then in the order given.
        n: Base prompts.
    """

    words: Words
    as_trained: bool
    sentence: str
    pressures: tuple[Judged, ...]
    n: int


def judge(
    family: Sequence[Pressed],
    *,
    matched: bool,
    failed: Mapping[str, float],
    clusters: int,
    margin: float = MARGIN,
    alpha: float = ALPHA,
) -> Verdict:
    """The verdict on one condition against prompting.

    * **outlasts prompting**: on more than half of the pressures AUC_R is higher (Holm), ρ is higher (interval above
      0), and the AUC_R difference exceeds that under neutral talk (interval above 0).
    * **like prompting**: else, on more than half the interval of the AUC_R difference lies within the margin.
    * **undecided**: else.
    * **no verdict**: unmatched start, an incoherent arm, or fewer than 20 base prompts. Numbers are still shown.

    A pressure that could not be measured stays in the family: it counts as one that found nothing. Where the
    condition was never displaced and prompting was, the clause on ρ holds: what was not lost need not come back. That
    is our reading of a gap in the rule, and the line says so.

    Args:
        family: All pressures that were planned, P0 left out.
        matched: Whether both conditions start at the target.
        failed: Arm -> share of replies that failed the coherence gate.
        clusters: Base prompts that all arms share.
        margin: Of AUC_R.
        alpha: Of the family.

    Raises:
        TooFewClustersError: Fewer than 8 base prompts.
        GaugeError: An empty family, or a pressure twice.
    """
    if clusters < MIN_CLUSTERS:
        raise TooFewClustersError("too few base prompts for any statement", found=str(clusters),
                                  expected=f">= {MIN_CLUSTERS}")  # fmt: skip
    names = [x.pressure for x in family]
    if not names or len(set(names)) < len(names):
        raise GaugeError("a family is pressures, each once", where="family", found=repr(names))
    adjusted = holm([1.0 if math.isnan(x.auc.p) else x.auc.p for x in family])
    judged = [_judged(x, float(p), margin, alpha) for x, p in zip(family, adjusted, strict=True)]
    order = sorted(range(len(judged)), key=lambda i: family[i].auc.value if judged[i].reversed else 0.0)
    listed = tuple(judged[i] for i in order)
    half = len(judged) / 2
    as_trained = sum(j.as_trained for j in judged) > half
    if why := _why_none(matched, failed, clusters):
        return Verdict("no verdict", False, f"no verdict: {why}", listed, clusters)
    words: Words = "undecided"
    if sum(j.outlasts for j in judged) > half:
        words = "outlasts prompting"
    elif sum(j.alike for j in judged) > half:
        words = "like prompting"
    sentence = f"{words}, as trained" if as_trained else words
    if turned := [j.pressure for j in listed if j.reversed]:
        sentence += f" (reversed under {', '.join(turned)})"
    return Verdict(words, as_trained, sentence, listed, clusters)


def _why_none(matched: bool, failed: Mapping[str, float], clusters: int) -> str:
    reasons = [] if matched else ["unmatched start"]
    reasons += [
        f"{arm} is incoherent ({share:.0%} of replies)" for arm, share in failed.items() if share > MAX_FAILED
    ]
    if clusters < MIN_CLUSTERS_FOR_VERDICT:
        reasons.append(f"{clusters} base prompts of at least {MIN_CLUSTERS_FOR_VERDICT}")
    return "; ".join(reasons)


def _judged(x: Pressed, p: float, margin: float, alpha: float) -> Judged:
    higher = x.auc.value > 0 and p <= alpha
    comes_back = x.never_lost or _above_zero(x.rho)
    beyond_neutral = _above_zero(x.over_neutral)
    alike = _within(x.auc.low, x.auc.high, margin)
    trained = x.as_trained is not None and _within(x.as_trained.low, x.as_trained.high, margin)
    turned = bool(x.auc.value < 0)
    parts = [f"AUC_R difference {_shown(x.auc.value, x.auc.low, x.auc.high)}, p {_p(x.auc.p, p)}"]
    parts.append("ρ: not displaced, prompting was" if x.never_lost else _estimate("ρ difference", x.rho))
    parts.append(_estimate("beyond neutral talk", x.over_neutral))
    if x.as_trained is not None:
        parts.append(_estimate("against trained", x.as_trained))
    head = f"{x.pressure} (reversed)" if turned else x.pressure
    line = f"{head}: " + "; ".join(parts)
    return Judged(x.pressure, p, turned, higher and comes_back and beyond_neutral, alike, trained, line)


def _above_zero(x: Estimate | None) -> bool:
    return x is not None and x.low is not None and x.low > 0


def _within(low: float | None, high: float | None, margin: float) -> bool:
    return low is not None and high is not None and -margin <= low and high <= margin


def _p(raw: float, adjusted: float) -> str:
    return "not tested" if math.isnan(raw) else f"{adjusted:.3f} (Holm)"


def _estimate(name: str, x: Estimate | None) -> str:
    return f"{name} not assessed" if x is None else f"{name} {_shown(x.value, x.low, x.high)}"


def _shown(value: float, low: float | None, high: float | None) -> str:
    if not np.isfinite(value):
        return "not assessed"
    bounds = "no interval" if low is None or high is None else f"[{low:.2f}, {high:.2f}]"
    return f"{value:.2f} {bounds}".replace("-", "−")
