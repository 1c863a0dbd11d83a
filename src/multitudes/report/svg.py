"""Pictures from numbers: small inline SVG, built by one function that escapes everything it is given.

A general chart library would add megabytes of script to a page whose figures are six still pictures. These are
text: they weigh kilobytes, take their colours from the page's style sheet (so that dark mode and print come for
free), are read aloud by a screen reader, and need no script at all.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

Scale = Callable[[float], float]


class Markup(str):
    """Text that is HTML already. Only ``tag`` and ``join`` make it; templates take it as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        """The convention by which template engines know that nothing is left to escape."""
        return str(self)


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """One element. Children and attribute values are escaped unless they are ``Markup``; None leaves them out.

    A trailing underscore of an attribute is dropped, others become hyphens.

    >>> tag("text", "a < b", x=1.5, class_="tick")
    '<text x="1.5" class="tick">a &lt; b</text>'
    """
    given = [(k.rstrip("_").replace("_", "-"), v) for k, v in attributes.items() if v is not None]
    head = "".join(f' {k}="{html.escape(_plain(v))}"' for k, v in given)
    return Markup(f"<{name}{head}>{join(children)}</{name}>")


def join(parts: Iterable[object]) -> Markup:
    """Parts one after the other, escaped unless they are ``Markup``."""
    return Markup(
        "".join(p if isinstance(p, Markup) else html.escape(_plain(p), quote=False) for p in parts if p is not None)
    )


def _plain(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


class Range(NamedTuple):
    """Ends of an axis and where its ticks are."""

    low: float
    high: float
    ticks: tuple[float, ...]


def nice_range(low: float, high: float, *, ticks: int = 4) -> Range:
    """A range with round ends that holds ``low`` and ``high``.

    >>> nice_range(-1.3, 1.7)
    Range(low=-2.0, high=2.0, ticks=(-2.0, -1.0, 0.0, 1.0, 2.0))
    """
    if not high > low:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / ticks
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    values = tuple(round(i * step, 10) for i in range(first, last + 1))
    return Range(values[0], values[-1], values)


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """A linear map of [low, high] onto [start, end]."""
    return lambda v: start + (v - low) / (high - low) * (end - start)


class Series(NamedTuple):
    """A line with its band.

    Attributes:
        tone: ``accent`` or ``ink``: what the page's style sheet colours it with.
        points: (x, value, low, high, n) rows; a NaN value is a gap.
    """

    name: str
    tone: str
    points: tuple[tuple[float, float, float | None, float | None, int], ...]


W, H, LEFT, RIGHT, TOP, BOTTOM = 320, 224, 40, 12, 12, 50  # one panel, in units that are pixels on a phone


def curve_panel(
    series: Sequence[Series],
    y: Range,
    *,
    x_label: str,
    tick: Callable[[float], str],
    null: float | None = None,
    null_name: str = "",
    title: str,
    description: str,
    zones: Sequence[tuple[float, float]] = (),
    units: str = "people",
) -> Markup:
    """Lines with bands over turns, the line of "nothing there" dashed and named.

    Stretches of turns may be shaded (``zones``); ``units`` says what a point is a mean of.
    """
    xs = sorted({p[0] for s in series for p in s.points})
    low, high = (xs[0] - 0.5, xs[-1] + 0.5) if len(xs) == 1 else (xs[0], xs[-1])
    at_x, at_y = scale(low, high, LEFT + 6, W - RIGHT - 6), scale(y.low, y.high, H - BOTTOM, TOP)
    parts: list[object] = [
        tag("rect", class_="zone faint", x=at_x(a), width=at_x(b) - at_x(a), y=TOP, height=H - BOTTOM - TOP)
        for a, b in ((max(a, low), min(b, high)) for a, b in zones)
        if b > a
    ]
    parts += [
        join(
            [
                tag("line", class_="grid", x1=LEFT, x2=W - RIGHT, y1=at_y(v), y2=at_y(v)),
                tag("text", tick(v), class_="tick", x=LEFT - 6, y=at_y(v) + 4, text_anchor="end"),
            ]
        )
        for v in y.ticks
    ]
    ns = {p[0]: p[4] for s in series for p in s.points}
    for x in thinned(xs):
        parts.append(tag("text", f"{x:g}", class_="tick", x=at_x(x), y=H - BOTTOM + 16, text_anchor="middle"))
        if len(set(ns.values())) > 1:
            parts.append(
                tag("text", f"n {ns[x]}", class_="tick n", x=at_x(x), y=H - BOTTOM + 29, text_anchor="middle")
            )
    whole = (
        f"{x_label} (n = {next(iter(ns.values()))})"
        if len(set(ns.values())) == 1
        else f"{x_label}; n {units} are behind each point"
    )
    parts.append(tag("text", whole, class_="axis", x=(LEFT + W - RIGHT) / 2, y=H - 5, text_anchor="middle"))
    if null is not None and y.low <= null <= y.high:
        parts.append(tag("line", class_="null", x1=LEFT, x2=W - RIGHT, y1=at_y(null), y2=at_y(null)))
    parts += [_line(s, at_x, at_y, dots=len(xs) <= 24) for s in series]
    if null is not None and null_name and y.low <= null <= y.high:
        lines = [[(at_x(p[0]), at_y(p[1])) for p in s.points if not math.isnan(p[1])] for s in series]
        place = _free_place(lines, at_y(null), width=6.2 * len(null_name))
        if place:
            parts.append(tag("text", null_name, class_="null-name", x=place[0], y=place[1]))
    return picture(parts, W, H, title=title, description=description)


def _free_place(
    lines: Sequence[Sequence[tuple[float, float]]], y: float, *, width: float
) -> tuple[float, float] | None:
    """Where a name fits beside the level ``y`` without lying on a line; None lets the key speak alone."""
    xs = (W - RIGHT - width, LEFT + 8, (LEFT + W - RIGHT - width) / 2)
    for left, base in ((x, b) for x in xs for b in (y - 5, y + 14)):
        if base - 11 < TOP or base + 3 > H - BOTTOM:
            continue
        if not any(_crosses(a, b, left, left + width, base - 13, base + 5) for r in lines for a, b in _steps(r)):
            return left, base
    return None


def _steps(line: Sequence[tuple[float, float]]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    return list(pairwise(line)) or [(p, p) for p in line]


def _crosses(a: tuple[float, float], b: tuple[float, float], x0: float, x1: float, y0: float, y1: float) -> bool:
    """Whether the step from ``a`` to ``b`` meets the box, looked at in twenty places."""
    return any(
        x0 <= a[0] + (b[0] - a[0]) * k / 20 <= x1 and y0 <= a[1] + (b[1] - a[1]) * k / 20 <= y1 for k in range(21)
    )


def thinned(xs: Sequence[float], most: int = 8) -> list[float]:
    """At most about ``most`` of the values, evenly, with the last."""
    step = max(1, math.ceil(len(xs) / most))
    return [x for i, x in enumerate(xs) if i % step == 0]


def _line(s: Series, at_x: Scale, at_y: Scale, *, dots: bool) -> Markup:
    out: list[Markup] = []
    runs: list[list[tuple[float, float, float | None, float | None, int]]] = [[]]
    for p in s.points:
        if math.isnan(p[1]):
            runs.append([])
        else:
            runs[-1].append(p)
    for run in (r for r in runs if r):
        band = [(at_x(x), at_y(lo), at_y(hi)) for x, _, lo, hi, _ in run if lo is not None and hi is not None]
        if len(band) > 1:
            edge = [f"{x:.1f},{hi:.1f}" for x, _, hi in band] + [f"{x:.1f},{lo:.1f}" for x, lo, _ in reversed(band)]
            out.append(tag("polygon", class_=f"band {s.tone}", points=" ".join(edge)))
        elif band:
            out.append(
                tag("line", class_=f"whisker {s.tone}", x1=band[0][0], x2=band[0][0], y1=band[0][1], y2=band[0][2])
            )
        if len(run) > 1:
            path = " ".join(f"{at_x(p[0]):.1f},{at_y(p[1]):.1f}" for p in run)
            out.append(tag("polyline", class_=f"line {s.tone}", points=path))
        if dots or len(run) == 1:
            for x, v, _, _, n in run:
                name = tag("title", f"{s.name}, {x:g}: {v:.3g} (n = {n})")
                out.append(tag("circle", name, class_=f"dot {s.tone}", cx=at_x(x), cy=at_y(v), r=3))
    return join(out)


def picture(parts: Iterable[object], width: int, height: int, *, title: str, description: str) -> Markup:
    """An SVG that grows with its column and is read aloud as its title and description."""
    return tag(
        "svg", tag("title", title), tag("desc", description), *parts,
        viewBox=f"0 0 {width} {height}", role="img", aria_label=f"{title}. {description}",
    )  # fmt: skip


def track(
    parts: Iterable[object], *, label: str, zones: Sequence[tuple[float, float]] = (), height: int = 26
) -> Markup:
    """A row's drawing in percent of its width, so that it fits any column: shaded zones below, parts above."""
    shaded = [
        tag("rect", class_="zone", x=f"{a:.2f}%", width=f"{max(b - a, 0.4):.2f}%", y=0, height=height)
        for a, b in zones
    ]
    base = tag("line", class_="grid", x1="0%", x2="100%", y1=height / 2, y2=height / 2)
    return tag("svg", *shaded, base, *parts, class_="track", height=height, role="img", aria_label=label)


def dot_row(
    value: float, low: float | None, high: float | None, null: float | None, at: Scale, height: int = 26
) -> Markup:
    """A dot with its interval and a dashed mark where nothing would be; ``at`` gives percent."""
    mid = height / 2

    def pc(v: float) -> str:
        return f"{min(max(at(v), 0.8), 99.2):.2f}%"

    out: list[object] = []
    if null is not None and math.isfinite(null):
        out.append(tag("line", class_="null", x1=pc(null), x2=pc(null), y1=3, y2=height - 3))
    if low is not None and high is not None and not (math.isnan(low) or math.isnan(high)):
        out.append(tag("line", class_="whisker accent", x1=pc(low), x2=pc(high), y1=mid, y2=mid))
    out.append(tag("circle", class_="dot accent", cx=pc(value), cy=mid, r=5))
    return join(out)
