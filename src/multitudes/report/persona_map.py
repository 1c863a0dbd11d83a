"""The persona map: dots where answers put people, tied to the rings where the plan put them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from multitudes.report.svg import Markup, picture, scale, tag
from multitudes.report.words import counted, number, shortened, shown

SIDE, PAD, FOOT = 320, 42, 40
MAX_PANELS = 15  # every pair of six axes
MAX_LABELS = 40  # with more people, names only appear when a dot is pointed at
MAX_TIES = 400
MAX_NAME = 40  # letters of an axis name that fit beside a panel
COLLAPSED = 0.05  # a spread of all dots within this is one spot to the eye
LABEL_PX = 5.6  # mean width of a letter of a label

Place = tuple[float, float]
Box = tuple[float, float, float, float]


def map_panels(
    people: Sequence[str], axes: Sequence[str], z: Sequence[Sequence[Any]], t: Sequence[Sequence[Any]] | None
) -> tuple[Markup, tuple[str, ...]]:
    """One panel per pair of axes (one axis: a strip), and what has to be said below them."""
    pairs = list(combinations(range(len(axes)), 2)) or [(0, 0)]
    notes = []
    if len(pairs) > MAX_PANELS:
        notes.append(f"{len(axes)} axes have {len(pairs)} pairs; neighbours are shown, the data has all.")
        pairs = list(zip(range(len(axes) - 1), range(1, len(axes)), strict=True))
    panels = [_panel(people, axes, z, t, i, j) for i, j in pairs]
    gone = sum(any(shown(number(v)) in ("n/a", "unscored") for v in row) for row in z)
    if gone:
        notes.append(
            f"{counted(gone, 'person has', 'people have')} too few scored answers for a place on every axis."
        )
    if len(people) > 1:
        notes.append("Point at a dot to see who it is and find the same person elsewhere.")
    return tag("div", *panels, class_="panels"), tuple(notes)


def _panel(
    people: Sequence[str], axes: Sequence[str], z: Sequence[Sequence[Any]], t: Sequence[Sequence[Any]] | None,
    i: int, j: int,
) -> Markup:  # fmt: skip
    one = i == j
    at_x, at_y = scale(0, 1, PAD, SIDE - 10), scale(0, 1, SIDE - FOOT, 10)
    dots = {k: _at(row, i, j, at_x, at_y, 0.3 if one else None) for k, row in enumerate(z)}
    rings = {k: _at(row, i, j, at_x, at_y, 0.7 if one else None) for k, row in enumerate(t or [])}
    parts: list[object] = [tag("rect", class_="frame", x=PAD, y=10, width=SIDE - 10 - PAD, height=SIDE - FOOT - 10)]
    for v in (0, 0.5, 1):
        parts.append(tag("text", f"{v:g}", class_="tick", x=at_x(v), y=SIDE - FOOT + 15, text_anchor="middle"))
        if not one:
            parts.append(tag("text", f"{v:g}", class_="tick", x=PAD - 5, y=at_y(v) + 4, text_anchor="end"))
    parts.append(
        tag(
            "text",
            shortened(axes[i], MAX_NAME),
            class_="axis",
            x=(PAD + SIDE - 10) / 2,
            y=SIDE - 6,
            text_anchor="middle",
        )
    )
    turn = f"rotate(-90 10 {(SIDE - FOOT + 10) / 2:g})"
    side = "answered below, planned above" if one else shortened(axes[j], MAX_NAME)
    parts.append(
        tag("text", side, class_="axis", x=10, y=(SIDE - FOOT + 10) / 2, text_anchor="middle", transform=turn)
    )
    ties = len(people) <= MAX_TIES
    for k, ring in rings.items():
        dot = dots.get(k)
        if ring and dot and ties:
            parts.append(tag("line", class_="tie", x1=ring[0], y1=ring[1], x2=dot[0], y2=dot[1], data_person=k))
    for k, ring in rings.items():
        if ring:
            name = tag("title", f"{people[k]}: planned")
            parts.append(tag("circle", name, class_="ring", cx=ring[0], cy=ring[1], r=5, data_person=k))
    for k, dot in dots.items():
        if dot:
            name = tag("title", f"{people[k]}: answered")
            parts.append(tag("circle", name, class_="dot accent", cx=dot[0], cy=dot[1], r=3.5, data_person=k))
    found = [d for d in dots.values() if d]
    wide = max((_extent(found, m) for m in ((0,) if one else (0, 1))), default=0.0)
    collapsed = len(found) > 2 and wide < COLLAPSED
    callout = (
        (min(max(found[0][0], PAD + 66), SIDE - 76), found[0][1] + (-11 if found[0][1] > 40 else 20))
        if collapsed
        else None
    )
    parts += _labels(people, {} if callout else dots, rings, [d for d in dots.values() if d], callout)
    if callout:
        words = f"all {len(found)} answers are here"
        parts.append(tag("text", words, class_="callout", x=callout[0], y=callout[1], text_anchor="middle"))
    words = f"{counted(len(found), 'dot')}; they spread over {wide:.0%} of the wider axis"
    title = f"Map of {axes[i]}" if one else f"Map of {axes[i]} and {axes[j]}"
    return picture(parts, SIDE, SIDE, title=title, description=words)


def _at(row: Sequence[Any], i: int, j: int, at_x: Any, at_y: Any, level: float | None) -> Place | None:
    x, y = number(row[i]), number(row[j])
    return None if x is None or y is None or x != x or y != y else (at_x(x), at_y(y if level is None else level))


def _extent(places: Sequence[Place], m: int) -> float:
    values = [p[m] for p in places]
    return (max(values) - min(values)) / (SIDE - 10 - PAD) if values else 0.0


def _labels(
    people: Sequence[str], dots: dict[int, Place | None], rings: dict[int, Place | None],
    keep_free: Sequence[Place], callout: Place | None,
) -> list[Markup]:  # fmt: skip
    """A name beside each dot where there is room, else beside its ring, else none."""
    if len(people) > MAX_LABELS:
        return []
    taken: list[Box] = [_around(p) for p in (*keep_free, *rings.values()) if p]
    if callout:
        taken.append((callout[0] - 70, callout[1] - 12, callout[0] + 70, callout[1] + 4))
    out = []
    for k, name in enumerate(people):
        short = (name.split() or ["?"])[0]
        short = shortened(short, 12)
        for place, kind in ((dots.get(k), "label"), (rings.get(k), "label faint")):
            box = place and _room(place, len(short) * LABEL_PX, taken)
            if box:
                taken.append(box)
                out.append(tag("text", short, class_=kind, x=box[0], y=box[3] - 3, data_person=k))
                break
    return out


def _around(place: Place) -> Box:
    return place[0] - 5, place[1] - 5, place[0] + 5, place[1] + 5


def _room(place: Place, width: float, taken: Sequence[Box]) -> Box | None:
    """The first free box beside ``place``: right, left, above, below."""
    x, y = place
    for left, top in ((x + 6, y - 6), (x - 6 - width, y - 6), (x - width / 2, y - 18), (x - width / 2, y + 6)):
        box = (left, top, left + width, top + 12)
        inside = box[0] >= PAD and box[2] <= SIDE - 10 and box[1] >= 10 and box[3] <= SIDE - FOOT
        if inside and not any(_meet(box, other) for other in taken):
            return box
    return None


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
