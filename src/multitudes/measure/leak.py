"""Assistant-voice leak: how often a simulated person sounds like the Assistant, and whether it grows over turns.

A line leaks if any pattern of ``simulate.voice`` fires on it. Guards may have rejected such a line and drawn another,
so two numbers stand side by side: the first draws, which are what the simulator would say by itself, and the kept
lines, which are what the conversation was made of.

Source: own definition; the drift over turns follows the use of slopes in arXiv 2511.00222.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multitudes.core.errors import GaugeError
from multitudes.core.records import Conversation, Curve, Point, Quote, Reading, Score
from multitudes.measure.stats import CurveEstimate, Estimate, bootstrap_curve, bootstrap_mean, bootstrap_slope
from multitudes.simulate.voice import voice_hits

GAUGE = "leak"
QUOTES = 12


def leak_reading(conversations: Sequence[Conversation], *, seed: int = 0, level: float = 0.95) -> Reading:
    """Leak rates of kept lines and of first draws, and the slope over the person's own turns.

    Conversations that are not complete are left out and counted.

    Args:
        conversations: Any; only the user side is looked at.
        seed: Seed of the bootstrap.
        level: Confidence level.

    Returns:
        Scores ``rate``, ``rate_first_draw``, ``slope`` (per 10 own turns), ``rejected`` (share of draws that a guard
        turned down); curve ``rate_by_turn``; quotes of leaking lines; table ``patterns`` with counts by pattern.

    Raises:
        GaugeError: No line to look at.
    """
    whole = [c for c in conversations if c.complete]
    faulted = len(conversations) - len(whole)
    people: list[str] = []
    turns: list[int] = []
    kept: list[float] = []
    first: list[float] = []
    rejected: list[float] = []
    quotes: list[Quote] = []
    counts: dict[str, int] = {}
    for conversation in whole:
        own = 0
        for i, turn in enumerate(conversation.turns):
            if turn.speaker != "user":
                continue
            own += 1
            hits = voice_hits(turn.text)
            for hit in hits:
                counts[hit.name] = counts.get(hit.name, 0) + 1
            if hits:
                why = ", ".join(dict.fromkeys(h.name.replace("_", " ") for h in hits))
                quotes.append(Quote(gauge=GAUGE, text=turn.text, why=why, conversation_id=conversation.id, turn=i))
            people.append(conversation.cluster)
            turns.append(own)
            kept.append(bool(hits))
            first.append(bool(voice_hits(turn.rejected[0].text)) if turn.rejected else bool(hits))
            rejected.append(len(turn.rejected) / (len(turn.rejected) + 1))
    if not kept:
        raise GaugeError(
            "no line of a simulated person to look at",
            found=f"{len(conversations)} conversations, {faulted} with faults",
        )
    mean = {
        "rate": (kept, "share of kept lines with at least one assistant-voice pattern"),
        "rate_first_draw": (first, "the same over the first draw of every line, before any guard"),
        "rejected": (rejected, "share of draws turned down by any guard, mean over lines"),
    }
    scores = [
        _score(name, bootstrap_mean(np.array(values, float), np.array(people), seed=seed, level=level), text, faulted)
        for name, (values, text) in mean.items()
    ]
    slope = bootstrap_slope(np.array(turns), np.array(first, float), np.array(people), seed=seed, level=level)
    text = "least-squares slope of the first-draw rate on the person's own turn, people weighted equally"
    scores.append(_score("slope", slope, text, faulted, unit="share per 10 turns"))
    curves = tuple(
        _curve(name, bootstrap_curve(np.array(turns), np.array(v, float), np.array(people), seed=seed, level=level))
        for name, v in (("rate_by_turn", kept), ("first_draw_by_turn", first))
    )
    table = {"patterns": dict(sorted(counts.items(), key=lambda kv: -kv[1])), "lines": len(kept)}
    return Reading(
        gauge=GAUGE, scores=tuple(scores), curves=curves, quotes=tuple(_spread(quotes, QUOTES)), tables=table
    )


def _score(name: str, found: Estimate, estimator: str, faulted: int, *, unit: str = "share") -> Score:
    return Score(
        gauge=GAUGE, name=name, value=found.value, low=found.low, high=found.high, null=0.0, direction="lower",
        n=found.n, unscored=found.unscored + faulted, unit=unit, estimator=estimator,
        interval="personas, percentile bootstrap" if found.low is not None else "", note=found.note,
    )  # fmt: skip


def _curve(name: str, found: CurveEstimate) -> Curve:
    def end(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    points = tuple(
        Point(x=float(x), value=float(v), low=end(lo), high=end(hi), n=int(n))
        for x, v, lo, hi, n in zip(found.x, found.value, found.low, found.high, found.n, strict=True)
    )
    return Curve(gauge=GAUGE, name=name, x_label="own turn", points=points, null=0.0, unit="share of lines")


def _spread(quotes: Sequence[Quote], n: int) -> list[Quote]:
    """At most ``n`` quotes, one per conversation before any conversation gets a second."""
    seen: dict[str, int] = {}
    ranked = []
    for quote in quotes:
        seen[quote.conversation_id] = seen.get(quote.conversation_id, 0) + 1
        ranked.append((seen[quote.conversation_id], quote))
    return [q for _, q in sorted(ranked, key=lambda pair: pair[0])[:n]]
