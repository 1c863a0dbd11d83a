"""The persona space: roles on the first two components of their means, and on a line by how near the Assistant is.

Each picture is drawn twice, for a wide and for a narrow column, because letters must stay as large as they are; the
style sheet shows one of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from multitudes.report.axis_facts import Place, Space, family_name
from multitudes.report.axis_marks import Box, Names, Spot, around, reach_of, role_mark, star, triangle
from multitudes.report.svg import Markup, Range, nice_range, picture, scale, tag
from multitudes.report.words import counted, percent, shortened, two

PLOT, WIDE, NARROW = 700, 1040, 360  # columns in pixels
NAMED = 6  # roles named at either end of z
MORE = {PLOT: 26, NARROW: 0}  # names beyond these, where there is room
ALL_NAMED = 6  # roles of a family that are all named, where there is room
R, FINE = 4.5, 3.6  # radius of a mark; of one of many
MANY = 120


def _drawn(wide: Markup, narrow: Markup) -> Markup:
    return tag("div", tag("div", wide, class_="on-wide"), tag("div", narrow, class_="on-narrow"), class_="twice")


def scatter(found: Space, explained: tuple[float, float]) -> Markup:
    """Roles on PC1 × PC2, one unit as long across as up, the default as a star and the axis as the line to it."""
    return _drawn(_scatter(found, explained, PLOT), _scatter(found, explained, NARROW))


def _scatter(found: Space, explained: tuple[float, float], width: int) -> Markup:
    known = [(i, p) for i, p in enumerate(found.roles) if math.isfinite(p.x) and math.isfinite(p.y)]
    there = [(p.x, p.y) for _, p in known] + [(0.0, 0.0)]
    if math.isfinite(found.default[0] + found.default[1]):
        there.append(found.default)
    frame = _frame(there, width)
    at_x, at_y = frame.x, frame.y
    left, top, right, bottom = frame.box
    parts: list[object] = [tag("rect", class_="frame", x=left, y=top, width=right - left, height=bottom - top)]
    parts += _lines(frame)
    reach = reach_of(found.roles)
    spots = {i: (at_x(p.x), at_y(p.y)) for i, p in known}
    r = R if len(known) <= MANY else FINE
    marks = [role_mark(p, i, *spots[i], reach, r) for i, p in reversed(known)]
    names = Names(frame.box, list(spots.values()), [around((at_x(0), at_y(0)), 4)])
    labels: list[object] = []
    if len(there) > len(known) + 1:
        end = (at_x(found.default[0]), at_y(found.default[1]))
        parts.append(tag("line", class_="the-axis", x1=at_x(0), y1=at_y(0), x2=end[0], y2=end[1]))
        marks.append(star(*end))
        line = [(at_x(k * found.default[0] / 12), at_y(k * found.default[1] / 12)) for k in range(12)]
        names = Names(frame.box, [*spots.values(), *line], [around((at_x(0), at_y(0)), 4), around(end, 11)])
        word = "the default Assistant" if width == PLOT else "the default"
        labels.append(names.place(word, _above(end), None, must=True, class_="label strong"))
    parts.append(tag("circle", tag("title", "the average role: z = 0"), class_="centre", cx=at_x(0), cy=at_y(0), r=3))
    labels += _labels(found.roles, spots, names, width)
    title = "Persona space"
    words = (
        f"{counted(len(known), 'role')} by the first two components of their mean activations; the default Assistant "
        f"is a star. Arrow keys walk from the role nearest to the Assistant to the farthest."
    )
    parts += _axis_names(explained, frame.box, width)
    return _walkable(picture([*parts, *marks, *labels], width, frame.height, title=title, description=words))


def _above(spot: Spot) -> Spot:
    return spot[0], spot[1] - 6


def _labels(roles: Sequence[Place], spots: Mapping[int, Spot], names: Names, width: int) -> list[object]:
    """The two ends of z first, then those who stand apart."""
    order = [i for i, p in enumerate(roles) if i in spots and math.isfinite(p.z)]
    first = [*order[:NAMED], *(i for i in order[-NAMED:] if i not in order[:NAMED])]
    out: list[object] = [names.place(roles[i].name, spots[i], i, must=True, class_="label strong") for i in first]
    rest = sorted(set(order) - set(first), key=lambda i: -math.hypot(roles[i].x, roles[i].y))
    more: list[object] = []
    for i in rest:
        if len(more) >= MORE[width]:
            break
        label = names.place(roles[i].name, spots[i], i, must=False)
        if label:
            more.append(label)
    return [*out, *more]


class _Frame(NamedTuple):
    x: Callable[[float], float]
    y: Callable[[float], float]
    across: Range
    up: Range
    box: Box
    height: int


def _frame(points: Sequence[Spot], width: int) -> _Frame:
    """Where the data goes: equal units, as wide as the column, as high as the data needs."""
    left, right, top, foot = (44 if width == PLOT else 14), width - 8, 8, (46 if width == PLOT else 30)
    across, up = ((min(p[k] for p in points), max(p[k] for p in points)) for k in (0, 1))
    wide = (across[1] - across[0]) * 1.16 or 1.0
    high = (up[1] - up[0]) * 1.2 or wide
    lowest, highest = (520.0, 640.0) if width == PLOT else (300.0, 420.0)
    unit = min((right - left) / wide, highest / high)
    tall = max(lowest, high * unit)
    middle_x, middle_y = sum(across) / 2, sum(up) / 2
    half_x, half_y = (right - left) / 2 / unit, tall / 2 / unit
    bottom = top + tall
    at_x = scale(middle_x - half_x, middle_x + half_x, left, right)
    at_y = scale(middle_y - half_y, middle_y + half_y, bottom, top)
    ticks = nice_range(middle_x - half_x, middle_x + half_x, ticks=6 if width == PLOT else 4)
    return _Frame(
        at_x, at_y, Range(middle_x - half_x, middle_x + half_x, ticks.ticks),
        Range(middle_y - half_y, middle_y + half_y, _every(ticks, middle_y - half_y, middle_y + half_y)),
        (left, top, right, bottom), math.ceil(bottom + foot),
    )  # fmt: skip


def _every(like: Range, low: float, high: float) -> tuple[float, ...]:
    """Ticks as far apart as the other side's."""
    step = like.ticks[1] - like.ticks[0]
    return tuple(k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1))


def _lines(frame: _Frame) -> list[object]:
    left, top, right, bottom = frame.box
    out: list[object] = []
    for v in frame.across.ticks:
        if frame.across.low <= v <= frame.across.high:
            x = frame.x(v)
            out.append(tag("line", class_="grid zero" if v == 0 else "grid", x1=x, x2=x, y1=top, y2=bottom))
            out.append(tag("text", two(v), class_="tick", x=x, y=bottom + 16, text_anchor="middle"))
    for v in frame.up.ticks:
        y = frame.y(v)
        out.append(tag("line", class_="grid zero" if v == 0 else "grid", x1=left, x2=right, y1=y, y2=y))
        if left > 40:
            out.append(tag("text", two(v), class_="tick", x=left - 6, y=y + 4, text_anchor="end"))
    return out


def _axis_names(explained: tuple[float, float], box: Box, width: int) -> list[object]:
    left, top, right, bottom = box
    one, other = (f"PC{k + 1}" + ("" if math.isnan(v) else f", {percent(v)} of the spread")
                  for k, v in enumerate(explained))  # fmt: skip
    out: list[object] = [tag("text", f"{one} →", class_="axis", x=right, y=bottom + (36 if width == PLOT else 28),
                             text_anchor="end")]  # fmt: skip
    if width == PLOT:
        turn = f"rotate(-90 10 {top})"
        out.append(tag("text", f"{other} →", class_="axis", x=10, y=top, text_anchor="end", transform=turn))
    else:
        out.append(tag("text", f"↑ {other}", class_="axis halo-text", x=left + 6, y=top + 14))
    return out


def strips(found: Space, controls: Mapping[str, float]) -> Markup:
    """Roles by z, one row for each family, the family nearest to the Assistant on top, controls above them."""
    families: dict[int, list[int]] = {}
    for i, p in enumerate(found.roles):
        if math.isfinite(p.z):
            families.setdefault(p.family, []).append(i)
    order = sorted(families, key=lambda f: (-sum(found.roles[i].z for i in families[f]) / len(families[f]), f))
    rows = [(f, families[f]) for f in order]
    return _drawn(_strips(found.roles, rows, controls, WIDE), _strips(found.roles, rows, controls, NARROW))


def _strips(
    roles: Sequence[Place], rows: Sequence[tuple[int, list[int]]], controls: Mapping[str, float], width: int
) -> Markup:
    wide = width == WIDE
    reach, all_z = reach_of(roles), [roles[i].z for _, row in rows for i in row]
    shown = {k: v for k, v in controls.items() if math.isfinite(v)}
    ends = [*all_z, *shown.values(), 0.0, 1.0]
    low, high = min(ends), max(ends)
    pad = (high - low) * 0.04
    left, right = (300 if wide else 10), width - (24 if wide else 12)
    at = scale(low - pad, high + pad, left + 6, right - 6)
    parts: list[object] = []
    y = 24.0
    y, made = _control_row(shown, at, y, left, right, wide=wide)
    parts += made
    for family, row in rows:
        y, made = _family_row(roles, family, row, at, reach, (left, right), y, wide=wide)
        parts += made
    back: list[object] = []
    for v, class_, word in ((0.0, "null", "average role"), (1.0, "null", "default Assistant")):
        back.append(tag("line", class_=class_, x1=at(v), x2=at(v), y1=18, y2=y))
        anchor = "end" if at(v) > right - 60 else "middle"
        back.append(tag("text", word, class_="axis", x=min(at(v) + (4 if anchor == "end" else 0), right),
                        y=12, text_anchor=anchor))  # fmt: skip
    ticks = [v for v in nice_range(low, high, ticks=7 if wide else 4).ticks if low - pad <= v <= high + pad]
    for v in ticks:
        back.append(tag("text", two(v), class_="tick", x=at(v), y=y + 16, text_anchor="middle"))
    back.append(tag("text", "z, towards the Assistant →", class_="axis", x=right, y=y + 34, text_anchor="end"))
    words = f"{counted(len(all_z), 'role')} in {counted(len(rows), 'family', 'families')}, from z = {two(low)} up."
    return _walkable(
        picture([*back, *parts], width, math.ceil(y + 42), title="Who is near the Assistant", description=words)
    )


def _control_row(
    controls: Mapping[str, float], at: Callable[[float], float], y: float, left: float, right: float, *, wide: bool
) -> tuple[float, list[object]]:
    """Prompts without a role, and the default."""
    out: list[object] = []
    middle = y + (20 if wide else 34)
    out.append(_row_name("no role at all", left, middle, y, wide=wide))
    out.append(tag("line", class_="grid", x1=left, x2=right, y1=middle, y2=middle))
    names = Names((left, y, right, middle + 22), [(at(v), middle) for v in controls.values()],
                  [around((at(1.0), middle), 10)])  # fmt: skip
    for k, v in controls.items():
        out.append(triangle(at(v), middle, f"{k} prompts: z = {two(v)}"))
        out.append(names.place(k, (at(v), middle), None, must=True))
    out.append(star(at(1.0), middle, 9))
    return middle + 24, out


def _family_row(
    roles: Sequence[Place], family: int, row: Sequence[int], at: Callable[[float], float], reach: float,
    sides: tuple[float, float], y: float, *, wide: bool,
) -> tuple[float, list[object]]:  # fmt: skip
    left, right = sides
    lanes = _swarm([at(roles[i].z) for i in row])
    tall = max(abs(lane) for lane in lanes) * (2 * R + 1)
    middle = y + tall + (18 if wide else 32)
    bottom = middle + tall + 18
    out: list[object] = [
        tag("line", class_="grid", x1=left, x2=right, y1=middle, y2=middle),
        _row_name(family_name(family), left, middle, y, wide=wide),
    ]
    mean = at(sum(roles[i].z for i in row) / len(row))
    out.append(tag("line", tag("title", "mean of the family"), class_="mean", x1=mean, x2=mean,
                   y1=middle - tall - 9, y2=middle + tall + 9))  # fmt: skip
    spots = {i: (at(roles[i].z), middle + lane * (2 * R + 1)) for i, lane in zip(row, lanes, strict=True)}
    out += [role_mark(roles[i], i, *spots[i], reach, R) for i in row]
    strokes = [(mean, middle + dy) for dy in (-tall - 6, 0, tall + 6)]
    names = Names((left, middle - tall - 17, right, bottom + 2), [*spots.values(), *strokes])
    named = (row[0], row[-1], *(row[1:-1] if wide and len(row) <= ALL_NAMED else ()))
    for i in dict.fromkeys(named):
        out.append(names.place(roles[i].name, spots[i], i, must=False))
    return bottom, out


def _row_name(name: str, left: float, middle: float, top: float, *, wide: bool) -> Markup:
    if wide:
        return tag("text", shortened(name, 40), class_="axis", x=left - 14, y=middle + 4, text_anchor="end")
    return tag("text", shortened(name, 44), class_="axis halo-text", x=left, y=top + 12)


def _swarm(xs: Sequence[float]) -> list[int]:
    """Lanes beside the middle line, so that no mark lies on another: 0, -1, 1, -2 … as they are needed.

    >>> _swarm([10.0, 12.0, 40.0, 14.0])
    [0, -1, 0, 1]
    """
    placed: dict[int, list[float]] = {}
    out = []
    for x in xs:
        lane = next(k for k in _outwards() if all(abs(x - other) >= 2 * R + 0.5 for other in placed.get(k, ())))
        placed.setdefault(lane, []).append(x)
        out.append(lane)
    return out


def _outwards() -> Iterator[int]:
    yield 0
    for k in count(1):
        yield -k
        yield k


def _walkable(svg: Markup) -> Markup:
    """The picture in a box that the keyboard reaches."""
    return tag("div", svg, class_="walk", tabindex=0, role="group", aria_label="Roles; arrow keys walk through them")
