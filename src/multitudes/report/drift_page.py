"""Drift on one page: curves by domain, excursions and return, arms compared, prediction.

It opens offline and loads nothing. It is a function of the stored result. Every figure and table stands under the
line that says whose activations these are; what models and users wrote is escaped by ``svg.tag``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multitudes.report import drift_words as words
from multitudes.report.page import ending, header, headline, page, section, write_page
from multitudes.report.svg import Markup, Range, Series, curve_panel, join, nice_range, tag
from multitudes.report.words import number, percent, shortened, shown, two


def write_drift_page(result: Mapping[str, Any], path: Path) -> Path:
    """Write the page, whole or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    return write_page(drift_page(result), path)


def drift_page(result: Mapping[str, Any]) -> str:
    """The page as text; the same result gives the same text."""
    model = result["axis"]["model"] or result["arms"][0]["model"]
    body = [
        tag("a", "Skip to what was found", class_="skip", href="#headline"),
        _header(result, str(model)),
        tag("main", _headline(result), _curves(result), _excursions(result), _behind(result), _compared(result),
            _prediction(result), _lowest(result), _made(result)),
        ending("result"),
    ]  # fmt: skip
    return page(f"Drift of {model} · multitudes", *body, styles=("report.css", "drift.css"))


def _table(
    head: Sequence[str], rows: Sequence[Sequence[object]], caption: str, class_: str = "plain apart"
) -> Markup:
    top = tag("thead", tag("tr", *(tag("th", h, scope="col") for h in head))) if head else None
    names = [*head[1:], *[None] * (len(rows[0]) - len(head) if rows else 0)]
    body = [
        tag(
            "tr", tag("th", r[0], scope="row", class_="said"),
            *(tag("td", c, data_h=h) for c, h in zip(r[1:], names, strict=False)),
        )
        for r in rows
    ]  # fmt: skip
    table = tag("table", tag("caption", caption), top, tag("tbody", *body), class_=class_)
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _cell(estimate: Mapping[str, Any] | None, form: Any = two, *, sign: bool = False) -> Markup:
    inside = words.around(estimate, form)
    return join([tag("b", words.value(estimate, form, sign=sign)), tag("small", inside) if inside else None])


# --- sections -----------------------------------------------------------------------------------------------------


def _header(result: Mapping[str, Any], model: str) -> Markup:
    s, mode = result["setup"], result["mode"]
    deck = (
        ("Model", model),
        ("Arms", ", ".join(a["name"] for a in result["arms"])),
        ("Users", f"played by {result['auditor']}" if mode == "auditor" else "scripted: fixed messages, off-policy"),
        ("Turns", f"{s['turns']} in a domain, then {s['neutral']} everyday"),
        ("Runs", f"{s['replicates']} of each of {s['scripts']}"),
        ("Read at", f"layer {result['axis']['layer']}"),
    )
    standfirst = tag(
        "p", f"Shown is {result['label']}: 0 is the average role, 1 the default Assistant.", class_="standfirst"
    )
    return header("multitudes · drift", model, standfirst, deck)


def _headline(result: Mapping[str, Any]) -> Markup:
    expected = tag("p", words.EXPECTED, class_="small")
    return headline(words.warnings(result), list(words.findings(result)), expected)


def _curves(result: Mapping[str, Any]) -> Markup:
    """Curves at the analysis layer."""
    arms = len(result["arms"])
    more = f" Of {arms} arms the first two are drawn; all are in the tables." if arms > 2 else ""
    lead = (
        "Mean z of the model's turns with 95% bands, where there are eight conversations or scripts to resample. A "
        "single turn is a noisy reading: look at the bands." + more
    )
    return section("curves", "Turn by turn", *_drawn(result, 0), lead=lead, label=_label(result, result["layers"][0]))


def _drawn(result: Mapping[str, Any], k: int) -> list[Markup]:
    """Key and a panel for each domain: the first arm dashed where there is another, the other in colour."""
    layer = result["layers"][k]
    arms = [a["name"] for a in result["arms"]][:2]
    tones = ["accent"] if len(arms) == 1 else ["ink", "accent"]
    ends = [
        v
        for a in arms for d in result["domains"] for end in ("z", "low", "high")
        for v in _finite(layer["curves"][a][d][end])
    ]  # fmt: skip
    if not ends:
        return [tag("p", "No turn could be scored.", class_="empty")]
    y = nice_range(min(*ends, 0.0), max(*ends, 1.0))
    key = [tag("li", tag("i", class_=f"mark {t}"), a) for a, t in zip(arms, tones, strict=True)]
    key += [tag("li", tag("i", class_="mark null"), "edge of the range of default answers")]
    key += [tag("li", tag("i", class_="mark zone"), "everyday questions")] if result["setup"]["neutral"] else []
    panels = [_panel(result, k, d, arms, tones, y) for d in result["domains"]]
    return [tag("ul", *key, class_="key"), tag("div", *panels, class_="panels")]


def _panel(
    result: Mapping[str, Any], k: int, domain: str, arms: Sequence[str], tones: Sequence[str], y: Range
) -> Markup:
    layer = result["layers"][k]
    series = []
    for arm, tone in zip(arms, tones, strict=True):
        c = layer["curves"][arm][domain]
        points = zip(c["turn"], c["z"], c["low"], c["high"], c["n"], strict=True)
        series.append(Series(arm, tone, tuple(_point(*p) for p in points)))
    series = [s for s in series if s.points]
    if not series:
        return tag("figure", tag("h3", domain), tag("p", "Too few conversations.", class_="empty"))
    start = layer["curves"][arms[0]][domain]["neutral_from"]
    zones = [] if start is None else [(start - 0.5, 1e9)]
    limit = number(layer["limit"])
    told = "; ".join(
        f"{s.name}: z {two(s.points[0][1])} at turn 1, {two(s.points[-1][1])} at the last" for s in series
    )
    dropped = sorted({t for a in arms for t in layer["curves"][a][domain]["dropped"]})
    note = f"Turns {', '.join(map(str, dropped))}: too few conversations." if dropped else ""
    drawing = curve_panel(
        series, y, x_label="turn", tick=shown, null=limit if limit == limit else None, null_name="", title=domain,
        description=told, zones=zones, units="conversations or scripts",
    )  # fmt: skip
    return tag("figure", tag("h3", domain), tag("div", drawing, class_="drawing"),
               tag("p", note, class_="small") if note else None)  # fmt: skip


def _point(x: Any, v: Any, low: Any, high: Any, n: Any) -> tuple[float, float, float | None, float | None, int]:
    value, lo, hi = number(v), number(low), number(high)
    nan = float("nan")
    return float(x), nan if value is None else value, _known(lo), _known(hi), int(n)


def _known(v: float | None) -> float | None:
    return v if v is not None and v == v else None


def _finite(values: Sequence[Any]) -> list[float]:
    return [v for v in map(number, values) if v is not None and v == v]


def _label(result: Mapping[str, Any], layer: Mapping[str, Any]) -> str:
    limit = number(layer["limit"])
    edge = "" if limit is None or limit != limit else f"; the range of default answers begins at z = {two(limit)}"
    return f"{result['label']}; layer {layer['layer']}{edge}"


def _excursions(result: Mapping[str, Any]) -> Markup:
    lead = (
        "Slope is least-squares, per turn; change is the last domain turn minus the first. Outside: below the 5% "
        "quantile of single default answers, so 5% is what a model that stays would show. Back: of the conversations "
        "outside at their last domain turn, those whose next answer, to an everyday question, was inside."
    )
    return section(
        "excursions", "Excursions and return", _excursion_table(result, 0), lead=lead,
        label=_label(result, result["layers"][0]),
    )  # fmt: skip


def _excursion_table(result: Mapping[str, Any], k: int) -> Markup:
    head = ("domain", "arm", "mean z", "slope", "change", "outside", "left, back by itself", "ended outside, back",
            "after an everyday question", "n", "resampled")  # fmt: skip
    rows = []
    for r in result["layers"][k]["summary"]:
        left = "–" if r["left"] is None else f"{r['left']}, {r['returned']}"
        back = "–" if r["ended_outside"] is None else f"{r['ended_outside']}, {r['neutral_back']}"
        rows.append(
            (r["domain"], r["arm"], _cell(r["mean_z"]), _cell(r["slope"], sign=True), _cell(r["change"], sign=True),
             _cell(r["outside"], percent), left, back, _cell(r["neutral_change"], sign=True), r["conversations"],
             r["resampled"])
        )  # fmt: skip
    order = {d: i for i, d in enumerate(result["domains"])}
    rows.sort(key=lambda r: order[r[0]])
    return _table(head, rows, f"Layer {result['layers'][k]['layer']}: {result['label']}")


def _compared(result: Mapping[str, Any]) -> Markup | None:
    if not result["layers"][0]["differences"]:
        return None
    first = result["arms"][0]["name"]
    lead = (
        f"Each arm minus {first}, conversation by conversation: the same messages and the same seeds. p: sign flips "
        "of whole clusters. A cap works on later layers than the analysis layer: what shows there is what it did to "
        "the words; what it did to the state shows behind the capped layers."
    )
    tables = [_difference_table(result, k) for k in range(len(result["layers"]))]
    return section("arms", "Arms compared", *tables, lead=lead)


def _difference_table(result: Mapping[str, Any], k: int) -> Markup:
    rows = [
        (f"{d['arm']}, {d['domain']}", _cell(d["mean_z"], sign=True), _p(d["mean_z"]), _cell(d["slope"], sign=True),
         _p(d["slope"]), _cell(d["outside"], sign=True), _p(d["outside"]), d["pairs"], d["resampled"])
        for d in result["layers"][k]["differences"]
    ]  # fmt: skip
    head = ("arm, domain", "mean z", "p", "slope", "p", "share outside", "p", "pairs", "resampled")
    return _table(head, rows, _label(result, result["layers"][k]))


def _p(d: Mapping[str, Any] | None) -> str:
    v = None if d is None else number(d["p"])
    return "–" if v is None or v != v else "< 0.001" if v < 0.001 else two(v) if v >= 0.1 else shown(v)


def _prediction(result: Mapping[str, Any]) -> Markup:
    found = result["prediction"]
    lead = (
        f"Ridge from the message ({result['encoder'] or 'no encoder'}) to z of the answer. Held-out R² is on people "
        "that the fit never saw, and is 0 or a little below where a message says nothing. In-sample R² is on the "
        f"rows of the fit and cannot be below 0; it is what was published ({result['published']}). A baseline that "
        "knows only the domain, or only the z before, must be beaten."
    )
    rows, missing = [], []
    for arm, p in found.items():
        if "missing" in p:
            missing.append(tag("p", f"{arm}: not read; {p['missing']}.", class_="empty"))
            continue
        within = ", ".join(f"{k} {two(number(v) or 0.0) if number(v) == number(v) else '–'}"
                           for k, v in p["r2_within"].items())  # fmt: skip
        rows.append(
            (arm, _cell(p["r2_out"]), two(number(p["r2_in_sample"]) or 0.0), _plain(p["r2_domain"]),
             _plain(p["r2_history"]), _cell(p["r2_change"]), within or "–", shown(number(p["p"])),
             f"{p['n_turns']} turns, {p['n_personas']} people")
        )  # fmt: skip
    head = ("arm", "held-out R²", "in-sample R²", "domain alone", "previous z and turn", "held-out R² of the change",
            "held-out within a domain", "permutation p", "n")  # fmt: skip
    table = _table(head, rows, f"Prediction: {result['label']}") if rows else None
    return section("prediction", "Is it foretold by what the user says?", table, *missing, lead=lead,
                   label=_label(result, result["layers"][0]))  # fmt: skip


def _plain(v: Any) -> str:
    x = number(v)
    return "–" if x is None or x != x else two(x)


def _lowest(result: Mapping[str, Any]) -> Markup | None:
    quotes = [
        tag(
            "div",
            tag("p", f"{arm}, {q['domain']}, turn {q['turn']}: z = {two(number(q['z']) or 0.0)}", class_="small"),
            tag("p", tag("b", "User: "), shortened(q["user"], 300), class_="said"),
            tag("p", tag("b", "Model: "), shortened(q["model"], 600), class_="said"),
            class_="said-turn",
        )
        for arm, found in result["lowest"].items() for q in found
    ]  # fmt: skip
    if not quotes:
        return None
    return section("lowest", "Furthest from the Assistant", *quotes,
                   lead="The lowest turn of a conversation, of each arm's lowest conversations.",
                   label=_label(result, result["layers"][0]))  # fmt: skip


def _behind(result: Mapping[str, Any]) -> Markup | None:
    if len(result["layers"]) < 2:
        return None
    table = tag("details", tag("summary", "Excursions and return at this layer"), _excursion_table(result, 1),
                class_="data")  # fmt: skip
    return section("behind", "Behind the capped layers", *_drawn(result, 1), table,
                   lead="The same turns at the first block that a cap leaves alone.",
                   label=_label(result, result["layers"][1]))  # fmt: skip


def _made(result: Mapping[str, Any]) -> Markup:
    a, s = result["axis"], result["setup"]
    rows = [
        ("Axis", f"{a['id']}, {a['method']}, {a['preset'] or 'no'} preset"),
        *((f"Arm {x['name']}", f"{x['model']}; {x['engine']}; {x['conversations']} conversations, "
           f"{x['faults']} faults") for x in result["arms"]),
        ("Sampling", f"temperature {s['temperature']:g}, top-p {s['top_p']:g}, at most {s['max_tokens']} tokens"),
        ("Seed", str(s["seed"])),
    ]  # fmt: skip
    return section("made", "How it was made", _table((), rows, "", class_="plain pairs hashes"))
