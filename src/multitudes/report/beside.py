"""The panel beside people: whom it misses, whom it could replace, and whether its people are too much alike."""

from __future__ import annotations

import math
from typing import Any

from multitudes.core.records import Reading, Score
from multitudes.report.figures import Figure, row, with_
from multitudes.report.svg import Markup, dot_row, join, scale, tag, track
from multitudes.report.words import counted, interval, number, percent, shown

_SCORES = {
    "alt_winning_rate": "People whom a simulated person could replace (alternative annotator test, passed from 50%)",
    "alt_advantage": "Items on which a simulated person is at least as close to the others as the one left out",
    "first_component": "Differences between the simulated people that lie along one line",
    "first_component_people": "The same in people",
}


def beside(reading: Reading | None) -> Figure | None:
    """Bias by group, and the other looks beside people; None where nobody's answers were given."""
    if reading is None:
        return None
    by_name = {s.name: s for s in reading.scores}
    found = [(called, by_name[name]) for name, called in _SCORES.items() if name in by_name]
    groups: list[dict[str, Any]] = reading.tables.get("groups") or []
    if not found and not groups:
        return None
    caption = (
        "How much higher or lower simulated people answer than the people of the same group: a panel that stands in "
        "for everybody has every dot on the dashed line."
    )
    blank = Figure("beside", "Beside people", caption, shape="half tall")
    drawn, data, notes = _rows(groups)
    if not drawn:
        why = by_name["group_bias"].note if "group_bias" in by_name else ""
        drawn = [tag("p", f"No group can be compared: {why or 'none is large enough'}.", class_="small")]
    for called, score in found:
        text, around = _said(score)
        notes.append(f"{called}: {text}{f' ({around})' if around else ''}{f'; {score.note}' if score.note else ''}.")
        data.append((called, "", text, around))
    return with_(
        blank, body=join(drawn), notes=tuple(notes), rows=tuple(data),
        key=(("accent", "simulated minus real people, with 95% interval"), ("null", "no difference")),
        head=("what", "people and personas", "value", "95% interval"),
    )  # fmt: skip


def _rows(groups: list[dict[str, Any]]) -> tuple[list[Markup], list[tuple[str, ...]], list[str]]:
    """Drawings, data and notes of the groups."""
    ends = [abs(v) for g in groups for k in ("low", "high") if (v := number(g[k])) is not None and math.isfinite(v)]
    at = scale(-max(ends, default=1.0) or -1.0, max(ends, default=1.0) or 1.0, 0, 100)
    drawn: list[Markup] = []
    data: list[tuple[str, ...]] = []
    small: list[str] = []
    for g in groups:
        name = f"{g['attribute']} = {g['group']}"
        who = f"{g['people']} and {g['simulated']}"
        value, low, high = (number(g[k]) for k in ("pooled", "low", "high"))
        around = interval(low, high)
        data.append((name, who, shown(value), around))
        if value is None:
            small.append(name)
            continue
        mark = track([dot_row(value, low, high, 0.0, at)], label=f"{name}: {shown(value)}, interval {around}")
        drawn.append(row(name, mark, shown(value), around))
    notes = [f"Too small to compare: {', '.join(small)}."] if small else []
    if drawn:
        notes.insert(0, f"{counted(len(drawn), 'group')}, each drawn towards the common bias by its own uncertainty.")
    return drawn, data, notes


def _said(score: Score) -> tuple[str, str]:
    return percent(score.value), interval(score.low, score.high, percent)
