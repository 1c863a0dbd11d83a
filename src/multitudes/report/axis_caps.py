"""What a calibration found, on the page of its axis: every cap, push and control on the same curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from multitudes.axis.axis import Axis
from multitudes.axis.calibration import no_range
from multitudes.axis.capability import MOST_RATIO
from multitudes.measure.retention.cells import MIN_RANGE
from multitudes.report.axis_facts import about, fixed
from multitudes.report.svg import Markup, dot_row, nice_range, scale, tag, track
from multitudes.report.words import interval, number, percent


def _signed(value: float) -> str:
    return ("+" if value > 0.005 else "") + fixed(value)


def _three(value: float) -> str:
    return f"× {value:.3f}"


class Curve(NamedTuple):
    """One number of every setting, with its interval.

    Attributes:
        key: Name in the stored calibration.
        title: What it is about.
        caption: What it is, and which way is better.
        nothing: Its value where nothing was changed.
        form: How it is written.
    """

    key: str
    title: str
    caption: str
    nothing: float
    form: Callable[[float], str]


CURVES = (
    Curve(
        "gain", "How far are replies held?",
        "Change of z of role-played replies at the block just behind the changed ones, roles resampled. A cap moves "
        "it by itself; that it moves is no proof that anybody would hear it.",
        0.0, _signed,
    ),
    Curve(
        "who_change", "Who does the role say it is?",
        "Change of D, the share of the role's own answer when it is asked who it is after its first reply: 1 is "
        "wholly the role, 0 wholly an assistant. Left of the dashed line the Assistant is kept; where people are to "
        "be played it is the price.",
        0.0, _signed,
    ),
    Curve(
        "prevented", "How many replies stay inside?",
        "Fall of the share of replies below the range of default answers, as the plain model reads the same words.",
        0.0, _signed,
    ),
    Curve(
        "ratio", "What does other text lose?",
        f"Perplexity of plain prose over that of the plain model, windows resampled. Above {MOST_RATIO} no cap is "
        "recommended.",
        1.0, _three,
    ),
    Curve(
        "nll_change", "Is role-play still fluent?",
        "Change of the plain model's surprise at role-played replies, nats a token. Right of the dashed line is less "
        "fluent.",
        0.0, _signed,
    ),
)  # fmt: skip


def caps(axis: Axis) -> list[Markup]:
    """Sentence, curves and table of a calibration; empty where none was made."""
    found = about(axis, "calibration")
    points = [p for p in found.get("points") or () if isinstance(p, Mapping)]
    if not points:
        return []
    rows = [*points, *(p for p in found.get("controls") or () if isinstance(p, Mapping))]
    taken = found.get("taken")
    best = str(points[taken].get("name")) if isinstance(taken, int) and 0 <= taken < len(points) else ""
    figures = [f for c in CURVES if (f := _figure(c, rows[1:], best)) is not None]
    said = [tag("p", _sentence(str(found.get("why", ""))), class_="lead said")]
    above = found.get("who_range")
    if isinstance(above, Mapping) and not _ends(above)[0] >= MIN_RANGE:
        said.append(tag("p", _sentence(no_range(above)), class_="lead said"))
    table = tag("details", tag("summary", "All numbers"), _table(rows, best), class_="data")
    return [*said, tag("div", *figures, class_="caps"), table]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _figure(c: Curve, rows: Sequence[Mapping[str, Any]], best: str) -> Markup | None:
    known = [(str(p.get("name")), *_ends(p.get(c.key))) for p in rows]
    known = [row for row in known if math.isfinite(row[1])]
    if not known:
        return None
    every = [v for _, *values in known for v in values if v is not None and math.isfinite(v)]
    span = nice_range(min(c.nothing, *every), max(c.nothing, *every))
    at = scale(span.low, span.high, 0, 100)
    out = []
    for name, value, low, high in known:
        told = c.form(value)
        drawn = track([dot_row(value, low, high, c.nothing, at)], label=f"{name}: {told}")
        out.append(
            tag(
                "div", tag("span", _named(name, best), class_="row-name"),
                tag("span", told, tag("small", interval(low, high, c.form)), class_="row-value"),
                tag("div", drawn, class_="row-track"), class_="row",
            )
        )  # fmt: skip
    return tag("figure", tag("h3", c.title), tag("figcaption", c.caption), *out)


def _ends(found: Any) -> tuple[float, float | None, float | None]:
    if not isinstance(found, Mapping):
        return math.nan, None, None
    value = number(found.get("value"))
    return math.nan if value is None else value, number(found.get("low")), number(found.get("high"))


def _named(name: str, best: str) -> object:
    return tag("b", f"{name}, recommended") if name == best else name


def _table(rows: Sequence[Mapping[str, Any]], best: str) -> Markup:
    head = ("", "z", "D", "outside", "perplexity", "accuracy", "surprise", "distinct", "tokens moved")
    body = []
    for p in rows:
        ratio, _, _ = _ends(p.get("ratio"))
        cells = [
            fixed(number(p.get("z"))), fixed(number(p.get("who"))), percent(number(p.get("outside"))), _three(ratio),
            percent(number(p.get("accuracy"))), fixed(number(p.get("nll"))), fixed(number(p.get("distinct"))),
            percent(number(p.get("engaged"))),
        ]  # fmt: skip
        name = tag("th", _named(str(p.get("name")), best), scope="row", class_="said")
        body.append(tag("tr", name, *(tag("td", cell) for cell in cells)))
    top = tag("thead", tag("tr", *(tag("th", h, scope="col") for h in head)))
    return tag(
        "div", tag("table", top, tag("tbody", *body), class_="plain settings"), class_="scroll", tabindex=0,
        role="region", aria_label="All settings",
    )  # fmt: skip
