"""The numbers of a pressure run's page: the triple per arm, controls, validity, and how it was measured."""

from __future__ import annotations

from collections.abc import Sequence

from multitudes.report.pressure_figures import number_cell
from multitudes.report.svg import Markup, tag
from multitudes.report.words import duration, interval, percent, shown, two
from multitudes.simulate.scripts import PRESSURES
from multitudes.study.pressure.result import ArmResult, Number, PressureResult

DISPOSITIONS = {
    "id": "Who it says it is",
    "fact": "What it says of its life",
    "trait": "How it says it is",
    "beh": "Whether its replies are in role",
    "style": "Its manner",
    "judged": "In role, by a judge",
}
_TRIPLE = (
    ("delta0", "Δ₀"),
    ("auc", "AUC_R"),
    ("half_life", "half-life"),
    ("rate", "ln 2/λ"),
    ("rho", "ρ"),
    ("auc_difference", "AUC_R − C3"),
    ("time_ratio", "TR to C3"),
    ("rmst_difference", "ΔRMST"),
    ("censored", "censored"),
)


def tables(found: PressureResult, dispositions: Sequence[str]) -> Markup:
    """The triple of every arm, one table per disposition."""
    parts: list[Markup] = []
    for d in dispositions:
        arms = [a for a in found.arms if a.disposition == d and a.measurable]
        if not arms:
            continue
        head = ("pressure", "condition", "n", "start", *(name for _, name in _TRIPLE), "incoherent", "engaged")
        rows = [_arm_row(a) for a in arms]
        top = tag("thead", tag("tr", *(tag("th", h, scope="col") for h in head)))
        table = tag("table", top, tag("tbody", *rows), class_="nowrap")
        parts += [tag("h3", DISPOSITIONS[d]), tag("div", table, class_="scroll")]
    lead = "n is base prompts. Limits are 95 % intervals over them; an empty one has its reason in the machine form."
    return section("tables", "Numbers", tag("p", lead, class_="small"), *(parts or [empty("Nothing is measurable.")]))


def _arm_row(a: ArmResult) -> Markup:
    start = {True: "matched", False: "unmatched", None: "not checked"}[a.matched]
    engaged = "" if a.engaged is None else percent(a.engaged)
    return tag(
        "tr",
        tag("th", a.pressure, scope="row"),
        tag("td", f"{a.condition} {a.label}"),
        tag("td", a.clusters),
        tag("td", start),
        *(number_cell(a, name) for name, _ in _TRIPLE),
        tag("td", percent(a.failed)),
        tag("td", engaged),
    )


def unmeasured(found: PressureResult, disposition: str) -> Markup | None:
    """Arms without a retention, each with its reason; None if there are none."""
    items = [
        tag("li", f"{a.condition} {a.label} under {a.pressure}: {a.reason}")
        for a in found.arms
        if a.disposition == disposition and not a.measurable and a.pressure in PRESSURES
    ]
    return (
        tag("div", tag("p", "Not measurable:", class_="small"), tag("ul", *items), class_="small") if items else None
    )


def checks(found: PressureResult) -> Markup:
    """Controls, validity, and what calibration decided."""
    rows = [_number_row(x) for x in (*found.controls, *found.validity)]
    gate, beh = found.calibration.get("gate"), found.calibration.get("behaviour")
    notes = []
    if gate:
        notes.append(
            f"Coherence: replies above {gate['max_nll']:.2f} nats per token fail, with too short and repeating ones; "
            f"{gate['false_alarms']:.0%} of {gate['n']} calibration replies did."
        )
    if beh:
        notes.append(
            f"Behaviour: AUC {beh['auc']:.2f} on {beh['n'][0]} and {beh['n'][1]} calibration replies"
            f"{'; not used: ' + beh['reason'] if beh['reason'] else ''}."
        )
    notes += [f"{d}: not available, {why}." for d, why in found.calibration["reasons"].items()]
    dropped = found.calibration["items_dropped"]
    if dropped:
        n = sum(map(len, dropped.values()))
        notes.append(f"{n} items were left out because they do not tell the prompted persona from nobody.")
    table = tag("div", tag("table", tag("tbody", *rows), class_="pairs"), class_="scroll") if rows else None
    return section("checks", "Controls and validity", table, *(tag("p", n, class_="small") for n in notes))


def _number_row(x: Number) -> Markup:
    value = shown(x.value) if x.value is None else two(x.value)
    around = interval(x.low, x.high, two)
    note = "; ".join(p for p in (f"n {x.n}", f"{x.unscored} unscored" if x.unscored else "", x.reason) if p)
    return tag(
        "tr",
        tag("th", x.name.replace("_", " "), tag("small", note), scope="row"),
        tag("td", value, tag("small", around) if around else None),
    )


def how(found: PressureResult) -> Markup:
    """Model, engine, banks, and what scored what."""
    header = found.header
    model = header["model"]
    judge = header["judge"]
    judged = f"{judge['name']} scored {', '.join(header['by_judge'])}" if judge else "no judge was used"
    pins = (
        ("model", model["name"]),
        ("engine", model["fingerprint"]),
        ("number type", model["dtype"] or "unknown"),
        ("seeds", model["seeds"]),
        ("banks", header["banks"]),
        ("batteries", header["batteries"]),
        ("run", header["spec_hash"][:16]),
        ("axis", f"{header['axis']['path']} ({header['axis']['method']})" if header["axis"] else "none"),
        ("by likelihood", ", ".join(header["by_likelihood"])),
        ("by classifier", ", ".join(header["by_classifier"])),
        ("by judge", judged),
        ("time", duration(header["wall_s"])),
    )
    rows = [tag("tr", tag("th", k, scope="row"), tag("td", v)) for k, v in pins if v]
    return section(
        "how",
        "How it was measured",
        tag(
            "p",
            "Probes are asked in side branches that the conversation never sees. Messages are the project's own; "
            "every condition meets the same ones, and neutral talk is as long as the pressure.",
            class_="lead",
        ),
        tag("table", tag("tbody", *rows), class_="hashes"),
    )


def section(id_: str, title: str, *children: object) -> Markup:
    """A section with its title and anchor."""
    return tag("section", tag("h2", title), *children, id=id_)


def figure(caption: str, drawing: Markup) -> Markup:
    """A drawing with its caption."""
    return tag("figure", tag("figcaption", caption), tag("div", drawing, class_="drawing"))


def key(*entries: tuple[str, str]) -> Markup:
    """What the marks are."""
    return tag("ul", *(tag("li", tag("span", class_=f"mark {m}"), text) for m, text in entries), class_="key")


def empty(text: str) -> Markup:
    """What stands where nothing can be drawn."""
    return tag("p", text, class_="empty")
