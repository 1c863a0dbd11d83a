"""The role hold in one word, from a pressure run that holds people beside its two controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NoRange, TooFewClustersError
from multitudes.measure.retention.cells import Cells
from multitudes.measure.retention.coherence import distinct_share
from multitudes.measure.retention.compare import auc_difference
from multitudes.measure.retention.hold_verdict import HeldUnder, HoldVerdict, judge_hold
from multitudes.measure.retention.intervals import resample
from multitudes.measure.stats import Difference
from multitudes.study.pressure.data import Arm, PressureRun

PROMPT, HOLD, RANDOM, OTHER = "C3", "C6", "C6r", "C6w"


def judge_role_hold(run: PressureRun, arms: Mapping[tuple[str, str, str], Arm], *, seed: int) -> HoldVerdict | None:
    """Confirmed, refuted or inconclusive, on the primary disposition; None where nobody was held.

    Whether a hold costs language in general (perplexity on other text) is not read by a pressure run, so that a run
    by itself never confirms; the reasons say so.
    """
    if HOLD not in run.conditions:
        return None
    family: list[HeldUnder] = []
    coherent: list[float] = []
    for p in run.spec.pressing:
        held, plain = (arms.get((run.spec.primary, p, c)) for c in (HOLD, PROMPT))
        random, other = (arms.get((run.spec.primary, p, c)) for c in (RANDOM, OTHER))
        over = _difference(run, held, plain, seed) or Difference(
            math.nan, None, None, math.nan, 0, 0, "not measurable"
        )
        family.append(HeldUnder(p, over, _difference(run, held, random, seed), _difference(run, held, other, seed)))
        if held is not None and plain is not None and plain.failed < 1:
            coherent.append((1 - held.failed) / (1 - plain.failed))
    if not family:
        return None
    return judge_hold(family, perplexity=None, coherence=min(coherent) if coherent else None, distinct=_distinct(run))


def _difference(run: PressureRun, first: Arm | None, second: Arm | None, seed: int) -> Difference | None:
    """Paired difference of AUC_R; None where it cannot be had."""
    if first is None or second is None:
        return None
    pair: tuple[Cells, Cells] = first.cells, second.cells
    try:
        return auc_difference(*pair, resample(pair, seed=seed, draws=run.spec.draws), seed=seed)
    except (NoRange, TooFewClustersError, GaugeError):
        return None


def _distinct(run: PressureRun) -> float | None:
    """Distinct 3-grams of what each person says, held to unheld, mean over persons of either; None without speech."""
    shares = [_shares(run, c) for c in (HOLD, PROMPT)]
    if not all(shares):
        return None
    held, plain = (float(np.mean(s)) for s in shares)
    return held / plain if plain > 0 else None


def _shares(run: PressureRun, condition: str) -> Sequence[float]:
    words: dict[str, list[str]] = {}
    for talk in run.talks:
        if talk.condition == condition and not talk.id.startswith("cal.") and talk.personas:
            words.setdefault(talk.personas[0], []).extend(w for t in talk.turns for w in t.reply.lower().split())
    return [s for w in words.values() if (s := distinct_share(w)) is not None]
