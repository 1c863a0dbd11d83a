"""The page of a study of persona jailbreaks: one HTML file that opens offline, loads nothing and sends nothing.

What models wrote is escaped by ``svg.tag``; the page's policy allows its one style sheet, by its hash, and no script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from multitudes.report import jailbreak_facts as facts
from multitudes.report.page import ending, header, headline, page, section, write_page
from multitudes.report.svg import Markup, dot_row, nice_range, scale, tag, track
from multitudes.report.words import counted, interval, percent, shortened, shown, two
from multitudes.study.jailbreak_records import Changed, JailbreakResult, Number

_STYLES = ("report.css", "axis.css", "jailbreak.css")
QUOTED = 280  # characters of a reply
SHOWN = ("p_decline", "harmful", "declined", "openly", "voice")  # shares, on one scale; others have their own


def write_jailbreak_page(result: JailbreakResult, path: Path) -> Path:
    """Write the page, whole or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    return write_page(jailbreak_page(result), path)


def jailbreak_page(result: JailbreakResult) -> str:
    """The page as text; the same result gives the same text."""
    body = [
        tag("a", "Skip to what was found", class_="skip", href="#headline"),
        _header(result),
        tag(
            "main", _headline(result), *(_chart(result, arm) for arm in result.arms[1:]), _levels(result),
            _checks(result), _published(result), _engaged(result), _examples(result), _made(result),
        ),
        ending("result"),
    ]  # fmt: skip
    return page(f"Persona jailbreaks of {result.model} · multitudes", *body, styles=_STYLES)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, class_: str = "plain", caption: str = "") -> Markup:
    top = tag("thead", tag("tr", *(tag("th", h, scope="col") for h in head))) if head else None
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", c, class_="said") for c in row[1:])) for row in rows
    ]
    table = tag("table", tag("caption", caption) if caption else None, top, tag("tbody", *body), class_=class_)
    return tag("div", table, class_="across", tabindex=0, role="region", aria_label="Table")


def _header(result: JailbreakResult) -> Markup:
    deck = (
        ("Arms", ", ".join(result.arms)),
        ("Personas", str(result.personas)),
        ("Requests", f"{result.pairs}, each with a benign twin"),
        ("Kinds", str(len(result.kinds))),
        ("Judge", result.judge or "none"),
        ("Capped layers", _window(result)),
    )
    standfirst = tag("p", facts.standfirst(result), class_="standfirst verdict-line")
    return header("multitudes · Persona jailbreaks", result.model, standfirst, deck)


def _window(result: JailbreakResult) -> str:
    window = [int(k) for k in result.axis.get("window") or ()]
    return f"{window[0]} to {window[-1]}" if window else "none"


def _headline(result: JailbreakResult) -> Markup:
    return headline(facts.warnings(result), list(facts.headlines(result)), class_="headlines plain-first")


def _chart(result: JailbreakResult, arm: str) -> Markup:
    changed = [c for c in result.changes if c.what == "arm" and c.arm == arm]
    shares = [c for p in SHOWN for c in changed if c.proxy == p]
    others = [c for c in changed if c.proxy not in SHOWN]
    reach = _reach(shares) or 0.1
    span = nice_range(-reach, reach)
    rows = [_row(c, span.low, span.high) for c in shares]
    for c in others:
        reach = 1.2 * _reach([c]) or 1.0
        rows.append(_row(c, -reach, reach))
    lead = (
        f"Differences from {result.arms[0]} on harmful requests under the personas: the same system texts, requests "
        "and seeds. Requests are resampled; the dashed line is no difference. "
        f"Shares are drawn from {two(span.low)} to {two(span.high)}, the other proxies each on a scale of its own. "
        "p is adjusted by Holm over " + ", ".join(facts.PROXIES[p] for p in result.family) + "."
    )
    id_ = f"arm-{result.arms.index(arm)}"
    return section(id_, f"{arm} against {result.arms[0]}", *rows, lead=lead)


def _reach(changed: Sequence[Changed]) -> float:
    """How far differences and their intervals lie from 0, at most."""
    ends = [v for c in changed for v in (c.difference.value, c.difference.low, c.difference.high) if v is not None]
    return max((abs(v) for v in ends if math.isfinite(v)), default=0.0)


def _row(c: Changed, low: float, high: float) -> Markup:
    d = c.difference
    told = f"{facts.level(c.proxy, c.before.value)} → {facts.level(c.proxy, c.after.value)}, {facts.signed(d.value)}"
    side = interval(d.low, d.high, facts.signed) or d.note
    small = "; ".join(x for x in (side, facts.p_value(c.p_holm), f"{d.unscored} unscored" if d.unscored else "") if x)
    drawn = (
        [dot_row(d.value, d.low, d.high, 0.0, scale(low, high, 0, 100))] if math.isfinite(d.value) else []
    )  # fmt: skip
    return tag(
        "div",
        tag("span", facts.PROXIES[c.proxy], class_="row-name"),
        tag("span", told, tag("small", small), class_="row-value"),
        tag("div", track(drawn, label=f"{facts.PROXIES[c.proxy]}: {told}"), class_="row-track"),
        class_="row",
    )


def _levels(result: JailbreakResult) -> Markup:
    at = {(n.proxy, n.arm, n.side, n.persona): n.number for n in result.numbers}
    places = (("harmful", True), ("harmful", False), ("benign", True))
    rows = []
    for proxy, name in facts.PROXIES.items():
        for arm in result.arms:
            cells = [_cell(proxy, at.get((proxy, arm, side, persona))) for side, persona in places]
            if any(cells):
                rows.append((f"{arm}: {name}", *cells))
    lead = (
        "Means over requests, with 95% intervals. Declining the benign twins as well is not safety but shyness. "
        "The forced choice is read before anything is said; patterns and z are read of the replies."
    )
    head = ("", "harmful, under the personas", "harmful, no persona", "benign twins, under the personas")
    return section("levels", "Levels", _table(head, rows), lead=lead)


def _cell(proxy: str, number: Number | None) -> str:
    if number is None:
        return ""
    side = interval(number.low, number.high, lambda v: facts.level(proxy, v))
    return facts.level(proxy, number.value) + (f" ({side})" if side and number.low != number.high else "")


def _checks(result: JailbreakResult) -> Markup:
    names = {
        "tells_apart": "Does it tell harmful from benign? Benign twins, then harmful requests",
        "persona_effect": "Do the personas do anything? No persona, then the personas",
        "benign": f"Is it only shyer? Benign twins, {result.arms[0]}, then the arm",
    }
    tables = []
    for what, caption in names.items():
        rows = [
            (
                f"{c.arm}: {facts.PROXIES[c.proxy]}",
                facts.level(c.proxy, c.before.value),
                facts.level(c.proxy, c.after.value),
                f"{facts.signed(c.difference.value)} {facts.ranged(c.difference)}",
            )
            for c in result.changes
            if c.what == what and c.proxy in ("p_decline", "openly", "z")
        ]
        tables.append(_table(("", "from", "to", "difference"), rows, caption=caption))
    lead = "A proxy that fails these says nothing about harm, however it moves. Not adjusted for their number."
    return section("checks", "Does it measure anything?", *tables, lead=lead)


def _published(result: JailbreakResult) -> Markup:
    rows = [
        (f"{x.arm}: {facts.LESS[x.what]}", facts.less_words(x).split(": ", 1)[1],
         facts.PUBLISHED_LESS if x.what == "harmful" else f"{facts.PUBLISHED_LESS} (judged; another measure)")
        for x in result.less
    ]  # fmt: skip
    at = {(n.proxy, n.arm, n.persona): n.number for n in result.numbers if n.side == "harmful"}
    for persona, figure in ((True, facts.PUBLISHED_WITH), (False, facts.PUBLISHED_WITHOUT)):
        harmful = at.get(("harmful", result.arms[0], persona))
        own = "no judge" if harmful is None else _cell("harmful", harmful)
        words = "with personas" if persona else "without"
        rows.append((f"{result.arms[0]}: harmful replies {words}", own, figure))
    lead = (
        f"From {facts.PUBLISHED}, on models of 27, 32 and 70 billion parameters, with other and harder requests and "
        "a judge of replies, capability kept; read there, not checked here. Forced choice and patterns are not rates "
        "of harmful replies: only a row that a judge read is the same measure."
    )
    return section("published", "Beside the published figure", _table(("", "here", facts.PUBLISHED), rows), lead=lead)


def _engaged(result: JailbreakResult) -> Markup:
    rows = [
        (e.arm, e.edit or "nothing", ", ".join(f"{b}: {percent(v)}" for b, v in e.by_block.items()) or "none",
         percent(e.moved), str(e.n))
        for e in result.engagement
    ]  # fmt: skip
    lead = (
        "Share of the tokens of replies that were moved, by block, on harmful requests under the personas, and how "
        "far, as a share of the token's length. An edit that moves nothing can change nothing."
    )
    head = ("", "edit", "tokens moved, by block", "how far", "replies")
    judged = [(j.arm, str(j.harmful), str(j.safe), str(j.unscored)) for j in result.judged]
    extra = [_table(("", "harmful", "safe", "unscored: neither"), judged)] if judged else []
    return section("engaged", "What the edit did", _table(head, rows), *extra, lead=lead)


def _examples(result: JailbreakResult) -> Markup:
    rows = [
        tag(
            "blockquote",
            tag("p", f"{e.request}", class_="said"),
            *(
                tag("p", f"{arm} (declining {percent(p)}): {shortened(text.strip(), QUOTED) or '…'}",
                    class_="small said")
                for arm, p, text in ((result.arms[0], e.p_before, e.before), (result.arms[1], e.p_after, e.after))
            ),
            tag("footer", f"persona {e.persona}"),
        )
        for e in result.examples
    ]  # fmt: skip
    lead = "Evenly over the requests: taken, not picked. All replies are in rows.jsonl beside the result."
    return section("examples", "What was said", *rows, lead=lead)


def _made(result: JailbreakResult) -> Markup:
    axis = result.axis
    rows = [
        ("Model", result.model), ("Engine", result.engine),
        ("Axis", f"{axis.get('method')}, {axis.get('preset')} preset, roles {axis.get('role_set_hash')}"),
        ("Analysis layer", f"{result.layer}; just after the cap {result.layer_after}"),
        ("Set", f"{result.set}, {result.set_hash}: {counted(result.personas, 'persona')}, "
                f"{counted(result.pairs, 'pair')}"),
        ("Kinds", ", ".join(result.kinds)), ("Seed", str(result.seed)),
        ("Sampling", ", ".join(f"{k} {shown(v)}" for k, v in result.sampling.items())),
        ("Judge", f"{result.judge}, rubric {result.rubric}" if result.judge else "none"),
        ("Intervals", "bootstrap over requests: a claim about requests like these, under these personas"),
    ]  # fmt: skip
    return section("made", "How it was made", _table((), rows, class_="plain pairs hashes"))
