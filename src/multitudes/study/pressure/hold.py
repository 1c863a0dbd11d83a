"""The role hold in one word, and what it rests on, from a pressure run that holds people beside two controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from multitudes.core.errors import GaugeError
from multitudes.core.seeds import derive_seed
from multitudes.measure.errors import NoRange, TooFewClustersError
from multitudes.measure.retention.cells import delta0
from multitudes.measure.retention.coherence import MAX_FAILED, distinct_share
from multitudes.measure.retention.compare import auc_difference
from multitudes.measure.retention.equal_start import gain_at_equal_start
from multitudes.measure.retention.hold_verdict import ENGAGED_WITHIN, HeldUnder, judge_hold
from multitudes.measure.retention.intervals import Resample, resample
from multitudes.measure.stats import Difference, Estimate
from multitudes.study.pressure.data import Arm, PressureRun
from multitudes.study.pressure.prose import Reading, reading_of
from multitudes.study.pressure.result import HeldText, HoldPressure, HoldResult, Number
from multitudes.study.pressure.spec import LABELS

PROMPT, HOLD, RANDOM, OTHER, CAP = "C3", "C6", "C6r", "C6w", "C7b"
NOT_READ = "no text was read: go on with the run"

Arms = Mapping[tuple[str, str, str], Arm]


def judge_role_hold(run: PressureRun, arms: Arms, *, seed: int) -> HoldResult | None:
    """Confirmed, refuted or inconclusive, on the primary disposition; None where nobody was held.

    Args:
        run: The run.
        arms: Its arms by disposition, pressure and condition.
        seed: Of the draws of intervals.
    """
    if HOLD not in run.conditions:
        return None
    found = [_under(run, arms, p, seed) for p in run.spec.pressing]
    text = {c: _read(run, c) for c in (HOLD, RANDOM, OTHER, CAP) if c in run.conditions}
    coherence, distinct = _coherence(run, arms), _distinct(run)
    verdict = judge_hold(
        [held for held, _ in found], perplexity=text[HOLD].ratio, coherence=coherence.value, distinct=distinct.value
    )
    broken = _broken(run, arms)
    words, reasons = (verdict.words, verdict.reasons) if not broken else ("inconclusive", (broken, *verdict.reasons))
    about = run.meta.get("axis") or {}
    return HoldResult(
        disposition=run.spec.primary, words=words, reasons=reasons, shown=verdict.held, alpha=run.spec.hold_alpha,
        sides=run.spec.hold_sides, layers=tuple(about.get("hold_layers", ())),
        pressures=tuple(told for _, told in found), text=tuple(_text(c, r) for c, r in text.items()),
        coherence=coherence, distinct=distinct, warnings=_warnings([held for held, _ in found], run),
    )  # fmt: skip


def _under(run: PressureRun, arms: Arms, pressure: str, seed: int) -> tuple[HeldUnder, HoldPressure]:
    """The differences under one pressure, for the verdict and for the reader."""
    by = {c: arms.get((run.spec.primary, pressure, c)) for c in (PROMPT, HOLD, RANDOM, OTHER)}
    over = {c: _difference(run, by[HOLD], by[c], seed) for c in (PROMPT, RANDOM, OTHER)}
    even = _at_equal_start(run, by[HOLD], by[PROMPT], seed)
    engaged = {c: arm.engaged for c in (HOLD, RANDOM, OTHER) if (arm := by[c]) is not None}
    hold, random = engaged.get(HOLD), engaged.get(RANDOM)
    more = random - hold if hold is not None and random is not None else None
    held = HeldUnder(
        pressure, over[PROMPT], _told(over[RANDOM]), _told(over[OTHER]), even if math.isfinite(even.value) else None,
        more,
    )  # fmt: skip
    numbers = [
        _number("hold_over_prompt", over[PROMPT], null=0.0),
        _number("hold_over_random", over[RANDOM], null=0.0),
        _number("hold_over_other", over[OTHER], null=0.0),
        _number("hold_at_equal_start", even, null=0.0),
        _start_gap(by[HOLD], by[PROMPT]),
    ]
    return held, HoldPressure(pressure=pressure, numbers=tuple(numbers), engaged=engaged)


def _told(x: Difference) -> Difference | None:
    return x if math.isfinite(x.value) else None


def _difference(run: PressureRun, first: Arm | None, second: Arm | None, seed: int) -> Difference:
    """Paired difference of AUC_R; NaN where it cannot be had, and the note says why."""
    if first is None or second is None:
        return Difference(math.nan, None, None, math.nan, 0, 0, "not run, or nothing was scored")
    try:
        return auc_difference(first.cells, second.cells, _sample(run, first, second, seed), seed=seed)
    except (NoRange, TooFewClustersError, GaugeError) as error:
        return Difference(math.nan, None, None, math.nan, 0, 0, f"{error.what}: {error.found}")


def _at_equal_start(run: PressureRun, held: Arm | None, plain: Arm | None, seed: int) -> Estimate:
    if held is None or plain is None:
        return Estimate(math.nan, None, None, 0, 0, "not run, or nothing was scored")
    try:
        return gain_at_equal_start(held.cells, plain.cells, _sample(run, held, plain, seed))
    except (NoRange, TooFewClustersError, GaugeError) as error:
        return Estimate(math.nan, None, None, 0, 0, f"{error.what}: {error.found}")


def _sample(run: PressureRun, first: Arm, second: Arm, seed: int) -> Resample:
    return resample((first.cells, second.cells), seed=seed, draws=run.spec.draws)


def _start_gap(held: Arm | None, plain: Arm | None) -> Number:
    """How much higher the held arm starts: what the gain at an equal start takes out."""
    about: dict[str, Any] = {"name": "hold_start_gap", "direction": "none", "null": 0.0}
    if held is None or plain is None:
        return Number(**about, value=None, reason="not run, or nothing was scored")
    shared = len(set(held.cells.clusters.tolist()) & set(plain.cells.clusters.tolist()))
    gap = delta0(held.cells) - delta0(plain.cells)
    return Number(**about, value=gap, n=shared, reason="descriptive, without interval")


# --- language -------------------------------------------------------------------------------------------------


def _read(run: PressureRun, condition: str) -> Reading:
    """What a condition does to running text."""
    about = run.meta.get("prose")
    if not about or about["reason"]:
        why = about["reason"] if about else NOT_READ
        return Reading(Estimate(math.nan, None, None, 0, 0, why), None, 0)
    seed = derive_seed(run.spec.root, "prose") % (1 << 32)
    return reading_of(run.prose, condition, planned=len(about["keys"]), seed=seed, draws=run.spec.draws)


def _text(condition: str, found: Reading) -> HeldText:
    ratio = _number("perplexity_ratio", found.ratio, null=1.0, direction="lower")
    engaged = Number(
        name="text_engaged", value=found.engaged, null=0.0, direction="none", n=found.ratio.n, unit="share of tokens",
        reason="" if found.engaged is not None else found.ratio.note,
    )  # fmt: skip
    return HeldText(condition=condition, label=LABELS[condition], ratio=ratio, engaged=engaged, tokens=found.tokens)


def _coherence(run: PressureRun, arms: Arms) -> Number:
    """Share of coherent replies, held to unheld, under the pressure at which the hold does worst."""
    worst: tuple[float, int] | None = None
    for p in run.spec.pressing:
        held, plain = (arms.get((run.spec.primary, p, c)) for c in (HOLD, PROMPT))
        if held is not None and plain is not None and plain.failed < 1:
            found = ((1 - held.failed) / (1 - plain.failed), len(set(held.cells.clusters.tolist())))
            worst = found if worst is None or found[0] < worst[0] else worst
    about: dict[str, Any] = {"name": "hold_coherence", "null": 1.0, "direction": "higher"}
    if worst is None:
        return Number(**about, value=None, reason="no coherent reply to compare with")
    return Number(**about, value=worst[0], n=worst[1], reason="no interval: the value decides")


def _broken(run: PressureRun, arms: Arms) -> str:
    """Why an incoherent arm forbids a word; empty if none does."""
    for p in run.spec.pressing:
        for c in (PROMPT, HOLD):
            arm = arms.get((run.spec.primary, p, c))
            if arm is not None and arm.failed > MAX_FAILED:
                return f"{arm.failed:.0%} of the replies of {c} under {p} fail the coherence gate"
    return ""


def _distinct(run: PressureRun) -> Number:
    """Distinct 3-grams of what each person says, held to unheld, mean over persons of either."""
    shares = [_shares(run, c) for c in (HOLD, PROMPT)]
    about: dict[str, Any] = {"name": "hold_distinct", "null": 1.0, "direction": "higher"}
    held, plain = (float(np.mean(s)) if s else math.nan for s in shares)
    if not plain > 0 or math.isnan(held):
        return Number(**about, value=None, reason="too little speech")
    return Number(**about, value=held / plain, n=len(shares[0]), reason="no interval: the value decides")


def _shares(run: PressureRun, condition: str) -> Sequence[float]:
    words: dict[str, list[str]] = {}
    for talk in run.talks:
        if talk.condition == condition and not talk.id.startswith("cal.") and talk.personas:
            words.setdefault(talk.personas[0], []).extend(w for t in talk.turns for w in t.reply.lower().split())
    return [s for w in words.values() if (s := distinct_share(w)) is not None]


# --- words ----------------------------------------------------------------------------------------------------


def _warnings(family: Sequence[HeldUnder], run: PressureRun) -> tuple[str, ...]:
    """What a reader must know beside the word."""
    apart = [f"{x.engaged_more:+.2f} under {x.pressure}".replace("-", "−") for x in family if not x.controlled]
    out = []
    if apart:
        out.append(
            f"The hold on random directions does not engage as often as the hold ({', '.join(apart)} of all tokens, "
            f"±{ENGAGED_WITHIN:g} is allowed): it is another dose there, and B − C shows nothing."
        )
    if missing := [c for c in (RANDOM, OTHER) if c not in run.conditions]:
        alone = missing == [OTHER] and run.spec.personas < 2
        out.append(
            "With one persona there is nobody else's range: B − D was not run."
            if alone
            else f"The controls of the hold have not been run ({', '.join(missing)}): go on with the run."
        )
    return tuple(out)


def _number(name: str, e: Estimate | Difference, **more: Any) -> Number:
    value, low, high = (e.value, e.low, e.high) if math.isfinite(e.value) else (None, None, None)
    return Number(name=name, value=value, low=low, high=high, n=e.n, unscored=e.unscored, reason=e.note, **more)
