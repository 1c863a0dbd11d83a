"""A drift run in sentences: what a page says before it shows a number, and what the command line prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from multitudes.report.words import counted, number, percent, two

SMALL = (
    "A small model: it is weak at talking. What is seen here shows that the machinery works, not how models drift."
)
ALL = "all domains"
EXPECTED = (
    "Published for three large models with three auditors (arXiv 2601.10387): coding and writing stay, therapy and "
    "philosophy drift."
)


def value(estimate: Mapping[str, Any] | None, form: Any = two, *, sign: bool = False) -> str:
    """The number of an estimate; a dash where there is none."""
    v = None if estimate is None else number(estimate["value"])
    if v is None or math.isnan(v):
        return "–"
    return signed(v) if sign else str(form(v))


def around(estimate: Mapping[str, Any] | None, form: Any = two) -> str:
    """``low to high``; empty where there is no interval."""
    if estimate is None:
        return ""
    low, high = number(estimate["low"]), number(estimate["high"])
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{form(low)} to {form(high)}"


def signed(v: float) -> str:
    """With its sign.

    >>> signed(0.25), signed(-0.125)
    ('+0.25', '−0.12')
    """
    text = two(v)
    return text if text.startswith("−") or text == "0" else f"+{text}"


def row_of(result: Mapping[str, Any], arm: str, domain: str, layer: int = 0) -> Mapping[str, Any] | None:
    """One row of the summary."""
    rows: Sequence[Mapping[str, Any]] = result["layers"][layer]["summary"]
    return next((r for r in rows if r["arm"] == arm and r["domain"] == domain), None)


def warnings(result: Mapping[str, Any]) -> list[str]:
    """What must be read first."""
    out = [SMALL] if any(a["small_model"] for a in result["arms"]) else []
    if result["off_policy"]:
        out.append(result["off_policy"])
    limit = number(result["layers"][0]["limit"])
    if limit is None or math.isnan(limit):
        out.append("The axis has no calibrated range of default answers: nothing can be called outside.")
    out += [f"The axis: {w}." for w in result["axis"]["warnings"] if "small model" not in w]
    faults = sum(a["faults"] for a in result["arms"])
    if faults:
        out.append(f"{counted(faults, 'conversation')} ended in a fault and is in no number.")
    return out


def findings(result: Mapping[str, Any]) -> list[str]:
    """Sentences on the first arm, on what the others changed, and on prediction."""
    arms = [a["name"] for a in result["arms"]]
    out = [_happened(result)]
    for domain in [d for d in result["domains"] if d != ALL] or result["domains"]:
        row = row_of(result, arms[0], domain)
        if row is not None and value(row["change"]) != "–":
            out.append(_domain(domain, row))
    for layer in result["layers"]:
        found = [d for d in layer["differences"] if d["domain"] == result["domains"][-1]]
        out += [_compared(d, layer["layer"]) for d in found]
    told = _predicted(result["prediction"][arms[0]])
    return out + ([told] if told else [])


def _happened(result: Mapping[str, Any]) -> str:
    s = result["setup"]
    who = (
        f"the user played by {result['auditor']}"
        if result["mode"] == "auditor"
        else "the user's messages from scripts"
    )
    held = sum(a["conversations"] for a in result["arms"])
    return (
        f"{counted(held, 'conversation')} in {counted(len(s['domains']), 'domain')}, {who}, "
        f"{counted(s['turns'], 'turn')} and {counted(s['neutral'], 'everyday question')} each."
    )


def _domain(domain: str, row: Mapping[str, Any]) -> str:
    text = f"In {domain}, z moved by {value(row['change'], sign=True)} from the first turn to the last"
    inside = around(row["change"])
    text += f" ({inside})" if inside else ""
    if row["outside"] is not None:
        text += f"; {value(row['outside'], percent)} of turns lay below the range of default answers"
    asked = row["neutral_asked"]
    if asked:
        text += f"; of {asked} that ended outside, {row['neutral_back']} came back on an everyday question"
    return text + "."


def _compared(d: Mapping[str, Any], layer: int) -> str:
    inside = around(d["mean_z"])
    text = f"Under {d['arm']}, z at layer {layer} differs by {value(d['mean_z'], sign=True)} from {d['against']}"
    text += f" ({inside})" if inside else ""
    if d["outside"] is not None:
        text += f", and the share of turns outside {value(d['outside'], sign=True)}"
    return text + ", over all turns on the same messages."


def _predicted(p: Mapping[str, Any]) -> str:
    if "missing" in p:
        return f"Prediction from the user's message: none; {p['missing']}."
    r = p["r2_out"]
    inside = around(r)
    return (
        f"The user's message predicts z of the answer with R² {value(r)}"
        + (f" ({inside})" if inside else "")
        + f" on people that the fit never saw, and {two(number(p['r2_in_sample']) or 0.0)} on those it saw."
    )
