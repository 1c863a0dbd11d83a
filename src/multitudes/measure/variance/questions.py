"""Four questions about a panel of simulated people, each answered in three states.

    Q1 signal            Δ = ICC_within of the personas - ICC_within of random texts
    Q2 human-like noise  λ = ln(ρ of the simulator / ρ of people), two-sided: too noisy and too rigid both fail
    Q3 no stereotyping   share that demographics explain, simulator minus people
    Q4 distribution      distance to people over the distance between two halves of the people

What cannot be told is underpowered, never answered. What has no reference is not assessed. Margins are choices, made
before the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.special import ndtri

from multitudes.core.checks import check_range
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.arms import (
    ArmICC,
    FloatArray,
    Interval,
    Parts,
    arm_parts,
    around,
    check_same_items,
    few,
    icc_difference,
    joint_parts,
    no_interval,
)

AnswerState = Literal["supported", "not supported", "underpowered", "not assessed"]
Question = Literal["Q1", "Q2", "Q3", "Q4"]

ALPHA = 0.05  # of the permutation test beside Q1


@dataclass(frozen=True, slots=True)
class Margins:
    """The smallest differences that matter, fixed before the data.

    Attributes:
        q1: Δ that would be worth acting on, a share. An upper limit below it ends the hope for signal.
        q2: Factor in ρ that still counts as human-like, > 1. 2 is the spread of human words; a strict profile is 1.5.
        q3: R²_demo that the simulator may have above people's.
        q4: Distance in units of people's own disagreement.
    """

    q1: float = 0.10
    q2: float = 2.0
    q3: float = 0.05
    q4: float = 1.5

    def __post_init__(self) -> None:
        for name, low in (("q1", 0.0), ("q2", 1.0), ("q3", 0.0), ("q4", 1.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > low):
                raise GaugeError("a margin is out of range", where=name, found=repr(value), expected=f"> {low:g}")


STRICT = Margins(q2=1.5)


class Answered(NamedTuple):
    """One question and its answer.

    Attributes:
        question: Q1 to Q4.
        state: What the data allow to say.
        value: Δ, λ, the difference of R²_demo, or distance over floor; None if not assessed.
        ci95: Its 95 % interval, None where there is none.
        ci90: Its 90 % interval, for Q1 and Q2.
        ours: The simulator's side: ICC of the personas, ρ, R²_demo.
        reference: The other side: ICC of random texts, people's ρ or R²_demo, 1 for Q4.
        reason: Why not: "too noisy", "no human repeats on these items", ...
        note: What else the reader must know, such as few clusters.
    """

    question: Question
    state: AnswerState
    value: float | None = None
    ci95: Interval | None = None
    ci90: Interval | None = None
    ours: float | None = None
    reference: float | None = None
    reason: str = ""
    note: str = ""


def signal(persona: ArmICC, random_text: ArmICC, *, p: float, margins: Margins) -> Answered:
    """Q1: do personas differ by more than texts that describe nobody make the model differ?

    Args:
        persona: The personas.
        random_text: The random texts, on the same items.
        p: Permutation p-value of any persona signal, already adjusted over data types (Holm).
        margins: ``q1``.

    Raises:
        GaugeError: If the arms were asked different items.
    """
    check_range("p", p, 0.0, 1.0)
    delta, ci95 = icc_difference(persona, random_text)
    _, ci90 = icc_difference(persona, random_text, level=0.90)
    state: AnswerState = "underpowered"
    if ci95 is not None and ci95.low > 0 and p < ALPHA:
        state = "supported"
    elif ci95 is not None and ci95.high < margins.q1:
        state = "not supported"
    reason = "no more signal than placebo" if state == "not supported" else ""
    flag = no_interval(persona, random_text) or few(persona, random_text)
    note = "; ".join(x for x in (f"permutation p = {p:.3g}", flag) if x)
    return Answered("Q1", state, delta, ci95, ci90, persona.value, random_text.value, reason, note)


def log_rho(icc: Any) -> FloatArray:
    """Logarithm of ρ, ln((1 - ICC)/ICC): ∞ where there is no signal, -∞ where there is no noise."""
    share = np.clip(np.asarray(icc, dtype=np.float64), 0.0, 1.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log1p(-share) - np.log(share))


def _has_logarithm(arm: ArmICC) -> bool:
    values = np.concatenate([[arm.value], arm.without_persona, arm.without_item])
    return bool(((values > 0) & (values < 1)).all())


def _human_log_rho(human: ArmICC | Estimate) -> tuple[float, Parts]:
    """Logarithm of people's ρ and the parts of its variance."""
    if isinstance(human, ArmICC):
        if no_interval(human) or not _has_logarithm(human):
            raise GaugeError(
                "people's repeats give no noise ratio with an interval",
                where="human",
                found=no_interval(human) or f"ICC_within {human.value:.3g}, 0 or 1 without some person or item",
                expected="ICC_within between 0 and 1 without any one person or item",
            )
        return float(log_rho(human.value)), arm_parts(human, log_rho)
    low, high = human.low, human.high
    if low is None or high is None or not 0 < low <= human.value <= high < math.inf:
        raise GaugeError(
            "people's ρ needs a value within its 95 % interval",
            where="human",
            found=f"{human.value!r} [{low!r}, {high!r}]",
            expected="0 < low <= value <= high < inf",
        )
    error = (math.log(high) - math.log(low)) / (2 * float(ndtri(0.975)))
    return math.log(human.value), [(np.asarray(error**2), math.inf)]


def _noise_interval(ours: ArmICC, human: ArmICC | Estimate, level: float) -> Interval:
    log_human, human_parts = _human_log_rho(human)
    widest = around(ours.value, arm_parts(ours), 0.95)
    if _has_logarithm(ours) and widest.low > 0 and widest.high < 1:
        if isinstance(human, ArmICC):
            parts = joint_parts(ours, human, log_rho)
        else:
            parts = [*arm_parts(ours, log_rho), *human_parts]
        return around(float(log_rho(ours.value)) - log_human, parts, level)
    # Near no signal, or no noise, ln ρ runs off to ±∞ and its standard error says nothing. The limits of ICC are
    # mapped instead, and people's taken at their worst.
    icc, people = around(ours.value, arm_parts(ours), level), around(log_human, human_parts, level)
    return Interval(float(log_rho(icc.high)) - people.high, float(log_rho(icc.low)) - people.low)


def human_like_noise(ours: ArmICC, human: ArmICC | Estimate | None, *, margins: Margins) -> Answered:
    """Q2: is the ratio of run noise to persona signal that of people who were asked twice?

    λ = ln(ρ of the simulator / ρ of people), by jackknife on the log scale; where both sides are designs on the same
    items, an item leaves both at once. Where the interval of ICC_within reaches 0 or 1, its limits are mapped to ρ
    instead; the 95 % interval of λ then has no end on that side.

    Supported if the 90 % interval lies within ± ln q2 (two one-sided tests at 5 %); not supported if the 95 %
    interval lies wholly outside.

    Args:
        ours: The persona arm.
        human: ICC_within of people who answered these items twice, or their ρ on these items with its 95 % interval.
            None: nobody was asked twice, and the question is not assessed.
        margins: ``q2``.

    Raises:
        GaugeError: If people's ρ is 0 or infinite or has no interval, or they were asked other items.

    Source: Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15, for the two one-sided tests.
    """
    if human is None:
        return Answered("Q2", "not assessed", reason="no human repeats on these items")
    if isinstance(human, ArmICC):
        check_same_items(ours, human)
    log_human, _ = _human_log_rho(human)
    log_ours = float(log_rho(ours.value))
    ci95 = ci90 = None
    if not no_interval(ours):
        ci95, ci90 = (_noise_interval(ours, human, level) for level in (0.95, 0.90))
    state, reason = _noise_state(ci95, ci90, math.log(margins.q2))
    value, note = log_ours - log_human, no_interval(ours) or few(ours)
    return Answered("Q2", state, value, ci95, ci90, math.exp(log_ours), math.exp(log_human), reason, note)


def _noise_state(ci95: Interval | None, ci90: Interval | None, margin: float) -> tuple[AnswerState, str]:
    if ci95 is None or ci90 is None:
        return "underpowered", ""
    if ci95.low > margin:
        return "not supported", "too noisy"
    if ci95.high < -margin:
        return "not supported", "too rigid"
    return ("supported" if -margin < ci90.low and ci90.high < margin else "underpowered"), ""


def no_stereotyping(ours: Estimate | None, human: Estimate | None, *, margins: Margins) -> Answered:
    """Q3: do demographics explain more of the simulator's answers than of people's?

    The interval of the difference of two independent estimates is made of the limits of each (MOVER).

    Args:
        ours: R²_demo of the persona arm with its 95 % interval.
        human: The same of people, by the same formula, on the same topic.
        margins: ``q3``.

    Source: Zou & Donner 2008, Statistics in Medicine 27.
    """
    if ours is None or human is None or human.low is None or human.high is None:
        why = "no R²_demo of the simulator" if ours is None else "no R²_demo of people with an interval"
        return Answered("Q3", "not assessed", reason=why)
    _check_finite("Q3", ours, human)
    value = ours.value - human.value
    if ours.low is None or ours.high is None:
        return Answered("Q3", "underpowered", value, ours=ours.value, reference=human.value, note=ours.note)
    ci = Interval(
        value - math.hypot(ours.value - ours.low, human.high - human.value),
        value + math.hypot(ours.high - ours.value, human.value - human.low),
    )
    state: AnswerState = "underpowered"
    if ci.high < margins.q3:
        state = "supported"
    elif ci.low > margins.q3:
        state = "not supported"
    reason = "demographics explain more than in people" if state == "not supported" else ""
    return Answered("Q3", state, value, ci, None, ours.value, human.value, reason, ours.note)


def distribution(ratio: Estimate | None, *, margins: Margins) -> Answered:
    """Q4: is the simulator farther from people than ``q4`` times two halves of the people are from each other?

    Args:
        ratio: Distance over floor with its 95 % interval; None: no human distribution of these items.
        margins: ``q4``.
    """
    if ratio is None:
        return Answered("Q4", "not assessed", reason="no human distribution of these items")
    _check_finite("Q4", ratio)
    if ratio.low is None or ratio.high is None:
        return Answered("Q4", "underpowered", ratio.value, reference=1.0, note=ratio.note)
    state: AnswerState = "underpowered"
    if ratio.high <= margins.q4:
        state = "supported"
    elif ratio.low > margins.q4:
        state = "not supported"
    reason = f"farther from people than {margins.q4:g} × their own disagreement" if state == "not supported" else ""
    return Answered("Q4", state, ratio.value, Interval(ratio.low, ratio.high), None, None, 1.0, reason, ratio.note)


def _check_finite(where: str, *estimates: Estimate) -> None:
    for e in estimates:
        if not all(math.isfinite(x) for x in (e.value, e.low, e.high) if x is not None):
            raise NotFiniteError(
                "an estimate is not finite", where=where, found=f"{e.value!r} [{e.low!r}, {e.high!r}]"
            )
