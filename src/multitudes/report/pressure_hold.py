"""The role hold on a pressure run's page: one word, its reasons, and every number it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable

from multitudes.measure.retention.hold_verdict import ENGAGED_WITHIN, LEAST_LANGUAGE, MOST_PERPLEXITY
from multitudes.report.figures import row
from multitudes.report.pressure_numbers import key, section
from multitudes.report.svg import Markup, Range, dot_row, join, nice_range, scale, tag, track
from multitudes.report.words import interval, percent, shown, two
from multitudes.study.pressure.result import HoldPressure, HoldResult, Number

COMPARED = (
    ("hold_over_prompt", "B − A, over the prompt alone"),
    ("hold_over_random", "B − C, over a hold on random directions"),
    ("hold_over_other", "B − D, over a hold on another persona's ranges"),
    ("hold_at_equal_start", "B − A at an equal start"),
)
ARMS = (("C6", "held"), ("C6r", "random"), ("C6w", "another's"))
READ = {"C6": "its own hold", "C6r": "a hold on random directions", "C6w": "another persona's hold", "C7b": "the cap"}


def hold_section(held: HoldResult | None, names: dict[str, str]) -> Markup | None:
    """The section; None where nobody was held.

    Args:
        held: What the run says of the hold.
        names: Names of pressures.
    """
    if held is None:
        return None
    lead = (
        "A hypothesis of ours, not an established method: a persona that is kept inside its own range stays in "
        f"character better than by its prompt alone. {_how(held)} A is the prompt, B the prompt and the hold; C and "
        "D are what any hold would do. Differences of AUC_R, paired on base prompts."
    )
    verdict = f"{held.words[:1].upper()}{held.words[1:]}."
    frame = _frame(n for p in held.pressures for name, _ in COMPARED if (n := p.number(name)) is not None)
    parts: list[Markup] = []
    for p in held.pressures:
        parts += [tag("h3", f"Under {p.pressure}, {names.get(p.pressure, p.pressure)}"), _compared(p, frame)]
    return section(
        "hold",
        "Held in its own range",
        tag("p", lead, class_="lead"),
        tag("p", verdict, class_="verdict"),
        tag("ul", *(tag("li", f"{r[:1].upper()}{r[1:]}.") for r in held.reasons)),
        *(tag("p", w, class_="banner") for w in held.warnings),
        key(("accent", "difference and its 95% interval over base prompts"), ("null", "no difference")),
        *parts,
        tag("h3", "How often each hold engages"),
        _engaged(held),
        tag("h3", "What it costs"),
        _cost(held),
    )


def _how(held: HoldResult) -> str:
    """What was clamped to what."""
    blocks = f" at blocks {', '.join(map(str, held.layers))}" if held.layers else ""
    if held.sides == "own_floor":
        return f"Held was a floor on its own direction{blocks}: the lowest {held.alpha:.0%} of its tokens."
    middle = f"{1 - 2 * held.alpha:.0%}"
    return f"Held were the axis and its own direction{blocks}, in the middle {middle} of its tokens."


def _frame(numbers: Iterable[Number]) -> Range:
    """One scale for all differences. Intervals of few prompts run far out: the frame ends at ±1."""
    values = [v for n in numbers for v in (n.value, n.low, n.high) if v is not None and math.isfinite(v)]
    return nice_range(max(-1.0, min(-0.1, *values)), min(1.0, max(0.1, *values))) if values else nice_range(-0.1, 0.1)


def _compared(p: HoldPressure, frame: Range) -> Markup:
    at = scale(frame.low, frame.high, 0, 100)
    rows = []
    for name, title in COMPARED:
        n = p.number(name)
        if n is None or n.value is None:
            rows.append(row(title, track([], label=f"{title}: not told"), "n/a", "" if n is None else n.reason))
            continue
        around = interval(n.low, n.high, two)
        title += _start(p) if name == "hold_at_equal_start" else ""
        label = f"{title} under {p.pressure}: {two(n.value)}" + (f", {around}" if around else "")
        rows.append(row(title, track([dot_row(n.value, n.low, n.high, 0.0, at)], label=label), two(n.value), around))
    return join(rows)


def _start(p: HoldPressure) -> str:
    """How much there was to even out."""
    gap = p.number("hold_start_gap")
    if gap is None or gap.value is None or not math.isfinite(gap.value):
        return ""
    by = two(abs(gap.value))
    return " (both start alike)" if by == "0" else f" (B starts {by} {'higher' if gap.value > 0 else 'lower'})"


def _engaged(held: HoldResult) -> Markup:
    """Share of tokens that was moved: a control at another dose is none."""
    top = tag(
        "thead", tag("tr", *(tag("th", h, scope="col") for h in ("pressure", *(n for _, n in ARMS), "random − held")))
    )
    rows = []
    for p in held.pressures:
        shares = [p.engaged.get(c) for c, _ in ARMS]
        own, random = shares[0], shares[1]
        apart = None if own is None or random is None else random - own
        missed = apart is not None and abs(apart) > ENGAGED_WITHIN + 1e-9
        told = "n/a" if apart is None else two(apart)
        note = tag("small", f"beyond ±{ENGAGED_WITHIN:g}: no control") if missed else None
        rows.append(
            tag(
                "tr",
                tag("th", p.pressure, scope="row"),
                *(tag("td", percent(s), class_="nowrap") for s in shares),
                tag("td", told, note),
            )
        )
    return tag("div", tag("table", top, tag("tbody", *rows)), class_="scroll")


def _cost(held: HoldResult) -> Markup:
    rows = []
    for t in held.text:
        gate = f"at most {MOST_PERPLEXITY:g} times the plain model's" if t.condition == "C6" else "no gate"
        moved = f"{percent(t.engaged.value)} of {t.tokens:,} tokens moved" if t.engaged.value is not None else ""
        rows.append(
            _cost_row(f"Perplexity of running text under {READ[t.condition]}", t.ratio, gate, moved, t.ratio.reason)
        )
    least = f"at least {LEAST_LANGUAGE:g} of the unheld arm's"
    rows.append(_cost_row("Coherent replies, where it does worst", held.coherence, least))
    rows.append(_cost_row("Distinct 3-grams within persons", held.distinct, least))
    return tag("div", tag("table", tag("tbody", *rows), class_="pairs"), class_="scroll")


def _cost_row(name: str, n: Number, *notes: str) -> Markup:
    value = shown(n.value) if n.value is None or not math.isfinite(n.value) else f"{n.value:.3f}"
    around = interval(n.low, n.high, lambda v: f"{v:.3f}")
    note = "; ".join(x for x in (*notes, n.reason if n.value is None else "") if x)
    note = "; ".join(dict.fromkeys(note.split("; ")))
    return tag(
        "tr",
        tag("th", name, tag("small", note), scope="row"),
        tag("td", value, tag("small", around) if around else None, class_="nowrap"),
    )
