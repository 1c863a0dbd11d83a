"""From stored log-likelihoods to levels D of one conversation, persona and disposition."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.retention.behaviour import Behaviour
from multitudes.measure.retention.coherence import Gate, why_incoherent
from multitudes.measure.retention.forced_choice import item_levels, log_odds, option_scores, prior_corrected
from multitudes.measure.retention.style import Style
from multitudes.simulate.press import Pressed
from multitudes.simulate.probes import BATTERIES

FloatArray = NDArray[np.float64]
Scale = Literal["level", "corrected", "log-odds"]
Priors = Mapping[tuple[str, str, str], FloatArray]  # (persona, battery, item) -> scores of both answers, no history
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Ruler:
    """What calibration decided about measuring.

    Attributes:
        items: Items that are kept, by persona and battery.
        events: (persona, battery) pairs with enough items for flips.
        gate: Limits of coherence; None applies the rules without a limit of likelihood.
        behaviour: Calibrated likelihood ratio; None where it is not measured.
        style: Classifier of manner; None where it is not measured.
        reasons: Why a disposition is not available, by disposition.
    """

    items: Mapping[tuple[str, str], tuple[str, ...]]
    events: frozenset[tuple[str, str]]
    gate: Gate | None = None
    behaviour: Behaviour | None = None
    style: Style | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)


def words(text: str) -> list[str]:
    """Words and marks of a reply: what the coherence gate calls tokens, the same for every engine."""
    return _WORD.findall(text)


def item_level(talk: Pressed, persona: str, battery: str, turn: int) -> dict[str, float]:
    """D of each item of one probe."""
    found = [s for s in talk.scores if (s.persona, s.battery, s.turn) == (persona, battery, turn)]
    if not found:
        return {}
    levels = item_levels(option_scores([[s.own, s.other] for s in found]))
    return {s.item: float(d) for s, d in zip(found, levels, strict=True)}


def level(
    talk: Pressed, evidence: Mapping[str, Any], persona: str, disposition: str, turn: int, ruler: Ruler
) -> float:
    """D of one probe, NaN where it is not scored."""
    if disposition in BATTERIES:
        kept = ruler.items.get((persona, disposition), ())
        values = [d for k, d in item_level(talk, persona, disposition, turn).items() if k in kept]
        return float(np.mean(values)) if values else math.nan
    if disposition == "judged":
        mark = (evidence.get("judged", {}).get(persona) or {}).get(str(turn))
        return math.nan if mark is None else float(mark) / 100
    if disposition == "beh":
        if ruler.behaviour is None or ruler.behaviour.reason:
            return math.nan
        ratio = (evidence.get("llr", {}).get(persona) or {}).get(str(turn))
        return math.nan if ratio is None else float(ruler.behaviour.levels(float(ratio)))
    reply = next((t.reply for t in talk.turns if t.turn == turn), None)
    if reply is None or ruler.style is None or persona not in ruler.style.personas:
        return math.nan
    return ruler.style.level(reply, persona)


def coherent(talk: Pressed, evidence: Mapping[str, Any], turns: int, ruler: Ruler) -> list[bool]:
    """Whether each of ``turns`` replies is speech. Replies that never came count as speech: faults are no babble."""
    out = [True] * turns
    nll, judged = evidence.get("nll", {}), evidence.get("coherence", {})
    for t in talk.turns:
        likelihood, mark = nll.get(str(t.turn)), judged.get(str(t.turn))
        out[t.turn] = not why_incoherent(
            words(t.reply), mean_nll=None if likelihood is None else float(likelihood),
            max_nll=None if ruler.gate is None else ruler.gate.max_nll,
            judged=None if mark is None else float(mark),
        )  # fmt: skip
    return out


def levels(
    talk: Pressed, evidence: Mapping[str, Any], persona: str, disposition: str, probes: Sequence[int], ruler: Ruler,
    *, scale: Scale = "level", priors: Priors | None = None,
) -> FloatArray:  # fmt: skip
    """(t,) D at each probe, before any censoring; a forced choice has other scales, for sensitivity.

    Args:
        talk: One conversation.
        evidence: What the plain model and a judge say about it.
        persona: Whose level.
        disposition: Which.
        probes: Turns.
        ruler: What calibration decided.
        scale: ``level`` is D; ``corrected`` is D of scores without their ``priors``; ``log-odds`` is Λ, nats.
        priors: Scores without a history.
    """
    if disposition not in BATTERIES:
        return np.array([level(talk, evidence, persona, disposition, t, ruler) for t in probes])
    kept = frozenset(ruler.items.get((persona, disposition), ()))
    found = [s for s in talk.scores if s.persona == persona and s.battery == disposition and s.item in kept]
    out = np.full(len(probes), math.nan)
    if not found:
        return out
    scores = option_scores([[s.own, s.other] for s in found])
    if scale == "corrected":
        unknown, known = np.full(2, math.nan), priors or {}
        scores = prior_corrected(scores, [known.get((persona, disposition, s.item), unknown) for s in found])
    values = log_odds(scores) if scale == "log-odds" else item_levels(scores)
    values = np.where(np.isfinite(values), values, math.nan)
    turns = np.array([s.turn for s in found])
    for i, t in enumerate(probes):
        if (here := turns == t).any():
            out[i] = float(values[here].mean())
    return out
