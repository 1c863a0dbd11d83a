"""A pressure run as one page: verdicts in words, curves, survival, recovery, matched starts, and how it was measured.

The page opens offline, loads nothing and runs no script; all that models wrote stays out of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from multitudes.core.canonical import strict_values
from multitudes.report.page import ending, page, write_page
from multitudes.report.pressure_figures import (
    kept_panel,
    matching_rows,
    recovery_rows,
    survival_panel,
)
from multitudes.report.pressure_hold import hold_section
from multitudes.report.pressure_numbers import (
    DISPOSITIONS,
    checks,
    empty,
    figure,
    how,
    key,
    refusals,
    section,
    tables,
    unmeasured,
)
from multitudes.report.svg import Markup, tag
from multitudes.simulate.scripts import PRESSURES
from multitudes.study.pressure.result import ArmResult, PressureResult
from multitudes.study.pressure.spec import LABELS
from multitudes.study.summary import WEAK_MODEL

PAGE, LINES = "pressure.html", "pressure.jsonl"
_SHARES = re.compile(r"(\d[\d.]*%)")  # what the eye should find
PRESSURE_NAMES = {
    "P0a": "a partner who talks like an assistant",
    "P1": "a suffix on every message",
    "P1.stacked": "suffixes that pile up",
    "P2": "counter-instruction",
    "P3": "your own prompts",
    "P4": "persistent disagreement",
    "P5": "disclosure and meta-reflection",
    "P6.0": "requests to go on",
    "P6.32": "a foreign first turn, 32 tokens",
    "P6.128": "a foreign first turn, 128 tokens",
    "P6.512": "a foreign first turn, 512 tokens",
    "P7": "ontological reframing",
}


def write_pressure(found: PressureResult, folder: Path) -> tuple[Path, Path]:
    """Write the page and the machine form (one JSON line per number) beside the run, each whole or not at all.

    Raises:
        StoreError: They cannot be written.
    """
    lines = "".join(json.dumps(strict_values(x), ensure_ascii=False, allow_nan=False) + "\n" for x in found.lines())
    out = []
    for name, text in ((PAGE, pressure_page(found)), (LINES, lines)):
        out.append(write_page(text, folder / name))
    return out[0], out[1]


def pressure_page(found: PressureResult) -> str:
    """The page as text; the same result gives the same text."""
    dispositions = list(dict.fromkeys(a.disposition for a in found.arms))
    body = [
        tag("a", "Skip to what was found", class_="skip", href="#headline"),
        _top(found),
        tag(
            "main",
            _headline(found),
            _nav(found),
            _verdicts(found),
            hold_section(found.hold, PRESSURE_NAMES),
            *(_curves(found, d) for d in dispositions),
            *(_survival(found, d) for d in dispositions),
            _recovery(found, dispositions),
            _match(found),
            refusals(found),
            tables(found, dispositions),
            checks(found),
            how(found),
        ),
        ending("run"),
    ]
    return page(f"{found.header['model']['name']} under pressure · multitudes", *body)


# --- the head of the page -------------------------------------------------------------------------------------


def _top(found: PressureResult) -> Markup:
    spec, model = found.header["spec"], found.header["model"]
    judged = f"{', '.join(found.header['by_judge'])} by a judge" if found.header["by_judge"] else "no judge"
    deck = (
        ("Model", model["name"]),
        ("Personas and base prompts", f"{spec['personas']} and {spec['prompts']}, {spec['seeds']} run(s) each"),
        ("Turns", f"{spec['turns']} under pressure, {spec['recovery']} after it"),
        ("Measured", ", ".join(spec["dispositions"])),
        ("Named before the run", spec["primary"]),
        ("Scored", f"{', '.join(found.header['by_likelihood'])} by likelihood; {judged}"),
        ("Banks", found.header["banks"][:8]),
    )
    return tag(
        "header",
        tag("p", "Stickiness under pressure", class_="kicker"),
        tag("h1", "Put on, or put in?"),
        tag(
            "p",
            "A persona that is only put on may drop when it is pressed, and stay away. How much is kept at every "
            "turn, when it goes, and whether it comes back, for each way of making a persona.",
            class_="standfirst",
        ),
        tag("dl", *(tag("div", tag("dt", k), tag("dd", v)) for k, v in deck), class_="deck"),
    )


def _headline(found: PressureResult) -> Markup:
    items = [
        tag("li", *(tag("b", part) if part.endswith("%") else part for part in _SHARES.split(line)))
        for line in found.headline
    ]
    weak = tag("p", WEAK_MODEL, class_="weak") if found.header["model"]["small_model"] else None
    power = tag("p", found.power[:1].upper() + found.power[1:] + ".", class_="banner")
    return tag("section", weak, tag("ul", *items, class_="headlines"), power, id="headline")


def _nav(found: PressureResult) -> Markup:
    links = (
        ("verdicts", "Verdicts"),
        *((("hold", "Role hold"),) if found.hold is not None else ()),
        ("kept", "What is kept"),
        ("survival", "When it goes"),
        ("recovery", "What comes back"),
        ("start", "Matched start"),
        ("tables", "Numbers"),
        ("how", "How"),
    )
    return tag("nav", *(tag("a", text, href=f"#{id_}") for id_, text in links))


def _verdicts(found: PressureResult) -> Markup:
    parts: list[Markup] = []
    for v in found.verdicts:
        sentence = v.sentence[:1].upper() + v.sentence[1:]
        parts += [
            tag("h3", f"{v.condition}, {v.label}, against the prompted persona"),
            tag("p", f"{sentence}.", class_="verdict"),
            tag("ul", *(tag("li", p.line) for p in v.pressures)),
        ]
    lead = (
        "Fixed words, from at least 20 base prompts, a matched start and coherent replies. Pressures on which the "
        "condition loses to prompting come first. Sticking is a number about replies; it does not say that anything "
        "is realised."
    )
    return section("verdicts", "In words", tag("p", lead, class_="lead"), *parts)


# --- figures --------------------------------------------------------------------------------------------------


def _pairs(found: PressureResult, disposition: str) -> list[tuple[ArmResult, ArmResult | None]]:
    """Arms under pressure that are measurable, each with its neutral run."""
    return [
        (a, found.arm(disposition, a.neutral, a.condition))
        for a in found.arms
        if a.disposition == disposition and a.pressure in PRESSURES and a.measurable
    ]


def _curves(found: PressureResult, disposition: str) -> Markup:
    pairs = _pairs(found, disposition)
    lead = (
        f"{DISPOSITIONS[disposition]}: the share of what lies above no persona that is left after each turn. At "
        "100 % nothing was lost; on the dashed floor nothing is left. A band is a 95 % interval over base prompts."
    )
    last = f"{found.header['spec']['turns']:g}"
    parts = [
        figure(
            f"{a.condition} {a.label}: {PRESSURE_NAMES.get(a.pressure, a.pressure)} ({a.pressure})", kept_panel(a, n)
        )
        for a, n in pairs
    ]
    marks = key(
        ("accent", f"under pressure up to turn {last}, then recovery"),
        ("ink", "neutral talk of equal length"),
        ("null", "no persona"),
    )
    return section(
        "kept" if disposition == found.header["spec"]["primary"] else f"kept-{disposition}",
        f"What is kept: {disposition}",
        tag("p", lead, class_="lead"),
        marks if parts else None,
        tag("div", *parts, class_="panels") if parts else empty("No arm is measurable."),
        unmeasured(found, disposition),
    )


def _survival(found: PressureResult, disposition: str) -> Markup:
    pairs = [(a, n) for a, n in _pairs(found, disposition) if a.steps is not None]
    last = float(found.header["spec"]["turns"])
    lead = (
        f"{DISPOSITIONS[disposition]}: conversations that have not dropped the persona. Dropped is nearer to the "
        "floor than to the start at two probes in a row, so the last probe cannot show it. Dashed: the neutral run."
    )
    parts = [figure(f"{a.condition} {a.label}: {a.pressure}", survival_panel(a, n, last)) for a, n in pairs]
    primary = disposition == found.header["spec"]["primary"]
    return section(
        "survival" if primary else f"survival-{disposition}",
        f"When it goes: {disposition}",
        tag("p", lead, class_="lead"),
        tag("div", *parts, class_="panels") if parts else empty("No conversation could be followed."),
    )


def _recovery(found: PressureResult, dispositions: Sequence[str]) -> Markup:
    spec = found.header["spec"]
    last = float(spec["turns"])
    parts: list[Markup] = []
    for d in dispositions:
        rows = recovery_rows([a for a, _ in _pairs(found, d)], last)
        parts += [tag("h3", DISPOSITIONS[d]), rows] if rows else []
    marks = key(
        ("ring", "start"),
        ("ink", f"turn {last:g}, the end of pressure"),
        ("accent", f"turn {last + spec['recovery']:g}"),
        ("null", "no persona"),
    )
    lead = "From the last turn of pressure to the last turn after it; ρ is the share of the loss that came back."
    return section(
        "recovery",
        "What comes back",
        tag("p", lead, class_="lead"),
        marks if parts else None,
        *(parts or [empty("Nothing was probed after the pressure.")]),
    )


def _match(found: PressureResult) -> Markup:
    match = found.match
    lead = (
        "A strong start is not a sticky persona. Sources are weakened until all begin at the dashed level, which was "
        "chosen on base prompts that no result is taken from."
    )
    notes = [
        f"{c} ({LABELS[c]}) does not stand above no persona at any rung; nobody was weakened to meet it."
        for c in match.weak
    ]
    if match.reason:
        notes.append(f"Not checked on the evaluation split: {match.reason}.")
    rows = matching_rows(match, LABELS)
    return section(
        "start",
        "Matched start",
        tag("p", lead, class_="lead"),
        key(
            ("accent", "rung that was run"),
            ("ring", "other rungs"),
            ("ink", "as run, evaluation split"),
            ("null", "target"),
        )
        if rows
        else None,
        rows,
        *(tag("p", n, class_="small") for n in notes),
    )
