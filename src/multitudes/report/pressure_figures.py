"""Drawings of a pressure run: retention, survival with numbers at risk, recovery arrows, matched starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from multitudes.report.figures import row
from multitudes.report.svg import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    H,
    Markup,
    Range,
    Series,
    W,
    curve_panel,
    join,
    nice_range,
    picture,
    scale,
    tag,
    track,
)
from multitudes.report.words import interval, percent, shown, two
from multitudes.study.pressure.result import ArmResult, MatchResult, Steps

AT_RISK = 44  # room below a survival panel for the numbers at risk


def kept_panel(arm: ArmResult, neutral: ArmResult | None) -> Markup:
    """R_t with its band, and the neutral run of equal length dashed."""
    series = [Series(f"under {arm.pressure}", "accent", _points(arm))]
    if neutral is not None and neutral.curve and neutral.pressure != arm.pressure:
        series.insert(0, Series("neutral talk of equal length", "ink", _points(neutral)))
    # Bands of few base prompts run far out: the frame follows the curves, and the table has the limits.
    values = [v for s in series for p in s.points if not math.isnan(v := p[1])]
    y = nice_range(min(0.0, *values), max(1.0, *values))
    series = [s._replace(points=tuple(_inside(p, y) for p in s.points)) for s in series]
    words = "; ".join(
        f"{s.name}: " + ", ".join(f"{percent(p[1])} at turn {p[0]:g}" for p in s.points) for s in series
    )
    return curve_panel(
        series, y, x_label="turn", tick=lambda v: f"{v * 100:.3g}%", null=0.0, null_name="no persona",
        title=f"{arm.label} under {arm.pressure}", description=words, units="cells",
    )  # fmt: skip


Row = tuple[float, float, float | None, float | None, int]


def _points(arm: ArmResult) -> tuple[Row, ...]:
    return tuple((p.x, p.value, p.low, p.high, p.n) for p in arm.curve)


def _inside(p: Row, y: Range) -> Row:
    low, high = (None if v is None else min(max(v, y.low), y.high) for v in (p[2], p[3]))
    return p[0], p[1], low, high, p[4]


def survival_panel(arm: ArmResult, neutral: ArmResult | None, last: float) -> Markup:
    """Kaplan-Meier steps of the arm and, dashed, of its neutral run; the numbers at risk stand below."""
    height = H + AT_RISK
    at_x, at_y = scale(0, last, LEFT + 6, W - RIGHT - 6), scale(0, 1, H - BOTTOM, TOP)
    parts: list[Markup] = []
    for v in (0.0, 0.25, 0.5, 0.75, 1.0):
        line = "null" if v == 0.5 else "grid"
        parts.append(tag("line", class_=line, x1=LEFT, x2=W - RIGHT, y1=at_y(v), y2=at_y(v)))
        parts.append(tag("text", f"{v:.0%}", class_="tick", x=LEFT - 6, y=at_y(v) + 4, text_anchor="end"))
    probes = [p.x for p in arm.levels if p.x <= last]
    for x in probes:
        parts.append(tag("text", f"{x:g}", class_="tick", x=at_x(x), y=H - BOTTOM + 16, text_anchor="middle"))
    parts.append(
        tag("text", "turn", class_="axis", x=(LEFT + W - RIGHT) / 2, y=H - BOTTOM + 32, text_anchor="middle")
    )
    drawn = [("accent", f"under {arm.pressure}", arm.steps)]
    if neutral is not None and neutral.steps is not None and neutral.pressure != arm.pressure:
        drawn.insert(0, ("ink", "neutral", neutral.steps))
    words = []
    for k, (tone, name, steps) in enumerate(reversed(drawn)):
        if steps is None:
            continue
        parts.append(tag("polyline", class_=f"line {tone}", points=_stairs(steps, last, at_x, at_y)))
        y = H - BOTTOM + 52 + 16 * k
        parts.append(tag("text", "at risk" if tone == "accent" else "neutral", class_="tick n", x=2, y=y))
        for x in probes:
            parts.append(tag("text", f"{at_risk(steps, x):g}", class_="tick n", x=at_x(x), y=y, text_anchor="middle"))
        words.append(f"{name}: {steps.rows[-1][3]:.0%} have not dropped the persona by turn {last:g}")
    return picture(parts, W, height, title=f"{arm.label} under {arm.pressure}", description="; ".join(words))


def at_risk(steps: Steps, turn: float) -> float:
    """Conversations that had neither flipped nor been lost just before a turn.

    >>> at_risk(Steps(rows=((2.0, 8.0, 3.0, 0.625), (4.0, 5.0, 0.0, 0.625))), 0), at_risk(
    ...     Steps(rows=((2.0, 8.0, 3.0, 0.625), (4.0, 5.0, 0.0, 0.625))), 4)
    (8.0, 5.0)
    """
    later = [r[1] for r in steps.rows if r[0] >= turn]
    return later[0] if later else 0.0


def _stairs(steps: Steps, last: float, at_x: object, at_y: object) -> str:
    x_of, y_of = at_x, at_y
    points: list[tuple[float, float]] = [(0.0, 1.0)]
    for turn, _, _, survival in steps.rows:
        points += [(min(turn, last), points[-1][1]), (min(turn, last), survival)]
    points.append((last, points[-1][1]))
    return " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)  # type: ignore[operator]


def recovery_rows(arms: Sequence[ArmResult], last: float) -> Markup:
    """For each arm an arrow from D at T to D after the pressure; the ring is the start, the dashed mark the floor."""
    at = scale(0, 1, 0, 100)
    rows = []
    for arm in arms:
        by = {p.x: p.value for p in arm.levels}
        floors = {p.x: p.value for p in arm.floors}
        end = max(by)
        start, pressed, after = by[0.0], by.get(last, math.nan), by[end]
        if end <= last or any(map(math.isnan, (start, pressed, after))):
            continue
        rho = arm.number("rho")
        told = f"ρ {two(rho.value)}" if rho is not None and rho.value is not None else (rho.reason if rho else "")
        around = "" if rho is None else interval(rho.low, rho.high, two)
        label = (
            f"{arm.label} under {arm.pressure}: {two(start)} at the start, {two(pressed)} at turn {last:g}, "
            f"{two(after)} at turn {end:g}"
        )
        marks: list[object] = [
            _dashed(at(floors[end])),
            tag("circle", class_="ring", cx=_pc(at(start)), cy=13, r=5),
            tag("line", class_="whisker accent", x1=_pc(at(pressed)), x2=_pc(at(after)), y1=13, y2=13),
            _head(pressed, after, at),
            tag("circle", class_="dot ink", cx=_pc(at(pressed)), cy=13, r=4),
        ]
        rows.append(row(f"{arm.label}, {arm.pressure}", track(marks, label=label), told, around))
    return join(rows)


def _head(pressed: float, after: float, at: object) -> Markup:
    """The head of an arrow, in percent of the width: a dot where there is no way to show a direction."""
    where = _pc(at(after))  # type: ignore[operator]
    if abs(after - pressed) < 0.02:
        return tag("circle", class_="dot accent", cx=where, cy=13, r=4)
    step = 7 if after > pressed else -7
    points = f"0,0 {-step},-5 {-step},5"
    return tag("svg", tag("polygon", class_="person accent", points=points), x=where, y=13, overflow="visible")


def matching_rows(match: MatchResult, labels: dict[str, str]) -> Markup:
    """Where every rung starts on the calibration split; the target dashed, what was chosen filled."""
    at = scale(0, 1, 0, 100)
    rows = []
    for r in match.rungs:
        marks: list[object] = [_dashed(at(match.target))] if match.target is not None else []
        marks.append(tag("circle", class_="dot accent" if r.chosen else "ring", cx=_pc(at(r.level)), cy=13, r=5))
        name = f"{r.condition} {labels[r.condition]}: {r.rung}"
        rows.append(
            row(name, track(marks, label=f"{name}, D₀ {two(r.level)}"), two(r.level), "chosen" if r.chosen else "")
        )
    for s in match.starts:
        marks = [_dashed(at(match.target))] if match.target is not None else []
        marks.append(tag("circle", class_="dot ink", cx=_pc(at(s.level)), cy=13, r=5))
        told = f"{s.deviation_sd:+.2f} SD, {'matched' if s.matched else 'unmatched'}".replace("-", "−")
        name = f"{s.condition} {labels[s.condition]}: as run"
        rows.append(row(name, track(marks, label=f"{name}, D₀ {two(s.level)}, {told}"), two(s.level), told))
    return join(rows)


def _dashed(percent_of_width: float) -> Markup:
    x = _pc(percent_of_width)
    return tag("line", class_="null", x1=x, x2=x, y1=3, y2=23)


def _pc(v: float) -> str:
    return f"{min(max(v, 0.8), 99.2):.2f}%"


def falls(steps: Steps) -> bool:
    """Whether anybody dropped the persona at all."""
    return any(b[3] < a[3] for a, b in pairwise(((0.0, 0.0, 0.0, 1.0), *steps.rows)))


def number_cell(arm: ArmResult, name: str) -> Markup:
    """A table cell: value or text, with its limits below; reasons are in the machine form."""
    found = arm.number(name)
    if found is None:
        return tag("td", "n/a")
    around = interval(found.low, found.high, two)
    if found.text:
        value, _, limits = found.text.partition(" [")
        return tag("td", value, tag("small", f"[{limits}" if limits else around) if limits or around else None)
    if found.value is None or math.isnan(found.value):
        return tag("td", shown(found.value))
    return tag("td", two(found.value) if math.isfinite(found.value) else shown(found.value),
               tag("small", around) if around else None)  # fmt: skip
