"""Why a calibration recommends a cap, or none, in words."""

from __future__ import annotations

from collections.abc import Sequence

from multitudes.axis.calibration import Point, Sweep, Tried, ratio_gate
from multitudes.axis.capability import MOST_RATIO, CapabilityCheck
from multitudes.axis.pareto import Choice
from multitudes.axis.settings import span


def why_taken(sweep: Sweep, chosen: Choice, check: CapabilityCheck) -> str:
    """Why this cap, in words."""
    p = sweep.points[chosen.taken]
    s = p.setting
    before, after = sweep.points[0].outside, p.outside
    parts = [
        f"cap {s.quantile} at layers {span(s.layers)}: role-played replies move by z = {p.gain.value:+.2f} at block "
        f"{s.after(sweep.axis.n_layers)}, {_who_words(sweep, p)}replies outside the default's range go "
        f"from {before:.0%} to {after:.0%}; {check.why}; surprise of the plain model at role-played "
        f"replies {p.nll_change.value:+.2f} nats a token"
    ]
    others = len(chosen.tied) - 1
    if chosen.best != chosen.taken:
        best = sweep.points[chosen.best].setting.name
        parts.append(
            f"{best} moves more, but by less than its error, and lets roles say more of who they are, touches more "
            "layers or lies higher"
        )
    elif others:
        parts.append(f"{others} other caps do as much within their error, on more layers or higher")
    else:
        parts.append("It has the largest effect of all caps on the front that pass the perplexity gate")
    beaten = sweep.beaten_by(chosen.taken)
    if beaten:
        parts.append(
            f"It is beaten in every respect by {', '.join(beaten)}; a push, unlike a floor, moves every token"
        )
    return ". ".join(parts)


def _who_words(sweep: Sweep, p: Point) -> str:
    """What becomes of who the roles say they are; empty where it could not be seen."""
    change = p.who_change
    if change is None or not sweep.who_decides:
        return ""
    told = f"roles asked who they are name themselves with D = {p.who:.2f} instead of {sweep.points[0].who:.2f}"
    if change.low is None or change.high is None:
        return f"{told}, "
    seen = "" if change.low > 0 or change.high < 0 else ", not shown to change"
    return f"{told} ({change.low:+.2f} to {change.high:+.2f}{seen}), "


def why_none(sweep: Sweep, tried: Sequence[Tried], tries: int) -> str:
    """Why no cap is recommended, in words."""
    caps = [p for p in sweep.points if p.setting.kind == "cap"]
    if tried:
        failed = "; ".join(f"{sweep.points[t.place].setting.name}: {t.check.why}" for t in tried)
        more = " No more settings were checked" if len(tried) >= tries else ""
        return f"no cap is recommended: those that were checked did not pass. {failed}.{more}"
    if not any(ratio_gate(p) for p in caps):
        least = min(p.ratio.value for p in caps)
        return f"no cap is recommended: none has a perplexity ratio of at most {MOST_RATIO}; the least is {least:.3f}"
    if not any(p.acts for p in caps if ratio_gate(p)):
        return "no cap is recommended: none that keeps perplexity moves role-played replies by more than their error"
    return "no cap is recommended: those that keep perplexity and move replies are beaten by others in every respect"
