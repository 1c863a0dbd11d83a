"""The figures of a report: functions of plain curves and tables, each with its caption, its words and its data.

They are inline SVG and HTML rows instead of a chart library's output: see ``svg``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multitudes.core.records import Curve, Reading, Score
from multitudes.measure.placement_fit import ADHERENCE_GATE, AXIS_ADHERENCE_GATE, GAIN_GATE, HIGH_COVERAGE
from multitudes.report.persona_map import map_panels
from multitudes.report.svg import Markup, Range, Series, curve_panel, dot_row, join, nice_range, scale, tag, track
from multitudes.report.words import interval, number, percent, shown, two

NOTHING = Markup()
Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        id: Anchor.
        title: What it is about.
        caption: One sentence: what to see, and what nothing would look like.
        body: The drawing; empty where there is none.
        key: (tone, text) pairs that say what the marks are.
        notes: Small print below.
        head: Column names of the data.
        rows: The data.
        missing: Why there is nothing to draw; empty where there is.
        shape: Room it takes on a wide page: ``wide``, ``half``, ``half tall``, or one of three curves if empty.
    """

    id: str
    title: str
    caption: str
    body: Markup = NOTHING
    key: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: Rows = ()
    missing: str = ""
    shape: str = ""


def _known(value: float | None) -> float | None:
    """The value if it can be drawn."""
    return value if value is not None and math.isfinite(value) else None


def _nan(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def why_missing(reading: Reading | None) -> str:
    """Why a gauge has nothing to show; empty if it was read."""
    if reading is None:
        return "Not measured: the gauge was not asked for, or the run has not come that far."
    if reading.scores and reading.scores[0].name == "not_read":
        note = reading.scores[0].note or "no reason was given"
        return f"{note[0].upper()}{note[1:]}." if note.startswith("not applicable") else f"Not measured: {note}."
    return ""


def persona_map(
    reading: Reading | None, names: Mapping[str, str], axes: Mapping[str, tuple[str, str, str]]
) -> Figure:
    """Where people were meant to be, and where their answers put them. ``axes``: name, low and high end by id."""
    caption = (
        "Each dot is where one person’s answers put them, tied to the ring where that person was meant to be: if the "
        "model played everybody the same, all dots would sit on one spot however far apart the rings are."
    )
    blank = Figure("map", "Where the people are", caption, missing=why_missing(reading), shape="wide")
    if reading is None or blank.missing:
        return blank
    table = reading.tables.get("persona_map") or {}
    ids, z, t = table.get("axes") or [], table.get("z") or [], table.get("t")
    people = [names.get(p, p) for p in table.get("personas") or []]
    if not ids or not any(_known(number(v)) is not None for row in z for v in row):
        return with_(blank, missing="Nobody has enough scored answers to be placed.")
    labels = [axes.get(i, (i, "", ""))[0] for i in ids]
    body, notes = map_panels(people, labels, z, t)
    ends = [
        f"{name}: 0 is “{low}”, 1 is “{high}”." for name, low, high in (axes.get(i, (i, "", "")) for i in ids) if low
    ]
    head = ("person", *(f"{a}: {what}" for a in labels for what in (("answered", "planned") if t else ("answered",))))
    rows = tuple(
        (who, *(shown(number(v)) for k in range(len(ids)) for v in ((z[i][k], t[i][k]) if t else (z[i][k],))))
        for i, who in enumerate(people)
    )
    key = (("accent", "where the answers put them"), *((("ring", "where they were meant to be"),) if t else ()))
    return with_(blank, body=body, notes=(*notes, *ends), head=head, rows=rows, key=key)


def drift(
    reading: Reading | None, curves: Sequence[tuple[str, str, str]], *, id_: str, title: str, caption: str,
    null_name: str = "", share: bool = False, top: float | None = None,
) -> Figure:  # fmt: skip
    """Curves over the person's own turns. ``curves``: curve name, tone and what the reader should call it."""
    blank = Figure(id_, title, caption, missing=why_missing(reading))
    if reading is None or blank.missing:
        return blank
    by_name: dict[str, Curve] = {c.name: c for c in reading.curves}
    found = [(by_name[n], tone, called) for n, tone, called in curves if n in by_name and by_name[n].points]
    series = [
        Series(called, tone, tuple((p.x, _nan(p.value), _known(p.low), _known(p.high), p.n) for p in c.points))
        for c, tone, called in found
    ]
    values = [v for s in series for p in s.points for v in p[1:4] if v is not None and v == v]
    if not values:
        return with_(blank, missing="No turn could be scored.")
    null = found[0][0].null
    floor = [*values, *([] if null is None else [null])]
    y = Range(0, 1, (0, 0.25, 0.5, 0.75, 1)) if top == 1 else nice_range(min(floor), max(*floor, 0.2))
    form: Callable[[float | None], str] = percent if share else shown
    ends = [(s.name, s.points[0], s.points[-1]) for s in series]
    words = "; ".join(f"{n}: {form(a[1])} at turn {a[0]:g}, {form(b[1])} at turn {b[0]:g}" for n, a, b in ends)
    label = f"{null_name} {form(null)}".strip() if null_name and null else null_name
    body = curve_panel(series, y, x_label=found[0][0].x_label, tick=(lambda v: f"{v * 100:.3g}%") if share else shown,
                       null=null, null_name=label, title=title, description=words)  # fmt: skip
    rows = tuple(
        (s.name, f"{x:g}", form(v), interval(lo, hi, form), str(n)) for s in series for x, v, lo, hi, n in s.points
    )
    key = (*((s.tone, s.name) for s in series), *((("null", label),) if label else ()))
    head = ("curve", found[0][0].x_label, "value", "95% interval", "n")
    return with_(blank, body=body, key=key, head=head, rows=rows)


def variance_bars(reading: Reading | None) -> Figure:
    """How much of the spread is the person, beside what is known of people."""
    caption = (
        "The filled part of a bar is the share of the spread of answers to a question that comes from who was asked, "
        "the rest is noise between runs: people who are all alike would fill nothing."
    )
    blank = Figure("variance", "Person or noise", caption, missing=why_missing(reading), shape="half")
    if reading is None or blank.missing:
        return blank
    bars = [b for b in reading.tables.get("bars") or [] if b["quantity"] == "icc_within"]
    rows: list[Markup] = []
    score = next((s for s in reading.scores if s.name == "icc_within"), None)
    if not any(b["who"] == "simulated" for b in bars) and score is not None:
        note = score.note or "could not be computed"
        rows.append(row("simulated people", tag("p", f"No share: {note}.", class_="small"), shown(score.value)))
    notes: list[str] = []
    for b in bars:
        value, low, high = number(b["value"]), number(b["low"]), number(b["high"])
        if value is None or math.isnan(value):
            continue
        ours = b["who"] == "simulated"
        name = "simulated people" if ours else b["who"].removeprefix("people: ")
        rows.append(
            row(name, share_bar(name, value, low, high, ours=ours), percent(value), interval(low, high, percent))
        )
        if b["source"]:
            notes.append(f"{name}: {b['source']}. Other people, another task: context, not a pass mark.")
    if score is not None and score.note:
        notes.insert(0, f"Simulated people: {score.note}.")
    parts = reading.tables.get("components") or []
    data = (
        *(("share of the person", b["who"], shown(number(b["value"])), interval(number(b["low"]), number(b["high"])))
          for b in bars),
        *(("variance component", c["name"].replace("_", " ") + (" (negative, counted as 0)" if c["clipped"] else ""),
           shown(number(c["value"])), "" if c["share"] is None else f"{percent(number(c['share']))} of all")
          for c in parts),
    )  # fmt: skip
    key = (("accent bar", "the person, simulated"), ("people bar", "the person, in people"),
           ("noise bar", "noise between runs"), ("ink", "95% interval"))  # fmt: skip
    head = ("quantity", "of", "value", "interval or share")
    return with_(blank, body=join(rows), key=key, notes=tuple(notes), head=head, rows=data)


def share_bar(name: str, value: float, low: float | None, high: float | None, *, ours: bool) -> Markup:
    """A bar from 0 to 1: the share of the person, and its interval."""
    at = scale(0, 1, 0, 100)
    width = min(max(at(value), 0), 100)
    parts: list[object] = [
        tag("rect", class_="noise", x="0%", width="100%", y=3, height=20),
        tag("rect", class_="person accent" if ours else "person ink", x="0%", width=f"{width:.2f}%", y=3, height=20),
    ]
    if interval(low, high) and low is not None and high is not None:
        a, b = (f"{min(max(at(v), 0), 100):.2f}%" for v in (low, high))
        parts += [
            tag("line", class_="halo", x1=a, x2=b, y1=13, y2=13),
            tag("line", class_="whisker ink", x1=a, x2=b, y1=13, y2=13),
        ]
    words = f"{name}: {percent(value)} of the spread is the person"
    return track(parts, label=f"{words}, interval {interval(low, high, percent) or 'unknown'}")


def gates(reading: Reading | None, axes: Mapping[str, str]) -> Figure:
    """Coverage, and whether the people are where they were put."""
    caption = (
        "Every dot should lie in its shaded stretch; the dashed mark is where it would lie if everybody answered "
        "alike (coverage) or if the plan had no effect on the answers (adherence and gain)."
    )
    blank = Figure("gates", "Covered, and obedient?", caption, missing=why_missing(reading), shape="half tall")
    if reading is None or blank.missing:
        return blank
    rows: list[Markup] = []
    data: list[tuple[str, ...]] = []
    notes: list[str] = []
    for s in reading.scores:
        head, _, axis = s.name.partition(".")
        if head not in _GATES or (head == "coverage" and axis):
            continue
        low, high, (a, b) = _GATES[head]
        if axis and head == "adherence":
            a = AXIS_ADHERENCE_GATE
        name = f"{head}, {axes.get(axis, axis)}" if axis else {"coverage": head}.get(head, f"{head}, mean of axes")
        data.append((name, shown(s.value), interval(s.low, s.high), f"{a:g} to {b:g}"))
        if s.value is None or math.isnan(s.value):
            if not axis:
                notes.append(f"{name.capitalize()}: {s.note or shown(s.value)}.")
            continue
        at = scale(low, high, 0, 100)
        verdict = "inside" if a <= s.value <= b else "below" if s.value < a else "above"
        mark = track([dot_row(s.value, s.low, s.high, s.null, at)], zones=[(at(a), at(b))],
                     label=f"{name}: {shown(s.value)}, {verdict} {a:g} to {b:g}")  # fmt: skip
        rows.append(row(name, mark, f"{two(s.value)} {verdict}", f"wanted {a:g} to {b:g}", sub=bool(axis)))
    if not rows:
        return with_(blank, missing="; ".join(notes) or "No position could be scored.")
    ends = "; ".join(f"{k} from {two(low)} to {two(high)}" for k, (low, high, _) in _GATES.items())
    rows.append(tag("p", f"Left to right: {ends}.", class_="small"))
    key = (("accent", "measured, with 95% interval"), ("zone", "wanted"), ("null", "nothing there"))
    head_row = ("gate", "value", "95% interval", "wanted")
    return with_(blank, body=join(rows), key=key, notes=tuple(notes), head=head_row, rows=tuple(data))


_GATES = {"coverage": (0.0, 1.0, (HIGH_COVERAGE, 1.0)), "adherence": (-1.0, 1.0, (ADHERENCE_GATE, 1.0)),
          "gain": (-0.5, 2.0, GAIN_GATE)}  # fmt: skip


def diversity(reading: Reading | None) -> Figure:
    """Variety of words within a person and between people, as a small table."""
    caption = (
        "Variety among the lines of one person, and among what different people say at the same point: if everybody "
        "spoke with one voice, the second column would be no better than the first."
    )
    blank = Figure("diversity", "Variety of words", caption, missing=why_missing(reading), shape="half")
    if reading is None or blank.missing:
        return blank
    by_name: dict[str, Score] = {s.name: s for s in reading.scores}
    named = (
        ("ead", "distinct n-grams, size-adjusted (EAD)"),
        ("distinct", "distinct n-grams"),
        ("ngram_diversity", "distinct n-grams of all lines in a row"),
        ("compression", "compressibility (lower is more varied)"),
        ("rouge_l", "words shared in order (ROUGE-L; lower is more varied)"),
        ("self_repetition", "repeated phrases (lower is more varied)"),
        ("cosine", "distance of embeddings"),
        ("chamfer", "distance to the nearest other line"),
        ("remote_clique", "distance with each line’s to itself"),
        ("vendi_1", "effective number of lines (Vendi)"),
    )
    lines: list[Markup] = []
    for name, called in named:
        cells = [by_name.get(f"{name}_{w}") for w in ("within", "across")]
        if not any(cells):
            continue
        lines.append(tag("tr", tag("th", called, scope="row"), *(_cell(s) for s in cells)))
    head = tag("tr", *(tag("th", h, scope="col") for h in ("", "one person", "between people")))
    body = tag("table", tag("thead", head), tag("tbody", *lines), class_="plain")
    sizes: dict[str, Any] = reading.tables.get("sizes") or {}
    data = tuple((k.replace("_", " "), str(v)) for k, v in sizes.items())
    note = (
        "Sizes matter: compare runs with equal numbers of texts and tokens only. Embeddings see words, not meaning."
    )
    return with_(blank, body=body, notes=(note,), head=("size", "value"), rows=data)


def _cell(s: Score | None) -> Markup:
    if s is None:
        return tag("td", "n/a")
    around = interval(s.low, s.high)
    return tag("td", shown(s.value), tag("small", around) if around else None)


def row(name: str, drawing: Markup, value: str, around: str = "", *, sub: bool = False) -> Markup:
    """A name, a drawing and its number, side by side."""
    return tag(
        "div",
        tag("div", name, class_="row-name"),
        tag("div", drawing, class_="row-track"),
        tag("div", tag("b", value), tag("small", around) if around else None, class_="row-value"),
        class_="row sub" if sub else "row",
    )


def with_(figure: Figure, **changes: Any) -> Figure:
    """The figure with something filled in."""
    from dataclasses import replace

    return replace(figure, **changes)
