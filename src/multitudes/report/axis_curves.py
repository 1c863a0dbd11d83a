"""The curves of an axis over the layers: small pictures alike in shape, analysis layer and capped layers marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.axis import Axis
from multitudes.axis.components import NOISE_GATE
from multitudes.report.axis_facts import PUBLISHED_ALL, STABLE, at, curve, fixed
from multitudes.report.svg import Markup, Range, Scale, join, nice_range, picture, scale, tag
from multitudes.report.words import two

W, H, LEFT, RIGHT, TOP, BOTTOM = 320, 208, 42, 10, 24, 36
TONES = ("accent", "ink")


class Level(NamedTuple):
    """A dashed line and what it means."""

    value: float
    name: str


class Panel(NamedTuple):
    """One small picture.

    Attributes:
        title: What it is about.
        caption: What to see, and what nothing would look like.
        curves: (name in the artifact, words) of one or two lines; the first is the one that counts.
        low: The smallest value that is always in the picture.
        high: The largest.
        levels: Dashed lines.
        form: How a value is written.
    """

    title: str
    caption: str
    curves: tuple[tuple[str, str], ...]
    low: float
    high: float
    levels: tuple[Level, ...] = ()
    form: Callable[[float], str] = fixed


def _percent(value: float) -> str:
    return f"{value:.0%}".replace("-", "−")


def _whole(value: float) -> str:
    return f"{value:.0f}"


PANELS = (
    Panel(
        "Is it the first component?",
        "Cosine of the axis with PC1. Where the line lies above the dashed one, the default is more than just "
        "another mean that lies apart.",
        (("pc1_cosine", "the axis"), ("pseudo_median", "any role in its place, median")),
        0.0, 1.0, (Level(PUBLISHED_ALL, "published: above this"),),
    ),
    Panel(
        "Would other questions give it?",
        "Cosine of the axes of two halves. Halves of the roles share the default and flatter.",
        (("split_half", "halves of the questions"), ("role_halves", "halves of the roles")),
        0.0, 1.0, (Level(STABLE, "wanted"),),
    ),
    Panel(
        "How much of the spread is noise?",
        "Share of the spread between role means that few answers alone would give. Above the dashed line the "
        "components mean nothing.",
        (("noise_share", "noise"),),
        0.0, 0.6, (Level(NOISE_GATE, "too much"),), _percent,
    ),
    Panel(
        "Do single answers part?",
        "How often an answer of the default lies above one of a role. Chance is one half.",
        (("separation", "the axis"),),
        0.5, 1.0, (Level(0.5, "chance"),),
    ),
    Panel(
        "Is it only a long prompt?",
        "z of prompts that are as long as a role's and hold none. At 1 they are like the default; what is missing to "
        "1 is the prompt, not a role.",
        (("z_neutral", "neutral: rules, no role"), ("z_placebo", "placebo: prose, no role")),
        0.0, 1.0, (Level(0.0, "average role"), Level(1.0, "default")),
    ),
    Panel(
        "Do two ways agree?",
        "Cosine of the axis with the one that the other method gives, and with the one of all answers, filtered or "
        "not. 0 is unrelated.",
        (("other_method", "fixed text against generated"), ("cosine_unfiltered", "without the filter")),
        0.0, 1.0, (Level(0.0, "unrelated"),),
    ),
    Panel(
        "How large is the first component?",
        "Its share of the spread of roles; noise makes it larger. Directions of one half of the questions, looked at "
        "in the other half, are free of that.",
        (("explained_1", "PC1"), ("cross_validated_1", "PC1, seen in the other half")),
        0.0, 0.4, (), _percent,
    ),
    Panel(
        "How many dimensions?",
        "Components that hold 70% of the spread of roles. Published: 4, 8 and 19.",
        (("dims70", "components"),),
        0.0, 12.0, (), _whole,
    ),
    Panel(
        "Is the default at the edge?",
        "Share of roles that lie farther out on PC1 than the default. At 0 nobody is more of an Assistant; one half "
        "is the middle of the crowd.",
        (("edge", "roles beyond it"),),
        0.0, 0.5, (Level(0.5, "middle of the crowd"),), _percent,
    ),
)  # fmt: skip


def panels(axis: Axis) -> Markup:
    """All panels, each a figure with its value at the analysis layer; one that has no numbers says so."""
    return tag("div", *(_figure(axis, p) for p in PANELS), class_="multiples")


def _figure(axis: Axis, p: Panel) -> Markup:
    lines = [(tone, name, words) for tone, (name, words) in zip(TONES, p.curves, strict=False)]
    known = [(tone, name, words) for tone, name, words in lines if np.isfinite(curve(axis, name)).any()]
    head = [tag("h3", p.title), tag("figcaption", p.caption)]
    if not known:
        return tag("figure", *head, tag("p", "This axis does not hold these numbers.", class_="empty"))
    drawing, unnamed = layer_panel(
        [(tone, words, curve(axis, name)) for tone, name, words in known], p, layer=axis.layer, window=axis.window
    )
    key = [
        tag("li", tag("i", class_=f"mark line-{tone}"), words, " ", tag("b", _form(p, at(axis, name))))
        for tone, name, words in known
    ]
    key += [tag("li", tag("i", class_="mark null"), level.name) for level in unnamed]
    return tag("figure", *head, tag("ul", *key, class_="key"), tag("div", drawing, class_="drawing"))


def _form(p: Panel, value: float) -> str:
    return p.form(value) if math.isfinite(value) else "unscored"


def layer_panel(
    lines: Sequence[tuple[str, str, NDArray[np.float64]]], p: Panel, *, layer: int, window: Sequence[int]
) -> tuple[Markup, list[Level]]:
    """Lines over layers, and the levels whose names found no room. A value that is not known is a gap.

    Args:
        lines: (tone, words, (L,) values).
        p: Title, levels and how values are written.
        layer: The analysis layer, an upright line with dots where the curves cross it.
        window: Capped layers, shaded.
    """
    n = len(lines[0][2])
    every = np.concatenate([v[np.isfinite(v)] for _, _, v in lines])
    y = nice_range(min(p.low, float(every.min())), max(p.high, float(every.max())))
    at_x, at_y = scale(-0.5, n - 0.5, LEFT, W - RIGHT), scale(y.low, y.high, H - BOTTOM, TOP)
    parts: list[object] = _ground(at_x, at_y, y, p, layer, window, n)
    values = np.array([v for _, _, v in lines])
    for level in p.levels:
        parts.append(tag("line", class_="null", x1=LEFT, x2=W - RIGHT, y1=at_y(level.value), y2=at_y(level.value)))
    parts += [_line(tone, words, v, at_x, at_y, p, layer) for tone, words, v in reversed(lines)]
    unnamed = []
    for level in p.levels:
        spot = _free(level, values, at_x, at_y)
        if spot is None:
            unnamed.append(level)
        else:
            parts.append(tag("text", level.name, class_="null-name", x=spot[0], y=spot[1], text_anchor=spot[2]))
    words = "; ".join(f"{words} {_form(p, float(v[layer]))}" for _, words, v in lines)
    return picture(parts, W, H, title=p.title, description=f"At layer {layer}: {words}."), unnamed


def _ground(at_x: Scale, at_y: Scale, y: Range, p: Panel, layer: int, window: Sequence[int], n: int) -> list[object]:
    out: list[object] = []
    if window:
        left, right = at_x(window[0] - 0.5), at_x(window[-1] + 0.5)
        out.append(tag("rect", class_="capped", x=left, width=right - left, y=TOP, height=H - BOTTOM - TOP))
        out.append(tag("text", "cap", class_="tick", x=(left + right) / 2, y=TOP - 6, text_anchor="middle"))
    for v in y.ticks:
        out.append(tag("line", class_="grid", x1=LEFT, x2=W - RIGHT, y1=at_y(v), y2=at_y(v)))
        form = p.form if p.form is not fixed else two
        out.append(tag("text", form(v), class_="tick", x=LEFT - 6, y=at_y(v) + 4, text_anchor="end"))
    here = at_x(layer)
    out.append(tag("line", class_="here", x1=here, x2=here, y1=TOP, y2=H - BOTTOM))
    out.append(tag("text", f"layer {layer}", class_="tick", x=here, y=TOP - 6, text_anchor="middle"))
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000) if n / s <= 8)
    for x in range(0, n, step):
        out.append(tag("text", str(x), class_="tick", x=at_x(x), y=H - BOTTOM + 15, text_anchor="middle"))
    out.append(tag("text", "layer", class_="axis", x=W - RIGHT, y=H - 5, text_anchor="end"))
    return out


def _line(tone: str, words: str, v: NDArray[np.float64], at_x: Scale, at_y: Scale, p: Panel, layer: int) -> Markup:
    out: list[object] = []
    known = np.isfinite(v)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        points = [(at_x(k), at_y(float(v[k]))) for k in range(start, end)]
        if len(points) > 1:
            out.append(tag("polyline", class_=f"line {tone}", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in points)))
        else:
            out.append(tag("circle", class_=f"dot {tone}", cx=points[0][0], cy=points[0][1], r=2.5))
    if known[layer]:
        name = tag("title", f"{words}, layer {layer}: {_form(p, float(v[layer]))}")
        out.append(tag("circle", name, class_=f"dot {tone}", cx=at_x(layer), cy=at_y(float(v[layer])), r=4))
    return join(out)


def _free(level: Level, values: NDArray[np.float64], at_x: Scale, at_y: Scale) -> tuple[float, float, str] | None:
    """Where the name of a level lies on no line: x, y and anchor; None if nowhere."""
    width, y = 6.0 * len(level.name), at_y(level.value)
    for base in (y - 4, y + 13):
        if base - 10 < TOP or base + 2 > H - BOTTOM:
            continue
        for x, anchor in ((W - RIGHT - 3, "end"), (LEFT + 4, "start"), ((LEFT + W - RIGHT) / 2, "middle")):
            left = {"end": x - width, "start": x, "middle": x - width / 2}[anchor]
            near = [k for k in range(values.shape[1]) if left - 9 <= at_x(k) <= left + width + 9]
            heights = [at_y(float(v)) for v in values[:, near].ravel() if math.isfinite(v)]
            if not any(base - 14 <= h <= base + 5 for h in heights):
                return x, base, anchor
    return None
