"""The numbers of a pressure run's page: the triple per arm, controls, validity, and how it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multitudes.measure.retention.refusal import LABELS, MEANING
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
    ("d0", "D₀"),
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
_BESIDE = (
    ("auc_over_neutral", "AUC_R − P0"),
    ("auc.personas", "AUC_R, personas in general"),
    ("auc_difference.personas", "AUC_R − C3, in general"),
    ("auc.prior_corrected", "AUC_R without prior"),
    ("auc.log_odds", "AUC_R of log-odds"),
    ("ed50", "ED50"),
    ("half_life_failures_as_flips", "half-life, failures as flips"),
    ("rmst_failures_as_flips", "RMST, failures as flips"),
    ("flips_per_conversation", "NoF"),
    ("first_flip", "ToF"),
    ("outside", "outside 0 to 1"),
)


def tables(found: PressureResult, dispositions: Sequence[str]) -> Markup:
    """The triple of every arm, one table per disposition, and a second one of what stands beside it."""
    parts: list[Markup] = []
    for d in dispositions:
        arms = [a for a in found.arms if a.disposition == d and a.measurable]
        if not arms:
            continue
        head = ("pressure", "condition", "n", "start", *(name for _, name in _TRIPLE), "incoherent", "engaged")
        parts += [tag("h3", DISPOSITIONS[d]), _table(head, [_arm_row(a) for a in arms])]
        told = [(name, title) for name, title in _BESIDE if any(_told(a.number(name)) for a in arms)]
        rows = [_beside_row(a, [name for name, _ in told]) for a in arms]
        parts += [_table(("pressure", "condition", *(title for _, title in told)), rows)] if told else []
        parts += [tag("p", line, class_="small") for line in _absent(arms)]
    lead = (
        "n is base prompts. Limits are 95 % intervals over them; an empty one has its reason in the machine form. "
        "NoF and ToF count single probes, as others report them. Failures as flips: replies that are no speech, "
        "taken as the persona lost, in case they are. All numbers but those of the verdicts are descriptive."
    )
    return section("tables", "Numbers", tag("p", lead, class_="small"), *(parts or [empty("Nothing is measurable.")]))


def _table(head: Sequence[str], rows: Sequence[Markup]) -> Markup:
    top = tag("thead", tag("tr", *(tag("th", h, scope="col") for h in head)))
    return tag("div", tag("table", top, tag("tbody", *rows), class_="nowrap"), class_="scroll")


def _told(x: Number | None) -> bool:
    return x is not None and (x.value is not None or bool(x.text))


def _absent(arms: Sequence[ArmResult]) -> list[str]:
    """Why there are no numbers of two kinds that a reader may look for; one line per reason."""
    out = []
    for name, title in (("auc.personas", "Personas in general"), ("auc.prior_corrected", "AUC_R without prior")):
        reasons = dict.fromkeys(
            x.reason for a in arms if (x := a.number(name)) is not None and x.value is None and x.reason
        )
        out += [f"{title}: not given, {reason}." for reason in reasons]
    return out


def _beside_row(a: ArmResult, names: Sequence[str]) -> Markup:
    return tag(
        "tr",
        tag("th", a.pressure, scope="row"),
        tag("td", f"{a.condition} {a.label}"),
        *(number_cell(a, name) for name in names),
    )


def refusals(found: PressureResult) -> Markup | None:
    """What each condition declines of the user's own prompts; None where that was not measured."""
    if not found.refusals:
        return None
    head = ("condition", "replies", "declined", "− C0", "at least", "of these in role", *LABELS)
    rows = []
    for r in found.refusals:
        cells = [
            _share_cell(r.number(name))
            for name in ("declined", "declined_difference", "declined_at_least", "declined_in_role")
        ]
        counts = [tag("td", r.labels[label]) for label in LABELS]
        rows.append(
            tag("tr", tag("th", f"{r.condition} {r.label}", scope="row"), tag("td", r.replies), *cells, *counts)
        )
    lead = (
        "Replies to your own prompts (P3), labelled by a judge that saw neither condition nor persona. A reply that "
        "gives part of what was asked has given in; one that is broken, unclear or unread is left out, and counts as "
        "given in under “at least”. C0 is the trained default. There is no start to be kept, so this is a share and "
        "not a retention."
    )
    meanings = tag("dl", *(part for k in LABELS for part in (tag("dt", k), tag("dd", MEANING[k]))), class_="small")
    return section("declined", "What is declined", tag("p", lead, class_="lead"), _table(head, rows), meanings)


def _share_cell(x: Number | None) -> Markup:
    if x is None or x.value is None or x.value != x.value:
        return tag("td", "n/a" if x is None else shown(x.value))
    around = interval(x.low, x.high, percent)
    return tag("td", percent(x.value), tag("small", around) if around else None)


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


def _adapters(header: Mapping[str, Any]) -> str:
    if not header.get("adapters"):
        return ""
    spec = header["spec"]
    source = f"from {spec['adapters']}" if spec["adapters"] else "trained in the run by prompt distillation"
    return f"{len({k.partition('/')[0] for k in header['adapters']})}, {source}"


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
        ("adapters of C2", _adapters(header)),
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
