"""The persona arm beside its placebos, the components of the spread, and the verdict in one sentence."""

from __future__ import annotations

import math
from typing import Any

from multitudes.core.records import Reading
from multitudes.report.figures import Figure, row, share_bar, why_missing, with_
from multitudes.report.svg import Markup, join, tag, track
from multitudes.report.words import interval, number, percent, shown

_ARMS = {
    "persona": "the personas",
    "none": "nobody (same call, several labels)",
    "random-text": "random words as a prompt",
    "shuffled": "a persona's words, shuffled",
    "demographics": "a persona's facts alone",
}
_PARTS = (
    ("persona", "accent", "who is asked, whatever the item"),
    ("interaction", "accent soft", "who is asked, item by item"),
    ("run", "noise", "asking again"),
    ("interaction_and_run", "noise", "item by item, and asking again"),
)


def ladder(reading: Reading | None) -> Figure:
    """Persona share of each arm, and the verdict."""
    caption = (
        "How much of the spread of answers to one question is explained by who answers. A placebo that explains as "
        "much as the personas means that any prompt would do; nobody must explain nothing."
    )
    blank = Figure("ladder", "Personas against placebos", caption, missing=why_missing(reading), shape="half tall")
    if reading is None or blank.missing:
        return blank
    arms: list[dict[str, Any]] = reading.tables.get("ladder") or []
    verdict: dict[str, Any] = reading.tables.get("verdict") or {}
    if not arms:
        return with_(blank, missing="No survey with placebo arms was asked.")
    rows, data, notes = [], [], []
    for arm in arms:
        name = _ARMS.get(arm["arm"], arm["arm"])
        value, low, high = (number(arm[k]) for k in ("icc_within", "low", "high"))
        if value is None or math.isnan(value):
            notes.append(f"{name.capitalize()}: {arm['note']}.")
            continue
        bar = share_bar(name, value, low, high, ours=arm["arm"] == "persona")
        around = interval(low, high, percent)
        rows.append(row(name, bar, percent(value), around))
        data.append((name, shown(value), around, str(arm["people"])))
        if arm["note"]:
            notes.append(f"{name.capitalize()}: {arm['note']}.")
    said = [tag("p", verdict["sentence"], class_="verdict")] if verdict else []
    notes = [*(verdict.get("lines") or []), *notes]
    key = (("accent bar", "the personas"), ("people bar", "a placebo"), ("noise bar", "noise between runs"),
           ("ink", "95% interval"))  # fmt: skip
    return with_(blank, body=join([*said, *rows]), key=key, notes=tuple(notes),
                 head=("arm", "share of who answers", "95% interval", "people"), rows=tuple(data))  # fmt: skip


def components(reading: Reading | None) -> Figure:
    """The spread of answers to one item as one bar, cut into its parts."""
    caption = (
        "Where the differences between two answers to one item come from: if the people were real to the model, the "
        "first two parts would be long; what is left is noise that comes back with every run."
    )
    blank = Figure("components", "What the spread is made of", caption, missing=why_missing(reading), shape="half")
    if reading is None or blank.missing:
        return blank
    found = {c["name"]: max(number(c["value"]) or 0.0, 0.0) for c in reading.tables.get("components") or []}
    parts = [(name, tone, called) for name, tone, called in _PARTS if name in found]
    total = sum(found[name] for name, _, _ in parts)
    if not total > 0:
        return with_(blank, missing="All answers to an item are equal: there is no spread to divide.")
    at, bars, rows = 0.0, [], []
    for name, tone, called in parts:
        share = found[name] / total
        bars.append(tag("rect", class_=f"person {tone}" if tone != "noise" else "noise", x=f"{at:.2f}%",
                        width=f"{100 * share:.2f}%", y=3, height=20))  # fmt: skip
        rows.append((called, shown(found[name]), percent(share)))
        at += 100 * share
    label = "; ".join(f"{called}: {share}" for called, _, share in rows)
    body: list[Markup] = [tag("div", track(bars, label=label), class_="row-track")]
    body.append(tag("ul", *(tag("li", tag("b", share), f" {called}") for called, _, share in rows), class_="parts"))
    if "item" in found:
        note = f"Differences between items ({shown(found['item'])} in squared scale units) are left out: they are no"
        blank = with_(blank, notes=(note + " noise and no persona.",))
    return with_(blank, body=join(body), head=("part", "variance", "share"), rows=tuple(rows))
